"""lane_heartbeat: give a lane on another machine a sign of life every few seconds, as long as this ansible-playbook
runs.

    - name: Renew the lease of the lane as long as this command runs
      lane_heartbeat:
        file: /tmp/kerbside-lane-0/heartbeat

The lane's keeper waits for it (docs/no-trace.md). It comes from a small process of its own, because tasks can take
long, by the connection of the host, whichever that is. That process ends with ansible-playbook, however that ends, and
when the lane's directory is gone.
"""

from __future__ import annotations

import ctypes
import os
import select
import shlex
import signal

from ansible.plugins.action import ActionBase

PERIOD = 4.0  #: seconds
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ActionModule(ActionBase):
    """Returns changed: false."""

    _VALID_ARGS = frozenset(("file",))

    def run(self, tmp=None, task_vars=None):
        """Start the process."""
        result = super().run(tmp, task_vars)
        file = self._task.args["file"]
        command = f"test -d {shlex.quote(os.path.dirname(file))} && touch {shlex.quote(file)}"
        playbook = os.pidfd_open(os.getppid())  # this is one of its workers, which ends with this task
        ready, started = os.pipe()
        if os.fork() == 0:
            try:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)  # set for all forks by plugins/callback/lane.py
                os.close(started)
                self._beat(playbook, f"/bin/sh -c {shlex.quote(command)}")
            finally:
                os._exit(0)
        os.close(started)
        os.read(ready, 1)  # until then the end of this process would be that of the new one
        for descriptor in (ready, playbook):
            os.close(descriptor)
        return {**result, "changed": False}

    def _beat(self, playbook, command):
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        gone = False
        while not gone:
            try:
                gone = self._connection.exec_command(command, sudoable=False)[0] == 1
            except Exception:  # the machine may be reached again, and if not, the keeper there sees to the lane
                gone = False
            gone = gone or bool(select.select([playbook], [], [], PERIOD)[0])
