"""Which accelerator can really run the lane's firmware, and why.

First what the system says of the device node (KVM API: Documentation/virt/kvm/api.rst, linux/kvm.h), which takes no process. Then the
proof: the lane's own firmware runs under KVM for a moment and qemu is asked for its state. A node that opens proves nothing (facts/qemu.md 4,
docs/accelerator.md).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import json
import os
import pwd
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.errors import legacy_error, one_line
from ..core.private_dir import write_private
from ..protocols.qmp import Qmp, QmpClosed, QmpError
from .firmware import Pair
from .probe_qemu import Trial

KVM_GET_API_VERSION = 0xAE00  # _IO(KVMIO, 0x00)
KVM_CREATE_VM = 0xAE01  # _IO(KVMIO, 0x01)
API_VERSION = 12  # the only one since Linux 2.6.22
TCG_CPU = "max"
CACHE_VERSION = 1
#: A guest that gets so far has run the firmware's first phases: its clock driver sets the clock (seen 2.6 s after the start under TCG).
ALIVE = "RTC_CHANGE"
UDEV_RULE = 'echo \'KERNEL=="kvm", GROUP="kvm", MODE="0660"\' | sudo tee /etc/udev/rules.d/65-kvm.rules && sudo udevadm trigger --name-match=kvm'


@dataclass(frozen=True)
class Finding:
    """What was found out about KVM.

    state: runs, unknown (nothing against it, but nothing to try it with yet), or what is wrong: missing, not_a_device, no_access, not_kvm,
    no_vm, qemu_ends, firmware_dies, no_life. reason: a clause; fix: what a person can do, or "". cpu: qemu's -cpu that was tried last.
    """

    state: str
    reason: str
    fix: str = ""
    cpu: str = TCG_CPU


def check_device(device: str, ioctl: Callable[[int, int, int], int] = fcntl.ioctl) -> Finding | None:
    """What speaks against KVM without starting anything, or None. Costs three system calls, so it is never answered from a cache."""
    try:
        found = os.stat(device)
    except OSError as error:
        there = "there is no" if isinstance(error, FileNotFoundError) else f"{error.strerror}:"
        fix = "load the kernel module (sudo modprobe kvm_intel, or kvm_amd), or switch virtualisation on in the BIOS or the outer hypervisor"
        return Finding("missing", f"{there} {device}", fix)
    if not stat.S_ISCHR(found.st_mode):
        return Finding(
            "not_a_device", f"{device} is a {_kind(found.st_mode)}, not a character device", "remove it and run: sudo modprobe -r kvm && sudo modprobe kvm"
        )
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return _no_access(device, found)
    except OSError as error:
        return Finding("no_access", f"{device} cannot be opened ({error.strerror})", "sudo dmesg | grep -i kvm")
    try:
        return _ask_device(device, descriptor, found, ioctl)
    finally:
        os.close(descriptor)


def _ask_device(device: str, descriptor: int, found: os.stat_result, ioctl: Callable[[int, int, int], int]) -> Finding | None:
    numbers = f"device {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    fix = f"something else is bound to {device}, as some containers do; give the lane the host's KVM node (device 10:232)"
    try:
        version = ioctl(descriptor, KVM_GET_API_VERSION, 0)
    except OSError as error:
        return Finding("not_kvm", f"{device} is not KVM: {numbers} answers KVM_GET_API_VERSION with {error.strerror!r}", fix)
    if version != API_VERSION:
        return Finding("not_kvm", f"{device} ({numbers}) answers KVM_GET_API_VERSION with {version}, not {API_VERSION}", fix)
    try:
        os.close(ioctl(descriptor, KVM_CREATE_VM, 0))
    except OSError as error:
        name = f"errno {error.errno}, {error.strerror}"
        fix = "end what else uses the processor's virtualisation" if error.errno == errno.EBUSY else "sudo dmesg | grep -i kvm"
        return Finding("no_vm", f"{device} opens, but KVM_CREATE_VM fails ({name})", fix)
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
    return Finding("no_access", f"user {user} may not read and write {device} (owner uid {found.st_uid}, group {group}, mode {mode:04o})", fix)


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "directory"), (stat.S_ISREG, "plain file"), (stat.S_ISBLK, "block device"), (stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "pipe"))
    return next((name for test, name in kinds if test(mode)), "something else")


def boot(qemu: str, firmware: Pair, cpu: str, accelerator: str, folder: str, mark: str | None, limit: float) -> Finding:
    """Run the firmware for a moment, at most `limit` seconds, and say how it got on. Nothing of it is left.

    Dying takes it 0.1 s where KVM cannot run it: status internal-error, or shutdown when it resets the machine. Living shows at the first change of the
    guest's clock, or a byte on the serial port.
    """
    arguments = [
        *("-machine", f"q35,accel={accelerator}", "-cpu", cpu, "-m", "128", "-nodefaults", "-vga", "std", "-display", "none", "-no-reboot", "-no-shutdown"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={_value(firmware.code)}"),
        *("-drive", f"if=pflash,format=raw,snapshot=on,file={_value(firmware.vars)}"),
        *("-serial", "file:{home}/serial.log"),
    ]
    trial = Trial(qemu, arguments, folder, mark)
    name = accelerator.upper()
    try:
        with trial:
            return _watch(trial, trial.qmp, name, cpu, limit)
    except QmpClosed:
        return Finding("qemu_ends", f"qemu with -cpu {cpu} {trial.ended()} under {name} before the firmware ran", cpu=cpu)
    except QmpError as error:
        return Finding("no_life", f"qemu with -cpu {cpu} does not answer under {name}: {error.got}", cpu=cpu)


def _watch(trial: Trial, qmp: Qmp, name: str, cpu: str, limit: float) -> Finding:
    event = None
    status = qmp.execute("query-status")["status"]
    if status == "running":
        event = qmp.event({"STOP", "SHUTDOWN", ALIVE}, limit - trial.seconds())
        status = qmp.execute("query-status")["status"]
    if status == "running":
        if event or Path(trial.home, "serial.log").stat().st_size:
            return Finding("runs", f"the firmware runs under {name} with -cpu {cpu}: alive {trial.seconds():.1f} s after its start", cpu=cpu)
        return Finding("no_life", f"the firmware shows no life under {name} with -cpu {cpu}: no clock set and no serial byte within {limit:g} s", cpu=cpu)
    words = [line for line in trial.words().splitlines() if "internal error" in line or "failure" in line]
    said = f" ({one_line(', '.join(words[:2]), 120)})" if words else ""
    return Finding("firmware_dies", f"firmware dies under {name}: QMP says {status} {trial.seconds():.2f} s after the start with -cpu {cpu}{said}", cpu=cpu)


def _value(path: str) -> str:
    """A path inside a comma-separated option of qemu."""
    return path.replace(",", ",,")


def try_cpus(qemu: str, firmware: Pair, cpus: Sequence[str], folder: str, mark: str | None, limit: float, accelerator: str = "kvm") -> Finding:
    """The first CPU model that the firmware runs with, or why none does.

    The next model is tried only when qemu itself ends with one: qemu 7.2 on a newer kernel aborts over a feature that `max` carries (seen),
    while a plain model starts. When the firmware dies it is not the model.
    """
    ended = []
    for cpu in cpus:
        found = boot(qemu, firmware, cpu, accelerator, folder, mark, limit)
        if found.state != "qemu_ends":
            break
        ended.append(found.reason)
    if found.state == "runs":
        return found
    reasons = ended if found.state == "qemu_ends" else [found.reason, *ended]
    return Finding(found.state, "; ".join(reasons), "use a machine whose KVM can run UEFI guests (nested virtualisation often cannot)", found.cpu)


def cache_key(device: str, qemu: str, firmware: Pair, cpus: Sequence[str]) -> str:
    """Changes with whatever the answer depends on: kernel, processor, qemu, firmware, device node, user."""
    parts: list[Any] = [CACHE_VERSION, os.uname().release, os.uname().version, _processor(), os.geteuid(), sorted(os.getgroups()), list(cpus)]
    for path in (qemu, firmware.code, firmware.vars):
        found = os.stat(path)
        parts.append([os.path.realpath(path), found.st_size, found.st_mtime_ns])
    found = os.stat(device)
    parts.append([device, found.st_ino, found.st_rdev, found.st_mode, found.st_uid, found.st_gid])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _processor() -> str:
    """The first processor of /proc/cpuinfo without what changes from moment to moment."""
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        return "\n".join(line for line in first.splitlines() if not line.startswith(("cpu MHz", "bogomips")))
    return ""


def read_cache(cache_dir: str, key: str) -> Finding | None:
    """An earlier answer for this key, or None; a file that cannot be read counts as none."""
    try:
        return Finding(**json.loads(_cache_file(cache_dir, key).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_cache(cache_dir: str, key: str, found: Finding) -> None:
    """Keep an answer that stays true; others of earlier kernels, qemus or firmwares are dropped. A transient failure is not kept."""
    if found.state not in ("runs", "firmware_dies"):
        return
    path = _cache_file(cache_dir, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, json.dumps(asdict(found), indent=1).encode())
    for other in path.parent.glob("*.json"):
        if other != path:
            other.unlink(missing_ok=True)


def _cache_file(cache_dir: str, key: str) -> Path:
    return Path(cache_dir, "accel", f"{key}.json")


def choose(policy: str, found: Finding | None) -> dict[str, Any]:
    """What the lane goes on with: {chosen, cpu, reason, policy, pending}. found is None when policy is never.

    Raises LaneError (component host) when policy is require and KVM cannot be had.
    """
    chosen = {"chosen": "tcg", "cpu": TCG_CPU, "policy": policy, "pending": False}
    if found is None:
        return {**chosen, "reason": "kvm_probe_policy is never"}
    if found.state == "runs":
        return {**chosen, "chosen": "kvm", "cpu": found.cpu, "reason": found.reason}
    if found.state == "unknown":
        return {**chosen, "reason": found.reason, "pending": True}
    reason = f"{found.reason}; {found.fix}" if found.fix else found.reason
    if policy == "require":
        raise legacy_error("host", "KVM that runs the lane's firmware (kvm_probe_policy=require)", reason, "docs/accelerator.md")
    return {**chosen, "reason": one_line(reason)}
