"""role_inputs: check the inputs of several roles at once, before the first of them runs.

    - name: Check the inputs
      role_inputs:
        roles: [tls, kerbside]
        known: ../inventory/group_vars/all/lane.yml # beside the roles' own, the names that may be given

Ansible checks a role's inputs when it comes to the role, which is half-way through a lane. This compares them by the same rules with the same
meta/argument_specs.yml, and also refuses an extra variable that nobody knows though its name
begins as a role's do, or is nearly a known one. What is wrong is one sentence, blamed on the environment.
"""

from __future__ import annotations

import difflib
import os

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import origin
from ansible.plugins.action.validate_argument_spec import ActionModule as ValidateArgumentSpec
from ansible.utils.vars import load_extra_vars

ALIKE = 0.85  # difflib's ratio, from which on a name is taken for another one's misspelling


class ActionModule(ValidateArgumentSpec):
    """Ansible's own check of a role's inputs, for many roles."""

    def run(self, tmp=None, task_vars=None):
        """Returns nothing but changed: false, or fails with msg and lane_failure."""
        result = super(ValidateArgumentSpec, self).run(tmp, task_vars)
        spec = {}
        for role in self._task.args["roles"]:
            path = next((path for path in _spec_files(role) if os.path.exists(path)), None)
            if path is None:
                raise AnsibleActionFail(f"no meta/argument_specs.yml of a role {role} in {', '.join(C.DEFAULT_ROLES_PATH)}")
            spec.update(self._loader.load_from_file(path, unsafe=True)["argument_specs"]["main"]["options"])
        known = self._loader.load_from_file(self._task.args["known"], unsafe=True)
        values = self.get_args_from_task_vars(spec, task_vars or {})
        unknown = _unknown(load_extra_vars(self._loader), {*spec, *known}, self._task.args["roles"])
        wrong = [*unknown, *ArgumentSpecValidator(spec).validate(values, validate_role_argument_spec=True).error_messages]
        if not wrong:
            try:
                origin.check(values)
            except LaneError as error:
                return {**result, "failed": True, "msg": str(error), "lane_failure": error.as_dict()}
            return {**result, "changed": False}
        cause = f"expected the lane's variables to be what it can work with, but {'; '.join(_short(words) for words in wrong)}; look at README.md"
        failure = {"component": "environment", "check": None, "cause": cause, "evidence": None}
        return {**result, "failed": True, "msg": f"environment: {cause}", "lane_failure": failure}


def _spec_files(role):
    return [os.path.join(folder, role, "meta/argument_specs.yml") for folder in C.DEFAULT_ROLES_PATH]


def _unknown(given, known, roles):
    for name in given:
        near = difflib.get_close_matches(name, known, 1, ALIKE)
        if name not in known and (near or name.startswith(("lane_", *(f"{role}_" for role in roles)))) and not name.startswith("ansible_"):
            yield f"there is no variable {name}" + (f" (perhaps {near[0]} is meant)" if near else "")


def _short(words):
    """Ansible's words for what is wrong with a value, without the names of its classes."""
    return " ".join(words.split(": <class")[0].replace(" and we were unable to convert to ", ", not ").split())
