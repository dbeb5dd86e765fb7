"""Evidence is collected, read and carried to another machine; plain folders are enough for these rules."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import check_report
from ansible.module_utils.lane.evidence import check_results, collect, transport
from prepared import fails

KEY = ("smoke", "pocket", "status")
STEP = {"name": "status", "result": "failed", "seconds": 2.0, "started": 5.0, "seen": {"expected": "a", "got": "b"}}
PASSED = {"name": "status", "result": "pass"}
NOT_RUN = ("not run", None, 0.0, {})
FAILED = {"cause": "a was b", "component": "ryll"}


@pytest.mark.parametrize(
    ("report", "entry"),
    [
        ({"transcript": [STEP], **FAILED}, ("fail", 5.0, 2.0, {**FAILED, **STEP["seen"]})),
        ({"transcript": [STEP]}, ("fail", 5.0, 2.0, STEP["seen"])),
        ({"transcript": [{**STEP, "result": "ok", "seen": None}], "cause": "of another step"}, ("pass", 5.0, 2.0, {})),
        ({"transcript": [{"name": "status", "result": "skipped", "seconds": None}]}, NOT_RUN),
        ({"checks": [{**PASSED, "detail": {"a": 1}}]}, ("pass", None, 0.0, {"a": 1})),
        ({"checks": [{**PASSED, "name": "other"}]}, NOT_RUN),
        ({"guest": "uncalibrated", "checks": [PASSED]}, NOT_RUN),
        ({"suite": "audio", "checks": [PASSED]}, NOT_RUN),
    ],
)
def test_the_entry_of_a_check(report, entry):
    (found,) = check_results.entries([report], [KEY], "pocket")
    names = ("suite", "guest", "name", "result", "started", "seconds", "detail")
    assert found == dict(zip(names, (*KEY, *entry), strict=True))


def test_a_planned_check_is_a_name_or_names_its_suite_and_guest():
    planned = ["status", {"name": "x"}, {"suite": "audio", "guest": "uncalibrated", "name": "y"}, ["uncalibrated", "z"]]
    keys = [KEY, ("smoke", "pocket", "x"), ("audio", "uncalibrated", "y"), ("smoke", "uncalibrated", "z")]
    assert check_results.planned_keys(planned, "pocket") == keys


@pytest.fixture
def lane_dir(tmp_path: Path) -> Path:
    for folder in ("logs", "handover", "pictures"):
        (tmp_path / "lane" / folder).mkdir(parents=True)
    return tmp_path / "lane"


def test_reports_of_other_commands_are_left_out_and_json_kept(lane_dir, monkeypatch):
    for command in ("mine", "other"):
        monkeypatch.setenv(check_report.COMMAND_ID, command)
        check_report.write(lane_dir / f"logs/{command}.json", {"checks": []})
    (lane_dir / "logs/events.json").write_text("[]")
    (lane_dir / "counters-before.json").write_text("{}")
    artifacts = lane_dir.parent / "artifacts"
    reports = collect.collect(str(lane_dir), artifacts, "mine", "words\n")
    assert reports == [{"command_id": "mine", "checks": []}]
    kept = {path.name: path.stat().st_mode & 0o777 for path in (artifacts / "logs").iterdir()}
    assert kept == dict.fromkeys(("mine.json", "events.json", "ansible.log", "not-collected.txt"), 0o644)
    assert (artifacts / "counters-before.json").read_text() == "{}"
    assert (artifacts / "logs").stat().st_mode & 0o777 == 0o755
    assert (artifacts / collect.NOTES).read_text() == "logs/other.json: an earlier command made it\n"
    (lane_dir / "logs/ansible.log").write_text("earlier\n")
    (lane_dir / "logs/other.json").unlink()
    collect.collect(str(lane_dir), artifacts, "mine", "words\n")
    assert (artifacts / "logs/ansible.log").read_text() == "earlier\nwords\n"
    assert not (artifacts / collect.NOTES).exists()


@pytest.mark.parametrize("file", ["screenshot.png", "screendump.png", "pictures/1.png"])
def test_pictures_that_a_report_names_are_kept_until_the_next_command(lane_dir, file):
    (lane_dir / "secrets").mkdir()
    for name in (file, "secrets/x.png"):
        (lane_dir / name).write_bytes(b"a picture")
    report = {"command_id": "c", "files": [str(lane_dir / file), "../x.png", "secrets/x.png", "pictures/gone.png"]}
    (lane_dir / "logs/outside.json").write_text(json.dumps(report))
    artifacts = lane_dir.parent / "new/artifacts"
    collect.collect(str(lane_dir), artifacts, "c")
    assert [str(path.relative_to(artifacts)) for path in artifacts.rglob("*.png")] == [file]
    assert not (artifacts / collect.NOTES).exists()
    for name in ("report.html", "result.json", "junit.xml", "counters-before.json", "difference.png"):
        (artifacts / name).touch()
    (artifacts / ".lane").touch()
    collect.collect(str(lane_dir), artifacts, "another")
    assert {path.name for path in artifacts.iterdir()} == {".lane", "logs"}


def test_a_log_is_cut_and_a_picture_is_kept_whole_or_not(lane_dir, monkeypatch):
    monkeypatch.setattr(collect, "HEAD", 20)
    monkeypatch.setattr(collect, "TAIL", 20)
    (lane_dir / "screenshot.png").write_bytes(bytes(40))
    (lane_dir / "screendump.png").write_bytes(bytes(41))
    (lane_dir / "logs/deep/er").mkdir(parents=True)
    (lane_dir / "logs/deep/er/api.log").write_text("line\n" * 20)
    monkeypatch.setattr(check_report, "of_command", lambda *_: [{"files": ["screenshot.png", "screendump.png"]}])
    artifacts = lane_dir.parent / "artifacts"
    collect.collect(str(lane_dir), artifacts, "c")
    assert [path.name for path in artifacts.glob("*.png")] == ["screenshot.png"]
    assert "65 of 100 bytes are left out here" in (artifacts / "logs/deep/er/api.log").read_text()


def test_a_report_that_is_too_large_or_none_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    for text, found in (('{"command_id": "c"}', {"command_id": "c"}), ("{}", {}), ("[]", {}), ("{", {})):
        path.write_text(text)
        assert check_report.read(path) == found
    path.write_text('{"command_id": "c"}')
    monkeypatch.setattr(check_report, "LARGEST", 18)
    assert check_report.read(path) == {}
    assert check_report.read(tmp_path) == {}


# --- which failures follow from another one: only those that have to ------------------------------

Check = dict[str, Any]


def check(name: str, result: str, suite: str = "smoke", guest: str = "pocket", **detail: str) -> Check:
    return {"suite": suite, "guest": guest, "name": name, "result": result, "detail": detail}


def bad(name: str, component: str, code: str, suite: str = "smoke", guest: str = "pocket") -> Check:
    return check(name, "fail", suite, guest, component=component, code=code)


def ended(name: str, suite: str = "smoke", guest: str = "pocket") -> Check:
    return bad(name, "qemu", "program_ended", suite, guest)


def not_run(name: str, suite: str = "smoke") -> Check:
    return check(name, "not run", suite)


def blame(name: str | None, component: str, code: str, phase: str = "smoke") -> Check:
    return {"phase": phase, "check": name, "component": component, "code": code}


LOST = blame("s", "qemu", "program_ended")
OF_SUITE = blame("a", "qemu", "program_ended", "suites")
OF_S, OF_PHASE = "follows from: check s", "follows from: phase smoke"
OF_X = "follows from: check a of x on pocket"


@pytest.mark.parametrize(
    ("checks", "blamed", "words"),
    [
        ([check("a", "pass")], None, [""]),
        ([not_run("a")], blame(None, "kerbside", "program_ended", "kerbside"), ["follows from: phase kerbside"]),
        ([not_run("a")], blame(None, "host", "program_ended", ""), ["follows from: phase before the first"]),
        # the smoke check: what lies further on cannot work, what lies before can
        ([ended("s"), not_run("t"), bad("f", "qemu", "c"), bad("r", "ryll", "x")], LOST, ["", OF_S, OF_S, OF_S]),
        ([bad("b", "guest", "guest_no_banner"), bad("s", "proxy", "y")], blame("s", "proxy", "proxy_ended"), ["", ""]),
        ([bad("s", "guest", "agent_late"), bad("f", "ryll", "x")], blame("s", "guest", "agent_late"), ["", ""]),
        ([not_run("h"), ended("f")], blame(None, "qemu", "program_ended"), [OF_PHASE, OF_PHASE]),
        ([bad("b", "guest", "x"), not_run("f")], blame(None, "lane", "task_failed"), ["", OF_PHASE]),
        (
            [not_run("h"), bad("b", "guest", "x"), bad("c", "proxy", "y"), bad("p", "ryll", "z")],
            blame(None, "kerbside", "api_refused"),
            [OF_PHASE, "", OF_PHASE, OF_PHASE],
        ),
        ([check("s", "fail"), check("f", "fail")], LOST, ["", ""]),  # without a component nothing is known
        # a suite
        (
            [bad("a", "guest", "c", "x"), ended("b", "x"), ended("c", "x"), not_run("d", "x")],
            blame("a", "guest", "c", "suites"),
            ["", "", "follows from: check b", "follows from: check a"],
        ),
        (
            [bad("a", "proxy", "c", "x"), bad("b", "proxy", "c", "x"), bad("c", "ryll", "c", "x")],
            blame("a", "proxy", "c", "suites"),
            ["", "same failure as: check a", ""],
        ),
        # another suite or guest begins anew, unless nothing of it ran
        ([ended("a", "x"), ended("a", "y"), ended("a", "x", "two"), not_run("b", "z")], OF_SUITE, ["", "", "", OF_X]),
        ([ended("a", "x"), bad("b", "ryll", "c", "x")], OF_SUITE, ["", ""]),
    ],
)
def test_only_what_has_to_follow_is_said_to_follow(checks, blamed, words):
    assert check_results.consequences(checks, blamed) == words


#: As the picture travels; those of one place stand beside each other.
WAY = [["host"], ["firmware", "qemu", "guest"], ["database"], ["kerbside"], ["proxy"], ["ryll"]]


def test_the_loss_of_a_part_takes_along_what_is_beside_it_and_further_on():
    parts = [(place, part) for place, beside in enumerate(WAY) for part in beside]
    for at, lost in parts:
        for place, part in parts:
            checks = [bad("s", lost, "program_ended"), bad("f", part, "x")]
            follows = check_results.consequences(checks, blame("s", lost, "program_ended"))[1]
            assert follows == (OF_S if place >= at else ""), (lost, part)


# --- on its way between two machines: what a lane packs is unpacked, anything else is refused -----


def test_what_is_packed_is_unpacked(tmp_path):
    source = tmp_path / "source"
    (source / "logs").mkdir(parents=True)
    (source / "logs/ryll.log").write_text("hello")
    (source / "link").symlink_to("/etc/passwd")
    packed = transport.pack(str(source), str(tmp_path / "evidence.tar"))
    assert Path(packed).stat().st_mode & 0o777 == 0o600
    with tarfile.open(packed) as tar:
        assert {(one.uid, one.gid, one.uname, one.gname) for one in tar} == {(0, 0, "", "")}
    for _ in range(2):
        transport.unpack(packed, tmp_path / "over/here")
    assert (tmp_path / "over/here/logs/ryll.log").read_text() == "hello"
    assert not (tmp_path / "over/here/link").exists()


def member(name: str, **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(made, key, value)
    return made


def archive(folder: Path, *members: tarfile.TarInfo) -> str:
    """A tar file with these members, full of zeros."""
    with tarfile.open(folder / "evidence.tar", "w") as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(bytes(one.size)))
    return str(folder / "evidence.tar")


@pytest.mark.parametrize(
    "bad",
    [
        member("../out"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("pipe", type=tarfile.FIFOTYPE),
        None,
    ],
)
def test_an_archive_that_no_lane_made_is_refused(tmp_path, bad):
    path = archive(tmp_path, *([bad] if bad else []))
    if not bad:
        Path(path).write_bytes(b"no archive" * 100)
    with fails("evidence_broken", "artifacts"):
        transport.unpack(path, tmp_path / "deep/here")
    assert not (tmp_path / "deep/out").exists()


@pytest.mark.parametrize(("files", "size", "refused"), [(6, 0, False), (7, 0, True), (1, 100, False), (1, 101, True)])
def test_as_much_as_a_lane_packs_at_most(tmp_path, monkeypatch, files, size, refused):
    monkeypatch.setattr(collect, "MOST", 50)
    monkeypatch.setattr(collect, "MOST_FILES", 2)
    path = archive(tmp_path, *(member(f"file{number}", size=size) for number in range(files)))
    if refused:
        with fails("evidence_broken", "artifacts", "too much"):
            transport.unpack(path, tmp_path / "here")
    else:
        transport.unpack(path, tmp_path / "here")
        assert len(list((tmp_path / "here").iterdir())) == files


def test_an_absolute_name_stays_below_the_folder(tmp_path):
    transport.unpack(archive(tmp_path, member(f"{tmp_path}/out", size=1)), tmp_path / "here")
    assert not (tmp_path / "out").exists()
