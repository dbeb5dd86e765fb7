"""A checkout as it is: which files belong to it, what they hash to, which commit it is at, and a copy of it to build
in.

Nothing is ever written below the checkout. Neither hooks nor the caller's git configuration have a say.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ..core import command
from ..core.errors import LaneError, one_line
from . import git

#: In a folder that is no git repository: made by builds and tools, never a source.
JUNK = {".git", "__pycache__", ".tox", ".venv", ".eggs", "node_modules"}
BUILT = {"build", "dist", "target"}  # the same, at the top only
LIMIT = 60.0  # seconds for a git command


def files(root: Path) -> list[str]:
    """The files of a checkout, sorted: what git tracks and what it does not ignore, as far as it is there."""
    done = _git(root, "ls-files", "-co", "-z", "--exclude-standard")
    if done.status:
        return sorted(_walk(root))
    found = set()
    for name in done.out.split("\0"):
        path = root / name
        if name and path.is_dir() and not path.is_symlink():  # a submodule
            found |= {f"{name.rstrip('/')}/{below}" for below in files(path)}
        elif name and os.path.lexists(path):
            found.add(name)
    return sorted(found or _walk(root))  # a folder that the repository around it ignores has no file of its own


def digest(root: Path, names: list[str]) -> str:
    """Changes with the name, the content and the execute bit of any of these files."""
    whole = hashlib.sha256()
    for name in names:
        path = root / name
        if path.is_symlink():
            content = b"link " + os.readlink(path).encode()
        else:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        whole.update(f"{name}\0{os.access(path, os.X_OK)}\0".encode() + content)
    return whole.hexdigest()


def state(root: Path) -> tuple[str, bool | None]:
    """(commit, whether it has local changes); ("", None) for a folder that is no git repository."""
    head = _git(root, "rev-parse", "HEAD")
    if head.status or not _git(root, "ls-files", "-co", "--exclude-standard").out:
        return "", None
    return head.out.strip(), bool(_git(root, "status", "--porcelain", "--untracked-files=normal").out)


def copy(root: Path, target: Path) -> None:
    """Make target hold exactly the files of the checkout, and a repository at its commit, for builds that ask git for
    their version.

    Files that have the right content keep their time, so that cargo builds what changed, and a restored older file
    counts as changed.
    """
    names = files(root)
    target.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target / ".git", ignore_errors=True)
    if (root / ".git").exists():
        _clone(root, target)
    for name in _everything(target) - set(names):
        (target / name).unlink()
    for folder, _, _ in os.walk(target, topdown=False):
        if not os.listdir(folder) and ".git" not in Path(folder).relative_to(target).parts:
            os.rmdir(folder)
    for name in names:
        _put(root / name, target / name)
    if (target / ".git").exists():
        _git(target, "read-tree", "HEAD")
        _git(target, "update-index", "-q", "--refresh")


def _clone(root: Path, target: Path) -> None:
    """Give the target the history of the checkout."""
    new = target.with_name(f".clone-{target.name}")
    shutil.rmtree(new, ignore_errors=True)
    done = _git(root, "clone", "-q", "--shared", "--no-checkout", "--template=", str(root), str(new))
    if done.status:
        problem = f"git cannot clone {root}: {one_line(done.said, 300)}"
        raise LaneError("repository_unreadable", "environment", problem, f"run git status in {root}")
    os.rename(new / ".git", target / ".git")
    shutil.rmtree(new)


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.unlink(missing_ok=True)
        target.symlink_to(os.readlink(source))
        return
    if target.is_symlink() or not target.is_file() or not filecmp.cmp(source, target, shallow=False):
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)  # its time is now
    target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)


def _everything(folder: Path) -> set[str]:
    found = set()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        links = [name for name in folders if Path(root, name).is_symlink()]
        found |= {str(Path(root, name).relative_to(folder)) for name in (*names, *links)}
    return found


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        top = Path(folder) == root
        folders[:] = [f for f in folders if f not in JUNK and not f.endswith(".egg-info") and not (top and f in BUILT)]
        yield from (str(Path(folder, name).relative_to(root)) for name in names if not name.endswith(".pyc"))


def _git(folder: Path, *arguments: str) -> command.Done:
    """git in the folder, as somebody without a configuration; without git itself, a command that failed."""
    program = command.find_program("git")
    if not program:
        return command.Done(1, "", "git is not installed")
    argv = [program, "-C", str(folder), *git.QUIET, *arguments]
    return command.run(argv, git.environment(None), LIMIT, f"git {arguments[0]} in {folder}")
