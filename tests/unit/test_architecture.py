"""docs/architecture.md is true: its diagram has the arrows that the sources have, and its tables the files that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LANE = ROOT / "module_utils/lane"
SHARED = {"bridge.py", "errors.py", "workdir.py"}  # under every module, and not drawn
MODULES = {path.stem for path in (ROOT / "library").glob("*.py")}


def drawn(page: str) -> set[tuple[str, str]]:
    """The arrows of the page's one diagram."""
    diagrams = re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL)
    assert len(diagrams) == 1
    lines = [line.strip() for line in diagrams[0].splitlines()[1:] if line.strip()]
    return {(origin, target) for line in lines for origin, targets in [line.split(" --> ")] for target in targets.split(" & ")}


def of_tasks(files: list[Path], origin: str) -> set[tuple[str, str]]:
    """The lane's modules and roles that task files name."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    arrows = {(origin, f"library/{name}.py") for name in re.findall(r"^\s+(\w+):", text, re.MULTILINE) if name in MODULES}
    if origin.startswith("playbooks/"):
        arrows |= {(origin, f"roles/{name}") for name in re.findall(r"_role:\n\s+name: (\w+)", text)}
    return arrows


def of_module(path: Path) -> set[tuple[str, str]]:
    """The parts of module_utils/lane that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible.module_utils.lane"):
            below = (node.module or "").split(".")[3:]
            names |= {below[0]} if below else {alias.name for alias in node.names}
    files = {name if (LANE / name).is_dir() else f"{name}.py" for name in names}
    return {(f"library/{path.name}", f"lane/{name}") for name in files - SHARED}


def real() -> set[tuple[str, str]]:
    arrows = set()
    for path in (ROOT / "playbooks").glob("*.yml"):
        arrows |= of_tasks([path], f"playbooks/{path.name}")
    for folder in (ROOT / "roles").iterdir():
        arrows |= of_tasks(list((folder / "tasks").glob("*.yml")), f"roles/{folder.name}")
    for path in (ROOT / "library").glob("*.py"):
        arrows |= of_module(path)
    return arrows


def untrue(page: str) -> list[str]:
    """What the diagram has and the tree has not, and the other way round."""
    there, told = real(), drawn(page)
    return [f"not in the tree: {a} --> {b}" for a, b in sorted(told - there)] + [f"not drawn: {a} --> {b}" for a, b in sorted(there - told)]


def files_of(page: str, folder: str) -> list[str]:
    """The names in the first column of the table of a folder."""
    table = page.split(f"| in `{folder}` | job |\n|---|---|\n")[1].split("\n\n")[0]
    return [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_diagram_is_true() -> None:
    assert untrue(PAGE) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("roles/evidence & roles/teardown", "roles/evidence", "not drawn: playbooks/lane.yml --> roles/teardown"),
        ("roles/deps --> library/lane_deps.py", "roles/deps --> library/lane_dep.py", "not in the tree: roles/deps --> library/lane_dep.py"),
        ("--> lane/spine.py", "--> lane/spine.py & lane/qmp.py", "not in the tree: library/spine_check.py --> lane/qmp.py"),
        ("lane/control & lane/process.py", "lane/process.py", "not drawn: library/ryll_session.py --> lane/control"),
    ],
)
def test_an_arrow_too_many_or_too_few_is_seen(old: str, new: str, words: str) -> None:
    assert old in PAGE
    assert words in untrue(PAGE.replace(old, new, 1))


def test_every_role_module_and_playbook_is_drawn() -> None:
    ends = {end for arrow in drawn(PAGE) for end in arrow}
    for pattern in ("playbooks/*.yml", "roles/*", "library/*.py"):
        assert {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)} <= ends


def test_the_tables_have_what_is_there_each_once() -> None:
    utils = [path.name for path in LANE.iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert sorted(files_of(PAGE, "module_utils/lane")) == sorted(utils)
    plugins = [str(path.relative_to(ROOT / "plugins")) for path in (ROOT / "plugins").glob("*/*.py")]
    assert sorted(files_of(PAGE, "plugins")) == sorted(plugins)
