"""Where a product under test comes from: one text per product, classified and checked here and nowhere else.

0.8.0                        a release of the package index
kerbside>=0.8                a requirement, resolved anew at every run
git+https://host/repo@ref    a git repository; without @ref its default branch
~/src/kerbside               a checkout as it is, uncommitted changes included
dist/kerbside-0.9-....whl    a built file: a wheel, a source archive, a program, a qcow2 image
crates:0.3.0                 a release on crates.io
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..core.errors import LaneError
from . import git

ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")
INDEX, REQUIREMENT, GIT, CHECKOUT = "index", "requirement", "git", "checkout"
FILE, ARCHIVE, CRATES = "file", "archive", "crates"
#: What `<name> @ <url>` looks like (PEP 508).
DIRECT = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*@\s*(\S+://\S+|git\+\S+)")
#: A version as PEP 440 writes it, near enough to tell it from a requirement; pip has the last word.
VERSION = re.compile(r"v?\d+(?:\.\d+)*(?:[.-]?(?:a|b|rc|alpha|beta|post|dev)[.-]?\d*)*(?:\+[\w.]+)?", re.ASCII)
REQUIRED = re.compile(r"([A-Za-z0-9][\w.-]*?)(?:\[[^\]]*\])?\s*((?:[=<>!~]=?=?\s*[\w.*+!-]+\s*,?\s*)*)", re.ASCII)


@dataclass(frozen=True)
class Product:
    """What is tested, and which origins it can have.

    name: its key in origins.json; variable: what a user sets; component: who is blamed when it does not build; markers:
    what a checkout of it has one of, relative to its root; package: the name of its package on the index, of its cargo
    package and of its program; belongs: which files of a checkout it may depend on, by their names.
    """

    name: str
    variable: str
    component: str
    kinds: tuple[str, ...]
    markers: tuple[str, ...]
    package: str = ""
    belongs: Callable[[str], bool] = lambda name: True


def _belongs_to_kerbside(name: str) -> bool:
    return not name.startswith("rust/")


def _belongs_to_proxy(name: str) -> bool:
    """The proxy is in kerbside's repository, but does not read its Python code or pages."""
    return name.startswith("rust/") or not name.endswith((".py", ".md", ".rst", ".qcow2"))


ANY = (INDEX, REQUIREMENT, GIT, CHECKOUT, FILE)
PYTHON = ("pyproject.toml", "setup.py")
CARGO = ("rust/kerbside-proxy/Cargo.toml", "Cargo.toml")
QCOW2 = "tests/fixtures/uncalibrated-sextant.qcow2"
KERBSIDE = Product(
    "kerbside", "lane_kerbside_origin", "kerbside", (*ANY, ARCHIVE), PYTHON, "kerbside", belongs=_belongs_to_kerbside
)
PROXY = Product("proxy", "lane_proxy_origin", "proxy", ANY, CARGO, "kerbside-proxy", belongs=_belongs_to_proxy)
RYLL = Product("ryll", "lane_ryll_origin", "ryll", (*ANY, CRATES), ("Cargo.toml",), "ryll")
IMAGE = Product(
    "image", "lane_image_origin", "guest", (GIT, CHECKOUT, FILE), (QCOW2,), belongs=lambda name: name == QCOW2
)
#: The inputs of the roles that are origins.
INPUTS = {
    "kerbside_origin": KERBSIDE,
    "kerbside_proxy_origin": PROXY,
    "ryll_build_origin": RYLL,
    "sextant_vm_image_origin": IMAGE,
}


@dataclass(frozen=True)
class Origin:
    """kind: one of the above. source: version, requirement, URL or absolute path. ref: of a git repository."""

    kind: str
    source: str
    ref: str = ""

    @property
    def is_tree(self) -> bool:
        """Whether it is a git repository or a checkout."""
        return self.kind in (GIT, CHECKOUT)

    @property
    def is_source(self) -> bool:
        """Whether a program from there is built here."""
        return self.is_tree or self.kind == CRATES

    def __str__(self) -> str:
        return f"{self.source}@{self.ref}" if self.ref else self.source


def parse(product: Product, text: str, here: str) -> Origin | None:
    """The origin that a text names, None for an empty one.

    A relative path is taken from `here`, the directory where the user is.

    Raises LaneError (environment): origin_has_credentials, without the text; origin_not_there for a path;
    origin_unusable for anything else.
    """
    text = str(text).strip()
    if not text:
        return None
    git.check_url(product.variable, text)
    found = _classify(product, text, here)
    if found.kind not in product.kinds:
        raise _unusable(
            product, text, f"the lane does not install {product.name} from this kind of origin ({found.kind})"
        )
    if found.kind in (FILE, ARCHIVE) and found.source.endswith(".whl"):
        name = _canonical(os.path.basename(found.source).split("-")[0])
        if name != product.package:
            raise _unusable(product, text, f"it is a wheel of {name}")
    if found.kind == GIT:
        git.check_ref(product.variable, found.ref)
    if found.kind in (CHECKOUT, FILE):
        _check_path(product, found)
    return found


def check(inputs: Mapping[str, Any]) -> None:
    """Check the origins among the roles' inputs. Raises LaneError like `parse`, for one that may not be empty, and for
    cargo features of a ryll that is not built.
    """
    for name, product in INPUTS.items():
        found = parse(product, inputs.get(name, ""), inputs.get("kerbside_caller_dir", "/"))
        if found is None and name in inputs and product in (KERBSIDE, RYLL):
            raise _unusable(product, "", "it is empty")
        if found and product is RYLL and not found.is_source and inputs.get("ryll_build_features"):
            problem = f"lane_ryll_features is set, but ryll {found} is not built by the lane"
            raise LaneError("bad_input", "environment", problem, "leave it out, or name a source (docs/origins.md)")


def brought_by(product: Product, kerbside: Origin | None) -> Origin | None:
    """The same repository or checkout, when the kerbside under test brings this product; else None."""
    if kerbside is None or not kerbside.is_tree:
        return None
    return kerbside if kerbside.kind == GIT or Path(kerbside.source, product.markers[0]).is_file() else None


def _classify(product: Product, text: str, here: str) -> Origin:
    if text.startswith("crates:"):
        version = text.removeprefix("crates:")
        if not VERSION.fullmatch(version):
            raise _unusable(product, text, "a version such as 0.3.0 has to follow crates:")
        return Origin(CRATES, version.removeprefix("v"))
    if direct := DIRECT.fullmatch(text):
        if _canonical(direct[1]) != product.package:
            raise _unusable(product, text, f"it is a requirement for {direct[1]}")
        text = direct[2]
    if text.startswith("git+") or "://" in text:
        url, _, fragment = text.partition("#")
        if fragment and not re.fullmatch(r"egg=[^&]*", fragment):
            raise _unusable(product, text, f"the lane does not take #{fragment}")
        return _of_url(url, here)
    path = Path(here, os.path.expanduser(text))
    if VERSION.fullmatch(text):
        return Origin(INDEX, text.removeprefix("v"))
    asked = REQUIRED.fullmatch(text)
    if asked and product.package and _canonical(asked[1]) == product.package:
        exact = re.fullmatch(r"==\s*([\w.+!-]+)", asked[2].strip())
        return Origin(INDEX, exact[1]) if exact else Origin(REQUIREMENT, text)
    if asked and asked[2]:
        raise _unusable(product, text, f"it is a requirement for {asked[1]}")
    if not path.exists() and "/" not in text and not text.startswith(("~", ".")):
        raise _unusable(product, text, "no file has that name either")
    return _of_path(path)


def _of_path(path: Path) -> Origin:
    path = Path(os.path.abspath(path))
    return Origin(CHECKOUT if path.is_dir() else FILE, str(path))


def _of_url(url: str, here: str) -> Origin:
    if url.startswith("file://"):
        return _of_path(Path(unquote(urlsplit(url).path)))
    if not url.startswith("git+") and url.endswith(ARCHIVES):
        return Origin(ARCHIVE, url)
    url = url.removeprefix("git+")
    parts = urlsplit(url)
    ref = parts.path.rpartition("@")[2] if "@" in parts.path else ""
    url = url.removesuffix(f"@{ref}") if ref else url
    if not parts.scheme:
        url = os.path.abspath(Path(here, os.path.expanduser(url)))
    return Origin(GIT, url, ref or "HEAD")


def _check_path(product: Product, origin: Origin) -> None:
    if not os.access(origin.source, os.R_OK):
        there = os.path.exists(origin.source)
        why, fix = ("which this user cannot read", "its mode") if there else ("and nothing is there", "the path")
        problem = f"{product.variable} names {origin.source}, {why}"
        raise LaneError("origin_not_there", "environment", problem, f"correct {fix}")
    if origin.kind == CHECKOUT and not any(Path(origin.source, name).is_file() for name in product.markers):
        raise _unusable(product, origin.source, f"that folder has no {' or '.join(product.markers)}")


def _unusable(product: Product, text: str, why: str) -> LaneError:
    problem = f"{product.variable} is {text!r}, which the lane cannot use: {why}"
    return LaneError("origin_unusable", "environment", problem, "docs/origins.md has the forms")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
