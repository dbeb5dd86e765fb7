"""The actor `spice_gtk`: another client than ryll, on the library that most people use in front of kerbside."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any

from PIL import Image

from ...core import command
from ...core.errors import one_line
from ...core.private_dir import write_private
from .. import sextant_digest
from ..picture_compare import size
from . import gtk_client
from .control import keys_of
from .engine import Play, Unmet
from .pictures import drawn, equal
from .plan import Actor, Option, Step
from .witnesses import tail

if TYPE_CHECKING:
    from ...protocols.qmp import Qmp

POLL = 0.02
PYTHON = "/usr/bin/python3"  #: the system's own, for which the packages of the GObject bindings are made


def program() -> str:
    """The text of the client, which is in an archive where Ansible has copied this code."""
    return inspect.getsource(gtk_client)


@contextmanager
def running(play: Play, keys: dict[str, str]) -> Iterator[tuple[Popen[bytes], str]]:
    """The client with these keys of a console.vv, and the base name of what it writes."""
    folder = Path(play.lane.place.lane_dir, "tmp")
    out, ca, given = (str(folder / name) for name in ("spice_gtk", "spice_gtk_ca.pem", "spice_gtk_keys.json"))
    for name in (f"{out}.json", f"{out}.raw"):
        Path(name).unlink(missing_ok=True)
    write_private(ca, keys.get("ca", "").replace("\\n", "\n").encode())
    asked: dict[str, Any] = {"host": keys["host"], "tls_port": keys["tls-port"], "password": keys["password"]}
    asked |= {"subject": keys.get("host-subject"), "ca": ca, "out": out}
    write_private(given, json.dumps(asked).encode())
    env = {**command.environment(play.lane.run.mark), "HOME": play.lane.place.lane_dir, "GSETTINGS_BACKEND": "memory"}
    with open(os.open(play.lane.log("spice_gtk"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        client = command.spawn([PYTHON, "-c", program(), given], env, stdout=log, stderr=log)
    try:
        yield client, out
    finally:
        command.end_group(client)


def picture(out: str) -> tuple[Image.Image | None, str | None]:
    """(the client's last picture, the error that it ended with)."""
    try:
        written = json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))
        if "error" in written:
            return None, written["error"]
        pixels, shape = Path(f"{out}.raw").read_bytes(), (written["width"], written["height"])
        return Image.frombytes("RGB", shape, pixels, "raw", "BGRX", written["stride"]), None
    except (FileNotFoundError, ValueError):  # not there, or written at this moment
        return None, None


def spice_gtk(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """Connect with spice-gtk.

    Its picture has to be qemu's, and right by the digest of a guest that has one; or it is refused with an event of
    spice-gtk.
    """
    keys = keys_of(play, options)
    with running(play, keys) as (client, out), play.lane.qmp() as qmp:
        last = None
        while True:
            seen, error = picture(out)
            if error and error == options["refused"]:
                return f"refused with {error}"
            if error or client.poll() is not None:
                code = "client_refused_otherwise" if options["refused"] else "client_refused"
                raise Unmet(code, f"spice-gtk ended: {error or f'status {client.returncode}'}")
            if seen and options["refused"]:
                problem = f"spice-gtk was let in and shows a picture of {size(seen)}"
                raise Unmet("client_not_refused", problem, play.lane.log("daemon"))
            if seen and (last := wrong(play, seen, qmp)) is None:
                return f"{size(seen)}, right"
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL)
    if seen is None:
        lines = tail(play.lane.log("spice_gtk"), 0).splitlines()
        last = "".join(f"; its last line is {one_line(line, 120)!r}" for line in lines[-1:])
        raise Unmet("client_no_picture", f"spice-gtk showed no picture within {step.limit:g} s{last}")
    raise Unmet("picture_differs", f"spice-gtk shows a picture of {size(seen)}, and {last}")


def wrong(play: Play, seen: Image.Image, qmp: Qmp) -> str | None:
    """What is wrong with a picture, or None.

    Of a guest with a digest, whose cursor blinks, each picture has to fit its own digest.
    """
    if not play.lane.guest.get("digest"):
        return None if equal(seen, drawn(play, qmp)) else "qemu draws another"
    try:
        sextant_digest.read(seen)
    except sextant_digest.BadDigest as error:
        return str(error)
    return None


ACTORS: dict[str, Actor] = {
    "spice_gtk": Actor(
        {"console": Option("word", refers=("console",)), "edit": Option("mapping"), "refused": Option("word")},
        spice_gtk,
        "proxy",
        "spice_gtk",
    )
}
