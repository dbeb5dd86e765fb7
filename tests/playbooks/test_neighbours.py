"""Bad neighbours: the lane works in surroundings that upset other programs, or says in one sentence why not."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from whole_lanes import ROOT, Started, Surroundings, copy_checkout

pytestmark = pytest.mark.slow
KERBSIDE = {
    f"KERBSIDE_{name}": value
    for name, value in {
        "SQL_URL": "mysql://nobody:nothing@nowhere/kerbside",
        "SOURCES_PATH": "/nowhere/sources.yaml",
        "AUTH_SECRET_SEED": "somebody-elses-seed",
        "LOG_OUTPUT_PATH": "/nowhere/kerbside.log",
        "LOG_VERBOSE": "perhaps",
        "VDI_ADDRESS": "0.0.0.0",
        "VDI_SECURE_PORT": "5900",
        "VDI_INSECURE_PORT": "5900",
        "PUBLIC_FQDN": "kerbside.example.com",
        "PUBLIC_SECURE_PORT": "1",
        "PUBLIC_INSECURE_PORT": "1",
        "PROMETHEUS_METRICS_PORT": "13003",
        "PROMETHEUS_METRICS_ADDRESS": "0.0.0.0",
        "CACERT_PATH": "/nowhere/ca.pem",
        "PROXY_HOST_CERT_PATH": "/nowhere/cert.pem",
        "PROXY_HOST_CERT_KEY_PATH": "/nowhere/key.pem",
        "PROXY_HOST_SUBJECT": "C=XX",
        "API_SOCKET_PATH": "/run/kerbside/api.sock",
        "FIREWALL_PERMITTED_CHANNELS": "main",
        "PROXY_BIN": "/bin/false",
    }.items()
}


@contextmanager
def system_database(place: Surroundings) -> Iterator[None]:
    """A MariaDB of the machine's own, where Debian has it: its socket in /run/mysqld, its port 3306."""
    if Path("/run/mysqld/mysqld.sock").is_socket():
        yield
        return
    Path("/run/mysqld").mkdir(exist_ok=True)
    data = place.base / "var-lib-mysql"
    options = ["--no-defaults", f"--user={pwd.getpwuid(os.getuid()).pw_name}", f"--datadir={data}"]
    subprocess.run(["mariadb-install-db", *options, "--force"], capture_output=True, check=True)
    listening = ["--socket=/run/mysqld/mysqld.sock", "--port=3306", "--bind-address=127.0.0.1"]
    server = Started(["mariadbd", *options, *listening], {"PATH": os.environ["PATH"]})
    try:
        server.until(Path("/run/mysqld/mysqld.sock").is_socket)
        yield
        assert server.process.poll() is None, "the system's database did not survive the lane"
    finally:
        server.process.kill()
        server.process.wait()
        Path("/run/mysqld/mysqld.sock").unlink(missing_ok=True)


def open_in(lane_dir: Path) -> set[str]:
    """What others than the owner have rights on."""
    found: set[str] = set()
    for root, folders, names in os.walk(lane_dir):
        # mariadbd's and Ansible's own affair, behind a door that is closed
        folders[:] = [name for name in folders if name not in ("db", "tmp")]
        with suppress(OSError):  # it is gone meanwhile
            paths = [Path(root), *(Path(root, name) for name in names)]
            found |= {str(path) for path in paths if path.lstat().st_mode & 0o077 and not path.is_socket()}
    return found


@contextmanager
def folder_of_kerbside() -> Iterator[None]:
    """/etc/kerbside, empty; the file is there for its own lane only, in a mount namespace."""
    made = not Path("/etc/kerbside").exists()
    if made:
        Path("/etc/kerbside").mkdir()
    try:
        yield
    finally:
        if made:
            Path("/etc/kerbside").rmdir()


def command_beside(names: tuple[str, ...], place: Surroundings, stack: ExitStack) -> list[str]:
    """Prepare these neighbours; returns the command of a lane beside them. ./lane is no use for those in PLAIN."""
    command = place.playbook() if PLAIN & set(names) else place.script()
    for name in names:
        place.env.update(VARIABLES.get(name, {}))
        command = [*AROUND.get(name, []), *command]
        if name == "TMPDIR elsewhere":
            place.env["TMPDIR"] = str(place.base / "tmp" / ("a läng place " * 8))
            Path(place.env["TMPDIR"]).mkdir()
        elif name == "a path with spaces":
            home = copy_checkout(place.base / 'my läne\'s "check" out')
            place.env["ANSIBLE_CONFIG"] = str(home / "ansible.cfg")
            command = [part.replace(str(ROOT / "playbooks"), str(home / "playbooks")) for part in command]
        elif name == "a system MariaDB":
            stack.enter_context(system_database(place))
        elif name == "/etc/kerbside/kerbside.ini":
            if os.getuid() == 0:  # only root can put it there for one program
                stack.enter_context(folder_of_kerbside())
                command = [*with_kerbside_ini(place.base / "kerbside.ini"), *command]
        else:
            assert name in {*AROUND, *VARIABLES}, f"{name} is not known"
    return command


def with_kerbside_ini(file: Path) -> list[str]:
    """What runs a command with all settings of KERBSIDE in /etc/kerbside/kerbside.ini, which only that command sees."""
    settings = {key.removeprefix("KERBSIDE_").lower(): value for key, value in KERBSIDE.items()}
    lines = [f"{key} = {value}\n" for key, value in settings.items() if key != "proxy_bin"]
    file.write_text("".join(["[kerbside]\n", *lines]))
    inside = f'mount -t tmpfs none /etc/kerbside && cp "{file}" /etc/kerbside/ && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", inside, "sh"]


#: What is put before the command, and its environment.
AROUND = {
    "umask 000": ["sh", "-c", 'umask 000; exec "$@"', "sh"],
    "umask 077": ["sh", "-c", 'umask 077; exec "$@"', "sh"],
    "stdin closed": ["sh", "-c", 'exec "$@" <&-', "sh"],
    "HOME unset": ["env", "-u", "HOME"],
}
VARIABLES = {
    "LANG=C": {"LC_ALL": "C", "LANG": "C"},
    "KERBSIDE_* set": KERBSIDE,
}
PLAIN = {"umask 077", "umask 000", "a path with spaces", "KERBSIDE_* set", "/etc/kerbside/kerbside.ini"}
#: A lane is beside several that do not undo each other: it would be red for each of them. No lane here has a terminal.
NEIGHBOURS = [
    ("umask 000", "KERBSIDE_* set"),
    ("umask 077", "a path with spaces", "/etc/kerbside/kerbside.ini"),
    ("TMPDIR elsewhere", "HOME unset", "LANG=C", "stdin closed", "a system MariaDB"),
]


@pytest.mark.parametrize("names", NEIGHBOURS, ids=", ".join)
def test_the_lane_works_beside(names: tuple[str, ...], place: Surroundings) -> None:
    open_to_others: set[str] = set()
    with ExitStack() as stack:
        command = command_beside(names, place, stack)
        run = Started(command, place.environment())
        while run.process.poll() is None:
            open_to_others |= open_in(place.dir)
            time.sleep(0.5)
    assert run.wait(10) == 0, run.text[-3000:]
    assert "LANE PASS" in run.text
    assert place.result["verdict"] == "pass"
    assert [trace for trace in place.seconds_until_gone()[1] if trace != place.env.get("TMPDIR")] == []
    assert open_to_others == set()
