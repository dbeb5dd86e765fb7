"""The checks of tests/lint: green on the checkout, and red, with the right words, on what they guard against."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from prepared import change

from tests.lint import errors, modules, variables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """What the checks read of a checkout, to be changed."""
    for folder in ("roles", "inventory", "library", "plugins/doc_fragments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    for name in variables.PAGES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


# --- the tables of variables ----------------------------------------------------------------------

SPEC, INPUTS = "roles/kvm_probe/meta/argument_specs.yml", "roles/lane/defaults/main.yml"


@pytest.mark.parametrize(
    ("file", "old", "new", "page", "row"),
    [
        ("roles/kvm_probe/defaults/main.yml", "policy: auto", "policy: never", "README.md", "| `never` |"),
        (SPEC, "V(require) fails", "V(require) weeps", "roles/kvm_probe/README.md", "`require` weeps"),
        (INPUTS, "lane_lease: 7200", "lane_lease: 7 | 5", "docs/variables.md", r"| `lane_lease` | str | `7 \| 5` |"),
        ("README.md", "| `lane_keep` |", "| `lane_kept` |", "README.md", "| `lane_keep` |"),
        ("roles/deps/README.md", "Role `deps`", "Roll `deps`", "roles/deps/README.md", "# Role `deps`"),
    ],
)
def test_a_stale_table_is_red_until_it_is_written(copied, capsys, file, old, new, page, row):
    assert variables.main(["--check", str(copied)]) == 0
    change(copied / file, old, new)
    assert variables.main(["--check", str(copied)]) == 1
    assert f"{page} differs from the specs; write it with {variables.WRITE}" in capsys.readouterr().out
    assert variables.main([str(copied)]) == 0
    assert row in (copied / page).read_text(encoding="utf-8")
    assert variables.main(["--check", str(copied)]) == 0


def test_the_whole_page_is_current_and_has_every_variable():
    assert variables.main(["--check"]) == 0
    page = (ROOT / "docs/variables.md").read_text(encoding="utf-8")
    for defaults in ROOT.glob("roles/*/defaults/main.yml"):
        for name in yaml.safe_load(defaults.read_text(encoding="utf-8")):
            assert page.count(f"| `{name}` |") == 1, name


# --- variables, defaults and specs -----------------------------------------------------------

DEFAULTS, SPECS = "defaults/main.yml", "meta/argument_specs.yml"
TLS, PROBE = "roles/tls/", "roles/kvm_probe/"
DESCRIBED = "description: Hours for which the two certificates are valid."
HOURS = "roles/tls: the default of tls_hours does not fit its spec: "


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("README.md", ": lane_kerbside_origin ", ": lane_parcel ", "README.md: lane_parcel is neither in"),
        ("README.md", "<!-- end -->", "", "README.md: there is no table between .* and <!-- end -->"),
        (INPUTS, "limit: 5 # TERM to KILL", "limit: 5", f"{INPUTS}: lane_stop_limit has no comment behind"),
        (INPUTS, "# the roles and tags, in the playbook's order\n", "", "lane_roles has no comment behind"),
        (TLS + DEFAULTS, "hours: 6", "days: 6", f"roles/tls: tls_hours of {SPECS} has no default in {DEFAULTS}"),
        (TLS + DEFAULTS, "tls_hours", "tls_new: 1\ntls_hours", f"tls_new of {DEFAULTS} is not in {SPECS}"),
        (TLS + SPECS, DESCRIBED, f"{DESCRIBED}\n        default: 6", f"tls_hours belongs in {DEFAULTS} alone"),
        (TLS + SPECS, DESCRIBED, 'description: ""', f"tls_hours has no description in {SPECS}"),
        (TLS + DEFAULTS, "tls_hours: 6", "tls_hours: soon", f"{HOURS}.*type str .* unable to convert to int"),
        (TLS + DEFAULTS, "tls_hours: 6", 'tls_hours: "6"', f"{HOURS}it is '6' and would be taken as 6"),
        (PROBE + DEFAULTS, "cpus: [max, qemu64]", "cpus: {}", "type dict .* unable to convert to list"),
        ("roles/smoke/tasks/main.yml", "(smoke_console_fetched | bool)", "smoke_console_fetched", "true in main.yml"),
        (PROBE + DEFAULTS, "policy: auto", "policy: maybe", "must be one of: auto, require, never, got: maybe"),
    ],
)
def test_what_is_wrong_is_told(copied, capsys, file, old, new, words):
    change(copied / file, old, new)
    assert variables.main([str(copied)]) == 1
    assert re.search(words, capsys.readouterr().out)


def test_a_role_without_a_spec_or_with_a_name_of_another_is_told(copied, capsys):
    (copied / "roles/tls" / SPECS).unlink()
    for file in (DEFAULTS, SPECS):
        change(copied / "roles/deps" / file, "deps_lock_limit:", "lock_limit:")
    assert variables.main([str(copied)]) == 1
    said = capsys.readouterr().out
    assert "roles/tls: meta/argument_specs.yml missing" in said
    assert "roles/deps: the input lock_limit is not named deps_SOMETHING" in said


# --- the modules' documentation -----------------------------------------------------------------

GUEST, TITLE = "    guest: pocket\n", "- name: Build the guest pocket\n"
EXAMPLE = "argument_spec refuses the example 'Build the guest pocket':"
PORT = "          port:\n"
UNUSABLE = "DOCUMENTATION, EXAMPLES, RETURN or main() cannot be used: "
#: By module: what is changed in its text, and what is then said of it.
UNTRUE = {
    "guest_build": [
        ("  guest:\n", "  guests:\n", "option guest of argument_spec is missing from DOCUMENTATION"),
        ("  guest:\n", "  guests:\n", "option guests of DOCUMENTATION is missing from argument_spec"),
        ("type: path\n", "type: str\n", "type of option source is 'path' in argument_spec, but 'str' in DOCUMENTATION"),
        ("    required: true\n", "", "required of option guest is True in argument_spec, but False in DOCUMENTATION"),
        ("module: guest_build", "module: guest", "DOCUMENTATION is of module guest, not guest_build"),
        ("support: full", "support: none", "attribute check_mode has support none, but supports_check_mode is True"),
        (GUEST, "", f"{EXAMPLE} missing required arguments: guest"),
        (GUEST, f"{GUEST}    colour: 1\n", f"{EXAMPLE} colour. Supported parameters include"),
        (f"{TITLE}  guest_build", "- guest_build", "an entry of EXAMPLES is not a task with a name and arguments"),
        ("  returned: success\n", "", "files of RETURN has no returned"),
        ("DOCUMENTATION", "DOCUMENTS", UNUSABLE),
    ],
    "lane_run": [
        ("default: 7200", "default: 60", "default of option lease is 7200 in argument_spec, but 60 in DOCUMENTATION"),
        ("elements: raw", "elements: str", "elements of option planned is 'raw' in argument_spec, but 'str'"),
    ],
    "lane_process": [
        ("[TERM, INT, KILL]", "[TERM]", "choices of option programs.stop_signal is ['TERM', 'INT', 'KILL'] in"),
        ("  greeting:\n", "  grunting:\n", "option programs.ready.greeting of argument_spec is missing from DOC"),
        (PORT, f"{PORT}            secret: 1\n", "option programs.ready.port of DOCUMENTATION has keys that"),
    ],
    "kerbside_database": [
        ("each as in M(lane_process)", "each a mapping", "option programs.argv of argument_spec is missing from DOC")
    ],
    "lane_look": [("  - lane_module\n", "  - cache_dir\n", "attributes do not declare idempotent")],
    "ryll_session": [("RETURN = r", "RETURNS = r", UNUSABLE)],
}


@pytest.mark.parametrize(
    ("name", "old", "new", "words"), [(name, *change) for name, changes in UNTRUE.items() for change in changes]
)
def test_what_a_module_does_not_tell_truly_is_seen(copied, name, old, new, words):
    file = copied / f"library/{name}.py"
    change(file, old, new)
    found = list(modules.findings(file))
    assert any(one.startswith(words) for one in found), found


def test_an_option_that_sounds_like_a_secret_says_whether_it_is_one():
    options = {"token": {"description": "x", "type": "str"}}
    (found,) = modules.compare({"token": {"type": "str"}}, options, "", ROOT)
    assert "option token sounds like a secret" in found
    assert not list(modules.compare({"token": {"type": "str", "no_log": False}}, options, "", ROOT))


@pytest.mark.slow
def test_a_module_that_cannot_be_shown_is_named(capsys, copied):
    for file in (copied / "library").iterdir():  # the stage lint has them all
        if file.stem not in ("kvm_probe", "lane_run"):
            file.unlink()
    assert modules.main([str(copied)]) == 0, capsys.readouterr().out
    change(copied / "library/kvm_probe.py", "short_description: ", "short_description: [")
    assert modules.main([str(copied)]) == 1
    assert re.search("ansible-doc cannot show them: .*kvm_probe", capsys.readouterr().out)


# --- the error codes ------------------------------------------------------------------------------

CODES = (
    'CODES: dict[str, tuple[str, str]] = {"lane_taken": ("It is taken.", "Use another."),'
    ' "no_room": ("It is full.", "Free some.")}\n'
)
RAISES = 'raise LaneError("lane_taken", "lane", "x")\nFound(code="no_room")\n'
STALE = "docs/errors.md is out of date"
NO_SNAKE = ["noRoom is not in snake_case", "the code no_room is not in", "nothing raises noRoom", STALE]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small checkout in which all is well."""
    for folder in (*errors.PRODUCT, "docs", "module_utils/lane/core"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / errors.TABLE).write_text(CODES)
    (tmp_path / "library/a.py").write_text(RAISES)
    (tmp_path / errors.PAGE).write_text(errors.page(tmp_path, errors.scan(tmp_path)[0]))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "wrong"),
    [
        ("library/a.py", f'{RAISES}LaneError("no_such", "lane", "x")', ["library/a.py:3: the code no_such is not in"]),
        ("library/a.py", f'{RAISES}errors.LaneError("typo", "x")', ["library/a.py:3: the code typo is not in"]),
        ("library/a.py", f'{RAISES}Found(code="no_rom")', ["library/a.py:3: the code no_rom is not in"]),
        ("library/a.py", 'LaneError("lane_taken", "lane", "x")\n', ["nothing raises no_room", STALE]),
        (errors.TABLE, CODES.replace("It is full.", "full"), ["no_room: no sentence: 'full'", STALE]),
        (errors.TABLE, CODES.replace("no_room", "noRoom"), NO_SNAKE),
        (errors.PAGE, "", [STALE]),
    ],
)
def test_a_gap_is_named(tree, capsys, file, text, wrong):
    assert errors.main(["--check", str(tree)]) == 0
    (tree / file).write_text(text)
    capsys.readouterr()
    assert errors.main(["--check", str(tree)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(wrong)
    assert all(words in line for words, line in zip(wrong, printed, strict=True)), printed


def test_the_page_is_written(tree):
    (tree / errors.PAGE).unlink()
    assert errors.main([str(tree)]) == 0
    assert "| `no_room` | It is full. | Free some. | library/a.py |" in (tree / errors.PAGE).read_text()
