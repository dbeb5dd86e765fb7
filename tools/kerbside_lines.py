"""Which statements of kerbside's Python count: all but the drivers of other clouds, the HTML pages and what else
tests/mutation/kerbside.yml leaves out, with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from tools import ROOT

LISTED = ROOT / "tests/mutation/kerbside.yml"
#: An `if` with this in its test renders a page: kerbside asks for it before each one.
HTML = ".find('text/html') != -1"


def listed(key: str) -> list[dict[str, Any]]:
    """The entries of `left_out` or of `equivalent`."""
    found: list[dict[str, Any]] = yaml.safe_load(LISTED.read_text(encoding="utf-8"))[key]
    return found


def files(package: Path) -> list[str]:
    """The files that count, by their paths in the package."""
    parts = [one["file"] for one in listed("left_out") if "functions" not in one]
    found = sorted(str(path.relative_to(package)) for path in package.rglob("*.py"))
    return [file for file in found if not any(part in file for part in parts)]


def left_out(source: str, file: str) -> set[int]:
    """The lines of a file that do not count: those of functions that are listed, and of the HTML pages."""
    functions = [name for one in listed("left_out") if one["file"] == file for name in one.get("functions", ())]
    nodes = _nodes(ast.parse(source), "", functions)
    return {line for node in nodes for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def _nodes(tree: ast.AST, inside: str, functions: Collection[str]) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(tree):
        name = f"{inside}{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
        page = isinstance(node, ast.If) and HTML in ast.unparse(node.test)
        if page or (isinstance(node, ast.FunctionDef) and name in functions):
            yield from node.body  # type: ignore[attr-defined]
        else:
            yield from _nodes(node, f"{name}." if name else inside, functions)


def shares(package: Path, covered: dict[str, set[int]]) -> dict[str, tuple[int, int]]:
    """For each file with statements that count: how many of them were run, and how many there are."""
    import coverage

    parser = coverage.Coverage(data_file=None)
    found = {}
    for file in files(package):
        _, statements, _, _, _ = parser.analysis2(str(package / file))
        counted = set(statements) - left_out((package / file).read_text(encoding="utf-8"), file)
        if counted:
            found[file] = (len(counted & covered.get(file, set())), len(counted))
    return found


def table(found: dict[str, tuple[int, int]]) -> str:
    """The shares for people, the whole in the last line."""
    ran, total = (sum(pair[index] for pair in found.values()) for index in (0, 1))
    rows = [f"{100 * run / count:5.1f} %  {run:4} of {count:4}  {file}" for file, (run, count) in found.items()]
    rows.append(f"{100 * ran / max(total, 1):5.1f} %  {ran:4} of {total:4}  statements run without a mutant")
    return "\n".join(rows)
