"""A person's own suite on a lane that is up, red and green; a bad file; some faults that the suites have to see."""

import re
import subprocess
import sys

import pytest
from whole_lanes import ROOT

UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"
PAGE = (ROOT / "docs/suites.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"<!-- suite -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
#: All its steps are as wanted, and qemu is gone.
STEPS = "[{qemu: {execute: quit}}, {wait: {seconds: 1}}]"
QUIT = f"{{suite: mine, guests: [pocket], checks: [{{name: hello, steps: {STEPS}}}]}}"
#: One of each kind of fault; `tests/faults/suites.py LANE_DIR` plays all.
FAULTS = ("ryll-swallows-a-key", "nbf-forgotten", "bytes-counted-twice", "messages-held-back")


@pytest.mark.parametrize("asked", [{"lane_suites": "mine"}, {}])
def test_a_bad_file_is_refused_before_anything_starts(lane, tmp_path, asked):
    """Also one that no name of a suite asks for: the file itself does."""
    file = tmp_path / "mine.yml"
    file.write_text(EXAMPLE[1].replace("serial:", "cereal:"))
    played = lane.run("playbooks/lane.yml", lane_suite_files=str(file), **asked)
    assert played.rc != 0
    failure = played.results("Check the command and the inputs of all roles")[-1]["lane_failure"]
    assert failure["code"] == "suite_file_invalid" and failure["cause"].startswith(f"{file}:8: check hello: step 2: ")
    assert not lane.dir.exists()


def test_a_playbook_that_has_nothing_planned_is_red(lane):
    played = lane.run([{"name": "Play", "ansible.builtin.include_role": {"name": "suites"}}], lane_suites=["input"])
    assert played.rc == 2
    assert played.failures == [
        "no suite is planned; let role_inputs check the command first, as playbooks/lane.yml does"
    ]


@pytest.mark.slow
def test_the_pages_example_is_red_and_green_and_faults_are_seen(lane, tmp_path):
    lane.good("playbooks/lane.yml", "--tags", UP)
    file = tmp_path / "mine.yml"
    for text, verdict, code in (
        (EXAMPLE[1], "fail", "serial_line_missing"),
        (EXAMPLE[1].replace("hallo", "hello"), "pass", None),
        (QUIT, "fail", "guest_ended"),
    ):
        file.write_text(text)
        mine = {"lane_suites": ["mine"], "lane_suite_files": [str(file)]}
        played = lane.run("playbooks/lane.yml", "--tags", "suites,evidence", **mine)
        result = lane.result
        assert result["verdict"] == verdict, played
        [check] = result["checks"]
        found = [check[name] for name in ("suite", "guest", "name", "result")]
        assert found == ["mine", "pocket", "hello", verdict]
        assert (result["blame"] or {}).get("code") == code
        assert "console_token" not in (lane.artifacts / "result.json").read_text()
    lane.good("playbooks/lane.yml", "--tags", "suites,evidence", lane_suites=["agent", "input"])  # all that pocket does
    command = [sys.executable, "tests/faults/suites.py", str(lane.dir), *FAULTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("^ok ", done.stdout, re.MULTILINE)) == len(FAULTS)
