"""playbooks/refresh_sextant.yml: from a source's `make release` to an image in fixtures/ and words on what to commit, or one sentence why not.

The source is a git repository that the test makes; its Makefile asks docker, as the real one does, and makes a small qcow2. docker is a script of
the test's own, because an engine is not to be had everywhere; where the engine is missing, the real client is asked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLAYBOOK = "playbooks/refresh_sextant.yml"
TOLD = "Say what to commit"
NEEDED = ["git", "make", "qemu-img"]
pytestmark = pytest.mark.skipif(any(not shutil.which(name) for name in NEEDED), reason=f"one of {', '.join(NEEDED)} is not installed")

GOOD = """\
.PHONY: release
release:
\tdocker run --rm builder
\tmkdir -p release/1.0
\tqemu-img create -q -f qcow2 release/1.0/sextant.qcow2 1M
\tln -s 1.0/sextant.qcow2 release/latest.qcow2
\tenv >environment
\tgit describe --tags >described
"""
ANSWERS = '#!/bin/sh\necho "$@" >>{calls}\n'
LEAKS = {"MAKEFLAGS": "-n", "CFLAGS": "-DLEAK", "GIT_DIR": "/nowhere", "DOCKER_DEFAULT_PLATFORM": "linux/arm64", "SOURCE_DATE_EPOCH": "7"}


def git(folder: Path, *arguments: str) -> str:
    """One git command as a person without settings of their own."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}
    return subprocess.run(["git", "-C", str(folder), *arguments], env={**os.environ, **who}, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Bench:
    """A source, a docker, and a fixtures folder with a copy of the real guests.yml."""

    source: Path
    fixtures: Path
    calls: Path
    cache: Path
    path: str
    run_playbook: Callable[..., Any]

    @property
    def image(self) -> Path:
        return self.fixtures / "uncalibrated.qcow2"

    def commit(self, makefile: str) -> str:
        (self.source / "Makefile").write_text(makefile)
        git(self.source, "add", "-A")
        git(self.source, "commit", "-q", "-m", "change")
        return git(self.source, "rev-parse", "HEAD")

    def refresh(self, *args: str, env: dict[str, str] | None = None, **settings: Any) -> Any:
        given = {"refresh_sextant_repo": str(self.source), "lane_guests_file": str(self.fixtures / "guests.yml"), "lane_cache_dir": str(self.cache)}
        return self.run_playbook(PLAYBOOK, *args, env={"PATH": self.path, **(env or {})}, **{**given, **settings})

    def refused(self, *args: str, env: dict[str, str] | None = None, **settings: Any) -> str:
        """The one sentence of a run that has to fail, and has to leave fixtures/ as it was."""
        before = {path.name: path.read_bytes() for path in self.fixtures.iterdir()}
        played = self.refresh(*args, env=env, **settings)
        assert played.rc == 2, played
        assert len(played.failures) == 1
        assert before == {path.name: path.read_bytes() for path in self.fixtures.iterdir()}
        return str(played.failures[0])


@pytest.fixture
def bench(tmp_path: Path, run_playbook: Callable[..., Any]) -> Bench:
    """A good source on branch main with the tag v1, and a docker that answers."""
    source, fixtures, bin_dir = tmp_path / "sextant source", tmp_path / "fixtures", tmp_path / "bin"
    for folder in (source, fixtures, bin_dir):
        folder.mkdir()
    shutil.copy(ROOT / "fixtures/guests.yml", fixtures)
    calls = tmp_path / "docker-calls"
    (bin_dir / "docker").write_text(ANSWERS.format(calls=calls))
    (bin_dir / "docker").chmod(0o755)
    git(source, "init", "-q", "-b", "main")
    made = Bench(source, fixtures, calls, tmp_path / "cache", f"{bin_dir}:{os.environ['PATH']}", run_playbook)
    made.commit(GOOD)
    git(source, "tag", "v1")
    return made


@pytest.mark.slow
def test_from_a_clone_to_a_commit(bench: Bench) -> None:
    first = bench.refresh(env={**LEAKS, "DOCKER_HOST": "unix:///the/caller's.sock"})
    assert first.rc == 0, first
    assert first.changed == 1
    sha256 = hashlib.sha256(bench.image.read_bytes()).hexdigest()
    line = f'sha256: "{sha256}"'
    guests = bench.fixtures / "guests.yml"
    assert first.result(TOLD)["msg"] == [f"Commit {bench.image} together with this line of uncalibrated in {guests}: {line}"]
    info = first.result("Say what qemu-img finds in it")["msg"]
    assert (info["format"], info["virtual-size"], info["sha256"], info["commit"]) == ("qcow2", 1 << 20, sha256, git(bench.source, "rev-parse", "HEAD"))
    assert bench.image.stat().st_mode & 0o777 == 0o644
    assert bench.calls.read_text().splitlines() == ["info", "run --rm builder"]
    [clone] = (bench.cache / "sextant").glob("source-*")
    assert (clone / "described").read_text() == "v1\n"
    surroundings = dict(item.split("=", 1) for item in (clone / "environment").read_text().splitlines() if "=" in item)
    assert surroundings["DOCKER_HOST"] == "unix:///the/caller's.sock"
    assert surroundings["HOME"] == os.environ["HOME"]
    assert not {name for name, value in LEAKS.items() if surroundings.get(name) == value}

    again = bench.refresh()
    assert (again.rc, again.changed) == (0, 0), again
    assert again.result(TOLD)["msg"] == first.result(TOLD)["msg"]

    before = guests.read_text()
    after = before.replace("sha256: null", line)
    assert after != before
    guests.write_text(after)
    assert yaml.safe_load(after)["guests"]["uncalibrated"]["sha256"] == sha256
    settled = bench.refresh()
    assert settled.result(TOLD)["msg"] == [f"{bench.image} and {guests} agree with the build: nothing new to commit."]
    bench.image.unlink()
    back = bench.refresh()
    assert back.changed == 1
    assert back.result(TOLD)["msg"] == [f"Commit {bench.image}; {guests} records its sha256 already."]

    bench.commit(GOOD.replace("1M", "2M"))
    moved = bench.refresh()
    assert moved.changed == 1
    assert hashlib.sha256(bench.image.read_bytes()).hexdigest() != sha256
    old = bench.refresh(refresh_sextant_ref="v1")
    assert old.changed == 1
    assert hashlib.sha256(bench.image.read_bytes()).hexdigest() == sha256
    assert not list(bench.fixtures.glob(".new-*"))


@pytest.mark.slow
def test_a_checkout_is_built_as_it_stands(bench: Bench) -> None:
    (bench.source / "Makefile").write_text(
        GOOD.replace("ln -s", "ln -sf").replace("1.0/", "$(shell cat VERSION)/").replace("release/1.0", "release/$(shell cat VERSION)")
    )
    (bench.source / "VERSION").write_text("1")
    wish = {"refresh_sextant_checkout": str(bench.source), "refresh_sextant_repo": "", "refresh_sextant_image": "release/*/*.qcow2"}
    first = bench.refresh(**wish)
    assert first.rc == 0, first
    assert (bench.source / "release/1/sextant.qcow2").exists()
    assert not list((bench.cache / "sextant").glob("source-*"))
    (bench.source / "VERSION").write_text("2")  # the image of the build before stays; the new one is what counts
    second = bench.refresh(**wish)
    assert second.rc == 0, second
    assert second.result("Say what qemu-img finds in it")["msg"]["commit"] == ""
    assert len(second.result(TOLD)["msg"]) == 1
    assert bench.image.read_bytes() == (bench.source / "release/2/sextant.qcow2").read_bytes()
    (bench.source / "Makefile").write_text(".PHONY: release\nrelease:\n\t@echo up to date\n")
    assert "there are 2 (release/1/sextant.qcow2, release/2/sextant.qcow2)" in bench.refused(**wish)
    shutil.rmtree(bench.source / "release/1")
    third = bench.refresh(**wish)
    assert third.result(TOLD)["msg"][0] == f"make release left {bench.source}/release/2/sextant.qcow2 as it was: it found nothing to do."


def test_check_mode_touches_nothing(bench: Bench) -> None:
    played = bench.refresh("--check")
    assert played.rc == 0, played
    assert played.result(TOLD)["msg"] == [f"Would run make release in a clone of {bench.source} at main and copy the image to {bench.image}."]
    assert not bench.cache.exists()
    assert not bench.image.exists()
    assert bench.calls.read_text() == "info\n"


def broken(words: str) -> str:
    return f"#!/bin/sh\necho '{words}' >&2\nexit 1\n"


def test_an_engine_that_does_not_answer_is_told_before_the_clone(bench: Bench) -> None:
    docker = Path(bench.path.split(":")[0], "docker")
    docker.write_text(broken("permission denied while trying to connect"))
    message = "host: expected a container engine that answers docker, for make release, but docker info ended with status 1: permission denied while trying"
    assert message in bench.refused()
    planned = bench.refresh("--check")
    assert planned.rc == 0, planned
    assert planned.result(TOLD)["msg"][1].startswith(f"It could not start here: {message}")
    assert not bench.cache.exists()


@pytest.mark.skipif(not shutil.which("docker"), reason="docker is not installed")
def test_the_real_docker_without_an_engine(bench: Bench) -> None:
    nobody = f"unix://{bench.cache}/nobody.sock"
    said = bench.refused(env={"PATH": os.environ["PATH"], "DOCKER_HOST": nobody})
    assert "host: expected a container engine that answers docker, for make release, but docker info ended with status 1: " in said
    assert nobody in said or "onnect" in said
    assert not bench.cache.exists()


def test_sources_that_cannot_be_had(bench: Bench) -> None:
    assert "environment: cannot read the repository /no/such: git said fatal: '/no/such' does not appear to be" in bench.refused(
        refresh_sextant_repo="/no/such"
    )
    unknown = bench.refused(refresh_sextant_ref="nosuch")
    assert f"guest: {bench.source} has no branch or tag nosuch" in unknown
    assert "correct refresh_sextant" in unknown
    wrong = bench.refused(refresh_sextant_ref="--upload-pack=x")
    assert "environment: refresh_sextant_ref names '--upload-pack=x', which cannot be a branch, a tag or a commit" in wrong


BROKEN = {
    "fails": (
        "@echo building >&2; echo 'no space for the image'; exit 7",
        "make release in {clone} to build the image, but it ended with status 2: no space for the image; ",
    ),
    "no image": (
        "@mkdir out; touch out/s.qcow2",
        "to leave one image at {clone}/release/**/*.qcow2, but there is none; set refresh_sextant_image to where it is, qcow2 files here: out/s.qcow2; ",
    ),
    "two images": (
        "@mkdir release; touch release/a.qcow2 release/b.qcow2",
        "but there are 2 (release/a.qcow2, release/b.qcow2); set refresh_sextant_image so that it matches one; ",
    ),
    "no qcow2": (
        "@mkdir release; echo no disk >release/a.qcow2",
        "expected {clone}/release/a.qcow2 to be a qcow2, but its format is raw; look at qemu-img info",
    ),
    "backing file": (
        "@mkdir release; qemu-img create -q -f raw b 1M; qemu-img create -q -f qcow2 -F raw -b ../b release/a.qcow2",
        "expected {clone}/release/a.qcow2 to be whole in itself, but it needs ../b; look at qemu-img info",
    ),
}


@pytest.mark.parametrize(("recipe", "words"), BROKEN.values(), ids=BROKEN)
def test_a_build_that_gives_no_image(bench: Bench, recipe: str, words: str) -> None:
    bench.image.write_bytes(b"the image from before")
    bench.commit(f"release:\n\t{recipe}\n")
    said = bench.refused()
    [clone] = (bench.cache / "sextant").glob("source-*")
    assert said.startswith("guest: expected ")
    assert words.format(clone=clone) in said
    assert "qemu-img info" in said or f"look at {bench.cache}/sextant/refresh.log" in said


def test_a_build_that_does_not_end_is_ended(bench: Bench) -> None:
    bench.commit("release:\n\t@echo $$PPID >pid; sleep 60\n")
    said = bench.refused(refresh_sextant_limit=1)
    assert "was still running after 1 s and was killed; see " in said
    [pid] = (bench.cache / "sextant").glob("source-*/pid")
    assert not Path("/proc", pid.read_text().strip(), "cmdline").is_file() or not Path("/proc", pid.read_text().strip(), "cmdline").read_bytes()
