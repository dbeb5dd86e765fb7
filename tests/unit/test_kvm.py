"""The accelerator: each way in which KVM cannot be had has its own sentence; the firmware's life and death are told from a real qemu."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import accelerator, firmware

QEMU = command.find_program("qemu-system-x86_64")
PAIR = firmware.find_pair()
needs_qemu = pytest.mark.skipif(not (QEMU and PAIR), reason="qemu or OVMF is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter."""
    path = Path(tempfile.mkdtemp(prefix="kvm-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be an ordinary user for a moment."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def node(path: Path, minor: int, mode: int) -> str:
    """A character device 10:minor (misc), or 1:3 (null) for minor 3."""
    os.mknod(path, stat.S_IFCHR | mode, os.makedev(1 if minor == 3 else 10, minor))
    path.chmod(mode)
    return str(path)


def test_a_missing_node() -> None:
    found = accelerator.check_device("/dev/no-such-kvm")
    assert found
    assert (found.state, found.reason) == ("missing", "there is no /dev/no-such-kvm")
    assert "modprobe kvm_intel" in found.fix


def test_a_node_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("")
    found = accelerator.check_device(str(tmp_path / "kvm"))
    assert found
    assert (found.state, found.reason) == ("not_a_device", f"{tmp_path}/kvm is a plain file, not a character device")


@needs_root
def test_a_node_that_one_may_not_open_names_the_udev_rule_and_the_group(folder: Path) -> None:
    device = node(folder / "kvm", 232, 0o600)
    with nobody():
        found = accelerator.check_device(device)
    assert found
    assert found.state == "no_access"
    assert found.reason == f"user nobody may not read and write {device} (owner uid 0, group root, mode 0600)"
    assert """echo 'KERNEL=="kvm", GROUP="kvm", MODE="0660"' | sudo tee /etc/udev/rules.d/65-kvm.rules""" in found.fix
    assert "sudo usermod -aG kvm nobody" in found.fix


@needs_root
def test_where_the_group_is_right_only_joining_it_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = node(folder / "kvm", 232, 0o660)
    os.chown(device, 0, 12345)
    monkeypatch.setattr(accelerator.grp, "getgrgid", lambda gid: type("Group", (), {"gr_name": "kvm"}))
    with nobody():
        found = accelerator.check_device(device)
    assert found
    assert found.fix == "sudo usermod -aG kvm nobody, then log in again"


def test_dev_null_in_its_place_is_named() -> None:
    found = accelerator.check_device("/dev/null")
    assert found
    assert found.state == "not_kvm"
    assert found.reason == "/dev/null is not KVM: device 1:3 answers KVM_GET_API_VERSION with 'Inappropriate ioctl for device'"
    assert "something else is bound to /dev/null" in found.fix


def test_another_api_version() -> None:
    found = accelerator.check_device("/dev/null", lambda *_: 11)
    assert found
    assert (found.state, found.reason) == ("not_kvm", "/dev/null (device 1:3) answers KVM_GET_API_VERSION with 11, not 12")


def test_a_vm_that_cannot_be_made_because_something_else_holds_the_processor() -> None:
    def busy(descriptor: int, request: int, argument: int) -> int:
        if request == accelerator.KVM_GET_API_VERSION:
            return 12
        raise OSError(16, "Device or resource busy")

    found = accelerator.check_device("/dev/null", busy)
    assert found
    assert found.reason == "/dev/null opens, but KVM_CREATE_VM fails (errno 16, Device or resource busy)"
    assert found.fix == "end what else uses the processor's virtualisation"


@pytest.mark.skipif(accelerator.check_device("/dev/kvm") is not None, reason="KVM cannot be opened here")
def test_a_vm_that_the_kernel_refuses() -> None:
    """A real refusal: no file descriptor is left for the new machine."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, before[1]))
    try:
        found = accelerator.check_device("/dev/kvm")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found
    assert (found.state, found.reason) == ("no_vm", "/dev/kvm opens, but KVM_CREATE_VM fails (errno 24, Too many open files)")


@needs_qemu
def test_firmware_that_runs_is_told_by_its_life(tmp_path: Path) -> None:
    found = accelerator.boot(QEMU, PAIR, "max", "tcg", str(tmp_path), "99/t", 60)
    assert found.state == "runs"
    assert found.reason.startswith("the firmware runs under TCG with -cpu max: alive ")
    assert list(tmp_path.iterdir()) == []


@needs_qemu
def test_firmware_that_resets_is_dead(tmp_path: Path) -> None:
    code = tmp_path / "code"
    # At the reset vector, 16 bytes below 4 GiB: mov dx,0xcf9; mov al,6; out dx,al; jmp to itself. Port 0xCF9 resets the machine.
    code.write_bytes(b"\0" * (3653632 - 16) + bytes.fromhex("baf90cb006eef4ebfe") + b"\0" * 7)
    found = accelerator.boot(QEMU, firmware.Pair(str(code), PAIR.vars, 4 << 20), "max", "tcg", str(tmp_path), None, 20)
    assert found.state == "firmware_dies"
    assert found.reason.startswith("firmware dies under TCG: QMP says shutdown ")


@needs_qemu
def test_firmware_that_hangs_shows_no_life(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.write_bytes(b"\0" * (3653632 - 16) + bytes.fromhex("ebfe") + b"\0" * 14)  # jmp to itself
    found = accelerator.boot(QEMU, firmware.Pair(str(code), PAIR.vars, 4 << 20), "max", "tcg", str(tmp_path), None, 1.0)
    assert found.state == "no_life"
    assert found.reason == "the firmware shows no life under TCG with -cpu max: no clock set and no serial byte within 1 s"


def fake_qemu(tmp_path: Path, script: str) -> str:
    """A program in qemu's place; its last words of the command line name the QMP descriptor."""
    path = tmp_path / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_next_cpu_model_is_tried_when_qemu_itself_ends(tmp_path: Path) -> None:
    pair = firmware.Pair("/dev/null", "/dev/null", 0)
    qemu = fake_qemu(tmp_path, f'echo "$*" >>{tmp_path}/calls; echo "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69" >&2; kill -ABRT $$')
    found = accelerator.try_cpus(qemu, pair, ["max", "qemu64"], str(tmp_path), None, 1)
    assert found.state == "qemu_ends"
    assert found.reason == "; ".join(
        f"qemu with -cpu {cpu} was ended by signal 6 (error: failed to set MSR 0x10a to 0x69) under KVM before the firmware ran" for cpu in ("max", "qemu64")
    )
    calls = (tmp_path / "calls").read_text()
    assert "q35,accel=kvm -cpu max" in calls
    assert "q35,accel=kvm -cpu qemu64" in calls


def test_internal_error_means_that_the_firmware_dies(tmp_path: Path) -> None:
    """The answers of qemu 7.2 on a machine whose KVM dies in the firmware, as recorded."""
    script = r"""
for last; do case $last in socket,*) fd=${last##*fd=};; esac; done
echo 'KVM internal error. Suberror: 1' >&2; echo 'emulation failure' >&2
exec python3 -c '
import socket, sys, json
s = socket.socket(fileno=int(sys.argv[1])); f = s.makefile("rwb")
def say(v): f.write(json.dumps(v).encode() + b"\r\n"); f.flush()
say({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}}})
asked = 0
for line in f:
    r = json.loads(line)
    if r["execute"] == "query-status":
        asked += 1
        say({"return": {"status": "running" if asked == 1 else "internal-error", "running": asked == 1}, "id": r["id"]})
        if asked == 1: say({"event": "STOP"})
    else: say({"return": {}, "id": r["id"]})
' "$fd"
"""
    found = accelerator.boot(fake_qemu(tmp_path, script), firmware.Pair("/dev/null", "/dev/null", 0), "qemu64", "kvm", str(tmp_path), None, 2)
    assert found.state == "firmware_dies"
    assert found.reason.startswith("firmware dies under KVM: QMP says internal-error ")
    assert found.reason.endswith("with -cpu qemu64 (KVM internal error. Suberror: 1, emulation failure)")


def test_the_policy_decides_what_a_finding_means() -> None:
    dead = accelerator.Finding("firmware_dies", "firmware dies under KVM", "use another machine", "qemu64")
    assert accelerator.choose("auto", dead) == {
        "chosen": "tcg", "cpu": "max", "policy": "auto", "pending": False, "reason": "firmware dies under KVM; use another machine"
    }  # fmt: skip
    with pytest.raises(
        LaneError, match=r"^host: expected KVM that runs the lane's firmware \(kvm_probe_policy=require\), but firmware dies under KVM; use another"
    ):
        accelerator.choose("require", dead)
    alive = accelerator.choose("require", accelerator.Finding("runs", "it runs", cpu="qemu64"))
    assert (alive["chosen"], alive["cpu"]) == ("kvm", "qemu64")
    assert accelerator.choose("require", accelerator.Finding("unknown", "not yet"))["pending"]
    assert accelerator.choose("never", None)["chosen"] == "tcg"


def test_the_cache_keeps_what_stays_true_and_forgets_the_rest(tmp_path: Path) -> None:
    files = []
    for name in ("qemu", "code", "vars"):
        (tmp_path / name).write_text(name)
        files.append(str(tmp_path / name))
    pair = firmware.Pair(files[1], files[2], 0)
    key = accelerator.cache_key("/dev/null", files[0], pair, ["max"])
    assert accelerator.read_cache(str(tmp_path), key) is None
    alive = accelerator.Finding("runs", "it runs")
    accelerator.write_cache(str(tmp_path), key, alive)
    assert accelerator.read_cache(str(tmp_path), key) == alive
    for path in files:
        os.utime(path, ns=(1, 1))
        changed = accelerator.cache_key("/dev/null", files[0], pair, ["max"])
        assert changed != key
        key = changed
    assert accelerator.cache_key("/dev/null", files[0], pair, ["max", "qemu64"]) != key
    assert accelerator.cache_key("/dev/zero", files[0], pair, ["max"]) != key
    accelerator.write_cache(str(tmp_path), key, accelerator.Finding("no_life", "slow just now"))
    assert accelerator.read_cache(str(tmp_path), key) is None
    accelerator.write_cache(str(tmp_path), key, alive)
    assert [path.stem for path in (tmp_path / "accel").iterdir()] == [key]
    (tmp_path / "accel" / f"{key}.json").write_text('{"state": "runs"')
    assert accelerator.read_cache(str(tmp_path), key) is None
