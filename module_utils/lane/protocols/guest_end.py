"""What of the loss of qemu is the guest's own doing."""

from __future__ import annotations

from ..core.errors import LaneError
from ..programs.loss import Lost
from .serial_log import HANDOVER


def failure(gone: Lost, lane_dir: str, serial: str) -> LaneError:
    """The failure of a lost program. serial: the serial log.

    A guest that switches itself off or resets the machine ends qemu with status 0 (qemu runs with -no-reboot). An
    exception that the firmware reports after it has handed over is that of the guest's program.
    """
    if gone.entry.name == "qemu" and gone.entry.exit_status(lane_dir) == 0:
        problem = "qemu ended with status 0: the guest switched itself off or reset the machine"
        return LaneError("guest_ended", "guest", problem, "see logs/serial.log", evidence=f"{lane_dir}/logs/serial.log")
    if gone.code == "program_broken" and gone.component == "firmware" and HANDOVER in serial:
        words = gone.problem.partition(": ")[2]
        problem = f"the guest's program died of an exception, which the firmware reported: {words}"
        return LaneError("guest_exception", "guest", problem, "see logs/serial.log", evidence=gone.evidence)
    return gone.error()
