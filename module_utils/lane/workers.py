"""A worker of Ansible's that is killed is a failed task: `rescue` and `always` of the play come to their turn, and the task is named.

Ansible gives the whole play up then ("A worker was found in a dead state"). Modules run in the worker itself (plugins/action/normal.py), and one that
was killed, by a machine without memory for instance, has always been a failed task. Only where Ansible runs.
"""

from __future__ import annotations

import time
from typing import Any

from .process import returncode_words

#: Seconds after a worker's end in which a result that it may have sent before arrives.
GRACE = 0.5


def install() -> None:
    """Have Ansible's strategies in this process take it so. An Ansible made otherwise (not 2.19) keeps its own way."""
    try:
        from ansible.executor.task_queue_manager import TaskQueueManager  # type: ignore[import-untyped]
        from ansible.executor.task_result import _RawTaskResult  # type: ignore[import-untyped]
        from ansible.plugins.strategy import StrategyBase  # type: ignore[import-untyped]
    except ImportError:
        return
    seen: dict[Any, float] = {}  # when a worker's end was seen
    plain = StrategyBase._process_pending_results

    def process_pending_results(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Called while a result is awaited. A worker that ended badly stays in its place, though its result may have come, until another one gets it."""
        for worker in self._workers:
            if not getattr(worker, "exitcode", None) or (worker._host.name, worker._task._uuid) not in self._queued_task_cache:
                continue
            since = seen.setdefault(worker, time.monotonic())
            if time.monotonic() - since > GRACE:
                seen[worker] = float("inf")
                cause = f"expected the task's process to come to its end, but it ended {returncode_words(worker.exitcode)}"
                data = {"failed": True, "msg": cause, "rc": worker.exitcode}
                self._final_q.send_task_result(_RawTaskResult(host=worker._host, task=worker._task, return_data=data, task_fields=worker._task.dump_attrs()))
        return plain(self, *args, **kwargs)

    StrategyBase._process_pending_results = process_pending_results
    TaskQueueManager.has_dead_workers = lambda _: False  # true would give the play up
