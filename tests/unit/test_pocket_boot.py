"""Boots the built-in guest under qemu (TCG). What it does with keys, the clipboard and sizes is in the suites input and
agent, which tests/playbooks/test_suites.py plays.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core.proc_stat import processor_seconds
from ansible.module_utils.lane.prepare import firmware
from ansible.module_utils.lane.prepare.probe_qemu import ProbeQemu

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[2] / "fixtures"
GUEST = yaml.safe_load((FIXTURES / "guests.yml").read_text())["guests"]["pocket"]
START = "pocket-sextant 1.0: starting\n"
BOOT_LIMIT = 90

DEVICE = "-device virtio-serial-pci"
CHARDEV = "-chardev spicevmc,id=vdagent,name=vdagent"
PORT = "-device virtserialport,chardev=vdagent,name=com.redhat.spice.0"
SCREEN = "-vga std"
BRIDGE = "-device pcie-root-port,id=bridge -device virtio-serial-pci,bus=bridge,disable-legacy=off"
OTHER = "-chardev null,id=other -device virtserialport,chardev=other,name=other"
NO_DEVICE = "agent: no virtio-serial device, so no agent"
NO_PORT = "agent: the virtio-serial device has no port com.redhat.spice.0, so no agent"
MODERN = "agent: FAILED, the virtio-serial device has no legacy interface; give it disable-legacy=off"
SECOND = "agent: FAILED, com.redhat.spice.0 is port 2, expected port 1; put it first"
NO_SCREEN = ["screen: FAILED, NoGraphics", "pocket-sextant 1.0: not ready, there is no screen"]
READY, SHOWN, OPEN = GUEST["banner"], "screen: 1280x800", "agent: port open"
BOOTS: dict[str, tuple[str, list[str]]] = {
    "a modern device": (f"{SCREEN} {DEVICE},disable-legacy=on {CHARDEV} {PORT}", [SHOWN, MODERN, READY]),
    "a second port": (f"{SCREEN} {DEVICE} {OTHER} {CHARDEV} {PORT}", [SHOWN, SECOND, READY]),
    "behind a bridge": (f"{SCREEN} {BRIDGE} {CHARDEV} {PORT}", [SHOWN, OPEN, READY]),
    "no port and no screen": (f"-vga none {DEVICE}", [NO_SCREEN[0], NO_PORT, NO_SCREEN[1]]),
}


class Machine(ProbeQemu):
    """A qemu that boots the guest. options: more of qemu's."""

    def __init__(self, folder: Path, options: str) -> None:
        arguments = f"""
            -machine q35,accel=tcg -cpu max -m 256 -nodefaults -display none -no-reboot
            -drive if=pflash,format=raw,readonly=on,file={firmware.find_pair().code}
            -drive if=none,id=disk,format=qcow2,snapshot=on,file={FIXTURES / GUEST["image"]}
            -device virtio-blk-pci,drive=disk,bootindex=0 -serial file:{{home}}/serial.log {options}
        """
        super().__init__("qemu-system-x86_64", arguments.split(), str(folder), None, BOOT_LIMIT)

    def until(self, done: Callable[[], bool], what: str, limit: float = 10.0) -> None:
        end = time.monotonic() + limit
        while not done():
            assert self.process.poll() is None, f"qemu ended with {self.process.returncode} before {what}"
            assert time.monotonic() < end, f"no {what} within {limit} s; the serial log: {self.serial()[-600:]!r}"
            time.sleep(0.02)

    def serial(self) -> str:
        return Path(self.home, "serial.log").read_text(encoding="latin-1").replace("\r\n", "\n")

    def account(self) -> list[str]:
        """The program's lines, once it has started."""
        self.until(lambda: "ready" in self.serial().partition(START)[2], "end of the program's start", BOOT_LIMIT)
        return self.serial().partition(START)[2].splitlines()

    def stopwatch(self, line: str) -> None:
        """Press F7, and wait for the whole line of its answer."""
        self.qmp.execute("send-key", {"keys": [{"type": "qcode", "data": "f7"}], "hold-time": 20})
        self.until(lambda: f"\n{line}\n" in self.serial(), f"line {line!r}")

    def picture(self) -> bytes:
        """The screen as a PPM."""
        file = Path(self.home, "screen.ppm")
        self.qmp.execute("screendump", {"filename": str(file)})
        return file.read_bytes()


@pytest.mark.parametrize(("options", "account"), BOOTS.values(), ids=BOOTS)
def test_what_is_missing_is_said_on_the_serial_port(tmp_path, options, account):
    with Machine(tmp_path, options) as machine:
        assert machine.account() == account
        if "spicevmc" in options:
            [port] = [entry for entry in machine.qmp.execute("query-chardev") if entry["label"] == "vdagent"]
            assert port["frontend-open"] == (OPEN in account)


def test_the_watch_changes_the_picture_and_an_idle_guest_leaves_the_processor_alone(tmp_path):
    with Machine(tmp_path, SCREEN) as machine:
        assert machine.account() == [SHOWN, NO_DEVICE, READY]
        first = machine.picture()
        machine.stopwatch("watch: running")
        machine.until(lambda: machine.picture() != first, "another picture")
        machine.stopwatch("watch: stopped")
        assert machine.picture() == first
        before = processor_seconds(machine.process.pid)
        time.sleep(2)
        used = processor_seconds(machine.process.pid) - before
        assert used < 1, "a guest that polls without a rest takes 2 s of 2"
