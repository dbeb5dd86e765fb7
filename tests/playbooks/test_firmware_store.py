"""Where the firmware keeps its variables: in memory, or in a copy of a store (docs/performance.md)."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.lifecycle import proc
from whole_lanes import ROOT

TAGS = ("--tags", "kvm_probe,deps,sextant_vm")
STORE = "/usr/share/OVMF/OVMF_VARS_4M.fd"
BANNER = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text(encoding="utf-8"))["guests"]["pocket"]["banner"]


@pytest.mark.slow
def test_the_guest_boots_with_a_store(lane: Any) -> None:
    booted = lane.run("playbooks/lane.yml", *TAGS, sextant_vm_firmware_vars=STORE)
    assert booted.rc == 0, booted
    [qemu] = [one for one in proc.marked(lane.id) if one.name.startswith("qemu-system")]
    command = Path(f"/proc/{qemu.pid}/cmdline").read_text()
    assert "unit=1" in command and f"file={lane.dir}/vars.fd" in command
    assert (lane.dir / "vars.fd").exists()
    serial, until = lane.dir / "logs/serial.log", time.monotonic() + 20
    while BANNER not in serial.read_text(errors="replace"):
        assert time.monotonic() < until, serial.read_text(errors="replace")
        time.sleep(0.05)
    again = lane.run("playbooks/lane.yml", *TAGS, sextant_vm_firmware_vars=STORE)
    assert (again.rc, again.changed) == (0, 0), again


@pytest.mark.parametrize(("what", "code"), [("code", "firmware_unreadable"), ("vars", "firmware_vars_unreadable")])
def test_firmware_that_is_not_there_is_named_before_qemu_starts(lane: Any, what: str, code: str) -> None:
    missing = lane.run("playbooks/lane.yml", *TAGS, **{f"sextant_vm_firmware_{what}": "/no/such.fd"})
    assert missing.rc == 2
    failure = next(result["lane_failure"] for result in missing.results() if "lane_failure" in result)
    assert (failure["component"], failure["code"]) == ("firmware", code)
    assert re.search(r"LANE FAIL firmware: .*/no/such\.fd", missing.text), missing
