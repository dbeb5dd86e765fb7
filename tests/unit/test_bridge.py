"""What a module says when the system refuses something: which disk is full, where it is the lane's."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from ansible.module_utils.lane.core import ansible_result


class Failed(Exception):
    """What fail_json was given."""


def told(lane_dir: str, error: OSError) -> dict[str, Any]:
    """lane_failure of a module whose work ends with this error."""

    def fail_json(**values: object) -> NoReturn:
        raise Failed(values)

    def work() -> dict[str, Any]:
        raise error

    module = SimpleNamespace(_name="spine_check", params={"lane_dir": lane_dir}, fail_json=fail_json)
    with pytest.raises(Failed) as caught:
        ansible_result.finish(module, work)
    failure: dict[str, Any] = caught.value.args[0]["lane_failure"]
    return failure


def test_a_full_disk_is_named_with_its_room(tmp_path: Path) -> None:
    failure = told(str(tmp_path), OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert failure["component"] == "environment"
    free = r" KiB are free, and spine_check cannot write: No space left on device (/x); look at df "
    assert failure["cause"].startswith(f"expected room in {tmp_path}, but ")
    assert failure["cause"].endswith(f"{free}{tmp_path}")


@pytest.mark.parametrize(("lane_dir", "number"), [("/no/such", errno.ENOSPC), ("/tmp", errno.EACCES)])
def test_everything_else_as_the_system_said_it(lane_dir: str, number: int) -> None:
    assert told(lane_dir, OSError(number, "words", "/x"))["cause"] == "expected spine_check to do its work, but the system said words (/x)"
