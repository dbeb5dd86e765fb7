"""Entry point of `./lane`: reads the command line, makes .venv where it is needed, and runs the verb (./lane help).

The script `lane` starts it with any Python that is new enough; what needs more than the standard library runs with that
of .venv.
"""

from __future__ import annotations

try:  # before anything else, so that no import shows a traceback
    import os
    import signal

    def _interrupted(*_: object) -> None:
        os.write(2, b"lane: stopped by a signal\n")
        os._exit(130)

    signal.signal(signal.SIGINT, _interrupted)
except KeyboardInterrupt:
    raise SystemExit(130) from None

import argparse
import importlib
import site
import sys
from pathlib import Path

site.main()
sys.path.insert(0, str(Path(__file__).parents[1]))

from tools import ROOT, arguments, venv
from tools.parsing import UsageError


def main() -> int:
    """Run a command and return its exit status."""
    words = sys.argv[1:]
    if "_ARGCOMPLETE" in os.environ:
        importlib.import_module("tools.complete").main()
    venv.clean_environment()
    try:
        asked = arguments.parse(words)
    except UsageError as error:
        return _refuse(words, str(error))
    _prepare(*arguments.NEEDS.get(asked.verb, []))
    return _run(asked, words)


def _prepare(*more: str) -> None:
    """Go on with the Python of .venv, which has what the requirements files name."""
    if venv.need("requirements.txt", *more) or Path(sys.executable) != venv.PYTHON:
        os.execv(venv.PYTHON, [str(venv.PYTHON), "-I", "-S", *sys.argv])  # noqa: S606 - there is no shell on purpose


def _run(asked: argparse.Namespace, words: list[str]) -> int:
    if asked.verb in arguments.PROGRAMS:
        script = str(ROOT / arguments.PROGRAMS[asked.verb])
        os.execv(venv.PYTHON, [str(venv.PYTHON), "-P", script, *words[1:]])  # noqa: S606 - there is no shell on purpose
    if asked.verb in arguments.PLAYS:
        from tools.play import play

        return play(asked)
    from ansible.module_utils.lane.core.errors import LaneError

    from tools import end_quietly

    end_quietly()
    tool = importlib.import_module(f"tools.{getattr(asked, 'tool', asked.verb)}")
    os.environ["LANE_SCRIPTS"] = f"{os.environ.get('LANE_SCRIPTS', '')} {os.getpid()}"  # lanes that it runs end with it
    try:
        return int(tool.main(asked) or 0)
    except LaneError as error:
        venv.say(error.cause)
        return 2


def _refuse(words: list[str], problem: str) -> int:
    """The last line for a command line that is wrong.

    A command that would have judged writes a result too: an earlier one must not pass for it.
    """
    verb = words[0] if words and not words[0].startswith("-") else "run"
    if verb not in arguments.PLAYS:
        venv.say(problem)
        return 2
    _prepare()
    from ansible.module_utils.lane.core.errors import LaneError

    from tools.play import play

    asked = argparse.Namespace(verb=verb, json="--json" in words, given=arguments.given(words))
    return play(asked, LaneError("bad_usage", "lane", problem))


if __name__ == "__main__":
    try:
        code = main()
    except venv.CannotPrepareError as error:
        venv.say(str(error))
        code = 2
    except Exception as error:  # 1 is the verdict fail, never a bug of this program
        venv.say(f"internal error: {type(error).__name__}: {error}")
        code = 2
    try:
        sys.stdout.flush()
    except OSError as error:
        venv.say(f"cannot write to stdout: {error.strerror}")
        os._exit(2)  # sys.exit would write once more
    sys.exit(code)
