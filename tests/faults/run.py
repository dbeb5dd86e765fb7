"""`./lane faults [NAME...]`: breaks an otherwise good lane in every way that catalogue.yml knows.

The verdict has to be red, name the right component with the right code and cause, come in time, and be in a report.
Exit status 0 only when none was missed, misnamed or late. Writes docs/faults.md.
"""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import ansible.module_utils
import yaml

ROOT = Path(__file__).parents[2]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests/unit"), str(ROOT)]

from ansible.module_utils.lane.core.errors import COMPONENTS
from ansible.module_utils.lane.lifecycle import proc
from ansible.module_utils.lane.programs import records, stop
from inject import do, needs_root, prefix
from judgement import PLAY_BEGINS, Outcome, judge, page, summary
from place import Place, live_group
from played import UP, Lane

from tools import arguments, cache_dir, venv
from tools.developer_verbs import FAULTS

PAGE = ROOT / "docs/faults.md"
FIELDS = set("name what lane tags vars env mounts without no_network limits do during repair quick expect".split())
EXPECTED = set("component code cause within noticed since not_here".split())
SMOKE = "smoke,evidence"
#: What a fault needs afterwards -> the tag of the role that does it.
REPAIRS = {"kerbside": "kerbside", "kerbside_role": "kerbside", "guest": "sextant_vm"}
#: Seconds from the first task of a green smoke check of a standing lane to its verdict, on two cores. Where it takes
#: longer just before a fault, the fault's limits stretch likewise.
USUAL = 4.0
#: This variable is cut short where a guest is known never to get there; a busy machine has to have the time to get as
#: far as the fault.
BOOTS = "smoke_agent_limit"
STANDING = 2  # lanes that stand, each with half of their faults
#: They keep connections to the database and what they read at their start, so they are started anew when one of the
#: three was touched.
KERBSIDE = ("daemon", "api")


def catalogue(file: Path) -> list[dict[str, Any]]:
    """The faults of a catalogue, checked for what could make one of them mean nothing."""
    faults: list[dict[str, Any]] = yaml.safe_load(file.read_text())["faults"]
    names = [fault["name"] for fault in faults]
    for fault in faults:
        expect = fault["expect"]
        unknown = sorted((set(fault) - FIELDS) | (set(expect) - EXPECTED))
        wrong = {
            f"unknown field {', '.join(unknown)}": unknown,
            "lane is neither own nor standing": fault.get("lane") not in ("own", "standing"),
            "no such component": expect.get("component", "ryll") not in COMPONENTS,
            "a component without a cause, or a cause without one": ("component" in expect) != ("cause" in expect),
            "no limit": not expect.get("within"),
            "twice there": names.count(fault["name"]) > 1,
            "unknown repair": fault.get("repair", "guest") not in REPAIRS,
        }
        if found := [words for words, is_so in wrong.items() if is_so]:
            raise SystemExit(f"{file}: fault {fault['name']}: {', '.join(found)}")
    return faults


class Runner:
    """Runs faults, those with a lane of their own and those on the standing lane side by side."""

    def __init__(self, first_id: int, plant: dict[str, Any], artifacts: Path, say: Callable[[str], None]) -> None:
        self.own = Lane(first_id, plant)
        self.standing = [Lane(first_id + 1 + n, plant) for n in range(STANDING)]
        self.artifacts = artifacts
        self.say = say
        self.base = Path(tempfile.mkdtemp(prefix="kf-", dir="/tmp"))  # short: lanes with sockets are made in it
        self.cache_dir = cache_dir()
        self.good_runs = 0
        self.slowness: dict[int, float] = {}
        self.slowest = 1.0
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    def run(self, faults: list[dict[str, Any]], together: int) -> list[Outcome]:
        """The outcomes in the order of the catalogue; `together` lanes at once."""
        standing = [f for f in faults if f["lane"] == "standing"]
        lanes = self.standing if together > 2 and len(standing) > 1 else self.standing[:1]
        parts = [(lane, standing[n :: len(lanes)]) for n, lane in enumerate(lanes)]
        parts.append((self.own, [f for f in faults if f["lane"] == "own"]))
        with ThreadPoolExecutor(together) as pool:
            jobs = [pool.submit(self._some, lane, some) for lane, some in parts if some]
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:
                self.stopping.set()
            done = {outcome.fault["name"]: outcome for job in jobs for outcome in job.result()}
        return [done[fault["name"]] for fault in faults]

    def close(self) -> list[str]:
        """Take down what is up; returns what stays in spite of it."""
        left = []
        for lane in (self.own, *self.standing):
            if lane.dir.exists() or proc.marked(lane.id):
                lane.down(self.artifacts / "down")
            left += [f"{p.name} (pid {p.pid}) of lane {lane.id}" for p in proc.marked(lane.id)]
            left += [str(lane.dir)] if lane.dir.exists() else []
        shutil.rmtree(self.base, ignore_errors=True)
        return left

    def _place(self, lane: Lane, fault: dict[str, Any]) -> Place:
        scratch = self.base / str(len(list(self.base.iterdir())))
        scratch.mkdir()
        return Place(lane.id, lane.dir, scratch, ROOT / "fixtures/guests.yml", self.cache_dir)

    def _some(self, lane: Lane, faults: list[dict[str, Any]]) -> list[Outcome]:
        """Faults one after another: on a lane that stands and has to be good again after each, or each on a new one."""
        outcomes = []
        standing = lane is not self.own
        if standing:
            self._bring_up(lane)
        for fault in faults:
            if self.stopping.is_set():
                break
            with self.lock:
                place = self._place(lane, fault)
            tags = fault.get("tags", SMOKE if standing else None)
            outcome = self._play(lane, fault, place, None if tags == "all" else tags)
            trouble = self._undo(place)
            if standing:
                if trouble := trouble or self._good_again(lane, fault.get("repair")):
                    lane.down(self.artifacts / "down")
                    self._bring_up(lane)
            elif proc.marked(lane.id) or os.path.lexists(lane.dir):
                given = {"lane_dir": place.fill(fault.get("vars", {})).get("lane_dir", str(lane.dir))}
                lane.down(self.artifacts / "down", given)
                outcome.state = f"{outcome.state}, but something of the lane stayed"
            outcomes.append(self._report_outcome(outcome, trouble))
        return outcomes

    def _bring_up(self, lane: Lane) -> None:
        """A standing lane, and one green smoke check on it."""
        up = lane.play("lane.yml", self.artifacts / f"standing-{lane.id}", UP)
        if up.rc != 0:
            raise SystemExit(f"a good lane could not be brought up:\n{up.tail()}")
        if trouble := self._good_again(lane, None):
            raise SystemExit(f"a good lane is not green: {trouble}")

    def _good_again(self, lane: Lane, part: str | None) -> str:
        """Repair the part, and "" when a smoke check of the lane is then green, else what it says."""
        if part == "kerbside":
            found = [live_group(lane.dir, name) for name in KERBSIDE]
            if groups := {group for group in found if group is not None}:
                stop.end_groups(groups, signal.SIGKILL, 5)
        tags = (REPAIRS[part] + "," if part else "") + SMOKE
        evidence = self.artifacts / f"between-{lane.id}"
        played = lane.play("lane.yml", evidence, tags)
        self.good_runs += 1
        if played.green:
            if smoke := played.when(r"TASK .smoke : Get a fresh"):  # Ansible's start and a repair take their time first
                self.slowness[lane.id] = max(1.0, (played.verdict_at - smoke) / USUAL)
                self.slowest = max(self.slowest, self.slowness[lane.id])
            return ""
        kept = self.artifacts / f"not-good-{self.good_runs}"  # the next run would overwrite it
        shutil.rmtree(kept, ignore_errors=True)
        if evidence.exists():
            evidence.rename(kept)
        return f"the lane is not good afterwards: {played.line or played.tail()}; see {kept}"

    def _undo(self, place: Place) -> str:
        try:
            place.undo()
        except Exception as error:
            return f"the fault cannot be undone: {error!r}"
        return ""

    def _play(self, lane: Lane, fault: dict[str, Any], place: Place, tags: str | None) -> Outcome:
        """Inject the fault, run the lane and judge its verdict."""
        artifacts = self.artifacts / fault["name"]
        shutil.rmtree(artifacts, ignore_errors=True)
        injected: list[float] = []
        broken: list[str] = []

        def meanwhile() -> None:
            try:
                where = place.fill(fault.get("vars", {})).get("lane_dir", str(lane.dir))
                if self._awaited(lane.id, where, fault["during"]["when"], time.time()):
                    injected.append(time.time())
                    do(place, fault["during"]["do"])
            except Exception:
                broken.append(traceback.format_exc())

        try:
            do(place, fault.get("do", []))
            before = [*place.prefix, *prefix(fault, place.fill)]
        except Exception as error:
            return Outcome(fault, f"not injected: {error!r}")
        stretch = max(self._busy(), self.slowness.get(lane.id, self.slowest))
        given, env = place.fill(fault.get("vars", {})), place.fill(fault.get("env", {}))
        if BOOTS in given:
            given[BOOTS] = round(given[BOOTS] * min(stretch, 2))
        played = lane.play("lane.yml", artifacts, tags, given, env, before, meanwhile if "during" in fault else None)
        artifacts.mkdir(parents=True, exist_ok=True)
        (artifacts / "ansible.log").write_text("".join(f"{at:.3f} {text}\n" for at, text in played.lines))
        if broken or ("during" in fault and not injected):
            return Outcome(fault, f"not injected: {broken[0] if broken else 'the moment never came'}")
        since = injected[0] if injected else played.when(fault["expect"].get("since", PLAY_BEGINS))
        return judge(fault, played, since, place.fill, max(stretch, self._busy()))

    def _busy(self) -> float:
        """How many times more there is to run than there are processors for it."""
        return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))

    def _awaited(self, lane_id: int, lane_dir: str, program: str, begun: float) -> bool:
        """Wait until a program that is started after `begun` is ready, ryll until it serves its client; False when that
        takes two minutes.
        """
        while time.time() < begun + 120:
            for process in proc.marked(lane_id)[:1]:
                root = f"/proc/{process.pid}/root"  # in whatever mount namespace the lane has
                entry = records.record(root + lane_dir, program)
                if entry and entry.started > begun and entry.ready_seconds is not None:
                    if program != "ryll":
                        return True
                    lines = replace(entry, log=root + entry.log).log_lines()
                    if any("control: hello from" in line for line in lines):
                        time.sleep(0.3)  # into the check that follows; there is nothing to await there
                        return True
            time.sleep(0.05)
        return False

    def _report_outcome(self, outcome: Outcome, trouble: str) -> Outcome:
        if trouble:
            outcome.state = trouble if outcome.good else f"{outcome.state}; {trouble}"
        seconds = "   -  " if outcome.seconds is None else f"{outcome.seconds:5.1f}s"
        line = f"{'ok ' if outcome.good else 'BAD'} {outcome.fault['name']:28} {outcome.state[:200]:8} "
        self.say(f"{line}{outcome.component or '-':11} {seconds}  {outcome.cause[:150]}")
        return outcome


def say(line: str) -> None:
    """Print a line as a whole: both threads print, and print() itself writes a line and its end apart."""
    print(f"{line}\n", end="", flush=True)


def main() -> int:
    """Entry point."""
    given = arguments.of_program("faults")
    faults = catalogue(given.catalogue)
    known = [f["name"] for f in faults]
    if unknown := [name for name in given.names if name not in known]:  # of another catalogue
        venv.say(f"there is no fault {unknown[0]!r} in {given.catalogue}")
        return 2
    named = [f for f in faults if not given.names or f["name"] in given.names]
    chosen = [f for f in named if f.get("quick") or not given.quick]
    if given.list:
        for fault in chosen:
            print(f"{fault['name']:28} {fault['what']}")
        return 0
    if os.geteuid() and (roots := [f["name"] for f in chosen if needs_root(f)]):
        venv.say(f"only root can inject {', '.join(roots)}; name the others, or run this as root")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.time()
    runner = Runner(given.first_id, given.plant, given.artifacts.absolute(), say)
    left: list[str] = []
    try:
        outcomes = runner.run(chosen, given.together)
    finally:
        left = runner.close()
    seconds = time.time() - begun
    bad = [o for o in outcomes if not o.good]
    for outcome in bad:
        folder = given.artifacts / outcome.fault["name"]
        print(f"\n{outcome.fault['name']}: {outcome.state}")
        print(f"    said: {outcome.component}: {outcome.cause}\n    see {folder}")
    print(f"\n{summary(outcomes, runner.good_runs, seconds)}")
    if left:
        print(f"these stay: {', '.join(left)}")
    complete = chosen == faults and not given.plant and given.catalogue == FAULTS
    if complete and not bad and not left:
        PAGE.write_text(page(outcomes, runner.good_runs, seconds))
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return 1 if bad or left else 0


if __name__ == "__main__":
    sys.exit(main())
