"""Build the image of a guest whose source is elsewhere, by that source's own `make release`, and put it where guests.yml wants it.

The build needs docker; everything that can be known before it starts is asked before anything is cloned. docs/refresh.md describes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import LaneError, legacy_error, one_line
from . import git, guest_build
from .cache import make_private

#: How the docker client finds its engine (docs.docker.com, "Environment variables" of the CLI). Those that change what is built,
#: DOCKER_DEFAULT_PLATFORM and DOCKER_BUILDKIT for instance, stay behind.
DOCKER_KEEP = (
    "DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_API_VERSION SSH_AUTH_SOCK XDG_RUNTIME_DIR"
).split()
ENGINE_LIMIT = 30.0  # seconds for docker info
PACKAGES = {"make": "make", "qemu-img": "qemu-utils", "docker": "docker.io"}
USES = {"make": "make release", "qemu-img": "a look at the image", "docker": "make release"}


@dataclass(frozen=True)
class Wish:
    """What to build and where it goes.

    checkout: a folder with the source, or "" to clone `repo` at `ref` (branch, tag or whole commit); pattern: where below the source the built
    image is; guest: its entry in guests_file says where the image goes; work_dir: for clone and log; limit: seconds for make.
    """

    guest: str
    guests_file: str
    repo: str
    ref: str
    checkout: str
    pattern: str
    work_dir: str
    limit: float

    @property
    def log(self) -> str:
        return os.path.join(self.work_dir, "refresh.log")

    @property
    def source(self) -> git.Repository:
        return git.Repository(self.repo, "refresh_sextant", "guest", "a clone of the source", None, self.log, tags=True)

    def check(self) -> None:
        """Refuse what cannot work before anything starts. Raises LaneError (component environment)."""
        where = "playbooks/refresh_sextant.yml"
        if self.checkout:
            if not os.path.isabs(self.checkout):
                raise legacy_error("environment", "refresh_sextant_checkout to be an absolute path", f"it is {self.checkout!r}")
            if not os.path.isdir(self.checkout):
                raise legacy_error("environment", "refresh_sextant_checkout to be a folder", f"there is none at {self.checkout}")
        else:
            if not self.repo:
                raise legacy_error("environment", "refresh_sextant_repo or refresh_sextant_checkout", "both are empty", where)
            git.check_url("refresh_sextant_repo", self.repo)
            git.check_ref("refresh_sextant_ref", self.ref)
        parts = Path(self.pattern).parts
        if not parts or Path(self.pattern).is_absolute() or ".." in parts:
            raise legacy_error("environment", "refresh_sextant_image to be a pattern below the checkout", f"it is {self.pattern!r}", where)

    def check_tools(self) -> None:
        """Raises LaneError (component host) for the first program that is missing, and for a docker without an engine."""
        if not self.checkout:
            self.source.program()
        for name in PACKAGES:
            _program(name)
        done = command.run(
            [_program("docker"), "info"], command.environment(None, DOCKER_KEEP), ENGINE_LIMIT, "docker info to find a container engine", component="host"
        )
        if done.status:
            said = next((line for line in reversed(done.err.splitlines()) if line.strip()), done.said)
            got = f"docker info ended with status {done.status}: {one_line(said, 300)}"
            raise legacy_error("host", "a container engine that answers docker, for make release", got, "docker info, DOCKER_HOST")


@dataclass(frozen=True)
class Entry:
    """What guests.yml has of the guest: where its image goes, and its sha256 ("null" where it records none)."""

    image: Path
    sha256: str

    @classmethod
    def read(cls, guest: str, guests_file: str) -> Entry:
        """Raises LaneError (component lane) when guests.yml lacks the guest or a field of it."""
        try:
            text = Path(guests_file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise legacy_error("lane", f"the guests in {guests_file}", "there is no such file") from None
        return cls(Path(guests_file).parent / guest_build.field(text, guest, "image"), guest_build.field(text, guest, "sha256"))


def plan(wish: Wish) -> dict[str, Any]:
    """What `refresh` would do, without touching anything: whether it could start, and with what. Raises LaneError for wrong input only."""
    wish.check()
    entry = Entry.read(wish.guest, wish.guests_file)
    advice = [f"Would run make release in {wish.checkout or f'a clone of {wish.repo} at {wish.ref}'} and copy the image to {entry.image}."]
    try:
        wish.check_tools()
    except LaneError as error:
        advice.append(f"It could not start here: {error}")
    return {"changed": True, "image": str(entry.image), "advice": advice}


def refresh(wish: Wish) -> dict[str, Any]:
    """Build the image, copy it where it belongs when its bytes differ, and say what to commit.

    Returns changed, image and built (paths), sha256, commit ("" for a checkout), fresh (whether this run of make wrote the image),
    info (of qemu-img), log, advice (sentences), line (for guests.yml, "" when it is there). Raises LaneError: host for what the machine lacks,
    environment for what cannot be fetched, guest for a source that does not give one qcow2.
    """
    wish.check()
    entry = Entry.read(wish.guest, wish.guests_file)
    wish.check_tools()
    make_private(Path(wish.work_dir))
    with _alone(wish):
        with open(wish.log, "wb") as log:
            os.fchmod(log.fileno(), 0o600)
        folder, commit = (Path(wish.checkout), "") if wish.checkout else _clone(wish)
        built, fresh = make_release(wish, folder)
        info = look(built)
        sha256 = digest(built)
        changed = not entry.image.exists() or digest(entry.image) != sha256
        if changed:
            copy_whole(built, entry.image)
    line = "" if entry.sha256 == sha256 else f'sha256: "{sha256}"'
    advice = [] if fresh else [f"make release left {built} as it was: it found nothing to do."]
    advice.append(_to_commit(wish, entry, changed, line))
    return {
        "changed": changed,
        "image": str(entry.image),
        "built": str(built),
        "sha256": sha256,
        "commit": commit,
        "fresh": fresh,
        "info": info,
        "log": wish.log,
        "advice": advice,
        "line": line,
    }


def _to_commit(wish: Wish, entry: Entry, changed: bool, line: str) -> str:
    if line:
        return f"Commit {entry.image} together with this line of {wish.guest} in {wish.guests_file}: {line}"
    if changed:
        return f"Commit {entry.image}; {wish.guests_file} records its sha256 already."
    return f"{entry.image} and {wish.guests_file} agree with the build: nothing new to commit."


def _program(name: str) -> str:
    found = command.find_program(name)
    if not found:
        raise legacy_error("host", f"{name}, for {USES[name]}", f"there is none on PATH; apt-get install {PACKAGES[name]}")
    return found


@contextmanager
def _alone(wish: Wish) -> Iterator[None]:
    """One refresh at a time: they share clone and log. The lock ends with its holder."""
    with open(os.path.join(wish.work_dir, ".lock"), "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise legacy_error("environment", "no other refresh of the image at work", f"one holds {file.name}", wish.log) from None
        yield


def _clone(wish: Wish) -> tuple[Path, str]:
    commit = wish.source.commit(wish.ref)
    folder = Path(wish.work_dir, f"source-{wish.source.name}")
    wish.source.check_out(commit, folder)
    return folder, commit


def make_release(wish: Wish, folder: Path) -> tuple[Path, bool]:
    """Run `make release` in the folder; the path of the image it made, and whether this run wrote it (a second one may find it up to date).

    Where several files match the pattern, those that this run wrote count. Links to one file are one. Raises LaneError (component guest).
    """
    before = _images(folder, wish.pattern)
    env = command.environment(None, [*git.KEEP, *DOCKER_KEEP], network=True)
    done = command.run([_program("make"), "release"], env, wish.limit, "make release", component="guest", cwd=str(folder), log=wish.log, together=True)
    if done.status:
        raise legacy_error("guest", f"make release in {folder} to build the image", f"it ended with status {done.status}: {last_words(done.err)}", wish.log)
    after = _images(folder, wish.pattern)
    fresh = [path for path in after if after[path] != before.get(path)]
    found = sorted(fresh or after)
    expected = f"make release to leave one image at {folder}/{wish.pattern}"
    if not found:
        raise legacy_error("guest", expected, f"there is none; set refresh_sextant_image to where it is, qcow2 files here: {_elsewhere(folder)}", wish.log)
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder.resolve())) for path in found[:5])
        raise legacy_error("guest", expected, f"there are {len(found)} ({names}); set refresh_sextant_image so that it matches one", wish.log)
    return found[0], bool(fresh)


def _images(folder: Path, pattern: str) -> dict[Path, tuple[int, int, int]]:
    """The files that match, links followed, each with what changes when it is written: mtime in ns, size in bytes, inode."""
    found = {}
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # a link to nothing
            real = path.resolve(strict=True)
            if real.is_file() and real.is_relative_to(folder.resolve()):
                state = real.stat()
                found[real] = (state.st_mtime_ns, state.st_size, state.st_ino)
    return found


def _elsewhere(folder: Path) -> str:
    return ", ".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.qcow2"))[:5]) or "none"


def last_words(text: str) -> str:
    """The last line of make's output that says why: make's own "make: *** [...] Error 1" only when there is nothing else."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    others = [line for line in lines if not line.startswith(("make:", "make["))]
    return one_line((others or lines or ["nothing"])[-1], 300)


def look(image: Path) -> dict[str, Any]:
    """What qemu-img says of the image: format, virtual-size and actual-size in bytes, and the like.

    Raises LaneError (component guest) unless it is a qcow2 that needs no other file.
    """
    env = command.environment(None)
    done = command.run([_program("qemu-img"), "info", "--output=json", str(image)], env, 60, f"qemu-img to look at {image}", component="guest")
    if done.status:
        raise legacy_error("guest", f"{image} to be a qcow2", f"qemu-img said {one_line(done.said, 300)}")
    info: dict[str, Any] = json.loads(done.out)
    if info["format"] != "qcow2":
        raise legacy_error("guest", f"{image} to be a qcow2", f"its format is {info['format']}", f"qemu-img info {image}")
    other = info.get("backing-filename") or info.get("format-specific", {}).get("data", {}).get("data-file")
    if other:
        raise legacy_error("guest", f"{image} to be whole in itself", f"it needs {other}", f"qemu-img info {image}")
    return {key: info[key] for key in ("format", "virtual-size", "actual-size", "cluster-size", "dirty-flag") if key in info}


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that target is the old one or the new one at any time; mode 0644, as for a file of the repository."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as out, open(source, "rb") as data:
            shutil.copyfileobj(data, out, 1 << 20)
            os.fchmod(out.fileno(), 0o644)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
