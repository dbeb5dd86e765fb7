"""The role sextant_vm: where the firmware keeps its variables (docs/performance.md), and the guest's TPM."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.lane.lifecycle import proc, run_state
from whole_lanes import ROOT

TAGS = ("--tags", "kvm_probe,deps,sextant_vm")
STORE = "/usr/share/OVMF/OVMF_VARS_4M.fd"
BANNER = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text(encoding="utf-8"))["guests"]["pocket"]["banner"]


def programs(lane: Any, name: str) -> list[int]:
    """The pids of the lane's programs of this name."""
    return [one.pid for one in proc.marked(lane.id) if one.name.startswith(name)]


@pytest.mark.slow
def test_the_guest_boots_with_a_store(lane):
    lane.good("playbooks/lane.yml", *TAGS, sextant_vm_firmware_vars=STORE)
    [qemu] = programs(lane, "qemu-system")
    command = Path(f"/proc/{qemu}/cmdline").read_text()
    assert "unit=1" in command and f"file={lane.dir}/vars.fd" in command
    assert (lane.dir / "vars.fd").exists()
    serial = lane.dir / "logs/serial.log"
    assert run_state.until(lambda: BANNER in serial.read_text(errors="replace"), 20), serial.read_text(errors="replace")
    again = lane.run("playbooks/lane.yml", *TAGS, sextant_vm_firmware_vars=STORE)
    assert (again.rc, again.changed) == (0, 0), again
    if shutil.which("swtpm"):  # this release's table may name none
        see_tpm(lane)


def see_tpm(lane: Any) -> None:
    """The TPM of the qemu before takes nothing from the next: swtpm holds its state until it ends, and removes its
    socket then, which may be after the next one was started.
    """
    [old], [qemu] = programs(lane, "swtpm"), programs(lane, "qemu-system")
    os.kill(old, signal.SIGSTOP)
    os.kill(qemu, signal.SIGKILL)
    lane.good("playbooks/lane.yml", *TAGS, sextant_vm_firmware_vars=STORE)
    [new] = [pid for pid in programs(lane, "swtpm") if pid != old]
    os.kill(old, signal.SIGCONT)
    assert run_state.until(lambda: not ((left := proc.read(old)) and left.alive), 5)
    [socket] = [path for path in (lane.dir / "tpm").rglob("*") if path.is_socket()]
    assert f"path={socket}".encode() in Path(f"/proc/{new}/cmdline").read_bytes()
    assert programs(lane, "qemu-system"), (lane.dir / "logs/qemu.log").read_text()
