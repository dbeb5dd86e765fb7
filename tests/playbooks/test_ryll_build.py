"""The role ryll_build and the refusal of origins: what was named is what is built, once, and nothing is shown of what was refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MAIN = 'fn main() { println!("ryll v9.9.9 (%s)"); }\n'
needs_cargo = pytest.mark.skipif(
    not (shutil.which("cargo") and shutil.which("git")), reason="cargo or git is not installed"
)


def ryll(lane: Any, *args: str, **settings: Any) -> Any:
    """Claim the lane and run the role."""
    claim = {"lane_run": {"lane_id": lane.id, "lane_dir": str(lane.dir), "artifacts_dir": str(lane.artifacts)}}
    settings.setdefault("lane_cache_dir", str(lane.scratch / "cache"))
    env = settings.pop("env", None)
    plays = [{"name": "Claim", **claim}, {"name": "Provide", "ansible.builtin.include_role": {"name": "ryll_build"}}]
    return lane.run(plays, *args, env=env, **settings)


def facts(played: Any) -> dict[str, Any]:
    """What the role handed on."""
    assert played.rc == 0, played
    found = [
        result["ansible_facts"]["lane_ryll"]
        for result in played.results()
        if "lane_ryll" in result.get("ansible_facts", {})
    ]
    return dict(found[-1])  # the claim gives back what an earlier command handed on


def git(folder: Path, *arguments: str) -> str:
    """One git command as a person without settings of their own."""
    who = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
    }
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], env={**os.environ, **who}, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A cargo workspace with a package ryll in a git repository whose default branch is trunk."""
    folder = tmp_path / "ryll repository"
    (folder / "ryll/src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[workspace]\nmembers = ["ryll"]\nresolver = "2"\n')
    (folder / "ryll/Cargo.toml").write_text(
        '[package]\nname = "ryll"\nversion = "9.9.9"\nedition = "2021"\n[features]\nloud = []\n'
    )
    (folder / "ryll/src/main.rs").write_text(MAIN % "first")
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@needs_cargo
@pytest.mark.slow
def test_a_branch_is_followed_and_each_commit_built_once(lane: Any, repository: Path) -> None:
    default = {"lane_ryll_origin": f"git+{repository}"}
    first = ryll(lane, env={"GIT_DIR": "/nowhere"}, **default)
    commit = git(repository, "rev-parse", "HEAD")
    assert (facts(first)["commit"], facts(first)["version"]) == (commit, "9.9.9")
    again = ryll(lane, **default)
    assert again.changed == 0
    assert facts(again) == {**facts(first), "cached": True}

    (repository / "ryll/src/main.rs").write_text(MAIN % "second")
    git(repository, "commit", "-q", "-a", "-m", "second")
    moved = ryll(lane, **default)
    assert moved.changed == 1
    assert (
        subprocess.run([facts(moved)["path"]], capture_output=True, text=True, check=True).stdout
        == "ryll v9.9.9 (second)\n"
    )
    old = ryll(lane, lane_ryll_origin=f"git+{repository}@{commit}")
    assert (facts(old)["path"], old.changed) == (facts(first)["path"], 0)
    assert facts(ryll(lane, ryll_build_features=["loud"], **default))["path"] != facts(moved)["path"]

    (repository / "ryll/src/main.rs").write_text(MAIN % "not committed")
    tree = ryll(lane, lane_ryll_origin=repository.name, lane_caller_dir=str(repository.parent))
    assert (
        subprocess.run([facts(tree)["path"]], capture_output=True, text=True, check=True).stdout
        == "ryll v9.9.9 (not committed)\n"
    )
    assert '"dirty": true' in (lane.dir / "handover/origins.json").read_text()


def test_the_pinned_release_comes_once(lane: Any) -> None:
    first = ryll(lane)
    assert (facts(first)["version"], facts(first)["cached"]) == ("0.3.0", False)
    again = ryll(lane, env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull})
    assert again.changed == 0
    assert facts(again) == {**facts(first), "cached": True}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"lane_ryll_origin": "../gone"}, "origin_not_there"),
        ({"lane_kerbside_origin": "kerbsid>=1"}, "origin_unusable"),
        ({"lane_proxy_origin": "git+https://example.invalid/x@--upload-pack=x"}, "no_such_ref"),
    ],
)
def test_an_origin_that_cannot_be_is_refused_before_anything_starts(
    lane: Any, wrong: dict[str, str], code: str
) -> None:
    played = lane.run("playbooks/lane.yml", **wrong)
    assert played.results()[-1]["lane_failure"]["code"] == code
    assert next(iter(wrong)) in played.text
    assert not lane.dir.exists()


@pytest.mark.parametrize(
    "text", ["git+https://me:hush-hush@example.invalid/ryll", "https://hush-hush@example.invalid/ryll.git"]
)
def test_credentials_are_refused_and_never_shown(lane: Any, text: str) -> None:
    for played in (
        lane.run("playbooks/lane.yml", "-vvv", lane_ryll_origin=text),
        ryll(lane, "-vvv", lane_ryll_origin=text),
    ):
        assert played.results()[-1]["lane_failure"]["code"] == "origin_has_credentials"
        assert "hush-hush" not in played.text + played.stderr + str(played.events)
