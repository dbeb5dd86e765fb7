#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: lane_look
short_description: Show a running lane, and change nothing
description:
  - What C(./lane ps), C(./lane logs) and C(./lane shot) show, for a lane on another machine.
extends_documentation_fragment:
  - lane_module
options:
  what:
    description:
      - C(ps) lists the lanes of this user on the machine, C(logs) shows the lane's logs, and C(shot) takes a
        screenshot.
      - C(python) only returns RV(ansible_facts.lane_python).
    type: str
    choices: [ps, logs, shot, python]
    required: true
  lane_id:
    description: Number of the lane.
    type: int
    required: true
  part:
    description: With C(logs), show only the lines of this program.
    type: str
    default: ""
  label:
    description: The lane's name in the output.
    type: str
    required: true
  shown:
    description: With C(shot), the path of the screenshot in the output.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: List the lanes on a machine
  lane_look:
    what: ps
    lane_id: 0
    label: box
"""

RETURN = r"""
lane_word:
  description: The output for the terminal.
  returned: success, without C(python)
  type: str
file:
  description: The screenshot, in the lane's directory.
  returned: with C(shot)
  type: str
ansible_facts:
  description: RV(ansible_facts.lane_python) has the interpreter that the role deps made on the machine, or is empty.
  returned: success
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.core.private_dir import handed_over
from ansible.module_utils.lane.evidence import logs
from ansible.module_utils.lane.lifecycle import running

MOST = 1 << 20  #: characters of logs; the last ones are shown


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "what": {"type": "str", "choices": ["ps", "logs", "shot", "python"], "required": True},
            "lane_id": {"type": "int", "required": True},
            "part": {"type": "str", "default": ""},
            "label": {"type": "str", "required": True},
            "shown": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params

    def work() -> dict:
        result: dict = {"changed": False, "ansible_facts": {"lane_python": {}}}
        if given["what"] == "ps":
            return {**result, "lane_word": f"{given['label']}:\n{running.table(running.lanes())}"}
        up = running.running(given["lane_id"])
        result["ansible_facts"]["lane_python"] = handed_over(up.dir).get("lane_python", {})
        if given["what"] == "logs":
            text = "\n".join(logs.lines(Path(up.dir, "logs"), given["part"]))
            result["lane_word"] = f"{given['label']}:\n{text[-MOST:]}"
        if given["what"] == "shot":
            from ansible.module_utils.lane.checks import shot  # it needs the interpreter with the lane's packages

            file = Path(up.dir, "shot.png")
            result.update(lane_word=f"{given['label']}: {given['shown']}: {shot.take(up.dir, file)}", file=str(file))
        return result

    finish(module, work)


if __name__ == "__main__":
    main()
