"""kerbside and the proxy that belongs to it: which one that is, and both of them in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.private_dir import handed_over
from ..programs import records
from . import program, python_env
from .origin import CHECKOUT, GIT, INDEX, KERBSIDE, PROXY, RYLL, Origin, brought_by, parse
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
    source = resolve(KERBSIDE, origin, place)
    own = (PROXY.package,) if brought_by(PROXY, origin) else ()
    found = python_env.find(place.cache_dir, python_env.Environment(source, (*without, *own)))
    return {**found, "proxy": f"{found['bin']}/{PROXY.package}"} if found else None


def install(
    place: Place, origin: Origin, proxy_origin: Origin | None, proxy_bin: str, without: tuple[str, ...]
) -> Installed:
    """Provide both. proxy_bin: the caller's own, then nothing is provided in its place.

    Raises LaneError like python_env.build and program.provide.
    """
    source = resolve(KERBSIDE, origin, place)
    named = None if proxy_bin else proxy_origin or brought_by(PROXY, origin)
    left_out = (*without, PROXY.package) if named or proxy_bin else without
    wanted = python_env.Environment(source, left_out)
    found, removed = python_env.find(place.cache_dir, wanted), list[str]()
    cached = found is not None
    if found is None:
        found, removed = python_env.build(place, wanted)
    versions, path = dict(found["versions"]), f"{found['bin']}/{PROXY.package}"
    version = versions.get(KERBSIDE.package)
    note = program.note(f"kerbside {version}, {'from the cache' if cached else 'installed'}", source, removed)
    origins = {"kerbside": source.provenance(version, found["sha256"])}
    if proxy_bin:
        path = proxy_bin
        digest = sha256(Path(proxy_bin)) if Path(proxy_bin).is_file() else None
        origins["proxy"] = provenance("environment", f"KERBSIDE_PROXY_BIN={proxy_bin}", sha256=digest)
        note += "; kerbside-proxy as KERBSIDE_PROXY_BIN names it"
    elif named:
        proxy = resolve(PROXY, named, place)
        made = program.provide(place, program.Wanted(PROXY, proxy))
        path, cached = made.path, cached and made.cached
        versions[PROXY.package] = made.version
        origins["proxy"] = made.origin
        own = f"its own kerbside-proxy, {made.how(proxy)}"
        words = made.note("kerbside-proxy", proxy) if proxy_origin else own
        note += f"; {words}"
    else:
        version = versions.get(PROXY.package)
        required = f"{PROXY.package}=={version}, required by kerbside"
        origins["proxy"] = provenance("dependency", required, version, sha256(Path(path)))
    facts = {"bin": found["bin"], "python": found["python"], "versions": versions, "proxy": path}
    return Installed(facts, origins, cached, note)


def builds(place: Place, origins: dict[str, Any], git: bool) -> bool:
    """Whether cargo has to build something: a source that the cache has nothing of. origins: as lane_deps takes them;
    git: whether there is one.
    """
    here = origins.get("here") or "/"
    kerbside, proxy, ryll = (parse(product, origins[product.name], here) for product in (KERBSIDE, PROXY, RYLL))
    for product, named, features in (
        (PROXY, proxy or brought_by(PROXY, kerbside), ()),
        (RYLL, ryll, tuple(sorted(origins["features"]))),
    ):
        if named is None or not named.is_source:
            continue
        if named.kind == GIT and not git:
            return True
        if program.find(place, program.Wanted(product, resolve(product, named, place), features)) is None:
            return True
    return False


def note_running(lane_dir: str) -> None:
    """Take the proxy's sha256 from the process that runs, the daemon's child, whatever was meant to run."""
    daemon = records.record(lane_dir, "daemon")
    seen = program.running(daemon.pid, PROXY.package) if daemon and daemon.pid else None
    known = handed_over(lane_dir).get("lane_origins", {})
    if seen and "proxy" in known:
        record(lane_dir, proxy={**known["proxy"], "sha256": seen})
