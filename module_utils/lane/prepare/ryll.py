"""Have ryll in the lane's cache: a release from the package index, or a commit of its repository built here.

Each result is a folder of its own, named after the version or the commit, with the program `ryll` and ryll.json in it. It is made under
another name and renamed when it is whole, so what has the right name is complete, whoever else fills the cache at the same time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import legacy_error, one_line
from . import cache, git, rust

RECORD = "ryll.json"
FETCH_LIMIT = git.FETCH_LIMIT


@dataclass(frozen=True)
class Ryll:
    """A ryll in the cache. version: the number it prints; ref: what was asked for; commit: as far as known, else ""."""

    path: str
    version: str
    method: str
    ref: str
    commit: str
    cached: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """Where things go. cache_dir: the lane's cache; mark: for the programs that run; log: a file for what builds say; limit: seconds for a build."""

    cache_dir: str
    mark: str | None
    log: str
    limit: float

    @property
    def root(self) -> Path:
        return Path(self.cache_dir, "ryll")


def wheel_home(place: Place, version: str) -> Path:
    return place.root / f"wheel-{version}"


def git_home(place: Place, commit: str, features: tuple[str, ...]) -> Path:
    return place.root / "-".join(("git", commit, *features))


def find(home: Path, mark: str | None, method: str, ref: str) -> Ryll | None:
    """What stands ready in `home`, its version asked anew; None when nothing does. A cut program counts as nothing."""
    try:
        record = json.loads((home / RECORD).read_text(encoding="utf-8"))
        whole = (home / "ryll").stat().st_size == record["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not whole:
        return None
    path = str(home / "ryll")
    version, _ = ask_version(path, mark)
    return Ryll(path, version, method, ref, record["commit"], True)


def ask_version(path: str, mark: str | None) -> tuple[str, str]:
    """(version, abbreviated commit or "") as `ryll --version` prints them: "ryll 0.3.0 (f12d9b20)", with or without a v."""
    done = command.run([path, "--version"], command.environment(mark), 20, "ryll to say its version", component="ryll")
    if missing := re.search(r"error while loading shared libraries: (\S+?):", done.err):
        raise legacy_error(
            "host", f"the library {missing[1]}, which ryll is linked with", "the dynamic linker does not find it", "the role deps, docs/packages.md"
        )
    found = re.match(r"ryll v?(\d\S*)(?: \(([^)]*)\))?", done.out)
    if done.status or not found:
        raise legacy_error("ryll", "ryll --version to name its version", f"it ended with status {done.status} and said {one_line(done.said, 200)}", path)
    return found[1], found[2] or ""


def from_wheel(place: Place, version: str, hashes: tuple[str, ...]) -> Ryll:
    """The release of this version, fetched by pip from the index that pip is configured for.

    hashes: the SHA-256 that its wheels may have; empty takes any. Raises LaneError: environment when pip cannot get it, ryll when it is not
    what it says.
    """
    home = wheel_home(place, version)
    if found := find(home, place.mark, "wheel", version):
        return found
    with cache.locked(place.root, home.name, place.limit), _growing(place) as new:
        if found := find(home, place.mark, "wheel", version):
            return found
        wheel = _download(place, new, version, hashes)
        program = new / "ryll"
        _unpack(wheel, program)
        wheel.unlink()
        (new / "requirements.txt").unlink()
        said, commit = ask_version(str(program), place.mark)
        if said != version:
            raise legacy_error("ryll", f"ryll {version} in {wheel.name}", f"the program says {said}", "ryll_build_version")
        _publish(new, home, commit)
    return Ryll(str(home / "ryll"), version, "wheel", version, commit, False)


def _download(place: Place, folder: Path, version: str, hashes: tuple[str, ...]) -> Path:
    wish = folder / "requirements.txt"
    wish.write_text(" ".join([f"ryll=={version}", *(f"--hash=sha256:{digest}" for digest in hashes)]) + "\n", encoding="utf-8")
    env = {**command.environment(place.mark, cache.PIP_KEEP, network=True), "PIP_REQUIRE_VIRTUALENV": "0", "TMPDIR": str(folder)}
    arguments = ["download", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-deps", "--only-binary", ":all:"]
    done = command.run(
        [*_pip(), *arguments, "--dest", str(folder), "-r", str(wish)], env, FETCH_LIMIT, f"pip to download ryll {version}", log=place.log, together=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.status or len(wheels) != 1:
        raise legacy_error("environment", f"pip to download ryll {version}", f"it ended with status {done.status}: {one_line(done.said, 300)}", place.log)
    return wheels[0]


def _pip() -> list[str]:
    """A pip that works without a virtual environment: this Python's own, else one on PATH."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if path := command.find_program(name):
            return [path]
    raise legacy_error(
        "host", "pip, to download ryll", f"{sys.executable} has none and there is no pip3 on PATH; apt-get install python3-pip, or ryll_build_method=git"
    )


def _unpack(wheel: Path, program: Path) -> None:
    """Take the one program out of a wheel; a wheel keeps scripts in NAME.data/scripts (PyPA, binary distribution format)."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.data/scripts/ryll", name)]
            if len(names) != 1:
                raise legacy_error("ryll", f"one program ryll in {wheel.name}", f"it has {len(names)}", "ryll_build_version")
            with archive.open(names[0]) as packed, open(program, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
    except zipfile.BadZipFile as error:
        raise legacy_error("environment", f"{wheel.name} to be a wheel", f"it cannot be unpacked ({error})") from None
    program.chmod(0o755)


def from_git(place: Place, repo: str, ref: str, features: tuple[str, ...]) -> Ryll:
    """ryll of a branch, tag or commit of a git repository, built here unless this commit has been built before.

    Raises LaneError: host for tools that lack, environment when repository or crates cannot be fetched, ryll when the ref does not exist or
    does not build.
    """
    source = git.Repository(repo, "ryll_build", "ryll", "ryll_build_method=git", place.mark, place.log)
    source.program()
    commit = source.commit(ref)
    home = git_home(place, commit, features)
    if found := find(home, place.mark, "git", ref):
        return found
    with cache.locked(place.root, source.name, place.limit):
        if found := find(home, place.mark, "git", ref):
            return found
        folder = place.root / f"source-{source.name}"
        source.check_out(commit, folder)
        program = _compile(place, folder, place.root / f"target-{source.name}", features)
        with _growing(place) as new:
            shutil.copy2(program, new / "ryll")
            version, _ = ask_version(str(new / "ryll"), place.mark)
            _publish(new, home, commit)
    return Ryll(str(home / "ryll"), version, "git", ref, commit, False)


def _compile(place: Place, source: Path, target: Path, features: tuple[str, ...]) -> str:
    """Build the package ryll and return the path of the program, as cargo names it."""
    env = rust.environment(place.mark, str(target))
    cargo = rust.find(env, str(source))
    rust.check(cargo, env, str(source), "ryll")
    fetched = command.run([cargo.cargo, "fetch", "--target", cargo.host], env, FETCH_LIMIT, "cargo to fetch ryll's crates", cwd=str(source), log=place.log)
    if fetched.status:
        raise legacy_error("environment", "cargo to fetch ryll's crates", f"it said {one_line(fetched.said, 300)}", place.log)
    chosen = ["--features", ",".join(features)] if features else []
    arguments = ["build", "--release", "--no-default-features", "-p", "ryll", *chosen, "--offline", "--message-format", "json-render-diagnostics"]
    built = command.run([cargo.cargo, *arguments], env, place.limit, "cargo to build ryll", cwd=str(source), log=place.log)
    if built.status:
        errors = [line for line in built.err.splitlines() if line.startswith("error")]
        raise legacy_error(
            "ryll", "cargo to build ryll", f"it ended with status {built.status}: {one_line(' / '.join(errors[:2]) or built.said, 300)}", place.log
        )
    for line in built.out.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "ryll" and message.get("executable"):
            return str(message["executable"])
    raise legacy_error("ryll", "cargo to build a program named ryll", "the package ryll has none", place.log)


def _publish(new: Path, home: Path, commit: str) -> None:
    """Give a whole folder its name. Under the lock, so what has the name already is broken (find said so) and makes way."""
    (new / RECORD).write_text(json.dumps({"size": (new / "ryll").stat().st_size, "commit": commit}), encoding="utf-8")
    new.chmod(0o755)
    if home.exists():
        shutil.rmtree(home)
    os.rename(new, home)


@contextlib.contextmanager
def _growing(place: Place) -> Iterator[Path]:
    """A new folder in the cache; it is gone afterwards unless it was renamed."""
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=place.root))
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)
