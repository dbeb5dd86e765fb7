"""The command line of ./lane: what it takes, what it refuses, and what ansible-playbook gets of it."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.core.errors import LaneError

from tools import ROOT, arguments, cache_dir, developer_verbs, inputs
from tools.parsing import UsageError


def run(command: Sequence[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **how)


def test_every_option_of_ansible_playbook_is_known_and_no_other():
    usage = run([Path(sys.executable).with_name("ansible-playbook"), "--help"]).stdout
    theirs = set(re.findall(r"(?<![\w-])--[A-Za-z][a-z-]*(?=[ ,\n])", usage.split("\noptions:")[1])) - {"--help"}
    common = [name for names, *_ in arguments.COMMON for name in names.split()]
    ours = {*common, *arguments.WITH_VALUE, *arguments.WITHOUT}
    assert {name for name in ours if name.startswith("--")} == theirs
    for name in ("-k", "-K", "-b", "-J", "-C", "-D", "--step", "--become"):  # take no value, and the others do
        assert arguments.parse(["run", name, "-v"]).forward == [name, "-v"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["down", "now"], "./lane down does not take 'now';"),
        (["logs", "-e", "lane_guest=x"], "this verb has only -e lane_id=N"),
        (["fleet", "x"], "N: x is not a whole number from 1 to 100"),
        (["fleet", "2", "--at-once", "0"], "--at-once: 0 is not"),
        (["fleet", "2", "-i", "hosts.yml"], "does not take -i"),
        (["ps", "-l", "x"], "it needs -i"),
        (["ps", "--json", "-i", "hosts.yml"], "--json does not work with -i"),
        (["logs", "-f", "-i", "hosts.yml"], "--follow does not work with -i"),
        (["shot", "-e", "lane_id=3", "-i", "hosts.yml"], "-e lane_id does not work with -i"),
        (["help", "smok"], "(did you mean smoke?)"),
        ([""], "there is no verb ''"),
        (["up", "-t", "tls"], "./lane up selects its roles itself; use ./lane --tags"),
        (["test", "--verb", "--", "-k", "qmp"], "no option --verb (did you mean --verbose?)"),
        (["test", "lint", "--", "-k", "qmp"], "only unit and playbooks"),
        (["faults", "kvm-missing", "guest-frozn"], "no fault 'guest-frozn' (did you mean guest-frozen?)"),
        (["faults", "--together", "4"], "--together: 4 is"),
        (["faults", "--first-id", "98"], "--first-id: 98 is"),
        (["faults", "--plant", "[1]"], "--plant: [1] is"),
        (["bench", "--lanes", "2", "x"], "--lanes: x is"),
        (["bench", "--lane-id", "95"], "--lane-id 95"),
        (["mutants", "--sample", "-1"], "--sample: -1 is"),
        (["faults", "--catalogue", "/nowhere"], "--catalogue: /nowhere does not exist"),
        (["mutants", "--proxy", "/nowhere"], "--proxy: /nowhere does not exist"),
        (["mutants", "--ryll", "/nowhere"], "--ryll: /nowhere does not exist"),
        (["mutants", "--ryll", "/", "--proxy", "/"], "--proxy and --ryll exclude each other"),
        (["mutants", "sutes", "session"], "no verb 'sutes' (did you mean suites?)"),
        (["mutants", "smoke", "session"], "./lane smoke does not take 'session'"),
    ],
)
def test_what_is_refused(words, said):
    """Besides what docs/command-line.md has, which tests/playbooks/test_usage.py runs."""
    with pytest.raises(UsageError) as caught:
        arguments.parse(words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-e", '{"lane_gest": "pocket"}'], "bad_input"),
        (["-e", "a=b lane_id=07"], "bad_input"),
        (["-e", "lane_id:30"], "bad_input"),
        (["-e", "=30 my-own=1 my.own="], ""),
        (["-e", "a=b lane_id = 30"], "bad_input"),
        (["-e", "lane_lease=soon"], "bad_input"),
        (["suites", "agent,inptu"], "suite_unknown"),
        (["mutants", "suites", "session", "-e", "lane_gest=pocket"], "bad_input"),
        (["mutants", "suites", "session,refusal", "-e", "lane_guest=pocket"], ""),
        (["suites", "agent", "mine", "-e", "lane_suite_files=/mine.yml"], ""),
        (["suites", "agent", "mine", "-e", "@vars.yml"], ""),
        (["suites", "agent", "mine.yml", "dir/mine"], ""),
        (["-e", "lane_lease=0.5 lane_id=99 mine=1"], ""),
        (["-e", "lane_lease={{ 60 * 60 }}", "-e", "an open 'quote"], ""),
    ],
)
def test_what_is_given_is_looked_at_before_anything_starts(words, code):
    asked = arguments.parse(words)
    asked = asked.judge if asked.verb == "mutants" else asked
    if not code:
        inputs.check(asked)
        return
    with pytest.raises(LaneError) as caught:
        inputs.check(asked)
    assert caught.value.code == code


def test_what_follows_two_dashes_goes_to_pytest():
    asked = arguments.parse(["test", "unit", "-v", "--", "-k", "qmp", "--nonsense"])
    assert (asked.names, asked.verbose, asked.pytest) == (["unit"], True, ["-k", "qmp", "--nonsense"])
    assert arguments.parse(["test"]).pytest == []


def test_words_of_mutants_are_a_command_of_their_own():
    asked = arguments.parse(["mutants", "--sample", "0", "suites", "-e", "lane_guest=pocket", "session,refusal"])
    assert (asked.names, asked.sample) == (["suites", "session,refusal"], 0)
    judge = asked.judge
    assert (judge.verb, judge.names, judge.forward) == ("suites", ["session,refusal"], ["-e", "lane_guest=pocket"])
    assert arguments.parse(["mutants"]).judge.verb == "run"


def test_the_names_of_faults_are_those_of_the_catalogue():
    faults = yaml.safe_load(developer_verbs.FAULTS.read_text(encoding="utf-8"))["faults"]
    assert developer_verbs.fault_names() == [fault["name"] for fault in faults]
    asked = arguments.parse(["faults", "mine", "--catalogue", "/dev/null"])  # tests/faults/run.py looks into that one
    assert asked.names == ["mine"]


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("tools/run_tests.py", ["unti"], "did you mean unit?"),
        ("tools/bench.py", ["--rounds", "0"], "--rounds"),
        ("tests/faults/run.py", ["mine", "--catalogue", "tests/faults/catalogue.yml"], "no fault 'mine'"),
    ],
)
def test_programs_without_lane_have_the_same_command_line(script, words, said):
    ran = run([sys.executable, script, *words])
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("lane: ") and said in ran.stderr and ran.stderr.count("\n") == 1
    helped = run([sys.executable, script, "--help"])
    assert (helped.returncode, helped.stdout[:14]) == (0, "usage: ./lane ")


@pytest.mark.parametrize(("given", "parent"), [("/k", "/k"), ("k", "/h/.cache"), ("", "/h/.cache")])
def test_a_relative_cache_directory_does_not_count(given, parent, monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_dir() == Path(parent, "kerbside-lane")


def test_the_lanes_of_a_command_line_that_cannot_be_read():
    words = ["-e", "a=1", "--nonsense", "-eb=2", "--extra-vars", "c=3", "--extra-vars=d=4", "-ix.yml", "-e"]
    assert arguments.given(words) == {"inventory": ["x.yml"], "extra_vars": ["a=1", "c=3", "b=2", "d=4"]}
    # an option that lacks its value hides none that come after it
    assert arguments.given(["-f", "--nonsense", "-e", "lane_id=7"]) == {"extra_vars": ["lane_id=7"]}


def test_every_verb_has_help_and_every_summary_is_a_verb():
    whole, verbs = arguments.parser()
    assert list(verbs) == list(arguments.SUMMARIES)
    assert all(f"    {name}" in whole.format_help() for name in verbs)
    assert all("./lane" in one.format_help() for one in verbs.values())
