"""The guests of fixtures/guests.yml: what an entry has to say, where its image is, and whether that is the one that it
names.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import LaneError
from ..core.names import near
from ..protocols.serial_log import firmware_says

#: The first four bytes of a qcow2 file ("QFI" and 0xfb), from qemu's docs/interop/qcow2.
QCOW2_MAGIC = b"QFI\xfb"
#: What an entry may say: the words of its kind, and the test of a value.
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str) and bool(value.strip())),
    "truth": ("true or false", lambda value: isinstance(value, bool)),
    "qcow2": ("qcow2", lambda value: value == "qcow2"),
    "digest": ("64 hexadecimal digits", lambda value: re.fullmatch("[0-9a-f]{64}", str(value)) is not None),
    "any_digest": ("64 hexadecimal digits or null", lambda value: value is None or KINDS["digest"][1](value)),
    "texts": ("a list of texts", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)),
    "fetch": ("a mapping", lambda value: isinstance(value, dict)),
}
REQUIRED = {"image": "text", "banner": "text", "agent": "truth"}
OPTIONAL = {"format": "qcow2", "sha256": "any_digest", "source_sha256": "any_digest", "fetch": "fetch"}
OPTIONAL |= {"digest": "truth", "scenarios": "texts", "description": "text"}
FETCH = {"name": "text", "version": "text", "sha256": "digest", "member": "text"}


def check(guests: Any) -> None:
    """Raise LaneError (environment) for the first thing in guests.yml that cannot be used, with its guest and key."""
    if not isinstance(guests, dict) or not guests:
        raise _invalid("it has no mapping `guests` of names to entries")
    for name, entry in guests.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name, re.ASCII):  # files are named after it
            raise _invalid(f"{name!r} is not the name of a guest: use a text of letters, digits, - and _")
        _check_keys(f"guest {name}", entry, REQUIRED, OPTIONAL)
        if fetched := entry.get("fetch"):
            _check_keys(f"guest {name}: fetch", fetched, FETCH, {})
            _check_keys(f"guest {name}, which has fetch", {"sha256": entry.get("sha256")}, {"sha256": "digest"}, {})
        if firmware_says(entry["banner"]):
            problem = f"the banner of guest {name}, {entry['banner']!r}, is printed by the firmware itself"
            fix = "give a line that the guest's own program prints in guests.yml"
            raise LaneError("guest_banner_of_firmware", "environment", problem, fix)


def _check_keys(where: str, entry: Any, required: dict[str, str], optional: dict[str, str]) -> None:
    if not isinstance(entry, dict):
        raise _invalid(f"{where} is not a mapping")
    known = {**required, **optional}
    if strange := [str(key) for key in entry if key not in known]:
        raise _invalid(f"{where} has the unknown key {strange[0]}{near(strange[0], known)}")
    if missing := [key for key in required if key not in entry]:
        raise _invalid(f"{where} has no {missing[0]}")
    for key, value in entry.items():
        words, fits = KINDS[known[key]]
        if not fits(value):
            raise _invalid(f"{where}: {key} is {value!r}, not {words}")


def _invalid(problem: str) -> LaneError:
    return LaneError("guest_entry_invalid", "environment", f"guests.yml: {problem}", "its head explains the fields")


def entry(guests: dict[str, Any], name: str) -> dict[str, Any]:
    """The guest of this name, once all guests are sound. Raises LaneError (environment) like `check`."""
    check(guests)
    if name not in guests:
        known = ", ".join(sorted(guests))
        problem = f"there is no guest {name!r} in guests.yml; it has {known}"
        raise LaneError("guest_unknown", "environment", problem, "correct lane_guest or lane_guests")
    return {**guests[name], "name": name}


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
