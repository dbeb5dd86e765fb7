"""pip, as the lane calls it: only the caller's settings for reaching an index count, and a failure is told by its kind.

pip says which package failed, but not whose fault that is; `failure` tells an index that cannot be reached from a
package that does not exist, from a source that does not build, and from a compiler that is not installed.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import tomllib
from pathlib import Path

from ..core import command
from ..core.errors import LaneError, one_line

#: pip's settings for reaching an index. Any other one would change what is installed, or where.
SETTINGS = (
    "index-url extra-index-url no-index find-links cert client-cert proxy trusted-host default-timeout timeout "
    "cache-dir no-cache-dir keyring-provider"
).split()
KEEP = tuple(f"PIP_{name.upper().replace('-', '_')}" for name in SETTINGS)
OPTIONS = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
#: Words of pip and its HTTP library for a server that did not answer.
UNREACHABLE = re.compile(
    r"connection broken by .*|Max retries exceeded.*|Could not fetch URL .*|Cannot connect to proxy.*"
)
NO_COMPILER = re.compile(r"(?:command|execute) '([\w.+/-]+)'(?: failed)?: No such file")
LIMIT = 60.0
RETRIES = "3"  # pip names the reason when it tries again, and not with 0 retries


def environment(mark: str | None, pip: list[str] | None = None) -> dict[str, str]:
    """For pip: the caller's settings for reaching an index, from PIP_* and pip's configuration files, and none of the
    others.

    pip: the one that is asked for them, where `program` finds none.
    """
    base = command.environment(mark, ("XDG_CONFIG_HOME", "PIP_CONFIG_FILE"), network=True)
    own = {name: os.environ[name] for name in KEEP if name in os.environ}
    listed = command.run(
        [*(pip or program()), "config", "list", "--disable-pip-version-check"],
        base,
        LIMIT,
        "pip to read its configuration",
    )
    found: dict[str, str] = {}
    for section in ("global", "install", "download"):
        for line in listed.out.splitlines():
            key, _, value = line.partition("=")
            name = key.removeprefix(f"{section}.")
            if name in SETTINGS and key != name:
                found[f"PIP_{name.upper().replace('-', '_')}"] = str(ast.literal_eval(value))
    return {
        **base,
        **found,
        **own,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": RETRIES,
        "PIP_REQUIRE_VIRTUALENV": "0",
    }


def program() -> list[str]:
    """This Python's own pip, else one on PATH. Raises LaneError (host) when there is none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if path := command.find_program(name):
            return [path]
    problem = f"pip is needed, {sys.executable} has none and there is no pip3 on PATH"
    raise LaneError("no_pip", "host", problem, "apt-get install python3-pip")


def run(
    pip: list[str],
    arguments: list[str],
    env: dict[str, str],
    limit: float,
    what: str,
    log: str,
    component: str = "environment",
) -> str:
    """Run pip and return what it said. what: completes "pip could not ..."; component: whose source it builds,
    "environment" when it builds none.

    Raises LaneError by the kind of failure.
    """
    done = command.run(
        [*pip, arguments[0], *OPTIONS, *arguments[1:]], env, limit, f"pip to {what}", log=log, together=bool(log)
    )
    if done.status:
        raise failure(done.err or done.said, what, log, component)
    return done.err or done.out


def failure(said: str, what: str, log: str, component: str) -> LaneError:
    """The error for a pip that failed with these words."""
    if found := NO_COMPILER.search(said):
        problem = f"pip could not {what}: {found[1]} is not installed"
        return LaneError("no_compiler", "host", problem, "run the role deps", evidence=log)
    unreachable = UNREACHABLE.findall(said)
    missing = re.search(r"No matching distribution found for (.+)", said)
    if unreachable and (
        missing
        or "Max retries exceeded" in said
        or "build dependencies did not run" in said
        or "Error: HTTP error" in said
    ):
        why = (
            re.findall(r"\[Errno -?\d+\] ([\w ,.-]+)|(timed out)|(certificate [\w ]+)", unreachable[-1])
            or [(unreachable[-1],)]
        )[-1]
        problem = (
            f"no package index could be reached, so that pip could not {what} "
            f"({one_line(next(filter(None, why)), 120)})"
        )
        return LaneError(
            "no_package_index",
            "environment",
            problem,
            "check the network, PIP_INDEX_URL and the proxy settings",
            evidence=log,
        )
    if "DO NOT MATCH THE HASHES" in said or "do not match the hashes" in said.lower():
        fix = "the file on the index is not the one that was checked; correct the hashes, or the index"
        problem = f"pip could not {what}: the file has another hash than it may have"
        return LaneError("wrong_hash", "environment", problem, fix, evidence=log)
    built = re.search(r"lines of output\]\n(.*?)\[end of output\]", said, re.DOTALL)
    if built or "metadata-generation-failed" in said or "Failed building wheel" in said:
        why = first_error(built[1] if built else said)
        return LaneError(
            "package_broken",
            component,
            f"pip could not {what}: {why}",
            "see pip's output" if component == "environment" else "",
            evidence=log,
        )
    if missing:
        versions = re.search(r"from versions: ([^)]*)\)", said)
        newest = versions[1].split(", ")[-1] if versions else "none"
        problem = f"pip could not {what}: the package index has no {missing[1].strip()} (the newest is {newest})"
        return LaneError(
            "no_such_version",
            component,
            problem,
            "correct the version" if component == "environment" else "",
            evidence=log,
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    if "ResolutionImpossible" not in said:
        component = "environment"
    problem = f"pip could not {what}: {one_line((errors or said.splitlines() or ['it said nothing'])[-1], 300)}"
    return LaneError("pip_failed", component, problem, evidence=log)


def first_error(said: str) -> str:
    """The first line in which a compiler says error, else the last line that says something: a Python exception."""
    frame = " \t|\u2502\u2570\u2500>\u00d7"  # what pip draws around it
    lines = [line.strip(frame) for line in said.splitlines() if line.strip(frame)]
    errors = [line for line in lines if re.search(r"(?:^|\s)(?:fatal )?error(?:\[\w+\])?: ", line)]
    return one_line((errors or lines[-1:] or ["it said nothing"])[0], 300)


def check_project(folder: Path, component: str) -> None:
    """Raise LaneError for a pyproject.toml that cannot be read, where pip would show a traceback of its own."""
    path = folder / "pyproject.toml"
    try:
        tomllib.loads(path.read_text(encoding="utf-8") if path.exists() else "")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LaneError(
            "package_broken", component, f"pyproject.toml of {component} cannot be read: {one_line(str(error), 200)}"
        ) from None
