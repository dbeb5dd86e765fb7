"""The guests of fixtures/guests.yml: what an entry has to say, where its image is, and whether that is the one that it
names.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from ..core.errors import LaneError
from ..protocols.serial_log import firmware_says

#: The first four bytes of a qcow2 file ("QFI" and 0xfb), from qemu's docs/interop/qcow2.
QCOW2_MAGIC = b"QFI\xfb"
REQUIRED = {"image": str, "banner": str, "agent": bool}


def entry(guests: dict[str, Any], name: str) -> dict[str, Any]:
    """The guest of this name, complete. Raises LaneError (environment) for one that cannot be used."""
    if name not in guests:
        known = ", ".join(sorted(guests))
        problem = f"there is no guest {name!r} in guests.yml; it has {known}"
        raise LaneError("guest_unknown", "environment", problem, "correct lane_guest or lane_guests")
    found = dict(guests[name])
    for key, kind in REQUIRED.items():
        value = found.get(key)
        if not isinstance(value, kind) or (isinstance(value, str) and not value.strip()):
            wanted = "a text" if kind is str else "true or false"
            problem = f"the entry of guest {name} has no valid {key}: it is {value!r}, not {wanted}"
            raise LaneError("guest_entry_invalid", "environment", problem, "correct guests.yml")
    if firmware_says(found["banner"]):
        problem = (
            f"the banner of guest {name}, {found['banner']!r}, is what the firmware itself prints, so it proves "
            "nothing of the guest"
        )
        fix = "give a line that the guest's own program prints in guests.yml"
        raise LaneError("guest_banner_of_firmware", "environment", problem, fix)
    return {**found, "name": name}


def check_image(guest: dict[str, Any], path: Path) -> str:
    """The sha256 of the guest's image, once it is there, is a qcow2 and is the one that its entry records.

    Raises LaneError (environment) otherwise: a wrong image says nothing of the lane. A guest whose sha256 is null takes
    any qcow2.
    """
    what = f"the image of guest {guest['name']} at {path}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        built = "build it with playbooks/rebuild_guest.yml"
        fix = built if guest["name"] == "pocket" else "docs/guests.md says where to get it"
        raise LaneError("guest_image_missing", "environment", f"{what} is missing", fix) from None
    if not data.startswith(QCOW2_MAGIC):
        problem = f"{what} is not a qcow2: it begins with {data[:4]!r}"
        raise LaneError("guest_image_invalid", "environment", problem, "replace it")
    found = hashlib.sha256(data).hexdigest()
    if guest.get("sha256") and found != guest["sha256"]:
        problem = f"{what} has sha256 {found}, but guests.yml records {guest['sha256']}"
        fix = "restore the image, or record its sha256 if the change is intended"
        raise LaneError("guest_image_changed", "environment", problem, fix)
    return found


def private_vars(source: str, copy: str) -> None:
    """A fresh copy of the variable store: a used one may have forgotten how to boot (docs/diagnosis.md)."""
    try:
        shutil.copyfile(source, copy)
    except OSError as error:
        whose = source if error.filename == source else f"its copy {error.filename}"
        problem = f"OVMF's variable store {source} could not be copied: {whose}: {error.strerror}"
        fix = "let the role deps install OVMF again"
        raise LaneError("firmware_vars_unreadable", "firmware", problem, fix) from None
    Path(copy).chmod(0o600)
