"""`./lane fleet N` and `./lane matrix FILE`: write an inventory with a host for each lane, and run one `./lane` over it
(docs/many-machines.md).

The inventory stays, to be changed by hand and run again with `./lane -i FILE`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import signal
from pathlib import Path
from typing import Any, NoReturn

import yaml
from ansible.module_utils.lane.core.errors import LaneError, one_line

from tools import ROOT
from tools.parsing import UsageError

LAST = 99  #: the greatest lane_id
LANE_ID = re.compile(r"(?<!\S)lane_id=(\d+)(?!\S)")  #: among the variables of one -e
HERE = {"ansible_connection": "local"}
#: Axis of a matrix -> the variable that it sets.
AXES = {
    "kerbside": "lane_kerbside_origin",
    "proxy": "lane_proxy_origin",
    "ryll": "lane_ryll_origin",
    "guest": "lane_guest",
    "suites": "lane_suites",
    "accel": "kvm_probe_policy",
}
POLICIES = {"auto": "auto", "kvm": "require", "tcg": "never"}


def machines(names: list[str]) -> list[dict[str, Any]]:
    """Each machine's connection variables, named as for ssh (USER@HOST:PORT); this one's without a name."""
    found: list[dict[str, Any]] = []
    for name in names:
        parts = re.fullmatch(r"(?:(?P<user>[^@]+)@)?(?P<host>[^@:\s]+)(?::(?P<port>\d+))?", name)
        if not parts:
            raise UsageError(f"{name!r} is not a machine name: use HOST, USER@HOST or USER@HOST:PORT")
        port = int(parts["port"]) if parts["port"] else None
        given = {"ansible_host": parts["host"], "ansible_user": parts["user"], "ansible_port": port}
        found.append({key: value for key, value in given.items() if value is not None})
    return found or [HERE]


def inventory(
    lanes: dict[str, dict[str, Any]], first: int, places: list[dict[str, Any]], common: dict[str, Any]
) -> dict[str, Any]:
    """The inventory of these lanes, name and variables, which take numbers from `first` on and the machines in turn."""
    if not 1 <= len(lanes) <= LAST + 1 - first:
        most = LAST + 1 - first
        raise UsageError(
            f"lane ids go from {first} to {LAST}, so that there can be 1 to {most} lanes, not {len(lanes)}"
        )
    hosts = {
        name: {"lane_id": first + index, **places[index % len(places)], **more}
        for index, (name, more) in enumerate(lanes.items())
    }
    return {"lane": {"hosts": hosts, **({"vars": common} if common else {})}}


def fleet(count: int, first: int) -> dict[str, dict[str, Any]]:
    """N lanes that are alike."""
    return {f"lane-{number}": {} for number in range(first, first + count)}


def matrix(content: Any) -> dict[str, dict[str, Any]]:
    """A lane for each combination of the values of a matrix file."""
    known = isinstance(content, dict) and not set(content) - {"axes", "hosts", "vars"}
    if not known or not isinstance(content.get("axes"), dict) or not content["axes"]:
        raise UsageError(f"a matrix has the keys axes, hosts and vars, and at least one of the axes {', '.join(AXES)}")
    if not isinstance(content.get("hosts", []), list) or not isinstance(content.get("vars", {}), dict):
        raise UsageError("in a matrix, hosts is a list of machines and vars a mapping of variables")
    if "lane_id" in (content.get("vars") or {}):
        raise UsageError("in a matrix, vars cannot set lane_id, which each lane has its own of; use -e lane_id=N")
    if strange := set(content["axes"]) - set(AXES):
        raise UsageError(f"there is no axis {', '.join(sorted(map(str, strange)))}; axes are {', '.join(AXES)}")
    axes = {name: values if isinstance(values, list) else [values] for name, values in content["axes"].items()}
    lanes: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        name = "_".join(f"{axis}-{slug(value)}" for axis, value in chosen.items())
        if name in lanes:
            name += f"_{len(lanes)}"
        lanes[name] = {AXES[axis]: setting(axis, value) for axis, value in chosen.items()}
    return lanes


def slug(value: Any) -> str:
    """A value as part of a name; of a path or a URL the end."""
    words = "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.]+", "-", words).strip("-.")[-40:] or "none"


def setting(axis: str, value: Any) -> Any:
    """What the axis's variable is set to."""
    one = value if axis == "suites" and isinstance(value, list) else [value]
    if not all(isinstance(word, str | int | float) for word in one):
        raise UsageError(f"the axis {axis} has the value {value!r}, which is not a text or a number")
    if axis == "accel":
        if value not in POLICIES:
            raise UsageError(f"accel is {value}; use {', '.join(POLICIES)}")
        return POLICIES[value]
    if axis == "suites":
        return value if isinstance(value, list) or value == "all" else [value]
    return str(value)


def start(file: Path, forks: int, options: list[str]) -> NoReturn:
    """Become the `./lane` that runs this inventory."""
    print(f"inventory: {file}", flush=True)
    os.environ.pop("LANE_SCRIPTS", None)  # the script that is started now adds itself
    os.environ.pop("PYTHONPATH", None)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    command = [str(ROOT / "lane"), "-i", str(file), "--forks", str(forks), *options]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def without_lane_id(options: list[str]) -> tuple[int, list[str]]:
    """(the lane_id of the options, or 0; the options without it, because it would be that of all lanes)."""
    first, kept = 0, []
    words = iter(options)
    for word in words:
        given = [next(words)] if word in ("-e", "--extra-vars") else []
        if given and (found := LANE_ID.findall(given[0])):
            first = int(found[-1])
            given = [LANE_ID.sub("", given[0]).strip()]
        kept += [word, *given] if given != [""] else []
    return first, kept


def main(asked: argparse.Namespace) -> NoReturn:
    """Entry point of both verbs."""
    first, options = without_lane_id(asked.forward)
    names = [name for name in asked.hosts.split(",") if name]
    common: dict[str, Any] = {}
    try:
        if asked.hosts and not names:
            raise UsageError(f"--hosts {asked.hosts} does not name a machine")
        if asked.verb == "fleet":
            lanes = fleet(asked.count, first)
        else:
            content = yaml.safe_load(asked.file.read_text(encoding="utf-8"))
            lanes = matrix(content)
            names, common = names or [str(name) for name in content.get("hosts") or []], content.get("vars") or {}
        places = machines(names)
        made = inventory(lanes, first, places, common)
        asked.write.parent.mkdir(parents=True, exist_ok=True)
        asked.write.write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    except (UsageError, OSError) as error:
        raise LaneError("bad_usage", "lane", one_line(str(error))) from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # the first of the bytes, or of a value
        problem = f"{asked.file} is not YAML that can be read: {one_line(str(error))}"
        raise LaneError("bad_usage", "lane", problem) from None
    start(asked.write, (asked.at_once or os.cpu_count() or 1) * len(places), options)
