"""The command line of ./lane: its verbs and their options.

Standard library only, so that ./lane help works before .venv is made.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from tools import ROOT, cache_dir, developer_verbs, venv
from tools.parsing import Help, Parser, UsageError, check_known, near, number, option

UP = "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside"
#: Verbs that run ansible-playbook: the playbook, and the options that select what is done.
PLAYS = {
    "run": ("lane.yml", []),
    "up": ("lane.yml", ["--tags", UP]),
    "smoke": ("lane.yml", ["--tags", "smoke,evidence"]),
    "suites": ("lane.yml", ["--tags", "suites,evidence"]),
    "down": ("teardown.yml", []),
}
#: Verbs that are programs, which also run without ./lane.
PROGRAMS = {"test": "tools/run_tests.py", "faults": "tests/faults/run.py", "bench": "tools/bench.py"}
#: What a verb needs besides requirements.txt.
NEEDS = {"test": ["requirements-dev.txt"], "mutants": ["requirements-dev.txt"]}
SUMMARIES = {
    "run": "start everything, check it, keep the evidence, take it down (also without a verb)",
    "up": "start the lane and keep it running",
    "smoke": "check a running lane",
    "suites": "run suites of checks on a running lane, all or those that are named (./lane suites input agent)",
    "down": "stop a running lane",
    "status": "show a running lane: programs, ports, lease, last verdict",
    "logs": "show all logs in the order of time, or those of one part; -f follows them",
    "shot": "take a screenshot of a running lane: by ryll through kerbside, or else by qemu",
    "ps": "list the running lanes: id, age, ports, processes, memory",
    "fleet": "run N full lanes at once, from lane_id on, here or on other machines",
    "matrix": "run a lane for each combination of the versions, guests and suites in a file",
    "doctor": "show what this machine has and lacks for a lane; changes nothing",
    "cache": "show what the cache keeps: programs and environments with their size and last use",
    "report": "make report.html again from artifacts/lane-0, or from the folder that is named",
    "completion": "print the completion for bash or zsh",
    "test": "run lint, unit tests, playbook tests and one full lane",
    "faults": "break a good lane in every way that tests/faults knows, and check that each fault is found",
    "bench": "time warm lanes against a bare shell script",
    "mutants": "plant bugs in kerbside or ryll, one at a time, and see which ones a lane catches",
    "help": "show this, or the help of a verb (./lane help suites)",
}
STATUSES = (
    "Exit status: 0 pass; 1 fail, a product is wrong; 2 error, the lane, its use or the machine is; "
    "129, 130, 143 for SIGHUP, SIGINT, SIGTERM."
)
EPILOG = f"""
Without a verb, options go to `run`:
  ./lane --check                  ./lane -e lane_id=3               ./lane up -e lane_id=3
  ./lane --tags kerbside          ./lane -e kvm_probe_policy=require

{STATUSES}
"""
#: Options of ansible-playbook with which nothing is changed, and those that leave out what is judged: such a run need
#: not end with a verdict.
ONLY_LOOKS = ("check", "syntax_check", "list_hosts", "list_tasks", "list_tags", "version")
PARTIAL = (*ONLY_LOOKS, "tags", "skip_tags", "start_at_task")
#: The functions of tools.complete for the values of these.
COMPLETED = {"-e --extra-vars": "variables", "-t --tags": "tags"}
#: Options of ansible-playbook that people ask for often: names, what their value is, what they do.
COMMON: list[tuple[str, str | None, str]] = [
    ("-e --extra-vars", "NAME=VALUE", "set a variable (docs/variables.md), or those of a file: -e @FILE"),
    ("-t --tags", "ROLE,...", "only these roles, on a lane that an earlier command started"),
    ("--skip-tags", "teardown", "keep the lane running at the end"),
    ("-C --check", None, "say what would be done, and change nothing"),
    ("-D --diff", None, "show how files change"),
    ("-i --inventory --inventory-file", "INVENTORY", "another inventory than inventory/"),
    ("-l --limit", "HOSTS", "only these hosts of the inventory"),
    ("-v --verbose", None, "show Ansible's own output as well; -vvv for more"),
    ("--syntax-check", None, "only read the playbook"),
    ("--list-hosts", None, "only list the hosts"),
    ("--list-tasks", None, "only list the tasks"),
    ("--list-tags", None, "only list the tags"),
    ("--start-at-task", "TASK", argparse.SUPPRESS),
    ("--step", None, "ask before each task"),
    ("--version", None, "show Ansible's version"),
]
#: Its other options: with a value, and without.
WITH_VALUE = """--private-key --key-file -u --user -c --connection -T --timeout
    --ssh-common-args --sftp-extra-args --scp-extra-args --ssh-extra-args
    --connection-password-file --conn-pass-file --become-method --become-user --become-password-file --become-pass-file
    --vault-id --vault-password-file
    --vault-pass-file -f --forks -M --module-path""".split()
WITHOUT = """-k --ask-pass --force-handlers -b --become -K --ask-become-pass --flush-cache
    -J --ask-vault-password --ask-vault-pass""".split()


class Forward(argparse.Action):
    """Keeps an option for ansible-playbook, as it was given: in `forward` with its value, and by its name in
    `given`.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        words = [] if self.nargs == 0 else [values]
        namespace.forward = [*namespace.forward, option_string, *words]
        namespace.given = {**namespace.given, self.dest: [*namespace.given.get(self.dest, []), *words]}


def given(words: list[str]) -> dict[str, list[str]]:
    """Which lanes a command line that could not be read is about: its inventory, limit and variables."""
    found = {}
    options = (("inventory", "-i", "--inventory"), ("limit", "-l", "--limit"), ("extra_vars", "-e", "--extra-vars"))
    for name, short, long in options:
        values = [after for before, after in itertools.pairwise(words) if before in (short, long)]
        values += [match[1] for word in words if (match := re.fullmatch(rf"(?:{short}|{long}=)(.+)", word))]
        if values:
            found[name] = values
    return found


def lane_id(text: str) -> int:
    """The number of `lane_id=N`; an argparse type."""
    name, _, value = text.partition("=")
    if name != "lane_id":
        raise UsageError(f"-e {text}: this verb has only -e lane_id=N")
    return lane_number(value)


def lane_number(value: str) -> int:
    """Raises UsageError for what is no lane id."""
    if not re.fullmatch(r"[0-9]|[1-9][0-9]", value):
        plain = re.fullmatch(r"0+([0-9]{1,2})", value)
        raise UsageError(
            f"lane_id={value}: a lane id is a number from 0 to 99" + (f", here {int(plain[1])}" if plain else "")
        )
    return int(value)


def tags() -> list[str]:
    """The roles with tasks, which are the tags."""
    return sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml"))


def suites() -> list[str]:
    """The names of our suites."""
    return sorted(path.stem for path in ROOT.glob("roles/suites/files/*.yml"))


def variables() -> dict[str, str]:
    """The variables that can be set, and the role that each belongs to."""
    found = {}
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        names = re.findall(r"(?m)^([a-z]\w*):", path.read_text(encoding="utf-8"))
        found.update(dict.fromkeys(names, path.parent.parent.name))
    return found


def parser() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and the part of each verb."""
    whole = Parser(prog="./lane", usage="./lane [VERB] [options]", epilog=EPILOG, formatter_class=Help)
    verbs = whole.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=Parser, prog="./lane")
    forwarded = _ansible_options()
    one_lane, as_json, elsewhere = Parser(add_help=False), Parser(add_help=False), Parser(add_help=False)
    words, usual = "which lane (default: 0)", {"dest": "lane_id", "type": lane_id, "default": 0}
    option(one_lane, "-e --extra-vars", "lane_id=N", words, complete="lane_ids", **usual)
    option(as_json, "--json", None, "as JSON, and nothing else on stdout")
    option(elsewhere, "-i --inventory", "INVENTORY", "the lanes of this inventory, on whatever machine they are")
    option(elsewhere, "-l --limit", "HOSTS", "only these of them")

    def verb(name: str, *parents: Parser, **more: Any) -> Parser:
        summary = SUMMARIES[name]
        more |= {"parents": parents, "allow_abbrev": False, "formatter_class": Help}
        return verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", **more)

    for name in PLAYS:
        usage = f"./lane {name} [options]{' [SUITE ...]' * (name == 'suites')}"
        made = verb(name, as_json, forwarded, epilog=STATUSES, usage=usage)
        if name == "suites":
            option(made, "names", "SUITE", "a suite (default: all)", nargs="*", complete="suites")
    verb(
        "status",
        one_lane,
        as_json,
        epilog="Exit status: 0 all is well, 1 a program is lost, 2 the lane is not running.",
    )
    logs = verb("logs", one_lane, elsewhere)
    words = "only the lines of this part: serial, database, api, ryll, ansible, ..."
    option(logs, "part", "PART", words, nargs="?", default="")
    option(logs, "-f --follow", None, "follow the logs until the lane is stopped")
    words = "a PNG file (default: shot-HHMMSS.png in the lane's artifacts)"
    option(verb("shot", one_lane, elsewhere), "file", "FILE", words, nargs="?", type=Path)
    verb("ps", as_json, elsewhere)
    fleet = verb("fleet", forwarded, epilog=STATUSES, usage="./lane fleet N [options]")
    option(fleet, "count", "N", "how many lanes", type=number(1, 100))
    matrix = verb("matrix", forwarded, epilog=STATUSES, usage="./lane matrix FILE [options]")
    option(matrix, "file", "FILE", "a YAML file with axes, and optionally hosts and vars", type=Path)
    matrix.set_defaults(tool="fleet")
    for name, many in (("fleet", fleet), ("matrix", matrix)):
        words = "machines to run on over ssh, as USER@HOST:PORT (default: this one)"
        option(many, "--hosts", "A,B", words, default="")
        words = "lanes on one machine at the same time (default: one per processor of this one)"
        option(many, "--at-once", "N", words, type=number(1))
        written = ROOT / f"artifacts/{name}.yml"
        option(many, "--write", "FILE", "where to write the inventory", type=Path, default=written)
    verb("doctor", one_lane, as_json, epilog="Exit status: 0 a lane can run here, 2 something is missing.")
    words = "lane_cache_dir (default: %(default)s)"
    option(verb("cache", as_json), "folder", "FOLDER", words, nargs="?", type=Path, default=cache_dir())
    words, folder = "the artifacts (default: artifacts/lane-0)", ROOT / "artifacts/lane-0"
    option(verb("report"), "folder", "FOLDER", words, nargs="?", type=Path, default=folder)
    completion = verb("completion", epilog="For this shell: source <(./lane completion bash)")
    completion.add_argument("shell", choices=("bash", "zsh"))
    developer_verbs.add(verb)
    option(verb("help"), "about", "VERB", "the verb that it is about", nargs="?")
    return whole, verbs.choices


def _ansible_options() -> Parser:
    """What ansible-playbook understands; a test compares it with the real one."""
    options = Parser(add_help=False)
    others = [(name, "X", argparse.SUPPRESS) for name in WITH_VALUE] + [(n, None, argparse.SUPPRESS) for n in WITHOUT]
    more: dict[str, Any] = {"action": Forward, "default": argparse.SUPPRESS}
    for names, metavar, words in [*COMMON, *others]:
        complete = COMPLETED.get(names, "")
        option(options, names, metavar, words, complete=complete, nargs=None if metavar else 0, **more)
    options.set_defaults(forward=[], given={})
    return options


def parse(words: list[str]) -> argparse.Namespace:
    """The command line as a namespace.

    Raises UsageError with one sentence; shows help and exits where that is asked for.
    """
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    first = words[0]
    if first not in ("-h", "--help"):
        check_known("verb", first, SUMMARIES, "./lane help shows all")
    whole, verbs = parser()
    cut = words.index("--") if first == "test" and "--" in words else len(words)
    asked, rest = whole.parse_known_args(words[:cut])
    if "names" in asked:  # names may also follow an option
        asked.names += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if asked.verb == "help":
        help_of(asked.about, whole, verbs)
    if rest:
        raise UsageError(_unknown(first, rest[0], verbs[first]))
    if asked.verb in ("up", "smoke", "suites") and "tags" in asked.given:
        raise UsageError(f"./lane {asked.verb} selects its roles itself; use ./lane --tags ROLE,...")
    asked.pytest = words[cut + 1 :]
    _check_inventory(asked)
    developer_verbs.check(asked)
    if asked.verb == "mutants":
        asked.judge = parse([*asked.names, *(word for value in asked.extra_vars for word in ("-e", value))])
    return asked


def _check_inventory(asked: argparse.Namespace) -> None:
    """Raise UsageError for an option that does nothing with an inventory, or without one."""
    if asked.verb in ("fleet", "matrix") and "inventory" in asked.given:
        raise UsageError(f"./lane {asked.verb} writes an inventory of its own, so it does not take -i; use --hosts")
    if asked.verb not in ("ps", "logs", "shot"):
        return
    if asked.limit and not asked.inventory:
        raise UsageError(f"./lane {asked.verb}: --limit selects hosts of an inventory, so it needs -i")
    alone = {"--json": "json", "--follow": "follow", "-e lane_id": "lane_id"}
    if asked.inventory and (given := [name for name, key in alone.items() if getattr(asked, key, None)]):
        raise UsageError(f"./lane {asked.verb}: {given[0]} does not work with -i")


def of_program(verb: str) -> argparse.Namespace:
    """The command line of a program that may have been started without ./lane; exits where it is wrong."""
    try:
        return parse([verb, *sys.argv[1:]])
    except UsageError as error:
        venv.say(str(error))
        raise SystemExit(2) from None


def help_of(about: str | None, whole: Parser, verbs: dict[str, Parser]) -> NoReturn:
    """Show the help of everything, or of one verb, and exit."""
    if about is not None:
        check_known("verb", about, verbs, "./lane help shows all")
    print((verbs[about] if about else whole).format_help(), end="")
    raise SystemExit(0)


def _unknown(verb: str, word: str, its: Parser) -> str:
    """The sentence about a word that the verb does not take."""
    where = f"./lane {verb}" if verb != "run" else "./lane"
    if word.startswith("-"):
        name = word.partition("=")[0]
        return (
            f"{where} has no option {name}{near(name, re.findall(r'(?<![-a-z])--[a-z][a-z-]+', its.format_help()))}; "
            f"{where} --help shows all"
        )
    hint = f" (did you mean -e lane_id={word}?)" if word.isdecimal() else ""
    return f"{where} does not take {word!r}{hint}; {where} --help shows what it takes"
