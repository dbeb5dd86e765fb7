"""The role ryll_build: the pinned release comes once, and a commit of a repository is built once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HAVE = "Have ryll in the cache (fetching takes seconds, building minutes)"
MAIN = 'fn main() { println!("ryll v9.9.9 (%s)"); }\n'
needs_cargo = pytest.mark.skipif(not (shutil.which("cargo") and shutil.which("git")), reason="cargo or git is not installed")


def ryll(lane: Any, *args: str, **settings: Any) -> Any:
    """Claim the lane and run the role."""
    claim = {"lane_run": {"lane_id": lane.id, "lane_dir": str(lane.dir), "artifacts_dir": str(lane.artifacts)}}
    settings.setdefault("lane_cache_dir", str(lane.scratch / "cache"))
    env = settings.pop("env", None)
    plays = [{"name": "Claim", **claim}, {"name": "Have", "ansible.builtin.include_role": {"name": "ryll_build"}}]
    return lane.run(plays, *args, env=env, **settings)


def git(folder: Path, *arguments: str) -> str:
    """One git command as a person without settings of their own."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}
    return subprocess.run(["git", "-C", str(folder), *arguments], env={**os.environ, **who}, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A cargo workspace with a package ryll in a git repository; the default feature does not compile, `loud` changes what it prints."""
    folder = tmp_path / "ryll repository"
    (folder / "ryll/src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[workspace]\nmembers = ["ryll"]\nresolver = "2"\n')
    (folder / "ryll/Cargo.toml").write_text(
        '[package]\nname = "ryll"\nversion = "9.9.9"\nedition = "2021"\nrust-version = "1.56"\n[features]\ndefault = ["gui"]\ngui = []\nloud = []\n'
    )
    (folder / "ryll/src/main.rs").write_text('#[cfg(feature = "gui")]\ncompile_error!("default features are on");\n' + MAIN % "first")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@needs_cargo
@pytest.mark.slow
def test_a_commit_is_built_once_and_a_new_one_again(lane: Any, repository: Path) -> None:
    wish = {"ryll_build_method": "git", "ryll_build_repo": str(repository)}
    leaks = {"RUSTFLAGS": "--this-is-no-flag", "CARGO_TARGET_DIR": "/nowhere", "GIT_DIR": "/nowhere"}
    first = ryll(lane, env=leaks, **wish)
    assert first.rc == 0, first
    commit = git(repository, "rev-parse", "HEAD")
    facts = first.result(HAVE)["ansible_facts"]["lane_ryll"]
    home = lane.scratch / "cache/ryll"
    assert facts == {"path": f"{home}/git-{commit}/ryll", "version": "9.9.9", "method": "git", "ref": "main", "commit": commit, "cached": False}
    log = (lane.dir / "logs/ryll-build.log").read_text()
    assert "build --release --no-default-features -p ryll" in log

    again = ryll(lane, **wish)
    assert again.changed == 0
    assert again.result(HAVE)["ansible_facts"]["lane_ryll"] == {**facts, "cached": True}
    assert (lane.dir / "logs/ryll-build.log").read_text().count(" build --release") == 1

    (repository / "ryll/src/main.rs").write_text(MAIN % "second")
    git(repository, "commit", "-q", "-a", "-m", "second")
    second = git(repository, "rev-parse", "HEAD")
    rebuilt = ryll(lane, **wish)
    assert rebuilt.changed == 1
    path = rebuilt.result(HAVE)["ansible_facts"]["lane_ryll"]["path"]
    assert path == f"{home}/git-{second}/ryll"
    assert subprocess.run([path], capture_output=True, text=True, check=True).stdout == "ryll v9.9.9 (second)\n"
    third = ryll(lane, **wish)
    assert third.changed == 0
    old = ryll(lane, **{**wish, "ryll_build_ref": commit})
    assert old.result(HAVE)["ansible_facts"]["lane_ryll"]["path"] == facts["path"]
    assert old.changed == 0
    assert (lane.dir / "logs/ryll-build.log").read_text().count(" build --release") == 2

    featured = ryll(lane, ryll_build_features=["loud"], **wish)
    assert featured.result(HAVE)["ansible_facts"]["lane_ryll"]["path"] == f"{home}/git-{second}-loud/ryll"
    with_default = ryll(lane, ryll_build_features=["default"], **{**wish, "ryll_build_ref": commit})
    assert "ryll: expected cargo to build ryll, but it ended with status 101: error: default features are on" in str(with_default.failures)
    assert not (home / f"git-{commit}-default").exists()
    assert [path.name for path in home.iterdir() if path.name.startswith(".new-")] == []


def test_check_mode_fetches_nothing(lane: Any) -> None:
    played = ryll(lane, "--check")
    assert played.rc == 0, played
    assert played.result(HAVE)["changed"]
    assert not lane.dir.exists()
    assert not (lane.scratch / "cache").exists()


def test_the_pinned_release_comes_once(lane: Any) -> None:
    first = ryll(lane)
    assert first.rc == 0, first
    facts = first.result(HAVE)["ansible_facts"]["lane_ryll"]
    assert (facts["version"], facts["method"], facts["ref"], facts["cached"]) == ("0.3.0", "wheel", "0.3.0", False)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    again = ryll(lane, env=offline)
    assert again.changed == 0
    assert again.result(HAVE)["ansible_facts"]["lane_ryll"] == {**facts, "cached": True}
    assert subprocess.run([facts["path"], "--version"], capture_output=True, text=True, check=True).stdout.startswith("ryll ")


def test_what_can_be_no_version_ref_or_repository_is_refused_before_anything_starts(lane: Any) -> None:
    git = {"ryll_build_method": "git", "ryll_build_repo": "/none"}
    wrong = [
        ({"ryll_build_version": "../evil"}, "ryll_build_version to be one that can exist, but it is '../evil'"),
        ({"ryll_build_version": "-r/etc/passwd"}, "ryll_build_version to be one that can exist, but it is '-r/etc/passwd'"),
        ({**git, "ryll_build_ref": "--upload-pack=x"}, "ryll_build_ref to be one that can exist, but it is '--upload-pack=x'"),
        ({**git, "ryll_build_features": ["a b"]}, "ryll_build_features to be one that can exist, but it is 'a b'"),
        ({**git, "ryll_build_repo": "https://me:secret@example.invalid/ryll"}, "ryll_build_repo without a password, but it holds one"),
    ]
    for settings, message in wrong:
        played = ryll(lane, **settings)
        assert f"environment: expected {message}" in str(played.failures)
        assert not (lane.scratch / "cache").exists()
