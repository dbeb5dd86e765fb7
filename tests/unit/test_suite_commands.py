"""Programs of kerbside's that a suite runs to their end, with scripts in their place."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.programs.program import Program
from suite_lane import PASSED, TICKET, Failure, Lane, asked, entry_of, outcome, token

SOURCES = "- {source: own, consoles: [{name: first}]}\n"
#: Says its words, the settings that are asked for and its sources, and ends as it is told.
PLAY = """
import os, sys
print("words", sys.argv[1:], "A =", os.environ.get("KERBSIDE_A"), "B =", os.environ.get("KERBSIDE_B"))
print(open(os.environ["KERBSIDE_SOURCES_PATH"]).read(), os.environ["KERBSIDE_API_SOCKET_PATH"])
print(os.environ.get("KERBSIDE_SAYS", ""))
sys.exit(int(os.environ.get("KERBSIDE_EXITS", 0)))
"""


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    made = Lane(tmp_path)
    Path(tmp_path, "sources.yaml").write_text(SOURCES)
    Path(made.place.database_python).symlink_to(sys.executable)
    Path(tmp_path, "play").write_text(PLAY)
    env = {
        "KERBSIDE_SOURCES_PATH": f"{tmp_path}/sources.yaml",
        "KERBSIDE_PROXY_BIN": "/proxy",
        "KERBSIDE_A": "1",
        "KERBSIDE_B": "2",
    }
    made.described = {"daemon": Program("daemon", "kerbside", ("x",), "x", env=env)}
    made.run.lane_id = 1
    return made


def ended(lane: Lane, **options: Any) -> Failure:
    return outcome(lane, {"command": {"run": ["play", "one"], **options}})


WRONG = ("suite_command_said", "kerbside")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"says": ["words \\['one'\\] A = 1 B = 2"]}, PASSED),
        ({"says": ["A = 3 B = None"], "settings": {"KERBSIDE_A": 3, "KERBSIDE_B": None}}, PASSED),
        ({"says": ["source: own"]}, PASSED),
        ({"says": ["mine"], "never": ["source: own"], "sources": "mine"}, PASSED),
        ({"says": ["(?s)source: own.*mine"], "add_sources": "mine"}, PASSED),
        ({"says": ["tmp/command0/api.sock"]}, PASSED),
        ({"says": ["never said"]}, WRONG),
        ({"never": ["words"]}, WRONG),
        ({"settings": {"KERBSIDE_EXITS": 3}, "exits": 3}, PASSED),
        ({"settings": {"KERBSIDE_EXITS": 3}}, ("suite_command_ended", "kerbside")),
        ({"exits": 3}, ("suite_command_ended", "kerbside")),
        ({"run": ["python", "-c", "import sys; sys.exit(4)"], "exits": 4}, PASSED),
        ({"settings": {"KERBSIDE_SAYS": TICKET}}, ("suite_ticket_shown", "kerbside")),
        ({"cases": [{"says": ["A = 1"]}, {"settings": {"KERBSIDE_A": 5}, "says": ["A = 5 B = 2"]}]}, PASSED),
        ({"cases": [{"says": ["A = 1"]}, {"settings": {"KERBSIDE_A": 5}, "says": ["A = 1"]}]}, WRONG),
        ({"never": ["words"], "cases": [{"never": ["nothing"]}, {}]}, WRONG),
        ({"cases": [{"run": ["play", "two"], "says": ["\\['two'\\]"]}]}, PASSED),
    ],
)
def test_a_program_has_to_end_and_speak_as_the_step_says(lane, options, wanted):
    assert ended(lane, **options) == wanted
    left = Path(lane.place.lane_dir, "secrets").glob("command*")
    assert list(left) == []  # they hold the settings, the sources and what was said


@pytest.mark.parametrize(
    ("said", "claims", "wanted"),
    [
        (token(sub="me", iat=60, exp=240), {"sub": "me", "minutes": 3}, None),
        (token(sub="me", iat=60, exp=300), {"sub": "me", "minutes": 3}, "suite_command_token"),
        (token(sub="you"), {"sub": "me"}, "suite_command_token"),
        (token(), {"iss": "here"}, "suite_command_token"),
        ("no token", {}, "suite_command_token"),
        (token(iat=60, exp=240), {"minutes": 3}, None),
        (token(exp=240), {"minutes": 4}, "suite_command_token"),
    ],
)
def test_a_token_is_for_whom_it_has_to_be_and_becomes_a_secret(lane, said, claims, wanted):
    entry = entry_of(lane, {"command": {"run": ["play"], "settings": {"KERBSIDE_SAYS": said}, "claims": claims}})
    assert entry["detail"].get("code") == wanted
    assert said not in json.dumps(entry) or said == "no token"
    kept = [path.read_text() for path in Path(lane.place.lane_dir, "secrets").glob("bearer_token-*")]
    assert kept == ([said] if said.startswith("eyJ") else [])


def test_the_last_line_of_the_first_can_be_used_by_later_steps(lane):
    cases = [{"settings": {"KERBSIDE_SAYS": "first"}}, {"settings": {"KERBSIDE_SAYS": "second"}}]
    steps = (
        {"command": {"run": ["play"], "cases": cases}, "register": "said"},
        {"api": {"path": "/{said.out}/{console_name}{proxy}"}},
    )
    assert outcome(lane, *steps) == PASSED
    assert [one[2] for one in asked(lane, "request")] == ["/first/first/proxy"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, None])
def test_a_private_file_is_its_owners_alone(lane, mode):
    file = Path(lane.place.lane_dir, "made")
    if mode is not None:
        file.write_text(token())
        file.chmod(mode)
    assert ended(lane, private=str(file))[0] == (None if mode == 0o600 else "suite_command_private")


@pytest.mark.parametrize("more", ["", "\n", "\0\0", "x.y"])
def test_a_private_file_holds_a_token_and_nothing_else(lane, more):
    file = Path(lane.place.lane_dir, "made")
    file.write_text(token() + more if more != "\n" else "")
    file.chmod(0o600)
    assert ended(lane, private=str(file))[0] == (None if not more else "suite_command_token")


def test_what_does_not_end_is_killed(lane):
    step = {"command": {"run": ["python", "-c", "import time; time.sleep(600)"]}, "within": 0.5}
    assert outcome(lane, step) == ("command_timeout", "kerbside")


def test_a_python_that_cannot_play_it_is_told_of(lane):
    python = Path(lane.place.database_python)
    python.unlink()
    python.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    python.chmod(0o700)
    assert ended(lane) == ("suite_command_ended", "kerbside")


def test_a_program_of_the_suites_own_is_executable(lane):
    made = {"file": {"name": "mine", "program": "#!/bin/sh\nexit 3\n"}, "register": "mine"}
    step = {"command": {"run": ["python", "-c", "import os; os.execv('{mine.path}', ['x'])"], "exits": 3}}
    assert outcome(lane, made, step) == PASSED
