"""Run ansible-playbook for `./lane`: python -m tools.play yes|no PLAYBOOK OPTION... The exit status is that of the verdict (./lane help).

"yes" means that the run must end with a verdict. Ansible can end before the lane's plugins are loaded, for example without /dev/shm or with an option
that it does not know; then this prints the last line and writes result.json.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

for _number in (signal.SIGINT, signal.SIGQUIT):  # ignored so far, as in every background job of a shell; without a traceback during the imports
    signal.signal(_number, signal.SIG_DFL)

from ansible.cli import playbook
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.lifecycle import artifacts

from tools import ROOT

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19 every text is one
    trust_as_template = str

INTERRUPTED = 99  #: ansible-playbook's exit status after Ctrl-C
STATUS = {"pass": 0, "fail": 1, "error": 2}


def main() -> None:
    """Entry point."""
    must_judge, options = sys.argv[1] == "yes", sys.argv[2:]
    os.environ.pop("PYTHONPATH", None)  # of this program only
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["ansible-playbook", *options]
    status = 0
    try:
        playbook.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    if status == INTERRUPTED:
        sys.exit(128 + signal.SIGINT)  # ./lane prints the last line
    path = Path(os.environ["LANE_VERDICT_FILE"])
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if found in STATUS and (found != "pass" or status == 0):
        sys.exit(STATUS[found])
    if status == 0 and not must_judge and not found:
        return
    what = f"the verdict is {found}, but " if found else ""
    error = LaneError("ansible_ended", "lane", f"{what}ansible-playbook ended with status {status} and no verdict", "see its message above")
    print(report(error), flush=True)
    sys.exit(2)


def report(error: LaneError) -> str:
    """Write result.json where this command would have written it, unless a lane that is running does; returns the last line."""
    with contextlib.suppress(Exception):  # the last line comes in any case
        from ansible.parsing.dataloader import DataLoader
        from ansible.template import Templar
        from ansible.utils.vars import load_extra_vars

        loader = DataLoader()
        shared = loader.load_from_file(str(ROOT / "roles/lane/defaults/main.yml"))
        known = {name: trust_as_template(value) if isinstance(value, str) else value for name, value in shared.items()}
        known["playbook_dir"] = str(ROOT / "playbooks")
        with contextlib.suppress(Exception):  # of options that Ansible could not parse
            known.update(load_extra_vars(loader))
        templar = Templar(loader, variables=known)
        lane_id, lane_dir, folder, planned = (templar.template(known[f"lane_{name}"]) for name in ("id", "dir", "artifacts_dir", "checks"))
        if artifacts.begin(lane_dir, folder, True):
            artifacts.refuse(folder, lane_id, error.as_dict(), planned)
    return f"LANE FAIL {error}"


if __name__ == "__main__":
    main()
