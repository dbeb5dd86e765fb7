"""Evidence on its way between two machines: what a lane packs is unpacked, anything else is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from ansible.module_utils.lane.evidence import collect, transport
from prepared import fails


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "logs").mkdir(parents=True)
    (source / "logs/ryll.log").write_text("hello")
    (source / "link").symlink_to("/etc/passwd")
    packed = transport.pack(str(source), str(tmp_path / "evidence.tar"))
    assert Path(packed).stat().st_mode & 0o777 == 0o600
    with tarfile.open(packed) as tar:
        assert {(one.uid, one.gid, one.uname, one.gname) for one in tar} == {(0, 0, "", "")}
    for _ in range(2):
        transport.unpack(packed, tmp_path / "over/here")
    assert (tmp_path / "over/here/logs/ryll.log").read_text() == "hello"
    assert not (tmp_path / "over/here/link").exists()


def member(name: str, **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(made, key, value)
    return made


def archive(folder: Path, *members: tarfile.TarInfo) -> str:
    """A tar file with these members, full of zeros."""
    with tarfile.open(folder / "evidence.tar", "w") as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(bytes(one.size)))
    return str(folder / "evidence.tar")


@pytest.mark.parametrize(
    "bad",
    [
        member("../out"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("pipe", type=tarfile.FIFOTYPE),
        None,
    ],
)
def test_an_archive_that_no_lane_made_is_refused(tmp_path: Path, bad: tarfile.TarInfo | None) -> None:
    path = archive(tmp_path, *([bad] if bad else []))
    if not bad:
        Path(path).write_bytes(b"no archive" * 100)
    with fails("evidence_broken", "artifacts"):
        transport.unpack(path, tmp_path / "deep/here")
    assert not (tmp_path / "deep/out").exists()


@pytest.mark.parametrize(("files", "size", "refused"), [(6, 0, False), (7, 0, True), (1, 100, False), (1, 101, True)])
def test_as_much_as_a_lane_packs_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, size: int, refused: bool
) -> None:
    monkeypatch.setattr(collect, "MOST", 50)
    monkeypatch.setattr(collect, "MOST_FILES", 2)
    path = archive(tmp_path, *(member(f"file{number}", size=size) for number in range(files)))
    if refused:
        with fails("evidence_broken", "artifacts", "too much"):
            transport.unpack(path, tmp_path / "here")
    else:
        transport.unpack(path, tmp_path / "here")
        assert len(list((tmp_path / "here").iterdir())) == files


def test_an_absolute_name_stays_below_the_folder(tmp_path: Path) -> None:
    transport.unpack(archive(tmp_path, member(f"{tmp_path}/out", size=1)), tmp_path / "here")
    assert not (tmp_path / "out").exists()
