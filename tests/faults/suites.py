"""Plays the suites with one part of the lane wrong at a time, and sees that the right check turns red and names
the right component.

    .venv/bin/python tests/faults/suites.py LANE_DIR [--list] [--proxy CHECKOUT] [--ryll CHECKOUT] [NAME...]

LANE_DIR is that of a lane that is up, CHECKOUT one of kerbside (or its unpacked source distribution) or of ryll;
without it the faults in that product's own source are passed over. The faults are in suites.yml, whose head says what
they may be.
"""

import argparse
import http.server
import itertools
import json
import shutil
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ansible.module_utils
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]
sys.path.insert(0, str(HERE))

from lane.checks.suites import engine, gtk, plan, slow_links
from lane.checks.suites.actors import ACTORS
from lane.checks.suites.stage import LaneStage, Place
from lane.core.layout import claimed_ports
from lane.prepare import guest_image
from lane.protocols.link_relay import LinkRelay
from place import ryll_script
from spice_relay import Relay, change

from tools import cache_dir
from tools.rust_edits import PROXY, RYLL, RustEdits

SUITES = ROOT / "roles/suites/files"
#: The keys of a fault that name an edit of a product's source.
BUILT = {"proxy": PROXY, "ryll_built": RYLL}


def faults() -> list[dict[str, Any]]:
    return yaml.safe_load((HERE / "suites.yml").read_text(encoding="utf-8"))["faults"]


def edited(file: Path, edits: list[dict[str, str]]) -> str:
    """The text of a file with each `old`, which it has once, replaced by `new`."""
    text = file.read_text(encoding="utf-8")
    for edit in edits:
        assert text.count(edit["old"]) == 1, f"{edit['old']!r} is {text.count(edit['old'])} times in {file}"
        text = text.replace(edit["old"], edit["new"])
    return text


class Rig:
    """A lane that is up, and its suites. sources: those of the products in BUILT that there are."""

    def __init__(self, lane_dir: str, sources: dict[str, RustEdits] | None = None) -> None:
        self.lane_dir, self.sources = Path(lane_dir), sources or {}
        handover = {path.stem: json.loads(path.read_text()) for path in (self.lane_dir / "handover").glob("*.json")}
        run = json.loads((self.lane_dir / "run.json").read_text())
        self.kerbside = Path(handover["kerbside"]["python"])
        # As the role suites has it, with the variables of the lane and what its roles handed over.
        loader, variables = DataLoader(), {"lane_id": run["lane_id"], "lane_dir": lane_dir}
        variables["ansible_facts"] = {f"lane_{name}": found for name, found in handover.items()}
        for file in ("lane/defaults", "lane/vars", "suites/defaults"):
            found = loader.load_from_file(str(ROOT / f"roles/{file}/main.yml"), trusted_as_template=True)
            variables = {**found, **variables}
        place = Templar(loader, variables=variables).template(variables["suites_place"])
        self.place = Place.of({"lane_dir": lane_dir, **claimed_ports(lane_dir), **place})
        guests = yaml.safe_load((ROOT / "fixtures/guests.yml").read_text(encoding="utf-8"))["guests"]
        fixtures, cache = str(ROOT / "fixtures"), str(cache_dir())
        paths = {name: str(guest_image.ensure(guest, fixtures, cache)) for name, guest in guests.items()}
        self.guests = {name: {**guest, "name": name, "path": paths[name]} for name, guest in guests.items()}

    def suite(self, name: str) -> plan.Suite:
        path = SUITES / f"{name}.yml"
        return plan.read(str(path), path.read_text(encoding="utf-8"), ACTORS, self.guests)

    def play(self, fault: dict[str, Any]) -> list[dict[str, Any]]:
        """The entries of the fault's suite, or of those of its checks that the fault names."""
        suite = self.suite(fault["suite"])
        if only := fault.get("checks"):
            suite = replace(suite, checks=[check for check in suite.checks if check.name in only])
        guests = self.guests
        if edit := fault.get("image"):
            guests = {**guests, suite.guests[0]: self._with_image(suite.guests[0], fault["name"], edit)}
        with ExitStack() as stack:
            lane = LaneStage(stack.enter_context(self._place(fault)), guests)
            if edits := fault.get("gtk"):
                wrong = edited(Path(gtk.gtk_client.__file__), edits)
                stack.callback(setattr, gtk, "program", gtk.program)
                gtk.program = lambda: wrong
            if wrong := fault.get("link"):
                stack.callback(setattr, slow_links, "LinkRelay", slow_links.LinkRelay)
                slow_links.LinkRelay = wrong_link(**wrong)
            for name in ("api", "daemon"):
                lane.described[name] = self._program(lane.described[name], fault, stack)
            if words := fault.get("qemu"):
                lane.described["qemu"] = replace(lane.described["qemu"], argv=(*lane.described["qemu"].argv, *words))
            suite = replace(suite, kerbside={**suite.kerbside, **fault.get("settings", {})})
            if options := fault.get("options"):
                suite = replace(suite, ryll=tuple(options["ryll"]))
            return engine.run(lane, suite, suite.guests[0], ACTORS, slow=fault.get("slow", False))

    def _with_image(self, guest: str, name: str, edit: dict[str, str]) -> dict[str, Any]:
        """A guest whose program has other bytes."""
        image, old = Path(self.guests[guest]["path"]).read_bytes(), bytes.fromhex(edit["old"])
        assert image.count(old) == 1, f"{edit['old']} is {image.count(old)} times in the image of {guest}"
        path = self.lane_dir / f"tmp/{name}.qcow2"
        path.write_bytes(image.replace(old, bytes.fromhex(edit["new"])))
        return {**self.guests[guest], "path": str(path)}

    def restore(self) -> None:
        LaneStage(self.place, self.guests).restore()

    @contextmanager
    def _place(self, fault: dict[str, Any]) -> Iterator[Place]:
        place = self.place
        if name := fault.get("ryll_built"):
            place = replace(place, ryll=str(self._built("ryll_built", name)))
        if rules := fault.get("ryll"):
            wrapper, first = self.lane_dir / "tmp/ryll", self.lane_dir / "tmp/first-picture"
            first.unlink(missing_ok=True)
            rules = {**rules, **({"stale": str(first)} if rules.get("stale") else {})}
            wrapper.write_text(ryll_script(rules, place.ryll))
            wrapper.chmod(0o700)
            place = replace(place, ryll=str(wrapper))
        place = replace(place, **{name: getattr(place, other) for name, other in fault.get("place", {}).items()})
        if wrong := fault.get("counters"):
            with counters(place.metrics_port, wrong) as port:
                yield replace(place, metrics_port=port)
        else:
            yield place

    def _program(self, program: Any, fault: dict[str, Any], stack: ExitStack) -> Any:
        if edits := fault.get("kerbside"):
            # The path tells whether API and daemon have to be started anew.
            copy = self.lane_dir / f"tmp/kerbside-{fault['name']}"
            shutil.rmtree(copy, ignore_errors=True)
            installed = next(self.kerbside.parents[1].glob("lib/python3*/site-packages/kerbside"))
            shutil.copytree(installed, copy / "kerbside")
            for edit in edits:
                file = copy / "kerbside" / edit["file"]
                file.write_text(edited(file, [edit]), encoding="utf-8")
            program = replace(program, env={**program.env, "PYTHONPATH": str(copy)})
        if name := fault.get("proxy"):
            program = replace(program, env={**program.env, "KERBSIDE_PROXY_BIN": str(self._built("proxy", name))})
        if rule := fault.get("relay"):
            relay = Relay(self.place.spice_port, change(rule))
            stack.callback(relay.close)
            old, new = f"insecure_port: {self.place.spice_port}", f"insecure_port: {relay.port}"
            files = {path: (source, form.replace(old, new)) for path, (source, form) in program.secret_files.items()}
            program = replace(program, secret_files=files)
        return program

    def _built(self, key: str, name: str) -> Path:
        """The program with an edit of tests/mutation, built once for the lane."""
        # The path tells whether the daemon has to be started anew.
        program = self.lane_dir / f"tmp/{BUILT[key].program}-{name}"
        if not program.exists():
            (edit,) = BUILT[key].edits(name)
            with self.sources[key].edited(edit):
                shutil.copy(self.sources[key].binary, program)
        return program


def wrong_link(delay: float = 1, rate: float = 1) -> Any:
    """A relay for slow links that delays and passes that many times what it is told."""
    return lambda to, each_way, bits: LinkRelay(to, each_way * delay, bits * rate)


@contextmanager
def counters(real: int, wrong: dict[str, Any]) -> Iterator[int]:
    """The port of counters that are the real ones, but for those that are multiplied or grow by themselves."""
    looks = itertools.count()

    class Counters(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = urllib.request.urlopen(f"http://127.0.0.1:{real}/metrics", timeout=5).read().decode().splitlines()
            for name, factor in wrong.items():
                if factor == "grows":
                    lines.append(f"kerbside_proxy_{name} {next(looks)}")
                    continue
                for number, line in enumerate(lines):
                    if name in line and not line.startswith("#"):
                        series, _, value = line.rpartition(" ")
                        lines[number] = f"{series} {float(value) * factor:f}"
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join(lines).encode() + b"\n")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counters) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def verdicts(entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """check -> [component, code] of those that failed."""
    red = [one for one in entries if one["result"] == "fail"]
    return {one["name"]: [one["detail"]["component"], one["detail"]["code"]] for one in red}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lane_dir")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    for product in BUILT.values():
        parser.add_argument(f"--{product.component}", type=Path, metavar="CHECKOUT")
    given = parser.parse_intermixed_args(words)
    known = faults()
    if given.list:
        print(*(f"{fault['name']:34} {fault['suite']:10} {', '.join(fault['expect'])}" for fault in known), sep="\n")
        return 0
    if unknown := set(given.names) - {fault["name"] for fault in known}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not Path(given.lane_dir, "handover/kerbside.json").exists():
        parser.error(f"no lane is running in {given.lane_dir}; start one with ./lane up")
    with tempfile.TemporaryDirectory(prefix="lane-faults-") as scratch:
        sources = {}
        for key, product in BUILT.items():
            if checkout := getattr(given, product.component):
                sources[key] = RustEdits(product, checkout, Path(scratch, key))
        chosen = [fault for fault in known if not given.names or fault["name"] in given.names]
        return judge(Rig(given.lane_dir, sources), chosen)


def judge(rig: Rig, chosen: list[dict[str, Any]]) -> int:
    """Play these faults; 1 when one was not seen as it has to be."""
    wrong = 0
    for fault in chosen:
        title = f"{fault['name']:34} {fault['suite']:10}"
        if lacking := [product.component for key, product in BUILT.items() if key in fault and key not in rig.sources]:
            print(f"--  {title} not played without --{lacking[0]} CHECKOUT", flush=True)
            continue
        entries = rig.play(fault)
        found = verdicts(entries)
        good = found == fault["expect"]
        wrong += not good
        seconds = sum(one["seconds"] for one in entries)
        print(f"{'ok ' if good else 'BAD'} {title} {seconds:5.1f} s  {'' if good else found}", flush=True)
        for one in entries:
            if one["result"] == "fail":
                print(f"      {one['name']}: {one['detail']['component']}: {one['detail']['cause']}", flush=True)
    rig.restore()
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
