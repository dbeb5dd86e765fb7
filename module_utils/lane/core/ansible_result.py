"""The one place where the lane's exceptions become Ansible results.

Everything else in this package is plain Python and knows nothing of AnsibleModule.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from . import limits, secrets
from .errors import LaneError, one_line


def finish(module: Any, work: Callable[[], dict[str, Any]]) -> NoReturn:
    """Run `work` and end the module with its result, or with one sentence that says why not.

    `work` returns the module's result ("changed" included). A LaneError becomes fail_json with `lane_failure`
    (component, check, code, cause, evidence) and whatever the error carries in `.result`; anything else is a mistake in
    the lane itself, is reported as such, and its traceback is kept in `exception`, which Ansible shows at -vvv only.
    """
    try:
        result = work()
    except LaneError as error:
        module.fail_json(**_shown(module, {**error.result, "msg": str(error), "lane_failure": error.as_dict()}))
    except OSError as error:
        failure = _limit(module, error) or _of_the_system(module, error)
        module.fail_json(msg=str(failure), lane_failure=failure.as_dict(), exception=traceback.format_exc())
    except Exception as error:  # the last line of defence: no bare traceback for the user
        problem = f"the module {module._name} has a bug: {type(error).__name__}: {one_line(str(error))}"
        fix = "run it again with -vvv and report the traceback"
        failure = _limit(module, error) or LaneError("internal_error", "lane", problem, fix)
        module.fail_json(msg=str(failure), lane_failure=failure.as_dict(), exception=traceback.format_exc())
    module.exit_json(**result)
    raise AssertionError("exit_json returned")


def _limit(module: Any, error: Exception) -> LaneError | None:
    """A limit of the machine that the module itself ran into: open files, processes, memory."""
    reached = limits.limit_reached(f"{type(error).__name__}: {error}")
    return LaneError(reached[0], "host", f"{module._name} failed: {reached[1]}") if reached else None


def _of_the_system(module: Any, error: OSError) -> LaneError:
    """What the system refused. Of a full disk, the folder that is full."""
    named = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        given = [v for v in module.params.values() if isinstance(v, str) and v.startswith("/")]
        paths = [error.filename] if isinstance(error.filename, str) else given
        free, folder = min((_free(path) for path in paths), default=(0, "a disk"))
        problem = f"{module._name} cannot write{named}: {error.strerror}; {free // 1024} KiB are free in {folder}"
        return LaneError("disk_full", "host", problem, f"free some space there (df {folder}) or use another folder")
    return LaneError("system_refused", "environment", f"{module._name} failed: {error.strerror or error}{named}")


def _free(path: str) -> tuple[int, str]:
    """(bytes that are free, the nearest folder of the path that exists)."""
    found = limits.existing(path)
    folder = str(found if found.is_dir() else found.parent)
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize, folder


def _shown(module: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The same without the secrets of the lane that the module works for: a message may quote the end of a log."""
    lane_dir = module.params.get("lane_dir")
    return secrets.masked(lane_dir, values) if lane_dir and os.path.isdir(lane_dir) else values
