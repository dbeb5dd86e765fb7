"""A ryll that is wrong in one way: `ryll.py RULES /path/to/real/ryll ARGUMENT...`, in the place of ryll. RULES is JSON:

silent: it accepts on the control socket and never says a word.
swallow: {method: {param: value}}: such requests are answered ok and never reach the real ryll.
answers: {method: {key: value}}: what its answers say instead.
events: names of events that are not passed on. unasked: names of events that it subscribes to by itself.
clock: how many seconds the times of its events are ahead.
greets: true: it says hello to itself. codes: {code: code}: of its errors.
acts_on: at the request with this id it presses the key w, too. paste_most: so many characters of a text are pasted.
mode: the mode of its control socket.
picture: how screenshots are changed: inverted, grey, block (75 by 68 white pixels), pixel (the first is inverted) or
torn (half a PNG). until: the number of seconds after which screenshots are right again.
stale: every screenshot is the first one, kept in this file.
keys: scancodes that are pressed before the first rgba screenshot.
vv_without: keys of console.vv that the real ryll does not see.
token_cut: how many characters of the token it leaves out.
exits: the status with which it ends, whatever the real one's was.
"""

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

PAUSE = 0.3  # seconds after a key
BEGUN = time.monotonic()


def main(rules: dict[str, Any], program: str, arguments: list[str]) -> int:
    """Stand between the socket that the lane knows and the real ryll's."""
    if {"vv_without", "token_cut"} & set(rules):
        vv = Path(arguments[arguments.index("--file") + 1])
        hidden, cut = rules.get("vv_without", ()), rules.get("token_cut", 0)
        kept = [line for line in vv.read_text().splitlines() if line.partition("=")[0] not in hidden]
        vv.write_text("".join(f"{line[:-cut] if cut and line.startswith('password=') else line}\n" for line in kept))
    at = arguments.index("--control-socket") + 1
    outer, inner = arguments[at], arguments[at] + "r"
    for stale in (outer, inner):
        Path(stale).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        if rules.get("silent"):
            server.bind(outer)
            server.listen()
            clients = []
            while True:
                clients.append(server.accept())
        signal.signal(signal.SIGINT, lambda *_: None)  # the real one gets it as well, and says how it ends
        real = subprocess.Popen([program, *arguments[:at], inner, *arguments[at + 1 :]])
        while not Path(inner).is_socket():
            if real.poll() is not None:
                return rules.get("exits", real.returncode)
            time.sleep(0.005)
        server.bind(outer)
        Path(outer).chmod(int(rules.get("mode", "600"), 8))
        server.listen()
        server.settimeout(0.1)
        while real.poll() is None:
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            client.settimeout(None)
            threading.Thread(target=serve, args=(rules, client, inner), daemon=True).start()
    return rules.get("exits", real.returncode)


def serve(rules: dict[str, Any], client: socket.socket, inner: str) -> None:
    """Relay between a client and the real ryll, applying the rules."""
    methods: dict[Any, str] = {}
    lock = threading.Lock()
    with client, socket.socket(socket.AF_UNIX) as ryll:
        ryll.connect(inner)

        def answers() -> None:
            for line in ryll.makefile("rb"):
                message = json.loads(line)
                if message.get("event") in rules.get("events", ()) or message.get("id") == 0:
                    continue
                if "data" in message and "wallclock_us" in message["data"]:
                    message["data"]["wallclock_us"] += int(rules.get("clock", 0) * 1e6)
                if "error" in message:
                    code = message["error"]["code"]
                    message["error"]["code"] = rules.get("codes", {}).get(code, code)
                if message.get("ok"):
                    method = methods.pop(message.get("id"), "")
                    if method == "hello" and "unasked" in rules:
                        ask(ryll, "subscribe", {"events": rules["unasked"]})
                    change(rules, method, message["result"])
                with lock:
                    client.sendall(json.dumps(message).encode() + b"\n")
            with suppress(OSError):  # the client is gone already
                client.shutdown(socket.SHUT_RDWR)

        if rules.get("greets"):
            ask(ryll, "hello", {"client_name": "x", "protocol_version": "1.0"})
        reader = threading.Thread(target=answers, daemon=True)
        reader.start()
        with suppress(OSError):  # ryll has closed the connection: what it said last is still to be passed on
            requests(rules, client, ryll, methods, lock)
        with suppress(OSError):
            ryll.shutdown(socket.SHUT_WR)
        reader.join(2)


def requests(
    rules: dict[str, Any], client: socket.socket, ryll: socket.socket, methods: dict[Any, str], lock: threading.Lock
) -> None:
    for line in client.makefile("rb"):
        try:
            request = dict(json.loads(line))
        except (TypeError, ValueError):  # ryll has to say so
            ryll.sendall(line)
            continue
        if "acts_on" in rules and rules["acts_on"] == request.get("id"):
            press(ryll, 0x11)
        method, params = request.get("method"), request.get("params") or {}
        wanted = rules.get("swallow", {}).get(method)
        if wanted is not None and all(params.get(key) == value for key, value in wanted.items()):
            with lock:
                result = params if method == "resize" else {}
                client.sendall(json.dumps({"id": request["id"], "ok": True, "result": result}).encode() + b"\n")
            continue
        if method == "screenshot" and params.get("format") == "rgba":
            for key in rules.pop("keys", ()):
                press(ryll, key)
                time.sleep(PAUSE)
        methods[request.get("id")] = method
        if method == "paste" and "paste_most" in rules:
            params["text"] = params["text"][: rules["paste_most"]]
            ryll.sendall(json.dumps(request).encode() + b"\n")
            continue
        ryll.sendall(line)


def ask(ryll: socket.socket, method: str, params: dict[str, Any]) -> None:
    """Send a request whose answer is not passed on."""
    ryll.sendall(json.dumps({"id": 0, "method": method, "params": params}).encode() + b"\n")


def press(ryll: socket.socket, key: int) -> None:
    ask(ryll, "send_key", {"scancode": key, "state": "press"})


def change(rules: dict[str, Any], method: str, result: dict[str, Any]) -> None:
    """What is wrong with this answer."""
    result.update(rules.get("answers", {}).get(method, {}))
    if method != "screenshot":
        return
    if first := rules.get("stale"):
        if not Path(first).exists():
            Path(first).write_text(json.dumps(result))
        result.update(json.loads(Path(first).read_text()))
    if "picture" in rules and time.monotonic() < BEGUN + rules.get("until", float("inf")):
        data = base64.b64decode(result["data_base64"])
        spoil = in_rgba if result["format"] == "rgba" else in_png
        data = spoil(rules["picture"], data, result["width"], result["height"])
        result["data_base64"] = base64.b64encode(data).decode()


def in_rgba(way: str, data: bytes, width: int, height: int) -> bytes:
    picture, row = bytearray(data), 4 * width
    if way == "grey":
        return b"\x80" * len(data)
    if way == "inverted":
        return data.translate(bytes(range(255, -1, -1)))
    if way == "pixel":
        picture[:3] = bytes(255 - value for value in picture[:3])
    if way == "block":
        for y in range(400, 468):
            picture[y * row + 4 * 600 : y * row + 4 * 675] = b"\xff" * 4 * 75
    return bytes(picture)


def in_png(way: str, data: bytes, width: int, height: int) -> bytes:
    if way == "torn":
        return data[: len(data) // 2]
    if way == "grey":
        file = io.BytesIO()
        Image.new("RGB", (width, height), (128, 128, 128)).save(file, "PNG")
        return file.getvalue()
    return data


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]))
