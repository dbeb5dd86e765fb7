"""cargo and rustc: whether they are there, and whether they satisfy what a checkout asks for.

A checkout can ask by rust-version and edition in Cargo.toml (cargo refuses an edition it does not know) and by rust-toolchain.toml
(rustup obeys it, a cargo without rustup does not read it).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..core import command
from ..core.errors import legacy_error, one_line

#: What cargo, rustup and rustc may keep from the caller: where they live and how they reach registries. No flags, no target directory.
KEEP = ("CARGO_HOME", "CARGO_HTTP_*", "CARGO_NET_*", "CARGO_REGISTRY_*", "CARGO_REGISTRIES_*", "CARGO_SOURCE_*", "RUSTUP_HOME", "RUSTUP_DIST_SERVER")
GET_RUST = "install it by rustup as https://rustup.rs says (or apt-get install cargo, where the distribution's is new enough)"
LIMIT = 60.0
RUSTUP_LIMIT = 600.0  #: the first call in a checkout may make rustup fetch the toolchain that it asks for


@dataclass(frozen=True)
class Toolchain:
    """cargo's path, rustc's version as (major, minor, patch), and the triple of this machine."""

    cargo: str
    version: tuple[int, ...]
    host: str


def environment(mark: str | None, target_dir: str) -> dict[str, str]:
    """For cargo: network and registry settings of the caller, nothing that changes what is built."""
    env = command.environment(mark, KEEP, network=True)
    home = env.get("CARGO_HOME") or os.path.join(env["HOME"], ".cargo")
    # An empty CARGO_ENCODED_RUSTFLAGS wins over the flags in the user's ~/.cargo/config.toml (cargo book, build.rustflags).
    own = {"PATH": f"{env['PATH']}:{home}/bin", "CARGO_TARGET_DIR": target_dir, "CARGO_ENCODED_RUSTFLAGS": "", "CARGO_TERM_COLOR": "never"}
    return {**env, **own}


def find(env: dict[str, str], checkout: str) -> Toolchain:
    """The toolchain that works in this checkout. Raises LaneError (host) when there is none, or rustup cannot provide the one asked for."""
    cargo = _which("cargo", env)
    rustc = _which("rustc", env)
    if not cargo or not rustc:
        lacking = "cargo" if not cargo else "rustc"
        rustup = "" if _which("rustup", env) else ", nor rustup"
        raise legacy_error("host", "a Rust toolchain, for ryll_build_method=git", f"there is no {lacking} on PATH or in ~/.cargo/bin{rustup}; {GET_RUST}")
    done = command.run([rustc, "-vV"], env, RUSTUP_LIMIT, "rustc to say its version", component="host", cwd=checkout)
    release = re.search(r"(?m)^release: (\d+)\.(\d+)\.(\d+)", done.out)
    host = re.search(r"(?m)^host: (\S+)", done.out)
    if done.status or not release or not host:
        raise legacy_error("host", "rustc to work in the checkout of ryll", f"rustc -vV says {one_line(done.said, 300)}", f"{checkout}/rust-toolchain.toml")
    return Toolchain(cargo, tuple(int(part) for part in release.groups()), host[1])


def check(toolchain: Toolchain, env: dict[str, str], checkout: str, package: str) -> None:
    """Raise LaneError unless this toolchain may build the package of the checkout: host when it is too old, ryll when there is no such package."""
    done = command.run([toolchain.cargo, "metadata", "--no-deps", "--format-version", "1"], env, LIMIT, "cargo metadata", component="host", cwd=checkout)
    have = ".".join(str(part) for part in toolchain.version)
    if done.status:
        old = re.search(r"edition|feature `|lock file version", done.err)
        expected = f"cargo {have} to understand the checkout of ryll"
        raise legacy_error(
            "host" if old else "ryll",
            expected,
            f"it said {one_line(done.err, 300)}",
            f"{checkout}/Cargo.toml{'; a newer toolchain: rustup update' if old else ''}",
        )
    packages = {entry["name"]: entry for entry in json.loads(done.out)["packages"]}
    if package not in packages:
        raise legacy_error("ryll", f"a cargo package named {package}", f"the checkout has {', '.join(sorted(packages)) or 'none'}", f"{checkout}/Cargo.toml")
    asked = {"rust-version of Cargo.toml": packages[package].get("rust_version"), "rust-toolchain.toml": _channel(checkout)}
    for where, text in asked.items():
        if text and (number := re.match(r"(\d+)\.(\d+)(?:\.(\d+))?$", text)):
            wanted = tuple(int(part) for part in number.groups(default="0"))
            if toolchain.version < wanted:
                raise legacy_error("host", f"rustc {text} or newer, as {where} of ryll asks", f"it is {have}; run rustup update, or {GET_RUST}")


def _which(name: str, env: dict[str, str]) -> str | None:
    for folder in env["PATH"].split(":"):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def _channel(checkout: str) -> str | None:
    """The channel that rust-toolchain.toml or rust-toolchain names."""
    for name in ("rust-toolchain.toml", "rust-toolchain"):
        path = Path(checkout, name)
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            try:
                return str(tomllib.loads(text)["toolchain"]["channel"])
            except (tomllib.TOMLDecodeError, KeyError, TypeError):
                return text.strip()
    return None
