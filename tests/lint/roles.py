"""Holds each role's defaults/main.yml and meta/argument_specs.yml together: roles.py [CHECKOUT]

Both name the same inputs, each begins with the role's name and is described, and its default, which stands in the
former alone, is what its type and choices let through. Ansible itself compares none of this: a default of the wrong
type is refused when the role runs, one that only the defaults know is never checked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).parents[2]
SHARED = "lane"  # the names that all roles share: role_inputs knows them, and it has no tasks that could check them
SPECS, DEFAULTS = "meta/argument_specs.yml", "defaults/main.yml"


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
    root = Path(words[0]) if words else ROOT
    roles = [role for role in sorted((root / "roles").iterdir()) if role.name != SHARED]
    wrong = [f"roles/{role.name}: {words}" for role in roles for words in findings(role)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
