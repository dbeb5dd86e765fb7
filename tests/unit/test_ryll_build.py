"""ryll in the cache: what a wheel gives, what a damaged cache does, and what is said when tools or toolchains lack."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import rust, ryll

PROGRAM = "#!/bin/sh\necho 'ryll v{} (0123abcd)'\n"


@pytest.fixture
def place(tmp_path: Path) -> ryll.Place:
    """A cache of the test's own."""
    return ryll.Place(str(tmp_path / "cache"), "99/t", str(tmp_path / "log"), 60)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only index there is."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return folder


def wheel(folder: Path, version: str, says: str | None = None, script: str = "ryll") -> Path:
    """A wheel of ryll whose program prints a version."""
    path = folder / f"ryll-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"ryll-{version}.data/scripts/{script}", PROGRAM.format(says or version))
        archive.writestr(f"ryll-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: ryll\nVersion: {version}\n")
        archive.writestr(f"ryll-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"ryll-{version}.dist-info/RECORD", "")
    return path


def test_a_release_is_fetched_once(place: ryll.Place, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_TARGET", "/nowhere")
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    packed = wheel(index, "1.2.3")
    first = ryll.from_wheel(place, "1.2.3", ())
    assert first == ryll.Ryll(f"{place.root}/wheel-1.2.3/ryll", "1.2.3", "wheel", "1.2.3", "0123abcd", False)
    packed.unlink()
    assert ryll.from_wheel(place, "1.2.3", ()).cached
    assert sorted(path.name for path in (place.root / "wheel-1.2.3").iterdir()) == ["ryll", "ryll.json"]
    assert [path.name for path in place.root.iterdir() if path.name.startswith(".new-")] == []


def test_a_cut_program_in_the_cache_is_fetched_again(place: ryll.Place, index: Path) -> None:
    wheel(index, "1.2.3")
    path = Path(ryll.from_wheel(place, "1.2.3", ()).path)
    path.write_text("#!/bin/sh\n")
    again = ryll.from_wheel(place, "1.2.3", ())
    assert not again.cached
    assert path.read_text() == PROGRAM.format("1.2.3")


def test_a_wheel_with_another_hash_is_refused(place: ryll.Place, index: Path) -> None:
    wheel(index, "1.2.3")
    with pytest.raises(
        LaneError, match=r"^environment: expected pip to download ryll 1.2.3, but it ended with status 1: .*(?i:do not match the hashes|expected sha256)"
    ):
        ryll.from_wheel(place, "1.2.3", ("0" * 64,))
    assert not (place.root / "wheel-1.2.3").exists()


def test_a_release_that_is_not_there(place: ryll.Place, index: Path) -> None:
    wheel(index, "1.2.3")
    with pytest.raises(
        LaneError, match=r"^environment: expected pip to download ryll 9.9.9, but .*No matching distribution found for ryll==9.9.9.*; look at .*log$"
    ):
        ryll.from_wheel(place, "9.9.9", ())


def test_a_wheel_that_is_not_what_it_says(place: ryll.Place, index: Path) -> None:
    wheel(index, "1.2.3", says="1.2.4")
    with pytest.raises(LaneError, match=r"^ryll: expected ryll 1.2.3 in ryll-1.2.3-py3-none-any.whl, but the program says 1.2.4"):
        ryll.from_wheel(place, "1.2.3", ())
    wheel(index, "1.2.5", script="other")
    with pytest.raises(LaneError, match=r"^ryll: expected one program ryll in ryll-1.2.5-py3-none-any.whl, but it has 0"):
        ryll.from_wheel(place, "1.2.5", ())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'ryll: error while loading shared libraries: libasound.so.2: cannot open shared object file' >&2; exit 127",
            r"^host: expected the library libasound.so.2, which ryll is linked with, but the dynamic linker does not find it",
        ),
        ("echo no; exit 4", r"^ryll: expected ryll --version to name its version, but it ended with status 4 and said no"),
    ],
)
def test_a_program_that_does_not_start(tmp_path: Path, script: str, message: str) -> None:
    path = tmp_path / "ryll"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(LaneError, match=message):
        ryll.ask_version(str(path), None)


def crate(folder: Path, manifest: str) -> str:
    """A cargo package."""
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.rs").write_text("fn main() {}\n")
    (folder / "Cargo.toml").write_text(manifest)
    return str(folder)


RYLL = '[package]\nname = "ryll"\nversion = "9.9.9"\nedition = "2021"\n'


def test_without_cargo_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        LaneError, match=r"^host: expected a Rust toolchain, for ryll_build_method=git, but there is no cargo on PATH .*, nor rustup; install it by rustup"
    ):
        rust.find({"PATH": str(tmp_path)}, str(tmp_path))


@pytest.fixture
def cargo(tmp_path: Path) -> tuple[rust.Toolchain, dict[str, str]]:
    """The toolchain of this machine and its environment."""
    env = rust.environment(None, str(tmp_path / "target"))
    try:
        return rust.find(env, str(tmp_path)), env
    except LaneError:
        pytest.skip("no Rust toolchain here")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            RYLL + 'rust-version = "1.999"\n',
            r"^host: expected rustc 1.999 or newer, as rust-version of Cargo.toml of ryll asks, but it is 1\.\d+\.\d+; run rustup update",
        ),
        (RYLL.replace("2021", "2999"), r"^host: expected cargo 1\.\d+\.\d+ to understand the checkout of ryll, but .*(edition|2999)"),
        (RYLL.replace('"ryll"', '"other"'), r"^ryll: expected a cargo package named ryll, but the checkout has other"),
        ("[package\n", r"^ryll: expected cargo .* to understand the checkout of ryll"),
    ],
)
def test_a_checkout_that_the_toolchain_cannot_build(cargo: tuple[rust.Toolchain, dict[str, str]], tmp_path: Path, manifest: str, message: str) -> None:
    checkout = crate(tmp_path / "c", manifest)
    with pytest.raises(LaneError, match=message):
        rust.check(*cargo, checkout, "ryll")


def test_a_toolchain_file_asks_too(cargo: tuple[rust.Toolchain, dict[str, str]], tmp_path: Path) -> None:
    checkout = crate(tmp_path / "c", RYLL)
    Path(checkout, "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.999.0"\n')
    quiet = {**cargo[1], "RUSTUP_TOOLCHAIN": "stable"} if Path(cargo[0].cargo).with_name("rustup").exists() else cargo[1]
    with pytest.raises(LaneError, match=r"^host: expected rustc 1.999.0 or newer, as rust-toolchain.toml of ryll asks"):
        rust.check(cargo[0], quiet, checkout, "ryll")


def test_the_callers_flags_do_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    leaks = {"RUSTFLAGS": "-x", "CARGO_TARGET_DIR": "/x", "CARGO_BUILD_TARGET": "x", "CARGO_PROFILE_RELEASE_DEBUG": "true", "RUSTC_WRAPPER": "/x"}
    for name, value in {**leaks, "CARGO_HOME": "/home/of/cargo", "CARGO_NET_OFFLINE": "true"}.items():
        monkeypatch.setenv(name, value)
    env = rust.environment("9/t", "/t")
    assert {name: env.get(name) for name in leaks} == {**dict.fromkeys(leaks), "CARGO_TARGET_DIR": "/t"}
    assert (env["CARGO_HOME"], env["CARGO_NET_OFFLINE"], env["KERBSIDE_LANE"], env["CARGO_ENCODED_RUSTFLAGS"]) == ("/home/of/cargo", "true", "9/t", "")
    assert env["PATH"].endswith("/home/of/cargo/bin")


def test_a_record_that_cannot_be_read_counts_as_nothing(tmp_path: Path) -> None:
    assert ryll.find(tmp_path, None, "git", "main") is None
    (tmp_path / "ryll").write_text("x")
    for text in ("{", "[]", json.dumps({"size": 1}), json.dumps({"size": 2, "commit": ""})):
        (tmp_path / "ryll.json").write_text(text)
        if text != '{"size": 1}':
            assert ryll.find(tmp_path, None, "git", "main") is None


def test_git_is_asked_for_plainly(place: ryll.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_program", lambda name: None)
    with pytest.raises(LaneError, match=r"^host: expected git, for ryll_build_method=git, but there is none on PATH"):
        ryll.from_git(place, "/repo", "main", ())


@pytest.mark.skipif(not command.find_program("git"), reason="git is not installed")
def test_what_cannot_be_fetched_is_named(place: ryll.Place, tmp_path: Path) -> None:
    place.root.mkdir(parents=True)
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    with pytest.raises(LaneError, match=r"^environment: expected git to list /no/repository, but it said .*does not appear to be a git repository"):
        ryll.from_git(place, "/no/repository", "main", ())
    with pytest.raises(LaneError, match=r"^ryll: expected .*/repo to have main, but no branch or tag is named so \(a commit needs all of its 40 digits\)"):
        ryll.from_git(place, str(repo), "main", ())
    with pytest.raises(LaneError, match=rf"^ryll: expected .*/repo to have commit {'0' * 40}, but git said .*not our ref"):
        ryll.from_git(place, str(repo), "0" * 40, ())
