"""Writes the tables of variables from the roles' meta/argument_specs.yml and roles/lane/defaults/main.yml: variables.py [--check] [CHECKOUT]

A page asks for a table by a line `<!-- variables: NAME NAME ... -->`, or `all` for everything that can be set; the table goes from there to `<!-- end -->`.
With --check nothing is written, and a page that is not as it would be written makes the status 1.
"""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
LANE = "roles/lane/defaults/main.yml"
PAGES = ("README.md", "docs/variables.md")
TABLE = re.compile(r"(?P<asked><!-- variables: (?P<names>[^>]*) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
MOST = 20  # lines of a difference that are shown
WRITE = ".venv/bin/python tests/lint/variables.py"


@dataclass
class Variable:
    """One that can be set: its default as YAML, what it may be, what it does."""

    name: str
    default: str
    kind: str
    words: str


@dataclass
class Group:
    """Variables that stand together on the whole page."""

    title: str
    words: str
    variables: list[Variable]


def of_lane(text: str) -> list[Group]:
    """The sections of the role lane; what a variable does stands behind it as a comment."""
    groups = [Group("", "", [])]
    given = yaml.safe_load(text)
    for line in text.splitlines():
        if heading := re.match(r"# --- (.*?) -+$", line):
            groups.append(Group(heading[1][0].upper() + heading[1][1:], "", []))
        elif found := re.match(r"(\w+):.*?(?: # (.*))?$", line):
            groups[-1].variables.append(Variable(found[1], flow(given[found[1]]), kind_of(given[found[1]]), found[2] or ""))
    return [group for group in groups if group.variables]


def of_role(folder: Path) -> Group:
    spec = yaml.safe_load((folder / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]
    return Group(
        f"Role `{folder.name}`",
        markdown(spec["short_description"]) + ".",
        [Variable(name, flow(option.get("default")), kind(option), markdown(option["description"])) for name, option in spec["options"].items()],
    )


def flow(value: Any) -> str:
    """A default in one line."""
    if isinstance(value, str):
        return " ".join(value.split()) or '""'
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).strip()
    return text.removesuffix("\n...")


def kind(option: dict[str, Any]) -> str:
    if choices := option.get("choices"):
        return ", ".join(f"`{choice}`" for choice in choices)
    return f"list of {option['elements']}" if option["type"] == "list" else str(option["type"])


def kind_of(value: Any) -> str:
    """The type of a lane_ variable, which no spec tells; a template's is not known before it is run."""
    if isinstance(value, str) and "{{" in value:
        return ""
    return next(name for kind, name in {bool: "bool", int: "int", float: "float", list: "list", dict: "dict", str: "str"}.items() if isinstance(value, kind))


def markdown(words: str | list[str]) -> str:
    """Ansible's markup as Markdown's."""
    text = " ".join(words if isinstance(words, list) else [words])
    return re.sub(r"\b(?:RV|[VCOM])\(([^)]*)\)", r"`\1`", text).removesuffix(".")


def table(variables: list[Variable], whole: bool) -> str:
    """The rows; the type only on the whole page."""
    head = "| variable | type | default | what it does |\n|---|---|---|---|\n" if whole else "| variable | default | what it does |\n|---|---|---|\n"
    rows = ""
    for one in variables:
        cells = [f"`{one.name}`", *([one.kind] if whole else []), f"`{one.default}`", one.words]
        rows += "".join(f"| {cell.replace('|', chr(92) + '|')} " for cell in cells) + "|\n"
    return head + rows


def written(page: str, groups: list[Group]) -> str:
    """The page with its tables as they have to be. Raises ValueError (one sentence) for a name that nothing has."""
    known = {one.name: one for group in groups for one in group.variables}

    def fill(found: re.Match[str]) -> str:
        names = found["names"].split()
        if unknown := [name for name in names if name not in known and name != "all"]:
            raise ValueError(f"expected the variables of a table to be in a role's meta/argument_specs.yml or in {LANE}, but {', '.join(unknown)} is in none")
        if names == ["all"]:
            parts = ["\n".join(filter(None, [f"## {one.title}\n", one.words and f"{one.words}\n", table(one.variables, True)])) for one in groups]
            return f"{found['asked']}\n{chr(10).join(parts)}\n{found['end']}"
        return found["asked"] + table([known[name] for name in names], False) + found["end"]

    return TABLE.sub(fill, page)


def main(words: list[str]) -> int:
    check = "--check" in words
    root = Path(next((word for word in words if word != "--check"), ROOT))
    text = (root / LANE).read_text(encoding="utf-8")
    groups = [*of_lane(text), *(of_role(root / "roles" / name) for name in yaml.safe_load(text)["lane_roles"])]
    silent = [one.name for group in groups for one in group.variables if not one.words]
    wrong = [f"{LANE}: expected a comment behind {name} that says what it is, but there is none" for name in silent]
    for name in PAGES:
        page = root / name
        there = page.read_text(encoding="utf-8")
        try:
            wanted = written(there, groups)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
            continue
        if not TABLE.search(there):
            wrong.append(f"{name}: expected a table between <!-- variables: ... --> and <!-- end -->, but there is none")
        if wanted != there and check:
            lines = list(difflib.unified_diff(there.splitlines(), wanted.splitlines(), name, "as it has to be", n=0, lineterm=""))
            wrong.append("\n".join([f"{name}: expected the table that the specs give, but it is another; write it by {WRITE}", *lines[:MOST]]))
        elif wanted != there:
            page.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
