"""Rust programs in the cache: what a wheel, a file and a source give, what a damaged cache does, and whose fault it is when something lacks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import git, origin, program, rust
from ansible.module_utils.lane.prepare.origin import PROXY, RYLL
from ansible.module_utils.lane.prepare.source import Place, Source, resolve

PROGRAM = "#!/bin/sh\necho 'ryll v{} (0123abcd)'\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A cache of the test's own."""
    return Place(str(tmp_path / "cache"), "99/t", str(tmp_path / "log"), 120)


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
        archive.writestr(
            f"ryll-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: ryll\nVersion: {version}\n"
        )
        archive.writestr(
            f"ryll-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"ryll-{version}.dist-info/RECORD", "")
    return path


def ask(text: str, place: Place) -> Source:
    """The source of a ryll."""
    named = origin.parse(RYLL, text, "/")
    assert named
    return resolve(RYLL, named, place)


def provide(text: str, place: Place, hashes: tuple[str, ...] = ()) -> program.Program:
    return program.provide(place, RYLL, ask(text, place), hashes=hashes)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_release_is_fetched_once(place: Place, index: Path) -> None:
    packed = wheel(index, "1.2.3")
    digest = sha(packed)
    first = provide("1.2.3", place, (digest,))
    assert (first.version, first.cached) == ("1.2.3", False)
    assert first.origin == {
        "kind": "index",
        "source": "1.2.3",
        "version": "1.2.3",
        "commit": "0123abcd",
        "dirty": None,
        "sha256": sha(Path(first.path)),
    }
    packed.unlink()
    again = provide("1.2.3", place, (digest,))
    assert again.cached
    assert again.origin == first.origin
    assert sorted(path.name for path in Path(first.path).parent.iterdir()) == ["record.json", "ryll"]
    assert not list(Path(first.path).parents[1].glob(".new-*"))


def test_a_cached_wheel_that_has_another_hash_does_not_count(place: Place, index: Path) -> None:
    wheel(index, "1.2.3")
    provide("1.2.3", place)
    with pytest.raises(LaneError) as caught:
        provide("1.2.3", place, ("0" * 64,))
    assert caught.value.code == "wrong_hash"


def binary(folder: Path, version: str) -> str:
    """A program that somebody built."""
    path = folder / "my-ryll"
    path.write_text(PROGRAM.format(version))
    path.chmod(0o755)
    return str(path)


def test_a_damaged_program_in_the_cache_is_made_again(place: Place, tmp_path: Path) -> None:
    mine = binary(tmp_path, "1.2.3")
    path = Path(provide(mine, place).path)
    for damage in ("#!/bin/sh\n", PROGRAM.format("6.6.6")):  # another size, another content of the same size
        path.write_text(damage)
        assert not provide(mine, place).cached
        assert path.read_text() == PROGRAM.format("1.2.3")
    (path.parent / "record.json").write_text("[]")
    assert not provide(mine, place).cached


def test_a_requirement_is_resolved_at_every_run(place: Place, index: Path) -> None:
    wheel(index, "1.2.3")
    assert provide("ryll>=1.2", place).version == "1.2.3"
    assert provide("ryll>=1.2", place).cached
    wheel(index, "1.3.0")
    newest = provide("ryll>=1.2", place)
    assert (newest.version, newest.cached, newest.origin["kind"]) == ("1.3.0", False, "requirement")


def test_a_file_is_known_by_its_bytes(place: Place, tmp_path: Path) -> None:
    built = wheel(tmp_path, "1.0")
    assert provide(str(built), place).version == "1.0"
    assert provide(str(built), place).cached
    wheel(tmp_path, "1.0", says="1.0")
    with zipfile.ZipFile(built, "a") as archive:
        archive.writestr("more", "")
    assert not provide(str(built), place).cached
    mine = binary(tmp_path, "2.0")
    found = provide(mine, place)
    assert (found.version, found.origin["kind"], found.origin["source"]) == ("2.0", "file", mine)


@pytest.mark.parametrize(
    ("version", "says", "script", "code"),
    [("1.2.3", "1.2.4", "ryll", "wrong_program"), ("1.2.5", None, "other", "wrong_program"), ("9.9", None, "", "")],
)
def test_what_is_not_what_it_says(
    place: Place, index: Path, version: str, says: str | None, script: str, code: str
) -> None:
    wheel(index, version if code else "1.0", says, script)
    with pytest.raises(LaneError) as caught:
        provide(version, place)
    assert (caught.value.code, caught.value.component) == (
        (code, "ryll") if code else ("no_such_version", "environment")
    )


@pytest.mark.parametrize(
    ("script", "code", "component"),
    [
        (
            "echo 'x: error while loading shared libraries: libasound.so.2: cannot open shared object file' >&2; exit 127",
            "missing_library",
            "host",
        ),
        ("echo no; exit 4", "program_unusable", "ryll"),
        ("echo other 1.0", "program_unusable", "ryll"),
    ],
)
def test_a_program_that_does_not_start(tmp_path: Path, script: str, code: str, component: str) -> None:
    path = tmp_path / "ryll"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(LaneError) as caught:
        program.ask(RYLL, str(path), None)
    assert (caught.value.code, caught.value.component) == (code, component)


def test_old_programs_are_removed_but_not_one_that_runs(place: Place, tmp_path: Path) -> None:
    homes = []
    for number in range(7):
        mine = binary(tmp_path, f"1.{number}")
        made = provide(mine, place)
        homes.append(Path(made.path).parent)
        os.utime(homes[-1], (number, number))
        if number == 0:
            running = subprocess.Popen([sys.executable, "-c", "input()", made.path], stdin=subprocess.PIPE)
    assert [home.exists() for home in homes] == [True, False, False, True, True, True, True]
    assert made.removed == (homes[2].name,)
    assert homes[2].name in made.note("ryll", ask(mine, place))
    running.communicate(b"\n")


@pytest.mark.skipif(not command.find_program("git"), reason="git is not installed")
def test_what_cannot_be_fetched_is_named(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    for text, code, component in (
        ("git+/no/repository@main", "repository_unreadable", "environment"),
        (f"git+{repo}@main", "no_such_ref", "ryll"),
        (f"git+{repo}@{'0' * 40}", "no_such_ref", "ryll"),
    ):
        with pytest.raises(LaneError) as caught:
            provide(text, place)
        assert (caught.value.code, caught.value.component) == (code, component)
    monkeypatch.setattr(command, "find_program", lambda name: None)
    with pytest.raises(LaneError) as caught:
        git.Repository("/repo", "x", "ryll", None, "").program()
    assert (caught.value.code, caught.value.component) == ("no_git", "host")


def test_the_process_tells_what_runs(tmp_path: Path) -> None:
    mine = tmp_path / "kerbside-proxy"
    mine.write_bytes(Path("/bin/sleep").read_bytes())
    mine.chmod(0o755)
    with subprocess.Popen([str(mine), "60"]) as child:
        seen = None
        while not seen:  # between fork and exec
            seen = program.running(os.getpid(), ("kerbside-proxy",))
        assert seen == {"path": str(mine), "sha256": sha(mine)}
        assert program.running(os.getpid(), ("ryll",)) is None
        child.kill()


# --- builds: cargo itself is asked, with packages of a few lines ---

MAIN = 'fn main() { println!("ryll v9.9.9 (%s)"); }\n'
MANIFEST = '[package]\nname = "ryll"\nversion = "9.9.9"\nedition = "2021"\n[features]\ndefault = ["gui"]\ngui = []\nloud = []\n'
needs_cargo = pytest.mark.skipif(not command.find_program("cargo"), reason="cargo is not installed")


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    """A cargo package ryll, whose default feature does not compile."""
    folder = tmp_path / "ryll source"
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.rs").write_text(
        '#[cfg(feature = "gui")]\ncompile_error!("default features are on");\n' + MAIN % "first"
    )
    (folder / "Cargo.toml").write_text(MANIFEST)
    return folder


@needs_cargo
@pytest.mark.slow
def test_a_tree_is_built_as_it_is_whatever_the_caller_has_set(
    place: Place, crate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "cargo-home"  # the real one by HOME, and a configuration there that breaks any build
    home.mkdir()
    (home / "config.toml").write_text(
        '[build]\ntarget = "no-such-target"\nrustc-wrapper = "/no/wrapper"\nrustflags = ["--no-flag"]\ntarget-dir = "/no"\n'
    )
    for name, value in {
        "CARGO_HOME": home,
        "RUSTFLAGS": "--no-flag",
        "CARGO_BUILD_TARGET": "no",
        "CARGO_TARGET_DIR": "/no",
        "RUSTC_WRAPPER": "/no",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PATH", f"{Path.home()}/.cargo/bin:{os.environ['PATH']}")
    before = sorted(crate.rglob("*"))
    first = provide(str(crate), place)
    assert (first.version, first.origin["kind"], first.origin["commit"]) == ("9.9.9", "checkout", "first")
    assert provide(str(crate), place).cached
    (crate / "src/main.rs").write_text(MAIN % "second")
    os.utime(crate / "src/main.rs", (1, 1))  # as a restored file
    assert provide(str(crate), place).origin["commit"] == "second"
    assert sorted(crate.rglob("*")) == before


@needs_cargo
@pytest.mark.parametrize(
    ("file", "text", "code", "component", "words"),
    [
        (
            "src/main.rs",
            "fn main() { nothing(); }\n",
            "build_failed",
            "ryll",
            "cannot find function `nothing` in this scope (src/main.rs:1:13)",
        ),
        ("Cargo.toml", "[package\n", "build_failed", "ryll", ""),
        ("Cargo.toml", MANIFEST + '[dependencies]\nx = { path = "../gone" }\n', "build_failed", "ryll", ""),
        ("Cargo.toml", MANIFEST.replace('"ryll"', '"other"'), "build_incomplete", "ryll", "it has other"),
        ("Cargo.toml", MANIFEST.replace("2021", "2999"), "rust_too_old", "host", ""),
        (
            "Cargo.toml",
            MANIFEST.replace('"2021"', '"2021"\nrust-version = "1.999"'),
            "rust_too_old",
            "host",
            "needs rustc 1.999",
        ),
        (
            ".cargo/config.toml",
            '[build]\nrustc = "/no/rustc"\n',
            "build_failed",
            "ryll",
            "",
        ),  # the source's own configuration counts
    ],
)
def test_a_source_that_does_not_build(
    place: Place, crate: Path, file: str, text: str, code: str, component: str, words: str
) -> None:
    (crate / file).parent.mkdir(exist_ok=True)
    (crate / file).write_text(text)
    with pytest.raises(LaneError) as caught:
        provide(str(crate), place)
    assert (caught.value.code, caught.value.component) == (code, component), caught.value
    assert words in caught.value.problem


@needs_cargo
def test_a_toolchain_file_asks_too(crate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (crate / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.999.0"\n')
    monkeypatch.setattr(rust, "_which", lambda name, env: None if name == "rustup" else command.find_program(name))
    with pytest.raises(LaneError) as caught:
        rust.find(rust.environment(None, crate), crate, crate, "", "ryll")
    assert caught.value.code == "rust_too_old"


def cargo_said(text: str) -> LaneError:
    return rust.failure(
        rust.Cargo("cargo", (1, 80, 0), {}, (), "log", "proxy"), command.Done(101, "", text), "build it"
    )


@pytest.mark.parametrize(
    ("said", "code", "component"),
    [
        ("error: linker `cc` not found\n  |\n  = note: No such file or directory (os error 2)", "no_compiler", "host"),
        (
            "thread 'main' panicked:\nfailed to execute command: No such file or directory\nis `cmake` not installed?\nerror: failed to run",
            "no_compiler",
            "host",
        ),
        ("error occurred: Failed to find tool. Is `c++` installed?", "no_compiler", "host"),
        (
            "error: failed to get `x`\nCaused by:\n  [6] Could not resolve hostname (Could not resolve host: index.test)",
            "crates_unreachable",
            "environment",
        ),
        (
            "error: failed to download from `https://i.test`\nCaused by:\n  [28] Timeout was reached",
            "crates_unreachable",
            "environment",
        ),
        ("error: failed to select a version for `x`.", "build_failed", "proxy"),
        ("error: failed to parse manifest at `/x/Cargo.toml`", "build_failed", "proxy"),
    ],
)
def test_a_failure_of_cargo_has_its_kind(said: str, code: str, component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_program", lambda name: None)
    assert (cargo_said(said).code, cargo_said(said).component) == (code, component)


def test_a_compiler_that_is_installed_is_not_missing() -> None:
    assert cargo_said("error: linker `cc` not found").code == (
        "build_failed" if command.find_program("cc") else "no_compiler"
    )


def test_without_rust_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(LaneError) as caught:
        rust.find({"PATH": str(tmp_path)}, tmp_path, tmp_path, "", "proxy")
    assert (caught.value.code, caught.value.component) == ("no_rust", "host")


def test_of_the_callers_cargo_only_the_registries_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / ".cargo", tmp_path / "work"
    (home / "registry").mkdir(parents=True)
    monkeypatch.setenv("CARGO_HOME", str(home))
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    monkeypatch.setenv("CARGO_PROFILE_RELEASE_DEBUG", "true")
    assert rust.environment(None, work)["CARGO_HOME"] == str(home)
    reach = '[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\ndirectory = "vendor"\n[net]\nretry = 3\ngit-fetch-with-cli = true\n'
    (home / "config.toml").write_text(reach)
    assert rust.environment(None, work)["CARGO_HOME"] == str(home)
    (home / "config.toml").write_text(reach + '[build]\nrustc-wrapper = "x"\n[profile.release]\nopt-level = 0\n')
    env = rust.environment("9/t", work)
    assert env["CARGO_HOME"] == str(work / "home")

    assert tomllib.loads((work / "home/config.toml").read_text()) == {
        "source": {"crates-io": {"replace-with": "mirror"}, "mirror": {"directory": str(tmp_path / "vendor")}},
        "net": {"retry": 3, "git-fetch-with-cli": True},
    }
    assert (work / "home/registry").resolve() == home / "registry"
    assert (env["CARGO_NET_OFFLINE"], env["KERBSIDE_LANE"], env["CARGO_ENCODED_RUSTFLAGS"]) == ("true", "9/t", "")
    assert "CARGO_PROFILE_RELEASE_DEBUG" not in env


def test_the_proxy_depends_on_all_but_python_and_pages() -> None:
    files = (
        "rust/kerbside-proxy/src/main.rs",
        "rust/x.py",
        "kerbside/rpc/kerbside.proto",
        "kerbside/api/__init__.py",
        "README.md",
    )
    assert [program.belongs_to_proxy(name) for name in files] == [True, True, True, False, False]
    assert json.dumps(PROXY.markers)
