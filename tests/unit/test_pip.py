"""pip: which settings of the caller count, and whose fault its failures are. The texts are what pip 23 and 26 print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.lane.prepare import pip
from lanes import lane_error

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
    "'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: "
    "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/kerbside/\n"
)
NONE = "ERROR: Could not find a version that satisfies the requirement kerbside==9 (from versions: {})\n"
NONE += "ERROR: No matching distribution found for kerbside==9\n"
BOX = "  error: subprocess-exited-with-error\n  \u00d7 Building wheel did not run successfully.\n"
BOX += "  \u2570\u2500> [3 lines of output]\n{}\n      [end of output]\n"
BROKEN = ("package_broken", "kerbside")


@pytest.mark.parametrize(
    ("said", "code", "component", "words"),
    [
        (RETRY + NONE.format("none"), "no_package_index", "environment", "Temporary failure in name resolution"),
        # Some other source of packages has others.
        (RETRY + NONE.format("0.7.0"), "no_package_index", "environment", ""),
        (BOX.format(RETRY + NONE.format("none")), "no_package_index", "environment", ""),  # what the build needs
        (NONE.format("none"), "no_such_version", "kerbside", "newest is none"),
        (NONE.format("0.7.0, 0.8.0"), "no_such_version", "kerbside", "newest is 0.8.0"),
        (RETRY + BOX.format("      x.c:3:1: error: unknown type name 'in'\n      x.c:9:1: error: no"), *BROKEN, "'in'"),
        (BOX.format("      Traceback\n      ValueError: invalid pyproject.toml config: `x`"), *BROKEN, "ValueError: "),
        (BOX.format("      error: command 'gcc' failed: No such file or directory"), "no_compiler", "host", "gcc is"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "wrong_hash", "environment", ""),
        ("ERROR: ResolutionImpossible: for help visit", "pip_failed", "kerbside", ""),
        ("ERROR: Could not install: [Errno 28] No space left on device", "pip_failed", "environment", "No space left"),
    ],
)
def test_a_failure_has_its_kind(said: str, code: str, component: str, words: str) -> None:
    error = pip.failure(said, "install kerbside", "log", "kerbside")
    assert (error.code, error.component) == (code, component)
    assert words in error.problem


def test_a_real_index_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pip, a port where nobody listens."""
    settings = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with lane_error("no_package_index", "environment"):
        words = ["download", "--dest", str(tmp_path), "nothing==1"], pip.environment(None), 60, "download nothing"
        pip.run(pip.program(), *words, str(tmp_path / "log"), "ryll")


def test_only_the_settings_for_an_index_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://i.test/simple\nroot = /elsewhere\n"
        "[install]\nuser = true\ndry-run = true\ntrusted-host = i.test\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    for name in ("PIP_ROOT", "PIP_TARGET", "PIP_DRY_RUN", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_CERT", "/cert")
    env = pip.environment("9/t")
    found = {name: value for name, value in env.items() if name.startswith("PIP_")}
    for ours in ("PIP_FIND_LINKS", "PIP_DEFAULT_TIMEOUT"):  # of the machine that runs the test
        found.pop(ours, None)
    given = {"PIP_INDEX_URL": "https://i.test/simple", "PIP_TRUSTED_HOST": "i.test", "PIP_CERT": "/cert"}
    ours = {"PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": pip.RETRIES, "PIP_REQUIRE_VIRTUALENV": "0"}
    assert found == given | ours
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert "root" not in listed


def test_a_project_file_that_is_broken_is_the_products_fault(tmp_path: Path) -> None:
    pip.check_project(tmp_path, "kerbside")
    (tmp_path / "pyproject.toml").write_text("[project\n")
    with lane_error("package_broken", "kerbside"):
        pip.check_project(tmp_path, "kerbside")


def test_without_any_pip_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(pip.command, "find_program", lambda name: None)
    with lane_error("no_pip", "host", match="python3-pip"):
        pip.program()
