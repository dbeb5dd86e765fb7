"""The role ryll_build and the refusal of origins: what was named is built, once; what was refused is not shown."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from whole_lanes import commit_all, git

MAIN = 'fn main() { println!("ryll v9.9.9 (%s)"); }\n'
needs_cargo = pytest.mark.skipif(
    not (shutil.which("cargo") and shutil.which("git")), reason="cargo or git is not installed"
)


def facts(played: Any) -> dict[str, Any]:
    """What the role handed on."""
    assert played.rc == 0, played
    found = [result.get("ansible_facts", {}).get("lane_ryll") for result in played.results()]
    return dict(next(filter(None, reversed(found))))  # the claim gives back what an earlier command handed on


def said(played: Any) -> str:
    """What the ryll says that the role handed on."""
    return subprocess.run([facts(played)["path"]], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A cargo workspace with a package ryll in a git repository whose default branch is trunk."""
    folder = tmp_path / "ryll repository"
    (folder / "ryll/src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[workspace]\nmembers = ["ryll"]\nresolver = "2"\n')
    package = 'name = "ryll"\nversion = "9.9.9"\nedition = "2021"'
    (folder / "ryll/Cargo.toml").write_text(f"[package]\n{package}\n[features]\nloud = []\n")
    (folder / "ryll/src/main.rs").write_text(MAIN % "first")
    commit_all(folder, "trunk")
    return folder


@needs_cargo
@pytest.mark.slow
def test_a_branch_is_followed_and_each_commit_built_once(lane, repository):
    default = {"lane_ryll_origin": f"git+{repository}"}
    first = lane.role("ryll_build", env={"GIT_DIR": "/nowhere"}, **default)
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert (facts(first)["commit"], facts(first)["version"]) == (commit, "9.9.9")
    again = lane.role("ryll_build", **default)
    assert again.changed == 0
    assert facts(again) == {**facts(first), "cached": True}

    (repository / "ryll/src/main.rs").write_text(MAIN % "second")
    git(repository, "commit", "-q", "-a", "-m", "second")
    moved = lane.role("ryll_build", **default)
    assert (moved.changed, said(moved)) == (1, "ryll v9.9.9 (second)\n")
    old = lane.role("ryll_build", lane_ryll_origin=f"git+{repository}@{commit}")
    assert (facts(old)["path"], old.changed) == (facts(first)["path"], 0)
    assert facts(lane.role("ryll_build", ryll_build_features=["loud"], **default))["path"] != facts(moved)["path"]

    (repository / "ryll/src/main.rs").write_text(MAIN % "not committed")
    tree = lane.role("ryll_build", lane_ryll_origin=repository.name, lane_caller_dir=str(repository.parent))
    assert said(tree) == "ryll v9.9.9 (not committed)\n"
    assert '"dirty": true' in (lane.dir / "handover/origins.json").read_text()


def test_credentials_are_refused_and_never_shown(lane):
    text = "git+https://me:hush-hush@example.invalid/ryll"
    for played in (
        lane.run("playbooks/lane.yml", "-vvv", lane_ryll_origin=text),
        lane.role("ryll_build", "-vvv", lane_ryll_origin=text),
    ):
        assert played.refusal["code"] == "origin_has_credentials"
        assert "hush-hush" not in played.text + played.stderr + str(played.events)
