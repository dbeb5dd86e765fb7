"""The catalogue of guests, their images, and the image that comes out of a source distribution."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.prepare import guest_image, guests
from prepared import fails, only_index

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
def test_an_entry_that_cannot_be_used(changes, name, code, words):
    with fails(code, "environment", words):
        guests.entry({"g": {**ENTRY, **changes}, "a": ENTRY}, name)


@pytest.mark.parametrize(
    "given",
    [None, [], {}, "guests", {"g": None}, {"g": {"image": "g.qcow2", "agent": True}}, {5: ENTRY}, {"a/b": ENTRY}],
)
def test_what_is_not_guests(given):
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
def test_an_image_other_than_the_entry_records_is_refused(tmp_path, data, code, words):
    path = tmp_path / "g.qcow2"
    path.write_bytes(data)
    with fails(code, "environment", words):
        guests.check_image(GUEST, path)


def test_a_missing_image_is_told_with_where_to_get_it(tmp_path):
    with fails("guest_image_missing", "environment", "g.qcow2 is missing") as caught:
        guests.check_image(GUEST, tmp_path / "g.qcow2")
    assert caught.value.fix == "docs/guests.md says where to get it"


@pytest.mark.parametrize("recorded", [ENTRY["sha256"], None], ids=["recorded", "no record"])
def test_the_image_of_the_entry_is_taken(tmp_path, recorded):
    path = tmp_path / "g.qcow2"
    path.write_bytes(IMAGE)
    assert guests.check_image({**GUEST, "sha256": recorded}, path) == ENTRY["sha256"]


def test_the_variable_store_is_a_private_copy(tmp_path):
    (tmp_path / "vars").write_bytes(b"pristine")
    guests.private_vars(str(tmp_path / "vars"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"pristine"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    with fails("firmware_vars_unreadable", "firmware", "/no/such"):
        guests.private_vars("/no/such", str(tmp_path / "copy"))


# --- the image out of a source distribution, with a directory as package index --------------------

SEXTANT = b"QFI\xfb" + bytes(1000)
MEMBER = "tests/fixtures/s.qcow2"
SETUP = b"raise SystemExit('nothing of the distribution is to be run')\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with the source distribution sextant-kit 1.2."""
    folder = only_index(tmp_path / "index", monkeypatch)
    build = b'[build-system]\nrequires = ["no-such-build-tool"]\nbuild-backend = "setuptools.build_meta"\n'
    info = b"Metadata-Version: 2.1\nName: sextant-kit\nVersion: 1.2\n"
    files = {"PKG-INFO": info, "pyproject.toml": build, "setup.py": SETUP, MEMBER: SEXTANT}
    with tarfile.open(folder / "sextant_kit-1.2.tar.gz", "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"sextant_kit-1.2/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return folder


def fetched(index: Path, **changes: str) -> dict[str, Any]:
    sdist = hashlib.sha256((index / "sextant_kit-1.2.tar.gz").read_bytes()).hexdigest()
    fetch = {"name": "sextant_kit", "version": "1.2", "sha256": sdist, "member": MEMBER, **changes}
    return {"name": "u", "image": "s.qcow2", "sha256": hashlib.sha256(SEXTANT).hexdigest(), "fetch": fetch}


def test_the_image_is_fetched_once_and_made_good_again(index, tmp_path):
    cache = str(tmp_path / "cache")
    image = guest_image.ensure(fetched(index), "/fixtures", cache)
    assert image.read_bytes() == SEXTANT
    assert image == guest_image.path(fetched(index), "/fixtures", cache)
    image.write_bytes(b"cut")
    assert guest_image.ensure(fetched(index), "/fixtures", cache).read_bytes() == SEXTANT
    pinned = fetched(index)
    (index / "sextant_kit-1.2.tar.gz").unlink()
    assert guest_image.ensure(pinned, "/fixtures", cache) == image  # without the index


def test_a_guest_that_is_not_fetched_has_its_image_beside_the_file(tmp_path):
    beside = {"name": "p", "image": "p.qcow2", "sha256": None}
    assert guest_image.ensure(beside, "/fixtures", str(tmp_path)) == Path("/fixtures/p.qcow2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sha256": "0" * 64}, "wrong_hash"),
        ({"member": "no/such.qcow2"}, "guest_image_missing"),
        ({"version": "9.9"}, "no_such_version"),
    ],
)
def test_what_is_not_as_pinned_is_refused(index, tmp_path, changes, code):
    with fails(code, "environment"):
        guest_image.ensure(fetched(index, **changes), "/fixtures", str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("images/sextant*"))
