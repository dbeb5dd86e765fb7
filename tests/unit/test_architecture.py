"""The packages of module_utils/lane import only what docs/architecture.md lets them import."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANE = ROOT / "module_utils/lane"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGES = sorted(path.name for path in LANE.iterdir() if path.is_dir() and path.name != "__pycache__")


def allowed(page: str) -> dict[str, set[str]]:
    """package -> the packages (or package.module) that its row of the table lets it import."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    known = {"everything": set(PACKAGES), "nothing else": set()}
    return {name: known.get(words, set(words.split(", "))) for name, words in rows}


def imported(source: str, package: str, depth: int) -> set[str]:
    """What a module imports from other packages of the lane, as package.module.

    depth: of the module's package below module_utils/lane.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == depth + 1 and node.module:
            below = node.module.split(".")
            found |= {".".join(below[:2])} if len(below) > 1 else {f"{below[0]}.{alias.name}" for alias in node.names}
    return {name for name in found if not name.startswith(f"{package}.")}


def forbidden(package: str, names: set[str], rules: dict[str, set[str]]) -> set[str]:
    return {name for name in names if name.partition(".")[0] not in rules[package] and name not in rules[package]}


def test_every_package_has_its_row():
    assert sorted(allowed(PAGE)) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package):
    for path in (LANE / package).rglob("*.py"):
        found = imported(path.read_text(encoding="utf-8"), package, len(path.relative_to(LANE).parts) - 1)
        assert forbidden(package, found, allowed(PAGE)) == set(), path


def test_a_forbidden_import_is_seen():
    rules = {"checks": {"core", "lifecycle.proc"}}
    source = "from ..core.errors import x\nfrom ..lifecycle import proc, claim\n"
    source += "from ..evidence.verdict import y\nfrom . import z\n"
    assert forbidden("checks", imported(source, "checks", 1), rules) == {"lifecycle.claim", "evidence.verdict"}


def test_no_python_file_is_longer_than_400_lines():
    folders = ("module_utils", "library", "plugins", "tools", "tests", ".github")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert len(lines) > 100 and {path: count for path, count in lines.items() if count > 400} == {}
