"""Holds each module's documentation and its argument_spec together, as `ansible-test sanity` does for collections:
modules.py [CHECKOUT]

The module itself is loaded and asked for its spec. Compared are names, type, elements, required, default, choices,
aliases and suboptions (which an option that is "as in M(other_module)" has from there); EXAMPLES are tasks with a name
whose arguments the spec lets through, or of ansible.builtin; RETURN says for each value when it is returned;
attributes are declared and check_mode is true; names that sound like a secret say in the spec whether they are one. In
the end `ansible-doc` has to show every module.
"""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import ansible.module_utils
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).parents[2]
SECRET = re.compile(r"(?:^|_)(?:password|passphrase|secrets?|token|ticket|seed|credentials?)(?:_|$)")
KEYS = {"description", "type", "elements", "required", "default", "choices", "aliases", "suboptions", "version_added"}
RULES = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
ATTRIBUTES = {"check_mode", "diff_mode", "idempotent"}


class Asked(Exception):
    """Raised in AnsibleModule's place."""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"module_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documentation_of(path: Path, module: ModuleType) -> dict[str, Any]:
    """DOCUMENTATION with what the fragments that it extends add to it, as Ansible does."""
    documentation: dict[str, Any] = yaml.safe_load(module.DOCUMENTATION)
    for name in documentation.pop("extends_documentation_fragment", []):
        fragment = load(path.parents[1] / "plugins/doc_fragments" / f"{name}.py").ModuleDocFragment
        for key, value in yaml.safe_load(fragment.DOCUMENTATION).items():
            documentation[key] = value | documentation.get(key, {}) if isinstance(value, dict) else value
    return documentation


def asked_of(module: ModuleType) -> dict[str, Any]:
    """What the module gives to AnsibleModule."""
    with mock.patch.object(module, "AnsibleModule", side_effect=Asked) as made, contextlib.suppress(Asked):
        module.main()
    if not made.called:
        raise ValueError("main() ended without making an AnsibleModule")
    return made.call_args.kwargs


def findings(path: Path) -> Iterator[str]:
    """What is wrong with a module, a sentence each."""
    try:
        module = load(path)
        given = asked_of(module)
        documentation = documentation_of(path, module)
        examples, returned = (yaml.safe_load(getattr(module, name)) for name in ("EXAMPLES", "RETURN"))
    except (AttributeError, ImportError, OSError, ValueError, yaml.YAMLError) as error:
        yield f"DOCUMENTATION, EXAMPLES, RETURN or main() cannot be used: {' '.join(str(error).split())}"
        return
    if not all((documentation, examples, returned)):
        yield "one of DOCUMENTATION, EXAMPLES and RETURN is empty"
        return
    spec, options = given["argument_spec"], documentation.get("options", {})
    yield from head(path.stem, documentation, given)
    yield from compare(spec, options, "", path.parent)
    for task in examples:
        yield from example(path.stem, task, given)
    for name, value in returned.items():
        if missing := [key for key in ("description", "returned", "type") if not value.get(key)]:
            yield f"{name} of RETURN has no {' and no '.join(missing)}"


def head(name: str, documentation: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    """The parts that every module's documentation has."""
    if documentation.get("module") != name:
        yield f"DOCUMENTATION is of module {documentation.get('module')}, not {name}"
    for key in ("short_description", "description", "author"):
        if not documentation.get(key):
            yield f"DOCUMENTATION has no {key}"
    attributes = documentation.get("attributes") or {}
    for key in sorted(ATTRIBUTES - set(attributes)):
        yield f"attributes do not declare {key}"
    for key, value in attributes.items():
        if value.get("support") not in ("full", "partial", "none") or not value.get("description"):
            yield f"attribute {key} has no support (full, partial or none) or no description"
    documented, real = attributes.get("check_mode", {}).get("support"), bool(given.get("supports_check_mode"))
    if (documented in ("full", "partial")) != real:
        yield f"attribute check_mode has support {documented}, but supports_check_mode is {real}"


def compare(spec: dict[str, Any], options: dict[str, Any], place: str, library: Path) -> Iterator[str]:
    """The options of spec and documentation, and those below them."""
    for name in sorted(set(spec) ^ set(options)):
        there, missing = ("argument_spec", "DOCUMENTATION") if name in spec else ("DOCUMENTATION", "argument_spec")
        yield f"option {place}{name} of {there} is missing from {missing}"
    for name in sorted(set(spec) & set(options)):
        real, documented, option = spec[name], options[name], f"option {place}{name}"
        if not documented.get("description"):
            yield f"{option} has no description"
        if unknown := ", ".join(sorted(set(documented) - KEYS)):
            yield f"{option} of DOCUMENTATION has keys that Ansible does not know: {unknown}"
        if SECRET.search(name) and real.get("type") != "path" and "no_log" not in real:
            yield f"{option} sounds like a secret, and its argument_spec does not set no_log to true or false"
        facts = ["required", "default", "choices", "aliases"]
        # a function takes such a value apart; its own tests hold it to its documentation
        if not callable(real.get("type")):
            facts += ["type", "elements"]
            below = documented.get("suboptions") or borrowed(name, documented, library)
            yield from compare(real.get("options") or {}, below, f"{place}{name}.", library)
        usual = {"type": "str", "required": False}
        for fact in facts:
            ours, theirs = real.get(fact, usual.get(fact)), documented.get(fact, usual.get(fact))
            if isinstance(ours, tuple):
                ours = list(ours)
            if ours != theirs:
                yield f"{fact} of {option} is {ours!r} in argument_spec, but {theirs!r} in DOCUMENTATION"


def borrowed(name: str, documented: dict[str, Any], library: Path) -> dict[str, Any]:
    """The suboptions of an option that is described as another module's of the same name."""
    other = re.search(r"\bas in M\((\w+)\)", str(documented.get("description")), re.IGNORECASE)
    file = library / f"{other[1]}.py" if other else None
    if not file or not file.is_file():
        return {}
    return documentation_of(file, load(file))["options"].get(name, {}).get("suboptions") or {}


def example(name: str, task: Any, given: dict[str, Any]) -> Iterator[str]:
    """A task of EXAMPLES. What a template will give is not known here."""
    title = task.get("name") if isinstance(task, dict) else None
    if title and any(str(key).startswith("ansible.builtin.") for key in task):
        return  # what to do with the result, by a module of Ansible's own
    if not title or not isinstance(task.get(name), dict):
        yield f"an entry of EXAMPLES is not a task with a name and arguments of {name}: {str(task)[:60]}"
        return
    unseen = {key for key, value in task[name].items() if isinstance(value, str) and "{{" in value}
    spec = given["argument_spec"]
    raw = {key: {"type": "raw"} for key, value in spec.items() if key in unseen or callable(value.get("type"))}
    rules = {key: value for key, value in given.items() if key in RULES}
    for words in ArgumentSpecValidator({**spec, **raw}, **rules).validate(task[name]).error_messages:
        yield f"argument_spec refuses the example {title!r}: {words}"


def shown(root: Path, names: list[str]) -> Iterator[str]:
    """Whether ansible-doc can show every module; one that it cannot read hides all, and its error names that one."""
    command = [Path(sys.executable).with_name("ansible-doc"), "-M", root / "library", "-t", "module", *names]
    quiet = {**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    if not all(re.search(rf"^> MODULE {name}\b", done.stdout, re.MULTILINE) for name in names):
        yield f"ansible-doc cannot show them: {' '.join(done.stderr.split()) or 'nothing'}"


def main(words: list[str]) -> int:
    root = Path(words[0]) if words else ROOT
    ansible.module_utils.__path__.append(str(root / "module_utils"))
    modules = sorted((root / "library").glob("*.py"))
    wrong = [f"library/{path.name}: {words}" for path in modules for words in findings(path)]
    wrong += shown(root, [path.stem for path in modules])
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
