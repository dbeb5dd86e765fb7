"""Whose doing the loss of a program is, where it is not that program's own."""

from __future__ import annotations

import re
import signal

from ..core import limits
from ..core.errors import LaneError
from ..core.layout import Layout
from ..programs import records
from ..programs.loss import Lost
from .serial_log import HANDOVER

#: The daemon's last words, with Python's returncode of its child, the proxy.
PROXY_DIED = re.compile(r"Rust proxy child died with exit code (-?\d+)")


def of_proxy(daemon: records.Record) -> LaneError | None:
    """The failure of the proxy with which this daemon ended; None when it does not say so."""
    died = PROXY_DIED.search("\n".join(daemon.log_lines()))
    if died is None:
        return None
    code = int(died[1])
    status = 128 - code if code < 0 else code
    if status == 128 + signal.SIGKILL and (rise := limits.rise(daemon.counters)):
        problem = f"kerbside-proxy was killed by the kernel for memory ({rise})"
        return LaneError("out_of_memory", "host", problem, evidence=daemon.evidence)
    problem = f"kerbside-proxy {records.ended_how(status)}, and the daemon ended with it"
    return LaneError("proxy_ended", "proxy", problem, "see logs/daemon.log", evidence=daemon.evidence)


def failure(gone: Lost, lane_dir: str, serial: str) -> LaneError:
    """The failure of a lost program. serial: the serial log.

    A guest that switches itself off or resets the machine ends qemu with status 0 (qemu runs with -no-reboot). An
    exception that the firmware reports after it has handed over is that of the guest's program. kerbside's daemon ends
    with its proxy.
    """
    if gone.entry.name == "daemon" and (died := of_proxy(gone.entry)):
        return died
    if gone.entry.name == "qemu" and gone.entry.exit_status(lane_dir) == 0:
        problem = "qemu ended with status 0: the guest switched itself off or reset the machine"
        return LaneError("guest_ended", "guest", problem, "see logs/serial.log", evidence=Layout(lane_dir).serial_log)
    if gone.code == "program_broken" and gone.component == "firmware" and HANDOVER in serial:
        words = gone.problem.partition(": ")[2]
        problem = f"the guest's program died of an exception, which the firmware reported: {words}"
        return LaneError("guest_exception", "guest", problem, "see logs/serial.log", evidence=gone.evidence)
    return gone.error()
