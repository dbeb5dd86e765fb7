"""The private Python environment `.venv` of this checkout, and the environment variables that everything below
`./lane` gets. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from tools import ROOT

VENV = ROOT / ".venv"
PYTHON = VENV / "bin/python"
MADE = "made-by-lane"
LOCK_LIMIT = 900  #: seconds to wait for another ./lane that is making .venv
#: What a caller may set of Ansible: how its output looks.
ANSIBLE_KEPT = ("ANSIBLE_FORCE_COLOR", "ANSIBLE_NOCOLOR", "ANSIBLE_VERBOSITY", "ANSIBLE_DEBUG", "ANSIBLE_LOG_PATH")
#: And of pip: how to reach a package index. The others say what to install where, and can spoil .venv for good.
PIP_KEPT = re.compile(
    r"PIP_(.*INDEX.*|FIND_LINKS|.*CERT|PROXY|TRUSTED_HOST|.*TIMEOUT|RETRIES|CONFIG_FILE|.*CACHE_DIR|KEYRING.*)"
)
PYTHON_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE")


#: Fails when a package that a requirements file names is not installed.
INSTALLED = """
import importlib.metadata, re, sys
for name in re.findall(r"(?m)^([\\w.-]+) *(?:==|@)[^;\\n]*$", open(sys.argv[1]).read()):
    importlib.metadata.version(name)
"""


class CannotPrepareError(Exception):
    """.venv cannot be made; the message says why."""


def say(text: str) -> None:
    """A line on stderr."""
    print(f"lane: {text}", file=sys.stderr, flush=True)


def clean_environment() -> None:
    """Change os.environ so that the caller's environment does not change what Ansible and pip do."""
    for name in list(os.environ):
        foreign = name.startswith("ANSIBLE_") and name not in ANSIBLE_KEPT
        if foreign or (name.startswith("PIP_") and not PIP_KEPT.fullmatch(name)) or name in PYTHON_DROPPED:
            del os.environ[name]
    if not os.environ.get("ANSIBLE_VERBOSITY", "0").isdecimal():  # Ansible would not start
        say(f"ANSIBLE_VERBOSITY is not a number ({os.environ.pop('ANSIBLE_VERBOSITY')}) and does not count")
    os.environ.update(
        PIP_USER="0",
        LC_ALL="C.UTF-8",
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),  # named, because Ansible ignores one in a world-writable folder
        # the lane needs no collection, and those in ~/.ansible/collections do not count
        ANSIBLE_COLLECTIONS_PATH=str(VENV / "none"),
    )
    try:  # tried, because every directory looks writable to root
        tempfile.TemporaryFile(dir=os.environ.get("HOME") or "/dev/null").close()
    except OSError:
        os.environ["HOME"] = str(ROOT / ".cache/home")
        os.makedirs(os.environ["HOME"], exist_ok=True)
    try:
        here = os.getcwd()
    except FileNotFoundError:  # the caller's folder is gone
        os.chdir("/")
        here = "/"
    asked = os.environ.get("PWD", "")
    # where relative paths of origins start
    os.environ["LANE_CALLER_DIR"] = asked if os.path.isdir(asked) and os.path.samefile(asked, here) else here


def installed(file: str) -> bool:
    """Whether the packages of a requirements file are in .venv, as it is now and for this checkout at this place."""
    stamp = VENV / f"{file}.stamp"
    return PYTHON.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp(file)


def need(*files: str) -> bool:
    """Install requirements files into .venv, once, also when several commands ask for it at the same time.

    True when something was installed.

    Raises CannotPrepareError.
    """
    if all(map(installed, files)):
        return False
    lock = os.open(ROOT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(lock)
        for file in files:
            if not installed(file):
                if file == "requirements.txt":
                    _make()
                _install(file, lock)
    finally:
        os.close(lock)
    return True


def _lock(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        say("another ./lane is preparing .venv; waiting for it")

    def late(*_: object) -> None:
        raise CannotPrepareError(f"it did not finish within {LOCK_LIMIT // 60} minutes")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LOCK_LIMIT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    signal.alarm(0)


def _make() -> None:
    if os.path.lexists(VENV) and not (VENV / MADE).exists():
        raise CannotPrepareError(f"{VENV} was not made by this script; move it away")
    for folder in (ROOT, VENV):
        if folder.exists() and not os.access(folder, os.W_OK):
            user = pwd.getpwuid(os.getuid()).pw_name
            raise CannotPrepareError(f"cannot make .venv: user {user} cannot write to {folder}")
    # the latter is not removed with a .venv
    python = sys.executable if sys.prefix == sys.base_prefix else os.path.realpath(sys.executable)
    say(f"making .venv with Python {sys.version.split()[0]} (once; about ten seconds)")
    try:
        if VENV.exists():
            shutil.rmtree(VENV)
        VENV.mkdir()
        (VENV / MADE).touch()
    except OSError as error:
        raise CannotPrepareError(f"cannot make {VENV}: {error.strerror}") from None
    if subprocess.run([python, "-m", "venv", str(VENV)], stdout=sys.stderr, check=False).returncode:
        raise CannotPrepareError(f"{python} -m venv could not make {VENV}; see its output above")


def _install(file: str, lock: int) -> None:
    """lock: pip holds it too, so that no other ./lane begins while a pip goes on whose ./lane was killed."""
    say(f"installing {file} into .venv")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"]
    pip += ["--no-deps", "--require-hashes", "-r", str(ROOT / file)]
    if subprocess.run(pip, stdout=sys.stderr, check=False, pass_fds=(lock,)).returncode:
        raise CannotPrepareError(f"pip could not install {ROOT / file}; see its output above")
    if subprocess.run([PYTHON, "-I", "-c", INSTALLED, ROOT / file], stderr=subprocess.DEVNULL, check=False).returncode:
        said = "pip installed elsewhere than in .venv"
        raise CannotPrepareError(f"{said}; look at `pip config list` for target, prefix, root, user or dry-run")
    (VENV / f"{file}.stamp").write_text(_stamp(file), encoding="utf-8")


def _stamp(file: str) -> str:
    """What is installed: the file, the Python, and the checkout's path, which the scripts in .venv contain."""
    return f"{hashlib.sha256((ROOT / file).read_bytes()).hexdigest()} {os.path.realpath(PYTHON)} {ROOT}\n"
