"""Runs the lane's playbooks, roles and modules as a person would, each test on a lane of its own.

def test_it(lane):
    played = lane.good("playbooks/lane.yml", "--tags", "tls", tls_hours=1)
    assert played.changed == 1
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.lifecycle import keeper, proc, run_state, teardown
from lane_numbers import lane_ids
from whole_lanes import ROOT, Surroundings, environment, mark, running, surroundings

from tools.measure import descendants

CALLBACK = {
    "ANSIBLE_STDOUT_CALLBACK": "json_lines",
    "ANSIBLE_CALLBACK_PLUGINS": f"{ROOT / 'tests/playbooks/callbacks'}:{ROOT / 'plugins/callback'}",
}


@dataclass
class Played:
    """What one ansible-playbook run did: status, events (of callbacks/json_lines.py), other output."""

    rc: int
    events: list[dict[str, Any]]
    text: str  # what was no event on stdout, such as the line LANE PASS
    stderr: str

    def results(self, task: str = "") -> list[dict[str, Any]]:
        """The results of every task of that name (of all without one), with `task`, `host` and `event` added."""
        ended = [event for event in self.events if event["event"] != "end"]
        return [one for one in ended if not task or one["task"] == task or one["task"].endswith(f" : {task}")]

    def result(self, task: str) -> dict[str, Any]:
        """The result of the one task of that name."""
        found = self.results(task)
        assert len(found) == 1, f"{len(found)} tasks {task!r} among {[r['task'] for r in self.results()]}"
        return found[0]

    @property
    def failures(self) -> list[str]:
        """The messages of the tasks that failed."""
        return [str(r.get("msg", r)) for r in self.results() if r["event"] == "failed"]

    @property
    def refusal(self) -> dict[str, Any]:
        """The lane_failure of the last task."""
        return self.results()[-1]["lane_failure"]

    @property
    def last(self) -> str:
        """The last line."""
        return self.text.rstrip().splitlines()[-1]

    @property
    def changed(self) -> int:
        """The number of tasks that changed something, over all hosts."""
        return int(self.events[-1].get("changed", 0)) if self.events else 0

    def __str__(self) -> str:
        return "\n".join([f"rc {self.rc}", *self.failures, self.text[-2000:], self.stderr[-4000:]])


@dataclass
class Lane(Surroundings):
    """A lane that only this test uses: an id with its ports, a short private lane_dir, an artifacts folder.

    scratch: for what the test itself writes, such as plays.
    """

    scratch: Path = Path()
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
        **extra_vars: Any,
    ) -> Played:
        """Run a playbook of the checkout ("playbooks/lane.yml"), or plays given as data, for at most `limit` seconds.

        args are ansible-playbook's own; extra_vars keep their types. A task list alone is made a play on localhost.
        """
        number = len(self.played)
        if isinstance(playbook, str):
            path = ROOT / playbook
        else:
            play = {"name": "Test", "hosts": "localhost", "roles": ["lane"], "tasks": playbook}
            path = self.scratch / f"play{number}.yml"
            path.write_text(json.dumps(playbook if "hosts" in playbook[0] else [play]))  # JSON is YAML
        given = self.scratch / f"vars{number}.json"
        given.write_text(json.dumps({**self.vars, **extra_vars}), encoding="utf-8")
        command = [sys.executable, "-m", "ansible", "playbook", str(path), "-e", f"@{given}", *args]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**CALLBACK, **(env or {})),
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

    def good(self, *args: Any, **more: Any) -> Played:
        """`run`, and the run has to succeed."""
        played = self.run(*args, **more)
        assert played.rc == 0, played
        return played

    def role(self, name: str, *args: str, **settings: Any) -> Played:
        """Claim the lane and run one role, with a cache of the lane's own unless the settings have another."""
        claim = {"lane_run": {"lane_id": self.id, "lane_dir": str(self.dir), "artifacts_dir": str(self.artifacts)}}
        role = {"name": "Run the role", "ansible.builtin.include_role": {"name": name}}
        settings.setdefault("lane_cache_dir", str(self.scratch / "cache"))
        return self.run([{"name": "Claim", **claim}, role], *args, **settings)

    def marked(self) -> list[str]:
        """The command lines of the processes that carry the mark of this lane."""
        return [line.partition(" ")[2] for line in running(mark(self.id))]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill ansible-playbook with all its descendants; each is stopped first, so that none starts another meanwhile."""
    found: set[int] = set()
    while new := {process.pid, *(one.pid for one in descendants(process.pid))} - found:
        send(new, signal.SIGSTOP)
        found |= new
    send(found, signal.SIGKILL)
    process.wait()
    run_state.until(lambda: not any((one := proc.read(pid)) and one.alive for pid in found), 5)


def send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def parse(rc: int, stdout: str, stderr: str) -> Played:
    """Tell the callback's JSON lines from the rest of stdout."""
    events, text = [], []
    for line in stdout.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                events.append(event)
                continue
        text.append(line)
    return Played(rc, events, "\n".join(text), stderr)


@contextmanager
def own_lane(scratch: Path) -> Iterator[Lane]:
    """A lane that may be left up: it is taken down at the end, and what stays in spite of that is a failure."""
    with lane_ids(1) as (number,):
        # A unix socket's path holds 107 bytes; pytest's own folders are too long.
        home = Path(tempfile.mkdtemp(prefix="kl-", dir="/tmp"))
        made = Lane(number, home, scratch=scratch)
        try:
            yield made
            if made.dir.exists():  # by the function behind playbooks/teardown.yml, in a tenth of its time
                ports = {f"port {port}": port for port in range(17900 + 10 * number, 17905 + 10 * number)}
                teardown.take_down(number, str(made.dir), ports)
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
