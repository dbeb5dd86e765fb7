"""KVM and OVMF: why KVM cannot be used, whether the firmware lives under a real qemu, and which pair is taken."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.prepare import accelerator, firmware
from prepared import executable, fails

QEMU = command.find_program("qemu-system-x86_64") or ""
PAIR = firmware.find_pair()
NO_PAIR = firmware.Pair("/dev/null", "/dev/null")
needs_qemu = pytest.mark.skipif(not (QEMU and PAIR), reason="qemu or OVMF is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")


def test_what_is_not_a_kvm_node(tmp_path):
    (tmp_path / "kvm").write_text("")
    devices = ("/dev/no-such-kvm", str(tmp_path / "kvm"), "/dev/null")
    missing, plain, null = (accelerator.check_device(device) for device in devices)
    assert (missing.state, plain.state, null.state) == ("missing", "not_a_device", "not_kvm")
    assert "modprobe kvm_intel" in missing.fix
    assert plain.reason == f"{tmp_path}/kvm is not a character device"
    said = "device 1:3 answers KVM_GET_API_VERSION with 'Inappropriate ioctl for device', not 12"
    assert null.reason == f"/dev/null is not KVM: {said}"
    old = accelerator.check_device("/dev/null", lambda *_: 11)
    assert old.state == "not_kvm"
    assert old.reason.endswith("answers KVM_GET_API_VERSION with 11, not 12")


@needs_root
@pytest.mark.parametrize(("mode", "group", "rule"), [(0o600, "root", True), (0o660, "kvm", False)])
def test_a_node_that_may_not_be_opened_gets_a_udev_rule_only_where_the_group_is_wrong(monkeypatch, mode, group, rule):
    monkeypatch.setattr(accelerator.grp, "getgrgid", lambda gid: type("Group", (), {"gr_name": group}))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # other users can enter it
        device = f"{folder}/kvm"
        os.mknod(device, stat.S_IFCHR, os.makedev(10, 232))
        os.chmod(device, mode)
        os.chown(device, 0, 12345)
        os.seteuid(65534)
        try:
            found = accelerator.check_device(device)
        finally:
            os.seteuid(0)
    assert found.state == "no_access"
    assert found.reason == f"user nobody may not read and write {device} (owner uid 0, group {group}, mode {mode:04o})"
    assert (accelerator.UDEV_RULE in found.fix) == rule
    assert found.fix.endswith("sudo usermod -aG kvm nobody, then log in again")


@pytest.mark.parametrize(("number", "advice"), [(16, "stop what else uses"), (12, "sudo dmesg | grep -i kvm")])
def test_a_vm_that_cannot_be_made(number, advice):
    def refuse(descriptor: int, request: int, argument: int) -> int:
        if request == accelerator.KVM_GET_API_VERSION:
            return 12
        raise OSError(number, os.strerror(number))

    found = accelerator.check_device("/dev/null", refuse)
    assert found.state == "no_vm"
    assert found.fix.startswith(advice)
    assert f"KVM_CREATE_VM fails (errno {number}, {os.strerror(number)})" in found.reason


def probe(folder: Path, qemu: str, pair: firmware.Pair | None = None, **settings: Any) -> accelerator.Probe:
    """A probe under KVM, with files in the folder; without a firmware where qemu is none."""
    given = {"mark": "99/t", "limit": 60, "start_limit": 60, **settings}
    return accelerator.Probe(qemu, pair or NO_PAIR, str(folder), str(folder / "probe.log"), **given)


@needs_qemu
def test_firmware_that_runs_is_seen_alive_and_nothing_is_left(tmp_path):
    found = probe(tmp_path, QEMU, PAIR, accelerator="tcg").boot("max")
    assert (found.state, found.cpu, found.log) == ("runs", "max", "")
    assert list(tmp_path.iterdir()) == []


#: Code at the reset vector, 16 bytes below 4 GiB. Port 0xCF9 resets the machine: mov dx,0xcf9; mov al,6; out dx,al; jmp
#: to itself.
RESET, HANG = bytes.fromhex("baf90cb006eef4ebfe"), bytes.fromhex("ebfe")


@needs_qemu
@pytest.mark.parametrize(("code", "state", "limit"), [(RESET, "firmware_dies", 60), (HANG, "no_life", 1.0)])
def test_firmware_that_resets_or_hangs(tmp_path, code, state, limit):
    path = tmp_path / "code"
    path.write_bytes(b"\0" * (3653632 - 16) + code.ljust(16, b"\0"))
    pair = firmware.Pair(str(path), PAIR.vars)
    assert probe(tmp_path, QEMU, pair, accelerator="tcg", limit=limit).boot("max").state == state


def answering(folder: Path, *states: str) -> str:
    """A qemu whose guest has these states, one for each query, with the event STOP after the first of several."""
    return executable(
        folder / "qemu",
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
        (("running", "internal-error"), "firmware_dies", "the firmware dies under KVM"),  # as seen with qemu 7.2
        (("prelaunch",), "not_running", "KVM never started the processor"),
        (("prelaunch", "running", "guest-panicked"), "firmware_dies", "the firmware dies under KVM"),
        (("running", "io-error"), "not_running", "KVM does not keep the processor running"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_only_the_firmwares_own_death_is_kept(tmp_path, states, state, words):
    limit = 1.0 if states == ("prelaunch",) else 60
    found = probe(tmp_path, answering(tmp_path, *states), limit=limit).boot("qemu64")
    assert found.state == state
    assert found.reason.startswith(f"{words}: QMP says {states[-1]} ")
    assert found.reason.endswith("with -cpu qemu64 (KVM internal error. Suberror: 1, emulation failure)")
    accelerator.write_cache(str(tmp_path), "key", found)
    assert (accelerator.read_cache(str(tmp_path), "key") is not None) == (state == "firmware_dies")
    assert bool(found.log) == (state != "firmware_dies")


def test_a_qemu_that_does_not_start_in_time_is_named_with_the_limit_and_its_output_is_kept(tmp_path):
    qemu = executable(tmp_path / "qemu", "echo 'qemu: still loading' >&2; exec sleep 50")
    found = probe(tmp_path, qemu, start_limit=0.5).first_of(["max", "qemu64"])
    assert (found.state, found.log) == ("qemu_hangs", str(tmp_path / "probe.log"))
    said = "qemu with -cpu max did not answer within 0.5 s (still loading) under KVM before the firmware ran"
    assert found.reason == said
    log = (tmp_path / "probe.log").read_text()
    assert log.count("still loading") == 2  # no other model: qemu's output and the reason
    with fails("kvm_unusable", "host") as failed:
        accelerator.choose("require", found)
    assert failed.value.evidence == found.log


def test_the_next_cpu_model_is_tried_when_qemu_itself_fails(tmp_path):
    said = "error: failed to set MSR 0x10a to 0x69"
    qemu = executable(tmp_path / "qemu", f'echo "$*" >>{tmp_path}/calls; echo "qemu: {said}" >&2; kill -ABRT $$')
    found = probe(tmp_path, qemu).first_of(["max", "qemu64"])
    how = f"was killed by signal 6 ({said}) under KVM before the firmware ran"
    assert found.state == "qemu_fails"
    assert found.reason == f"qemu with -cpu max {how}; qemu with -cpu qemu64 {how}"
    calls = (tmp_path / "calls").read_text()
    assert "q35,accel=kvm -cpu max" in calls
    assert "q35,accel=kvm -cpu qemu64" in calls


def test_the_policy_decides_what_a_finding_means():
    why, fix = "the firmware dies under KVM", "use another machine"
    dead = accelerator.Finding("firmware_dies", why, fix, "qemu64")
    tcg = {"chosen": "tcg", "cpu": "max", "policy": "auto", "pending": False}
    assert accelerator.choose("auto", dead) == {**tcg, "reason": f"{why}; {fix}"}
    with fails("kvm_unusable", "host", f"KVM is required (kvm_probe_policy=require), but {why}") as failed:
        accelerator.choose("require", dead)
    assert failed.value.fix == fix
    alive = accelerator.choose("require", accelerator.Finding("runs", "it runs", cpu="qemu64"))
    assert (alive["chosen"], alive["cpu"]) == ("kvm", "qemu64")
    assert accelerator.choose("require", accelerator.Finding("unknown", "not yet"))["pending"]
    assert accelerator.choose("never", None)["chosen"] == "tcg"


def test_the_cache_keeps_a_result_until_something_that_it_depends_on_changes(tmp_path):
    files = [tmp_path / name for name in ("qemu", "code", "vars")]
    qemu, code, variables = map(str, files)

    def key(device: str = "/dev/null", *more: str) -> str:
        return accelerator.cache_key(device, qemu, firmware.Pair(code, variables), ["max", *more])

    for path in files:
        path.write_text("")
    keys = [key(), key("/dev/null", "qemu64"), key("/dev/zero")]
    for path in files:
        os.utime(path, ns=(1, 1))
        keys.append(key())
    assert len(set(keys)) == 6
    alive = accelerator.Finding("runs", "it runs")
    assert accelerator.read_cache(str(tmp_path), keys[0]) is None
    accelerator.write_cache(str(tmp_path), keys[0], alive)
    assert accelerator.read_cache(str(tmp_path), keys[0]) == alive


# --- OVMF's pair: found, preferred, and refused when the two do not belong together ---------------

SIZES = {"C4": 3653632, "V4": 540672, "C2": 1966080, "V2": 131072}


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[str, str]]:
    """Both families, as large as Debian 12's."""
    for name, size in SIZES.items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    return [(str(tmp_path / "C4"), str(tmp_path / "V4")), (str(tmp_path / "C2"), str(tmp_path / "V2"))]


def test_the_larger_family_is_preferred_and_the_smaller_one_taken(pairs):
    assert firmware.find_pair(pairs) == firmware.Pair(*pairs[0])
    Path(pairs[0][0]).unlink()
    assert firmware.find_pair(pairs) == firmware.Pair(*pairs[1])
    Path(pairs[1][0]).unlink()
    assert firmware.find_pair(pairs) is None


def test_a_pair_that_does_not_belong_together_is_refused(pairs):
    code, variables = pairs[0]
    with fails("firmware_mismatch", "firmware", "they have 3653632 and 131072 bytes"):
        firmware.find_pair([(code, pairs[1][1])])
    os.truncate(code, 1 << 20)
    with fails("firmware_mismatch", "firmware", "they have 1048576 and 540672 bytes"):
        firmware.find_pair([(code, variables)])


def test_what_cannot_be_read_is_refused(pairs):
    code, variables = pairs[0]
    firmware.check_code(code)
    os.unlink(variables)
    with fails("firmware_unreadable", "firmware", "V4 cannot be read: No such file or directory"):
        firmware.find_pair(pairs)
    os.unlink(code)
    with fails("firmware_unreadable", "firmware", "C4 cannot be read: No such file or directory"):
        firmware.check_code(code)
