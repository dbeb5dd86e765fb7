"""The description of a program of the lane, and the module options that it is made from."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.command import SYSTEM_PATH
from ..core.errors import COMPONENTS, LaneError
from ..core.private_dir import MARK, Run
from .readiness import Ready

#: Without it setproctitle (gunicorn and kerbside use it) overwrites the environment with the title, and the mark with
#: it.
KEEP_MARK = {"SPT_NOENV": "1"}

READY: dict[str, Any] = {
    "port": {"type": "int"},
    "socket": {"type": "path"},
    "greeting": {"type": "bool", "default": False},
    "http": {"type": "str"},
    "log": {"type": "str"},
}
FATAL: dict[str, Any] = {
    "file": {"type": "path"},
    "pattern": {"type": "str", "required": True},
    "component": {"type": "str", "choices": list(COMPONENTS), "required": True},
    "problem": {"type": "str", "required": True},
}
SHARED: dict[str, Any] = {
    "env": {"type": "dict", "default": {}},
    "secret_env": {"type": "dict", "default": {}, "no_log": False},
    "secret_files": {"type": "dict", "default": {}, "no_log": False},
}
LIMIT: dict[str, Any] = {"limit": {"type": "float", "default": 30}}
PROGRAM: dict[str, Any] = {
    **SHARED,
    "name": {"type": "str", "required": True},
    "component": {"type": "str", "choices": list(COMPONENTS), "default": "lane"},
    "argv": {"type": "list", "elements": "str", "required": True},
    "shared_env": {"type": "bool", "default": False},
    "after": {"type": "list", "elements": "str", "default": []},
    "oneshot": {"type": "bool", "default": False},
    "stop_signal": {"type": "str", "choices": ["TERM", "INT", "KILL"], "default": "TERM"},
    "ready": {"type": "dict", "options": READY, "mutually_exclusive": [["port", "socket", "http", "log"]]},
    "fatal": {"type": "dict", "options": FATAL},
}


@dataclass(frozen=True)
class Fatal:
    """A text that shows that a program is of no use any more although it still runs.

    pattern: a regular expression (multi-line), searched in what the file got since the program's start; `{}` in problem
    stands for its group.
    """

    file: str
    pattern: str
    component: str
    problem: str


@dataclass(frozen=True)
class Program:
    """One program of the lane.

    oneshot: it has to end with status 0 and is then done. secret_env: name -> (file, format): the variable's value is
    the format with `{}` replaced by the file's text, so that no secret passes through Ansible. secret_files: the same
    for files written (0600) at the start.
    """

    name: str
    component: str
    argv: tuple[str, ...]
    log: str
    env: dict[str, str] = field(default_factory=dict)
    secret_env: dict[str, tuple[str, str]] = field(default_factory=dict)
    secret_files: dict[str, tuple[str, str]] = field(default_factory=dict)
    ready: Ready = field(default_factory=Ready)
    after: tuple[str, ...] = ()
    oneshot: bool = False
    limit: float = 30
    stop_signal: str = "TERM"
    fatal: Fatal | None = None

    def environment(self, run: Run, lane_dir: str) -> dict[str, str]:
        """The complete environment; nothing is inherited from the caller."""
        values = {"PATH": SYSTEM_PATH, "HOME": lane_dir, "TMPDIR": f"{lane_dir}/tmp", "LANG": "C.UTF-8", MARK: run.mark}
        return {
            **values,
            **KEEP_MARK,
            **self.env,
            **{name: filled(*source) for name, source in self.secret_env.items()},
        }

    def digest(self, run: Run, lane_dir: str) -> str:
        """A digest of everything that the program is started with."""
        files = {path: filled(*source) for path, source in self.secret_files.items()}
        spec = json.dumps([self.argv, self.environment(run, lane_dir), files, self.oneshot], sort_keys=True)
        return hashlib.sha256(spec.encode()).hexdigest()


def filled(source: str, form: str) -> str:
    """A format with `{}` replaced by the text of a file."""
    return form.replace("{}", Path(source).read_text(encoding="utf-8"))


def from_options(given: dict[str, Any], shared: dict[str, Any]) -> Program:
    """The description of one program from its options; shared: the module's own, lane_dir, LIMIT and SHARED."""
    common: dict[str, Any] = shared if given["shared_env"] else {name: {} for name in SHARED}
    log = f"{shared['lane_dir']}/logs/{given['name']}.log"
    fatal = given["fatal"]
    return Program(
        name=given["name"],
        component=given["component"],
        argv=tuple(given["argv"]),
        log=log,
        env={key: str(value) for key, value in (common["env"] | given["env"]).items()},
        secret_env=_secrets(common, "secret_env") | _secrets(given, "secret_env"),
        secret_files=_secrets(common, "secret_files") | _secrets(given, "secret_files"),
        ready=Ready(**(given["ready"] or {})),
        after=tuple(given["after"]),
        oneshot=given["oneshot"],
        limit=shared["limit"],
        stop_signal=given["stop_signal"],
        fatal=Fatal(**{**fatal, "file": fatal["file"] or log}) if fatal else None,
    )


def _secrets(given: dict[str, Any], option: str) -> dict[str, tuple[str, str]]:
    """secret_env or secret_files as {name: (file, format)}."""
    for name, source in given[option].items():
        if not isinstance(source, dict) or set(source) - {"file", "format"} or "file" not in source:
            problem = f"{option}.{name} of {given.get('name', 'all programs')} does not have the keys file and format"
            raise LaneError("invalid_program", "lane", problem)
    return {name: (source["file"], source.get("format", "{}")) for name, source in given[option].items()}


def check(programs: list[Program]) -> None:
    """Raise LaneError for names that cannot be files, and for programs that come after one not listed before."""
    names: set[str] = set()
    for program in programs:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", program.name):
            problem = f"{program.name!r} is not a program name: use lower-case letters, digits, - and _"
            raise LaneError("invalid_program", "lane", problem)
        if unknown := [a for a in program.after if a not in names]:
            problem = f"{program.name} is to start after {', '.join(unknown)}, which is not listed before it"
            raise LaneError("invalid_program", "lane", problem)
        names.add(program.name)
