"""The lane on the oldest and the newest ansible-core that it supports; every other test runs it on the pinned one.

tests/requirements has what differs from requirements.txt. `./lane` makes the .venv of a copied checkout from both.
"""

import json
import re
from pathlib import Path

import pytest
from bare_trees import bare_tree, obstacle, packages_of_a_lane, pip_cache
from whole_lanes import ROOT, SIGNALS, Started, copy_checkout

pytestmark = pytest.mark.slow
OLDEST, NEWEST = "2.16", "2.21"
PACKAGE = re.compile(r"^([\w-]+)==.*(?:\n +--hash=.*)+\n", re.MULTILINE)


def checkout_on(version: str, home: Path) -> Path:
    """A copy of this checkout that requires another ansible-core."""
    copy_checkout(home)
    text = (ROOT / f"tests/requirements/ansible-{version}.txt").read_text(encoding="utf-8")
    other = {found[1]: found[0] for found in PACKAGE.finditer(text)}
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert set(other) <= {found[1] for found in PACKAGE.finditer(pinned)}
    mixed = PACKAGE.sub(lambda found: other.get(found[1], found[0]), pinned)
    (home / "requirements.txt").write_text(mixed, encoding="utf-8")
    return home


def test_the_oldest_ansible_core(place):
    """Modules are not forked there: every one of them runs as Ansible's own `normal` has it."""
    checkout = checkout_on(OLDEST, place.base / "checkout")
    place.env["PIP_CACHE_DIR"] = pip_cache()

    def play(*options: str) -> tuple[int, list[str]]:
        run = Started([*SIGNALS, str(checkout / "lane"), *options, *place.options], place.environment(), cwd=checkout)
        return run.wait(600), run.lines

    status, lines = play()
    assert status == 0 and lines[-1].startswith(f"LANE PASS lane {place.id}: 15 of 15 checks"), "\n".join(lines[-30:])
    assert any(line.startswith("smoke ") and "hello, status, screenshot" in line for line in lines), lines
    assert not [line for line in lines if line.startswith(("TASK", "warning: ", "[WARNING]", "[DEPRECATION"))], lines
    assert place.result["versions"]["ansible"].startswith(f"{OLDEST}.")
    log = (place.artifacts / "logs/ansible.log").read_text()
    assert "TASK [smoke : Check what ryll sees, and the lane from outside]" in log

    status, lines = play("-e", "lane_guest=uncalibrated lane_image_origin=/etc/os-release")
    assert status == 2 and lines[-1].startswith("LANE FAIL environment: "), "\n".join(lines[-30:])
    assert any(re.match(r"sextant_vm +\d+\.\d s  FAILED: ", line) for line in lines), lines
    assert place.seconds_until_gone()[1] == []


def test_the_newest_ansible_core_on_a_bare_debian_13(number):
    """It needs a newer Python than this machine may have. The machine gets what the lane needs, and nothing else."""
    if why := obstacle():
        pytest.skip(why)
    with bare_tree("debian-13") as tree:
        checkout_on(NEWEST, tree.path / "srv/lane")
        command = ["/srv/lane/lane", "-e", f"lane_id={number}", "-e", "lane_cache_dir=/srv/cache"]
        had, spice = tree.chosen(), "qemu-system-modules-spice"
        green = tree.run(*command, limit=1200)
        assert green.returncode == 0, green.stdout[-3000:]
        last = green.stdout.splitlines()[-1]
        assert last.startswith(f"LANE PASS lane {number}: 15 of 15 checks"), green.stdout[-3000:]
        result = json.loads((tree.path / f"srv/lane/artifacts/lane-{number}/result.json").read_text())
        assert result["versions"]["ansible"].startswith(f"{NEWEST}.")
        # Ansible's apt module brings python3-apt along.
        assert tree.chosen() - had == packages_of_a_lane("debian-13") | {"python3-apt"}
        assert tree.run("dpkg", "--purge", spice).returncode == 0
        red = tree.run(*command, "-e", "lane_guest=uncalibrated lane_image_origin=/etc/os-release", limit=300)
        last = red.stdout.splitlines()[-1]
        assert red.returncode == 2 and last.startswith("LANE FAIL environment: "), red.stdout[-3000:]
        assert spice in tree.installed()
