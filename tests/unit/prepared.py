"""What the tests of many parts share: a stand-in for a program, and the LaneError that is expected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError


def executable(path: Path, script: str) -> str:
    """A shell script in the place of a program."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@contextmanager
def fails(code: str, component: str = "environment", words: str = "") -> Iterator[pytest.ExceptionInfo[LaneError]]:
    """The block has to end with this LaneError, with these words in its problem."""
    with pytest.raises(LaneError) as caught:
        yield caught
    assert (caught.value.code, caught.value.component) == (code, component), caught.value
    assert words in caught.value.problem, caught.value
