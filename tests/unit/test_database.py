"""The database in the cache: made once, copied whole, made again when changed; and its schema."""

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


#: In the folder of a lane: where the environment of kerbside has them.
MIGRATIONS_OF = "{}/venv/lib/python3.11/site-packages/kerbside/migrations/versions"
NO_TABLE = "echo \"ERROR 1146 (42S02): Table 'kerbside.alembic_version' doesn't exist\" >&2; exit 1"


def options(lane: TestLane, *inputs: str, status: int = 0, answer: str = "echo c") -> database.Options:
    """A folder made by one program, and filled by another until that one is stopped.

    answer: how its client answers, as a shell command.
    """
    migrations = Path(MIGRATIONS_OF.format(lane.dir))
    migrations.mkdir(parents=True, exist_ok=True)
    for name, text in MIGRATIONS.items():
        (migrations / name).write_text(f'"""Revises: nothing\n\ndown_revision is below.\n"""\n{text}')
    asked = f'[ "$2" = --socket={lane.dir}/db.sock ] || exit 9'
    client = executable(Path(lane.dir, "tmp/mariadb"), f"{asked}\n{answer}")
    folder = f"{lane.dir}/db"
    script = f"mkdir -p {folder}/kerbside && echo user > {folder}/kerbside/user && echo x >> {lane.artifacts}.made"
    install = lane.program("database_install", script, oneshot=True)
    server = lane.program("database_made", SERVER.format(folder, status), after=("database_install",))
    waits = f"until [ -e {folder}/ready ]; do sleep 0.02; done"
    schema = lane.program("schema", waits, after=("database_made",), oneshot=True)
    return database.Options((install, server, schema), folder, inputs, f"{lane.dir}/venv/bin", client)


def made(lane: TestLane) -> int:
    """How often it was made."""
    path = Path(f"{lane.artifacts}.made")
    return len(path.read_text().split()) if path.exists() else 0


def provide(lane: TestLane, cache: Path, wanted: database.Options) -> bool:
    return database.provide(str(cache), lane.dir, lane.run, wanted)


def test_it_is_made_once_closed_cleanly_and_copied(lane, tmp_path):
    wanted = options(lane)
    assert provide(lane, tmp_path, wanted)
    assert Path(wanted.datadir, "data").read_text().endswith("closed\n")
    assert not records.records(lane.dir)  # a verdict would call them dead
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    assert not provide(lane, tmp_path, wanted)
    assert Path(wanted.datadir, "kerbside/user").read_text() == "user\n"
    assert made(lane) == 1


@pytest.mark.parametrize("harm", ["cut", "changed", "more", "missing", "no stamp"])
def test_one_that_was_changed_is_made_again(lane, tmp_path, harm):
    wanted = options(lane)
    provide(lane, tmp_path, wanted)
    Path(wanted.datadir).rename(f"{lane.dir}/first")
    home = wanted.home(str(tmp_path))
    {
        "cut": lambda: (home / "data/data").write_text(""),
        "changed": lambda: (home / "data/kerbside/user").write_text("uses\n"),
        "more": lambda: (home / "data/more").write_text("x"),
        "missing": (home / "data/kerbside/user").unlink,
        "no stamp": (home / database.STAMP).unlink,
    }[harm]()
    assert provide(lane, tmp_path, wanted)
    assert made(lane) == 2


def test_the_key_changes_with_a_text_a_file_and_a_migration(lane, tmp_path):
    program = tmp_path / "mariadbd"

    def key(text: str, kerbside: str = "/none/bin") -> Path:
        return replace(options(lane, str(program), text), kerbside=kerbside).home(str(tmp_path))

    keys = [key("1")]
    for content in ("a", "ab"):
        program.write_text(content)
        keys.append(key("1"))
    keys += [key("2"), key("2", f"{lane.dir}/venv/bin")]
    assert len(set(keys)) == 5
    assert key("2") == keys[3]


def test_a_failure_while_it_is_made_has_a_code_and_leaves_nothing_in_the_cache(lane, tmp_path):
    wanted = options(lane, status=3)
    with fails("database_not_closed", "database"):
        provide(lane, tmp_path, wanted)
    assert not wanted.home(str(tmp_path)).exists()


def test_half_a_copy_is_removed_and_the_machine_is_blamed(lane, tmp_path):
    wanted = options(lane)
    provide(lane, tmp_path, wanted)
    with fails("database_not_copied", "host"):
        provide(lane, tmp_path, replace(wanted, datadir="/proc/nowhere"))  # no folder can be made there


@pytest.mark.parametrize(
    ("answer", "code", "component"),
    [
        ("echo a", "database_schema_old", "kerbside"),
        ("echo b; echo c", "database_schema_old", "kerbside"),
        (":", "database_schema_old", "kerbside"),
        (NO_TABLE, "database_query_failed", "database"),
    ],
    ids=["old", "two", "none", "no table"],
)
def test_only_a_database_with_kerbsides_newest_schema_gets_into_the_cache(lane, tmp_path, answer, code, component):
    wanted = options(lane, answer=answer)
    with fails(code, component):
        provide(lane, tmp_path, wanted)
    assert not wanted.home(str(tmp_path)).exists()


def test_a_kerbside_without_migrations_cannot_be_compared(lane, tmp_path):
    with fails("database_schema_unknown", "lane"):
        provide(lane, tmp_path, replace(options(lane), kerbside="/none/bin"))


@pytest.mark.parametrize("copied", [False, True])
def test_another_kerbside_is_refused_on_a_lane_that_is_up(lane, tmp_path, copied):
    wanted = options(lane)
    provide(lane, tmp_path, wanted)
    if copied:
        Path(wanted.datadir).rename(f"{lane.dir}/first")
        wanted.noted.unlink()
        assert not provide(lane, tmp_path, wanted)
    database.check_existing(wanted)
    Path(MIGRATIONS_OF.format(lane.dir), "d.py").write_text("revision = 'd'\ndown_revision = 'c'\n")
    with fails("database_schema_old", "lane"):
        database.check_existing(wanted)
