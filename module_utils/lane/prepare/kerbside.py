"""kerbside and the proxy that belongs to it: which one that is, and both of them in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.private_dir import handed_over
from ..programs import records
from . import program, python_env
from .origin import CHECKOUT, CRATES, GIT, INDEX, KERBSIDE, PROXY, RYLL, Origin, brought_by, parse
from .program import removed_words
from .source import Place, provenance, record, resolve, sha256


@dataclass(frozen=True)
class Installed:
    """facts: for the roles after it; origins: of origins.json; cached: nothing was made; note: for the terminal."""

    facts: dict[str, Any]
    origins: dict[str, dict[str, Any]]
    cached: bool
    note: str


def planned(place: Place, origin: Origin, without: tuple[str, ...]) -> dict[str, Any] | None:
    """What the cache has of it, as far as that can be known without asking anybody."""
    if origin.kind not in (INDEX, CHECKOUT):
        return None
    source = resolve(KERBSIDE, origin, place, python_env.belongs)
    own = (PROXY.distribution,) if brought_by(PROXY, origin) else ()
    found = python_env.find(place.cache_dir, python_env.Environment(source, (*without, *own)))
    return {**found, "proxy": f"{found['bin']}/{PROXY.crate}"} if found else None


def install(
    place: Place, origin: Origin, proxy_origin: Origin | None, proxy_bin: str, without: tuple[str, ...]
) -> Installed:
    """Provide both. proxy_bin: the caller's own, then nothing is provided in its place.

    Raises LaneError like python_env.build and program.provide.
    """
    source = resolve(KERBSIDE, origin, place, python_env.belongs)
    named = None if proxy_bin else proxy_origin or brought_by(PROXY, origin)
    left_out = (*without, PROXY.distribution) if named or proxy_bin else without
    wanted = python_env.Environment(source, left_out)
    found, removed = python_env.find(place.cache_dir, wanted), list[str]()
    cached = found is not None
    if found is None:
        found, removed = python_env.build(place, wanted)
    version = found["versions"].get(KERBSIDE.distribution)
    note = f"kerbside {version}, {'from the cache' if cached else 'installed'}"
    note += (f", of {source.words()}" if origin.kind != INDEX else "") + removed_words(tuple(removed))
    origins = {"kerbside": source.provenance(version, found["sha256"])}
    versions, path = dict(found["versions"]), f"{found['bin']}/{PROXY.crate}"
    if proxy_bin:
        path = proxy_bin
        digest = sha256(Path(proxy_bin)) if Path(proxy_bin).is_file() else None
        origins["proxy"] = provenance("environment", f"KERBSIDE_PROXY_BIN={proxy_bin}", sha256=digest)
        note += "; kerbside-proxy as KERBSIDE_PROXY_BIN names it"
    elif named:
        proxy = resolve(PROXY, named, place, program.belongs_to_proxy)
        made = program.provide(place, PROXY, proxy)
        path, cached = made.path, cached and made.cached
        versions[PROXY.distribution] = made.version
        origins["proxy"] = made.origin
        how = "from the cache" if made.cached else "built" if named.kind in (GIT, CHECKOUT) else "fetched"
        note += f"; its own kerbside-proxy, {how}" if not proxy_origin else f"; {made.note('kerbside-proxy', proxy)}"
    else:
        version = versions.get(PROXY.distribution)
        required = f"{PROXY.distribution}=={version}, required by kerbside"
        origins["proxy"] = provenance("dependency", required, version, sha256(Path(path)))
    facts = {"bin": found["bin"], "python": found["python"], "versions": versions, "proxy": path}
    return Installed(facts, origins, cached, note)


def builds(place: Place, origins: dict[str, Any], git: bool) -> bool:
    """Whether cargo has to build something: a source that the cache has nothing of. origins: as lane_deps takes them;
    git: whether there is one.
    """
    here = origins.get("here") or "/"
    kerbside = parse(KERBSIDE, origins["kerbside"], here)
    for product, named in (
        (PROXY, parse(PROXY, origins["proxy"], here) or brought_by(PROXY, kerbside)),
        (RYLL, parse(RYLL, origins["ryll"], here)),
    ):
        if named and named.kind in (GIT, CHECKOUT, CRATES):
            if named.kind == GIT and not git:
                return True
            belongs = program.belongs_to_proxy if product is PROXY else bool
            features = tuple(sorted(origins["features"])) if product is RYLL else ()
            if program.find(place, product, resolve(product, named, place, belongs), features) is None:
                return True
    return False


def note_running(lane_dir: str) -> None:
    """Take the proxy's sha256 from the process that runs, the daemon's child, whatever was meant to run."""
    daemon = records.record(lane_dir, "daemon")
    seen = program.running(daemon.pid, (PROXY.crate,)) if daemon and daemon.pid else None
    known = handed_over(lane_dir).get("lane_origins", {})
    if seen and "proxy" in known:
        record(lane_dir, proxy={**known["proxy"], "sha256": seen["sha256"]})
