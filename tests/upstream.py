"""Play kerbside's own tests against a lane: its smoke client and its tempest scenario, unchanged, from its source distribution.

    .venv/bin/python tests/upstream.py [-e NAME=VALUE]...

A cross-check that nobody here wrote; docs/testing.md has its result. Not part of `./lane test`: it builds a ryll with
digest-decode from crates.io (ten minutes or more, once) and installs tempest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "module_utils"))

from lane.core.private_dir import handed_over, read_run
from lane.prepare import guest_image

LANE_ID = 53
LANE_DIR = Path(f"/tmp/kerbside-lane-{LANE_ID}")
GIVEN = ["-e", f"lane_id={LANE_ID}", "-e", "lane_guest=uncalibrated", "-e", "lane_ryll_origin=crates:0.3.0", "-e", "lane_ryll_features=digest-decode"]


def lane(*words: str) -> None:
    subprocess.run([ROOT / "lane", *words, *GIVEN, *sys.argv[1:]], check=True)


def ryll(socket: Path) -> subprocess.Popen[bytes]:
    """The lane's ryll with the options that kerbside's tests expect, as soon as its control socket is there."""
    lane("--tags", "kerbside")  # a console.vv that is new
    command = [handed_over(str(LANE_DIR))["lane_ryll"]["path"], "--headless", "--file", LANE_DIR / "console.vv", "--control-socket", socket]
    client = subprocess.Popen([*command, "--enable-paste-as-keystrokes"], env={**os.environ, "KERBSIDE_LANE": read_run(str(LANE_DIR)).mark})
    end = time.monotonic() + 60
    while not socket.exists():
        if client.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"lane: ryll made no control socket: status {client.poll()}")
        time.sleep(0.05)
    return client


def main() -> None:
    """Run both; the exit status is that of the first that fails."""
    fetched = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text(encoding="utf-8"))["guests"]["uncalibrated"]["fetch"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kerbside-tests-")))
        with guest_image.source_distribution(fetched, "which has kerbside's own tests", None) as path, tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        source, socket = folder / f"{fetched['name']}-{fetched['version']}", folder / "ryll.sock"
        # tempest-plugin takes its version from git, which a source distribution does not have
        env = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": fetched["version"], "PBR_VERSION": fetched["version"]}
        env |= {"WORKDIR": str(folder), "TEMPEST_VENV": str(folder / "venv"), "TEMPEST_ETC": str(folder / "etc"), "LOCK_PATH": str(folder / "lock")}
        env |= {"CONTROL_SOCKET_PATH": str(socket), "SERIAL_LOG_PATH": str(LANE_DIR / "logs/serial.log")}
        lane("up")
        stack.callback(lane, "down")
        stack.callback(ryll(socket).kill)
        for command in ([sys.executable, "tools/direct-qemu/smoke-client.py", str(socket)], ["bash", "tools/direct-qemu/run-scenario.sh"]):
            if status := subprocess.run(command, cwd=source, env=env, check=False).returncode:
                sys.exit(status)


if __name__ == "__main__":
    main()
