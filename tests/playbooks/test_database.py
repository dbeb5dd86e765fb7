"""The migrated empty database that runs copy from the cache (docs/performance.md): equal to one made by hand, and nobody's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

MAKE = "Make that database, once for these programs"
TAGS = ("--tags", "tls,kerbside")


def handover(lane: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lane.dir / f"handover/{name}.json").read_text())
    return found


def content(client: list[str], **env: str) -> dict[str, Any]:
    """Every table of kerbside's as the server would make it again, its rows, and the release of its schema."""

    def ask(sql: str) -> str:
        return subprocess.run(
            [*client, "-N", "-B", "-r", "-e", sql, "kerbside"],
            env={**os.environ, **env},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    tables = ask("SHOW TABLES").split()
    assert "alembic_version" in tables and "consoles" in tables
    found = {name: in_order(re.sub(r" AUTO_INCREMENT=\d+", "", ask(f"SHOW CREATE TABLE {name}"))) for name in tables}
    rows = {f"rows of {name}": ask(f"SELECT * FROM {name}") for name in tables if name in ("alembic_version",)}
    defaults = {"database": ask("SELECT @@character_set_database, @@collation_database")}
    return {**found, **rows, **defaults}


def in_order(statement: str) -> list[str]:
    """The lines of a CREATE TABLE with the keys sorted: the migrations make them in the order of a Python set, which is another one each time."""
    lines = [line.rstrip(",") for line in statement.splitlines()]
    keys = iter(sorted(line for line in lines if line.lstrip().startswith("KEY ")))
    return [next(keys) if line.lstrip().startswith("KEY ") else line for line in lines]


@pytest.mark.slow
def test_a_copy_is_equal_to_a_database_made_by_hand_and_holds_no_user(lane: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    warm = lane.run([{"name": "Where", "ansible.builtin.debug": {"msg": "{{ lane_cache_dir | expanduser }}"}}]).result(
        "Where"
    )["msg"]
    for entry in Path(warm).iterdir() if Path(warm).exists() else ():
        if entry.name != "databases" and not entry.name.startswith("."):
            (cache / entry.name).symlink_to(entry)

    first = lane.run("playbooks/lane.yml", "--tags", "deps,tls,kerbside", lane_cache_dir=str(cache))
    assert first.rc == 0, first
    assert first.result(MAKE)["made"]
    [kept] = (cache / "databases").glob("[0-9a-f]*")
    assert b"kerbside" not in (kept / "data/mysql/global_priv.MAD").read_bytes()
    password = (lane.dir / "secrets/database_password").read_bytes()
    assert not [path for path in kept.rglob("*") if path.is_file() and password in path.read_bytes()]

    deps, kerbside = handover(lane, "deps"), handover(lane, "kerbside")
    copy = content(
        [deps["mariadb"], "--no-defaults", f"--socket={lane.dir}/db.sock", "--user=kerbside"],
        MYSQL_PWD=password.decode(),
    )
    assert copy == by_hand(deps, kerbside, lane.dir.parent)

    assert lane.run("playbooks/teardown.yml").rc == 0
    second = lane.run("playbooks/lane.yml", "--tags", "deps,tls,kerbside", lane_cache_dir=str(cache))
    assert second.rc == 0, second
    assert second.result(MAKE)["event"] == "v2_runner_on_skipped"


def by_hand(deps: dict[str, Any], kerbside: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same from mariadb-install-db, a server and kerbside's own command, as an administrator would do it."""
    data, socket = folder / "hand", folder / "hand.sock"
    user = f"--user={os.environ.get('USER') or 'root'}" if os.geteuid() else "--user=root"
    subprocess.run(
        [
            deps["mariadb_install_db"],
            "--no-defaults",
            f"--datadir={data}",
            user,
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        capture_output=True,
    )
    server = [
        deps["mariadbd"],
        "--no-defaults",
        f"--datadir={data}",
        user,
        f"--socket={socket}",
        f"--pid-file={data}/pid",
        "--skip-networking",
    ]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            client = [deps["mariadb"], "--no-defaults", f"--socket={socket}", "--user=root"]
            until = time.monotonic() + 30
            while subprocess.run([*client, "-e", "CREATE DATABASE kerbside"], capture_output=True).returncode:
                assert running.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            url = f"mysql+pymysql://root:@localhost/kerbside?unix_socket={socket}"
            settings = {"PATH": os.environ["PATH"], "KERBSIDE_SQL_URL": url, "HOME": str(folder)}
            subprocess.run(
                [f"{kerbside['bin']}/kerbside", "db", "upgrade"],
                env=settings,
                cwd=folder,
                check=True,
                capture_output=True,
            )
            return content(client)
        finally:
            running.kill()
