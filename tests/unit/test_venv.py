"""Environments for kerbside: built once from a checkout, found again, built anew when the checkout changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import python_env

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
#: A build backend of a page, so that no test needs a registry: it writes one wheel by hand.
BACKEND = """
import zipfile
NAME, VERSION = "tinyside", open("VERSION").read().strip()
def build_wheel(folder, config=None, metadata=None):
    name = f"{NAME}-{VERSION}-py3-none-any.whl"
    info = f"{NAME}-{VERSION}.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("tinyside.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\nRequires-Dist: mysqlclient==2.3.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "tinyside"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "VERSION").write_text("1.0")
    return folder


def wish(requirement: str, **more: tuple[str, ...]) -> python_env.Venv:
    return python_env.Venv(requirement, "tinyside", **{"without": ("mysqlclient",), **more})


@pytest.mark.slow
def test_a_checkout_is_built_as_it_stands_and_again_when_it_changes(tmp_path: Path, checkout: Path) -> None:
    cache = str(tmp_path / "cache")
    assert python_env.find(cache, wish(str(checkout))) is None
    built = python_env.build(cache, wish(str(checkout)), 120, str(tmp_path / "log"))
    assert built["versions"]["tinyside"] == "1.0"
    assert "mysqlclient" not in built["versions"]
    assert python_env.find(cache, wish(str(checkout))) == built
    assert python_env.build(cache, wish(str(checkout)), 120, str(tmp_path / "log")) == built
    (checkout / "VERSION").write_text("1.1")
    assert python_env.find(cache, wish(str(checkout))) is None
    assert python_env.build(cache, wish(str(checkout)), 120, str(tmp_path / "log"))["versions"]["tinyside"] == "1.1"
    subprocess.run([built["python"], "-c", "import tinyside"], check=True)


@pytest.mark.slow
def test_what_pip_refuses_is_told_in_its_own_words(tmp_path: Path, checkout: Path) -> None:
    (checkout / "backend.py").write_text("raise RuntimeError('no compiler here')")
    with pytest.raises(LaneError, match=r"^environment: expected pip to install \S+/tinyside, but it ended with status \d+: .*error") as caught:
        python_env.build(str(tmp_path / "cache"), wish(str(checkout)), 120, str(tmp_path / "log"))
    assert "no compiler here" in Path(caught.value.where).read_text()
    assert python_env.find(str(tmp_path / "cache"), wish(str(checkout))) is None


def test_the_key_follows_everything_that_matters(checkout: Path) -> None:
    keys = {
        wish("kerbside==0.8.0").key(),
        wish("kerbside==0.8.1").key(),
        wish("kerbside==0.8.0", extra=("x",)).key(),
        wish("kerbside==0.8.0", without=()).key(),
        wish(str(checkout)).key(),
    }
    assert len(keys) == 5
    assert wish(str(checkout)).key() == wish(str(checkout)).key()


def test_a_directory_is_a_checkout_and_a_name_is_not(checkout: Path) -> None:
    assert wish(str(checkout)).checkout == checkout
    assert wish(f"file://{checkout}").checkout == checkout
    assert wish("tinyside").checkout is None
    assert wish("tinyside @ https://example.invalid/x.tar.gz").checkout is None
