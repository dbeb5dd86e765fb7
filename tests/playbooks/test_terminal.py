"""What `./lane` shows while it runs: on a pipe, on a terminal, with -v, and when nothing of a lane comes to be."""

import json
import re

import pytest
from whole_lanes import CACHE, Started, Surroundings

#: A full run that ends early: after the phases that take no time, the third fails.
RED = ("-e", "lane_guest=uncalibrated lane_image_origin=/etc/os-release")
CAUSE = "the image of guest uncalibrated at /etc/os-release is not a qcow2"
PHASE = re.compile(r"([a-z_]+) +\d+\.\d s(?:  (.*))?")


def play(place: Surroundings, *options: str, terminal: bool = False, **env: str) -> tuple[int, Started]:
    """`./lane OPTIONS` in these surroundings: its exit status and its output."""
    run = Started(place.script(*options), {**place.environment(), **env}, terminal=terminal)
    return run.wait(200), run


def phases(lines: list[str]) -> list[tuple[str, str]]:
    """(phase, what it says) of the lines that are one."""
    return [(found[1], found[2] or "") for line in lines if (found := PHASE.fullmatch(line))]


def test_a_red_run_on_a_pipe(place):
    status, run = play(place, *RED)
    assert status == 2, run.text
    assert not re.search(r"[\x1b\r]|TASK|ERROR|fatal|RECAP", run.text)
    names, notes = zip(*phases(run.lines), strict=True)
    assert names == ("kvm_probe", "deps", "sextant_vm", "evidence", "teardown")
    assert notes[0].startswith(("kvm: ", "tcg: ")) and not notes[0].endswith("...") and notes[1].startswith("qemu ")
    assert notes[2] == "FAILED: Check the image and the firmware of the guest"
    assert run.text.count("os-release is not a qcow2") == 1
    report, verdict = run.lines[-2:]
    assert report == f"report: {place.artifacts}/report.html"
    assert verdict.startswith(f"LANE FAIL environment: {CAUSE}")
    assert len(run.lines) == 7

    log = (place.artifacts / "logs/ansible.log").read_text()
    assert log.count("TASK [sextant_vm : Check the image") == 1
    assert "[ERROR]: Task failed: Module failed: environment: " + CAUSE in log
    assert log.index("PLAY [") < log.index("TASK [teardown : Take the lane down]") < log.index("PLAY RECAP")
    page = (place.artifacts / "report.html").read_text()
    named = re.findall(r'<tr data-part="ansible".*?</tr>', page, re.DOTALL)
    assert len([row for row in named if "evidence : Collect the evidence and give the verdict" in row]) == 1
    assert json.loads((place.artifacts / "logs/tasks.json").read_text())
    assert place.seconds_until_gone()[1] == []


def test_with_v_ansible_speaks_itself(place):
    status, run = play(place, *RED, "-v", terminal=True, TERM="xterm-256color")
    assert status == 2, run.text
    assert "TASK [sextant_vm : Check the image" in run.text and "PLAY RECAP" in run.text
    assert phases(run.lines) == []
    assert run.lines[-1].startswith("\x1b[0;31mLANE FAIL environment: ")
    assert "TASK [sextant_vm : Check the image" in (place.artifacts / "logs/ansible.log").read_text()  # as well


def test_a_terminal_is_plain_if_it_is_wanted_so(place):
    status, run = play(place, *RED, terminal=True, TERM="xterm-256color", NO_COLOR="1")
    assert status == 2, run.text
    assert re.search(r"[\x1b\r]", run.text) is None
    assert len(run.lines) == 7


@pytest.mark.slow
def test_a_green_run_on_a_terminal(place):
    cache = place.base / "cache"
    cache.mkdir(mode=0o700)
    for name in ("venvs", "ryll"):  # and no database: it is made, by one that takes its time
        (cache / name).symlink_to(CACHE / name)
    slow = place.base / "slow_install_db"
    slow.write_text('#!/bin/sh\nfor n in 1 2 3 4; do echo tables; sleep 1; done\nexec mariadb-install-db "$@"\n')
    slow.chmod(0o700)
    given = ("-e", f"lane_cache_dir={cache}", "-e", f"kerbside_mariadb_install_db={slow}")
    status, run = play(place, *given, terminal=True, TERM="xterm-256color")
    assert status == 0, run.text
    seen = [line.rpartition("\r\x1b[K")[2] for line in run.lines]  # what stays on the screen
    expected = ["kvm_probe", "deps", "sextant_vm", "ryll_build", "tls", "kerbside", "smoke", "evidence", "teardown"]
    assert [name for name, _ in phases(seen)] == expected
    assert ("smoke", "hello, status, screenshot, banner, counters, path, frames") in phases(seen)
    live = re.findall(r"\r\x1b\[K(\w+) +(\d+) s \.\.\.  (.+?)(?=\r)", run.text)
    assert "kerbside" in {name for name, _, _ in live}
    assert all(len(f"{name:11} {seconds:>6} s ...  {said}") < 80 for name, seconds, said in live)
    assert any(said.endswith(": tables") for _, _, said in live), live
    # The guest speaks meanwhile.
    assert not [said for name, _, said in live if name == "kerbside" and "pocket-sextant" in said]
    assert re.fullmatch(rf"\x1b\[0;32mLANE PASS lane {place.id}: .* s\x1b\[0m", run.lines[-1])
    assert len(seen) == len(expected) + 2


NO_VERDICT = "ansible-playbook ended with status {} and no verdict"
UNDEFINED = "Task failed: Error processing keyword 'environment'"


@pytest.mark.parametrize(
    ("options", "words", "last"),
    [
        (("--forks", "many"), "usage: ansible-playbook", NO_VERDICT.format(2)),
        (("--limit", "nobody"), "leaves us with no hosts to target", NO_VERDICT.format(1)),
        (("-e", "@/nowhere"), "/nowhere", "ansible-playbook ended "),
        (("-e", "lane_remote={{ nobody }}"), f"ERROR| [ERROR]: {UNDEFINED}", UNDEFINED),
    ],
)
def test_the_last_line_when_it_ends_early(place, options, words, last):
    place.artifacts.mkdir()
    (place.artifacts / "result.json").write_text('{"verdict": "pass"}')  # of an earlier command
    status, run = play(place, *options)
    assert words in run.text
    assert status == 2
    assert run.lines[-1].startswith(f"LANE FAIL lane: {last}") and "Traceback" not in run.text, run.text
    assert place.result["verdict"] == "error"
    assert place.result["blame"]["code"] == ("task_failed" if last == UNDEFINED else "ansible_ended")
    assert place.traces() == []


def test_the_last_line_when_ansible_gives_up_in_the_middle(place):
    """With plain ansible-playbook too, once the callback plugin is loaded."""
    playbook = place.base / "broken.yml"
    playbook.write_text("- hosts: '{{ nobody }}'\n")
    run = Started(place.playbook(name=str(playbook)), place.environment())
    assert run.wait(60) in (1, 4), run.text  # 4 from ansible-core 2.19 on
    said = "LANE FAIL lane: ansible-playbook ended before the playbook did; see its message above"
    assert run.lines[-1] == said, run.text
