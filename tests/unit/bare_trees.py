"""Bare machines for the tests of docs/packages.md: minimal systems of Debian with nothing but apt and Python, each in a
folder of its own.

mmdebstrap makes a system from the apt sources of this machine, once a week and release; its archive and the packages
that a test fetched stay in the user's cache. What has to be mounted in a tree (proc, dev, sys, pip's cache) is mounted
in a mount namespace of the command that needs it, and gone with that command: nothing outside ever sees a mount in a
tree that is removed. The commands are in a process namespace too, and die with the test.
"""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import yaml
from ansible.module_utils.lane.prepare.packages import BUILD, SUITE_FEATURES

CODENAMES = {"debian-12": "bookworm", "debian-13": "trixie"}
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kerbside-lane/trees").resolve()
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CERTIFICATES = "/etc/this-machine.pem"  # in the tree; a path that its own ca-certificates does not write
#: What of this machine's settings says how to reach the registries, and nothing else.
APT_SETTINGS = re.compile(r"Acquire::(http|https|Check-Valid-Until|Check-Date|Retries|ForceIPv[46])\b")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
PROXIES = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "no_proxy")]
MERGED_OUTPUT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
NAMESPACES = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
MOUNT = """
mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" &&
mount --bind "$2" "$1/root/.cache/pip" || exit 125
shift 2
"$@"
exit $?  # this shell stays, for it is the first process of its namespace
"""


def obstacle() -> str:
    """Why there can be no bare machine here; "" when there can."""
    if os.geteuid() != 0:
        return "only root can make a bare Debian and enter it"
    if not shutil.which("mmdebstrap"):
        return "mmdebstrap is not installed"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        return "this machine lets nobody make namespaces for mounts and processes (unshare --mount --pid)"
    if not sources("bookworm", *apt_knows()):
        return "apt has no source of Debian's main archive on this machine"
    return ""


def output(*argv: str) -> str:
    """The stdout of a command."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def apt_knows() -> tuple[str, str]:
    """(the machine's codename, its apt sources as lines of address, suite and component)."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    return codename, output("apt-get", "indextargets", "--format", form, "Created-By: Packages")


def sources(codename: str, here: str, known: str) -> str:
    """The sources of Debian's main archive that a machine knows, for another release."""
    found = ""
    for address, suite, component in (line.split() for line in dict.fromkeys(known.splitlines())):
        pocket = suite.removeprefix(here) if here else None
        if component == "main" and pocket in ("", "-updates", "-security"):
            found += f"deb [signed-by={KEYRING}] {address} {codename}{pocket} main\n"
    return found


def certificates() -> str:
    """The file of certificates that pip trusts on this machine."""
    places = [pip_settings().get("cert", ""), os.environ.get("SSL_CERT_FILE", ""), "/etc/ssl/certs/ca-certificates.crt"]
    return next((place for place in places if os.path.isfile(place)), "")


@cache
def pip_settings() -> dict[str, str]:
    """What pip is set to here, by files or the environment, whatever the section."""
    lines = [line.partition("=") for line in output(sys.executable, "-m", "pip", "config", "list").splitlines()]
    lines.sort(key=lambda line: line[0].startswith(":env:"))  # the environment has the last word
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in lines}


@cache
def pip_cache() -> str:
    said = output(sys.executable, "-m", "pip", "cache", "dir").strip()
    os.makedirs(said, exist_ok=True)
    return said


def packages_of_a_lane(release: str) -> set[str]:
    """The packages of a lane that builds no product and plays no suite."""
    roles = Path(__file__).parents[2] / "roles"
    table = yaml.safe_load((roles / "deps/vars/main.yml").read_text(encoding="utf-8"))["__deps_packages"][release]
    return {package for need in set(table) - {*BUILD, *SUITE_FEATURES} for package in table[need]}


@dataclass
class Tree:
    """One bare machine: its root folder."""

    path: Path

    def beside(self, command: Sequence[str]) -> list[str]:
        """The command on this machine, with everything mounted in the tree that a program there needs."""
        return [*NAMESPACES, "sh", "-c", MOUNT, "sh", str(self.path), pip_cache(), *command]

    def run(self, *command: str, limit: float = 60) -> subprocess.CompletedProcess[str]:
        """The command in the tree, as root with the environment of a fresh login; stdout has its stderr as well."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        given = {"PATH": os.environ["PATH"], **{name: os.environ[name] for name in PROXIES}}
        inside = self.beside(["env", f"PATH={path}", "HOME=/root", "chroot", str(self.path), *command])
        return subprocess.run(inside, env=given, stdin=subprocess.DEVNULL, text=True, timeout=limit, **MERGED_OUTPUT)

    def chosen(self) -> set[str]:
        """The packages that somebody asked for, as apt knows it."""
        return set(self.run("apt-mark", "showmanual").stdout.split())

    def installed(self) -> set[str]:
        return set(self.run("dpkg-query", "-W", "-f=${Package}\\n").stdout.split())


@contextmanager
def bare_tree(release: str) -> Iterator[Tree]:
    """A fresh bare machine of a release ("debian-13"), removed at the end."""
    KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in KEPT.glob("run-*-*"):  # by tests that were killed
        if not Path("/proc", left.name.split("-")[1]).exists():
            remove(left)
    base = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=KEPT))
    tree = Tree(base / "root")
    tree.path.mkdir()
    try:
        store = furnish(release, tree.path)
        try:
            yield tree
        finally:
            keep_packages(tree.path, store)
    finally:
        remove(base)


def furnish(release: str, root: Path) -> Path:
    """Unpack this week's archive of the release, and tell the tree how to reach the registries. Returns its store."""
    codename = CODENAMES[release]
    listed = sources(codename, *apt_knows())
    settings = [line for line in output("apt-config", "dump", "Acquire").splitlines() if APT_SETTINGS.match(line)]
    options = [f"--aptopt={line.removesuffix(';')}" for line in settings]
    options.append("--dpkgopt=force-unsafe-io")  # a tree whose power is cut is of no use
    command = ["mmdebstrap", "--quiet", "--variant=apt", "--include=python3", *options, codename]
    key = sha256("\n".join([*command, listed, time.strftime("%G-%V")]).encode()).hexdigest()[:12]
    store = KEPT / f"{release}-{key}"
    if not (store / "root.tar").exists():
        for old in set(KEPT.glob(f"{release}-*")) - {store}:
            shutil.rmtree(old)
        store.mkdir(exist_ok=True)
        make(command, listed, store / "root.tar")
    subprocess.run(["tar", "-C", str(root), "-xpf", str(store / "root.tar")], check=True)
    for package in store.glob("*.deb"):
        os.link(package, root / "var/cache/apt/archives" / package.name)
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    lines = [f"{name} = {value}\n" for name, value in pip_settings().items() if name in PIP_SETTINGS]
    if trusted := certificates():
        shutil.copyfile(trusted, root / CERTIFICATES[1:])
        lines.append(f"cert = {CERTIFICATES}\n")
    (root / "etc/pip.conf").write_text("".join(["[global]\n", *lines]), encoding="utf-8")
    (root / "root/.cache/pip").mkdir(parents=True)
    return store


def make(command: list[str], listed: str, archive: Path) -> None:
    """Make a bare system with mmdebstrap, from these sources."""
    new = archive.with_name(f"made-{os.getpid()}.tar")
    done = subprocess.run([*command, str(new), "-"], input=listed, text=True, timeout=600, **MERGED_OUTPUT)
    assert done.returncode == 0, (
        f"mmdebstrap could not make {archive} from this machine's apt sources: {done.stdout[-2000:]}"
    )
    new.rename(archive)


def keep_packages(root: Path, store: Path) -> None:
    """What apt fetched into the tree goes to the store, for the next time."""
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        with suppress(FileExistsError, FileNotFoundError):  # there already, or the store is last week's
            os.link(package, store / package.name)


def remove(base: Path) -> None:
    """Remove a tree, unless something is mounted in it: that would be emptied as well."""
    assert f" {base}/" not in Path("/proc/self/mountinfo").read_text(encoding="utf-8"), f"unmount what is in {base}"
    shutil.rmtree(base)
