"""Where each product under test came from: the `origins` of result.json."""

from __future__ import annotations

from typing import Any

KEYS = ("kind", "source", "version", "commit", "dirty", "sha256")


def origins(known: dict[str, dict[str, Any]], guests: list[str]) -> dict[str, dict[str, Any]]:
    """{product: {kind, source, version, commit, dirty, sha256}}, null for what is not known.

    The products are kerbside, proxy, ryll, and image_GUEST for each guest. known: the hand-over files. `origins` says
    it for each product; where it does not, the files of the roles that install the product are asked.
    """
    kerbside, ryll, guest = (known.get(f"lane_{name}", {}) for name in ("kerbside", "ryll", "guest"))
    versions = kerbside.get("versions", {})
    asked = {
        "kerbside": {"source": kerbside.get("requirement"), "version": versions.get("kerbside")},
        "proxy": {"source": kerbside.get("requirement"), "version": versions.get("kerbside-proxy")},
        "ryll": {
            "kind": ryll.get("method"),
            "source": ryll.get("ref"),
            "version": ryll.get("version"),
            "commit": ryll.get("commit"),
        },
        **{f"image_{name}": {} for name in guests},
    }
    if guest.get("name") in guests:
        asked[f"image_{guest['name']}"] = {"source": guest.get("path"), "sha256": guest.get("sha256")}
    built = known.get("lane_origins", {})
    return {product: {key: {**asked[product], **built.get(product, {})}.get(key) for key in KEYS} for product in asked}
