"""The guest's TPM: each qemu has one of its own, which ends with it (roles/sextant_vm)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import proc

TAGS = ("--tags", "kvm_probe,deps,sextant_vm")


def programs(lane: Any, name: str) -> list[int]:
    """The pids of the lane's programs of this name."""
    return [
        p.pid
        for p in proc.everyone()
        if p.name.startswith(name) and (proc.environ(p.pid, "KERBSIDE_LANE") or "").startswith(f"{lane.id}/")
    ]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("swtpm"), reason="this release's table names no swtpm")
def test_the_tpm_of_the_qemu_before_takes_nothing_from_the_next(lane: Any) -> None:
    """swtpm holds its state until it ends, and removes its socket then, which may be after the next one was started."""
    assert lane.run("playbooks/lane.yml", *TAGS).rc == 0
    assert not (lane.dir / "vars.fd").exists()  # nobody asked for a store of the firmware's variables
    [old], [qemu] = programs(lane, "swtpm"), programs(lane, "qemu-system")
    os.kill(old, signal.SIGSTOP)
    os.kill(qemu, signal.SIGKILL)
    again = lane.run("playbooks/lane.yml", *TAGS)
    assert again.rc == 0, again
    [new] = [pid for pid in programs(lane, "swtpm") if pid != old]
    os.kill(old, signal.SIGCONT)
    until = time.monotonic() + 5
    while (left := proc.read(old)) and left.alive:
        assert time.monotonic() < until
        time.sleep(0.02)
    [socket] = [path for path in (lane.dir / "tpm").rglob("*") if path.is_socket()]
    assert f"path={socket}".encode() in Path(f"/proc/{new}/cmdline").read_bytes()
    assert programs(lane, "qemu-system"), (lane.dir / "logs/qemu.log").read_text()
