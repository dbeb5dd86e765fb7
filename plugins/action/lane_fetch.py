"""lane_fetch: bring the evidence of a lane from its machine to this one.

    - name: Fetch the evidence from the lane's machine
      lane_fetch:
        src: "{{ __evidence.lane_archive }}" # as the module lane_evidence packed it
        dest: artifacts/box # a directory of this machine

It uses the connection of the host, whichever that is.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import ansible.module_utils
from ansible import constants as C
from ansible.plugins.action import ActionBase

ansible.module_utils.__path__.extend(set(C.DEFAULT_MODULE_UTILS_PATH).difference(ansible.module_utils.__path__))
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.evidence import transport


class ActionModule(ActionBase):
    """Returns changed: true and lane_fetched, the directory; or fails with msg and lane_failure."""

    _VALID_ARGS = frozenset(("src", "dest"))

    def run(self, tmp=None, task_vars=None):
        """Fetch and unpack."""
        result = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "skipped": True}
        dest = os.path.expanduser(self._task.args["dest"])
        with tempfile.TemporaryDirectory(dir=C.DEFAULT_LOCAL_TMP) as folder:
            archive = os.path.join(folder, "evidence.tar")
            self._connection.fetch_file(self._task.args["src"], archive)
            try:
                transport.unpack(archive, Path(dest))
            except LaneError as error:
                return {**result, "failed": True, "msg": str(error), "lane_failure": error.as_dict()}
        return {**result, "changed": True, "lane_fetched": dest}
