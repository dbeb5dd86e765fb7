"""Have one commit of a git repository in a folder of the cache: what the lane builds from source comes this way.

git gets none of the caller's GIT_DIR and the like, never asks for a password, and works in a folder that is only the lane's.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..core import command
from ..core.errors import legacy_error, one_line

COMMIT = re.compile(r"[0-9a-f]{40}")
FETCH_LIMIT = 600.0  # seconds
#: What git needs of the caller to reach a repository.
KEEP = ("SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_*", "GIT_PROXY_*", "GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME")


@dataclass(frozen=True)
class Repository:
    """A repository and how to speak of it.

    url: anything git takes; prefix: of the variables in messages (PREFIX_repo, PREFIX_ref); component: who is blamed when the repository lacks
    what is asked for; purpose: a clause for a git that is missing; mark: for git's environment; log: a file for what git says.
    """

    url: str
    prefix: str
    component: str
    purpose: str
    mark: str | None
    log: str
    tags: bool = False

    @property
    def name(self) -> str:
        """A short name for folders and locks, the same for the same url."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:12]

    def commit(self, ref: str) -> str:
        """The commit that a branch or tag names now; a branch wins over a tag of the same name. A whole commit is taken as it is.

        Raises LaneError: host without git, environment when the repository cannot be read, the component when it has no such ref.
        """
        return ref if COMMIT.fullmatch(ref) else self._resolve(ref)

    def check_out(self, commit: str, folder: Path) -> None:
        """Make the folder hold this commit and nothing else; it keeps its history, so that the next commit needs little fetching.

        With `tags` the repository's tags come too, anew each time, for builds that ask `git describe`. Raises LaneError like `commit`.
        """

        def step(arguments: list[str], what: str, component: str = "environment") -> bool:
            done = command.run([git, "-C", str(folder), *arguments], env, FETCH_LIMIT, what, log=self.log)
            if done.status and component:
                raise legacy_error(component, what, f"git said {one_line(done.said, 300)}", self.log)
            return done.status == 0

        def there() -> bool:
            return step(["cat-file", "-e", f"{commit}^{{commit}}"], "git to look for the commit", component="")

        git, env = self.program(), self._environment()
        refs = ["+refs/heads/*:refs/remotes/origin/*", *(["+refs/tags/*:refs/tags/*"] if self.tags else [])]
        folder.mkdir(exist_ok=True)
        if not (folder / ".git").exists():
            step(["init", "-q"], "git to make a repository in the cache")
        if self.tags or not there():
            step(["fetch", "-q", "--no-tags", "--force", "--", self.url, *refs], f"git to fetch {self.url}")
            if not there():
                step(["fetch", "-q", "--no-tags", "--", self.url, commit], f"{self.url} to have commit {commit}", component=self.component)
        step(["checkout", "-q", "--force", "--detach", commit], f"git to check out {commit}")
        step(["clean", "-q", "-ffdx"], "git to clean the checkout")

    def program(self) -> str:
        """The path of git. Raises LaneError (component host) when there is none."""
        git = command.find_program("git")
        if not git:
            raise legacy_error("host", f"git, for {self.purpose}", "there is none on PATH; apt-get install git")
        return git

    def _environment(self) -> dict[str, str]:
        return {**command.environment(self.mark, KEEP, network=True), "GIT_TERMINAL_PROMPT": "0"}

    def _resolve(self, ref: str) -> str:
        done = command.run([self.program(), "ls-remote", "--", self.url], self._environment(), FETCH_LIMIT, f"git to list {self.url}", log=self.log)
        if done.status:
            raise legacy_error("environment", f"git to list {self.url}", f"it said {one_line(done.said, 300)}", f"{self.prefix}_repo")
        named = {name: commit for commit, _, name in (line.partition("\t") for line in done.out.splitlines())}
        for name in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"):
            if name in named:
                return named[name]
        got = "no branch or tag is named so (a commit needs all of its 40 digits)"
        raise legacy_error(self.component, f"{self.url} to have {ref}", got, f"{self.prefix}_ref")


def check_ref(variable: str, ref: str, where: str) -> None:
    """Refuse what can be no ref before it gets onto a command line. Raises LaneError (component environment)."""
    if not re.fullmatch(r"\w[\w./+-]*", ref, re.ASCII) or ".." in ref:
        raise legacy_error("environment", f"{variable} to be one that can exist", f"it is {ref!r}", where)


def check_url(variable: str, url: str) -> None:
    """Refuse a url with a password in it: it would stand on git's command line. Raises LaneError (component environment)."""
    if re.match(r"\w+://[^/@]*:[^/@]*@", url):
        raise legacy_error("environment", f"{variable} without a password", "it holds one; leave it to git's credential helper", "git help credentials")
