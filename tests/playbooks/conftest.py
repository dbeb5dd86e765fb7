"""Runs the lane's playbooks, roles and modules as a person would, each test on a lane of its own.

def test_it(run_playbook, lane):
    played = run_playbook("playbooks/lane.yml", "--tags", "tls", tls_days=1)
    assert played.rc == 0, played
    assert played.result("Make the CA")["changed"]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import keeper, proc, teardown
from lane_numbers import lane_ids
from whole_lanes import Surroundings, surroundings

ROOT = Path(__file__).parents[2]


@dataclass
class Played:
    """What one ansible-playbook run did: its status, its events (those of the ansible.posix.jsonl callback), its other output."""

    rc: int
    events: list[dict[str, Any]]
    text: str  # what was no event on stdout, such as the line LANE PASS
    stderr: str

    def results(self, task: str = "") -> list[dict[str, Any]]:
        """The results of every task of that name (of all tasks without one), in order; each has `task`, `host` and `event` added."""
        return [
            {**result, "task": event["task"]["name"], "host": host, "event": event["_event"]}
            for event in self.events
            if event["_event"]
            in ("v2_runner_on_ok", "v2_runner_on_failed", "v2_runner_on_skipped", "v2_runner_on_unreachable")
            if not task or event["task"]["name"] in (task,) or event["task"]["name"].endswith(f" : {task}")
            for host, result in event["hosts"].items()
        ]

    def result(self, task: str) -> dict[str, Any]:
        """The result of the one task of that name."""
        found = self.results(task)
        assert len(found) == 1, (
            f"expected one task {task!r}, found {len(found)} among {[r['task'] for r in self.results()]}"
        )
        return found[0]

    @property
    def failures(self) -> list[str]:
        """The messages of the tasks that failed."""
        return [
            str(r.get("msg", r))
            for r in self.results()
            if r["event"] in ("v2_runner_on_failed", "v2_runner_on_unreachable")
        ]

    @property
    def changed(self) -> int:
        """The number of tasks that changed something, over all hosts."""
        stats: dict[str, dict[str, int]] = (
            self.events[-1]["stats"] if self.events and "stats" in self.events[-1] else {}
        )
        return sum(host["changed"] for host in stats.values())

    def __str__(self) -> str:
        return "\n".join([f"rc {self.rc}", *self.failures, self.text[-2000:], self.stderr[-4000:]])


@dataclass
class Lane:
    """A lane that only this test uses: an id with its ports, a short private lane_dir, an artifacts folder."""

    id: int
    dir: Path
    artifacts: Path
    scratch: Path
    played: list[Played] = field(default_factory=list)

    @property
    def vars(self) -> dict[str, Any]:
        """The extra vars that make a playbook use this lane."""
        return {
            "lane_id": self.id,
            "lane_dir": str(self.dir),
            "lane_artifacts_dir": str(self.artifacts),
            "lane_guests_file": str(ROOT / "fixtures/guests.yml"),
            "lane_guest": "pocket",
        }

    def run(
        self,
        playbook: str | list[dict[str, Any]],
        *args: str,
        env: dict[str, str] | None = None,
        limit: float = 300,
        around: Callable[[list[str]], list[str]] = list,
        **extra_vars: Any,
    ) -> Played:
        """Run a playbook of the checkout ("playbooks/lane.yml"), or the plays given as data, and wait at most `limit` seconds for its end.

        args are ansible-playbook's own; extra_vars keep their types. A task list alone is made a play on localhost. around: makes of a command
        the one that runs it in other surroundings.
        """
        if isinstance(playbook, str):
            path = ROOT / playbook
        else:
            plays = (
                playbook
                if "hosts" in playbook[0]
                else [{"name": "Test", "hosts": "localhost", "roles": ["lane"], "tasks": playbook}]
            )
            path = self.scratch / f"play{len(self.played)}.yml"
            path.write_text(json.dumps(plays), encoding="utf-8")  # JSON is YAML
        given = self.scratch / f"vars{len(self.played)}.json"
        given.write_text(json.dumps({**self.vars, **extra_vars}), encoding="utf-8")
        command = around([sys.executable, "-m", "ansible", "playbook", str(path), "-e", f"@{given}", *args])
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=limit)
            except BaseException:
                end(process)
                raise
        played = parse(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
        self.played.append(played)
        return played

    def marked(self) -> list[str]:
        """The command lines of the processes that carry the mark of this lane."""
        mark = f"\0KERBSIDE_LANE={self.id}/".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in b"\0" + (process / "environ").read_bytes():
                    found.append(
                        (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    )
        return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate ansible-playbook, then kill what it leaves of its descendants: a worker that is ended while it starts a program leaves that program."""
    line = {(one.pid, one.started) for one in descendants(process.pid)}
    process.terminate()  # ends Ansible's workers as well, which are in sessions of their own
    until = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < until:
        line |= {(one.pid, one.started) for one in descendants(process.pid)}
        time.sleep(0.05)
    process.kill()
    left = living(line)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while living(line) and time.monotonic() < until:
        time.sleep(0.01)


def living(line: set[tuple[int, int]]) -> list[int]:
    """Which of these processes (pid, start time) have not ended."""
    return [pid for pid, started in line if (now := proc.read(pid)) and now.started == started and now.alive]


def descendants(pid: int) -> list[proc.Process]:
    """The processes that have pid among their ancestors, parents before children."""
    children: dict[int, list[proc.Process]] = {}
    for one in proc.everyone():
        children.setdefault(one.parent, []).append(one)
    found = list(children.get(pid, []))
    for one in found:  # grows meanwhile
        found += children.get(one.pid, [])
    return found


def environment(**more: str) -> dict[str, str]:
    """What `./lane` gives to Ansible, with a stdout that a program can read."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ANSIBLE_") and name not in ("PYTHONPATH", "PYTHONHOME")
    }
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
        **more,
    }


def parse(rc: int, stdout: str, stderr: str) -> Played:
    """Tell the callback's JSON lines from the rest of stdout."""
    events, text = [], []
    for line in stdout.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "_event" in event:
                events.append(event)
                continue
        text.append(line)
    return Played(rc, events, "\n".join(text), stderr)


@contextmanager
def own_lane(scratch: Path) -> Iterator[Lane]:
    """A lane that may be left up: it is taken down at the end, and what stays in spite of that is a failure."""
    with lane_ids(1) as (number,):
        home = Path(
            tempfile.mkdtemp(prefix="kl-", dir="/tmp")
        )  # a unix socket's path holds 107 bytes; pytest's own folders are too long
        made = Lane(number, home / "d", home / "artifacts", scratch)
        try:
            yield made
            if made.dir.exists():  # by the function behind playbooks/teardown.yml, in a tenth of its time
                ports = {f"port {port}": port for port in range(17900 + 10 * number, 17905 + 10 * number)}
                teardown.take_down(number, str(made.dir), ports, limit=10)
                keeper.dismiss(number)
            assert not made.marked()
        finally:
            shutil.rmtree(home)


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    """A lane of the test's own."""
    with own_lane(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def lane_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """A lane that the tests of a module share, where bringing it up takes longer than they do."""
    with own_lane(tmp_path_factory.mktemp("lane")) as made:
        yield made


@pytest.fixture
def number() -> Iterator[int]:
    """A lane id that no other test has."""
    with lane_ids(1) as ids:
        yield ids[0]


@pytest.fixture
def place(number: int) -> Iterator[Surroundings]:
    """Surroundings in which whatever a whole lane leaves behind can be seen (whole_lanes.py)."""
    with surroundings(number) as found:
        yield found


@pytest.fixture
def run_playbook(lane: Lane) -> Any:
    """`lane.run`, for the tests that need no more of it."""
    return lane.run
