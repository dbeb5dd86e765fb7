"""What a shell completes after ./lane. These tests are not in test_arguments: they need the checkout's own .venv."""

import os
import subprocess
from pathlib import Path

import pytest

from tools import ROOT


def output(*command: str | Path, **env: str) -> list[str]:
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout.split()


COMPLETE = """
source <(./lane completion bash)
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
read -ra COMP_WORDS <<<"$1"
_python_argcomplete ./lane
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("./lane sm", ["smoke"]),
        ("./lane --tags tls,smo", ["tls,smoke"]),
        ("./lane up --chec", ["--check"]),
        ("./lane suites agent,inp", ["agent,input"]),
        ("./lane test lint play", ["playbooks"]),
        ("./lane faults api-kil", ["api-killed"]),
        ("./lane mutants su", ["suites"]),
        ("./lane mutants suites session,refu", ["session,refusal"]),
        ("./lane mutants suites --smok", ["--smoke-only"]),
        ("./lane -e lane_kee", ["lane_keep="]),
        ("./lane -e lane_guest_", ["lane_guest_entry=", "lane_guest_names="]),
        ("./lane -e lane_guest=po", ["pocket"]),
        ("./lane -e lane_keep=on", ["on_failure"]),
    ],
)
def test_completion_in_bash(typed, offered, tmp_path):
    script = tmp_path / "complete.sh"
    script.write_text(COMPLETE, encoding="utf-8")
    assert sorted(output("bash", script, typed, HOME=str(tmp_path))) == offered


def test_completion_for_zsh_is_argcompletes_own():
    assert "compdef" in " ".join(output("./lane", "completion", "zsh"))


def test_a_disk_without_room_for_the_output_is_one_sentence():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            ["./lane", "completion", "bash"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (2, b"lane: cannot write to stdout: No space left on device\n")
