"""Rust programs in the cache: what a wheel, a file and a source give, and whose fault it is when something lacks."""

import hashlib
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import run_state
from ansible.module_utils.lane.prepare import git, origin, program, rust
from ansible.module_utils.lane.prepare.origin import PROXY, RYLL
from ansible.module_utils.lane.prepare.source import Place, Source, resolve
from prepared import executable, fails, only_index

SAYS = "echo 'ryll v{} (0123abcd)'"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A cache of the test's own."""
    return Place(str(tmp_path / "cache"), "99/t", str(tmp_path / "log"), 120)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return only_index(tmp_path / "index", monkeypatch)


def wheel(folder: Path, version: str, says: str = "", script: str = "ryll") -> Path:
    """A wheel of ryll whose program prints a version."""
    path = folder / f"ryll-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"ryll-{version}.data/scripts/{script}", "#!/bin/sh\n" + SAYS.format(says or version))
        metadata = f"Metadata-Version: 2.1\nName: ryll\nVersion: {version}\n"
        archive.writestr(f"ryll-{version}.dist-info/METADATA", metadata)
        archive.writestr(f"ryll-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return path


def ask(text: str, place: Place) -> Source:
    """The source of a ryll."""
    named = origin.parse(RYLL, text, "/")
    return resolve(RYLL, named, place)


def provide(text: str, place: Place, *hashes: str) -> program.Program:
    return program.provide(place, program.Wanted(RYLL, ask(text, place), hashes=hashes))


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_release_is_fetched_once(place, index):
    packed = wheel(index, "1.2.3")
    digest = sha(packed)
    first = provide("1.2.3", place, digest)
    assert (first.version, first.cached) == ("1.2.3", False)
    entry = {"kind": "index", "source": "1.2.3", "version": "1.2.3", "commit": "0123abcd", "dirty": None}
    assert first.origin == {**entry, "sha256": sha(Path(first.path))}
    with fails("wrong_hash"):
        provide("1.2.3", place, "0" * 64)
    packed.unlink()
    again = provide("1.2.3", place, digest)
    assert again.cached
    assert again.origin == first.origin
    assert sorted(path.name for path in Path(first.path).parent.iterdir()) == ["record.json", "ryll"]
    assert not list(Path(first.path).parents[1].glob(".new-*"))


def test_a_damaged_program_in_the_cache_is_made_again(place, tmp_path):
    mine = executable(tmp_path / "my-ryll", SAYS.format("1.2.3"))
    path = Path(provide(mine, place).path)
    good = path.read_text()
    for damage in ("#!/bin/sh\n", good.replace("1.2.3", "6.6.6")):  # another size, another content of the same size
        path.write_text(damage)
        assert not provide(mine, place).cached
        assert path.read_text() == good
    for record in ("{", "[]"):
        (path.parent / "record.json").write_text(record)
        assert not provide(mine, place).cached


def test_a_requirement_is_resolved_at_every_run(place, index):
    wheel(index, "1.2.3")
    assert provide("ryll>=1.2", place).version == "1.2.3"
    assert provide("ryll>=1.2", place).cached
    wheel(index, "1.3.0")
    newest = provide("ryll>=1.2", place)
    assert (newest.version, newest.cached, newest.origin["kind"]) == ("1.3.0", False, "requirement")
    with fails("no_such_version"):
        provide("9.9", place)


def test_a_file_is_known_by_its_bytes(place, tmp_path):
    built = str(wheel(tmp_path, "1.0"))
    assert provide(built, place).version == "1.0"
    assert provide(built, place).cached
    with zipfile.ZipFile(built, "a") as archive:
        archive.writestr("more", "")
    assert not provide(built, place).cached
    mine = executable(tmp_path / "my-ryll", SAYS.format("2.0"))
    found = provide(mine, place)
    assert (found.version, found.origin["kind"], found.origin["source"]) == ("2.0", "file", mine)


def test_what_is_not_what_it_says(place, tmp_path):
    no_wheel = tmp_path / "ryll-3-py3-none-any.whl"
    no_wheel.write_text("no zip")
    for path in (wheel(tmp_path, "1", says="1.2.4"), wheel(tmp_path, "2", script="other"), no_wheel):
        with fails("wrong_program", "ryll"):
            provide(str(path), place)


def test_a_file_that_cannot_start_is_named_as_the_user_named_it(place, tmp_path):
    mine = tmp_path / "my-ryll"
    for text, code in (("#!/no/interpreter", "command_not_started"), ("#!/bin/sh\nexit 4", "program_unusable")):
        mine.write_text(text)
        with fails(code, "ryll") as caught:
            provide(str(mine), place)
        assert ".new-" not in str(caught.value.as_dict())
        assert code != "command_not_started" or str(mine) in caught.value.cause


@pytest.mark.parametrize(
    ("script", "code", "component"),
    [
        ("echo 'x: error while loading shared libraries: a.so.2: no' >&2; exit 127", "missing_library", "host"),
        ("echo no; exit 4", "program_unusable", "ryll"),
        ("echo other 1.0", "program_unusable", "ryll"),
    ],
)
def test_a_program_that_does_not_start(tmp_path, script, code, component):
    with fails(code, component):
        program.ask(RYLL, executable(tmp_path / "ryll", script), None)


def test_old_programs_are_removed_but_not_one_that_runs(place, tmp_path):
    homes = []
    for number in range(7):
        mine = executable(tmp_path / "my-ryll", SAYS.format(f"1.{number}"))
        made = provide(mine, place)
        homes.append(Path(made.path).parent)
        os.utime(homes[-1], (number, number))
        if number == 0:
            running = subprocess.Popen([sys.executable, "-c", "input()", made.path], stdin=subprocess.PIPE)
    assert [home.exists() for home in homes] == [True, False, False, True, True, True, True]
    assert made.removed == (homes[2].name,)
    source = ask(mine, place)
    removed = f"; removed from the cache: {homes[2].name}"
    assert made.note("ryll", source) == f"ryll 1.6, fetched, of {mine}{removed}"
    running.communicate(b"\n")


@pytest.mark.skipif(not command.find_program("git"), reason="git is not installed")
def test_what_cannot_be_fetched_is_named(place, tmp_path, monkeypatch):
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    for text, code, component in (
        ("git+/no/repository@main", "repository_unreadable", "environment"),
        (f"git+{repo}@main", "no_such_ref", "environment"),
        (f"git+{repo}@{'0' * 40}", "no_such_ref", "environment"),
    ):
        with fails(code, component):
            provide(text, place)
    monkeypatch.setattr(command, "find_program", lambda name: None)
    with fails("no_git", "host"):
        git.Repository("/repo", "x", None, "").commit("main")


def test_the_process_tells_what_runs(tmp_path):
    mine = tmp_path / "kerbside-proxy"
    mine.write_bytes(Path("/bin/sleep").read_bytes())
    mine.chmod(0o755)
    with subprocess.Popen([str(mine), "60"]) as child:
        seen = None
        while not seen:  # between fork and exec
            seen = program.running(os.getpid(), "kerbside-proxy")
        assert seen == sha(mine)
        assert program.running(os.getpid(), "ryll") is None
        child.kill()
    odd = tmp_path / os.fsdecode(b"caf\xe9")  # not valid UTF-8, like any name that prctl(2) cuts
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as child:
        run_state.until(lambda: Path(f"/proc/{child.pid}/stat").read_bytes().find(b"caf") > 0, 10)
        assert program.running(child.pid, "kerbside-proxy") is None
        child.kill()


# --- builds: cargo itself is asked, with packages of a few lines ---

MAIN = 'fn main() { println!("ryll v9.9.9 (%s)"); }\n'
MANIFEST = """
[package]
name = "ryll"
version = "9.9.9"
edition = "2021"
[features]
default = ["gui"]
gui = []
"""
BROKEN_CONFIG = """
[build]
target = "no-such-target"
target-dir = "/no"
rustc-wrapper = "/no/wrapper"
rustflags = ["--no-flag"]
"""
needs_cargo = pytest.mark.skipif(not command.find_program("cargo"), reason="cargo is not installed")


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    """A cargo package ryll, whose default feature does not compile."""
    folder = tmp_path / "ryll source"
    (folder / "src").mkdir(parents=True)
    breaks = '#[cfg(feature = "gui")]\ncompile_error!("default features are on");\n'
    (folder / "src/main.rs").write_text(breaks + MAIN % "first")
    (folder / "Cargo.toml").write_text(MANIFEST)
    return folder


@needs_cargo
@pytest.mark.slow
def test_a_tree_is_built_as_it_is(place, crate, tmp_path, monkeypatch):
    home = tmp_path / "cargo-home"  # the real one by HOME, and a configuration there that breaks any build
    home.mkdir()
    (home / "config.toml").write_text(BROKEN_CONFIG)
    for name in ("RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "RUSTC_WRAPPER"):
        monkeypatch.setenv(name, "/no")
    monkeypatch.setenv("CARGO_HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path.home()}/.cargo/bin:{os.environ['PATH']}")
    before = sorted(crate.rglob("*"))
    first = provide(str(crate), place)
    assert (first.version, first.origin["kind"], first.origin["commit"]) == ("9.9.9", "checkout", "first")
    assert provide(str(crate), place).cached
    (crate / "src/main.rs").write_text(MAIN % "second")
    os.utime(crate / "src/main.rs", (1, 1))  # as a restored file
    assert provide(str(crate), place).origin["commit"] == "second"
    assert sorted(crate.rglob("*")) == before


NO_FUNCTION = "cannot find function `nothing` in this scope (src/main.rs:1:13)"
RUST_VERSION = MANIFEST.replace("edition", 'rust-version = "1.999"\nedition')


@needs_cargo
@pytest.mark.parametrize(
    ("file", "text", "code", "words"),
    [
        ("src/main.rs", "fn main() { nothing(); }\n", "build_failed", NO_FUNCTION),
        ("Cargo.toml", "[package\n", "build_failed", ""),
        ("Cargo.toml", MANIFEST + '[dependencies]\nx = { path = "../gone" }\n', "build_failed", ""),
        ("Cargo.toml", MANIFEST.replace('"ryll"', '"other"'), "build_incomplete", "it has other"),
        ("Cargo.toml", MANIFEST.replace("2021", "2999"), "rust_too_old", ""),
        ("Cargo.toml", RUST_VERSION, "rust_too_old", "requires rustc 1.999"),
        (".cargo/config.toml", '[build]\nrustc = "/no/rustc"\n', "build_failed", ""),  # the source's own counts
    ],
    ids=["error", "no manifest", "no dependency", "another crate", "edition", "rust-version", "config"],
)
def test_a_source_that_does_not_build(place, crate, file, text, code, words):
    (crate / file).parent.mkdir(exist_ok=True)
    (crate / file).write_text(text)
    with fails(code, "host" if code == "rust_too_old" else "ryll", words):
        provide(str(crate), place)


@needs_cargo
def test_a_toolchain_file_asks_too(crate, monkeypatch):
    (crate / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.999.0"\n')
    monkeypatch.setattr(rust, "_which", lambda name, env: None if name == "rustup" else command.find_program(name))
    with fails("rust_too_old", "host"):
        rust.find(rust.environment(None, crate), crate, crate, "", "ryll")


GET = "error: failed to get `x`\nCaused by:\n  [6] Could not resolve hostname (Could not resolve host: index.test)"
DOWNLOAD = "error: failed to download from `https://i.test`\nCaused by:\n  [28] Timeout was reached"
CMAKE = "thread 'main' panicked:\nfailed to execute command: No such file\nis `cmake` not installed?\nerror: failed"
OLD = "error: rustc 1.80.0 is not supported by the following package:\n  x@0.1.0 requires rustc 1.85"
OLDER = "error: package `x v1.0.0` cannot be built because it requires rustc 1.85 or newer, while the currently active"
LINKER = "error: linker `cc` not found\n  |\n  = note: No such file or directory (os error 2)"


@pytest.mark.parametrize(
    ("said", "installed", "code", "component"),
    [
        (LINKER, None, "no_compiler", "host"),
        (LINKER, "/bin/cc", "build_failed", "proxy"),
        (CMAKE, None, "no_compiler", "host"),
        ("error occurred: Failed to find tool. Is `c++` installed?", None, "no_compiler", "host"),
        (GET, None, "crates_unreachable", "environment"),
        (DOWNLOAD, None, "crates_unreachable", "environment"),
        ("error: failed to select a version for `x`.", None, "build_failed", "proxy"),
        (OLD, None, "rust_too_old", "host"),
        (OLDER, None, "rust_too_old", "host"),
    ],
    ids=["cc", "cc is there", "cmake", "c++", "no name", "timeout", "version", "old", "older"],
)
def test_a_failure_of_cargo_has_its_kind(said, installed, code, component, monkeypatch):
    monkeypatch.setattr(command, "find_program", lambda name: installed)
    cargo = rust.Cargo("cargo", (1, 80, 0), {}, (), "log", "proxy")
    error: LaneError = rust.failure(cargo, command.Done(101, "", said), "build it")
    assert (error.code, error.component) == (code, component)


def test_without_rust_it_is_said_how_to_get_it(tmp_path):
    with fails("no_rust", "host"):
        rust.find({"PATH": str(tmp_path)}, tmp_path, tmp_path, "", "proxy")


REACH = """
[source.crates-io]
replace-with = "mirror"
[source.mirror]
directory = "vendor"
[net]
retry = 3
git-fetch-with-cli = true
"""


def test_of_the_callers_cargo_only_the_registries_count(tmp_path, monkeypatch):
    home, work = tmp_path / ".cargo", tmp_path / "work"
    (home / "registry").mkdir(parents=True)
    monkeypatch.setenv("CARGO_HOME", str(home))
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    monkeypatch.setenv("CARGO_PROFILE_RELEASE_DEBUG", "true")
    assert rust.environment(None, work)["CARGO_HOME"] == str(home)
    (home / "config.toml").write_text(REACH)
    assert rust.environment(None, work)["CARGO_HOME"] == str(home)
    (home / "config.toml").write_text(REACH + '[build]\nrustc-wrapper = "x"\n[profile.release]\nopt-level = 0\n')
    env = rust.environment("9/t", work)
    assert env["CARGO_HOME"] == str(work / "home")
    assert tomllib.loads((work / "home/config.toml").read_text()) == {
        "source": {"crates-io": {"replace-with": "mirror"}, "mirror": {"directory": str(tmp_path / "vendor")}},
        "net": {"retry": 3, "git-fetch-with-cli": True},
    }
    assert (work / "home/registry").resolve() == home / "registry"
    assert (env["CARGO_NET_OFFLINE"], env["KERBSIDE_LANE"], env["CARGO_ENCODED_RUSTFLAGS"]) == ("true", "9/t", "")
    assert "CARGO_PROFILE_RELEASE_DEBUG" not in env


def test_the_proxy_depends_on_all_but_python_and_pages():
    mine = ("rust/kerbside-proxy/src/main.rs", "rust/x.py", "kerbside/rpc/kerbside.proto")
    assert [name for name in (*mine, "kerbside/api/__init__.py", "README.md") if PROXY.belongs(name)] == list(mine)
