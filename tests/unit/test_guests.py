"""The catalogue of guests and the check of an image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import guests

IMAGE = b"QFI\xfb" + bytes(100)
ENTRY = {"image": "g.qcow2", "sha256": hashlib.sha256(IMAGE).hexdigest(), "banner": "up", "agent": False}


def test_a_good_entry_and_its_image(tmp_path: Path) -> None:
    (tmp_path / "g.qcow2").write_bytes(IMAGE)
    guest = guests.entry({"g": ENTRY}, "g")
    assert guest["name"] == "g"
    assert guests.check_image(guest, str(tmp_path)) == ENTRY["sha256"]


def test_an_unknown_guest_is_told_the_known_ones() -> None:
    with pytest.raises(LaneError, match=r"environment: expected lane_guest to be a guest of fixtures/guests\.yml, but 'x' is not one of a, b$"):
        guests.entry({"b": ENTRY, "a": ENTRY}, "x")


@pytest.mark.parametrize("key", ["image", "banner", "agent"])
def test_an_entry_that_lacks_something(key: str) -> None:
    with pytest.raises(LaneError, match=rf"expected guest g to have a {key} \(\w+\), but it is None"):
        guests.entry({"g": {k: v for k, v in ENTRY.items() if k != key}}, "g")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, r"expected the image of guest g at \S+/g\.qcow2, but there is no such file; look at playbooks/refresh_sextant\.yml"),
        (b"", r"to be a qcow2, but it begins with b''"),
        (b"MZ" + IMAGE, r"to be a qcow2, but it begins with b'MZQF'"),
        (IMAGE[:-1] + b"x", r"to have sha256 \w{64}, but it is \w{64}"),
    ],
)
def test_wrong_images(tmp_path: Path, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / "g.qcow2").write_bytes(data)
    with pytest.raises(LaneError, match=words) as caught:
        guests.check_image(guests.entry({"g": ENTRY}, "g"), str(tmp_path))
    assert caught.value.component == "environment"


def test_a_guest_without_a_sha256_takes_any_qcow2(tmp_path: Path) -> None:
    (tmp_path / "g.qcow2").write_bytes(IMAGE + b"more")
    assert len(guests.check_image(guests.entry({"g": {**ENTRY, "sha256": None}}, "g"), str(tmp_path))) == 64


def test_the_variable_store_is_a_private_copy(tmp_path: Path) -> None:
    (tmp_path / "vars").write_bytes(b"pristine")
    guests.private_vars(str(tmp_path / "vars"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"pristine"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    with pytest.raises(LaneError, match=r"firmware: expected to copy OVMF.s variables /no/such, but the system said of /no/such: No such file"):
        guests.private_vars("/no/such", str(tmp_path / "copy"))
