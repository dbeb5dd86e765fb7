"""The checks of tests/lint: green on the checkout, and red, with the right words, on what they guard against."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lint_{name}", ROOT / f"tests/lint/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


modules, roles, variables = load("modules"), load("roles"), load("variables")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """What the checks read of a checkout, to be changed."""
    for folder in ("roles", "inventory", "library", "plugins/doc_fragments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    for name in variables.PAGES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file.name}"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


# --- the tables of variables ----------------------------------------------------------------------

SPEC, INPUTS = "roles/kvm_probe/meta/argument_specs.yml", "roles/lane/defaults/main.yml"


@pytest.mark.parametrize(
    ("file", "old", "new", "row"),
    [
        (SPEC, "default: auto", "default: never", "| `never` |"),
        (SPEC, "V(require) fails", "V(require) weeps", "`require` weeps"),
        (INPUTS, "lane_lease: 7200", "lane_lease: 60", "| `lane_lease` | `60` |"),
        (INPUTS, "lane_stop_limit: 5", "lane_stop_limit: 7 | 5", r"`7 \| 5`"),
        ("README.md", "| `lane_keep` |", "| `lane_kept` |", "| `lane_keep` |"),
        ("roles/deps/README.md", "Role `deps`", "Roll `deps`", "# Role `deps`"),
    ],
)
def test_a_stale_table_is_red_until_it_is_written(
    copied: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, row: str
) -> None:
    assert variables.main(["--check", str(copied)]) == 0
    change(copied / file, old, new)
    assert variables.main(["--check", str(copied)]) == 1
    said = capsys.readouterr().out
    assert f"differs from the specs; write it with {variables.WRITE}" in said
    assert any(line.startswith("+") and row in line for line in said.splitlines())
    assert variables.main([str(copied)]) == 0
    assert variables.main(["--check", str(copied)]) == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "README.md",
            "<!-- variables: lane_kerbside_origin ",
            "<!-- variables: lane_kerbside_parcel ",
            "README.md: lane_kerbside_parcel is neither in",
        ),
        (
            "README.md",
            "<!-- end -->",
            "",
            "README.md: there is no table between <!-- variables: ... --> and <!-- end -->",
        ),
        (
            INPUTS,
            "lane_stop_limit: 5 # TERM to KILL",
            "lane_stop_limit: 5",
            "lane_stop_limit has no comment behind or above it",
        ),
        (INPUTS, "# the roles and tags, in the playbook's order\n", "", "lane_roles has no comment behind or above it"),
    ],
)
def test_what_no_table_can_be_made_of_is_told(
    copied: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, words: str
) -> None:
    change(copied / file, old, new)
    assert variables.main(["--check", str(copied)]) == 1
    assert words in capsys.readouterr().out


def test_the_whole_page_has_every_variable() -> None:
    page = (ROOT / "docs/variables.md").read_text(encoding="utf-8")
    inputs = [
        name
        for role in (ROOT / "roles").iterdir()
        for name in yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))
    ]
    for name in [*inputs, *yaml.safe_load((ROOT / INPUTS).read_text(encoding="utf-8"))]:
        assert page.count(f"| `{name}` |") == 1, name


# --- defaults and specs -----------------------------------------------------------------------

DEFAULTS = "roles/tls/defaults/main.yml"


def test_the_roles_are_held_together(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert roles.main([str(copied)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            DEFAULTS,
            "tls_hours: 6",
            "tls_days: 6",
            "expected tls_hours of meta/argument_specs.yml to have a default in defaults/main.yml, but it has none there",
        ),
        (
            DEFAULTS,
            "tls_hours: 6",
            "tls_hours: 6\ntls_new: 1",
            "expected tls_new of defaults/main.yml to be described in meta/argument_specs.yml, but it is not",
        ),
        (
            DEFAULTS,
            "tls_hours: 6",
            "tls_hours: 7",
            "expected tls_hours to have one default, but it is 6 in meta/argument_specs.yml and 7 in defaults/main.yml",
        ),
        (
            "roles/tls/meta/argument_specs.yml",
            "description: Hours for which the two certificates are valid.",
            'description: ""',
            "expected tls_hours to have a description",
        ),
    ],
)
def test_names_and_defaults_that_differ_are_told(
    copied: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, words: str
) -> None:
    change(copied / file, old, new)
    assert roles.main([str(copied)]) == 1
    assert f"roles/tls: {words}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("role", "old", "new", "words"),
    [
        ("tls", "tls_hours: 6", "tls_hours: soon", "of type str and we were unable to convert to int"),
        ("tls", "tls_hours: 6", 'tls_hours: "6"', "but it is '6' and would be taken as 6"),
        (
            "kvm_probe",
            "kvm_probe_cpus: [max, qemu64]",
            "kvm_probe_cpus: {}",
            "of type dict and we were unable to convert to list",
        ),
        (
            "kvm_probe",
            "kvm_probe_policy: auto",
            "kvm_probe_policy: maybe",
            "value of kvm_probe_policy must be one of: auto, require, never, got: maybe",
        ),
    ],
)
def test_a_default_that_its_own_spec_refuses_is_told(
    copied: Path, capsys: pytest.CaptureFixture[str], role: str, old: str, new: str, words: str
) -> None:
    change(copied / f"roles/{role}/defaults/main.yml", old, new)
    change(
        copied / f"roles/{role}/meta/argument_specs.yml",
        f"default: {old.split(': ')[1]}",
        f"default: {new.split(': ')[1]}",
    )
    assert roles.main([str(copied)]) == 1
    said = capsys.readouterr().out
    assert f"roles/{role}: expected the default of {old.split(':')[0]} to be what its spec lets through" in said
    assert words in said


def test_a_role_without_a_spec_or_with_a_name_of_another_is_told(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "roles/tls/meta/argument_specs.yml").unlink()
    for file in ("defaults/main.yml", "meta/argument_specs.yml"):
        change(copied / "roles/deps" / file, "deps_lock_limit:", "lock_limit:")
    assert roles.main([str(copied)]) == 1
    said = capsys.readouterr().out
    assert "roles/tls: expected meta/argument_specs.yml, but there is none" in said
    assert "roles/deps: expected inputs to be named deps_SOMETHING, but there is lock_limit" in said


# --- the modules' documentation -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("guest_build", "  guest:\n", "  guests:\n", "expected option guest of argument_spec in DOCUMENTATION as well"),
        (
            "guest_build",
            "  guest:\n",
            "  guests:\n",
            "expected option guests of DOCUMENTATION in argument_spec as well",
        ),
        (
            "guest_build",
            "    type: path\n",
            "    type: str\n",
            "expected type of option source to be 'path' as in argument_spec, but DOCUMENTATION says 'str'",
        ),
        (
            "guest_build",
            "    required: true\n",
            "",
            "expected required of option guest to be True as in argument_spec, but DOCUMENTATION says False",
        ),
        (
            "guest_build",
            "module: guest_build",
            "module: guest",
            "expected DOCUMENTATION to be of module guest_build, but it is of guest",
        ),
        ("guest_build", "  idempotent:", "  idempotence:", "expected attributes to declare idempotent"),
        (
            "guest_build",
            "support: full",
            "support: none",
            "expected attribute check_mode to tell what supports_check_mode says, but that is True",
        ),
        (
            "guest_build",
            "repository\ndescription",
            "repository.\ndescription",
            "expected short_description to end without a full stop",
        ),
        (
            "guest_build",
            "    guest: pocket\n",
            "",
            "expected example 'Build the guest pocket' to be what argument_spec lets through, but missing required arguments: guest",
        ),
        (
            "guest_build",
            "    guest: pocket\n",
            "    guest: pocket\n    colour: 1\n",
            "but colour. Supported parameters include",
        ),
        (
            "guest_build",
            "- name: Build the guest pocket\n  guest_build",
            "- guest_build",
            "expected EXAMPLES to be tasks with a name and arguments of guest_build",
        ),
        ("guest_build", "  returned: success\n", "", "expected image of RETURN to have returned"),
        ("guest_build", "DOCUMENTATION", "DOCUMENTS", "expected DOCUMENTATION, EXAMPLES, RETURN and main(), but"),
        (
            "lane_run",
            '"default": [], "no_log": False}',
            '"default": []}',
            "expected option secrets to have no_log in argument_spec, true or false",
        ),
        (
            "lane_run",
            "    default: 7200",
            "    default: 60",
            "expected default of option lease to be 7200 as in argument_spec, but DOCUMENTATION says 60",
        ),
        (
            "lane_run",
            "    elements: path",
            "    elements: str",
            "expected elements of option sockets to be 'path' as in argument_spec, but DOCUMENTATION says 'str'",
        ),
        ("lane_run", "O(keep_running)", "O(keep_it)", "expected O(keep_it) to name what there is, but there is none"),
        (
            "lane_process",
            "choices: [TERM, INT, KILL]",
            "choices: [TERM, KILL]",
            "expected choices of option programs.stop_signal to be ['TERM', 'INT', 'KILL']",
        ),
        (
            "lane_process",
            "          greeting:\n",
            "          grunting:\n",
            "expected option programs.ready.greeting of argument_spec in DOCUMENTATION as well",
        ),
        (
            "lane_process",
            "          port:\n",
            "          port:\n            secret: 1\n",
            "expected option programs.ready.port of DOCUMENTATION to have keys that Ansible knows",
        ),
        (
            "kerbside_database",
            "each as in M(lane_process)",
            "each a mapping",
            "expected option programs.argv of argument_spec in DOCUMENTATION as well",
        ),
        ("ryll_session", "RETURN = r", "RETURNS = r", "expected DOCUMENTATION, EXAMPLES, RETURN and main(), but"),
    ],
)
def test_what_a_module_does_not_tell_truly_is_seen(copied: Path, name: str, old: str, new: str, words: str) -> None:
    file = copied / f"library/{name}.py"
    assert list(modules.findings(file)) == []
    change(file, old, new)
    found = list(modules.findings(file))
    assert any(words in one for one in found), found


@pytest.mark.slow
def test_every_module_is_true_and_can_be_shown(capsys: pytest.CaptureFixture[str], copied: Path) -> None:
    assert modules.main([]) == 0, capsys.readouterr().out
    for file in (copied / "library").iterdir():
        if file.stem not in ("kvm_probe", "lane_run"):
            file.unlink()
    change(copied / "library/kvm_probe.py", "short_description: ", "short_description: [")
    assert modules.main([str(copied)]) == 1
    said = capsys.readouterr().out
    assert "library/kvm_probe.py: expected ansible-doc to show it, but it says " in said
    assert "library/lane_run.py" not in said


# --- pre-commit -------------------------------------------------------------------------------


def test_pre_commit_runs_what_the_stage_lint_runs() -> None:
    """Local hooks only, because the tools are pinned by hash in .venv, where no hook repository could be."""
    given = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in given["repos"]] == ["local"]
    hooks = given["repos"][0]["hooks"]
    assert [(hook["entry"], hook["language"], hook["always_run"], hook["pass_filenames"]) for hook in hooks] == [
        ("./lane test lint", "system", True, False)
    ]


# --- no looking away ----------------------------------------------------------------------------

EXCEPTION = re.compile(
    r"#\s*(noqa|type: ignore|nosec|pragma: no cover|shellcheck disable|zizmor: ignore|yamllint disable|mypy: ignore-errors)(.*)"
)
NAMED = re.compile(
    r"(: [A-Z]+\d+( - .+)?|\[[a-z-]+\].*|=SC\d+ # .+)$"
)  # which rule it is about; shellcheck's with a reason behind it


def looks_away(text: str) -> list[str]:
    """The lines that except themselves from a linter without naming one of its rules."""
    return [found[0] for found in EXCEPTION.finditer(text) if not NAMED.match(found[2])]


def test_no_linter_is_told_to_look_away_without_a_rule() -> None:
    files = (
        subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    )
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8", errors="replace")
        for name in files
        if name and (ROOT / name).is_file()
    }
    assert "lane" in texts
    assert {
        name: found for name, text in texts.items() if (found := looks_away(text)) and name != "tests/unit/test_lint.py"
    } == {}
    given = yaml.safe_load(texts[".ansible-lint"])
    assert given["profile"] == "production" and given["strict"]
    assert not {"skip_list", "warn_list", "mock_modules", "mock_roles"} & set(given)


@pytest.mark.parametrize(
    "line",
    ["import x  # noqa", "a = b  # type: ignore", "# shellcheck disable=SC2086", "# nosec", "# mypy: ignore-errors"],
)
def test_a_bare_exception_is_seen(line: str) -> None:
    assert looks_away(f"first\n{line}\nlast") == [line[line.index("#") :]]
