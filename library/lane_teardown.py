#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_teardown
short_description: Take a lane down and check that nothing is left, or keep it running
description:
  - Kills what carries the lane's mark, removes its directory, and ends its keeper.
  - Stops another command that is using the lane; that command's verdict is then C(aborted).
  - Touches nothing without the mark. On a clean machine it changes nothing.
  - Fails, and ends nothing, when the lane of this number runs in another directory.
  - Fails when a process, a listener or the directory is still there afterwards, and writes that into C(result.json).
extends_documentation_fragment:
  - lane_module
  - lane_dir
options:
  keep:
    description: Keep the lane running instead, also after the command that started it. C(lane_word) says what can be
      done with it.
    type: bool
    default: false
  lane_id:
    description: Number of the lane.
    type: int
    required: true
  artifacts_dir:
    description: Directory with this run's C(result.json), which is completed.
    type: path
    required: true
  ports:
    description: The lane's ports by name. Nothing may listen on them afterwards.
    type: dict
    default: {}
  return_verdict:
    description: Return the run's verdict when it was completed. If false, C(lane_word) says what was taken down.
    type: bool
    default: true
  discard:
    description: Return the completed result as C(lane_result), and remove O(artifacts_dir), whose content was fetched
      before.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Take lane 0 down
  lane_teardown:
    lane_id: 0
    lane_dir: /tmp/kerbside-lane-0
    artifacts_dir: /home/me/lane/artifacts/lane-0
    ports:
      lane_proxy_port: 17900
"""

RETURN = r"""
ended:
  description: The programs that were ended, by name.
  returned: success
  type: list
  elements: str
removed:
  description: The directories that were removed.
  returned: success
  type: list
  elements: str
lane_verdict:
  description: verdict, line and file, when this run wrote a result.
  returned: when a result was completed, and O(return_verdict)
  type: dict
lane_word:
  description: What was taken down, or what can be done with the lane, as a line for the terminal.
  returned: success, with O(keep) or without O(return_verdict)
  type: str
lane_result:
  description: The content of C(result.json).
  returned: with O(discard), when a result was completed
  type: dict
"""

import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core import check_report, private_dir
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import verdict
from ansible.module_utils.lane.lifecycle import claim, keeper, run_state, teardown


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "keep": {"type": "bool", "default": False},
            "lane_id": {"type": "int", "required": True},
            "lane_dir": {"type": "path", "required": True},
            "artifacts_dir": {"type": "path", "required": True},
            "ports": {"type": "dict", "default": {}},
            "return_verdict": {"type": "bool", "default": True},
            "discard": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    ports = {name: int(port) for name, port in given["ports"].items()}

    def work() -> dict:
        if given["keep"] and not module.check_mode:
            word = kept(claim.keep_running(given["lane_dir"]))
            return {"changed": True, "ended": [], "removed": [], "lane_word": word}
        with private_dir.alone(given["lane_id"]):
            return take_down()

    def kept(order: run_state.Order) -> str:
        lane_id = given["lane_id"]
        mine = f" -e lane_id={lane_id}" if lane_id else ""
        guests = {one[0] for one in order.planned if isinstance(one, list)}
        guest = f" -e lane_guest={guests.pop()}" if len(guests) == 1 else ""
        verbs = ("logs", "shot", f"smoke{guest}", f"--tags kerbside{guest}", "down")
        return f"lane {lane_id} keeps running: {'; '.join(f'./lane {verb}{mine}' for verb in verbs)}"

    def take_down() -> dict:
        begun, failure, others = time.monotonic(), None, []
        run_state.check_elsewhere(given["lane_id"], given["lane_dir"])
        run = run_state.owned(given["lane_id"], given["lane_dir"])
        if not module.check_mode:
            others = keeper.end_others(given["lane_id"], given["lane_dir"], check_report.command_id())
        try:
            done = teardown.take_down(given["lane_id"], given["lane_dir"], ports, look_only=module.check_mode)
        except LaneError as error:
            done, failure = {}, error
        if others and not failure:
            done.update(changed=True, ended=[*others, *done["ended"]])
        ended = f"ended {', '.join(done['ended'])}" if done.get("ended") else "no program was running"
        if given["return_verdict"]:
            done["lane_note"] = ended
        elif not failure:
            state = f"is down: {ended}" if done["changed"] else "was not running"
            done["lane_word"] = f"lane {given['lane_id']} {state}"
        if not module.check_mode:
            try:
                done.update(close(run, begun, failure) if run else {})
            finally:
                keeper.dismiss(given["lane_id"])  # last: if this module is killed before, the keeper finishes the work
        if failure:
            failure.result = done
            raise failure
        return done

    def close(run: private_dir.Run, begun: float, failure: LaneError | None) -> dict:
        """Complete the result of this run; what the module returns of it."""
        seconds = round(time.monotonic() - begun, 3)
        phase = {"name": "teardown", "seconds": seconds, "started": time.time() - seconds}
        fault = failure.as_dict() if failure else None
        result = verdict.close(given["artifacts_dir"], run, check_report.command_id(), phase, fault)
        found = {}
        if result and given["return_verdict"]:
            found["lane_verdict"] = verdict.shown(result, given["artifacts_dir"])
        if result and given["discard"]:
            found["lane_result"] = result
            shutil.rmtree(given["artifacts_dir"])
        return found

    finish(module, work)


if __name__ == "__main__":
    main()
