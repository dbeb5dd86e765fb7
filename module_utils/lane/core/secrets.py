"""The secrets of a run: what they are, the forms that they can take in a text, and how they are masked in what the lane
says.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import urllib.parse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .private_dir import write_private

SHORTEST = 8  #: bytes; anything shorter would be found everywhere
#: The private number of an EC key in DER: version 1, then an octet string of 32, 48 or 66 bytes (RFC 5915, 3).
EC_NUMBER = re.compile(rb"\x02\x01\x01\x04([\x20\x30\x42])", re.DOTALL)
#: What people call the files in `secrets`.
WORDS = {"spice_ticket": "SPICE ticket", "api_seed": "API seed"}


@dataclass(frozen=True)
class Secret:
    """One secret: the name of its file, and its bytes."""

    name: str
    value: bytes

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        if self.name.startswith("tls/"):
            return f"private key {self.name}"
        return WORDS.get(self.name, re.sub(r"-\d+$", "", self.name).replace("_", " "))

    @property
    def masked(self) -> str:
        """Enough to tell which of two it was, and no more."""
        start = self.value[:2].decode("ascii", errors="replace")
        return f"{self.name}, {start}..." if start.isprintable() and start.isascii() else self.name

    @cached_property
    def forms(self) -> dict[str, list[bytes]]:
        """How it may look: {form: needles}. Plain, hex, percent-encoded, base64 at any alignment in both alphabets."""
        digits = self.value.hex()
        pairs = [digits[i : i + 2] for i in range(0, len(digits), 2)]
        quoted = [
            urllib.parse.quote_from_bytes(self.value, safe=""),
            urllib.parse.quote_from_bytes(self.value, safe="/"),
            urllib.parse.quote_plus(self.value),
        ]
        quoted += [re.sub("%..", lambda found: found.group().lower(), text) for text in quoted]
        whole = "".join(f"%{pair}" for pair in pairs)
        needles = [_base64(self.value, shift, alphabet) for shift in range(3) for alphabet in (b"+/", b"-_")]
        return {
            "plain": [self.value],
            "hex": [form.encode() for text in (digits, ":".join(pairs)) for form in (text, text.upper())],
            "percent-encoded": [text.encode() for text in (whole, whole.upper(), *quoted)],
            "base64": list(dict.fromkeys(needles)),
        }


def _base64(value: bytes, shift: int, alphabet: bytes) -> bytes:
    """The base64 digits that depend on nothing but value, when it begins `shift` bytes into a group of three."""
    text = base64.b64encode(bytes(shift) + value, alphabet)
    return text[(shift * 8 + 5) // 6 : (shift + len(value)) * 8 // 6]


def register(lane_dir: str, name: str, value: str) -> None:
    """Remember one more secret of this run, as secrets/NAME-N."""
    folder = Path(lane_dir, "secrets")
    write_private(folder / f"{name}-{len(list(folder.glob(f'{name}-*'))) + 1}", value.encode())


def newest(lane_dir: str, name: str) -> Path | None:
    """The file of the secret that was registered last by this name."""
    files = Path(lane_dir, "secrets").glob(f"{name}-*")
    return max(files, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def of_lane(lane_dir: str) -> list[Secret]:
    """The files in secrets/, the signature of a bearer token, and the private numbers of the keys in tls/."""
    found = []
    for path in sorted(Path(lane_dir, "secrets").glob("*")):
        # init.sql holds the database password and SQL
        if path.is_file() and path.suffix != ".sql" and not path.name.startswith("."):
            value = path.read_bytes().strip()
            found.append(Secret(path.name, value))
            if value.count(b".") == 2:  # a JWT: its first two parts are no secret by themselves
                found.append(Secret(f"{path.name}'s signature", value.rpartition(b".")[2]))
    for path in sorted(Path(lane_dir, "tls").glob("*.pem")):
        text = path.read_text(encoding="ascii", errors="replace")
        for body in re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----([^-]+)-----END", text):
            found.append(Secret(f"tls/{path.name}", _private_number(body)))
    return [s for s in found if len(s.value) >= SHORTEST]


def _private_number(body: str) -> bytes:
    try:
        der = base64.b64decode("".join(body.split()))
    except binascii.Error:
        return b""
    at = EC_NUMBER.search(der)
    return der[at.end() : at.end() + at.group(1)[0]] if at else der


def mask(text: str, secrets: list[Secret]) -> str:
    """The text with every secret, in whatever form, replaced by its name in brackets."""
    for secret in sorted(secrets, key=lambda s: -len(s.value)):
        for needles in secret.forms.values():
            for needle in needles:
                with contextlib.suppress(UnicodeDecodeError):
                    text = text.replace(needle.decode(), f"({secret.name})")
    return text


def masked(lane_dir: str, values: dict[str, Any]) -> dict[str, Any]:
    """The same values, JSON's kinds only, without the secrets of a run."""
    secrets = of_lane(lane_dir)
    if not secrets:
        return values
    result: dict[str, Any] = json.loads(mask(json.dumps(values), secrets))
    return result
