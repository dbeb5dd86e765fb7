"""The refresh of a guest's image: programs that are missing, and what can be seen without a playbook (tests/playbooks/test_refresh_sextant.py has the rest)."""

from __future__ import annotations

import dataclasses
import fcntl
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import git, refresh


@pytest.fixture
def wish(tmp_path: Path) -> refresh.Wish:
    """A clone of nothing, into a fixtures folder with one guest."""
    (tmp_path / "guests.yml").write_text("guests:\n  g:\n    image: g.qcow2\n    sha256: null # to be set\n")
    return refresh.Wish("g", str(tmp_path / "guests.yml"), "/repo", "main", "", "release/*.qcow2", str(tmp_path / "work"), 60)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("git", r"git is needed for a clone of the source, and there is none on PATH; apt-get install git$"),
        ("make", r"expected make, for make release, but there is none on PATH; apt-get install make$"),
        ("qemu-img", r"expected qemu-img, for a look at the image, but there is none on PATH; apt-get install qemu-utils$"),
        ("docker", r"expected docker, for make release, but there is none on PATH; apt-get install docker\.io$"),
    ],
)
def test_a_missing_program_is_named_before_anything_starts(
    wish: refresh.Wish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, words: str
) -> None:
    for name in {"git", "make", "qemu-img", "docker"} - {missing}:
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(command, "SYSTEM_PATH", str(tmp_path / "bin"))
    with pytest.raises(LaneError, match=rf"^host: {words}"):
        refresh.refresh(wish)
    assert not Path(wish.work_dir).exists()
    assert re.search(rf"host: (expected )?{missing}\b", refresh.plan(wish)["advice"][1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ref": "--upload-pack=x"}, r"refresh_sextant_ref names '--upload-pack=x', which cannot be a branch"),
        ({"ref": ""}, r"refresh_sextant_ref names ''"),
        ({"repo": "https://me:secret@example.invalid/s"}, r"refresh_sextant_repo has a user name or a password in its URL"),
        ({"repo": ""}, r"refresh_sextant_repo or refresh_sextant_checkout, but both are empty"),
        ({"checkout": "here"}, r"refresh_sextant_checkout to be an absolute path, but it is 'here'$"),
        ({"checkout": "/no/such"}, r"refresh_sextant_checkout to be a folder, but there is none at /no/such$"),
        ({"pattern": "../*.qcow2"}, r"refresh_sextant_image to be a pattern below the checkout, but it is '\.\./\*\.qcow2'"),
        ({"pattern": "/tmp/*.qcow2"}, r"refresh_sextant_image to be a pattern below the checkout, but it is '/tmp/\*\.qcow2'"),
        ({"pattern": ""}, r"refresh_sextant_image to be a pattern below the checkout, but it is ''"),
    ],
)
def test_what_cannot_work_is_refused_in_check_mode_too(wish: refresh.Wish, given: dict[str, Any], words: str) -> None:
    for work in (refresh.plan, refresh.refresh):
        with pytest.raises(LaneError, match=f"^environment: (expected )?{words}"):
            work(dataclasses.replace(wish, **given))
    assert not Path(wish.work_dir).exists()


def test_a_second_refresh_at_the_same_time_is_refused(wish: refresh.Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh.Wish, "check_tools", lambda self: None)
    Path(wish.work_dir).mkdir(mode=0o700)
    with open(Path(wish.work_dir, ".lock"), "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(
            LaneError, match=r"^environment: expected no other refresh of the image at work, but one holds \S+/work/\.lock; look at \S+refresh\.log$"
        ):
            refresh.refresh(wish)


def test_a_guest_without_an_entry(wish: refresh.Wish) -> None:
    with pytest.raises(LaneError, match=r"^lane: expected guest h to have the field image"):
        refresh.Entry.read("h", wish.guests_file)
    with pytest.raises(LaneError, match=r"^lane: expected the guests in /no/such, but there is no such file$"):
        refresh.Entry.read("g", "/no/such")


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("cc x\nno room\nmake[1]: *** [x] Error 1\nmake: *** [release] Error 2\n", "no room"),
        ("make: *** No rule to make target 'release'.  Stop.\n", "make: *** No rule to make target 'release'. Stop."),
        ("\n", "nothing"),
    ],
)
def test_the_last_line_that_says_why(text: str, last: str) -> None:
    assert refresh.last_words(text) == last


def test_a_copy_that_fails_leaves_the_old_image(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"old")
    with pytest.raises(IsADirectoryError):
        refresh.copy_whole(tmp_path, tmp_path / "image")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("image", b"old")]


def test_stdout_and_stderr_in_one_log(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    done = command.run(["/bin/sh", "-c", "echo one; echo two >&2; echo three"], command.environment(None), 5, "sh", log=log, together=True)
    assert (done.out, done.err) == ("", "one\ntwo\nthree\n")
    assert Path(log).read_text().endswith("\none\ntwo\nthree\n")


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_commit_that_the_repository_lacks(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    done = command.run(["git", "init", "-q", str(repo)], command.environment(None), 20, "git init")
    assert done.status == 0
    source = git.Repository(str(repo), "x", "guest", "a test", None, str(tmp_path / "log"), tags=True)
    with pytest.raises(LaneError, match=rf"^guest: {repo} has no commit {'0' * 40}: git said "):
        source.check_out(source.commit("0" * 40), tmp_path / "clone")
