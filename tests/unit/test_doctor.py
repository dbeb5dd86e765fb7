"""`./lane doctor`: lines that say what is there, and what is not when it is taken away."""

from __future__ import annotations

import argparse
import json
import socket
from pathlib import Path

import pytest
from lane_numbers import lane_ids

from tools import doctor

NAMES = ["kvm", "packages", "root", "python", "rust", "limits", "disk", "index", "ports", "leftovers", "cache"]


@pytest.fixture(autouse=True)
def index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that nobody serves, asked twice and no more."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(doctor.pip, "RETRIES", "1")


def test_its_lines_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_an_index_is_not_needed_when_the_cache_has_everything() -> None:
    assert doctor.index(True).state == "note"


def test_a_port_that_is_taken() -> None:
    with lane_ids(1) as (number,), socket.create_server(("127.0.0.1", 17900 + 10 * number + 2)):
        line = doctor.ports(number)
    assert line.state == "missing" and str(17900 + 10 * number + 2) in line.text


def test_why_kvm_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DEVICE", str(tmp_path / "kvm"))
    line = doctor.kvm(tmp_path)
    assert line.state == "note" and f"there is no {tmp_path}/kvm" in line.text


def test_a_program_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.packages.command, "find_program", lambda name: None)
    line = doctor.system_packages()
    assert line.state != "ok" and "qemu" in line.text


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.machine, "FILES", 1 << 40)
    assert doctor.limits(["/tmp"]).state == "missing"


def test_rust_that_is_there_and_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.rust, "find", lambda *_: doctor.rust.Cargo("/x/cargo", (1, 90, 0), {}, (), "", ""))
    assert doctor.rust_toolchain() == doctor.Line("rust", "ok", "1.90.0, /x/cargo")
    monkeypatch.undo()
    monkeypatch.setattr(doctor.rust, "_which", lambda name, env: None)
    line = doctor.rust_toolchain()
    assert line.state == "note" and "there is no cargo" in line.text


@pytest.mark.parametrize(
    ("known", "state", "words"),
    [
        (None, "note", "the first lane probes"),
        (doctor.accelerator.Finding("runs", "", cpu="max"), "ok", "UEFI guests run with -cpu max"),
        (doctor.accelerator.Finding("qemu_hangs", "it hangs", "wait"), "note", "under TCG: it hangs; wait"),
    ],
)
def test_what_an_earlier_probe_of_kvm_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: doctor.accelerator.Finding | None, state: str, words: str
) -> None:
    survey = doctor.packages.Survey(paths={"qemu": "/bin/true"}, firmware=("/code", "/vars"))
    monkeypatch.setattr(doctor.packages, "survey", lambda: survey)
    monkeypatch.setattr(doctor.accelerator, "check_device", lambda device: None)
    monkeypatch.setattr(doctor.accelerator, "cache_key", lambda *given: "key")
    monkeypatch.setattr(doctor.accelerator, "read_cache", lambda *given: known)
    line = doctor.kvm(tmp_path)
    assert line.state == state and words in line.text
