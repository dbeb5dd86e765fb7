"""Mutates the lane's own Python, one condition at a time, and reports which mutants no unit test kills:
run.py [--package checks] [--sample N] ...

The unit tests are run once with coverage, in a copy of the checkout; each mutant is then tried with the tests that ran
its line. Not part of ./lane test: it takes a second or two for each mutant. A mutant that changes nothing is listed in
equivalent.yml, with the reason.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue

import ansible.module_utils
import yaml
from coverage import CoverageData

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils.lane.core import lock

from tools.mutation import Mutant, mutants

LANE = "module_utils/lane"
LIMIT = 60.0  # seconds for the tests of one mutant, many times what they take
#: Lanes and ports of the unit tests have fixed numbers: each copy has its own processes, network and locks, where root
#: may make them. sh reaps orphans.
ALONE = "unshare --pid --fork --kill-child --mount-proc --net sh -c".split()
ALONE.append('ip link set lo up; mount -t tmpfs locks "$0"; "$@"; exit $?')
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def modules(packages: list[str]) -> list[Path]:
    """The modules of these packages, relative to the checkout."""
    found = [path.relative_to(ROOT) for name in packages for path in (ROOT / LANE / name).rglob("*.py")]
    return sorted(path for path in found if path.name != "__init__.py")


def candidates(packages: list[str]) -> list[str]:
    """The unit tests that name one of these packages, or a module of what tests share that does."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests/unit").glob("*.py"))}
    named = re.compile(rf"\blane\.({'|'.join(map(re.escape, packages))})\b")
    tests = {path: text for path, text in texts.items() if path.name.startswith("test_")}
    helpers = {path: text for path, text in texts.items() if not path.name.startswith("test_")}
    shared = [rf"^from {path.stem} import\b" for path, text in helpers.items() if named.search(text)]
    wanted = re.compile("|".join([named.pattern, *shared]), re.MULTILINE)
    return [str(path.relative_to(ROOT)) for path, text in tests.items() if wanted.search(text)]


class Coverage:
    """Which tests run which line."""

    def __init__(self, copy: Path, tests: list[str]) -> None:
        self.copy = copy
        command = [*PYTEST, f"--cov={LANE}", "--cov-context=test", "--cov-report=", *tests]
        if subprocess.run(alone(command), cwd=copy, check=False).returncode:
            raise SystemExit("the unit tests fail without a mutant")
        self.data = CoverageData(str(copy / ".coverage"))
        self.data.read()

    def tests(self, module: Path, line: int) -> list[str]:
        """The tests that run this line; where an import runs it, the files with a test that runs the module. Where only
        another process runs it (the keeper, for example), the files that name the module.
        """
        contexts = self.data.contexts_by_lineno(str(self.copy / module))
        ran = set(contexts.get(line) or [""])
        if "" not in ran:
            return sorted({one.rpartition("|")[0] for one in ran})
        files = {one.partition("::")[0] for several in contexts.values() for one in several if one}
        naming = re.compile(rf"import .*\b{module.stem}\b|\b{module.stem}\.")
        named = (path for path in self.copy.glob("tests/unit/test_*.py") if naming.search(path.read_text("utf-8")))
        return sorted(files or {str(path.relative_to(self.copy)) for path in named})


def alone(command: list[str]) -> list[str]:
    """The command in namespaces of its own; without root as it is, and the tests of two copies wait for each other."""
    return [*ALONE, str(lock.folder()), *command] if os.geteuid() == 0 and shutil.which("unshare") else command


def equivalent() -> set[tuple[str, str, str]]:
    """(module, text of the line, change) of the mutants that change nothing."""
    listed = yaml.safe_load((HERE / "equivalent.yml").read_text(encoding="utf-8")) or []
    return {(one["module"], one["line"], one["change"]) for one in listed}


class Copy:
    """A copy of the checkout, and a process that runs tests in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ignore = shutil.ignore_patterns(".venv", ".git", "artifacts", ".cache", "__pycache__")
        shutil.copytree(ROOT, root, ignore=ignore, symlinks=True)
        self.serve()

    def serve(self) -> None:
        # Two mutants of one size within one second would share a .pyc; no plugin is needed, and some are slow to load.
        fast = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(self.root)}
        command = alone([sys.executable, str(HERE / "server.py"), str(LIMIT)])
        env = {**os.environ, **fast}
        self.server = subprocess.Popen(
            command, cwd=self.root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def survives(self, module: Path, mutant: Mutant, tests: list[str]) -> bool:
        """Whether the tests pass in spite of the mutant."""
        path = self.root / module
        source = path.read_bytes()
        path.write_bytes(mutant.of(source))
        try:
            print(json.dumps(["-x", "-q", "-p", "no:cacheprovider", *tests]), file=self.server.stdin, flush=True)
            if not (status := self.server.stdout.readline()):  # a mutant that kills what it must not
                self.close()
                self.serve()
            return status.strip() == "0"
        finally:
            path.write_bytes(source)

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.server.communicate()


def main() -> int:
    """Exit status 0 when at least --least per cent were killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--package", action="append", help="a package of module_utils/lane (default: checks and evidence)")
    add("--module", default="", metavar="PATTERN", help="only modules whose path matches this regular expression")
    add("--sample", type=int, default=0, metavar="N", help="only N mutants of each module, drawn by --seed")
    add("--seed", type=int, default=1)
    add("--jobs", type=int, default=2)
    add("--least", type=float, default=95.0, metavar="PERCENT")
    asked = parser.parse_args()
    known = equivalent()
    chosen: list[tuple[Path, Mutant, str]] = []
    packages = asked.package or ["checks", "evidence"]
    for module in (one for one in modules(packages) if re.search(asked.module, str(one))):
        source = (ROOT / module).read_bytes()
        lines = source.decode().splitlines()
        found = [(module, one, lines[one.line - 1].strip()) for one in mutants(source)]
        found = [one for one in found if (str(module), one[2], one[1].what) not in known]
        if asked.sample and len(found) > asked.sample:
            found = random.Random(f"{asked.seed} {module}").sample(found, asked.sample)
        chosen += found
    begun, alive = time.monotonic(), []
    counts: dict[Path, list[int]] = {}
    copies: SimpleQueue[Copy] = SimpleQueue()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as ends:
        for number in range(asked.jobs):
            copy = Copy(Path(scratch, str(number)))
            ends.callback(copy.close)
            copies.put(copy)
        coverage = Coverage(copy.root, candidates(packages))

        def survives(given: tuple[Path, Mutant, str]) -> bool:
            module, mutant, _ = given
            copy = copies.get()
            try:
                tests = coverage.tests(module, mutant.line)
                return not tests or copy.survives(module, mutant, tests)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(asked.jobs) as pool:
            for (module, mutant, line), lives in zip(chosen, pool.map(survives, chosen), strict=True):
                counts.setdefault(module, [0, 0])[int(lives)] += 1
                if lives:
                    alive.append((module, mutant, line))
                    print(f"survived  {module}:{mutant.line}  {mutant.what:24}  {line[:100]}", flush=True)
    for module, (killed, lived) in sorted(counts.items()):
        print(f"{module}: {killed} of {killed + lived} killed")
    killed = len(chosen) - len(alive)
    share = 100.0 * killed / max(len(chosen), 1)
    print(f"{killed} of {len(chosen)} mutants killed ({share:.1f} %) in {time.monotonic() - begun:.0f} s")
    return int(share < asked.least)


if __name__ == "__main__":
    sys.exit(main())
