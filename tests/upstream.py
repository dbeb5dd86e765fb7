"""Play kerbside's own tests against a lane: its smoke client and its tempest scenario, unchanged, from its sdist.

    .venv/bin/python tests/upstream.py [--lane-id N] [-e NAME=VALUE]...

A cross-check that nobody here wrote; docs/testing.md has its result. Not part of `./lane test`: it builds a ryll with
digest-decode from crates.io (ten minutes or more, once) and installs tempest.
"""

import argparse
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

RYLL = ["-e", "lane_guest=uncalibrated lane_ryll_origin=crates:0.3.0 lane_ryll_features=digest-decode"]


class Lane:
    """A lane of this id. options: more of `./lane`."""

    def __init__(self, lane_id: int, options: list[str]) -> None:
        self.dir = Path(f"/tmp/kerbside-lane-{lane_id}")
        self.options = ["-e", f"lane_id={lane_id}", *RYLL, *options]

    def run(self, *words: str) -> None:
        subprocess.run([ROOT / "lane", *words, *self.options], check=True)


def ryll(lane: Lane, socket: Path) -> subprocess.Popen[bytes]:
    """The lane's ryll with the options that kerbside's tests expect, as soon as its control socket is there."""
    lane.run("--tags", "kerbside")  # a console.vv that is new
    command = [handed_over(str(lane.dir))["lane_ryll"]["path"], "--headless", "--file", lane.dir / "console.vv"]
    command += ["--control-socket", socket, "--enable-paste-as-keystrokes"]
    client = subprocess.Popen(command, env={**os.environ, "KERBSIDE_LANE": read_run(str(lane.dir)).mark})
    end = time.monotonic() + 60
    while not socket.exists():
        if client.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"lane: ryll made no control socket: status {client.poll()}")
        time.sleep(0.05)
    return client


def tempest(venv: Path, source: Path, env: dict[str, str]) -> None:
    """What run-scenario.sh installs by itself when it is not there."""
    subprocess.run(["python3", "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "--quiet", "tempest", source / "tempest-plugin"], env=env, check=True)


def main() -> None:
    """Run both; the exit status is that of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lane-id", type=int, default=53)
    given, options = parser.parse_known_args()
    lane = Lane(given.lane_id, options)
    guests = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text(encoding="utf-8"))["guests"]
    fetched = guests["uncalibrated"]["fetch"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kerbside-tests-")))
        with (
            guest_image.source_distribution(fetched, "which has kerbside's own tests") as path,
            tarfile.open(path) as archive,
        ):
            archive.extractall(folder, filter="data")
        source, socket = folder / f"{fetched['name']}-{fetched['version']}", folder / "ryll.sock"
        # tempest-plugin takes its version from git, which a source distribution does not have
        env = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": fetched["version"], "PBR_VERSION": fetched["version"]}
        places = {"WORKDIR": ".", "TEMPEST_VENV": "venv", "TEMPEST_ETC": "etc", "LOCK_PATH": "lock"}
        env |= {name: str(folder / place) for name, place in places.items()}
        tempest(folder / "venv", source, env)  # first: kerbside-proxy ends a session that is idle for five minutes
        env |= {"CONTROL_SOCKET_PATH": str(socket), "SERIAL_LOG_PATH": str(lane.dir / "logs/serial.log")}
        stack.callback(lane.run, "down")
        lane.run("up")
        client = stack.enter_context(ryll(lane, socket))  # waits for its end
        stack.callback(client.kill)
        for command in (
            [sys.executable, "tools/direct-qemu/smoke-client.py", str(socket)],
            ["bash", "tools/direct-qemu/run-scenario.sh"],
        ):
            if status := subprocess.run(command, cwd=source, env=env, check=False).returncode:
                sys.exit(status)


if __name__ == "__main__":
    main()
