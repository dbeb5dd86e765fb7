"""The built-in guest under qemu (TCG), for tests."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from ansible.module_utils.lane.prepare import firmware
from ansible.module_utils.lane.protocols.qmp import Qmp

FIXTURES = Path(__file__).parents[2] / "fixtures"
GUEST = yaml.safe_load((FIXTURES / "guests.yml").read_text())["guests"]["pocket"]
BOOT_LIMIT = 90


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
