"""The role ryll_build: what was named is built, once; nothing is shown of an origin that was refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_tree import git

MAIN = 'fn main() { println!("ryll v9.9.9 (%s)"); }\n'
built = shutil.which("cargo") and shutil.which("git")
needs_cargo = pytest.mark.skipif(not built, reason="cargo or git is not installed")


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
    given = [result.get("ansible_facts", {}) for result in played.results()]
    found = [facts["lane_ryll"] for facts in given if "lane_ryll" in facts]
    return dict(found[-1])  # the claim gives back what an earlier command handed on


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A cargo workspace with a package ryll in a git repository whose default branch is trunk."""
    folder = tmp_path / "ryll repository"
    (folder / "ryll/src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[workspace]\nmembers = ["ryll"]\nresolver = "2"\n')
    text = '[package]\nname = "ryll"\nversion = "9.9.9"\nedition = "2021"\n[features]\nloud = []\n'
    (folder / "ryll/Cargo.toml").write_text(text)
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
    said = subprocess.run([facts(moved)["path"]], capture_output=True, text=True, check=True).stdout
    assert said == "ryll v9.9.9 (second)\n"
    old = ryll(lane, lane_ryll_origin=f"git+{repository}@{commit}")
    assert (facts(old)["path"], old.changed) == (facts(first)["path"], 0)
    assert facts(ryll(lane, ryll_build_features=["loud"], **default))["path"] != facts(moved)["path"]

    (repository / "ryll/src/main.rs").write_text(MAIN % "not committed")
    tree = ryll(lane, lane_ryll_origin=repository.name, lane_caller_dir=str(repository.parent))
    said = subprocess.run([facts(tree)["path"]], capture_output=True, text=True, check=True).stdout
    assert said == "ryll v9.9.9 (not committed)\n"
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
def test_an_origin_that_cannot_be_is_refused_at_first(lane: Any, wrong: dict[str, str], code: str) -> None:
    played = lane.run("playbooks/lane.yml", **wrong)
    assert played.results()[-1]["lane_failure"]["code"] == code
    assert next(iter(wrong)) in played.text
    assert not lane.dir.exists()


@pytest.mark.parametrize(
    "text", ["git+https://me:hush-hush@example.invalid/ryll", "https://hush-hush@example.invalid/ryll.git"]
)
def test_credentials_are_refused_and_never_shown(lane: Any, text: str) -> None:
    whole = lane.run("playbooks/lane.yml", "-vvv", lane_ryll_origin=text)
    for played in whole, ryll(lane, "-vvv", lane_ryll_origin=text):
        assert played.results()[-1]["lane_failure"]["code"] == "origin_has_credentials"
        assert "hush-hush" not in played.text + played.stderr + str(played.events)
