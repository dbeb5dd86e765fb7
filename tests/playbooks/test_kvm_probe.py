"""The role kvm_probe: what it chooses, what it reports, and that it probes only once."""

import json
from pathlib import Path
from typing import Any

CHOOSE = "Probe KVM by booting the firmware, and measure the machine's speed"


def accel(played: Any) -> dict[str, Any]:
    """What the role handed on."""
    return played.result(CHOOSE)["ansible_facts"]["lane_accel"]


def test_it_falls_back_and_says_why_and_remembers(lane):
    first = lane.role("kvm_probe")
    assert first.rc == 0, first
    chosen = accel(first)
    assert chosen["chosen"] in ("kvm", "tcg")
    assert (chosen["policy"], chosen["pending"]) == ("auto", False)
    assert first.result(CHOOSE)["state"] == "runs" or chosen["chosen"] == "tcg"
    again = lane.role("kvm_probe")
    assert again.changed == 0
    assert accel(again) == chosen
    if first.result(CHOOSE)["state"] in ("runs", "firmware_dies"):  # another result is not kept
        assert not first.result(CHOOSE)["cached"]
        assert again.result(CHOOSE)["cached"]
        for path in Path(lane.scratch / "cache/accel").iterdir():
            path.write_text("{")
        unreadable = lane.role("kvm_probe")
        assert not unreadable.result(CHOOSE)["cached"]
        assert accel(unreadable)["chosen"] == chosen["chosen"]


def test_never_does_not_probe_but_measures_the_speed(lane):
    played = lane.role("kvm_probe", kvm_probe_policy="never", kvm_probe_device="/dev/null")
    decided = {"chosen": "tcg", "cpu": "max", "pending": False, "policy": "never"}
    assert accel(played) == {**decided, "reason": "kvm_probe_policy is never"}
    speed = played.result(CHOOSE)["ansible_facts"]["lane_speed"]
    assert speed["time_scale"] >= 1
    assert json.loads((lane.dir / "handover/speed.json").read_text()) == speed


def test_limits_grow_with_the_measured_slowness(lane):
    """kerbside's token takes 25 s on a machine that is so slow, under KVM as well, where the limit was 20 s."""
    names = ("lane_start_limit", "lane_boot_limit", "lane_agent_limit")
    show = {"ansible.builtin.debug": {"msg": [f"{{{{ {name} | float }}}}" for name in names]}}
    shows = [{"name": f"Show {accel}", "vars": {"lane_accel": accel}, **show} for accel in ("kvm", "tcg")]
    measure = {"name": "Measure", "ansible.builtin.set_fact": {"lane_speed": {"time_scale": 3.5}, "cacheable": True}}
    play = {"name": "Test", "hosts": "lane", "gather_facts": False, "roles": ["lane"]}
    played = lane.run([{**play, "tasks": [*shows, measure, *shows]}])
    for accel, factor in (("kvm", 1), ("tcg", 2)):
        for shown, scale in zip(played.results(f"Show {accel}"), (1, 3.5), strict=True):
            assert [float(limit) for limit in shown["msg"]] == [limit * factor * scale for limit in (20, 30, 30)]
