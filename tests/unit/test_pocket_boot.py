"""Boots the built-in guest under qemu (TCG). What it does with keys, the clipboard and sizes is in the suites input and
agent, which tests/playbooks/test_suites.py plays.
"""

import contextlib
import time

import pytest
from ansible.module_utils.lane.core.proc_stat import processor_seconds
from pocket_machine import GUEST, Machine

pytestmark = pytest.mark.slow

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
