"""cargo and rustc: whether they satisfy what a source asks for, and a build that depends on the source alone.

Of the caller's cargo configuration only what says how crates are reached counts. cargo reads .cargo/config.toml of
every directory above the one that it runs in, the caller's home among them, so it runs in / and is told the source's
own configuration by --config.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import LaneError, one_line

#: What cargo, rustup and rustc may keep from the caller: where they live and how they reach registries.
KEEP = (
    "CARGO_HTTP_* CARGO_NET_* CARGO_REGISTRY_* CARGO_REGISTRIES_* CARGO_SOURCE_* RUSTUP_HOME RUSTUP_DIST_SERVER"
).split()
#: The same in a config.toml.
TABLES = ("source", "registry", "registries", "http", "net", "credential-alias")
CONFIGS = ("config.toml", "config")
GET_RUST = (
    "install it by rustup as https://rustup.rs says (or apt-get install cargo, where the distribution's is new enough)"
)
#: What to do instead of a build, by component. A checkout of kerbside brings the proxy's source with it.
OTHER_WAYS = {"proxy": "if kerbside's Python alone is tested, set lane_proxy_origin to a release; otherwise "}
LIMIT = 60.0
FETCH_LIMIT = 600.0
RUSTUP_LIMIT = 600.0  #: the first call may make rustup fetch the toolchain that the source asks for
#: Compilers and tools that build scripts start. A build that fails without one of them says so in its own way.
TOOLS = ("cc", "c++", "make", "cmake", "pkg-config")
UNREACHABLE = re.compile(
    r"Could(?:n't| not) resolve|failed to (?:download|connect|clone)|network failure|timed? ?out"
    r"|spurious network|Unable to update"
    r"|\[\d+\] [A-Z].*(?:connect|server)"
)
#: What cargo says of a source that is newer than itself.
TOO_OLD = re.compile(
    r"older than the|supported edition values|lock file version|requires? a newer|is not stabilized"
    r"|rustc \S+ is not supported by the following|requires rustc \S+ or newer"
)


@dataclass(frozen=True)
class Cargo:
    """version: rustc's; configs: --config options for the source's own configuration."""

    cargo: str
    version: tuple[int, ...]
    env: dict[str, str]
    configs: tuple[str, ...]
    log: str
    component: str

    def run(self, arguments: Sequence[str], limit: float, what: str) -> command.Done:
        """Run a cargo command to its end in /."""
        argv = [self.cargo, *arguments, *self.configs]
        return command.run(argv, self.env, limit, f"cargo to {what}", cwd="/", log=self.log)


def environment(mark: str | None, work: Path) -> dict[str, str]:
    """The caller's network and registry settings, nothing that changes what is built. work: for cargo's own files."""
    env = command.environment(mark, KEEP, network=True)
    home = Path(os.environ.get("CARGO_HOME") or os.path.join(env["HOME"], ".cargo"))
    own = {"CARGO_TARGET_DIR": str(work / "target"), "CARGO_ENCODED_RUSTFLAGS": "", "CARGO_TERM_COLOR": "never"}
    jobs = {"CARGO_BUILD_JOBS": os.environ["CARGO_BUILD_JOBS"]} if "CARGO_BUILD_JOBS" in os.environ else {}
    return {**env, "PATH": f"{env['PATH']}:{home}/bin", "CARGO_HOME": str(_home(home, work)), **own, **jobs}


def find(env: dict[str, str], folder: Path, root: Path, log: str, component: str) -> Cargo:
    """The toolchain for the package in folder, below root. Raises LaneError (host) when there is none that works."""
    cargo, rustc, rustup = (_which(name, env) for name in ("cargo", "rustc", "rustup"))
    if not cargo or not rustc:
        lacking = "rustc" if cargo else "cargo"
        problem = f"building {component} from source needs Rust: there is no {lacking} on PATH or in ~/.cargo/bin"
        raise LaneError("no_rust", "host", problem, f"{OTHER_WAYS.get(component, '')}{GET_RUST}")
    places = dict.fromkeys((folder, root))
    channel = next((found for place in places if (found := _channel(place))), None)
    if rustup and channel:
        env = {**env, "RUSTUP_TOOLCHAIN": channel}
    done = command.run([rustc, "-vV"], env, RUSTUP_LIMIT, "rustc to say its version", component="host", cwd="/")
    release = re.search(r"(?m)^release: (\d+)\.(\d+)\.(\d+)", done.out)
    if done.status or not release:
        raise LaneError("no_rust", "host", f"rustc does not work: {one_line(done.said, 300)}", GET_RUST)
    version = tuple(int(part) for part in release.groups())
    asked = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?$", channel or "")
    if asked and not rustup and version < tuple(int(part) for part in asked.groups(default="0")):
        problem = f"{component} needs rustc {channel} (rust-toolchain.toml), and it is {release[0].split()[1]}"
        raise LaneError("rust_too_old", "host", problem, GET_RUST)
    configs = [place / ".cargo" / name for place in places for name in CONFIGS]
    options = tuple(word for path in configs if path.is_file() for word in ("--config", str(path)))
    return Cargo(cargo, version, env, options, log, component)


def build(cargo: Cargo, folder: Path, crate: str, features: list[str], limit: float) -> tuple[Path, str]:
    """Build a package; the path of the program of the same name, as cargo names it, and the package's version.

    features: cargo's options for them. Raises LaneError: host for a toolchain that is too old or a compiler that is
    missing, environment for crates that cannot be fetched, the component for everything that is wrong with its source.
    """
    manifest = ["--manifest-path", str(folder / "Cargo.toml")]
    version = _check_package(cargo, manifest, crate)
    fetched = cargo.run(["fetch", *manifest], FETCH_LIMIT, f"fetch the crates of {crate}")
    if fetched.status:
        raise failure(cargo, fetched, f"resolve the crates of {crate}")
    how = ["--release", "--offline", "--message-format", "json-render-diagnostics"]
    built = cargo.run(["build", "-p", crate, *manifest, *features, *how], limit, f"build {crate}")
    if built.status:
        raise failure(cargo, built, f"build {crate}")
    for message in map(json.loads, built.out.splitlines()):
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == crate and message["executable"]:
            return Path(message["executable"]), version
    problem = f"the package {crate} has no program of that name"
    raise LaneError("build_incomplete", cargo.component, problem, evidence=cargo.log)


def install(cargo: Cargo, crate: str, version: str, root: Path, features: list[str], limit: float) -> Path:
    """Build a release from crates.io, with the dependencies of that release. Raises LaneError like `build`."""
    arguments = ["install", crate, "--version", f"={version}", "--locked", "--force", "--root", str(root), *features]
    done = cargo.run(arguments, limit, f"install {crate} {version}")
    if re.search(r"could not find `.*` in registry|is not a valid semver", done.err):
        problem = f"crates.io has no {crate} {version}"
        raise LaneError("no_such_version", "environment", problem, "correct the version", evidence=cargo.log)
    if done.status:
        raise failure(cargo, done, f"build {crate} {version}")
    return root / "bin" / crate


def failure(cargo: Cargo, done: command.Done, what: str) -> LaneError:
    """The error for a cargo that failed: whose fault it is, with the compiler's own first error."""

    def error(code: str, component: str, problem: str, fix: str = "") -> LaneError:
        return LaneError(code, component, f"cargo could not {what}: {problem}", fix, evidence=cargo.log)

    for tool in TOOLS:
        lacks = rf"(?i:linker|tool|command|is|program)\W*(?:\S*-)?{re.escape(tool)}[`\"')]*[ :.]"
        if re.search(lacks, done.err) and not command.find_program(tool):
            return error("no_compiler", "host", f"{tool} is not installed", "run the role deps")
    said, compiled = one_line(done.said, 300), "could not compile" in done.err
    if TOO_OLD.search(done.err) and not compiled:
        return error("rust_too_old", "host", one_line(done.err, 300), f"run rustup update, or {GET_RUST}")
    if UNREACHABLE.search(done.err) and not compiled:
        return error("crates_unreachable", "environment", said, "check the network and cargo's registries")
    lines = done.err.splitlines()
    at = next((n for n, line in enumerate(lines) if re.match(r"error(?:\[\w+\])?: ", line)), None)
    if at is None:
        return error("build_failed", cargo.component, said)
    place = next((found[1] for line in lines[at + 1 : at + 4] if (found := re.match(r"\s*--> (\S+)", line))), "")
    if place:
        more = f"({re.sub(r'^.*/source/', '', place)})"
    else:  # cargo's own errors name the cause below
        below = [line.strip() for line in lines[at + 1 :]]
        more = " ".join([line for line in below if line and not line.startswith(("Caused by", "-->", "|"))][:2])
    return error("build_failed", cargo.component, one_line(f"{lines[at]} {more}", 300))


def _check_package(cargo: Cargo, manifest: list[str], crate: str) -> str:
    """The version of the package."""
    done = cargo.run(["metadata", "--no-deps", "--format-version", "1", *manifest], LIMIT, "read Cargo.toml")
    if done.status:
        raise failure(cargo, done, f"read Cargo.toml of {crate}")
    packages = {entry["name"]: entry for entry in json.loads(done.out)["packages"]}
    if crate not in packages:
        problem = f"the source has no cargo package {crate}; it has {', '.join(sorted(packages)) or 'none'}"
        raise LaneError("build_incomplete", cargo.component, problem)
    return str(packages[crate]["version"])


def _home(home: Path, work: Path) -> Path:
    """The caller's cargo home, or one with nothing but its registries when the configuration there says more."""
    config = next((home / name for name in CONFIGS if (home / name).is_file()), None)
    if config is None:
        return home
    try:
        said = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        said = {"unreadable": True}
    kept = {name: said[name] for name in TABLES if name in said}
    if kept == said:
        return home
    own = work / "home"
    own.mkdir(parents=True, exist_ok=True)
    for source in kept.get("source", {}).values():
        for key in {"directory", "local-registry"} & set(source):
            source[key] = os.path.join(home.parent, source[key])  # cargo takes it from the folder that .cargo is in
    lines = [f"{json.dumps(name)} = {_toml(kept[name])}\n" for name in kept]
    (own / "config.toml").write_text("".join(lines), encoding="utf-8")
    for name in ("registry", "git", "credentials.toml"):
        if (home / name).exists() and not (own / name).exists():
            (own / name).symlink_to(home / name)
    return own


def _toml(value: Any) -> str:
    """A value as TOML writes it on one line; strings, numbers and truth values are written as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _which(name: str, env: dict[str, str]) -> str | None:
    return shutil.which(name, path=env["PATH"])


def _channel(folder: Path) -> str | None:
    """The channel that rust-toolchain.toml or rust-toolchain names."""
    for name in ("rust-toolchain.toml", "rust-toolchain"):
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            try:
                return str(tomllib.loads(text)["toolchain"]["channel"])
            except (tomllib.TOMLDecodeError, KeyError, TypeError):
                return text.strip()
    return None
