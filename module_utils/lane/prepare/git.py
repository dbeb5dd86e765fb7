"""One commit of a git repository in a folder of the cache.

git gets none of the caller's GIT_DIR and the like, runs no hook, never asks for a password, and works in a folder that
is only the lane's. The caller's configuration counts where it says how a repository is reached, and nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..core import command
from ..core.errors import LaneError, one_line

COMMIT = re.compile(r"[0-9a-f]{40}")
FETCH_LIMIT = 600.0  # seconds
#: What git needs of the caller to reach a repository.
KEEP = "SSH_AUTH_SOCK GIT_SSH GIT_SSH_COMMAND GIT_SSL_* GIT_PROXY_* GIT_CONFIG_GLOBAL XDG_CONFIG_HOME".split()
#: No hook, no daemon of the repository's own configuration, and a checkout of another user is read like one's own.
QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "safe.directory=*")


@dataclass(frozen=True)
class Repository:
    """A repository and how to speak of it.

    url: anything git takes; variable: what the user set to it; mark: for git's environment; log: a file for what git
    says.
    """

    url: str
    variable: str
    mark: str | None
    log: str

    @property
    def name(self) -> str:
        """A short name for folders and locks, the same for the same url."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:12]

    def commit(self, ref: str) -> str:
        """The commit that a branch or tag names now; a branch wins over a tag of the same name.

        A whole commit is taken as it is.

        Raises LaneError: host without git, environment when the repository cannot be read or has no such ref.
        """
        if COMMIT.fullmatch(ref):
            return ref
        done = self._run("ls-remote", "--", self.url, network=True)
        self._check(done, f"cannot read the repository {self.url}", fix=f"check {self.variable} and the network")
        named = {name: commit for commit, _, name in (line.partition("\t") for line in done.out.splitlines())}
        for name in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"):
            if name in named:
                return named[name]
        fix = f"correct {self.variable}; a commit needs all of its 40 digits"
        raise LaneError("no_such_ref", "environment", f"{self.url} has no branch or tag {ref}", fix)

    def check_out(self, commit: str, folder: Path) -> None:
        """Make the folder hold this commit and nothing else; it keeps its history, so that the next commit needs little
        fetching.

        The repository's tags are fetched each time, for builds that ask `git describe`. Raises LaneError like `commit`.
        """
        fetch = ("fetch", "-q", "--no-tags", "--force", "--", self.url)
        refs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".git").exists():
            done = self._run("init", "-q", "--template=", folder=folder)
            self._check(done, "cannot make a repository in the cache")
        done = self._run(*fetch, *refs, folder=folder, network=True)
        self._check(done, f"cannot fetch {self.url}")
        if self._run("cat-file", "-e", f"{commit}^{{commit}}", folder=folder).status:
            done = self._run(*fetch, commit, folder=folder, network=True)
            self._check(done, f"{self.url} has no commit {commit}", "no_such_ref", f"correct {self.variable}")
        done = self._run("checkout", "-q", "--force", "--detach", commit, folder=folder)
        self._check(done, f"cannot check out {commit}")
        self._check(self._run("clean", "-q", "-ffdx", folder=folder), "cannot clean the checkout")

    def _run(self, *arguments: str, folder: Path | None = None, network: bool = False) -> command.Done:
        program = command.find_program("git")
        if not program:
            problem = f"git is needed for {self.variable}={self.url}, and there is none on PATH"
            raise LaneError("no_git", "host", problem, "apt-get install git")
        if network:
            env = {**command.environment(self.mark, KEEP, network=True), "GIT_TERMINAL_PROMPT": "0"}
        else:
            env = environment(self.mark)
        place = ["-C", str(folder)] if folder else []
        what = f"git {arguments[0]} for {self.url}"
        return command.run([program, *QUIET, *place, *arguments], env, FETCH_LIMIT, what, log=self.log)

    def _check(self, done: command.Done, problem: str, code: str = "repository_unreadable", fix: str = "") -> None:
        if done.status:
            problem = f"{problem}: git said {one_line(done.said, 300)}"
            raise LaneError(code, "environment", problem, fix, evidence=self.log)


def environment(mark: str | None) -> dict[str, str]:
    """For git on files of this machine: without user or system configuration, and without optional locks."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0"}
    return {**command.environment(mark), **own}


def check_ref(variable: str, ref: str) -> None:
    """Refuse what can be no ref before it gets onto a command line. Raises LaneError (component environment)."""
    if not re.fullmatch(r"\w[\w./+-]*", ref, re.ASCII) or ".." in ref:
        problem = f"{variable} names {ref!r}, which cannot be a branch, a tag or a commit"
        raise LaneError("no_such_ref", "environment", problem, "correct it")


def has_credentials(text: str) -> bool:
    """Whether a URL in the text has a user name or a password in it; the user name of an ssh URL is none of these."""
    found = re.findall(r"([\w+.-]*)://([^/\s@]*(?:@[^/\s@]*)*)@", text)
    return any(":" in user or not scheme.endswith("ssh") for scheme, user in found)


def check_url(variable: str, text: str) -> None:
    """Refuse a URL with credentials, which would be on command lines and in logs; the error does not quote it."""
    if has_credentials(text):
        fix = "leave them to git's credential helper, ~/.netrc or pip's own configuration"
        problem = f"{variable} has a user name or a password in its URL"
        raise LaneError("origin_has_credentials", "environment", problem, fix)
