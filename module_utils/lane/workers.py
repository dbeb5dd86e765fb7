"""A worker of Ansible's that is killed is a failed task: `rescue` and `always` of the play come to their turn, and the task is named.

Ansible gives the whole play up then ("A worker was found in a dead state"). Modules run in the worker itself (plugins/action/normal.py), and one that
was killed, by a machine without memory for instance, has always been a failed task. Only where Ansible runs.
"""

from __future__ import annotations

import time
from typing import Any

from .process import status_words

#: Seconds after a worker's end in which a result that it may have sent before arrives.
GRACE = 0.5


def install() -> None:
    """Have Ansible's strategies in this process take it so. An Ansible made otherwise (not 2.19) keeps its own way."""
    try:
        from ansible.executor.task_queue_manager import TaskQueueManager  # type: ignore[import-untyped]
        from ansible.executor.task_result import _RawTaskResult  # type: ignore[import-untyped]
    except ImportError:
        return
    seen: dict[int, float] = {}  # when a worker's end was seen, by its pid

    def has_dead_workers(self: Any) -> bool:
        """Called while a result is awaited; true would give the play up."""
        for worker in self._workers:
            if not getattr(worker, "exitcode", None):
                continue
            since = seen.setdefault(worker.pid, time.monotonic())
            if time.monotonic() - since > GRACE:
                seen[worker.pid] = float("inf")
                words = status_words(worker.exitcode if worker.exitcode > 0 else 128 - worker.exitcode)
                data = {"failed": True, "msg": f"expected the task's process to come to its end, but it ended {words}", "rc": worker.exitcode}
                self._final_q.send_task_result(_RawTaskResult(host=worker._host, task=worker._task, return_data=data, task_fields=worker._task.dump_attrs()))
        return False

    TaskQueueManager.has_dead_workers = has_dead_workers
