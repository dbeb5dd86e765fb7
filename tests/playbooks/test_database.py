"""The migrated empty database that runs copy from the cache (docs/performance.md): equal to one made by hand."""

import json
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from whole_lanes import CACHE, Started

COPY = "Provide an empty database"


def handover(lane: Any, name: str) -> dict[str, Any]:
    return json.loads((lane.dir / f"handover/{name}.json").read_text())


def content(client: list[str], **env: str) -> dict[str, Any]:
    """Every table of kerbside's as the server would make it again, and the release of its schema."""

    def ask(sql: str) -> str:
        command = [*client, "-N", "-B", "-r", "-e", sql, "kerbside"]
        return subprocess.run(command, env={**os.environ, **env}, check=True, stdout=subprocess.PIPE, text=True).stdout

    tables = ask("SHOW TABLES").split()
    assert "alembic_version" in tables and "consoles" in tables
    found = {name: in_order(re.sub(r" AUTO_INCREMENT=\d+", "", ask(f"SHOW CREATE TABLE {name}"))) for name in tables}
    release = ask("SELECT * FROM alembic_version")
    return {**found, "release": release, "defaults": ask("SELECT @@character_set_database, @@collation_database")}


def in_order(statement: str) -> list[str]:
    """The lines of a CREATE TABLE with the keys sorted: the migrations make them in the order of a Python set."""
    lines = [line.rstrip(",") for line in statement.splitlines()]
    keys = iter(sorted(line for line in lines if line.lstrip().startswith("KEY ")))
    return [next(keys) if line.lstrip().startswith("KEY ") else line for line in lines]


@pytest.mark.slow
def test_a_copy_is_equal_to_a_database_made_by_hand_and_holds_no_user(lane, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    for entry in CACHE.iterdir() if CACHE.exists() else ():
        if entry.name != "databases" and not entry.name.startswith("."):
            (cache / entry.name).symlink_to(entry)

    first = lane.good("playbooks/lane.yml", "--tags", "deps,tls,kerbside", lane_cache_dir=str(cache))
    assert first.result(COPY)["lane_note"] == "database made"
    [kept] = (cache / "databases").glob("[0-9a-f]*")
    assert b"kerbside" not in (kept / "data/mysql/global_priv.MAD").read_bytes()
    password = (lane.dir / "secrets/database_password").read_bytes()
    assert not [path for path in kept.rglob("*") if path.is_file() and password in path.read_bytes()]

    deps, kerbside = handover(lane, "deps"), handover(lane, "kerbside")
    client = [deps["mariadb"], "--no-defaults", f"--socket={lane.dir}/db.sock", "--user=kerbside"]
    copy = content(client, MYSQL_PWD=password.decode())
    assert copy == by_hand(deps, kerbside, lane.dir.parent)

    lane.good("playbooks/teardown.yml")
    second = lane.good("playbooks/lane.yml", "--tags", "deps,tls,kerbside", lane_cache_dir=str(cache))
    assert second.result(COPY)["lane_note"] == "database from the cache"


def by_hand(deps: dict[str, Any], kerbside: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same from mariadb-install-db, a server and kerbside's own command, as an administrator would do it."""
    data, socket = folder / "hand", folder / "hand.sock"
    options = ["--no-defaults", f"--datadir={data}", f"--user={pwd.getpwuid(os.getuid()).pw_name}"]
    install = [deps["mariadb_install_db"], *options, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    listening = [f"--socket={socket}", f"--pid-file={data}/pid", "--skip-networking"]
    server = Started([deps["mariadbd"], *options, *listening], dict(os.environ))
    try:
        client = [deps["mariadb"], "--no-defaults", f"--socket={socket}", "--user=root"]
        create = [*client, "-e", "CREATE DATABASE kerbside"]
        server.until(lambda: subprocess.run(create, capture_output=True).returncode == 0, 30)
        url = f"mysql+pymysql://root:@localhost/kerbside?unix_socket={socket}"
        settings = {"PATH": os.environ["PATH"], "KERBSIDE_SQL_URL": url, "HOME": str(folder)}
        upgrade = [f"{kerbside['bin']}/kerbside", "db", "upgrade"]
        subprocess.run(upgrade, env=settings, cwd=folder, check=True, capture_output=True)
        return content(client)
    finally:
        server.process.kill()
        server.process.wait()
