"""The database in the cache: made once, copied whole, made again when it was changed; and the schema of the running one is kerbside's newest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import database
from ansible.module_utils.lane.programs import records
from lanes import TestLane

SERVER = (
    "echo $$ > {0}/data; trap 'echo closed >> {0}/data; exit {1}' TERM; touch {0}/ready; while :; do sleep 0.02; done"
)
#: Three migrations in the three ways in which alembic writes one; the last is the newest.
MIGRATIONS = {
    "a.py": "revision: str = 'a'\ndown_revision = None\n",
    "b.py": "revision = 'b'\ndown_revision: str = ('a',)\n",
    "c.py": "revision = 'c'\ndown_revision = 'b'\n",
}


@pytest.fixture
def kerbside(tmp_path: Path) -> str:
    """The bin folder of an environment with kerbside's migrations."""
    folder = tmp_path / "venv/lib/python3.11/site-packages/kerbside/migrations/versions"
    folder.mkdir(parents=True)
    for name, text in MIGRATIONS.items():
        (folder / name).write_text(
            f'"""Revises: nothing\n\ndown_revision is below.\n"""\n{text}\n\ndef upgrade():\n    pass\n'
        )
    return str(tmp_path / "venv/bin")


def options(lane: TestLane, *inputs: str, status: int = 0, kerbside: str = "/none/bin") -> database.Options:
    """A folder made by one program, and filled by another until that one is stopped."""
    folder = f"{lane.dir}/db"
    script = f"mkdir -p {folder}/kerbside && echo user > {folder}/kerbside/user && echo x >> {lane.artifacts}.made"
    install = lane.program("database_install", script, oneshot=True)
    server = lane.program("database_made", SERVER.format(folder, status), after=("database_install",))
    schema = lane.program(
        "schema", f"until [ -e {folder}/ready ]; do sleep 0.02; done", after=("database_made",), oneshot=True
    )
    return database.Options((install, server, schema), folder, inputs, kerbside)


def made(lane: TestLane) -> int:
    """How often it was made."""
    path = Path(f"{lane.artifacts}.made")
    return len(path.read_text().split()) if path.exists() else 0


def test_it_is_made_once_closed_cleanly_and_copied(lane: TestLane, tmp_path: Path) -> None:
    wanted = options(lane)
    assert not database.copy(str(tmp_path), wanted)
    assert database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    assert Path(wanted.datadir, "data").read_text().endswith("closed\n")
    assert not records.records(lane.dir)  # a verdict would call them dead
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    assert database.copy(str(tmp_path), wanted)
    assert Path(wanted.datadir, "kerbside/user").read_text() == "user\n"
    Path(wanted.datadir).rename(f"{lane.dir}/second")
    assert not database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)  # another lane was quicker
    assert made(lane) == 1
    database.drop(str(tmp_path), wanted)
    Path(wanted.datadir).rename(f"{lane.dir}/third")
    assert not database.copy(str(tmp_path), wanted)


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "more", "no stamp", "bad stamp"])
def test_one_that_was_changed_is_made_again(lane: TestLane, tmp_path: Path, harm: str) -> None:
    wanted = options(lane)
    database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    home = wanted.home(str(tmp_path))
    stamp, table = home / database.STAMP, home / "data/kerbside/user"
    {
        "cut": lambda: (home / "data/data").write_text(""),
        "changed": lambda: table.write_text("uses\n"),
        "missing": table.unlink,
        "more": lambda: (home / "data/more").write_text("x"),
        "no stamp": stamp.unlink,
        "bad stamp": lambda: stamp.write_text("{"),
    }[harm]()
    assert not database.copy(str(tmp_path), wanted)
    assert not os.path.exists(wanted.datadir)
    assert database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    assert made(lane) == 2


def test_the_key_changes_with_a_text_a_file_behind_a_path_and_a_migration(
    lane: TestLane, tmp_path: Path, kerbside: str
) -> None:
    program = tmp_path / "mariadbd"
    keys = set()
    for text in (None, "a", "ab"):
        if text is not None:
            program.write_text(text)
        keys.add(options(lane, str(program), "1").home(str(tmp_path)))
    keys.add(options(lane, str(program), "2").home(str(tmp_path)))
    keys.add(options(lane, str(program), "2", kerbside=kerbside).home(str(tmp_path)))
    assert len(keys) == 5
    assert options(lane, str(program), "2").home(str(tmp_path)) in keys


def test_a_failure_while_it_is_made_has_a_code_and_leaves_nothing_in_the_cache(lane: TestLane, tmp_path: Path) -> None:
    wanted = options(lane, status=3)
    with pytest.raises(LaneError) as failed:
        database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    assert (failed.value.code, failed.value.component) == ("database_not_closed", "database")
    assert not wanted.home(str(tmp_path)).exists()


def test_half_a_copy_is_removed_and_the_machine_is_blamed(lane: TestLane, tmp_path: Path) -> None:
    wanted = options(lane)
    database.make(str(tmp_path), lane.dir, lane.run, wanted, 5)
    elsewhere = database.Options(
        wanted.programs, "/proc/nowhere", wanted.inputs, wanted.kerbside
    )  # no folder can be made there
    with pytest.raises(LaneError) as failed:
        database.copy(str(tmp_path), elsewhere)
    assert (failed.value.code, failed.value.component) == ("database_not_copied", "host")


@pytest.mark.parametrize(
    ("answer", "code", "component"),
    [
        ("echo c", None, None),
        ("echo a", "database_schema_old", "database"),
        ("echo b; echo c", "database_schema_old", "database"),
        (":", "database_schema_old", "database"),
        (
            "echo \"ERROR 1146 (42S02): Table 'kerbside.alembic_version' doesn't exist\" >&2; exit 1",
            "database_query_failed",
            "database",
        ),
    ],
)
def test_the_running_schema_has_to_be_kerbsides_newest(
    lane: TestLane, tmp_path: Path, kerbside: str, answer: str, code: str | None, component: str | None
) -> None:
    client = tmp_path / "mariadb"
    client.write_text(f"#!/bin/sh\n[ \"$2 $3\" = '--socket=/s --user=me' ] || exit 9\n{answer}\n")
    client.chmod(0o755)
    wanted = options(lane, kerbside=kerbside)
    if code is None:
        assert database.check_schema(wanted, str(client), "/s", "me", lane.run) == "c"
        return
    with pytest.raises(LaneError) as failed:
        database.check_schema(wanted, str(client), "/s", "me", lane.run)
    assert (failed.value.code, failed.value.component) == (code, component)


def test_a_kerbside_without_migrations_cannot_be_compared(lane: TestLane) -> None:
    with pytest.raises(LaneError) as failed:
        database.check_schema(options(lane), "/bin/true", "/s", "me", lane.run)
    assert (failed.value.code, failed.value.component) == ("database_schema_unknown", "lane")
