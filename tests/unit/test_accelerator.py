"""The accelerator: why KVM cannot be used has a state of its own, and a real qemu shows whether the firmware lives or dies."""

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
NO_PAIR = firmware.Pair("/dev/null", "/dev/null", 0)
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


def checked(device: str, *ioctl: object) -> accelerator.Finding:
    found = accelerator.check_device(device, *ioctl)  # type: ignore[arg-type]
    assert found
    return found


def test_what_is_not_a_kvm_node(tmp_path: Path) -> None:
    (tmp_path / "kvm").write_text("")
    missing, plain, null = (checked(device) for device in ("/dev/no-such-kvm", str(tmp_path / "kvm"), "/dev/null"))
    assert (missing.state, plain.state, null.state) == ("missing", "not_a_device", "not_kvm")
    assert "modprobe kvm_intel" in missing.fix
    assert plain.reason == f"{tmp_path}/kvm is not a character device"
    assert (
        null.reason
        == "/dev/null is not KVM: device 1:3 answers KVM_GET_API_VERSION with 'Inappropriate ioctl for device'"
    )
    assert checked("/dev/null", lambda *_: 11).state == "not_kvm"


@needs_root
@pytest.mark.parametrize(("mode", "group", "rule"), [(0o600, "root", True), (0o660, "kvm", False)])
def test_a_node_that_may_not_be_opened_gets_a_udev_rule_only_where_the_group_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str, rule: bool
) -> None:
    device = folder / "kvm"
    os.mknod(device, stat.S_IFCHR | mode, os.makedev(10, 232))
    device.chmod(mode)
    os.chown(device, 0, 12345)
    monkeypatch.setattr(accelerator.grp, "getgrgid", lambda gid: type("Group", (), {"gr_name": group}))
    with nobody():
        found = checked(str(device))
    assert found.state == "no_access"
    assert found.reason == f"user nobody may not read and write {device} (owner uid 0, group {group}, mode {mode:04o})"
    assert (accelerator.UDEV_RULE in found.fix) == rule
    assert found.fix.endswith("sudo usermod -aG kvm nobody, then log in again")


@pytest.mark.parametrize(
    ("number", "advice"), [(16, "stop what else uses the processor's virtualization"), (12, "sudo dmesg | grep -i kvm")]
)
def test_a_vm_that_cannot_be_made(number: int, advice: str) -> None:
    def refuse(descriptor: int, request: int, argument: int) -> int:
        if request == accelerator.KVM_GET_API_VERSION:
            return 12
        raise OSError(number, os.strerror(number))

    found = checked("/dev/null", refuse)
    assert (found.state, found.fix) == ("no_vm", advice)
    assert f"KVM_CREATE_VM fails (errno {number}, {os.strerror(number)})" in found.reason


@pytest.mark.skipif(accelerator.check_device("/dev/kvm") is not None, reason="KVM cannot be opened here")
def test_a_vm_that_the_kernel_refuses() -> None:
    """A real refusal: no file descriptor is left for the new machine."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, before[1]))
    try:
        found = checked("/dev/kvm")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found.state == "no_vm"


def probe(
    folder: Path, qemu: str | None, pair: firmware.Pair, kind: str, limit: float = 60, start_limit: float = 60
) -> accelerator.Probe:
    assert qemu
    return accelerator.Probe(qemu, pair, str(folder), str(folder / "probe.log"), "99/t", limit, start_limit, kind)


@needs_qemu
def test_firmware_that_runs_is_seen_alive_and_nothing_is_left(tmp_path: Path) -> None:
    found = probe(tmp_path, QEMU, PAIR, "tcg").boot("max")
    assert (found.state, found.cpu, found.log) == ("runs", "max", "")
    assert list(tmp_path.iterdir()) == []


#: Code at the reset vector, 16 bytes below 4 GiB. Port 0xCF9 resets the machine: mov dx,0xcf9; mov al,6; out dx,al; jmp to itself.
RESET, HANG = bytes.fromhex("baf90cb006eef4ebfe"), bytes.fromhex("ebfe")


@needs_qemu
@pytest.mark.parametrize(("code", "state", "limit"), [(RESET, "firmware_dies", 60), (HANG, "no_life", 1.0)])
def test_firmware_that_resets_is_dead_and_one_that_hangs_shows_no_life(
    tmp_path: Path, code: bytes, state: str, limit: float
) -> None:
    path = tmp_path / "code"
    path.write_bytes(b"\0" * (3653632 - 16) + code.ljust(16, b"\0"))
    assert PAIR
    found = probe(tmp_path, QEMU, firmware.Pair(str(path), PAIR.vars, 4 << 20), "tcg", limit).boot("max")
    assert found.state == state


def fake_qemu(folder: Path, script: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def answering(folder: Path, *states: str) -> str:
    """A qemu whose guest has these states, one for each query; after the first one it sends the event STOP if there is another."""
    return fake_qemu(
        folder,
        f"""
for last; do case $last in socket,*) fd=${{last##*fd=}};; esac; done
echo 'KVM internal error. Suberror: 1' >&2; echo 'emulation failure' >&2
exec python3 -c '
import socket, sys, json
s = socket.socket(fileno=int(sys.argv[1])); f = s.makefile("rwb")
def say(v): f.write(json.dumps(v).encode() + b"\\r\\n"); f.flush()
say({{"QMP": {{"version": {{"qemu": {{"micro": 22, "minor": 2, "major": 7}}}}}}}})
states = sys.argv[2:]
for line in f:
    r = json.loads(line)
    if r["execute"] == "query-status":
        state = states.pop(0) if len(states) > 1 else states[0]
        say({{"return": {{"status": state, "running": state == "running"}}, "id": r["id"]}})
        if states[0] != state: say({{"event": "STOP"}})
    else: say({{"return": {{}}, "id": r["id"]}})
' "$fd" {" ".join(states)}
""",
    )


@pytest.mark.parametrize(
    ("states", "state", "words"),
    [
        (
            ("running", "internal-error"),
            "firmware_dies",
            "the firmware dies under KVM: QMP says internal-error ",
        ),  # as seen with qemu 7.2 under broken KVM
        (("prelaunch",), "not_running", "KVM never started the processor: QMP says prelaunch "),
        (
            ("prelaunch", "running", "guest-panicked"),
            "firmware_dies",
            "the firmware dies under KVM: QMP says guest-panicked ",
        ),
        (("running", "io-error"), "not_running", "KVM does not keep the processor running: QMP says io-error "),
    ],
)
def test_only_what_the_firmware_did_is_its_death_and_is_kept(
    tmp_path: Path, states: tuple[str, ...], state: str, words: str
) -> None:
    found = probe(
        tmp_path, answering(tmp_path, *states), NO_PAIR, "kvm", limit=1.0 if states == ("prelaunch",) else 60
    ).boot("qemu64")
    assert found.state == state
    assert found.reason.startswith(words)
    assert found.reason.endswith("with -cpu qemu64 (KVM internal error. Suberror: 1, emulation failure)")
    accelerator.write_cache(str(tmp_path), "key", found)
    assert (accelerator.read_cache(str(tmp_path), "key") is not None) == (state == "firmware_dies")
    assert bool(found.log) == (state != "firmware_dies")


def test_a_qemu_that_does_not_start_in_time_is_named_with_the_limit_and_its_output_is_kept(tmp_path: Path) -> None:
    qemu = fake_qemu(tmp_path, "echo 'qemu: still loading' >&2; exec sleep 50")
    found = probe(tmp_path, qemu, NO_PAIR, "kvm", start_limit=0.5).first_of(["max", "qemu64"])
    assert (found.state, found.log) == ("qemu_hangs", str(tmp_path / "probe.log"))
    assert (
        found.reason
        == "qemu with -cpu max did not answer within 0.5 s (still loading) under KVM before the firmware ran"
    )
    assert (tmp_path / "probe.log").read_text().count(
        "still loading"
    ) == 2  # no other model: qemu's output and the reason
    with pytest.raises(LaneError) as failed:
        accelerator.choose("require", found)
    assert (failed.value.code, failed.value.component, failed.value.evidence) == ("kvm_unusable", "host", found.log)


def test_the_next_cpu_model_is_tried_when_qemu_itself_fails(tmp_path: Path) -> None:
    qemu = fake_qemu(
        tmp_path,
        f'echo "$*" >>{tmp_path}/calls; echo "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69" >&2; kill -ABRT $$',
    )
    found = probe(tmp_path, qemu, NO_PAIR, "kvm").first_of(["max", "qemu64"])
    assert found.state == "qemu_fails"
    assert found.reason == "; ".join(
        f"qemu with -cpu {cpu} was killed by signal 6 (error: failed to set MSR 0x10a to 0x69) under KVM before the firmware ran"
        for cpu in ("max", "qemu64")
    )
    calls = (tmp_path / "calls").read_text()
    assert "q35,accel=kvm -cpu max" in calls
    assert "q35,accel=kvm -cpu qemu64" in calls


def test_the_policy_decides_what_a_finding_means() -> None:
    dead = accelerator.Finding("firmware_dies", "the firmware dies under KVM", "use another machine", "qemu64")
    assert accelerator.choose("auto", dead) == {
        "chosen": "tcg", "cpu": "max", "policy": "auto", "pending": False, "reason": "the firmware dies under KVM; use another machine"
    }  # fmt: skip
    with pytest.raises(LaneError) as failed:
        accelerator.choose("require", dead)
    assert (
        failed.value.cause
        == "KVM is required (kvm_probe_policy=require), but the firmware dies under KVM; use another machine"
    )
    alive = accelerator.choose("require", accelerator.Finding("runs", "it runs", cpu="qemu64"))
    assert (alive["chosen"], alive["cpu"]) == ("kvm", "qemu64")
    assert accelerator.choose("require", accelerator.Finding("unknown", "not yet"))["pending"]
    assert accelerator.choose("never", None)["chosen"] == "tcg"


def test_the_cache_keeps_a_result_until_something_that_it_depends_on_changes(tmp_path: Path) -> None:
    files = []
    for name in ("qemu", "code", "vars"):
        (tmp_path / name).write_text(name)
        files.append(str(tmp_path / name))
    pair = firmware.Pair(files[1], files[2], 0)
    alive, keys = accelerator.Finding("runs", "it runs"), []
    for path in (None, *files):
        if path:
            os.utime(path, ns=(1, 1))
        keys.append(accelerator.cache_key("/dev/null", files[0], pair, ["max"]))
    keys += [
        accelerator.cache_key("/dev/null", files[0], pair, ["max", "qemu64"]),
        accelerator.cache_key("/dev/zero", files[0], pair, ["max"]),
    ]
    assert len(set(keys)) == len(keys)
    assert accelerator.read_cache(str(tmp_path), keys[0]) is None
    accelerator.write_cache(str(tmp_path), keys[0], alive)
    assert accelerator.read_cache(str(tmp_path), keys[0]) == alive
    (tmp_path / "accel" / f"{keys[0]}.json").write_text('{"verdict": "of another version of the lane"}')
    assert accelerator.read_cache(str(tmp_path), keys[0]) is None
