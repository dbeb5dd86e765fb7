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

from ..core import command
from ..core.errors import LaneError, one_line

SETTINGS = (
    "index-url extra-index-url no-index find-links cert client-cert proxy trusted-host default-timeout timeout "
    "cache-dir no-cache-dir keyring-provider"
)
#: pip's settings for reaching an index, with their environment variables. Any other one would change what is installed,
#: or where.
KEEP = {name: f"PIP_{name.upper().replace('-', '_')}" for name in SETTINGS.split()}
OPTIONS = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
#: Words of pip and its HTTP library for a server that did not answer.
UNREACHABLE = re.compile(
    r"connection broken by .*|Max retries exceeded.*|Could not fetch URL .*|Cannot connect to proxy.*"
)
#: Printed only when the index caused the failure.
GAVE_UP = re.compile(r"Max retries exceeded|build dependencies did not run|Error: HTTP error")
#: The reason within a match of UNREACHABLE.
WHY = re.compile(r"\[Errno -?\d+\] ([\w ,.-]+)|(timed out)|(certificate [\w ]+)")
#: Words for a source that does not build.
BROKEN = re.compile(r"metadata-generation-failed|Failed building wheel")
#: pip's own traceback when it cannot read the pyproject.toml of a source.
NOT_TOML = re.compile(r"TOMLDecodeError|UnicodeDecodeError")
NO_COMPILER = re.compile(r"(?:command|execute) '([\w.+/-]+)'(?: failed)?: No such file")
LIMIT = 60.0
RETRIES = "3"  # pip names the reason when it tries again, and not with 0 retries


def environment(mark: str | None, pip: list[str] | None = None) -> dict[str, str]:
    """For pip: the caller's settings for reaching an index, from PIP_* and pip's configuration files, and none of the
    others.

    pip: the one that is asked for them, where `program` finds none.
    """
    base = command.environment(mark, ("XDG_CONFIG_HOME", "PIP_CONFIG_FILE"), network=True)
    own = {name: os.environ[name] for name in KEEP.values() if name in os.environ}
    argv = [*(pip or program()), "config", "list", "--disable-pip-version-check"]
    listed = command.run(argv, base, LIMIT, "pip to read its configuration").out
    found: dict[str, str] = {}
    for section in ("global", "install", "download"):
        for name, value in re.findall(rf"(?m)^{section}\.([\w-]+)=(.*)$", listed):
            if name in KEEP:
                found[KEEP[name]] = str(ast.literal_eval(value))
    fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": RETRIES, "PIP_REQUIRE_VIRTUALENV": "0"}
    return {**base, **found, **own, **fixed}


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
    pip: list[str], arguments: list[str], env: dict[str, str], limit: float, what: str, log: str, component: str = ""
) -> None:
    """Run pip. what: completes "pip could not ..."; component: whose source it builds, "" when it builds none.

    Raises LaneError by the kind of failure.
    """
    argv = [*pip, arguments[0], *OPTIONS, *arguments[1:]]
    done = command.run(argv, env, limit, f"pip to {what}", log=log, together=bool(log))
    if done.status:
        raise failure(done.err or done.said, what, log, component)


def failure(said: str, what: str, log: str, component: str) -> LaneError:
    """The error for a pip that failed with these words. what, component: as in `run`."""

    def error(code: str, component: str, problem: str, fix: str = "") -> LaneError:
        return LaneError(code, component, f"pip could not {what}: {problem}", fix, evidence=log)

    blamed = component or "environment"
    if found := NO_COMPILER.search(said):
        return error("no_compiler", "host", f"{found[1]} is not installed", "run the role deps")
    unreachable = UNREACHABLE.findall(said)
    missing = re.search(r"No matching distribution found for (.+)", said)
    if unreachable and (missing or GAVE_UP.search(said)):
        why = WHY.findall(unreachable[-1]) or [(unreachable[-1],)]
        reason = one_line(next(filter(None, why[-1])), 120)
        problem = f"no package index could be reached, so that pip could not {what} ({reason})"
        fix = "check the network, PIP_INDEX_URL and the proxy settings"
        return LaneError("no_package_index", "environment", problem, fix, evidence=log)
    if "do not match the hashes" in said.lower():
        fix = "the file on the index is not the one that was checked; correct the hashes, or the index"
        return error("wrong_hash", "environment", "the file has another hash than it may have", fix)
    built = re.search(r"lines of output\]\n(.*?)\[end of output\]", said, re.DOTALL)
    if built or BROKEN.search(said):
        fix = "" if component else "see pip's output"
        return error("package_broken", blamed, first_error(built[1] if built else said), fix)
    if NOT_TOML.search(said):
        return error("package_broken", blamed, f"its pyproject.toml cannot be read: {first_error(said)}")
    if missing:
        versions = re.search(r"from versions: ([^)]*)\)", said)
        newest = versions[1].split(", ")[-1] if versions else "none"
        problem = f"the package index has no {missing[1].strip()} (the newest is {newest})"
        return error("no_such_version", blamed, problem, "" if component else "correct the version")
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    last = (errors or said.splitlines() or ["it said nothing"])[-1]
    return error("pip_failed", blamed if "ResolutionImpossible" in said else "environment", one_line(last, 300))


def first_error(said: str) -> str:
    """The first line in which a compiler says error, else the last line that says something: a Python exception."""
    frame = " \t|\u2502\u2570\u2500>\u00d7"  # what pip draws around it
    lines = [line.strip(frame) for line in said.splitlines() if line.strip(frame)]
    errors = [line for line in lines if re.search(r"(?:^|\s)(?:fatal )?error(?:\[\w+\])?: ", line)]
    return one_line((errors or lines[-1:] or ["it said nothing"])[0], 300)
