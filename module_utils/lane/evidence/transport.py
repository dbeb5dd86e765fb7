"""Evidence on its way from the lane's machine to the one that Ansible runs on: one tar file, packed there and
unpacked here.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from ..core.errors import LaneError
from . import collect


def pack(artifacts_dir: str, archive: str) -> str:
    """Pack the files of a directory, readable by its owner alone until it is unpacked; returns the archive."""
    with (
        open(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out,
        tarfile.open(fileobj=out, mode="w") as tar,
    ):
        tar.add(artifacts_dir, arcname=".", filter=_plain)
    return archive


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isreg() or member.isdir() else None


def unpack(archive: str, folder: Path) -> None:
    """Unpack evidence of a machine that need not be trusted: regular files below the folder, no more than a lane
    collects.

    Raises LaneError (artifacts) for an archive that is something else.
    """
    try:
        with tarfile.open(archive, mode="r:") as tar:
            members = tar.getmembers()
            odd = [member.name for member in members if not (member.isreg() or member.isdir())]
            if len(members) > 3 * collect.MOST_FILES or sum(member.size for member in members) > 2 * collect.MOST:
                odd.append("too much")
            if odd:
                raise _broken(f"holds what no lane packs: {odd[0]}")
            folder.mkdir(parents=True, exist_ok=True)
            tar.extractall(folder, members=members, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise _broken(f"that was fetched cannot be unpacked: {error}") from None


def _broken(words: str) -> LaneError:
    return LaneError("evidence_broken", "artifacts", f"the evidence {words}", "check the lane's machine")
