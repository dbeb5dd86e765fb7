"""Boots the built-in guest under qemu (TCG). What it does with keys, the clipboard and sizes is in the suites input and
agent, which tests/playbooks/test_suites.py plays.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.lane.core.proc_stat import processor_seconds
from ansible.module_utils.lane.prepare import firmware
from ansible.module_utils.lane.protocols.qmp import Qmp

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[2] / "fixtures"
GUEST = yaml.safe_load((FIXTURES / "guests.yml").read_text())["guests"]["pocket"]
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


class Machine:
    """One qemu that has booted the guest; everything it writes is in `folder`. options: more of qemu's."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder = folder
        self.serial_log = folder / "serial.log"
        image = shutil.copyfile(FIXTURES / GUEST["image"], folder / "pocket.qcow2")
        pair = firmware.find_pair()
        command = f"""
            qemu-system-x86_64 -machine q35,accel=tcg -cpu max -m 256 -nodefaults -display none -no-reboot
            -drive if=pflash,format=raw,readonly=on,file={pair.code}
            -drive if=none,id=disk,format=qcow2,snapshot=on,file={image}
            -device virtio-blk-pci,drive=disk,bootindex=0
            -serial file:{self.serial_log} -qmp unix:{folder}/qmp,server=on,wait=off {options}
        """
        self.process = subprocess.Popen(command.split())
        self.qmp: Qmp | None = None
        try:
            self.until(lambda: "pocket-sextant 1.0: starting\n" in self.serial(), "start of the program", BOOT_LIMIT)
            self.until(lambda: "ready" in self.serial(), "end of the program's start", BOOT_LIMIT)
            self.qmp = Qmp.connect(f"{folder}/qmp")
        except BaseException:
            self.close()
            raise

    def until(self, done: Callable[[], bool], what: str, limit: float = 10.0) -> None:
        end = time.monotonic() + limit
        while not done():
            assert self.process.poll() is None, f"qemu ended with {self.process.returncode} before {what}"
            assert time.monotonic() < end, f"no {what} within {limit} s; the serial log: {self.serial()[-600:]!r}"
            time.sleep(0.02)

    def serial(self) -> str:
        return self.serial_log.read_text(encoding="latin-1").replace("\r\n", "\n") if self.serial_log.exists() else ""

    def said(self, line: str) -> None:
        """Wait for a whole line in the serial log."""
        self.until(lambda: f"\n{line}\n" in self.serial(), f"line {line!r}")

    def account(self) -> list[str]:
        """The program's lines."""
        return self.serial().split("pocket-sextant 1.0: starting\n")[1].splitlines()

    def port_open(self) -> bool:
        return {entry["label"]: entry["frontend-open"] for entry in self.qmp.execute("query-chardev")}["vdagent"]

    def press(self, key: str) -> None:
        """Press a key by its QMP name."""
        self.qmp.execute("send-key", {"keys": [{"type": "qcode", "data": key}], "hold-time": 20})

    def picture(self) -> bytes:
        """The screen as a PPM."""
        file = self.folder / "screen.ppm"
        self.qmp.execute("screendump", {"filename": str(file)})
        return file.read_bytes()

    def close(self) -> None:
        if self.qmp:
            self.qmp.close()
        self.process.terminate()
        self.process.wait(10)


@pytest.mark.parametrize(("options", "account"), BOOTS.values(), ids=BOOTS)
def test_what_is_missing_is_said_on_the_serial_port(tmp_path, options, account):
    with contextlib.closing(Machine(tmp_path, options)) as machine:
        assert machine.account() == account
        if "spicevmc" in options:
            assert machine.port_open() == (OPEN in account)


def test_the_watch_changes_the_picture_and_an_idle_guest_leaves_the_processor_alone(tmp_path):
    with contextlib.closing(Machine(tmp_path, SCREEN)) as machine:
        assert machine.account() == [SHOWN, NO_DEVICE, READY]
        first = machine.picture()
        machine.press("f7")
        machine.said("watch: running")
        machine.until(lambda: machine.picture() != first, "another picture")
        machine.press("f7")
        machine.said("watch: stopped")
        assert machine.picture() == first
        before = processor_seconds(machine.process.pid)
        time.sleep(2)
        used = processor_seconds(machine.process.pid) - before
        assert used < 1, "a guest that polls without a rest takes 2 s of 2"
