"""The entry script `lane`, in a throw-away checkout whose Ansible is a stub (entry_checkout.py)."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from entry_checkout import Checkout
from prepared import executable
from whole_lanes import SIGNALS, Started

PYTHON = os.path.realpath(sys.executable)
SUITES = ["--tags", "suites,evidence"]
TAGS = ["--tags", "tls,smoke"]
NEEDED = "dirname env readlink sh".split()
FOREIGN = "was not made by this script; move it away\n"


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


# --- verbs and exit status ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "playbook", "passed"),
    [
        (["-e", "a='b c' d=\"e\"  f=$g"], "lane.yml", ["-e", "a='b c' d=\"e\"  f=$g"]),
        (["up", "-vv"], "lane.yml", ["--tags", "kvm_probe,deps,ryll_build,tls,sextant_vm,kerbside", "-v", "-v"]),
        (["smoke"], "lane.yml", ["--tags", "smoke,evidence"]),
        (["-elane_id=3", "--tags=tls,smoke", "--become"], "lane.yml", ["-e", "lane_id=3", *TAGS, "--become"]),
        (["suites"], "lane.yml", [*SUITES, "-e", "lane_suites=all"]),
        (["suites", "input,agent", "story"], "lane.yml", [*SUITES, "-e", "lane_suites=input,agent,story"]),
        (["down", "-v"], "teardown.yml", ["-v"]),
    ],
)
def test_verbs(ready, args, playbook, passed):
    assert ready.run(*args, STUB_VERDICT="pass").returncode == 0
    assert ready.tell()["argv"] == [str(ready.path / "playbooks" / playbook), *passed]


@pytest.mark.parametrize(
    ("args", "verdict", "status", "expected", "ended"),
    [
        ([], "pass", "0", 0, False),
        ([], "fail", "2", 1, False),
        ([], "error", "2", 2, False),
        ([], "", "0", 2, True),
        ([], "pass", "2", 2, True),
        ([], "nonsense", "0", 2, True),
        (["smoke"], "", "0", 2, True),
        (["up"], "", "0", 0, False),
        (["up"], "fail", "2", 1, False),
        (["down"], "", "0", 0, False),
        (["--check"], "", "0", 0, False),
        (["--syntax-check"], "", "4", 2, True),
        (["--tags", "tls"], "", "0", 0, False),
        ([], "pass", "KILL", 2, False),
    ],
)
def test_exit_status_and_last_line(ready, args, verdict, status, expected, ended):
    """Where no plugin of the lane came to a verdict, there is a last line all the same."""
    ran = ready.run(*args, STUB_VERDICT=verdict, STUB_STATUS=status)
    assert (ran.returncode, ran.stderr) == (expected, "")
    last = "and no verdict; see its message above" if ended else "was killed by SIGKILL" if status == "KILL" else ""
    assert last in ran.stdout and ran.stdout.startswith("LANE FAIL lane: ") == bool(last), ran.stdout
    assert not Path(ready.tell()["env"]["LANE_VERDICT_FILE"]).parent.exists()


def test_a_broken_environment_is_never_the_verdict_fail(ready):
    ran = ready.run(STUB_STATUS="IMPORT")
    said = "LANE FAIL lane: ansible-playbook ended with status 1 and no verdict; see its message above\n"
    assert (ran.returncode, ran.stdout) == (2, said)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["help"], "Exit status: 0 pass; 1 fail"),
        (["-h"], "fleet     run N full lanes"),
        (["help", "logs"], "--follow"),
        (["test", "--help"], "STAGE"),
    ],
)
def test_help(fresh, few, args, words):
    """It needs no .venv, nor a Python that could make one."""
    executable(few / "python3", f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{PYTHON}" "$@"')
    ran = fresh.run(*args, PATH=str(few))
    assert ran.returncode == 0, ran.stderr
    assert words in ran.stdout
    assert not fresh.venv.exists()


# --- whatever the caller's surroundings are -----------------------------------------------------


def test_environment_of_the_caller_stays_out(ready):
    cleared = [f"ANSIBLE_{name}" for name in ("LIBRARY", "STRATEGY", "KEEP_REMOTE_FILES")]
    cleared += ["PYTHONPATH", "PYTHONHOME", *(f"PIP_{name}" for name in ("TARGET", "PREFIX", "ROOT", "DRY_RUN"))]
    index = ("INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "PROXY", "CERT", "DEFAULT_TIMEOUT", "CACHE_DIR")
    kept = dict.fromkeys(["ANSIBLE_NOCOLOR", *(f"PIP_{name}" for name in index)], "/k")
    cleared.append("ANSIBLE_VERBOSITY")  # with /x, Ansible would not start
    foreign: dict[str, Any] = dict.fromkeys([*cleared, "ANSIBLE_CONFIG"], "/x")
    ran = ready.run(**foreign, **kept, STUB_VERDICT="pass", LC_ALL="de_DE.ISO-8859-1", LANG="C")
    assert ran.returncode == 0, ran.stderr
    env = ready.tell()["env"]
    ours = {"ANSIBLE_STDOUT_CALLBACK": "phases", "ANSIBLE_CONFIG": str(ready.path / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    assert {**ours, **kept, "ANSIBLE_LOG_PATH": env["LANE_ANSIBLE_LOG"]}.items() <= env.items()
    assert not set(cleared) & set(env)


def test_a_log_of_ones_own_is_left_to_ansible(ready, tmp_path):
    ready.run(ANSIBLE_LOG_PATH=str(tmp_path / "log"))
    env = ready.tell()["env"]
    assert env["ANSIBLE_LOG_PATH"] == str(tmp_path / "log") and "LANE_ANSIBLE_LOG" not in env


@pytest.mark.parametrize("home", [["-u", "HOME"], ["HOME=/proc"]], ids=["unset", "read-only"])
def test_no_stdin_no_home_and_packages_of_the_same_names(ready, tmp_path, home):
    for name in ("tools", "ansible"):
        tmp_path.joinpath(name).mkdir()
        tmp_path.joinpath(name, "__init__.py").write_text("raise SystemExit('not this one')", encoding="utf-8")
    ran = ready.run(around=("env", *home, "sh", "-c", 'exec "$0" "$@" <&-'), cwd=tmp_path, STUB_VERDICT="pass")
    assert ran.returncode == 0, ran.stderr
    seen = ready.tell()
    assert (seen["stdin"], seen["cwd"]) == ("/dev/null", str(tmp_path))
    assert seen["env"]["HOME"] == str(ready.path / ".cache/home")


@pytest.mark.parametrize(("verdict", "status"), [("pass", 0), ("fail", 1), ("", 2)])
@pytest.mark.parametrize(
    ("where", "said"), [(">&-", "lane: stdout is closed; the output is discarded\n"), (">/dev/full", "")]
)
def test_a_closed_or_full_stdout_is_harmless(ready, verdict, status, where, said):
    around = ("sh", "-c", f'exec "$0" "$@" {where}')
    ran = ready.run(around=around, STUB_VERDICT=verdict, STUB_SAYS="kvm_probe 0.1 s\n" * 9)
    assert (ran.returncode, ran.stderr) == (status, said)


def test_a_folder_that_is_gone_and_a_link(ready, tmp_path):
    link, gone = tmp_path / "lane", tmp_path / "gone"
    link.symlink_to(ready.path / "lane")
    gone.mkdir()
    ran = ready.run(around=("sh", "-c", 'rmdir "$0" && exec "$1"', str(gone), str(link)), cwd=gone, STUB_VERDICT="pass")
    assert ran.returncode == 0, ran.stderr
    assert ready.tell()["cwd"] == "/"


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGINT, True), (signal.SIGINT, False)],
)
def test_a_signal_reaches_ansible_and_the_last_line_says_so(ready, number, whole_group):
    ready.seen.unlink(missing_ok=True)
    run = Started([*SIGNALS, str(ready.path / "lane")], ready.environment(STUB_WAIT="1"))
    run.until(lambda: ready.seen.exists() and ready.seen.read_text(encoding="utf-8").endswith("}"), 60)
    seen = ready.tell()
    assert "default_int_handler" in seen["sigint"]  # Ctrl-C means something to Ansible
    os.kill(-run.process.pid if whole_group else run.process.pid, number)
    assert run.wait(10) == 128 + number
    assert run.lines[-1].startswith("LANE FAIL lane: stopped by a signal")
    assert "Traceback" not in run.text
    assert not Path(seen["env"]["LANE_VERDICT_FILE"]).parent.exists()


# --- .venv --------------------------------------------------------------------------------------


def test_a_second_run_installs_nothing(ready, few):
    ran = ready.run(PATH=str(few), STUB_VERDICT="pass")  # without any python3 on PATH
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.slow
def test_test_installs_more_and_passes_words_on(fresh):
    for verb, script, words in (
        ("faults", "tests/faults/run.py", ["--quick", "guest-frozen"]),
        ("bench", "tools/bench.py", ["--rounds", "1"]),
        ("test", "tools/run_tests.py", ["unit", "--", "-k", "a b"]),
    ):
        assert fresh.run(verb, "--nonsense").returncode == 2
        ran = fresh.run(verb, *words)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == f"ran {[str(fresh.path / script), *words]}\n"
    assert fresh.run("test").stderr == ""


@pytest.mark.slow
def test_two_at_once_make_one_venv(fresh):
    env = fresh.environment(STUB_VERDICT="pass")
    both = [subprocess.Popen([str(fresh.path / "lane")], env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    words = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], words
    assert sum("making .venv" in said for said in words) == 1
    assert sum("another ./lane is preparing .venv; waiting for it" in said for said in words) == 1


@pytest.mark.slow
def test_what_is_half_made_is_made_anew(fresh):
    """Killed while pip was running; what was there is gone."""
    (fresh.venv / "bin").mkdir(parents=True)
    (fresh.venv / "made-by-lane").touch()
    (fresh.venv / "bin/python").symlink_to(PYTHON)
    (fresh.venv / "left-over").touch()
    ran = fresh.run(STUB_VERDICT="pass")
    assert ran.returncode == 0 and "making .venv" in ran.stderr, ran.stderr
    assert not (fresh.venv / "left-over").exists()


def test_a_pip_that_installs_elsewhere_is_named_and_its_venv_does_not_count(fresh, tmp_path):
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[install]\ntarget = {tmp_path / 'elsewhere'}\n", encoding="utf-8")
    for _ in range(2):
        ran = fresh.run(STUB_VERDICT="pass", PIP_CONFIG_FILE=str(settings))
        assert (ran.returncode, ran.stdout) == (2, "") and "`pip config list`" in ran.stderr, ran.stderr
    assert fresh.run(STUB_VERDICT="pass").returncode == 0


def test_what_is_not_current_is_made_anew(ready, tmp_path):
    moved = copy(ready)
    moved.path = shutil.copytree(ready.path, tmp_path / "moved", symlinks=True)
    (moved.venv / "made-by-lane").unlink()  # to make it again is refused then, which takes less time

    def current() -> bool:
        ran = moved.run(STUB_VERDICT="pass")
        assert ran.returncode == 0 or ran.stderr.endswith(f"{moved.venv} {FOREIGN}"), ran.stderr
        return ran.returncode == 0

    assert not current()  # the scripts in .venv name the other place
    stamp = moved.venv / "requirements.txt.stamp"
    stamp.write_text(stamp.read_text(encoding="utf-8").replace(f"{ready.path}", f"{moved.path}"), encoding="utf-8")
    assert current()
    with (moved.path / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert not current()


@pytest.mark.slow
def test_a_missing_hash_is_refused_and_not_kept(fresh):
    requirements = fresh.path / "requirements.txt"
    requirements.write_text(re.sub(r" --hash=\S+", "", requirements.read_text(encoding="utf-8")), encoding="utf-8")
    ran = fresh.run()
    assert ran.returncode == 2
    assert "Hashes are required in --require-hashes mode" in ran.stderr
    assert ran.stderr.endswith(f"lane: pip could not install {requirements}; see its output above\n")
    assert not (fresh.venv / "requirements.txt.stamp").exists()


def test_a_checkout_of_another_user_is_not_touched():
    other = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        checkout = Checkout(Path(folder))
        (checkout.path / ".venv").mkdir(mode=0o555)
        (checkout.path / ".venv/made-by-lane").touch()
        as_other = ("setpriv", f"--reuid={other}", "--clear-groups") if os.getuid() == 0 else ()
        checkout.path.chmod(0o755 if as_other else 0o555)
        ran = checkout.run(around=as_other, PATH="/usr/bin:/bin", HOME="/tmp")
        checkout.path.chmod(0o755)
    said = f"lane: cannot make .venv: user {other} cannot write to {checkout.path}\n"
    assert (ran.returncode, ran.stderr) == (2, said)


@pytest.mark.parametrize("own", ["a folder with a file", "a dangling link"])
def test_an_error_of_the_script_is_never_the_verdict_fail(fresh, few, own):
    executable(few / "python3", f'case "$*" in *"-m venv"*) exit 1 ;; esac; exec "{PYTHON}" "$@"')
    if own == "a dangling link":
        fresh.venv.symlink_to("/nowhere/at/all")
    else:
        fresh.venv.mkdir()
        (fresh.venv / "mine").touch()
    for more, words in (
        ("", f"lane: {fresh.venv} {FOREIGN}"),
        ("raise OSError('no room')", "internal error: OSError: no room\n"),
    ):
        with (fresh.path / "tools/venv.py").open("a", encoding="utf-8") as file:
            file.write(f"\ndef clean_environment(was=clean_environment):\n    {more or 'was()'}\n")
        ran = fresh.run(PATH=str(few))
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.endswith(words)
        if own == "a dangling link":
            assert os.readlink(fresh.venv) == "/nowhere/at/all"
        else:
            assert (fresh.venv / "mine").exists()


# --- no Python, or half of one ------------------------------------------------------------------

WANTED = "no python3 on PATH is Python 3.11 or newer with its venv module"
APT = "; as root, run: apt-get install -y python3-venv\n"
OLD = 'case "$*" in *assert*) exit 1 ;; --version) echo Python 3.9.2 ;; esac'
NO_NETWORK = 'echo "E: no network" >&2; exit 100'
NOT_CALLED = 'echo "must not be called" >&2; exit 1'


@pytest.mark.parametrize(
    ("fakes", "words"),
    [
        ({"python3": OLD, "apt-get": NOT_CALLED}, " (Python 3.9.2); install one and run this again\n"),
        ({"id": "echo 1000", "python3": "exit 1", "apt-get": NOT_CALLED, "sudo": "exit 1"}, APT),
        ({"id": "echo 0", "apt-get": NO_NETWORK}, f", and apt-get could not install it; see its output above{APT}"),
    ],
    ids=["too old", "not root", "no network"],
)
def test_python_that_cannot_be_had(fresh, few, fakes, words):
    for name, script in fakes.items():
        executable(few / name, script)
    ran = fresh.run(PATH=str(few))
    assert ran.returncode == 2
    assert ran.stderr.endswith(f"lane: {WANTED}{words}")
    assert ("E: no network" in ran.stderr) == ("see its output" in words)
    assert "must not be called" not in ran.stderr
    assert not fresh.venv.exists()


def test_a_newer_python_under_its_own_name(fresh, few):
    executable(few / "python3", "exit 1")
    (few / "python3.12").symlink_to(PYTHON)
    fresh.venv.mkdir()  # which it refuses to replace
    assert fresh.run(PATH=str(few)).stderr == f"lane: {fresh.venv} {FOREIGN}"


@pytest.mark.parametrize("uid", [0, 1000])
def test_python_without_venv_is_completed_by_apt(fresh, few, tmp_path, uid):
    installed, asked = tmp_path / "installed", tmp_path / "asked"
    executable(few / "id", f"echo {uid}")
    has_venv = f'case "$*" in *ensurepip*) [ -e "{installed}" ] || exit 1 ;; esac'
    executable(few / "python3", f'{has_venv}; exec "{PYTHON}" "$@"')
    executable(few / "apt-get", f'echo "$*" >>"{asked}"; case "$*" in *install*) : >"{installed}" ;; esac')
    executable(few / "sudo", f'[ "$1" = -n ] || exit 1; shift; echo sudo >>"{asked}"; exec "$@"')
    (few / "true").symlink_to(os.path.realpath("/bin/true"))
    fresh.venv.mkdir()  # which the Python that is complete then refuses to replace
    ran = fresh.run(PATH=str(few))
    assert ran.stderr == f"lane: installing python3-venv by apt-get\nlane: {fresh.venv} {FOREIGN}"
    said = asked.read_text(encoding="utf-8").splitlines()
    install = "install -y python3-venv -q -o DPkg::Lock::Timeout=300"
    assert [line for line in said if line != "sudo"] == ["-q update", install]
    assert ("sudo" in said) == (uid != 0)
