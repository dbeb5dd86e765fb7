"""The database in the cache: made once, copied whole, made again when changed; and the schema of one that runs."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.lane.prepare import database
from ansible.module_utils.lane.programs import records
from lanes import TestLane
from prepared import executable, fails

SERVER = """
echo $$ > {0}/data; trap 'echo closed >> {0}/data; exit {1}' TERM; touch {0}/ready
while :; do sleep 0.02; done
"""
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
        (folder / name).write_text(f'"""Revises: nothing\n\ndown_revision is below.\n"""\n{text}')
    return str(tmp_path / "venv/bin")


def options(lane: TestLane, *inputs: str, status: int = 0, kerbside: str = "/none/bin") -> database.Options:
    """A folder made by one program, and filled by another until that one is stopped."""
    folder = f"{lane.dir}/db"
    script = f"mkdir -p {folder}/kerbside && echo user > {folder}/kerbside/user && echo x >> {lane.artifacts}.made"
    install = lane.program("database_install", script, oneshot=True)
    server = lane.program("database_made", SERVER.format(folder, status), after=("database_install",))
    waits = f"until [ -e {folder}/ready ]; do sleep 0.02; done"
    schema = lane.program("schema", waits, after=("database_made",), oneshot=True)
    return database.Options((install, server, schema), folder, inputs, kerbside)


def made(lane: TestLane) -> int:
    """How often it was made."""
    path = Path(f"{lane.artifacts}.made")
    return len(path.read_text().split()) if path.exists() else 0


def test_it_is_made_once_closed_cleanly_and_copied(lane, tmp_path):
    wanted = options(lane)
    assert not database.copy(str(tmp_path), wanted)
    assert database.make(str(tmp_path), lane.dir, lane.run, wanted)
    assert Path(wanted.datadir, "data").read_text().endswith("closed\n")
    assert not records.records(lane.dir)  # a verdict would call them dead
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    assert database.copy(str(tmp_path), wanted)
    assert Path(wanted.datadir, "kerbside/user").read_text() == "user\n"
    Path(wanted.datadir).rename(f"{lane.dir}/second")
    assert not database.make(str(tmp_path), lane.dir, lane.run, wanted)  # another lane was quicker
    assert made(lane) == 1
    database.drop(str(tmp_path), wanted)
    Path(wanted.datadir).rename(f"{lane.dir}/third")
    assert not database.copy(str(tmp_path), wanted)


@pytest.mark.parametrize("harm", ["cut", "changed", "more", "missing", "no stamp"])
def test_one_that_was_changed_is_made_again(lane, tmp_path, harm):
    wanted = options(lane)
    database.make(str(tmp_path), lane.dir, lane.run, wanted)
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    home = wanted.home(str(tmp_path))
    {
        "cut": lambda: (home / "data/data").write_text(""),
        "changed": lambda: (home / "data/kerbside/user").write_text("uses\n"),
        "more": lambda: (home / "data/more").write_text("x"),
        "missing": (home / "data/kerbside/user").unlink,
        "no stamp": (home / database.STAMP).unlink,
    }[harm]()
    assert not database.copy(str(tmp_path), wanted)
    assert not os.path.exists(wanted.datadir)
    assert database.make(str(tmp_path), lane.dir, lane.run, wanted)
    assert made(lane) == 2


def test_the_key_changes_with_a_text_a_file_and_a_migration(lane, tmp_path, kerbside):
    program = tmp_path / "mariadbd"

    def key(text: str, **more: str) -> Path:
        return options(lane, str(program), text, **more).home(str(tmp_path))

    keys = [key("1")]
    for content in ("a", "ab"):
        program.write_text(content)
        keys.append(key("1"))
    keys += [key("2"), key("2", kerbside=kerbside)]
    assert len(set(keys)) == 5
    assert key("2") == keys[3]


def test_a_failure_while_it_is_made_has_a_code_and_leaves_nothing_in_the_cache(lane, tmp_path):
    wanted = options(lane, status=3)
    with fails("database_not_closed", "database"):
        database.make(str(tmp_path), lane.dir, lane.run, wanted)
    assert not wanted.home(str(tmp_path)).exists()


def test_half_a_copy_is_removed_and_the_machine_is_blamed(lane, tmp_path):
    wanted = options(lane)
    database.make(str(tmp_path), lane.dir, lane.run, wanted)
    with fails("database_not_copied", "host"):
        database.copy(str(tmp_path), replace(wanted, datadir="/proc/nowhere"))  # no folder can be made there


def check_schema(lane: TestLane, folder: Path, kerbside: str, answer: str) -> None:
    """Compare the schema, where the database's client answers with this shell command."""
    client = executable(folder / "mariadb", f"[ \"$2 $3\" = '--socket=/s --user=me' ] || exit 9\n{answer}")
    database.check_schema(options(lane, kerbside=kerbside), client, "/s", "me", lane.run)


def test_a_schema_at_kerbsides_newest_revision_is_taken(lane, tmp_path, kerbside):
    check_schema(lane, tmp_path, kerbside, "echo c")


NO_TABLE = "echo \"ERROR 1146 (42S02): Table 'kerbside.alembic_version' doesn't exist\" >&2; exit 1"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("echo a", "database_schema_old"),
        ("echo b; echo c", "database_schema_old"),
        (":", "database_schema_old"),
        (NO_TABLE, "database_query_failed"),
    ],
    ids=["old", "two", "none", "no table"],
)
def test_another_schema_than_the_newest(lane, tmp_path, kerbside, answer, code):
    with fails(code, "database"):
        check_schema(lane, tmp_path, kerbside, answer)


def test_a_kerbside_without_migrations_cannot_be_compared(lane):
    with fails("database_schema_unknown", "lane"):
        database.check_schema(options(lane), "/bin/true", "/s", "me", lane.run)
