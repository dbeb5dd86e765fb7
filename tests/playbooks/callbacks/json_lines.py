"""Prints each result of a task, and the count of changes, as a line of JSON; tests/playbooks/conftest.py reads them."""

import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: json_lines
type: stdout
short_description: results as lines of JSON
description: [For the tests of the playbooks.]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "json_lines"

    def _print(self, event, result):
        values = {**result.result, "event": event, "task": result.task.name, "host": result.host.name}
        print(json.dumps(values, default=str), flush=True)

    def v2_runner_on_ok(self, result):
        self._print("ok", result)

    def v2_runner_on_skipped(self, result):
        self._print("skipped", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._print("failed", result)

    def v2_runner_on_unreachable(self, result):
        self._print("failed", result)

    def v2_playbook_on_stats(self, stats):
        print(json.dumps({"event": "end", "changed": sum(stats.changed.values())}), flush=True)
