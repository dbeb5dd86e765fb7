"""The checks of tests/lint: green on the checkout, and red, with the right words, on what they guard against."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from loading import ROOT, load

modules, roles, variables = (load(f"tests/lint/{name}.py") for name in ("modules", "roles", "variables"))


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
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file.name}"
    file.write_text(text.replace(old, new, 1))


# --- the tables of variables ----------------------------------------------------------------------

KVM_SPEC, INPUTS = "roles/kvm_probe/meta/argument_specs.yml", "roles/lane/defaults/main.yml"


@pytest.mark.parametrize(
    ("file", "old", "new", "row"),
    [
        (KVM_SPEC, "default: auto", "default: never", "| `never` |"),
        (KVM_SPEC, "V(require) fails", "V(require) weeps", "`require` weeps"),
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
        ("README.md", "kerbside_origin ", "kerbside_parcel ", "README.md: lane_kerbside_parcel is neither in"),
        ("README.md", "<!-- end -->", "", "README.md: there is no table between <!-- variables: ... --> and <!-- end"),
        (INPUTS, "lane_stop_limit: 5 # TERM to KILL", "lane_stop_limit: 5", "lane_stop_limit has no comment"),
        (INPUTS, "# the roles and tags, in the playbook's order\n", "", "lane_roles has no comment"),
    ],
)
def test_what_no_table_can_be_made_of_is_told(
    copied: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, words: str
) -> None:
    change(copied / file, old, new)
    assert variables.main(["--check", str(copied)]) == 1
    assert words in capsys.readouterr().out


def test_the_whole_page_has_every_variable() -> None:
    page = (ROOT / "docs/variables.md").read_text()
    defaults = [role / "defaults/main.yml" for role in (ROOT / "roles").iterdir()]
    inputs = [name for file in defaults for name in yaml.safe_load(file.read_text())]
    for name in [*inputs, *yaml.safe_load((ROOT / INPUTS).read_text())]:
        assert page.count(f"| `{name}` |") == 1, name


# --- defaults and specs -----------------------------------------------------------------------

DEFAULTS, SPEC = "roles/tls/defaults/main.yml", "roles/tls/meta/argument_specs.yml"
HOURS = "tls_hours: 6"


def test_the_roles_are_held_together(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert roles.main([str(copied)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (DEFAULTS, HOURS, "tls_days: 6", "expected tls_hours of meta/argument_specs.yml to have a default"),
        (DEFAULTS, HOURS, f"{HOURS}\ntls_new: 1", "expected tls_new of defaults/main.yml to be described"),
        (DEFAULTS, HOURS, "tls_hours: 7", "tls_hours has two defaults: 6 in meta/argument_specs.yml and 7 in default"),
        (SPEC, "description: Hours for which the two ", "title: ", "expected tls_hours to have a description"),
    ],
)
def test_names_and_defaults_that_differ_are_told(
    copied: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, words: str
) -> None:
    change(copied / file, old, new)
    assert roles.main([str(copied)]) == 1
    assert f"roles/tls: {words}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("role", "name", "old", "new", "words"),
    [
        ("tls", "tls_hours", "6", "soon", "of type str and we were unable to convert to int"),
        ("tls", "tls_hours", "6", '"6"', "but it is '6' and would be taken as 6"),
        ("kvm_probe", "kvm_probe_cpus", "[max, qemu64]", "{}", "of type dict and we were unable to convert to list"),
        ("kvm_probe", "kvm_probe_policy", "auto", "maybe", "one of: auto, require, never, got: maybe"),
    ],
)
def test_a_default_that_its_own_spec_refuses_is_told(
    copied: Path, capsys: pytest.CaptureFixture[str], role: str, name: str, old: str, new: str, words: str
) -> None:
    for file, key in (("defaults/main.yml", name), ("meta/argument_specs.yml", "default")):
        change(copied / f"roles/{role}" / file, f"{key}: {old}", f"{key}: {new}")
    assert roles.main([str(copied)]) == 1
    said = capsys.readouterr().out
    assert f"roles/{role}: expected the default of {name} to be what its spec lets through" in said
    assert words in said


def test_a_role_without_a_spec_or_with_a_strange_name_is_told(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "roles/tls/meta/argument_specs.yml").unlink()
    for file in ("defaults/main.yml", "meta/argument_specs.yml"):
        change(copied / "roles/deps" / file, "deps_lock_limit:", "lock_limit:")
    assert roles.main([str(copied)]) == 1
    said = capsys.readouterr().out
    assert "roles/tls: expected meta/argument_specs.yml, but there is none" in said
    assert "roles/deps: expected inputs to be named deps_SOMETHING, but there is lock_limit" in said


# --- the modules' documentation -----------------------------------------------------------------


#: For each module: what is replaced by what, and words of the finding.
UNTRUE = {
    "guest_build": [
        ("  guest:\n", "  guests:\n", "expected option guest of argument_spec in DOCUMENTATION as well"),
        ("  guest:\n", "  guests:\n", "expected option guests of DOCUMENTATION in argument_spec as well"),
        ("    type: path\n", "    type: str\n", "type of option source is 'path' in argument_spec, but 'str' in DOCU"),
        ("    required: true\n", "", "required of option guest is True in argument_spec, but False in DOCUMENTATION"),
        ("module: guest_build", "module: guest", "to be of module guest_build, but it is of guest"),
        ("  idempotent:", "  idempotence:", "expected attributes to declare idempotent"),
        ("support: full", "support: none", "supports_check_mode is True, but the attribute check_mode has support no"),
        ("repository\ndes", "repository.\ndes", "expected short_description to end without a full stop"),
        ("    guest: pocket\n", "", "'Build the guest pocket' to be what argument_spec lets through, but missing"),
        ("    guest: pocket\n", "    guest: pocket\n    colour: 1\n", "but colour. Supported parameters include"),
        ("- name: Build the guest pocket\n  guest_build", "- guest_build", "tasks with a name and arguments of guest"),
        ("  returned: success\n", "", "expected image of RETURN to have returned"),
        ("DOCUMENTATION", "DOCUMENTS", "expected DOCUMENTATION, EXAMPLES, RETURN and main(), but"),
    ],
    "lane_run": [
        ('[], "no_log": False}', "[]}", "expected option secrets to have no_log in argument_spec, true or false"),
        ("default: 7200", "default: 60", "default of option lease is 7200 in argument_spec, but 60 in DOCUMENTATION"),
        ("elements: path", "elements: str", "elements of option sockets is 'path' in argument_spec, but 'str' in"),
        ("O(keep_running)", "O(keep_it)", "expected O(keep_it) to name what there is, but there is none"),
    ],
    "lane_process": [
        ("[TERM, INT, KILL]", "[TERM, KILL]", "choices of option programs.stop_signal is ['TERM', 'INT', 'KILL'] in"),
        ("  greeting:\n", "  grunting:\n", "option programs.ready.greeting of argument_spec in DOCUMENTATION as well"),
        ("  port:\n", "  port:\n            secret: 1\n", "programs.ready.port of DOCUMENTATION has keys that Ansible"),
    ],
    "kerbside_database": [
        ("each as in M(lane_process)", "each a mapping", "option programs.argv of argument_spec in DOCUMENTATION as")
    ],
    "ryll_session": [("RETURN = r", "RETURNS = r", "expected DOCUMENTATION, EXAMPLES, RETURN and main(), but")],
}


@pytest.mark.parametrize(("name", "old", "new", "words"), [(name, *row) for name in UNTRUE for row in UNTRUE[name]])
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
    given = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in given["repos"]] == ["local"]
    hooks = given["repos"][0]["hooks"]
    keys = "entry", "language", "always_run", "pass_filenames"
    assert [tuple(hook[key] for key in keys) for hook in hooks] == [("./lane test lint", "system", True, False)]


# --- no looking away ----------------------------------------------------------------------------

EXCEPTION = re.compile(
    r"#\s*(noqa|type: ignore|nosec|pragma: no cover|shellcheck disable|zizmor: ignore|yamllint disable"
    r"|mypy: ignore-errors)(.*)"
)
# Which rule it is about; shellcheck's with a reason behind it.
NAMED = re.compile(r"(: [A-Z]+\d+( - .+)?|\[[a-z-]+\].*|=SC\d+ # .+)$")


def looks_away(text: str) -> list[str]:
    """The lines that except themselves from a linter without naming one of its rules."""
    return [found[0] for found in EXCEPTION.finditer(text) if not NAMED.match(found[2])]


def test_no_linter_is_told_to_look_away_without_a_rule() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.split("\0")
    texts = {name: (ROOT / name).read_text(errors="replace") for name in files if name and (ROOT / name).is_file()}
    assert "lane" in texts
    found = {name: looks_away(text) for name, text in texts.items() if name != "tests/unit/test_lint.py"}
    assert {name: lines for name, lines in found.items() if lines} == {}
    given = yaml.safe_load(texts[".ansible-lint"])
    assert given["profile"] == "production" and given["strict"]
    assert not {"skip_list", "warn_list", "mock_modules", "mock_roles"} & set(given)


@pytest.mark.parametrize(
    "line",
    ["import x  # noqa", "a = b  # type: ignore", "# shellcheck disable=SC2086", "# nosec", "# mypy: ignore-errors"],
)
def test_a_bare_exception_is_seen(line: str) -> None:
    assert looks_away(f"first\n{line}\nlast") == [line[line.index("#") :]]
