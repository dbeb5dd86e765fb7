"""Every command that README.md, CONTRIBUTING.md, SECURITY.md and docs/ tell people to type is run, here or elsewhere.

A command that none of the lists below has makes the first test red: run it here, name the test that runs it (TESTED),
or say why it cannot be had.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_lanes import ROOT, Started

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Run here without a lane, with words that the output has to have, where the exit status is not all that it tells.
ALONE = {
    "./lane --check": "",
    "./lane faults --list": "guest-frozen",
    "./lane help": "./lane suites",
    "./lane doctor": "leftovers",
    "./lane suites --help": "usage: ./lane suites",
    ".venv/bin/ansible-doc -M library -t module ryll_session": "Connects to the control socket",
}
#: Run here on one lane, in this order.
ON_A_LANE = {
    "./lane up": "",
    "./lane smoke": "LANE PASS lane {id}: 7 of 7 checks",
    "./lane ps": "{id} ",
    "./lane status": "lane {id}: run ",
    "./lane logs": "serial",
    "./lane logs daemon -f": "Hypervisor connection successful",
    "./lane report [FOLDER]": "report.html",
    "./lane --tags kerbside": "",  # from here on the result of the smoke check is no longer that of the lane
    "./lane down": "lane {id} is down",
}
#: Whatever else only looks at a lane is run on the same one as well.
LOOKS = re.compile(r"\./lane (ps|status|logs|shot)\b(?!.* -i )")
#: Run by a stage of tools/run_tests.py or another test: file (of tests/playbooks without a folder) and function.
TESTED = {
    r"\.venv/bin/mkdocs build": "tools/run_tests.py::lint",
    r"\./lane --tags deps,teardown": "tools/run_tests.py::setup",
    r"\./lane|\./lane -e lane_id=\d+": "tools/run_tests.py::whole_lane",
    r"\.venv/bin/python tests/lint/errors\.py": "tests/unit/test_lint.py::test_the_page_is_written",
    r"\.venv/bin/python tests/lint/variables\.py": (
        "tests/unit/test_lint.py::test_a_stale_table_is_red_until_it_is_written"
    ),
    r"source <\(\./lane completion bash\)": "tests/unit/test_completion.py::test_completion_in_bash",
    r"\./lane -e lane_kerbside_origin=\S+": (
        "tests/unit/test_kerbside_install.py::test_a_checkout_is_built_as_it_is_and_left_as_it_was"
    ),
    r"\./lane -e smoke_console_uuid=.*|LANE_PICTURES=docs \./lane test playbooks -- -k browser": (
        "test_report.py::test_the_reports_of_a_green_and_of_a_red_run_in_a_browser"
    ),
    r"\./lane suites\b.*|\./lane -e lane_suites=all": (
        "test_suites.py::test_the_pages_example_is_red_and_green_and_faults_are_seen"
    ),
    r"\./lane -e lane_suite_files=\S+": "test_suites.py::test_a_bad_file_is_refused_before_anything_starts",
    r"\./lane faults --quick": "test_faults.py::test_the_quick_half_is_as_expected",
    r"\./lane faults( guest-frozen)?": "test_faults.py::test_a_planted_gap_makes_the_catalogue_fail",
    r"\./lane --json": "test_usage.py::test_a_refused_command_is_json_too",
    r"\./lane test\b.*": "test_entry.py::test_test_installs_more_and_passes_words_on",
    r"\./lane fleet( 4.*)?": "test_fleet.py::test_three_lanes_at_once_are_green_and_then_gone",
    r"\./lane matrix matrix\.yml": "test_fleet.py::test_a_matrix_of_two_lanes",
    r"\./lane fleet 8 --hosts.*": "test_machines.py::test_a_lane_is_gone_soon_after_its_controller",
    r"\./lane -i hosts\.yml": "test_machines.py::test_a_red_and_a_lost_lane_stop_no_other",
    r"\./lane (up|smoke|down|ps|logs|shot)\b.* -i hosts\.yml.*": (
        "test_machines.py::test_from_bare_to_green_and_down_with_all_evidence_here"
    ),
    r"\./lane (--tags evidence|-e lane_guest=uncalibrated)|ansible-playbook playbooks/lane\.yml": (
        "test_lane.py::test_brought_up_checked_and_taken_down"
    ),
    r"\./lane -e lane_ryll_origin=\S+": "test_ryll_build.py::test_a_branch_is_followed_and_each_commit_built_once",
    r"\./lane -e lane_guest=NAME|\.venv/bin/ansible-playbook playbooks/rebuild_guest\.yml": (
        "test_guest_change.py::test_a_changed_banner_is_red_until_it_is_promised"
    ),
    r"\./lane -e lane_keep=on_failure|ansible-playbook playbooks/teardown\.yml": (
        "test_debugging.py::test_a_red_lane_is_kept_looked_into_and_mended"
    ),
    r"\.venv/bin/ansible-playbook playbooks/refresh_sextant\.yml": (
        "test_refresh_sextant.py::test_a_built_image_is_named"
    ),
}
#: Not run, and why.
NOT_HERE = {
    r"\./lane suites --json \| .*suite_table\.py": "plays all suites for minutes, and makes a table of them for a page",
    r"\./lane cache": "shows the user's own cache, which a test leaves alone; tests/unit has its parts",
    r"\./lane mutants( (suites|--proxy|--ryll) .*)?": (
        "takes minutes for each of many; tests/unit/test_mutation.py and test_rust_edits.py have its parts"
    ),
    r"\./lane bench": "takes minutes and wants the machine for itself; tests/unit/test_bench.py has its parts",
    r"\.venv/bin/python tests/mutation/run\.py.*": "takes an hour; tests/unit/test_mutation.py has its engine",
    r"\.venv/bin/python tests/faults/suites\.py .*": "takes half an hour; test_suites.py plays some of its faults",
    r"\.venv/bin/python tests/upstream\.py": "builds ryll and installs tempest; docs/testing.md has its result",
    r"git clone REPOSITORY .*": "what is tested is a checkout",
    r"pre-commit install": "not among the pinned tools; its only hook is ./lane test lint",
    r"uv pip compile \S+ requirements(-dev)?\.in -o requirements(-dev)?\.txt": (
        "needs uv and the package index, and only when a requirement changes"
    ),
}
#: Refused, as tests/playbooks/test_usage.py sees.
WRONG = re.findall(r"(?m)^\| `(\./lane[^`]*)` \| ", (ROOT / "docs/command-line.md").read_text(encoding="utf-8"))
#: Programs that begin a command though a machine need not have them.
ELSEWHERE = ("source", "docker", "git", "pre-commit", "uv")


def commands(text: str, page: str) -> Iterator[tuple[str, str]]:
    """(place, command): in indented and plain or shell fenced blocks, and `code` in a paragraph that begins as one."""
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        found: list[str] = []
        if opened := re.match(r"\s*```(\w*)", line):
            fence = opened[1] if fence is None else None
        elif fence in ("", "sh", "bash") or (fence is None and line.startswith("    ")):
            said = re.split(r"\s{2,}|\s#\s", line.strip(), maxsplit=1)[0]
            found = [said] if is_command(said) else []
        elif fence is None:
            quoted = re.findall(r"`([^`]+)`", line)
            found = [said for said in quoted if re.match(r"\./lane |\.venv/bin/|ansible-(?!core)\S+ ", said)]
        yield from ((f"{page}:{number}", said) for said in found)


def is_command(said: str) -> bool:
    """Whether a line of a block is a command, rather than output, a tree or a drawing."""
    word = said.split(" ", 1)[0]
    installed = " " in said and "/" not in word and "<-" not in said and shutil.which(word)
    return bool(re.match(r"\./|\.venv/|ansible-|[A-Z_]+=\S* ", said) or word in ELSEWHERE or installed)


def listed(text: str) -> bool:
    known = text in (*WRONG, *ALONE, *ON_A_LANE) or LOOKS.match(text)
    return bool(known or any(re.fullmatch(pattern, text) for pattern in (*TESTED, *NOT_HERE)))


def unlisted(found: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{place}: {text}" for place, text in found if not listed(text)]


TEXT = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
FOUND = [command for page, text in TEXT.items() for command in commands(text, page)]
TEXTS = list(dict.fromkeys(text for _, text in FOUND))


def test_every_command_is_run_somewhere():
    assert unlisted(FOUND) == []


def test_the_lists_have_nothing_that_no_page_has():
    idle = [text for text in (*ALONE, *ON_A_LANE) if text not in TEXTS]
    idle += [pattern for pattern in (*TESTED, *NOT_HERE) if not any(re.fullmatch(pattern, text) for text in TEXTS)]
    assert idle == []


@pytest.mark.parametrize("named", sorted(set(TESTED.values())))
def test_the_test_that_is_named_is_there(named):
    file, name = named.split("::")
    path = ROOT / file if "/" in file else Path(__file__).with_name(file)
    assert f"\ndef {name}(" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("    ./lane dance         # nobody can\n", ["x.md:1: ./lane dance"]),
        ("text\n\n       ansible-playbook playbooks/no.yml\n", ["x.md:3: ansible-playbook playbooks/no.yml"]),
        ("```sh\ngit push --force\n```\n", ["x.md:2: git push --force"]),
        ("run `./lane dance` and `.venv/bin/dance`\n", ["x.md:1: ./lane dance", "x.md:1: .venv/bin/dance"]),
        ("    LANE=1 ./lane up\n    sh -c 'x y'\n", ["x.md:1: LANE=1 ./lane up", "x.md:2: sh -c 'x y'"]),
        ("    LANE PASS lane 0: 7 of 7\n    guest (UEFI)  <-  qemu\n    tests/       unit/\n", []),
        ("```yaml\n- ls: -l\n```\nthe `lane up` of `ansible-core`\n", []),
    ],
)
def test_a_command_that_nobody_runs_is_seen(page, expected):
    assert unlisted(commands(page, "x.md")) == expected


# --- running them ---------------------------------------------------------------------------------


def run(command: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run it as it stands, from the checkout, with the programs of .venv on PATH as the pages presume."""
    env = {**os.environ, "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    words = [*command.split(), *more]
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def good(command: str, words: str, *more: str) -> None:
    ran = run(command, *more)
    assert ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    assert words in ran.stdout + ran.stderr, f"{command}: {ran.stdout[-3000:]}"


@pytest.mark.parametrize("command", [*ALONE, "./lane bench --help"])
def test_it_runs(command, lane, tmp_path):
    given = ["-e", f"@{written(lane, tmp_path)}"] if command.startswith("./lane -") else []
    good(command, ALONE.get(command, "usage: "), *given)
    assert not lane.dir.exists()


@pytest.mark.slow
def test_they_run_on_a_lane(lane, tmp_path):
    given, mine = ["-e", f"@{written(lane, tmp_path)}"], ["-e", f"lane_id={lane.id}"]
    looks = [text for text in TEXTS if LOOKS.match(text) and text not in (*ON_A_LANE, *WRONG)]
    order = [text for text in ON_A_LANE if text != "./lane down"] + looks + ["./lane down"]
    followers = []
    for command in order:
        words = ON_A_LANE.get(command, "").format(id=lane.id)
        if command.endswith(" -f"):  # until the lane is down
            followers.append((Started([*command.split(), *mine], dict(os.environ)), words))
        elif re.match(r"\./lane (up|smoke|down|-)", command):
            good(command, words, *given)
        else:
            whose = mine if LOOKS.match(command) and command != "./lane ps" else []
            good(command.replace("[FOLDER]", str(lane.artifacts)), words, *whose)
    assert followers
    for follower, words in followers:
        assert follower.wait(20) == 0 and words in follower.text


def written(lane: Any, folder: Path) -> Path:
    """A file with what makes a command the lane of this test."""
    file = folder / "vars.json"
    file.write_text(json.dumps(lane.vars), encoding="utf-8")
    return file
