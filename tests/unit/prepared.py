"""What the tests of many parts share: a stand-in for a program, an index of packages, a changed file, and the LaneError
that is expected.
"""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError


def allowed(port: int, ticket: str) -> str:
    """A script that prints what control_service.QUERY does when kerbside's control service sends its proxy there."""
    told = {"hypervisor_ip": "127.0.0.1", "insecure_port": port, "secure_port": 0, "ticket": ticket}
    return f"echo imported; echo {shlex.quote(json.dumps(told))}"


def unanswered(code: str) -> str:
    """A script that ends as QUERY does when gRPC reports this code."""
    return f"echo '	status = StatusCode.{code}' >&2; exit 1"


def executable(path: Path, script: str) -> str:
    """A shell script in the place of a program."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def only_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that pip takes for the only index there is."""
    folder.mkdir(exist_ok=True)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def change(file: Path, old: str, new: str, most: int = 1) -> None:
    """Replace a text that the file has, at most so often (-1: everywhere)."""
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file.name}"
    file.write_text(text.replace(old, new, most), encoding="utf-8")


@contextmanager
def fails(code: str, component: str = "environment", words: str = "") -> Iterator[pytest.ExceptionInfo[LaneError]]:
    """The block has to end with this LaneError, with these words in its problem."""
    with pytest.raises(LaneError) as caught:
        yield caught
    assert (caught.value.code, caught.value.component) == (code, component), caught.value
    assert words in caught.value.problem, caught.value
