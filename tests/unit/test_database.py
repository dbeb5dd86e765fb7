"""The database that the cache keeps: made once, copied whole, made again when it is broken, and nothing half done in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import database
from ansible.module_utils.lane.programs import process
from lanes import TestLane, claimed_lane

SERVER = "echo $$ > {0}/data; trap 'echo closed >> {0}/data; exit {1}' TERM; touch {0}/ready; while :; do sleep 0.02; done"


@pytest.fixture
def lane() -> Iterator[TestLane]:
    with claimed_lane() as found:
        yield found


def wish(lane: TestLane, *inputs: str, status: int = 0) -> database.Wish:
    """A folder made by one program, and filled by another until that is told to end."""
    folder = f"{lane.dir}/db"
    install = lane.program("database_install", f"mkdir -p {folder}/mysql && echo user > {folder}/mysql/user && echo x >> {lane.artifacts}.made", oneshot=True)
    server = lane.program("database_made", SERVER.format(folder, status), after=("database_install",))
    schema = lane.program("schema", f"until [ -e {folder}/ready ]; do sleep 0.02; done", after=("database_made",), oneshot=True)
    return database.Wish((install, server, schema), folder, inputs)


def made(lane: TestLane) -> int:
    """How often it was made."""
    path = Path(f"{lane.artifacts}.made")
    return len(path.read_text().split()) if path.exists() else 0


def test_it_is_made_once_closed_in_order_and_copied(lane: TestLane, tmp_path: Path) -> None:
    wanted = wish(lane)
    assert not database.copied(str(tmp_path), wanted)
    assert database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    assert Path(wanted.datadir, "data").read_text().endswith("closed\n")
    assert not process.records(lane.dir)  # nothing for a verdict to call dead
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    assert database.copied(str(tmp_path), wanted)
    assert Path(wanted.datadir, "mysql/user").read_text() == "user\n"
    Path(wanted.datadir).rename(f"{lane.dir}/second")
    assert not database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)  # another lane was quicker
    assert made(lane) == 1


@pytest.mark.parametrize("harm", ["cut", "missing", "more", "no stamp", "bad stamp"])
def test_one_that_is_not_as_it_was_is_made_anew(lane: TestLane, tmp_path: Path, harm: str) -> None:
    wanted = wish(lane)
    database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    home = wanted.home(str(tmp_path))
    stamp, file = home / database.STAMP, home / "data/mysql/user"
    {
        "cut": lambda: file.write_text(""),
        "missing": file.unlink,
        "more": lambda: (home / "data/more").write_text("x"),
        "no stamp": stamp.unlink,
        "bad stamp": lambda: stamp.write_text("{"),
    }[harm]()
    assert not database.copied(str(tmp_path), wanted)
    assert not os.path.exists(wanted.datadir)
    assert database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    assert made(lane) == 2


def test_the_key_changes_with_a_text_and_with_a_file_behind_a_path(lane: TestLane, tmp_path: Path) -> None:
    program = tmp_path / "mariadbd"
    keys = set()
    for text in (None, "a", "ab"):
        if text is not None:
            program.write_text(text)
        keys.add(wish(lane, str(program), "1").home(str(tmp_path)))
    keys.add(wish(lane, str(program), "2").home(str(tmp_path)))
    assert len(keys) == 4
    assert wish(lane, str(program), "2").home(str(tmp_path)) in keys


def test_a_server_that_does_not_close_its_data_in_order_is_told_and_not_kept(lane: TestLane, tmp_path: Path) -> None:
    wanted = wish(lane, status=3)
    with pytest.raises(LaneError, match=r"^database: expected the server to close its data in order, but it ended with status 3"):
        database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    assert not wanted.home(str(tmp_path)).exists()


def test_without_room_half_a_copy_is_taken_away_and_told(lane: TestLane, tmp_path: Path) -> None:
    wanted = wish(lane)
    database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    elsewhere = database.Wish(wanted.programs, "/proc/nowhere", wanted.inputs)  # no folder can be made there
    with pytest.raises(LaneError, match=r"^environment: expected room for the database in /proc/nowhere, but .*; look at df /proc/nowhere"):
        database.copied(str(tmp_path), elsewhere)


def test_programs_without_the_server_are_refused(lane: TestLane, tmp_path: Path) -> None:
    wanted = database.Wish((lane.program("other", "true"),), f"{lane.dir}/db", ())
    with pytest.raises(LaneError, match=r"^lane: expected a program database_made among those that make the database, but they are other"):
        database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
