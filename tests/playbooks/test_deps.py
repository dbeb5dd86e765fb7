"""The role deps: what it hands on, that a second run looks nowhere, and that --check on a bare machine installs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.lane.prepare import packages

SEE = "See what is missing, and prove that what is there works"


def deps(lane: Any, *args: str, **settings: Any) -> Any:
    """Claim the lane and run the role."""
    claim = {"lane_run": {"lane_id": lane.id, "lane_dir": str(lane.dir), "artifacts_dir": str(lane.artifacts)}}
    settings.setdefault("lane_cache_dir", str(lane.scratch / "cache"))
    return lane.run([{"name": "Claim", **claim}, {"name": "Install", "ansible.builtin.include_role": {"name": "deps"}}], *args, **settings)


def test_what_is_there_is_proved_once_and_handed_on(lane: Any) -> None:
    first = deps(lane)
    assert first.rc == 0, first
    facts = first.results(SEE)[0]["ansible_facts"]["lane_deps"]
    for name in ("qemu", "qemu_img", "firmware_code", "firmware_vars", "mariadbd", "mariadb_install_db", "mariadb"):
        assert Path(facts[name]).is_absolute()
        assert Path(facts[name]).exists()
    for name in ("qemu_version", "spice_version", "ovmf_version", "mariadb_version"):
        assert facts[name]
    again = deps(lane)
    assert again.changed == 0
    assert again.result(SEE)["cached"]
    assert again.result(SEE)["ansible_facts"]["lane_deps"] == facts


def test_check_mode_starts_and_writes_nothing(lane: Any) -> None:
    played = deps(lane, "--check")
    assert played.rc == 0, played
    assert not lane.dir.exists()
    assert not (lane.scratch / "cache").exists()


def test_a_missing_package_is_a_change_in_check_mode_and_a_sentence_when_apt_failed(lane: Any, tmp_path: Path) -> None:
    """A machine without firmware, made by a module_utils of its own: the package's name and the line to type are in the result."""
    root = Path(__file__).parents[2]
    bare = tmp_path / "module_utils"
    (bare / "lane").mkdir(parents=True)
    for path in (root / "module_utils/lane").iterdir():
        (bare / "lane" / path.name).symlink_to(path)
    firmware = bare / "lane/firmware.py"
    text = firmware.read_text().replace("/usr/share/OVMF/", "/nowhere/")
    firmware.unlink()
    firmware.write_text(text)
    env = {"ANSIBLE_MODULE_UTILS": str(bare)}
    table = {"debian-12": "ovmf", "debian-13": "ovmf", "ubuntu-24.04": "ovmf"}
    played = deps(lane, "--check", env=env)
    release = _release()
    if release not in table:
        assert f"on {release}, whose packages the lane does not know, these are missing: OVMF's CODE and VARS" in str(played.failures)
        return
    found = played.result(SEE)
    assert found["changed"]
    assert found["packages"] == ["ovmf"]
    assert found["missing"] == "OVMF's CODE and VARS (package ovmf)"
    asked = [{"name": "Ask", "lane_deps": {"lane_dir": "/none", "cache_dir": "/none", "packages": "{{ table }}", "failure": "sudo: a password is required"}}]
    vars_file = root / "roles/deps/vars/main.yml"
    played = lane.run([{"name": "Table", "ansible.builtin.include_vars": {"file": str(vars_file)}}, *asked], env=env, table="{{ __deps_packages }}")
    failed = played.result("Ask")
    assert failed["lane_failure"]["component"] == "host"
    line = packages.by_hand(["ovmf"])
    assert failed["msg"] == (
        "host: expected apt to install what the lane lacks (1 package), but it could not (sudo: a password is required); "
        f"the lane may not become root here; look at docs/packages.md; or by hand: {line}"
    )


def _release() -> str:
    found = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return f"{found['ID']}-{found.get('VERSION_ID', '')}".replace('"', "").rstrip("-")
