"""Checkouts as they are: what belongs to them, when their content changes, and copies that leave them alone."""

import os
from pathlib import Path

import pytest
from ansible.module_utils.lane.prepare import tree
from prepared import executable
from whole_lanes import commit_all, git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a commit, a tag and an ignored file."""
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    for name, text in {"a.py": "a", "sub/b.py": "b", ".gitignore": "build/\n_version.py\n"}.items():
        (folder / name).write_text(text)
    commit_all(folder)
    git(folder, "tag", "v1.0")
    (folder / "build").mkdir()
    (folder / "build/old.py").write_text("old")
    (folder / "_version.py").write_text("1")
    return folder


def digest(root: Path) -> str:
    return tree.digest(root, tree.files(root))


def test_what_is_ignored_does_not_count_and_all_else_does(checkout):
    first = digest(checkout)
    assert tree.files(checkout) == [".gitignore", "a.py", "sub/b.py"]
    (checkout / "_version.py").write_text("2")
    os.utime(checkout / "a.py", (1, 1))
    assert digest(checkout) == first
    seen = {first}
    for change in (
        lambda: (checkout / "new.py").write_text("n"),
        lambda: (checkout / "a.py").write_text("A"),
        lambda: (checkout / "a.py").chmod(0o755),
        (checkout / "sub/b.py").unlink,
        lambda: (checkout / "sub/b.py").symlink_to("../a.py"),
        lambda: (checkout / "new.py").rename(checkout / "newer.py"),
    ):
        change()
        seen.add(digest(checkout))
    assert len(seen) == 7


def test_state(checkout, tmp_path):
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert tree.state(checkout) == (commit, False)
    (checkout / "new.py").write_text("")
    assert tree.state(checkout) == (commit, True)
    (tmp_path / "plain").mkdir()
    assert tree.state(tmp_path / "plain") == ("", None)


def test_a_folder_without_git(tmp_path):
    for name in ("a.py", "build/x", "x.egg-info/y", "__pycache__/z", "sub/build/kept", "b.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert tree.files(tmp_path) == ["a.py", "sub/build/kept"]


def test_a_folder_that_the_repository_around_it_ignores_has_its_files(checkout):
    assert tree.files(checkout / "build") == ["old.py"]
    assert tree.state(checkout / "build") == ("", None)


def test_a_copy_has_the_same_files_and_commit(checkout, tmp_path, monkeypatch):
    hooks = tmp_path / "templates/hooks"
    hooks.mkdir(parents=True)
    executable(hooks / "post-checkout", f"touch {tmp_path}/hook-ran")
    config = tmp_path / "gitconfig"
    settings = f"[core]\nhooksPath = {hooks}\nautocrlf = true\n"
    config.write_text(f"[init]\ntemplateDir = {tmp_path}/templates\n{settings}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    (checkout / "a.py").write_text("changed")
    (checkout / "link").symlink_to("a.py")
    before = sorted(path for path in checkout.rglob("*") if ".git" not in path.parts)
    copy = tmp_path / "copy"
    tree.copy(checkout, copy)
    assert digest(copy) == digest(checkout)
    assert not (copy / "build").exists()
    assert git(copy, "describe", "--dirty", "--tags").strip() == "v1.0-dirty"
    assert sorted(path for path in checkout.rglob("*") if ".git" not in path.parts) == before
    assert not (tmp_path / "hook-ran").exists()


def test_a_second_copy_touches_only_what_differs(checkout, tmp_path):
    copy = tmp_path / "copy"
    tree.copy(checkout, copy)
    os.utime(copy / "a.py", (5, 5))
    os.utime(copy / "sub/b.py", (5, 5))
    (copy / "made-by-a-build").write_text("")
    (checkout / "sub/b.py").write_text("restored")
    os.utime(checkout / "sub/b.py", (1, 1))  # older than what was built
    tree.copy(checkout, copy)
    assert (copy / "a.py").stat().st_mtime == 5
    assert (copy / "sub/b.py").stat().st_mtime > 5
    assert not (copy / "made-by-a-build").exists()
    (checkout / "sub/b.py").unlink()
    (checkout / "sub").rmdir()
    (checkout / "sub").write_text("a file now")
    tree.copy(checkout, copy)
    assert digest(copy) == digest(checkout)
    (checkout / "sub").unlink()
    (checkout / "sub").mkdir()
    (checkout / "sub/b.py").write_text("a folder again")
    tree.copy(checkout, copy)
    assert digest(copy) == digest(checkout)


def test_a_cache_behind_a_link_stays_behind_it(checkout, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    tree.copy(checkout, tmp_path / "cache/copy")
    assert digest(tmp_path / "disk/copy") == digest(checkout)
    assert (tmp_path / "cache").is_symlink()
