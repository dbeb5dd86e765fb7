"""The role kvm_probe: what it chooses, what it reports, and that it probes only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CHOOSE = "Probe KVM by booting the firmware, and measure the machine's speed"


def probe(lane: Any, *args: str, **settings: Any) -> Any:
    """Claim the lane and run the role."""
    claim = {"lane_run": {"lane_id": lane.id, "lane_dir": str(lane.dir), "artifacts_dir": str(lane.artifacts)}}
    settings.setdefault("lane_cache_dir", str(lane.scratch / "cache"))
    return lane.run(
        [{"name": "Claim", **claim}, {"name": "Probe", "ansible.builtin.include_role": {"name": "kvm_probe"}}],
        *args,
        **settings,
    )


def accel(played: Any) -> dict[str, Any]:
    """What the role handed on."""
    return played.result(CHOOSE)["ansible_facts"]["lane_accel"]


def test_it_falls_back_and_says_why_and_remembers(lane: Any) -> None:
    first = probe(lane)
    assert first.rc == 0, first
    chosen = accel(first)
    assert chosen["chosen"] in ("kvm", "tcg")
    assert (chosen["policy"], chosen["pending"]) == ("auto", False)
    assert first.result(CHOOSE)["state"] == "runs" or chosen["chosen"] == "tcg"
    again = probe(lane)
    assert again.changed == 0
    assert accel(again) == chosen
    if first.result(CHOOSE)["state"] in ("runs", "firmware_dies"):  # another result is not kept
        assert not first.result(CHOOSE)["cached"]
        assert again.result(CHOOSE)["cached"]
        for path in Path(lane.scratch / "cache/accel").iterdir():
            path.write_text("{")
        unreadable = probe(lane)
        assert not unreadable.result(CHOOSE)["cached"]
        assert accel(unreadable)["chosen"] == chosen["chosen"]


@pytest.mark.parametrize(
    ("device", "reason"),
    [("/dev/null", "/dev/null is not KVM: device 1:3 answers"), ("/dev/no-such-kvm", "there is no /dev/no-such-kvm;")],
)
def test_require_fails_with_reason_and_component(lane: Any, device: str, reason: str) -> None:
    played = probe(lane, kvm_probe_policy="require", kvm_probe_device=device)
    assert played.rc != 0
    failed = played.result(CHOOSE)
    assert (failed["lane_failure"]["component"], failed["lane_failure"]["code"]) == ("host", "kvm_unusable")
    assert reason in failed["msg"]


def test_never_does_not_probe_but_measures_the_speed(lane: Any) -> None:
    played = probe(lane, kvm_probe_policy="never", kvm_probe_device="/dev/null")
    assert accel(played) == {
        "chosen": "tcg",
        "cpu": "max",
        "pending": False,
        "policy": "never",
        "reason": "kvm_probe_policy is never",
    }
    speed = played.result(CHOOSE)["ansible_facts"]["lane_speed"]
    assert speed["time_scale"] >= 1
    assert json.loads((lane.dir / "handover/speed.json").read_text()) == speed


@pytest.mark.parametrize(("accelerator", "factor"), [("kvm", 1), ("tcg", 2)])
def test_limits_grow_with_the_measured_slowness(lane: Any, accelerator: str, factor: int) -> None:
    """kerbside's token takes 25 s on a machine that is so slow, under KVM as well, where the limit was 20 s."""
    names = ("lane_start_limit", "lane_boot_limit", "lane_agent_limit")
    show = {"name": "Show", "ansible.builtin.debug": {"msg": {name: f"{{{{ {name} | float }}}}" for name in names}}}
    measure = {"name": "Measure", "ansible.builtin.set_fact": {"lane_speed": {"time_scale": 3.5}, "cacheable": True}}
    for tasks, scale in (([measure, show], 3.5), ([show], 1)):
        found = lane.run(
            [{"name": "Test", "hosts": "lane", "gather_facts": False, "roles": ["lane"], "tasks": tasks}],
            lane_accel=accelerator,
        ).result("Show")["msg"]
        assert [float(found[name]) for name in names] == [20 * factor * scale, 30 * factor * scale, 30 * factor * scale]
