"""A Rust program under test in the lane's cache: ryll or kerbside-proxy, from wherever its origin says, built here
where that is a source.

Each is a folder programs/NAME-KEY with the program and record.json in it. It is made under another name and renamed
when it is whole, so what has the right name is complete, whoever else fills the cache at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import command, proc_stat
from ..core.errors import LaneError, one_line
from ..core.private_dir import read_json
from . import cache, rust, tree
from .origin import CRATES, INDEX, RYLL, Product
from .source import Place, Source, folder, sha256

RECORD = "record.json"
RECIPE = 1  # raised when what is built from the same source changes


@dataclass(frozen=True)
class Program:
    """version: as it says itself, or its package; origin: of origins.json; cached: nothing was fetched or built."""

    path: str
    version: str
    origin: dict[str, Any]
    cached: bool
    removed: tuple[str, ...] = ()

    def note(self, name: str, source: Source) -> str:
        """The result in a few words, for the terminal."""
        return note(f"{name} {self.version}, {self.how(source)}", source, self.removed)

    def how(self, source: Source) -> str:
        """What was done, for the terminal."""
        return "from the cache" if self.cached else "built" if source.origin.is_source else "fetched"


def note(done: str, source: Source, removed: Sequence[str]) -> str:
    """What was done with a product, where it came from unless that is usual, and what was removed from the cache."""
    origin = "" if source.origin.kind == INDEX else f", of {source.words()}"
    return done + origin + (f"; removed from the cache: {', '.join(removed)}" if removed else "")


@dataclass(frozen=True)
class Wanted:
    """What is asked for. features: cargo's, for a build; hashes: the SHA-256 that a wheel of it may have; none means
    any.
    """

    product: Product
    source: Source
    features: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()

    def home(self, place: Place) -> Path:
        """Its folder in the cache."""
        key = cache.key(RECIPE, self.source.origin.is_tree, self.source.identity, self.features)
        return place.family("programs") / f"{self.product.package}-{key}"


def find(place: Place, wanted: Wanted) -> Program | None:
    """What is ready in the cache; None when nothing is, it is damaged, or its wheel has none of the hashes."""
    home = wanted.home(place)
    known = read_json(home / RECORD, {})
    path = home / wanted.product.package
    if not isinstance(known, dict) or not path.is_file():
        return None
    if sha256(path) != known.get("sha256"):
        return None
    if wanted.hashes and known["wheel"] not in wanted.hashes:
        return None
    cache.used(home)
    return Program(str(path), known["version"], _origin(wanted.source, known), True)


def provide(place: Place, wanted: Wanted) -> Program:
    """Find it in the cache, or fetch or build it.

    Raises LaneError: environment when it cannot be fetched, host for what this machine lacks to build it, the product's
    component when it does not build or is not what it says.
    """
    if found := find(place, wanted):
        return found
    product, source = wanted.product, wanted.source
    home = wanted.home(place)
    with cache.locked(home.parent, product.package, place.limit):
        if found := find(place, wanted):
            return found
        with cache.growing(home.parent) as scratch, cache.growing(home.parent) as new:
            wheel = ""
            if source.origin.is_source:
                made, version = _build(place, wanted, scratch)
            elif source.path and not source.path.endswith(".whl"):
                made, version = Path(source.path), ""
            else:
                packed = Path(source.path) if source.path else _download(place, wanted, scratch)
                made = _unpack(product, packed, scratch)
                version = packed.name.split("-")[1]
                wheel = sha256(packed)
            program = new / product.package
            shutil.copyfile(made, program)
            program.chmod(0o755)
            try:
                said, commit = ask(product, str(program), place.mark)
            except LaneError as error:  # the folder has a name for the moment
                problem = error.problem.replace(str(program), source.words())
                raise LaneError(error.code, error.component, problem, error.fix) from None
            if said and version and said != version:
                problem = f"{product.name} {version} of {source.words()} says that it is {said}"
                raise LaneError("wrong_program", product.component, problem)
            known = {"sha256": sha256(program), "version": said or version, "commit": commit, "wheel": wheel}
            (new / RECORD).write_text(json.dumps(known), encoding="utf-8")
            cache.publish(new, home)
        removed = cache.prune(home.parent, f"{product.package}-")
    path = str(home / product.package)
    return Program(path, known["version"], _origin(source, known), False, tuple(removed))


def ask(product: Product, path: str, mark: str | None) -> tuple[str, str]:
    """(version, abbreviated commit), each "" when the program does not say it. ryll prints "ryll 0.3.0 (f12d9b20)", the
    proxy has no --version.
    """
    name, component = product.name, product.component
    argv = [path, "--version" if product is RYLL else "--help"]
    done = command.run(argv, command.environment(mark), 20, f"start {name}", component=component)
    if missing := re.search(r"error while loading shared libraries: (\S+?):", done.err):
        problem = f"{name} is linked with {missing[1]}, which is not installed"
        raise LaneError("missing_library", "host", problem, "run the role deps (docs/packages.md)")
    found = re.match(r"ryll v?(\d\S*)(?: \(([^)]*)\))?", done.out)
    if done.status or (product is RYLL and not found):
        problem = f"{name} does not start: it ended with status {done.status} and said {one_line(done.said, 200)}"
        raise LaneError("program_unusable", component, problem, evidence=path)
    return (found[1], found[2] or "") if found else ("", "")


def _origin(source: Source, known: dict[str, Any]) -> dict[str, Any]:
    return {**source.provenance(known["version"], known["sha256"]), "commit": source.commit or known["commit"] or None}


def _build(place: Place, wanted: Wanted, scratch: Path) -> tuple[Path, str]:
    """Build it with cargo, in a copy that stays so that only changes are built. Returns the program and its version."""
    product, source = wanted.product, wanted.source
    work = place.family("cargo") / product.package
    cache.make_private(work)
    env = rust.environment(place.mark, work)
    features = ["--no-default-features"] if product is RYLL else []
    features += ["--features", ",".join(wanted.features)] if wanted.features else []
    if source.origin.kind == CRATES:
        cargo = rust.find(env, scratch, scratch, place.log, product.component)
        version = source.origin.source
        return rust.install(cargo, product.package, version, scratch, features, place.limit), version
    root = work / "source"
    tree.copy(folder(product, source, place), root)
    inside = next((root / marker for marker in product.markers if (root / marker).is_file()), None)
    if inside is None:
        problem = f"{source.words()} has no {' or '.join(product.markers)}"
        raise LaneError("build_incomplete", product.component, problem)
    cargo = rust.find(env, inside.parent, root, place.log, product.component)
    return rust.build(cargo, inside.parent, product.package, features, place.limit)


def _download(place: Place, wanted: Wanted, scratch: Path) -> Path:
    """The wheel of a release."""
    requirement = wanted.source.requirement
    pinned = scratch / "requirements.txt"
    hashes = [f"--hash=sha256:{digest}" for digest in wanted.hashes or wanted.source.hashes]
    pinned.write_text(" ".join([requirement, *hashes]), encoding="utf-8")
    arguments = ["download", "--no-deps", "--only-binary", ":all:", "--dest", str(scratch), "-r", str(pinned)]
    place.pip(arguments, f"download {requirement}", folder=scratch)
    [wheel] = scratch.glob("*.whl")
    return wheel


def _unpack(product: Product, wheel: Path, scratch: Path) -> Path:
    """Take the one program out of a wheel, which keeps it in NAME.data/scripts (PyPA, binary distribution format)."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = rf"[^/]+\.data/scripts/{product.package}"
            names = [name for name in archive.namelist() if re.fullmatch(inside, name)]
            if len(names) != 1:
                problem = f"{wheel.name} has {len(names)} programs named {product.package}, and should have one"
                raise LaneError("wrong_program", product.component, problem)
            return Path(archive.extract(names[0], scratch))
    except zipfile.BadZipFile as error:
        problem = f"{wheel.name} is not a wheel: {error}"
        raise LaneError("wrong_program", product.component, problem, "build it again") from None


def running(parent: int, name: str) -> str | None:
    """The sha256 of the program of that name that is a child of that process, read from the process itself; None
    without one.
    """
    for process in Path("/proc").glob("[0-9]*"):
        found = proc_stat.read(int(process.name))
        if found and int(found[1][proc_stat.PARENT]) == parent:
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(process / "exe")) == name:
                    return sha256(process / "exe")
    return None
