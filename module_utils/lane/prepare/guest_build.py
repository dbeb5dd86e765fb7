"""Builds the guest whose source is in this repository: installs its compiler, compiles, writes image and record.

The source's folder holds *.zig, what they embed, and requirements.txt, which pins the compiler's wheels by hash.
fixtures/guests.yml records the image's sha256 and the source's, so that either one changed alone shows at once.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..core import command
from ..core.errors import LaneError, one_line
from ..core.private_dir import write_private
from . import cache, disk_image, guests, pip

TARGET = ("build-exe", "main.zig", "-target", "x86_64-uefi", "-O", "ReleaseSafe", "-fstrip", "--name", "BOOTX64")
#: Seconds. The compiler's wheel has 100 MB and unpacks to 440; compiling takes 5 s on two cores with empty caches.
INSTALL_LIMIT = 1800
COMPILE_LIMIT = 300


@dataclass(frozen=True)
class Guest:
    """Where a guest's parts are, and what guests.yml records of them."""

    name: str
    source: Path
    guests_file: Path
    image: Path
    sha256: str
    source_sha256: str

    @classmethod
    def read(cls, name: str, source: str, guests_file: str) -> Guest:
        """Raises LaneError (component lane) when guests.yml lacks the guest or what is recorded of it."""
        path = Path(guests_file)
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, yaml.YAMLError) as error:
            problem = f"{path} cannot be read: {one_line(str(error), 300)}"
            raise LaneError("guest_entry_invalid", "lane", problem, "correct it, or set lane_guests_file") from None
        known: Any = found.get("guests") if isinstance(found, dict) else None
        guests.check(known)
        entry = known.get(name, {})
        if missing := [key for key in ("image", "sha256", "source_sha256") if not entry.get(key)]:
            problem = f"guest {name} has no {missing[0]} in {path}"
            fix = "add it; a digest may be any 64 digits that stand nowhere else in the file"
            raise LaneError("guest_entry_invalid", "lane", problem, fix)
        image, sha256, source_sha256 = (str(entry[key]) for key in ("image", "sha256", "source_sha256"))
        return cls(name, Path(source), path, path.parent / image, sha256, source_sha256)

    def as_recorded(self) -> bool:
        """Whether source and image are those that guests.yml records."""
        return source_digest(self.source) == self.source_sha256 and image_digest(self.image) == self.sha256


def source_digest(source: Path) -> str:
    """sha256 over the names and contents of the files in the source's folder, hidden ones left out."""
    files = sorted(path for path in source.glob("[!.]*") if path.is_file())
    if source / "main.zig" not in files:
        fix = "set rebuild_guest_source to the folder of the guest's source"
        raise LaneError("guest_build_failed", "lane", f"there is no main.zig in {source}", fix)
    listing = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def image_digest(image: Path) -> str | None:
    """sha256 of the image, None when there is none."""
    return hashlib.sha256(image.read_bytes()).hexdigest() if image.exists() else None


def compiler(source: Path, cache_dir: Path) -> Path:
    """The compiler that the source's requirements pin, installed into the cache by pip when it is not there yet."""
    requirements = source / "requirements.txt"
    home = cache_dir / f"guest-compiler-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    with cache.locked(cache_dir, home.name, INSTALL_LIMIT):
        if not home.exists():
            with cache.growing(cache_dir) as new:
                what = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
                arguments = ["install", "--target", str(new), *what]
                env = pip.environment(None)
                pip.run(pip.program(), arguments, env, INSTALL_LIMIT, "install the guest's compiler", "")
                cache.publish(new, home)
    return home / "ziglang" / "zig"


def compile_program(source: Path, cache_dir: Path) -> bytes:
    """The guest as a UEFI program (PE32+)."""
    zig = compiler(source, cache_dir)
    objects = str(cache_dir / "guest-objects")
    env = {**command.environment(None), "ZIG_GLOBAL_CACHE_DIR": objects, "ZIG_LOCAL_CACHE_DIR": objects}
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        program = Path(folder, "BOOTX64.EFI")
        argv = [str(zig), *TARGET, f"-femit-bin={program}"]
        done = command.run(argv, env, COMPILE_LIMIT, "compile the guest", cwd=str(source))
        if done.status:
            problem = f"cannot compile the guest: status {done.status}: {pip.first_error(done.err)}"
            raise LaneError("guest_build_failed", "lane", problem, f"correct the source in {source}")
        return program.read_bytes()


def rebuild(guest: Guest, cache_dir: Path, check: bool = False) -> dict[str, Any]:
    """Build the image, put it and its digests in place where they differ, and say what changed.

    With `check` nothing is touched or installed: the answer then follows from the digests.
    Returns changed, files (those to commit), diff (of guests.yml).
    """
    if check:
        return {"changed": not guest.as_recorded(), "files": []}
    image = disk_image.qcow2(disk_image.boot_volume(compile_program(guest.source, cache_dir)))
    sha256 = hashlib.sha256(image).hexdigest()
    before = guest.guests_file.read_text(encoding="utf-8")
    # as text, so that its comments stay
    after = before.replace(guest.sha256, sha256).replace(guest.source_sha256, source_digest(guest.source))
    files = []
    if image_digest(guest.image) != sha256:
        write_private(guest.image, image, 0o644)
        files.append(str(guest.image))
    if after != before:
        write_private(guest.guests_file, after.encode(), 0o644)
        files.append(str(guest.guests_file))
    name = str(guest.guests_file)
    diff = {"before": before, "after": after, "before_header": name, "after_header": name}
    return {"changed": bool(files), "files": files, "diff": diff}
