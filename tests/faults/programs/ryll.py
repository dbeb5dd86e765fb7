"""A ryll that is wrong in one way: `ryll.py WAY /path/to/real/ryll ARGUMENT...`, in the place of ryll.

silent: accepts on the control socket and never says a word. inverted: the real ryll, whose screenshots come out inverted.
one-colour: the same with grey screenshots. no-agent: the real ryll, which denies that there is an agent. late: grey screenshots for the first LATE seconds.
block: the real ryll, which paints 75 by 68 pixels of rgba screenshots white.
agent-closes, agent-flaps: the real ryll, which presses the keys by which the guest pocket does that, when `frames` asks for a picture.
protocol-2: the real ryll, which says that its protocol is of major version 2. torn: the screenshot's PNG breaks off half-way.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

LATE = 1.5  # seconds
PAUSE = 0.3  # seconds after a key
F2, F3 = 0x3C, 0x3D  # close and open the agent's port of the guest pocket
KEYS: dict[str, tuple[int, ...]] = {"agent-closes": (F2,), "agent-flaps": (F2, F3)}
BEGUN = time.monotonic()


def main(way: str, program: str, arguments: list[str]) -> int:
    """Stand between the socket that the lane knows and the real ryll's."""
    at = arguments.index("--control-socket") + 1
    outer, inner = arguments[at], arguments[at] + "r"
    with socket.socket(socket.AF_UNIX) as server:
        for stale in (outer, inner):
            Path(stale).unlink(missing_ok=True)
        if way == "silent":
            server.bind(outer)
            server.listen()
            kept = []
            while True:
                kept.append(server.accept())
        real = subprocess.Popen([program, *arguments[:at], inner, *arguments[at + 1 :]])
        while not Path(inner).is_socket():
            if real.poll() is not None:
                return real.returncode
            time.sleep(0.01)
        server.bind(outer)
        server.listen()
        server.settimeout(0.2)
        while real.poll() is None:
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            with client, socket.socket(socket.AF_UNIX) as ryll:
                client.settimeout(None)
                ryll.connect(inner)
                relay(way, client, ryll)
        return real.returncode


def relay(way: str, client: socket.socket, ryll: socket.socket) -> None:
    """Pass requests on one by one, and each answer after it was changed; events come before the answer."""
    answers = ryll.makefile("rb")
    for line in client.makefile("rb"):
        request = json.loads(line)
        if request["method"] == "screenshot" and request["params"].get("format") == "rgba":
            for key in KEYS.pop(way, ()):
                press = {"id": 0, "method": "send_key", "params": {"scancode": key, "state": "press"}}
                ryll.sendall(json.dumps(press).encode() + b"\n")
                time.sleep(PAUSE)
        ryll.sendall(line)
        while True:
            if not (answer := answers.readline()):
                return
            message = json.loads(answer)
            if message.get("id") == 0:
                continue
            if message.get("ok"):
                change(way, request["method"], message["result"])
            client.sendall(json.dumps(message).encode() + b"\n")
            if "event" not in message:
                break


def change(way: str, method: str, result: dict[str, Any]) -> None:
    """What is wrong with this ryll."""
    if way == "no-agent" and method == "status":
        result["agent_connected"] = False
    if way == "protocol-2" and method == "hello":
        result["protocol_version"] = "2.0"
    if way == "torn" and method == "screenshot" and result["format"] == "png":
        data = base64.b64decode(result["data_base64"])
        result["data_base64"] = base64.b64encode(data[: len(data) // 2]).decode()
    if way == "block" and method == "screenshot" and result["format"] == "rgba":
        data, row = bytearray(base64.b64decode(result["data_base64"])), 4 * result["width"]
        for y in range(400, 468):
            data[y * row + 4 * 600 : y * row + 4 * 675] = b"\xff" * 4 * 75
        result["data_base64"] = base64.b64encode(data).decode()
    grey = way == "one-colour" or (way == "late" and time.monotonic() < BEGUN + LATE)
    if (way == "inverted" or grey) and method == "screenshot":
        data = base64.b64decode(result["data_base64"])
        if grey:
            data = b"\x80" * len(data) if result["format"] == "rgba" else grey_png(result["width"], result["height"])
        elif result["format"] == "rgba":
            data = bytes(data).translate(bytes(255 - n for n in range(256)))
        result["data_base64"] = base64.b64encode(data).decode()


def grey_png(width: int, height: int) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + b"\x80\x80\x80\xff" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
