"""The secrets of a run as canaries: what they look like when they have leaked, where they are looked for, and what is done about it.

A canary is found plain, in hex, in base64 at any alignment (both alphabets), percent-encoded; broken over lines or with the line breaks escaped; inside
zip, tar, gzip, bzip2 and xz files, one in another; and in the compressed text chunks of PNG files. docs/no-trace.md lists what this leaves out.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import contextlib
import io
import json
import lzma
import os
import re
import struct
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.private_dir import write_private

SHORTEST = 8  #: bytes; anything shorter would be found everywhere
DEEPEST = 4  #: archives in archives
LARGEST = 256 << 20  #: bytes that one file may unpack to; more is held back unread
PNG = b"\x89PNG\r\n\x1a\n"
#: The private number of an EC key in DER: version 1, then an octet string of 32, 48 or 66 bytes (RFC 5915, 3).
EC_NUMBER = re.compile(rb"\x02\x01\x01\x04([\x20\x30\x42])", re.DOTALL)
#: Line breaks and blanks, and line breaks as JSON and others escape them.
BREAK = re.compile(rb"\s|\\[nr]")
#: Compressed files: how they begin, their name, and what unpacks one stream.
STREAMS: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", "gzip", lambda: zlib.decompressobj(31)),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", "xz", lzma.LZMADecompressor),
)
#: What a broken archive may raise. It is searched as far as it can be read; its raw bytes are searched in any case.
UNREADABLE = (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


@dataclass(frozen=True)
class Canary:
    """One secret: the name of its file, and its bytes."""

    name: str
    value: bytes

    @property
    def masked(self) -> str:
        """Enough to tell which of two it was, and no more."""
        start = self.value[:2].decode("ascii", errors="replace")
        return f"{self.name}, {start}..." if start.isprintable() and start.isascii() else self.name

    def forms(self) -> dict[str, list[bytes]]:
        """How it may look: {form: needles}."""
        digits = self.value.hex()
        pairs = [digits[i : i + 2] for i in range(0, len(digits), 2)]
        quoted = [urllib.parse.quote_from_bytes(self.value, safe=""), urllib.parse.quote_from_bytes(self.value, safe="/"), urllib.parse.quote_plus(self.value)]
        quoted += [re.sub("%..", lambda found: found.group().lower(), text) for text in quoted]
        texts = {
            "plain": [self.value],
            "hex": [digits.encode(), digits.upper().encode(), ":".join(pairs).encode(), ":".join(pairs).upper().encode()],
            "percent-encoded": [t.encode() for t in ("".join(f"%{p}" for p in pairs), "".join(f"%{p.upper()}" for p in pairs), *quoted)],
        }
        needles = [_base64(self.value, shift, alphabet) for shift in range(3) for alphabet in (b"+/", b"-_")]
        return {**texts, "base64": list(dict.fromkeys(needles))}


def _base64(value: bytes, shift: int, alphabet: bytes) -> bytes:
    """The base64 digits that depend on nothing but value, when it begins `shift` bytes into a group of three."""
    text = base64.b64encode(bytes(shift) + value, alphabet)
    return text[(shift * 8 + 5) // 6 : (shift + len(value)) * 8 // 6]


@dataclass(frozen=True)
class Leak:
    """A canary in a file. path: below the artifacts; line: from 1; inside: the member of an archive, or "".

    canary: None for a file that could not be searched."""

    path: str
    line: int
    inside: str
    form: str
    canary: Canary | None

    def __str__(self) -> str:
        what = f"{self.form}: {self.canary.masked}" if self.canary else self.form
        return f"{self.path}:{self.line} ({what}{', inside ' + self.inside if self.inside else ''})"


def register(lane_dir: str, name: str, value: str) -> None:
    """Remember one more secret of this run, as secrets/NAME-N."""
    folder = Path(lane_dir, "secrets")
    write_private(folder / f"{name}-{len(list(folder.glob(f'{name}-*'))) + 1}", value.encode())


def of_lane(lane_dir: str) -> list[Canary]:
    """All secrets of the run that are there: the files in secrets/, the signature of a bearer token, and the private numbers of the keys in tls/."""
    found = []
    for path in sorted(Path(lane_dir, "secrets").glob("*")):
        if path.is_file() and path.suffix != ".sql" and not path.name.startswith("."):  # init.sql holds the database password and SQL
            value = path.read_bytes().strip()
            found.append(Canary(path.name, value))
            if value.count(b".") == 2:  # a JWT: its first two parts are no secret by themselves
                found.append(Canary(f"{path.name}'s signature", value.rpartition(b".")[2]))
    for path in sorted(Path(lane_dir, "tls").glob("*.pem")):
        text = path.read_text(encoding="ascii", errors="replace")
        for body in re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----([^-]+)-----END", text):
            found.append(Canary(f"tls/{path.name}", _private_number(body)))
    return [c for c in found if len(c.value) >= SHORTEST]


def _private_number(body: str) -> bytes:
    try:
        der = base64.b64decode("".join(body.split()))
    except binascii.Error:
        return b""
    at = EC_NUMBER.search(der)
    return der[at.end() : at.end() + at.group(1)[0]] if at else der


def search(data: bytes, canaries: list[Canary]) -> Iterator[tuple[Canary, str, int]]:
    """(canary, form, line) of each canary in data, the first place and form of each."""
    folded = BREAK.sub(b"", data)
    for canary in canaries:
        for form, needles in canary.forms().items():
            at = next((i for needle in needles if (i := _find(data, folded, needle)) >= 0), -1)
            if at >= 0:
                yield canary, form, data.count(b"\n", 0, at) + 1
                break


def _find(data: bytes, folded: bytes, needle: bytes) -> int:
    """Where needle begins in data, breaks left out of account; -1 when it is not there."""
    if (at := data.find(needle)) >= 0 or len(folded) == len(data):
        return at
    at = folded.find(needle)
    if at < 0:
        return -1
    gone = 0
    for found in BREAK.finditer(data):
        if found.start() - gone > at:
            break
        gone += len(found.group())
    return at + gone


class TooLarge(Exception):
    """A file unpacks to more than LARGEST."""


def unpacked(data: bytes, budget: list[int], inside: str = "", depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """(name inside, bytes) of the data itself and of all that is packed in it. budget: the bytes that may still be unpacked; raises TooLarge."""
    yield inside, data
    if depth >= DEEPEST:
        return
    for name, content in _members(data, budget):
        yield from unpacked(content, budget, f"{inside}/{name}" if inside else name, depth + 1)


def _members(data: bytes, budget: list[int]) -> Iterator[tuple[str, bytes]]:
    if data.startswith(PNG):
        yield from _png_texts(data, budget)
    with contextlib.suppress(*UNREADABLE):
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for entry in archive.infolist():
                    with archive.open(entry) as stream:
                        yield entry.filename, _read(stream, budget)
        elif data[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    if member.isfile() and (content := tar.extractfile(member)):
                        yield member.name, _read(content, budget)
        else:
            yield from ((name, _inflated(make, data, budget)) for magic, name, make in STREAMS if data.startswith(magic))


def _inflated(make: Callable[[], Any], data: bytes, budget: list[int]) -> bytes:
    """A compressed file of one or more streams, whole or broken off."""
    parts = []
    with contextlib.suppress(*UNREADABLE):
        while data:
            stream = make()
            parts.append(stream.decompress(data, budget[0] + 1))
            budget[0] -= len(parts[-1])
            if budget[0] < 0:
                raise TooLarge
            data = stream.unused_data
    return b"".join(parts)


def _read(stream: Any, budget: list[int]) -> bytes:
    """All that can be read of a stream, whole or broken off."""
    parts = []
    with contextlib.suppress(*UNREADABLE):
        while part := stream.read(1 << 16):
            parts.append(part)
            budget[0] -= len(part)
            if budget[0] < 0:
                raise TooLarge
    return b"".join(parts)


def _png_texts(data: bytes, budget: list[int]) -> Iterator[tuple[str, bytes]]:
    """The compressed text chunks (PNG, 11.3.3: zTXt and iTXt); what is not compressed is found in the file itself."""
    at = len(PNG)
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        at += 12 + size
        rest = body.partition(b"\0")[2]  # behind the keyword: the method; for iTXt a flag, the method, language\0 and translated keyword\0
        packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" and rest[:1] == b"\1" else b""
        if packed:
            text = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                plain = text.decompress(packed, budget[0] + 1)
                budget[0] -= len(plain)
                if budget[0] < 0:
                    raise TooLarge
                yield kind.decode(), plain


def find_leaks(artifacts: Path, canaries: list[Canary]) -> list[Leak]:
    """The first leak of each canary in each file below the artifacts, names of files and targets of links included; the files are left as they are."""
    leaks = []
    for path in sorted(p for p in artifacts.rglob("*") if p.is_symlink() or not p.is_dir()):
        name = str(path.relative_to(artifacts))
        data = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        shown = mask(name, canaries)
        mine = {canary: Leak(shown, 1, "its name", form, canary) for canary, form, _ in search(os.fsencode(name), canaries)}
        try:
            for inside, content in unpacked(data, [LARGEST]):
                for canary, form, line in search(content, canaries):
                    mine.setdefault(canary, Leak(shown, 1 if inside else line, inside, form, canary))
        except TooLarge:
            leaks.append(Leak(shown, 1, "", f"it unpacks to more than {LARGEST >> 20} MiB and was not searched", None))
        leaks += mine.values()
    return leaks


def hold_back(lane_dir: str, artifacts: Path) -> list[Leak]:
    """Search the artifacts and replace each file with a leak by NAME.held-back, which says why; in a sound lane the list is empty."""
    canaries = of_lane(lane_dir)
    leaks = find_leaks(artifacts, canaries)
    for path in sorted(p for p in artifacts.rglob("*") if p.is_symlink() or not p.is_dir()):
        name = mask(str(path.relative_to(artifacts)), canaries)
        if mine := [str(leak) for leak in leaks if leak.path == name]:
            path.unlink()
            note = f"This file was held back, because a secret of its run was found in it.\n{chr(10).join(mine)}\n"
            shown = mask(path.name, canaries).replace("/", "_")
            write_private(path.parent / f"{shown}.held-back", note.encode(), 0o644)
    return leaks


def mask(text: str, canaries: list[Canary]) -> str:
    """The text with every canary, in whatever form, replaced by its name in brackets."""
    for canary in sorted(canaries, key=lambda c: -len(c.value)):
        for needles in canary.forms().values():
            for needle in needles:
                with contextlib.suppress(UnicodeDecodeError):
                    text = text.replace(needle.decode(), f"({canary.name})")
    return text


def masked(lane_dir: str, values: dict[str, Any]) -> dict[str, Any]:
    """The same values, JSON's kinds only, without the secrets of a run."""
    canaries = of_lane(lane_dir)
    if not canaries:
        return values
    result: dict[str, Any] = json.loads(mask(json.dumps(values), canaries))
    return result
