"""playbooks/refresh_sextant.yml: from a source's `make release` to a qcow2 and the command that tests it, or why not.

The source is a git repository that the test makes; its Makefile makes a small qcow2 without docker.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_lanes import commit_all

NEEDED = ["git", "make", "qemu-img"]
pytestmark = pytest.mark.skipif(
    any(not shutil.which(name) for name in NEEDED), reason=f"one of {', '.join(NEEDED)} is not installed"
)
GOOD = "@mkdir -p release/1; cd release; qemu-img create -q -f qcow2 1/sextant.qcow2 1M; ln -sf 1/sextant.qcow2 x.qcow2"


@pytest.fixture
def refresh(tmp_path: Path, lane: Any) -> Callable[..., Any]:
    """Commits a recipe for make release and runs the playbook on that source."""

    def run(recipe: str, *args: str, checkout: bool = False, **settings: Any) -> Any:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / "Makefile").write_text(f".PHONY: release\nrelease:\n\t{recipe}\n")
        commit_all(source)
        where = {"refresh_sextant_checkout" if checkout else "refresh_sextant_repo": str(source)}
        settings.update(where, lane_cache_dir=str(tmp_path / "cache"))
        return lane.run("playbooks/refresh_sextant.yml", *args, **settings)

    return run


@pytest.mark.parametrize("checkout", [False, True])
def test_a_built_image_is_named(refresh, tmp_path, checkout):
    played = refresh(GOOD, checkout=checkout)
    assert played.rc == 0, played
    image = (tmp_path / "source" if checkout else tmp_path / "cache/sextant") / "release/1/sextant.qcow2"
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    command = f"./lane -e lane_guest=uncalibrated -e lane_image_origin={image}"
    assert played.result("Say how to test the image")["msg"] == [f"sha256 {digest}", command]


def test_check_mode_builds_nothing(refresh, tmp_path):
    played = refresh(GOOD, "--check")
    assert played.rc == 0, played
    assert not (tmp_path / "cache").exists()


def test_what_is_misspelled_is_refused(refresh):
    played = refresh(GOOD, refresh_sextant_reff="main", lane_cache_dri="/tmp")
    assert (played.rc, played.refusal["code"]) == (2, "bad_input"), played
    assert all(f"no variable {name} " in played.refusal["cause"] for name in ("refresh_sextant_reff", "lane_cache_dri"))


def test_an_unknown_tag_is_refused(refresh):
    played = refresh(GOOD, "--tags", "smok")
    assert (played.rc, played.refusal["code"]) == (2, "no_such_tag"), played


@pytest.mark.parametrize(
    ("recipe", "settings", "reason"),
    [
        ("@sleep 60", {"refresh_sextant_limit": 1}, "non-zero return code"),
        ("@touch image", {}, "make release left 0 files *.qcow2 in "),
        (GOOD + "; touch old.qcow2", {}, "make release left 2 files *.qcow2 in "),
        (GOOD, {"refresh_sextant_ref": "none"}, "Failed to checkout none"),
    ],
)
def test_a_source_that_gives_no_image(refresh, recipe, settings, reason):
    played = refresh(recipe, **settings)
    assert played.rc == 2, played
    assert len(played.failures) == 1 and reason in played.failures[0], played.failures
