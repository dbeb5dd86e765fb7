"""Whatever a program makes of its log, reading and collecting it ends, in bounded memory and disk."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import bounded
from ansible.module_utils.lane.evidence import collect

ROOT = Path(__file__).parents[2]
#: Judges a red lane, as lane_evidence does, and makes its report.
JUDGE = f"""
import json, sys
from pathlib import Path
import ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
from ansible.module_utils.lane.core.private_dir import read_run
from ansible.module_utils.lane.evidence import report, verdict
lane_dir, artifacts = sys.argv[1:]
named = {{"component": "guest", "check": "banner", "code": "check_failed", "cause": "it floods"}}
named["evidence"] = lane_dir + "/logs/serial.log:1"
failure = {{"role": "sextant_vm", "task": "t", "result": {{"lane_failure": named}}}}
known = {{"planned": ["banner"], "failure": failure, "phases": [], "versions": {{}}}}
verdict.write(lane_dir, artifacts, read_run(lane_dir), command="c", **known)
report.write(Path(artifacts))
"""


def sparse(path: Path) -> None:
    """A log of 8 GB that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(b"first\n")
        file.truncate(8 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")


@pytest.mark.parametrize("make", [lambda path: os.symlink("/dev/zero", path), os.mkfifo, sparse])
def test_a_guest_that_floods_its_serial_port_gets_a_result(lane, make):
    logs = Path(lane.dir, "logs")
    make(logs / "serial.log")
    for number in range(3):
        sparse(logs / f"other-{number}.log")
    command = ["prlimit", f"--as={1 << 30}", sys.executable, "-c", JUDGE, lane.dir, lane.artifacts]
    subprocess.run(command, check=True, timeout=120)
    kept = [path for path in Path(lane.artifacts).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= collect.MOST
    assert all(path.stat().st_blocks * 512 < 8 << 20 for path in kept)
    assert json.loads(Path(lane.artifacts, "result.json").read_text())["blame"]["component"] == "guest"
    assert Path(lane.artifacts, "report.html").exists()
    text = Path(lane.artifacts, "logs/other-1.log").read_bytes()
    assert text.startswith(b"first\n") and text.endswith(b"\nlast\n")
    assert re.search(rb"\n\[\d+ of \d+ bytes are left out here\]\n", text)
    if make is not sparse:
        assert not Path(lane.artifacts, "logs/serial.log").exists()
        assert "logs/serial.log: it is not a regular file" in Path(lane.artifacts, collect.NOTES).read_text()
    assert json.loads(Path(lane.artifacts, "logs/diagnosis.json").read_text()).get("broken") is None


def test_no_more_files_and_bytes_are_kept_than_fit(lane, monkeypatch):
    monkeypatch.setattr(collect, "MOST_FILES", 5)
    for number in range(9):
        Path(lane.dir, f"logs/{number}.log").write_text("x\n")
    collect.collect(lane.dir, Path(lane.artifacts), "c")
    assert len(list(Path(lane.artifacts, "logs").glob("*.log"))) == 5
    monkeypatch.setattr(collect, "MOST", 6)
    collect.collect(lane.dir, Path(lane.artifacts), "c")
    assert len(list(Path(lane.artifacts, "logs").glob("*.log"))) == 3
    assert Path(lane.artifacts, collect.NOTES).read_text().count("\n") == 6


@pytest.mark.parametrize(("size", "left_out"), [(400, 0), (401, 1)])
def test_a_long_file_is_cut_at_lines_and_says_so(tmp_path, size, left_out):
    file = tmp_path / "x.log"
    lines = [f"line {number:04}\n" for number in range(40)]
    file.write_text("".join(lines)[: 400 - len("\n")] + "\n" + "x" * (size - 400))
    assert file.stat().st_size == size
    whole = file.read_text()
    cut = "".join(lines[:9]) + "\n[10 of 401 bytes are left out here]\n" + "".join(lines[10:]) + "x"
    assert bounded.ends(file, 95, 305) == (cut if left_out else whole).encode()


def test_what_came_since_a_place_has_a_limit_too(tmp_path):
    file = tmp_path / "log"
    file.write_bytes(b"one\ntwo\n\xff")
    assert bounded.since(file, 4, 100) == "two\n\ufffd"
    assert bounded.since(file, 4, 3) == "two"
    assert bounded.since(file, 9, 100) == ""
    assert bounded.since(file, 10, 3) == "one"  # begun anew
    assert bounded.since(tmp_path / "gone", 0, 3) == ""
    (tmp_path / "endless").symlink_to("/dev/zero")
    assert bounded.since(tmp_path / "endless", 0, 3) == ""


@pytest.mark.parametrize(
    ("limit", "found"),
    [(100, (0, b"one\ntwo\nthree")), (10, (4, b"two\nthree")), (5, (8, b"three")), (3, (10, b"ree"))],
)
def test_the_tail_begins_at_a_line(tmp_path, limit, found):
    file = tmp_path / "x.log"
    file.write_bytes(b"one\ntwo\nthree")
    assert bounded.tail(file, limit) == found
    assert bounded.tail(tmp_path / "gone", limit) == (0, b"")
