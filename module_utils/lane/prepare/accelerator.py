"""Find out whether KVM can run the lane's firmware, and why not.

First a few system calls on the device node, which start nothing (KVM API: Documentation/virt/kvm/api.rst, linux/kvm.h).
Then the firmware is booted under KVM for a moment, and qemu is asked for its state: that the node opens proves nothing
(docs/accelerator.md).
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import LaneError, one_line
from ..protocols.qmp import QmpError, QmpTimeout
from . import cache
from .firmware import Pair
from .probe_qemu import ProbeQemu

KVM_GET_API_VERSION = 0xAE00  # _IO(KVMIO, 0x00)
KVM_CREATE_VM = 0xAE01  # _IO(KVMIO, 0x01)
API_VERSION = 12  # the only one since Linux 2.6.22
TCG_CPU = "max"
CACHE_VERSION = 2  # raise it when Finding changes
#: The firmware's clock driver has set the guest's clock, so its first phases have run (2.6 s after the start under
#: TCG).
ALIVE = "RTC_CHANGE"
#: States of qemu's guest that only the firmware can have caused; any other one says nothing about the firmware.
DEAD = ("internal-error", "shutdown", "guest-panicked")
BY_FIRMWARE = ("runs", "firmware_dies")  # the states of a Finding that say what the firmware did
POLL = 0.05
FIX = "use a machine whose KVM can run UEFI guests (nested virtualization often cannot)"
HANG_FIX = "see logs/kvm_probe.log, and raise kvm_probe_start_limit if qemu only needs longer to start"
LOAD = (
    "load the kernel module (sudo modprobe kvm_intel, or kvm_amd), or enable virtualization in the BIOS or the outer "
    "hypervisor"
)
DMESG = "sudo dmesg | grep -i kvm"
UDEV_RULE = (
    'echo \'KERNEL=="kvm", GROUP="kvm", MODE="0660"\' | sudo tee /etc/udev/rules.d/65-kvm.rules'
    " && sudo udevadm trigger --name-match=kvm"
)


@dataclass(frozen=True)
class Finding:
    """The result of a probe.

    state: runs; unknown (not probed yet, and nothing speaks against KVM); or what is wrong: missing, not_a_device,
    no_access, not_kvm, no_vm, qemu_fails, qemu_hangs, not_running, firmware_dies, no_life. reason: a clause; fix: what
    a person can do, or "". cpu: the -cpu that was tried last. log: the file with qemu's output, if it was kept.
    """

    state: str
    reason: str
    fix: str = ""
    cpu: str = TCG_CPU
    log: str = ""


def check_device(device: str, ioctl: Callable[[int, int, int], int] = fcntl.ioctl) -> Finding | None:
    """Why KVM cannot be used, as far as a few system calls tell, or None. Never answered from the cache."""
    try:
        found = os.stat(device)
    except OSError as error:
        there = "there is no" if isinstance(error, FileNotFoundError) else f"{error.strerror}:"
        return Finding("missing", f"{there} {device}", LOAD)
    if not stat.S_ISCHR(found.st_mode):
        fix = "remove it and run: sudo modprobe -r kvm && sudo modprobe kvm"
        return Finding("not_a_device", f"{device} is not a character device", fix)
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return _no_access(device, found)
    except OSError as error:
        return Finding("no_access", f"{device} cannot be opened ({error.strerror})", DMESG)
    try:
        return _ask_device(device, descriptor, ioctl)
    finally:
        os.close(descriptor)


def _ask_device(device: str, descriptor: int, ioctl: Callable[[int, int, int], int]) -> Finding | None:
    try:
        answer: object = ioctl(descriptor, KVM_GET_API_VERSION, 0)
    except OSError as error:
        answer = repr(error.strerror)
    if answer != API_VERSION:
        node = os.fstat(descriptor).st_rdev
        reason = (
            f"{device} is not KVM: device {os.major(node)}:{os.minor(node)} answers KVM_GET_API_VERSION with {answer}, "
            f"not {API_VERSION}"
        )
        fix = (
            f"something else is bound to {device}, as some containers do; give the lane the host's KVM node (device "
            "10:232)"
        )
        return Finding("not_kvm", reason, fix)
    try:
        os.close(ioctl(descriptor, KVM_CREATE_VM, 0))
    except OSError as error:
        reason = f"{device} opens, but KVM_CREATE_VM fails (errno {error.errno}, {error.strerror})"
        busy = error.errno == errno.EBUSY
        return Finding("no_vm", reason, "stop what else uses the processor's virtualization" if busy else DMESG)
    return None


def _no_access(device: str, found: os.stat_result) -> Finding:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    mode = stat.S_IMODE(found.st_mode)
    join = f"sudo usermod -aG kvm {user}, then log in again"
    fix = join if group == "kvm" and mode & 0o060 == 0o060 else f"{UDEV_RULE}; {join}"
    reason = f"user {user} may not read and write {device} (owner uid {found.st_uid}, group {group}, mode {mode:04o})"
    return Finding("no_access", reason, fix)


@dataclass(frozen=True)
class Probe:
    """What to boot, and how long to wait: limit for the firmware's first sign of life, start_limit for each of qemu's
    answers; both in seconds.

    folder: for qemu's files. log: a file for qemu's output where that may explain a failure. mark: the lane's.
    """

    qemu: str
    firmware: Pair
    folder: str
    log: str
    mark: str | None
    limit: float
    start_limit: float
    accelerator: str = "kvm"

    @property
    def name(self) -> str:
        return self.accelerator.upper()

    def boot(self, cpu: str) -> Finding:
        """Boot the firmware with this CPU model, and stop it again as soon as it is seen alive or dead.

        Where KVM cannot run it, it dies within 0.1 s: state internal-error, or shutdown when it resets the machine.
        Alive is the first change of the guest's clock, or a byte on the serial port.
        """
        arguments = [
            *("-machine", f"q35,accel={self.accelerator}", "-cpu", cpu, "-m", "128", "-nodefaults", "-vga", "std"),
            *("-display", "none", "-no-reboot", "-no-shutdown", "-serial", "file:{home}/serial.log"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={_value(self.firmware.code)}"),
            *("-drive", f"if=pflash,format=raw,snapshot=on,file={_value(self.firmware.vars)}"),
        ]
        qemu = ProbeQemu(self.qemu, arguments, self.folder, self.mark, self.start_limit)
        try:
            with qemu:
                state, reason = self._watch(qemu, cpu)
        except QmpError as error:
            state = "qemu_hangs" if isinstance(error, QmpTimeout) else "qemu_fails"
            reason = f"qemu with -cpu {cpu} {qemu.failure(error)} under {self.name} before the firmware ran"
        log = "" if state in BY_FIRMWARE else qemu.save_output(self.log, reason)
        return Finding(state, reason, cpu=cpu, log=log)

    def _watch(self, qemu: ProbeQemu, cpu: str) -> tuple[str, str]:
        """Watch the guest until it is alive or dead. Returns (state, reason)."""

        def status() -> str:
            return str(qemu.qmp.execute("query-status")["status"])

        event, end = None, time.monotonic() + self.limit
        while (now := status()) == "prelaunch" and time.monotonic() < end:
            time.sleep(POLL)
        if now == "running":
            event = qemu.qmp.event({"STOP", "SHUTDOWN", ALIVE}, max(0.0, end - time.monotonic()))
            now = status()
        how = f"under {self.name} with -cpu {cpu}"
        if now == "running":
            if event or Path(qemu.home, "serial.log").stat().st_size:
                return "runs", f"the firmware runs {how}: alive {qemu.seconds():.1f} s after its start"
            reason = f"the firmware shows no life {how}: no clock set and no serial output within {self.limit:g} s"
            return "no_life", reason
        output = [line for line in qemu.output().splitlines() if "internal error" in line or "failure" in line]
        said = f" ({one_line(', '.join(output[:2]), 120)})" if output else ""
        when = f"QMP says {now} {qemu.seconds():.2f} s after the start with -cpu {cpu}{said}"
        if now in DEAD:
            return "firmware_dies", f"the firmware dies under {self.name}: {when}"
        started = "never started the processor" if now == "prelaunch" else "does not keep the processor running"
        return "not_running", f"{self.name} {started}: {when}"

    def first_of(self, cpus: Sequence[str]) -> Finding:
        """The first CPU model that the firmware runs with, or why none does.

        The next model is tried only when qemu itself exits with one: qemu 7.2 on a newer kernel aborts over a feature
        that `max` has (seen), while a plain model starts. When the firmware dies, the model is not the reason.
        """
        failed = []
        for cpu in cpus:
            found = self.boot(cpu)
            if found.state != "qemu_fails":
                break
            failed.append(found.reason)
        if found.state == "runs":
            return found
        reasons = failed if found.state == "qemu_fails" else [found.reason, *failed]
        return replace(found, reason="; ".join(reasons), fix=HANG_FIX if found.state == "qemu_hangs" else FIX)


def _value(path: str) -> str:
    """A path inside a comma-separated option of qemu."""
    return path.replace(",", ",,")


def cache_key(device: str, qemu: str, firmware: Pair, cpus: Sequence[str]) -> str:
    """Changes with whatever the result depends on: kernel, processor, qemu, firmware, device node, user."""
    kernel, node = os.uname(), os.stat(device)
    owner = [node.st_ino, node.st_rdev, node.st_mode, node.st_uid, node.st_gid]
    user = [os.geteuid(), sorted(os.getgroups())]
    files = [cache.file_state(path) for path in (qemu, firmware.code, firmware.vars)]
    return cache.key(CACHE_VERSION, kernel.release, kernel.version, _processor(), user, cpus, files, device, owner)


def _processor() -> str:
    """The first processor of /proc/cpuinfo without the values that change while it runs."""
    first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    return "\n".join(line for line in first.splitlines() if not line.startswith(("cpu MHz", "bogomips")))


def read_cache(cache_dir: str, key: str) -> Finding | None:
    """The result that was kept for this key, or None."""
    found = cache.kept(cache_dir, "accel", key)
    return Finding(**found) if found else None


def write_cache(cache_dir: str, key: str, found: Finding) -> None:
    """Keep a result that stays true: only what the firmware did."""
    if found.state in BY_FIRMWARE:
        cache.keep(cache_dir, "accel", key, asdict(found))


def choose(policy: str, found: Finding | None) -> dict[str, Any]:
    """The lane's accelerator: {chosen, cpu, reason, policy, pending}. found is None when policy is never.

    Raises LaneError (host) when policy is require and KVM cannot be used.
    """
    chosen = {"chosen": "tcg", "cpu": TCG_CPU, "policy": policy, "pending": False}
    if found is None:
        return {**chosen, "reason": "kvm_probe_policy is never"}
    if found.state == "runs":
        return {**chosen, "chosen": "kvm", "cpu": found.cpu, "reason": found.reason}
    if found.state == "unknown":
        return {**chosen, "reason": found.reason, "pending": True}
    if policy == "require":
        problem = f"KVM is required (kvm_probe_policy=require), but {found.reason}"
        raise LaneError("kvm_unusable", "host", problem, found.fix, evidence=found.log or None)
    return {**chosen, "reason": one_line(f"{found.reason}; {found.fix}" if found.fix else found.reason)}
