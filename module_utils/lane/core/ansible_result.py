"""The one place where the lane's exceptions become Ansible results.

Everything else in this package is plain Python and knows nothing of AnsibleModule.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from ..evidence import secret_scan
from .errors import LaneError, legacy_error, one_line


def finish(module: Any, work: Callable[[], dict[str, Any]]) -> NoReturn:
    """Run `work` and end the module with its result, or with one sentence that says why not.

    `work` returns the module's result ("changed" included). A LaneError becomes fail_json with `lane_failure`
    (component, check, cause, evidence) and whatever the error carries in `.result`; anything else is a mistake in the lane
    itself, is reported as such, and its traceback is kept in `exception`, which Ansible shows at -vvv only.
    """
    try:
        result = work()
    except LaneError as error:
        module.fail_json(**_shown(module, {**error.result, "msg": str(error), "lane_failure": error.as_dict()}))
    except OSError as error:
        failure = _of_the_system(module, error)
        module.fail_json(msg=str(failure), lane_failure=failure.as_dict(), exception=traceback.format_exc())
    except Exception as error:  # the last line of defence: no bare traceback for the user
        failure = legacy_error("lane", f"{module._name} to work", f"it broke with {type(error).__name__}: {one_line(str(error))}", "-vvv")
        module.fail_json(msg=str(failure), lane_failure=failure.as_dict(), exception=traceback.format_exc())
    module.exit_json(**result)
    raise AssertionError("exit_json returned")


def _of_the_system(module: Any, error: OSError) -> LaneError:
    """What the system refused. Where a disk is full, this says which, as far as it is the lane's."""
    named = f" ({error.filename})" if error.filename else ""
    lane_dir = str(module.params.get("lane_dir") or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and os.path.isdir(lane_dir):
        room = os.statvfs(lane_dir)
        got = f"{room.f_bavail * room.f_frsize // 1024} KiB are free, and {module._name} cannot write: {error.strerror}{named}"
        return legacy_error("environment", f"room in {lane_dir}", got, f"df {lane_dir}")
    return legacy_error("environment", f"{module._name} to do its work", f"the system said {error.strerror or error}{named}")


def _shown(module: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The same without the secrets of the lane that the module works for: a message may quote the end of a log."""
    lane_dir = module.params.get("lane_dir")
    return secret_scan.masked(lane_dir, values) if lane_dir else values
