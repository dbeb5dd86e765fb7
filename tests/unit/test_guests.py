"""The catalogue of guests and the check of an image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import guests

IMAGE = b"QFI\xfb" + bytes(100)
ENTRY = {"image": "g.qcow2", "sha256": hashlib.sha256(IMAGE).hexdigest(), "banner": "the guest is up", "agent": False}


@pytest.mark.parametrize(
    ("changes", "name", "code", "words"),
    [
        ({}, "x", "guest_unknown", "'x' in guests.yml; it has a, g"),
        ({"image": None}, "g", "guest_entry_invalid", "no valid image: it is None, not a text"),
        ({"banner": " \n"}, "g", "guest_entry_invalid", "banner"),
        ({"banner": 5}, "g", "guest_entry_invalid", "banner"),
        ({"agent": "yes"}, "g", "guest_entry_invalid", "no valid agent: it is 'yes', not true or false"),
        ({"banner": "BdsDxe: starting Boot"}, "g", "guest_banner_of_firmware", "BdsDxe"),
    ],
)
def test_an_entry_that_cannot_be_used(changes: dict[str, object], name: str, code: str, words: str) -> None:
    with pytest.raises(LaneError, match=words) as caught:
        guests.entry({"g": {**ENTRY, **changes}, "a": ENTRY}, name)
    assert (caught.value.code, caught.value.component) == (code, "environment")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (None, "guest_image_missing", "docs/guests.md says where to get it"),
        (b"MZ" + IMAGE, "guest_image_invalid", "it begins with b'MZQF'"),
        (IMAGE[:-1] + b"x", "guest_image_changed", f"but guests.yml records {ENTRY['sha256']}"),
        (IMAGE, None, ""),
    ],
    ids=["none", "no qcow2", "another", "right"],
)
def test_the_image_is_the_one_that_the_entry_records(
    tmp_path: Path, data: bytes | None, code: str | None, words: str
) -> None:
    if data is not None:
        (tmp_path / "g.qcow2").write_bytes(data)
    guest, path = {**ENTRY, "name": "g"}, tmp_path / "g.qcow2"
    if code is None:
        assert guests.check_image(guest, path) == ENTRY["sha256"]
        assert guests.check_image({**guest, "sha256": None}, path) == ENTRY["sha256"]
        return
    with pytest.raises(LaneError, match=words) as caught:
        guests.check_image(guest, path)
    assert (caught.value.code, caught.value.component) == (code, "environment")


def test_the_variable_store_is_a_private_copy(tmp_path: Path) -> None:
    (tmp_path / "vars").write_bytes(b"pristine")
    guests.private_vars(str(tmp_path / "vars"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"pristine"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    with pytest.raises(LaneError, match="/no/such") as caught:
        guests.private_vars("/no/such", str(tmp_path / "copy"))
    assert (caught.value.code, caught.value.component) == ("firmware_vars_unreadable", "firmware")
