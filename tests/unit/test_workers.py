"""module_utils/lane/workers.py: a worker that ended without a result gets one, once, and not before one of its own had the time to arrive."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.module_utils.lane import workers


class Queue(list[Any]):
    """Keeps what is sent."""

    send_task_result = list.append


@pytest.mark.parametrize(("exitcode", "words"), [(-9, "by SIGKILL"), (1, "with status 1"), (None, ""), (0, "")])
def test_a_worker_without_a_result(monkeypatch: pytest.MonkeyPatch, exitcode: int | None, words: str) -> None:
    monkeypatch.setattr(TaskQueueManager, "has_dead_workers", TaskQueueManager.has_dead_workers)
    workers.install()
    now = [100.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    task = SimpleNamespace(dump_attrs=dict)
    manager = SimpleNamespace(_workers=[None, SimpleNamespace(exitcode=exitcode, pid=4711, _host="host", _task=task)], _final_q=Queue())
    for later in (0.0, workers.GRACE - 0.1, 0.2, 5.0, 60.0):
        now[0] += later
        assert TaskQueueManager.has_dead_workers(manager) is False
        if later == workers.GRACE - 0.1:
            assert manager._final_q == []
    told = [result._return_data for result in manager._final_q]
    expected = {"failed": True, "msg": f"expected the task's process to come to its end, but it ended {words}", "rc": exitcode}
    assert told == ([expected] if words else [])
