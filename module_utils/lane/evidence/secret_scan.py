"""Search the artifacts for the secrets of their run, and withhold each file that holds one.

A secret is found plain, in hex, percent-encoded and in base64 at any alignment, also when it is broken over lines or
its line breaks are escaped. Nothing is unpacked: what the lane collects is text and pictures. A compressed file is
withheld unread, because nobody can say what is in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import LaneError
from ..core.private_dir import write_private
from ..core.secrets import Secret, mask, of_lane
from ..programs import records
from .logs import PROXY

#: Line breaks and blanks, and line breaks as JSON and others escape them.
BREAK = re.compile(rb"\s|\\[nr]")
#: How compressed files and archives begin: gzip, bzip2, xz, zip, zstd, 7z. A tar file is not compressed, so that its
#: content is searched.
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c")
#: A text is cut into blocks of this many bytes; whatever of 7 bytes or more is in it contains one of them whole.
BLOCK = 4
GONE = "the secrets of the run are gone from lane_dir"


@dataclass(frozen=True)
class Leak:
    """A secret in a file. path: below the artifacts; line: from 1; form: plain, hex, ..., or why a file could not be
    searched: then secret is None. by_proxy: it is in a line of kerbside-proxy, whose output goes to the daemon's log.
    """

    path: str
    line: int
    form: str
    secret: Secret | None
    by_proxy: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line} ({self.form}{f': {self.secret.masked}' if self.secret else ''})"


def search(data: bytes, secrets: list[Secret]) -> Iterator[tuple[Secret, str, int]]:
    """(secret, form, line) of each secret in data, the first place and form of each."""
    folded = BREAK.sub(b"", data)
    blocks = {text[i : i + BLOCK] for text in (data, folded) for i in range(0, len(text), BLOCK)}
    for secret in secrets:
        for form, needles in secret.forms.items():
            likely = (needle for needle in needles if _may_be(needle, blocks))
            at = next((i for needle in likely if (i := _find(data, folded, needle)) >= 0), -1)
            if at >= 0:
                yield secret, form, data.count(b"\n", 0, at) + 1
                break


def _may_be(needle: bytes, blocks: set[bytes]) -> bool:
    """Whether a text of these blocks can contain the needle; searching for each of hundreds would take seconds."""
    return any(needle[i : i + BLOCK] in blocks for i in range(BLOCK))


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


def find_leaks(artifacts: Path, secrets: list[Secret]) -> list[Leak]:
    """The first leak of each secret in each file below the artifacts, names of files included; the files are left as
    they are.
    """
    leaks: list[Leak] = []
    for path in _files(artifacts):
        name, data = str(path.relative_to(artifacts)), path.read_bytes()
        shown = mask(name, secrets)
        mine = {
            secret: Leak(shown, line, form, secret, PROXY.match(_line(data, line)) is not None)
            for secret, form, line in search(data, secrets)
        }
        for secret, form, _ in search(os.fsencode(name), secrets):
            mine[secret] = Leak(shown, 1, f"its name, {form}", secret)
        leaks += mine.values()
        if data.startswith(PACKED):
            leaks.append(Leak(shown, 1, "it is compressed", None))
    return leaks


def _line(data: bytes, number: int) -> str:
    return data.split(b"\n", number)[number - 1].decode(errors="replace")


def _files(artifacts: Path) -> list[Path]:
    return sorted(path for path in artifacts.rglob("*") if path.is_file() and not path.is_symlink())


def withhold(lane_dir: str, artifacts: Path) -> list[Leak]:
    """Search the artifacts and replace each file with a leak by NAME.withheld, which says why; the list is empty when
    there is none.
    """
    secrets = of_lane(lane_dir)
    leaks = find_leaks(artifacts, secrets)
    if not Path(lane_dir, "secrets").is_dir():
        leaks = [Leak(str(path.relative_to(artifacts)), 1, GONE, None) for path in _files(artifacts)]
    for path in _files(artifacts):
        name = mask(str(path.relative_to(artifacts)), secrets)
        if mine := [str(leak) for leak in leaks if leak.path == name]:
            path.unlink()
            note = f"This file is withheld, because a secret of its run was found in it.\n{chr(10).join(mine)}\n"
            shown = mask(path.name, secrets).replace("/", "_")
            write_private(path.parent / f"{shown}.withheld", note.encode(), 0o644)
    return leaks


def failure(lane_dir: str, leaks: list[Leak]) -> LaneError:
    """The failure that leaks are: of the component whose log holds one, else of the artifacts, that is of the lane
    itself.
    """
    writers = {f"logs/{Path(entry.log).name}": entry.component for entry in records.records(lane_dir)}
    writers["logs/serial.log"] = "guest"
    leak = next((leak for leak in leaks if leak.secret and leak.path in writers), leaks[0])
    evidence = f"{leak.path}.withheld"
    if leak.secret is None:
        problem = f"{leak.path} cannot be searched for secrets: {leak.form}"
        return LaneError("secret_unsearched", "artifacts", problem, "it is withheld", evidence=evidence)
    if writer := "proxy" if leak.by_proxy and leak.path in writers else writers.get(leak.path):
        problem = f"{writer} wrote its {leak.secret.words} to {Path(leak.path).name}"
        return LaneError("secret_in_log", writer, problem, "the file is withheld", evidence=evidence)
    problem = f"the artifacts hold a secret of the run: {', '.join(map(str, leaks))}"
    return LaneError("secret_in_artifacts", "artifacts", problem, "these files are withheld", evidence=evidence)
