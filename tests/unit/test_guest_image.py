"""The image of Uncalibrated Sextant out of a source distribution, with a directory as package index."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.prepare import guest_image
from prepared import fails

IMAGE = b"QFI\xfb" + bytes(1000)
MEMBER = "tests/fixtures/s.qcow2"
SETUP = b"raise SystemExit('nothing of the distribution is to be run')\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with the source distribution sextant-kit 1.2."""
    folder = tmp_path / "index"
    folder.mkdir()
    build = b'[build-system]\nrequires = ["no-such-build-tool"]\nbuild-backend = "setuptools.build_meta"\n'
    info = b"Metadata-Version: 2.1\nName: sextant-kit\nVersion: 1.2\n"
    files = {"PKG-INFO": info, "pyproject.toml": build, "setup.py": SETUP, MEMBER: IMAGE}
    with tarfile.open(folder / "sextant_kit-1.2.tar.gz", "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"sextant_kit-1.2/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def guest(index: Path, **changes: str) -> dict[str, Any]:
    sdist = hashlib.sha256((index / "sextant_kit-1.2.tar.gz").read_bytes()).hexdigest()
    fetch = {"name": "sextant_kit", "version": "1.2", "sha256": sdist, "member": MEMBER, **changes}
    return {"name": "u", "image": "s.qcow2", "sha256": hashlib.sha256(IMAGE).hexdigest(), "fetch": fetch}


def test_the_image_is_fetched_once_and_made_good_again(index: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    image = guest_image.ensure(guest(index), "/fixtures", cache)
    assert image.read_bytes() == IMAGE
    assert image == guest_image.path(guest(index), "/fixtures", cache)
    image.write_bytes(b"cut")
    assert guest_image.ensure(guest(index), "/fixtures", cache).read_bytes() == IMAGE
    pinned = guest(index)
    (index / "sextant_kit-1.2.tar.gz").unlink()
    assert guest_image.ensure(pinned, "/fixtures", cache) == image  # without the index


def test_a_guest_that_is_not_fetched_has_its_image_beside_the_file(tmp_path: Path) -> None:
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
def test_what_is_not_as_pinned_is_refused(index: Path, tmp_path: Path, changes: dict[str, str], code: str) -> None:
    with fails(code, "environment"):
        guest_image.ensure(guest(index, **changes), "/fixtures", str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("images/sextant*"))
