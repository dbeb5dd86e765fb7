"""Where a guest's image is: beside guests.yml, or in the cache, where a source distribution of the package index was
fetched for it.

Uncalibrated Sextant's image is part of kerbside's source distribution. Both are pinned by sha256, so that nothing else
can come in their place.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import LaneError
from . import cache, pip

LIMIT = 600.0
#: pip asks a source distribution's build backend for its metadata. This one answers in the place of setuptools, so that
#: nothing of the distribution is run and no build tools are fetched.
BACKEND = """
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "{name}-{version}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return info.name
"""


def path(guest: dict[str, Any], folder: str, cache_dir: str) -> Path:
    """Where the guest's image is or, for one that is fetched, will be. folder: that of guests.yml."""
    if fetched := guest.get("fetch"):
        home = f"{fetched['name']}-{fetched['version']}-{guest['sha256'][:16]}"
        return Path(cache_dir, "images", home, guest["image"])
    return Path(folder, guest["image"])


def ensure(guest: dict[str, Any], folder: str, cache_dir: str) -> Path:
    """The path of the guest's image, after it was fetched if it has to be and is not in the cache."""
    image = path(guest, folder, cache_dir)
    if not guest.get("fetch"):
        return image
    home = image.parent
    if not _right(image, guest):
        with cache.locked(home.parent, home.name, LIMIT):
            if not _right(image, guest):
                with cache.growing(home.parent) as new:
                    (new / image.name).write_bytes(_download(guest))
                    cache.publish(new, home)
                cache.prune(home.parent)
    cache.used(home)
    return image


def _right(image: Path, guest: dict[str, Any]) -> bool:
    return image.is_file() and hashlib.sha256(image.read_bytes()).hexdigest() == guest["sha256"]


def _download(guest: dict[str, Any]) -> bytes:
    """The image out of the source distribution. Raises LaneError (environment)."""
    fetched = guest["fetch"]
    name, version, member = fetched["name"], fetched["version"], fetched["member"]
    with source_distribution(fetched, f"which has the image of guest {guest['name']}") as path:
        try:
            with tarfile.open(path) as archive:
                file = archive.extractfile(f"{name}-{version}/{member}")
                data = file.read() if file else b""
        except (KeyError, tarfile.TarError) as error:
            problem = f"the source distribution of {name} {version} has no {member} ({error})"
            raise LaneError("guest_image_missing", "environment", problem, "correct fetch in guests.yml") from None
    return data


@contextmanager
def source_distribution(fetched: dict[str, str], why: str) -> Iterator[Path]:
    """A source distribution of the index, pinned by sha256, for as long as the block runs."""
    name, version = fetched["name"], fetched["version"]
    with tempfile.TemporaryDirectory(prefix="guest-image-") as folder:
        backend = Path(folder, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(BACKEND.format(name=name, version=version), encoding="utf-8")
        pinned = Path(folder, "requirements.txt")
        pinned.write_text(f"{name}=={version} --hash=sha256:{fetched['sha256']}\n", encoding="utf-8")
        how = ["--no-deps", "--no-build-isolation", "--require-hashes", "--no-binary", name]
        how += ["--dest", folder, "-r", str(pinned)]
        env = {**pip.environment(None), "PYTHONPATH": str(backend.parent)}
        pip.run(pip.program(), ["download", *how], env, LIMIT, f"download {name} {version}, {why}", "")
        yield next(Path(folder).glob("*.tar.gz"))
