"""The catalogue of guests and the check of an image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.lane.prepare import guests
from prepared import fails

IMAGE = b"QFI\xfb" + bytes(100)
ENTRY = {"image": "g.qcow2", "sha256": hashlib.sha256(IMAGE).hexdigest(), "banner": "the guest is up", "agent": False}
FETCH = {"name": "kerbside", "version": "0.8.0", "sha256": ENTRY["sha256"], "member": "g.qcow2"}
GUEST = {**ENTRY, "name": "g"}


@pytest.mark.parametrize(
    ("changes", "name", "code", "words"),
    [
        ({}, "x", "guest_unknown", "'x' in guests.yml; it has a, g"),
        ({"image": None}, "g", "guest_entry_invalid", "guest g: image is None, not a text"),
        ({"image": None}, "a", "guest_entry_invalid", "guest g: image"),  # also of a guest that nobody asks for
        ({"sha256": "0"}, "g", "guest_entry_invalid", "guest g: sha256"),
        ({"digest": "no"}, "g", "guest_entry_invalid", "guest g: digest"),
        ({"format": "raw"}, "g", "guest_entry_invalid", "guest g: format"),
        ({"scenarios": "smoke"}, "g", "guest_entry_invalid", "guest g: scenarios"),
        ({"fetch": {"name": "kerbside"}}, "g", "guest_entry_invalid", "guest g: fetch has no version"),
        ({"fetch": {**FETCH, "version": 0.8}}, "g", "guest_entry_invalid", "guest g: fetch: version"),
        ({"fetch": FETCH, "sha256": None}, "g", "guest_entry_invalid", "sha256 is None"),
        ({"agnet": True}, "g", "guest_entry_invalid", "guest g has the unknown key agnet (did you mean agent?)"),
        ({"banner": " \n"}, "g", "guest_entry_invalid", "banner"),
        ({"banner": 5}, "g", "guest_entry_invalid", "banner"),
        ({"agent": "yes"}, "g", "guest_entry_invalid", "guest g: agent is 'yes', not true or false"),
        ({"banner": "BdsDxe: starting Boot"}, "g", "guest_banner_of_firmware", "BdsDxe"),
    ],
)
def test_an_entry_that_cannot_be_used(changes: dict[str, object], name: str, code: str, words: str) -> None:
    with fails(code, "environment", words):
        guests.entry({"g": {**ENTRY, **changes}, "a": ENTRY}, name)


@pytest.mark.parametrize("given", [None, [], {}, "guests", {"g": None}, {"g": {"image": "g.qcow2", "agent": True}}])
def test_what_is_not_guests(given: object) -> None:
    with fails("guest_entry_invalid", "environment"):
        guests.check(given)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"MZ" + IMAGE, "guest_image_invalid", "it begins with b'MZQF'"),
        (IMAGE[:-1] + b"x", "guest_image_changed", f"but guests.yml records {ENTRY['sha256']}"),
    ],
    ids=["no qcow2", "another"],
)
def test_an_image_other_than_the_entry_records_is_refused(tmp_path: Path, data: bytes, code: str, words: str) -> None:
    path = tmp_path / "g.qcow2"
    path.write_bytes(data)
    with fails(code, "environment", words):
        guests.check_image(GUEST, path)


def test_a_missing_image_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with fails("guest_image_missing", "environment", "g.qcow2 is missing") as caught:
        guests.check_image(GUEST, tmp_path / "g.qcow2")
    assert caught.value.fix == "docs/guests.md says where to get it"


@pytest.mark.parametrize("recorded", [ENTRY["sha256"], None], ids=["recorded", "no record"])
def test_the_image_of_the_entry_is_taken(tmp_path: Path, recorded: str | None) -> None:
    path = tmp_path / "g.qcow2"
    path.write_bytes(IMAGE)
    assert guests.check_image({**GUEST, "sha256": recorded}, path) == ENTRY["sha256"]


def test_the_variable_store_is_a_private_copy(tmp_path: Path) -> None:
    (tmp_path / "vars").write_bytes(b"pristine")
    guests.private_vars(str(tmp_path / "vars"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"pristine"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    with fails("firmware_vars_unreadable", "firmware", "/no/such"):
        guests.private_vars("/no/such", str(tmp_path / "copy"))
