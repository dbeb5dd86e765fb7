"""Programs as options of a module: the argument spec of one, and process.Program made from what it lets through."""

from __future__ import annotations

from typing import Any

from ..core.errors import COMPONENTS, legacy_error
from .process import Program
from .readiness import Ready

READY: dict[str, Any] = {
    "port": {"type": "int"},
    "socket": {"type": "path"},
    "greeting": {"type": "bool", "default": False},
    "http": {"type": "str"},
    "log": {"type": "str"},
}
PROGRAM: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "component": {"type": "str", "choices": list(COMPONENTS), "default": "lane"},
    "argv": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "dict", "default": {}},
    "shared_env": {"type": "bool", "default": False},
    "secret_env": {"type": "dict", "default": {}, "no_log": False},
    "secret_files": {"type": "dict", "default": {}, "no_log": False},
    "log": {"type": "path"},
    "after": {"type": "list", "elements": "str", "default": []},
    "oneshot": {"type": "bool", "default": False},
    "limit": {"type": "float", "default": 30},
    "stop_signal": {"type": "str", "choices": ["TERM", "INT", "KILL"], "default": "TERM"},
    "ready": {"type": "dict", "options": READY, "mutually_exclusive": [["port", "socket", "http", "log"]]},
}


SHARED: dict[str, Any] = {
    "env": {"type": "dict", "default": {}},
    "secret_env": {"type": "dict", "default": {}, "no_log": False},
    "secret_files": {"type": "dict", "default": {}, "no_log": False},
}


def secrets(given: dict[str, Any], option: str) -> dict[str, tuple[str, str]]:
    """secret_env or secret_files as {name: (file, format)}."""
    for name, source in given[option].items():
        if not isinstance(source, dict) or set(source) - {"file", "format"} or "file" not in source:
            raise legacy_error("lane", f"{option}.{name} of {given.get('name', 'all programs')} to have a file and perhaps a format", f"it is {sorted(source)}")
    return {name: (source["file"], source.get("format", "{}")) for name, source in given[option].items()}


def program(given: dict[str, Any], shared: dict[str, Any]) -> Program:
    """The description of one program from its module parameters; shared: the module's own, with SHARED among them."""
    common: dict[str, Any] = shared if given["shared_env"] else {name: {} for name in SHARED}
    if not given["argv"] or not given["log"]:
        raise legacy_error("lane", f"program {given['name']} to have argv and log", "one of them is missing")
    return Program(
        name=given["name"],
        component=given["component"],
        argv=tuple(given["argv"]),
        log=given["log"],
        env={key: str(value) for key, value in (common["env"] | given["env"]).items()},
        secret_env=secrets(common, "secret_env") | secrets(given, "secret_env"),
        secret_files=secrets(common, "secret_files") | secrets(given, "secret_files"),
        ready=Ready(**(given["ready"] or {})),
        after=tuple(given["after"]),
        oneshot=given["oneshot"],
        limit=given["limit"],
        stop_signal=given["stop_signal"],
    )
