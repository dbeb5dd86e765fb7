"""The actor that asks kerbside what it hands out to its proxy for a token: it tells a proxy that ignores its orders
from a kerbside that gave other ones.
"""

from __future__ import annotations

from typing import Any

from ...core.errors import LaneError, one_line
from ...protocols import control_service, kerbside_api
from ...protocols.spice_link import CHANNELS
from .engine import Play, Unmet
from .plan import Actor, Option, Step
from .stage import ANSWER, read_text

#: What kerbside hands out of the entry of a console in its sources.
TARGET = ("uuid", "hypervisor_ip", "insecure_port", "secure_port", "ticket", "host_subject")
#: The channel that is registered for it, as kerbside's API has to list it.
CHANNEL = {"client_ip": "127.0.0.3", "client_port": 12345, "channel_type": "main", "connection_id": 7}


def handed_out(play: Play, step: Step, options: dict[str, Any], deadline: float) -> str:
    """kerbside hands out what its sources say of the console (address, ports, ticket, CA and subject), whose session
    it is, and what its settings say of the firewall; and its API lists the channel that is registered.

    wrong: it hands out something else, or nothing.
    """
    place = play.lane.place
    wanted = {**expected(play, options["of"]), **firewall(play.lane.settings)}
    channel = {"node": f"lane-{play.lane.run.lane_id}", **CHANNEL}  # of this node: a daemon that starts clears it
    wanted |= {"session_id": play.value(options["console"])["session"], "channel": channel}
    more = {
        "channel": channel,
        "sessions": f"http://{place.address}:{place.api_port}/session",
        "headers": kerbside_api.headers(play.lane.token()),
    }
    token = play.value(options["console"])["password"] if options["password"] is None else options["password"]
    python, mark = place.database_python, play.lane.run.mark
    done = control_service.query(python, place.lane_dir, mark, token, ANSWER, **more)
    if done.status:
        problem = f"kerbside does not tell what it hands out: {one_line(done.said, 200)}"
        raise LaneError("suite_not_handed_out", "kerbside", problem, evidence=play.lane.log("daemon"))
    found = control_service.answer(done)
    differ = [name for name in wanted if found is None or found[name] != wanted[name]]
    what = f"another {', '.join(differ)}" if differ else "what its sources and settings say"
    said = f"kerbside hands out {what}"  # never the values: some are secret
    if bool(differ) != options["wrong"]:
        raise Unmet("suite_not_handed_out", said)
    return said


def firewall(settings: dict[str, str]) -> dict[str, Any]:
    """The mode and the permitted channels that kerbside's settings say; no channels: all."""
    mode = {"warn": "WARN_ONLY"}.get(settings.get("KERBSIDE_FIREWALL_MODE", ""), "ENFORCE")
    names = settings.get("KERBSIDE_FIREWALL_PERMITTED_CHANNELS", "").split(",")
    return {"mode": mode, "channels": sorted(CHANNELS[name] for name in names if name)}


def expected(play: Play, of: str | None) -> dict[str, Any]:
    """What the sources say of a console of the suite, or of the guest's."""
    place = play.lane.place
    source: dict[str, Any] = {"source": place.source}
    console = {"uuid": place.uuid, "hypervisor_ip": place.address, "insecure_port": place.spice_port}
    if of is None:
        console["ticket"] = read_text(place.ticket_file)
    else:
        source = play.lane.machines.source(of)
        console = {name: value for name, value in source["consoles"][0].items() if name in TARGET}
    optional = {"secure_port": console.get("secure_port", 0), "host_subject": console.get("host_subject", "")}
    return {**console, **optional, "ca_cert": source.get("ca_cert", ""), "source": source["source"]}


ACTORS: dict[str, Actor] = {
    "handed_out": Actor(
        {
            "console": Option("word", required=True, refers=("console",)),
            "of": Option("word", refers=("consoles",)),
            "password": Option("text"),
            "wrong": Option("truth", False),
        },
        handed_out,
        "kerbside",
        "daemon",
    )
}
