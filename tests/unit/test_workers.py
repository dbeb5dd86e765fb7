"""module_utils/lane/workers.py: a worker that ended without a result gets one, once, and not before one of its own had the time to arrive."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.module_utils.lane import workers
from ansible.plugins.strategy import StrategyBase


class Queue(list[Any]):
    """Keeps what is sent."""

    send_task_result = list.append


@dataclass(eq=False)
class Worker:
    """One that Ansible has started for a task."""

    exitcode: int | None
    _host = SimpleNamespace(name="host")
    _task = SimpleNamespace(dump_attrs=dict, _uuid="task")


@pytest.mark.parametrize(
    ("exitcode", "words", "awaited"),
    [(-9, "by SIGKILL", True), (1, "with status 1", True), (None, "", True), (0, "", True), (-9, "", False)],
)
def test_a_worker_without_a_result(monkeypatch: pytest.MonkeyPatch, exitcode: int | None, words: str, awaited: bool) -> None:
    monkeypatch.setattr(TaskQueueManager, "has_dead_workers", TaskQueueManager.has_dead_workers)
    monkeypatch.setattr(StrategyBase, "_process_pending_results", lambda *_, one_pass: f"results, one pass: {one_pass}")
    workers.install()
    now = [100.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    queued = {("host", "task"): {}} if awaited else {}
    strategy = SimpleNamespace(_workers=[None, Worker(exitcode)], _final_q=Queue(), _queued_task_cache=queued)
    for later in (0.0, workers.GRACE - 0.1, 0.2, 5.0, 60.0):
        now[0] += later
        assert TaskQueueManager.has_dead_workers(strategy) is False
        assert StrategyBase._process_pending_results(strategy, "iterator", one_pass=True) == "results, one pass: True"
        if later == workers.GRACE - 0.1:
            assert strategy._final_q == []
    told = [result._return_data for result in strategy._final_q]
    expected = {"failed": True, "msg": f"expected the task's process to come to its end, but it ended {words}", "rc": exitcode}
    assert told == ([expected] if words else [])
