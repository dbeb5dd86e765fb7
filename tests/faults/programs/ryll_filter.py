"""A ryll that is wrong in one way: `ryll_filter.py RULES /path/to/real/ryll ARGUMENT...`, in the place of ryll. RULES is JSON:

swallow: {method: {param: value}}: such requests are answered ok and never reach the real ryll. answers: {method: {key: value}}: what
its answers say instead. events: names of events that are not passed on. pixel: the first pixel of each rgba screenshot is inverted.
stale: every screenshot is the first one, kept in this file. vv_without: keys of console.vv that the real ryll does not see. without: start options that
it does not get. exits: the status with which it ends, whatever the real one's was.
"""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def main(rules: dict[str, Any], program: str, arguments: list[str]) -> int:
    arguments = [word for word in arguments if word not in rules.get("without", ())]
    vv = Path(arguments[arguments.index("--file") + 1])
    kept = [line for line in vv.read_text().splitlines() if line.partition("=")[0] not in rules.get("vv_without", ())]
    vv.write_text("\n".join(kept) + "\n")
    at = arguments.index("--control-socket") + 1
    outer, inner = arguments[at], arguments[at] + "r"
    for stale in (outer, inner):
        Path(stale).unlink(missing_ok=True)
    signal.signal(signal.SIGINT, lambda *_: None)  # the real one gets it as well, and says how it ends
    real = subprocess.Popen([program, *arguments[:at], inner, *arguments[at + 1 :]])
    while not Path(inner).is_socket():
        if real.poll() is not None:
            return rules.get("exits", real.returncode)
        time.sleep(0.005)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(outer)
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
    methods: dict[Any, str] = {}
    lock = threading.Lock()
    with client, socket.socket(socket.AF_UNIX) as ryll:
        ryll.connect(inner)

        def answers() -> None:
            for line in ryll.makefile("rb"):
                message = json.loads(line)
                if message.get("event") in rules.get("events", ()):
                    continue
                if message.get("ok"):
                    change(rules, methods.pop(message.get("id"), ""), message["result"])
                with lock:
                    client.sendall(json.dumps(message).encode() + b"\n")
            client.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=answers, daemon=True).start()
        try:
            requests(rules, client, ryll, methods, lock)
        finally:
            ryll.shutdown(socket.SHUT_RDWR)  # closing alone leaves it open as long as the thread reads


def requests(
    rules: dict[str, Any], client: socket.socket, ryll: socket.socket, methods: dict[Any, str], lock: threading.Lock
) -> None:
    for line in client.makefile("rb"):
        request = json.loads(line)
        method, params = request.get("method"), request.get("params") or {}
        wanted = rules.get("swallow", {}).get(method)
        if wanted is not None and all(params.get(key) == value for key, value in wanted.items()):
            with lock:
                result = params if method == "resize" else {}
                client.sendall(json.dumps({"id": request["id"], "ok": True, "result": result}).encode() + b"\n")
            continue
        methods[request.get("id")] = method
        ryll.sendall(line)


def change(rules: dict[str, Any], method: str, result: dict[str, Any]) -> None:
    result.update(rules.get("answers", {}).get(method, {}))
    if (first := rules.get("stale")) and method == "screenshot":
        if not Path(first).exists():
            Path(first).write_text(json.dumps(result))
        result.update(json.loads(Path(first).read_text()))
    if rules.get("pixel") and method == "screenshot" and result["format"] == "rgba":
        data = bytearray(base64.b64decode(result["data_base64"]))
        data[:3] = bytes(255 - value for value in data[:3])
        result["data_base64"] = base64.b64encode(data).decode()


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]))
