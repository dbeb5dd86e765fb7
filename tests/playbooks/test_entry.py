"""The entry script `lane`, in a throw-away checkout whose Ansible is a stub: a wheel made here that tells what it was called with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.path.realpath(sys.executable)
NEEDED = "bash cat dirname env flock mkdir mktemp readlink rm sed sh sha256sum sleep".split()
STUB = """
import json, os, signal, sys, time

def main():
    told = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "stdin": os.path.realpath("/proc/self/fd/0")}
    told["sigint"] = str(signal.getsignal(signal.SIGINT))
    with open(os.environ["STUB_TOLD"], "w") as file:
        json.dump(told, file)
    if "STUB_WAIT" in os.environ:
        time.sleep(60)
    if os.environ.get("STUB_VERDICT"):
        with open(os.environ["LANE_VERDICT_FILE"], "w") as file:
            file.write(os.environ["STUB_VERDICT"])
    sys.exit(int(os.environ.get("STUB_STATUS", "0")))
"""


def wheel(folder: Path, name: str, script: str = "") -> str:
    """Make a wheel with a module of that name, which `script` runs if given; returns its line for a requirements file."""
    files = {
        f"{name}.py": STUB,
        f"{name}-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{name}-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{name}-1.dist-info/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
    record = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}" for path, text in files.items()
    ]
    files[f"{name}-1.dist-info/RECORD"] = "\n".join([*record, f"{name}-1.dist-info/RECORD,,", ""])
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        for inside, text in files.items():
            made.writestr(inside, text)
    return f"{name} @ {path.as_uri()} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Checkout:
    """A checkout with the real `lane` and a stub for Ansible."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "Prüf lane's"
        self.path.mkdir(parents=True)
        self.told = folder / "told.json"
        self.path.joinpath("tools").mkdir()
        shutil.copy2(ROOT / "lane", self.path)
        self.path.joinpath("requirements.txt").write_text(wheel(folder, "stub", "ansible-playbook"), encoding="utf-8")
        self.path.joinpath("requirements-dev.txt").write_text(wheel(folder, "devstub"), encoding="utf-8")
        self.path.joinpath("tools/run_tests.py").write_text("import sys, devstub; print('ran', sys.argv[1:])\n", encoding="utf-8")

    @property
    def venv(self) -> Path:
        return self.path / ".venv"

    def environment(self, **env: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "STUB_TOLD": str(self.told), **env}

    def run(self, *args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `./lane ARGS` with nothing in its environment but PATH, HOME, what the stub needs, and env."""
        self.told.unlink(missing_ok=True)
        command = [str(self.path / "lane"), *args]
        return subprocess.run(command, env=self.environment(**env), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def tell(self) -> dict[str, Any]:
        """What the stub was called with."""
        told: dict[str, Any] = json.loads(self.told.read_text(encoding="utf-8"))
        return told


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose .venv is made. Tests leave it as it is."""
    checkout = Checkout(tmp_path_factory.mktemp("ready"))
    ran = checkout.run(STUB_VERDICT="pass")
    assert ran.returncode == 0, ran.stderr
    assert "making .venv with Python 3" in ran.stderr
    return checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A PATH folder with the tools that `lane` uses and no python3, apt-get, sudo or id of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        folder.joinpath(name).symlink_to(os.path.realpath(shutil.which(name) or name))
    return folder


def fake(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


# --- verbs and exit status ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "playbook", "passed"),
    [
        ([], "lane.yml", []),
        (["-e", "a b=c 'd' \"e\" $f"], "lane.yml", ["-e", "a b=c 'd' \"e\" $f"]),
        (["up", "-e", "lane_id=3"], "lane.yml", ["--tags", "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside", "-e", "lane_id=3"]),
        (["smoke", ""], "lane.yml", ["--tags", "smoke,evidence", ""]),
        (["down", "-v"], "teardown.yml", ["-v"]),
        (["--check"], "lane.yml", ["--check"]),
        (["whatever"], "lane.yml", ["whatever"]),
    ],
)
def test_verbs(ready: Checkout, args: list[str], playbook: str, passed: list[str]) -> None:
    ready.run(*args, STUB_VERDICT="pass")
    assert ready.tell()["argv"] == [str(ready.path / "playbooks" / playbook), *passed]


@pytest.mark.parametrize(
    ("args", "verdict", "status", "expected", "words"),
    [
        ([], "pass", 0, 0, ""),
        ([], "fail", 2, 1, ""),
        ([], "error", 2, 2, ""),
        ([], "", 0, 2, "expected a verdict, but the playbook ended without one"),
        ([], "", 4, 2, ""),
        ([], "pass", 2, 2, "the verdict is pass, but ansible-playbook ended with status 2"),
        ([], "nonsense", 0, 2, ""),
        (["-e", "lane_id=3"], "", 0, 2, "expected a verdict"),
        (["smoke"], "", 0, 2, "expected a verdict"),
        (["smoke"], "fail", 2, 1, ""),
        (["up"], "", 0, 0, ""),
        (["up"], "fail", 2, 1, ""),
        (["down"], "", 0, 0, ""),
        (["down"], "", 2, 2, ""),
        (["--check"], "", 0, 0, ""),
        (["--syntax-check"], "", 4, 2, ""),
        (["--tags", "tls"], "", 0, 0, ""),
        (["--tags=smoke"], "fail", 2, 1, ""),
    ],
)
def test_exit_status(ready: Checkout, args: list[str], verdict: str, status: int, expected: int, words: str) -> None:
    ran = ready.run(*args, STUB_VERDICT=verdict, STUB_STATUS=str(status))
    assert ran.returncode == expected, ran.stderr
    assert words in ran.stderr
    assert bool(words) == bool(ran.stderr)
    assert not Path(ready.tell()["env"]["LANE_VERDICT_FILE"]).parent.exists()


@pytest.mark.parametrize(("args", "verdict", "status", "last"), [([], "", 4, True), (["up"], "", 2, True), (["up"], "", 0, False), ([], "fail", 2, False)])
def test_the_last_line_when_ansible_ends_without_a_verdict(ready: Checkout, args: list[str], verdict: str, status: int, last: bool) -> None:
    ran = ready.run(*args, STUB_VERDICT=verdict, STUB_STATUS=str(status))
    assert ran.stdout.startswith(f"LANE FAIL lane: ansible-playbook ended with status {status} ") == last
    env = ready.tell()["env"]
    assert env["LANE_ANSIBLE_LOG"] == env["ANSIBLE_LOG_PATH"] and not Path(env["LANE_ANSIBLE_LOG"]).parent.exists()
    assert env["ANSIBLE_STDOUT_CALLBACK"] == "phases"


def test_a_log_of_ones_own_is_left_to_ansible(ready: Checkout, tmp_path: Path) -> None:
    ready.run(ANSIBLE_LOG_PATH=str(tmp_path / "log"))
    env = ready.tell()["env"]
    assert env["ANSIBLE_LOG_PATH"] == str(tmp_path / "log") and "LANE_ANSIBLE_LOG" not in env


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help(fresh: Checkout, word: str) -> None:
    ran = fresh.run(word)
    assert ran.returncode == 0
    assert "Exit status: 0 pass; 1 fail" in ran.stdout
    assert not fresh.venv.exists()


# --- whatever the caller's surroundings are -----------------------------------------------------


def test_environment_of_the_caller_stays_out(ready: Checkout) -> None:
    cleared = ("ANSIBLE_LIBRARY", "ANSIBLE_STRATEGY", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET")
    foreign: dict[str, Any] = dict.fromkeys([*cleared, "ANSIBLE_CONFIG"], "/x")
    ran = ready.run(**foreign, STUB_VERDICT="pass", LC_ALL="de_DE.ISO-8859-1", LANG="C", ANSIBLE_NOCOLOR="1")
    assert ran.returncode == 0, ran.stderr
    env = ready.tell()["env"]
    assert env["ANSIBLE_CONFIG"] == str(ready.path / "ansible.cfg")
    assert env["LC_ALL"] == "C.UTF-8"
    assert env["ANSIBLE_NOCOLOR"] == "1"
    assert not set(cleared) & set(env)


def test_closed_stdin_no_home_other_folder(ready: Checkout, tmp_path: Path) -> None:
    env = {name: value for name, value in ready.environment(STUB_VERDICT="pass").items() if name != "HOME"}
    ran = subprocess.run(["sh", "-c", '"$0" <&-', str(ready.path / "lane")], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = ready.tell()
    assert told["stdin"] == "/dev/null"
    assert told["cwd"] == str(tmp_path)
    assert told["env"]["HOME"] == str(ready.path / ".cache/home")


def test_a_folder_that_is_gone_and_a_link(ready: Checkout, tmp_path: Path) -> None:
    link = tmp_path / "lane"
    link.symlink_to(ready.path / "lane")
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$1" && "$0"'
    ran = subprocess.run(
        ["sh", "-c", script, str(link), str(gone)], env=ready.environment(STUB_VERDICT="pass"), cwd=gone, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert ready.tell()["cwd"] == "/"


@pytest.mark.parametrize(
    ("number", "whole_group", "status"), [(signal.SIGTERM, False, 143), (signal.SIGHUP, False, 129), (signal.SIGINT, True, 130), (signal.SIGINT, False, 130)]
)
def test_a_signal_reaches_ansible(ready: Checkout, number: int, whole_group: bool, status: int) -> None:
    ready.told.unlink(missing_ok=True)
    env = ready.environment(STUB_WAIT="1")
    command = ["env", "--default-signal=INT", str(ready.path / "lane")]  # these tests may run where SIGINT is ignored
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr
        limit = time.monotonic() + 20
        while not ready.told.exists() or not ready.told.read_text(encoding="utf-8").endswith("}"):
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.02)
        told = ready.tell()
        assert "default_int_handler" in told["sigint"]  # Ctrl-C means something to Ansible
        os.kill(-process.pid if whole_group else process.pid, number)
        words = process.stderr.read()  # ends when the stub has ended too
        assert time.monotonic() < limit
        assert process.wait(10) == status
    assert "stopped by a signal; a full run is taken down by its keeper" in words
    assert not Path(told["env"]["LANE_VERDICT_FILE"]).parent.exists()


# --- .venv --------------------------------------------------------------------------------------


def test_a_second_run_installs_nothing(ready: Checkout, few: Path) -> None:
    ran = ready.run(PATH=str(few), STUB_VERDICT="pass")  # without any python3 on PATH
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.slow
def test_test_installs_more_and_passes_words_on(fresh: Checkout) -> None:
    ran = fresh.run("test", "unit", "--", "-k", "a b")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "ran ['unit', '--', '-k', 'a b']\n"
    assert fresh.run("test").stderr == ""


@pytest.mark.slow
def test_two_at_once_make_one_venv(fresh: Checkout) -> None:
    command = [str(fresh.path / "lane")]
    env = fresh.environment(STUB_VERDICT="pass")
    both = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    words = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], words
    assert sum("making .venv" in said for said in words) == 1
    assert sum("another ./lane is preparing .venv; waiting for it" in said for said in words) == 1


@pytest.mark.slow
def test_what_is_not_whole_or_not_current_is_made_anew(fresh: Checkout) -> None:
    # Half made: killed while pip was at work.
    (fresh.venv / "bin").mkdir(parents=True)
    (fresh.venv / "made-by-lane").touch()
    (fresh.venv / "bin/python").symlink_to(PYTHON)
    assert "making .venv" in fresh.run(STUB_VERDICT="pass").stderr
    # Other requirements; what the old ones brought is gone.
    (fresh.venv / "left-over").touch()
    with (fresh.path / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert "making .venv" in fresh.run(STUB_VERDICT="pass").stderr
    assert not (fresh.venv / "left-over").exists()
    # Another place: the scripts in .venv name the old one.
    fresh.path = fresh.path.rename(fresh.path.with_name("moved"))
    ran = fresh.run(STUB_VERDICT="pass")
    assert ran.returncode == 0
    assert "making .venv" in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [(r"(?m)....$", "0000", "THESE PACKAGES DO NOT MATCH THE HASHES"), (r" --hash=\S+", "", "Hashes are required in --require-hashes mode")],
)
def test_a_wrong_or_missing_hash_is_refused_and_not_kept(fresh: Checkout, old: str, new: str, words: str) -> None:
    requirements = fresh.path / "requirements.txt"
    requirements.write_text(re.sub(old, new, requirements.read_text(encoding="utf-8")), encoding="utf-8")
    ran = fresh.run()
    assert ran.returncode == 2
    assert words in ran.stderr
    assert ran.stderr.endswith(f"lane: expected pip to install what {requirements} names, but it failed; its words stand above\n")
    assert not (fresh.venv / "requirements.txt.stamp").exists()


def test_a_checkout_of_somebody_else_is_not_touched() -> None:
    other = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        checkout = Checkout(Path(folder))
        (checkout.path / ".venv").mkdir(mode=0o555)
        (checkout.path / ".venv/made-by-lane").touch()
        as_other = ["setpriv", f"--reuid={other}", "--clear-groups"] if os.getuid() == 0 else []
        command = [*as_other, str(checkout.path / "lane")]
        if not as_other:
            checkout.path.chmod(0o555)
        env = checkout.environment(PATH="/usr/bin:/bin", HOME="/tmp")
        ran = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        checkout.path.chmod(0o755)
    words = f"lane: expected {checkout.path} to be writable, for .venv has to be made, but user {other} cannot write there\n"
    assert (ran.returncode, ran.stderr) == (2, words)


def test_a_mishap_of_the_script_is_never_the_verdict_fail(fresh: Checkout, few: Path) -> None:
    few.joinpath("python3").symlink_to(PYTHON)
    for tool, words in (("mkdir", f"expected to make {fresh.venv}, but this user cannot; mkdir's words stand above"), ("mktemp", "no room")):
        few.joinpath(tool).unlink()
        fake(few, tool, "echo no room >&2; exit 1")
        ran = fresh.run(PATH=str(few))
        assert ran.returncode == 2
        assert words in ran.stderr
        few.joinpath(tool).unlink()
        few.joinpath(tool).symlink_to(os.path.realpath(shutil.which(tool) or tool))


def test_somebody_elses_venv_is_left_alone(fresh: Checkout) -> None:
    fresh.venv.mkdir()
    (fresh.venv / "mine").touch()
    ran = fresh.run()
    assert ran.returncode == 2
    assert ran.stderr == f"lane: expected {fresh.venv} to be made by this script, but it is not; move it away\n"
    assert (fresh.venv / "mine").exists()


# --- no Python, or half of one ------------------------------------------------------------------

WANTED = "expected Python 3.11 or newer with its venv module, but no python3 on PATH is that"


def test_an_old_python_and_nothing_else(fresh: Checkout, few: Path) -> None:
    fake(few, "python3", 'case "$*" in *assert*) exit 1 ;; --version) echo Python 3.9.2 ;; esac')
    fake(few, "apt-get", 'echo "apt-get must not be asked" >&2; exit 1')
    ran = fresh.run(PATH=str(few))
    assert (ran.returncode, ran.stderr) == (2, f"lane: {WANTED} (Python 3.9.2); install one and run this again\n")


def test_a_newer_python_under_its_own_name(fresh: Checkout, few: Path) -> None:
    fake(few, "python3", "exit 1")
    (few / "python3.12").symlink_to(PYTHON)
    ran = fresh.run(PATH=str(few), STUB_VERDICT="pass")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("uid", [0, 1000])
def test_python_without_venv_is_completed_by_apt(fresh: Checkout, few: Path, tmp_path: Path, uid: int) -> None:
    installed, asked = tmp_path / "installed", tmp_path / "asked"
    fake(few, "id", f"echo {uid}")
    fake(few, "python3", f'case "$*" in *ensurepip*) [ -e "{installed}" ] || exit 1 ;; esac; exec "{PYTHON}" "$@"')
    fake(few, "apt-get", f'echo "$*" >>"{asked}"; case "$*" in *install*) : >"{installed}" ;; esac')
    fake(few, "sudo", f'[ "$1" = -n ] || exit 1; shift; echo sudo >>"{asked}"; exec "$@"')
    (few / "true").symlink_to(os.path.realpath("/bin/true"))
    ran = fresh.run(PATH=str(few), STUB_VERDICT="pass")
    assert ran.returncode == 0, ran.stderr
    assert "lane: installing python3-venv by apt-get\n" in ran.stderr
    said = asked.read_text(encoding="utf-8").splitlines()
    assert [line for line in said if line != "sudo"] == ["-q update", "install -y python3-venv -q -o DPkg::Lock::Timeout=300"]
    assert ("sudo" in said) == (uid != 0)


def test_python_without_venv_and_nobody_to_install_it(fresh: Checkout, few: Path) -> None:
    fake(few, "id", "echo 1000")
    fake(few, "python3", "exit 1")
    fake(few, "apt-get", 'echo "apt-get must not be asked" >&2; exit 1')
    fake(few, "sudo", "exit 1")
    ran = fresh.run(PATH=str(few))
    assert (ran.returncode, ran.stderr) == (2, f"lane: {WANTED}; as root, run: apt-get install -y python3-venv\n")
    assert not fresh.venv.exists()


def test_apt_that_fails(fresh: Checkout, few: Path) -> None:
    fake(few, "id", "echo 0")
    fake(few, "apt-get", 'echo "E: no network" >&2; exit 100')
    ran = fresh.run(PATH=str(few))
    assert ran.returncode == 2
    assert "E: no network" in ran.stderr
    assert ran.stderr.endswith(f"lane: {WANTED}, and apt-get did not bring it; its words stand above; as root, run: apt-get install -y python3-venv\n")


# --- the real thing -----------------------------------------------------------------------------


def test_the_real_ansible_takes_the_checkouts_settings(tmp_path: Path) -> None:
    """With the least of an environment, the pinned Ansible starts and finds this checkout's playbook, roles and modules."""
    env = {"PATH": os.environ["PATH"], "LANG": "C", "HOME": str(tmp_path), "ANSIBLE_CONFIG": "/nowhere"}
    ran = subprocess.run([str(ROOT / "lane"), "--list-tags"], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "kvm_probe" in ran.stdout
    assert "sextant_vm" in ran.stdout
