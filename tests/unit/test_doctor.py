"""`./lane doctor`: lines that say what is there, and what is not when it is taken away."""

import argparse
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from lane_numbers import lane_ids

from tools import doctor

NAMES = ["kvm", "packages", "root", "python", "rust", "limits", "disk", "index", "ports", "leftovers", "cache"]


@pytest.fixture(autouse=True)
def index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that nobody serves, asked twice and no more."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(doctor.pip, "RETRIES", "1")


def test_its_lines_and_nothing_is_changed(tmp_path, monkeypatch, capsys):
    """On an empty cache, so that the index is missing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with lane_ids(1) as (number,):
        assert doctor.main(argparse.Namespace(json=True, lane_id=number)) == 2
        lines = json.loads(capsys.readouterr().out)
        assert [line["name"] for line in lines] == NAMES
        state = {line["name"]: line["state"] for line in lines}
        assert (state["index"], state["cache"], state["ports"], state["python"]) == ("missing", "note", "ok", "ok")
        assert doctor.main(argparse.Namespace(json=False, lane_id=number)) == 2
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == NAMES
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken():
    with lane_ids(1) as (number,), socket.create_server(("127.0.0.1", 17900 + 10 * number + 2)):
        line = doctor.ports(number)
    assert line.state == "missing" and str(17900 + 10 * number + 2) in line.text


def probed(found: doctor.accelerator.Finding | None) -> dict[str, Any]:
    """A machine whose KVM an earlier lane has probed, or none has."""
    survey = doctor.packages.Survey(paths={"qemu": "/bin/true"}, firmware=("/code", "/vars"))
    known = {"packages.survey": survey, "accelerator.check_device": None, "accelerator.cache_key": "key"}
    known["accelerator.read_cache"] = found
    return {name: lambda *_, value=value: value for name, value in known.items()}


RUNS = doctor.accelerator.Finding("runs", "", cpu="max")
HANGS = doctor.accelerator.Finding("qemu_hangs", "it hangs", "wait")
LACKS = "note" if doctor.root().state == "ok" else "missing"  # who may install it
CARGO = doctor.rust.Cargo("/x/cargo", (1, 90, 0), {}, (), "", "")


@pytest.mark.parametrize(
    ("machine", "look", "state", "words"),
    [
        ({}, lambda: doctor.index(True), "note", ""),  # not needed when the cache has everything
        ({"DEVICE": "/no/kvm"}, lambda: doctor.kvm(Path("/")), "note", "there is no /no/kvm"),
        (probed(None), lambda: doctor.kvm(Path("/")), "note", "the first lane probes"),
        (probed(RUNS), lambda: doctor.kvm(Path("/")), "ok", "UEFI guests run with -cpu max"),
        (probed(HANGS), lambda: doctor.kvm(Path("/")), "note", "under TCG: it hangs; wait"),
        ({"packages.command.find_program": lambda name: None}, doctor.system_packages, LACKS, "qemu"),
        ({"machine.FILES": 1 << 40}, lambda: doctor.limits(["/tmp"]), "missing", ""),
        ({"rust.find": lambda *_: CARGO}, doctor.rust_toolchain, "ok", "1.90.0, /x/cargo"),
        ({"rust._which": lambda name, env: None}, doctor.rust_toolchain, "note", "there is no cargo"),
    ],
)
def test_what_a_line_says_of_the_machine(monkeypatch, machine, look, state, words):
    for name, value in machine.items():
        monkeypatch.setattr(f"tools.doctor.{name}", value)
    line = look()
    assert line.state == state and words in line.text
