"""The suites' other client, with a program in the place of spice-gtk that does what a test says."""

import ctypes
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.lane.checks import sextant_digest
from ansible.module_utils.lane.checks.suites import gtk, gtk_client
from PIL import Image
from suite_lane import Lane, Monitor, entry_of

#: Ends with an error, or shows pictures of one colour, each for a moment; then stays, unless it ends with a status.
CLIENT = """
import json, sys, time
given = json.load(open(sys.argv[1]))
assert (given["host"], given["tls_port"], given["password"], given["subject"]) == ("h", "5", "p", "CN=s"), given
assert open(given["ca"]).read() == "a\\nb"
def tell(**what):
    with open(given["out"] + ".json", "w") as file:
        json.dump(what, file)
for one in json.loads({does!r}):
    if isinstance(one, int):
        sys.exit(one)
    if isinstance(one, str):
        tell(error=one)
    else:
        with open(given["out"] + ".raw", "wb") as file:
            file.write(bytes([*one[::-1], 0]) * 8)
        tell(width=4, height=2, stride=16)
    time.sleep(0.3)
time.sleep(60)
"""
RED, BLUE, TLS = [255, 0, 0], [0, 0, 255], "error-tls"
#: What the client does, how it is to be refused, within how many seconds; code and words of what comes of it, and
#: whether the guest has a digest that fits.
DOES: dict[str, tuple[list[Any], str | None, float, tuple[str | None, str, bool | None]]] = {
    "qemu's picture": ([RED], None, 30, (None, "4x2, right", None)),
    "another picture": ([BLUE], None, 30, ("picture_differs", "a picture of 4x2, and qemu draws another", None)),
    "qemu's picture at last": ([BLUE, RED], None, 30, (None, "4x2, right", None)),
    "a picture as its digest says": ([BLUE], None, 30, (None, "4x2, right", True)),
    "a picture not as its digest says": ([RED], None, 30, ("picture_differs", "have CRC32C 00000001", False)),
    "no picture": ([], None, 0.1, ("client_no_picture", "no picture within", None)),
    "an end": ([3], None, 30, ("client_refused", "ended: status 3", None)),
    "an error": ([TLS], None, 30, ("client_refused", "ended: error-tls", None)),
    "the refusal": ([TLS], TLS, 30, (None, "refused with error-tls", None)),
    "another refusal": (["error-auth"], TLS, 30, ("client_refused_otherwise", "ended: error-auth", None)),
    "an end without a word": ([3], TLS, 30, ("client_refused_otherwise", "ended: status 3", None)),
    "no refusal": ([RED], TLS, 30, ("client_not_refused", "shows a picture of 4x2", None)),
    "no refusal yet": ([], TLS, 0.1, ("client_no_picture", "no picture within", None)),
}


class Screen(Monitor):
    """A qemu that draws red."""

    def execute(self, command: str, arguments: Any = None) -> Any:
        Image.new("RGB", (4, 2), (255, 0, 0)).save(arguments["filename"], "PPM")


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    made = Lane(tmp_path)
    made.monitor = Screen()
    made.keys = {"host": "h", "tls-port": "5", "password": "p", "host-subject": "CN=s", "ca": "a\\nb"}
    monkeypatch.setattr(gtk, "PYTHON", sys.executable)
    return made


@pytest.mark.parametrize(("does", "refused", "within", "wanted"), DOES.values(), ids=DOES)
def test_spice_gtk_shows_the_right_picture_or_is_refused(lane, monkeypatch, does, refused, within, wanted):
    code, words, fits = wanted
    if fits is not None:
        lane.guest["digest"] = "yes"
        digest = SimpleNamespace(crc=int(fits), corner=(0, 0), frame=1)
        monkeypatch.setattr(sextant_digest, "decode", lambda picture: digest)
        monkeypatch.setattr(sextant_digest, "crc", lambda picture, corner: 1)
    judge, judged = gtk.wrong, []
    if code == "picture_differs":  # its time is over when its picture was looked at
        late = SimpleNamespace(sleep=time.sleep, monotonic=lambda: time.monotonic() + 60 * len(judged))
        monkeypatch.setattr(gtk, "wrong", lambda *what: judged.append(what) or judge(*what))
        monkeypatch.setattr(gtk, "time", late)
    monkeypatch.setattr(gtk, "program", lambda: CLIENT.replace("{does!r}", repr(json.dumps(does))))
    detail = entry_of(lane, {"spice_gtk": {"refused": refused} if refused else {}, "within": within})["detail"]
    assert detail.get("code") == code, detail
    assert words in (detail.get("cause") or detail["witnesses"][0])
    log = "daemon" if code == "client_not_refused" else "spice_gtk"
    assert detail.get("evidence") == (lane.log(log) if code else None)
    assert Path(lane.log("spice_gtk")).stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("said", ["one\n", "before\none\n"])
def test_the_last_line_of_a_client_without_a_picture_is_quoted(lane, monkeypatch, said):
    client = f"import sys, time; sys.stderr.write({said!r}); sys.stderr.flush(); time.sleep(60)"
    monkeypatch.setattr(gtk, "program", lambda: client)
    entry = entry_of(lane, {"spice_gtk": {}, "within": 1})
    assert entry["detail"]["cause"].endswith("within 1 s; its last line is 'one'")


def test_a_screen_is_kept_when_it_stands_still(tmp_path, monkeypatch):
    timers: list[str] = []
    glib = SimpleNamespace(
        SOURCE_REMOVE=False,
        timeout_add=lambda after, then: timers.append("set") or len(timers),
        source_remove=lambda one: timers.append(f"off {one}"),
    )
    monkeypatch.setattr(gtk_client, "GLib", glib, raising=False)
    screen, pixels = gtk_client.Screen(str(tmp_path / "out")), ctypes.create_string_buffer(bytes(range(32)), 32)
    screen.changed()
    screen.keep()
    assert gtk.picture(screen.out) == (None, None)  # there is none yet
    screen.created(None, 0, 4, 2, 16, 0, ctypes.addressof(pixels))
    screen.changed()
    screen.changed()
    assert timers == ["set", "set", "off 2", "set"] and screen.keep() is False
    screen.changed()
    assert timers[4:] == ["set"]  # the one before had run
    seen, error = gtk.picture(screen.out)
    assert seen is not None and error is None and seen.getpixel((1, 0)) == (6, 5, 4)
