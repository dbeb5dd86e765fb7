"""Hold the roles' meta/argument_specs.yml and defaults/main.yml together, and write what they say into pages:
variables.py [--check] [CHECKOUT]

Both name the same inputs, each begins with the role's name and is described, and its default, which stands in the
latter alone, is what its type and choices let through. Ansible itself compares none of this: a default of the wrong
type is refused when the role runs, one that only the defaults know is never checked.

Each role gets its README.md. Another page asks for a table by a line `<!-- variables: NAME NAME ... -->`, or `all` for
everything that can be set; the table goes from there to `<!-- end -->`. With --check nothing is written, and a page
that is not up to date makes the status 1.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).parents[2]
LANE = "roles/lane/defaults/main.yml"
SHARED = "lane"  # the names that all roles share: role_inputs knows them, and it has no tasks that could check them
SPECS, DEFAULTS = "meta/argument_specs.yml", "defaults/main.yml"
PAGES = ("README.md", "docs/variables.md")
README = """<!-- Written by tests/lint/variables.py from meta/argument_specs.yml and defaults/main.yml. -->
# Role `{name}`

{title}.
{words}
`./lane --tags {name}` runs it again on a lane that is up. A playbook of your own imports it after `lane_run` has
claimed the lane, as [playbooks/lane.yml](../../playbooks/lane.yml) does. Its defaults take what roles share from
[the lane's variables](../../docs/variables.md).

{table}"""
TABLE = re.compile(r"(?P<asked><!-- variables: (?P<names>[^>]*) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
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
    """Variables that are listed together on the page of all variables."""

    title: str
    words: str
    variables: list[Variable]


def of_lane(text: str) -> list[Group]:
    """The sections of the role lane's defaults; the comment behind or above a variable says what it does."""
    groups = [Group("", "", [])]
    given = yaml.safe_load(text)
    above: list[str] = []
    for line in text.splitlines():
        if heading := re.match(r"# --- (.*?) -+$", line):
            groups.append(Group(heading[1][0].upper() + heading[1][1:], "", []))
        elif found := re.match(r"(\w+):.*?(?: # (.*))?$", line):
            words = found[2] or " ".join(above)
            groups[-1].variables.append(Variable(found[1], flow(given[found[1]]), kind_of(given[found[1]]), words))
        above = [*above, line[2:]] if line.startswith("# ") and not line.startswith("# ---") else []
    return [group for group in groups if group.variables]


def of_role(folder: Path) -> tuple[Group, str]:
    """A role's variables, and its README.md: its purpose, how to run it, its variables."""
    spec = yaml.safe_load((folder / SPECS).read_text(encoding="utf-8"))["argument_specs"]["main"]
    defaults = yaml.safe_load((folder / DEFAULTS).read_text(encoding="utf-8"))
    variables = [
        Variable(name, flow(defaults[name]), kind(option), markdown(option["description"]))
        for name, option in spec["options"].items()
    ]
    title = markdown(spec["short_description"])
    texts = [textwrap.fill(f"{markdown(words)}.", 120, break_on_hyphens=False) for words in spec.get("description", [])]
    words = "".join(f"\n{text}\n" for text in texts)
    page = README.format(name=folder.name, title=title, words=words, table=table(variables, True))
    return Group(f"Role `{folder.name}`", f"{title}.", variables), page


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
    """The type of a lane_ variable, which has no spec; a template's is not known before it is run."""
    if isinstance(value, str) and "{{" in value:
        return ""
    assert isinstance(value, bool | int | float | str | list | dict), f"{value!r} has no type of Ansible's"
    return type(value).__name__


def markdown(words: str | list[str]) -> str:
    """Ansible's markup as Markdown's."""
    text = " ".join(words if isinstance(words, list) else [words])
    return re.sub(r"\b(?:RV|[VCOM])\(([^)]*)\)", r"`\1`", text).removesuffix(".")


def table(variables: list[Variable], whole: bool) -> str:
    """The rows; the type only on the whole page."""
    head = "| variable | default | what it does |\n|---|---|---|\n"
    if whole:
        head = "| variable | type | default | what it does |\n|---|---|---|---|\n"
    rows = ""
    for one in variables:
        cells = [f"`{one.name}`", *([one.kind] if whole else []), f"`{one.default}`", one.words]
        escaped = [cell.replace("|", r"\|") for cell in cells]
        rows += f"| {' | '.join(escaped)} |\n"
    return head + rows


def written(page: str, groups: list[Group]) -> str:
    """The page with its tables as they have to be. Raises ValueError (one sentence) for a name that nothing has."""
    known = {one.name: one for group in groups for one in group.variables}

    def fill(found: re.Match[str]) -> str:
        names = found["names"].split()
        if unknown := [name for name in names if name not in known and name != "all"]:
            raise ValueError(f"{', '.join(unknown)} is neither in a role's meta/argument_specs.yml nor in {LANE}")
        if names == ["all"]:
            words = [f"{one.words}\n\n" if one.words else "" for one in groups]
            parts = [
                f"## {one.title}\n\n{text}{table(one.variables, True)}\n"
                for one, text in zip(groups, words, strict=True)
            ]
            return f"{found['asked']}\n{''.join(parts)}{found['end']}"
        return found["asked"] + table([known[name] for name in names], False) + found["end"]

    return TABLE.sub(fill, page)


def findings(role: Path) -> Iterator[str]:
    """What is wrong with a role, a sentence each."""
    files = {name: role / name for name in (SPECS, DEFAULTS)}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        yield f"{' and '.join(missing)} missing"
        return
    entries, defaults = (yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in files.values())
    options: dict[str, Any] = {}
    for entry in entries.get("argument_specs", {}).values():
        options |= entry.get("options", {})
    for name in [*options, *(name for name in defaults if name not in options)]:
        words = "" if name not in options else " ".join(options[name].get("description", ""))
        if name not in defaults:
            yield f"{name} of {SPECS} has no default in {DEFAULTS}"
        elif name not in options:
            yield f"{name} of {DEFAULTS} is not in {SPECS}"
        elif not name.startswith(f"{role.name}_"):
            yield f"the input {name} is not named {role.name}_SOMETHING"
        elif not words.strip():
            yield f"{name} has no description in {SPECS}"
        elif "default" in options[name]:
            yield f"the default of {name} belongs in {DEFAULTS} alone, and not in {SPECS}"
        elif wrong := unfit(name, options[name], defaults[name]):
            yield f"the default of {name} does not fit its spec: {wrong}"
        elif options[name]["type"] == "bool" and (files := judged_as_text(role, name)):
            yield f"-e {name}=false gives a text, which is true in {', '.join(files)}: write {name} | bool"


def judged_as_text(role: Path, name: str) -> list[str]:
    """The files in which an expression has a bool as it was given; an option of a module makes one of it by itself."""
    used = re.compile(rf'(?<!"{{{{ )\b{name}\b(?!:| \| bool\b)')
    found = (*role.glob("tasks/*.yml"), *role.glob("vars/**/*.yml"))
    return sorted(file.name for file in found if used.search(file.read_text(encoding="utf-8")))


def unfit(name: str, option: dict[str, Any], default: Any) -> str:
    """Why a default does not fit its spec, which may only make a whole number a float. Templates are not known here."""
    if isinstance(default, str) and "{{" in default:
        return ""
    checked = ArgumentSpecValidator({name: option}).validate({name: default})
    if checked.error_messages:
        return "; ".join(checked.error_messages)
    taken = checked.validated_parameters[name]
    if option["type"] != "path" and taken != default:
        return f"it is {default!r} and would be taken as {taken!r}"
    return ""


def main(words: list[str]) -> int:
    check = "--check" in words
    root = Path(next((word for word in words if word != "--check"), ROOT))
    checked = [role for role in sorted((root / "roles").iterdir()) if role.name != SHARED]
    if misfits := [f"roles/{role.name}: {what}" for role in checked for what in findings(role)]:
        print(*misfits, sep="\n")
        return 1
    text = (root / LANE).read_text(encoding="utf-8")
    roles = {name: of_role(root / "roles" / name) for name in yaml.safe_load(text)["lane_roles"]}
    groups = [*of_lane(text), *(group for group, _ in roles.values())]
    silent = [one.name for group in groups for one in group.variables if not one.words]
    wrong = [f"{LANE}: {name} has no comment behind or above it that says what it is" for name in silent]
    readmes = {f"roles/{name}/README.md": page for name, (_, page) in roles.items()}
    for name, whole in {**dict.fromkeys(PAGES, ""), **readmes}.items():
        page = root / name
        there = page.read_text(encoding="utf-8") if page.exists() else ""
        try:
            wanted = whole or written(there, groups)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
            continue
        if not whole and not TABLE.search(there):
            wrong.append(f"{name}: there is no table between <!-- variables: ... --> and <!-- end -->")
        if wanted != there and check:
            wrong.append(f"{name} differs from the specs; write it with {WRITE}")
        elif wanted != there:
            page.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
