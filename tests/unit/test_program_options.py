"""The description of a program as lane_process and kerbside_database take it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.programs.options import PROGRAM, SHARED, program

TICKET = {"file": "/secret", "format": "x:{}"}


def described(shared: dict[str, Any] | None = None, **options: Any) -> Any:
    """A program from options that have passed the argument spec, as in a module."""
    found = ArgumentSpecValidator(PROGRAM).validate({"name": "server", "argv": ["/bin/true"], "log": "/log", **options})
    assert not found.error_messages
    common = ArgumentSpecValidator(SHARED).validate(shared or {})
    return program(found.validated_parameters, common.validated_parameters)


def test_what_is_shared_goes_to_those_that_ask_and_gives_way_to_their_own() -> None:
    shared = {"env": {"A": 1, "B": 2}, "secret_env": {"T": {"file": "/other"}, "U": TICKET}, "secret_files": {"/f": TICKET}}
    asking = described(shared, shared_env=True, env={"B": 3}, secret_env={"T": TICKET})
    assert asking.env == {"A": "1", "B": "3"}
    assert asking.secret_env == {"T": ("/secret", "x:{}"), "U": ("/secret", "x:{}")}
    other = described(shared, env={"B": 3})
    assert asking.secret_files == {"/f": ("/secret", "x:{}")}
    assert (other.env, other.secret_env, other.secret_files) == ({"B": "3"}, {}, {})


@pytest.mark.parametrize("source", ["/secret", {}, {"format": "{}"}, {"file": "/secret", "mode": "0600"}])
def test_a_secret_is_a_file_and_perhaps_a_format(source: Any) -> None:
    with pytest.raises(LaneError, match=r"^lane: expected secret_env\.T of server to have a file and perhaps a format, but it is "):
        described(secret_env={"T": source})


@pytest.mark.parametrize("less", ["argv", "log"])
def test_a_program_has_argv_and_log(less: str) -> None:
    with pytest.raises(LaneError, match=r"^lane: expected program server to have argv and log, but one of them is missing"):
        described(**{less: [] if less == "argv" else None})
