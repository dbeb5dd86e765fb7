"""The guests of fixtures/guests.yml: what an entry has to say, and whether its image is the one that it names."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from ..core.errors import legacy_error

#: The first four bytes of a qcow2 file ("QFI" and 0xfb), from qemu's docs/interop/qcow2.
QCOW2_MAGIC = b"QFI\xfb"


def entry(guests: dict[str, Any], name: str) -> dict[str, Any]:
    """The guest of this name, complete. Raises LaneError (environment) for an unknown guest or an entry that lacks something."""
    if name not in guests:
        raise legacy_error("environment", "lane_guest to be a guest of fixtures/guests.yml", f"{name!r} is not one of {', '.join(sorted(guests))}")
    found = dict(guests[name])
    kinds = {"image": str, "banner": str, "agent": bool}
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            raise legacy_error("environment", f"guest {name} to have a {key} ({kind.__name__})", f"it is {found.get(key)!r}", "fixtures/guests.yml")
    return {**found, "name": name}


def check_image(guest: dict[str, Any], folder: str) -> str:
    """The path of the guest's image once it is there, is a qcow2 and has the promised sha256.

    Raises LaneError (environment) otherwise: a wrong image says nothing about the spine. A guest whose sha256 is null takes any qcow2.
    """
    path = Path(folder, guest["image"])
    expected = f"the image of guest {guest['name']} at {path}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        hint = "playbooks/rebuild_guest.yml" if guest["name"] == "pocket" else "playbooks/refresh_sextant.yml or docs/guests.md"
        raise legacy_error("environment", expected, "there is no such file", hint) from None
    if not data.startswith(QCOW2_MAGIC):
        raise legacy_error("environment", f"{expected} to be a qcow2", f"it begins with {data[:4]!r}", str(path))
    found = hashlib.sha256(data).hexdigest()
    if guest.get("sha256") and found != guest["sha256"]:
        raise legacy_error("environment", f"{expected} to have sha256 {guest['sha256']}", f"it is {found}", "fixtures/guests.yml")
    return found


def private_vars(source: str, copy: str) -> None:
    """A fresh copy of the firmware's variable store: one that was used before may have forgotten how to boot the disk (facts/qemu.md 7)."""
    try:
        shutil.copyfile(source, copy)
    except OSError as error:
        whose = source if error.filename == source else f"its copy {error.filename}"
        raise legacy_error("firmware", f"to copy OVMF's variables {source}", f"the system said of {whose}: {error.strerror}", "the role deps") from None
    Path(copy).chmod(0o600)
