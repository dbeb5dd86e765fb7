#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: ryll_session
short_description: Play a list of steps over ryll's control socket and return what was seen
description:
  - Connects to the control socket of a headless ryll, plays O(steps) in order over that one connection and returns a
    transcript.
  - The first step that fails ends the session. The message names the step and what was seen instead, and the transcript
    so far is returned.
  - Whatever a broken ryll does (says nothing, sends nonsense or without end, ends, is stopped), the task ends within
    its limits.
  - Any minor version of protocol major version 1 will do. A step that needs a verb or event which this ryll does not
    list in its answer to C(hello) fails before it is tried.
extends_documentation_fragment:
  - lane_module
options:
  steps:
    description: The steps, played in order (docs/steps.md). The whole list is checked before anything starts.
    type: list
    elements: dict
    required: true
  socket:
    description: Path of ryll's control socket (its C(--control-socket)), absolute, at most 107 bytes.
    type: path
    required: true
  limit:
    description: Limit of the whole session in seconds. A C(pause) or C(quiet) for which too little of it is left fails
      at once.
    type: float
    default: 300
  step_limit:
    description: Limit of a step that has no C(within), in seconds.
    type: float
    default: 10
  connect_within:
    description:
      - Seconds to wait for the socket to appear and to be listened on. They are added to the first step's limit.
      - ryll makes its socket about a millisecond after its start, long before its SPICE session is established.
    type: float
    default: 0
  max_line_bytes:
    description: Longest line that is accepted from the peer, 1024 to 67108864 bytes. A screenshot is one line.
    type: int
    default: 67108864
  pid:
    description: The ryll process. With it, its end or its being stopped fails the task at once, with its state.
    type: int
  lane_dir:
    description: The lane whose other programs are watched as well. One that ends or is stopped fails the task within a
      second.
    type: path
  log_file:
    description: ryll's log. Its last lines are quoted when ryll cannot be reached, does not answer or ends.
    type: path
  transcript_file:
    description: Absolute path to write what this module returns to, as JSON, mode 0600, whether the session passed or
      failed.
    type: path
attributes:
  check_mode:
    support: full
    description: Checks the steps and returns what would be done; touches nothing, not even the socket.
  idempotent:
    support: none
    description: A session is played again each time.
notes:
  - In a project of your own, let C(library), C(module_utils) and C(doc_fragment_plugins) in ansible.cfg name the
    directories that this module comes with.
  - ryll serves one client at a time. Another one is refused with C(busy), which the first C(hello) accepts for a
    second, because ryll does not notice at once that the client before has left.
"""

EXAMPLES = r"""
- name: Type something and check that the guest draws it
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - hello: {}
      - await: {surfaces: 1, marks: 1}
        within: 30
      - subscribe: {events: [surface_drawn, dropped]}
      - name: nothing moves by itself
        quiet: {event: surface_drawn, seconds: 0.5}
        blame: guest
      - screenshot: {region: {x: 0, y: 0, width: 64, height: 32}}
        register: still
      - type: {text: "ls -l"}
        register: typed
      - expect_event: {event: surface_drawn, fields: {surface_id: 0}, since: typed, count: 2}
        blame: guest
      - screenshot: {differs_from: still, settle: 3}
        register: last
        blame: guest
  register: session

- name: Use what the session saw
  ansible.builtin.assert:
    that:
      - session.registered.last.width == session.registered.still.width
      - session.events_seen.surface_drawn >= 2

- name: Check what ryll refuses, and use a verb that this module has no step for
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - call: {method: status}
        refused: no_hello_yet
      - hello: {}
      - screenshot: {surface_id: 7}
        refused: no_such_surface
      - call: {method: status, params: {}, result: {spice_connected: true}}
      - call: {method: no_such_verb}
        refused: unknown_method
      - paste: {text: "pasted by ryll\n"}
      - unsubscribe: {events: [paste_completed, paste_failed]}
      - send_key: {keys: [shift-a, left, kp_enter]}
      - reconnect: {resubscribe: false}
      - pause: {seconds: 0.1}
      - status: {}

- name: Log in without showing it in any log
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - hello: {}
      - type: {text: "{{ guest_password }}\n"}
        private: true
"""

RETURN = r"""
lane_note:
  description: The names of the steps that passed, for the terminal.
  returned: always, except in check mode
  type: str
transcript:
  description: One entry for each step, in order; also on failure.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: The step's number, from 1.
      type: int
    name:
      description: Its name.
      type: str
    step:
      description: Its verb.
      type: str
    result:
      description: V(ok), V(failed), or V(skipped) for those after the failed one.
      type: str
    started:
      description: Unix time, null when it did not start.
      type: float
    seconds:
      description: How long it took.
      type: float
    seen:
      description: What it saw; for a failed step C(problem), C(kind) and C(code).
      type: dict
events:
  description: The first 1000 events, in the order of their arrival.
  returned: always, except in check mode
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    data:
      description: Its data.
      type: dict
    seconds:
      description: Seconds since the session began.
      type: float
    during:
      description: Number of the step that ran when it was read.
      type: int
events_seen:
  description: How many events of each name arrived.
  returned: always, except in check mode
  type: dict
registered:
  description: What the registered steps saw, by name.
  returned: always, except in check mode
  type: dict
server:
  description: Name and protocol_version of the server, empty before hello.
  returned: always, except in check mode
  type: dict
notices:
  description: Such things as events that were dropped; also given as warnings.
  returned: always, except in check mode
  type: list
  elements: str
seconds:
  description: How long the session took.
  returned: always, except in check mode
  type: float
would:
  description: The steps, by number and name.
  returned: in check mode
  type: list
  elements: str
failed_step:
  description:
    - The failed step's index, name and verb (C(step)), and the kind of the failure; one of unreachable, closed,
      process, timeout, malformed, unsupported, refused, unmet, environment.
  returned: when a step failed
  type: dict
"""

from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.programs import loss
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.private import hide
from ansible.module_utils.lane.protocols.ryll.session import Settings, rehearse, run
from ansible.module_utils.lane.protocols.ryll.steps import plan


def main() -> None:
    given: list[Any] = []

    def steps(value: Any) -> Any:
        """Keep the steps for the session; Ansible's own logs get them without the private texts."""
        given.append(value)
        return hide(value)

    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "steps": {"type": steps, "required": True},
            "limit": {"type": "float", "default": 300.0},
            "step_limit": {"type": "float", "default": 10.0},
            "connect_within": {"type": "float", "default": 0.0},
            "max_line_bytes": {"type": "int", "default": 67108864},
            "pid": {"type": "int"},
            "lane_dir": {"type": "path"},
            "log_file": {"type": "path"},
            "transcript_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    values = dict(module.params)
    del values["steps"]
    lane_dir = values.pop("lane_dir")

    def work() -> dict[str, Any]:
        planned = plan(given[0], values.pop("step_limit"))
        settings = Settings(**values)
        if module.check_mode:
            return rehearse(settings, planned)
        try:
            with loss.watched(lane_dir, {"ryll"}) if lane_dir else nullcontext():  # ryll itself is watched by its pid
                return warned(run(settings, planned))
        except SessionFailed as error:
            warned(error.result)
            raise

    def warned(result: dict[str, Any]) -> dict[str, Any]:
        for notice in result["notices"]:
            module.warn(notice)
        result["lane_note"] = ", ".join(step["name"] for step in result["transcript"] if step["result"] == "ok")
        return result

    finish(module, work)


if __name__ == "__main__":
    main()
