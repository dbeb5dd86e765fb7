"""What an origin is at this moment: the commit of a branch, the version that a requirement resolves to, the bytes of a
file, the files of a checkout.

`identity` changes with the content, and is what caches are keyed by. origins.json, which the roles hand over, has for
each product where it came from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import LaneError
from ..core.private_dir import hand_over, handed_over, read_run
from . import cache, git, pip, tree
from .origin import ARCHIVE, CHECKOUT, CRATES, GIT, IMAGE, INDEX, KERBSIDE, REQUIREMENT, Origin, Product, brought_by

FETCH_LIMIT = 600.0


@dataclass(frozen=True)
class Place:
    """mark: for the programs that run; log: a file for what builds say; limit: seconds for a build."""

    cache_dir: str
    mark: str | None
    log: str
    limit: float

    @classmethod
    def of_lane(cls, cache_dir: str, lane_dir: str, log: str, limit: float) -> Place:
        """For a lane that is up: its mark, and a log of this name."""
        return cls(cache_dir, read_run(lane_dir).mark, os.path.join(lane_dir, "logs", log), limit)

    def pip(
        self, arguments: list[str], what: str, component: str = "", python: str = "", folder: Path | None = None
    ) -> None:
        """Run the pip of an environment's Python, or one of this machine that fetches something; see pip.run.

        folder: for its temporary files.
        """
        own = [python, "-m", "pip"] if python else pip.program()
        env = {**pip.environment(self.mark, own), **({"TMPDIR": str(folder)} if folder else {})}
        pip.run(own, arguments, env, self.limit if python else FETCH_LIMIT, what, self.log, component)

    def family(self, name: str) -> Path:
        """A part of the cache."""
        return Path(self.cache_dir, name)


@dataclass(frozen=True)
class Source:
    """identity: changes with the content; requirement, hashes: for pip; commit, dirty: git's; path: a local file."""

    origin: Origin
    identity: str
    requirement: str = ""
    hashes: tuple[str, ...] = ()
    commit: str = ""
    dirty: bool | None = None
    path: str = ""

    def words(self) -> str:
        """Where it came from, for the terminal."""
        index = "the package index"
        known = {INDEX: index, REQUIREMENT: index, CRATES: "crates.io", GIT: str(self.origin)}
        words = known.get(self.origin.kind, self.origin.source)
        changed = ", with local changes" if self.dirty else ""
        return f"{words} ({self.commit[:8]}{changed})" if self.commit else words

    def provenance(self, version: str | None, sha256: str | None) -> dict[str, Any]:
        """The entry of origins.json."""
        entry = provenance(self.origin.kind, str(self.origin), version, sha256)
        return {**entry, "commit": self.commit or None, "dirty": self.dirty}


def provenance(kind: str, source: str, version: str | None = None, sha256: str | None = None) -> dict[str, Any]:
    """An entry of origins.json, which has the same keys for every product."""
    return {"kind": kind, "source": source, "version": version, "commit": None, "dirty": None, "sha256": sha256}


def resolve(product: Product, origin: Origin, place: Place) -> Source:
    """Ask what the origin is now.

    Raises LaneError: environment when index or repository cannot be reached, or the repository has no such ref.
    """
    kind, text = origin.kind, origin.source
    if kind == INDEX:
        return Source(origin, f"{product.package}=={text}", f"{product.package}=={text}")
    if kind == CRATES:
        return Source(origin, text)
    if kind == REQUIREMENT:
        version, digest = _newest(product, text, place)
        requirement = f"{product.package}=={version}"
        return Source(origin, f"{requirement} {digest}", requirement, (digest,) if digest else ())
    if kind == GIT:
        commit = repository(product, origin, place).commit(origin.ref)
        return Source(origin, commit, commit=commit, dirty=False)
    if kind == CHECKOUT:
        root = Path(text)
        commit, dirty = tree.state(root)
        names = [name for name in tree.files(root) if product.belongs(name)]
        return Source(origin, tree.digest(root, names), commit=commit, dirty=dirty)
    path = _fetched(product, text, place) if kind == ARCHIVE else Path(text)
    return Source(origin, sha256(path), path=str(path))


def folder(product: Product, source: Source, place: Place) -> Path:
    """The user's own checkout, or a commit in the cache. Nobody may write there: take a copy to build in."""
    if source.origin.kind == CHECKOUT:
        return Path(source.origin.source)
    repo = repository(product, source.origin, place)
    root = place.family("sources")
    with cache.locked(root, repo.name, place.limit):
        repo.check_out(source.commit, root / repo.name)
    return root / repo.name


def repository(product: Product, origin: Origin, place: Place) -> git.Repository:
    """The git repository of an origin."""
    return git.Repository(origin.source, product.variable, place.mark, place.log)


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(lane_dir: str, **products: dict[str, Any] | None) -> None:
    """Hand over where these products came from: lane_dir/handover/origins.json."""
    known = handed_over(lane_dir).get("lane_origins", {})
    hand_over(lane_dir, "origins", {**known, **products})


def image(place: Place, named: Origin | None, kerbside: Origin | None) -> tuple[Path, dict[str, Any]] | None:
    """Sextant's image and its entry of origins.json: from the origin that is named, else from the kerbside under test
    if that brings one.

    None when neither has it. Raises LaneError for a named origin without the image.
    """
    origin = named or brought_by(IMAGE, kerbside)
    if origin is None:
        return None
    product = IMAGE if named else replace(IMAGE, variable=KERBSIDE.variable)
    inside = IMAGE.markers[0]
    source = resolve(product, origin, place)
    path = Path(source.path or Path(origin.source, inside))
    if origin.kind == GIT:
        home = place.family("images") / source.commit[:16]
        path = home / Path(inside).name
        if not home.exists():
            cache.make_private(home.parent)
            with cache.growing(home.parent) as new:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(folder(product, source, place) / inside, new / path.name)
                cache.publish(new, home)
            cache.prune(home.parent)
        cache.used(home)
    if path.is_file():
        return path, source.provenance(None, sha256(path))
    if named:
        problem = f"{IMAGE.variable} is {origin}, which has no {inside}"
        raise LaneError("origin_unusable", "environment", problem, "name the image itself")
    return None


def _newest(product: Product, requirement: str, place: Place) -> tuple[str, str]:
    """(version, sha256 of its file, or "") that pip would install now."""
    root = place.family("venvs")
    cache.make_private(root)
    with cache.growing(root) as new:
        report = new / "report.json"
        arguments = ["install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", product.package]
        place.pip([*arguments, "--report", str(report), requirement], f"resolve {requirement}")
        [entry] = json.loads(report.read_text(encoding="utf-8"))["install"]
    hashes = entry["download_info"].get("archive_info", {}).get("hashes", {})
    return entry["metadata"]["version"], hashes.get("sha256", "")


def _fetched(product: Product, url: str, place: Place) -> Path:
    """An archive, fetched at every run, because only its bytes tell whether it is still the same."""
    root = place.family("sources")
    cache.make_private(root)
    with cache.growing(root) as new:
        arguments = ["download", "--no-deps", "--dest", str(new), url]
        place.pip(arguments, f"download {url}", product.component, folder=new)
        [path] = [path for path in new.iterdir() if path.is_file()]
        home = root / f"archive-{sha256(path)[:16]}"
        if not home.exists():
            home.mkdir()
            path.rename(home / path.name)
    cache.used(home)
    return home / path.name
