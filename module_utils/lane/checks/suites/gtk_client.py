"""A SPICE client on spice-gtk, the library of remote-viewer: TEXT, run by the system's Python, which has the GObject
bindings.

    python3 -c TEXT FILE

FILE is JSON: host, tls_port, password, ca (a file), subject, and out. Whenever the screen has stood still for a moment,
its pixels (blue, green, red, unused) go to OUT.raw, and then {width, height, stride} to OUT.json; an error of a
channel goes there as {error}, the name that spice-gtk has for it. Ends with that error, or when it is killed.

Properties and signals: spice-gtk's reference (SpiceSession, SpiceChannel, SpiceDisplayChannel).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

if __name__ == "__main__":  # not where gtk.py takes the text of this program
    import gi

    gi.require_version("SpiceClientGLib", "2.0")
    from gi.repository import GLib, GObject, SpiceClientGLib

STILL = 50  #: milliseconds without a change after which a picture is whole


class Screen:
    """The primary surface of the display channel, as it is in this process's memory."""

    def __init__(self, out: str) -> None:
        self.out = out
        self.timer = 0
        self.primary: tuple[int, int, int, int] | None = None

    def created(self, _: Any, __: int, width: int, height: int, stride: int, ___: int, data: int) -> None:
        self.primary = (width, height, stride, data)

    def changed(self, *_: Any) -> None:
        if self.timer:
            GLib.source_remove(self.timer)
        self.timer = GLib.timeout_add(STILL, self.keep)

    def keep(self) -> bool:
        self.timer = 0
        if self.primary:
            width, height, stride, data = self.primary
            with open(f"{self.out}.raw", "wb") as file:
                file.write(ctypes.string_at(data, stride * height))
            self.tell({"width": width, "height": height, "stride": stride})
        return bool(GLib.SOURCE_REMOVE)

    def tell(self, what: dict[str, Any]) -> None:
        with open(f"{self.out}.new", "w", encoding="utf-8") as file:
            json.dump(what, file)
        os.replace(f"{self.out}.new", f"{self.out}.json")


def main(given: dict[str, Any]) -> None:
    os.umask(0o077)
    loop, screen, session = GLib.MainLoop(), Screen(given["out"]), SpiceClientGLib.Session()
    session.props.host, session.props.tls_port = given["host"], str(given["tls_port"])
    session.props.password, session.props.ca_file = given["password"], given["ca"]
    session.props.cert_subject = given["subject"]
    session.props.enable_audio = session.props.enable_usbredir = session.props.enable_smartcard = False

    on = GObject.Object.connect  # the classes of spice-gtk have a `connect` of their own

    def event(_: Any, what: Any) -> None:
        if what.value_nick.startswith("error") or what.value_nick == "closed":
            screen.tell({"error": what.value_nick})
            loop.quit()

    def new(_: Any, channel: Any) -> None:
        on(channel, "channel-event", event)
        if isinstance(channel, SpiceClientGLib.DisplayChannel):
            on(channel, "display-primary-create", screen.created)
            on(channel, "display-mark", screen.changed)
            on(channel, "display-invalidate", screen.changed)
            SpiceClientGLib.Channel.connect(channel)

    on(session, "channel-new", new)
    SpiceClientGLib.Session.connect(session)
    loop.run()


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        main(json.load(file))
