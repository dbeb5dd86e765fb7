"""Bad neighbours: the lane works in surroundings that upset other programs, or says in one sentence why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from lane_numbers import lane_ids
from whole_lanes import ROOT, Started, Surroundings, copy_checkout, surroundings

pytestmark = pytest.mark.slow
AT_ONCE = 2
#: What holds no secret. community.crypto writes these by the umask and sets the mode a moment later, in a directory that nobody else can enter.
PUBLIC = {"ca.csr", "ca.pem", "proxy.csr", "proxy.pem"}
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


@dataclass
class Outcome:
    """What one lane came to."""

    status: int
    text: str
    result: dict
    left: list[str]
    open_to_others: list[str]


@contextmanager
def system_database(place: Surroundings) -> Iterator[None]:
    """A MariaDB of the machine's own, where Debian has it: its socket in /run/mysqld, its port 3306."""
    if Path("/run/mysqld/mysqld.sock").is_socket():
        yield
        return
    Path("/run/mysqld").mkdir(exist_ok=True)
    data = place.base / "var-lib-mysql"
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={data}", "--force"], capture_output=True, check=True)
    options = [f"--user={user}", f"--datadir={data}", "--socket=/run/mysqld/mysqld.sock", "--port=3306", "--bind-address=127.0.0.1"]
    server = subprocess.Popen(["mariadbd", "--no-defaults", *options], env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not Path("/run/mysqld/mysqld.sock").is_socket():
            assert server.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        yield
        assert server.poll() is None, "the system's database did not survive the lane"
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        Path("/run/mysqld/mysqld.sock").unlink(missing_ok=True)


def is_open(path: Path) -> bool:
    """Whether others than the owner have rights on a file that is none of PUBLIC."""
    return path.name not in PUBLIC and bool(path.lstat().st_mode & 0o077) and not path.is_socket()


def with_umask(mask: str, command: list[str]) -> list[str]:
    return ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *command]


def command_of(name: str, place: Surroundings) -> list[str]:
    """The command for one neighbour; it also prepares what that needs."""
    script = place.script()
    if name.startswith("umask"):
        return with_umask(name.split()[1], place.playbook())
    if name == "TMPDIR elsewhere":
        elsewhere = place.base / "tmp" / ("a läng place " * 8)
        elsewhere.mkdir()
        place.env["TMPDIR"] = str(elsewhere)
        return script
    if name == "a path with spaces":
        home = copy_checkout(place.base / 'my läne\'s "check" out')
        place.env["ANSIBLE_CONFIG"] = str(home / "ansible.cfg")
        return [part.replace(str(ROOT / "playbooks"), str(home / "playbooks")) for part in place.playbook()]
    if name == "HOME unset":
        return ["env", "-u", "HOME", *script]
    if name == "HOME read-only":
        place.env["HOME"] = "/proc"  # not even root can write there
        return script
    if name == "LANG=C":
        place.env.update(LC_ALL="C", LANG="C")
        return script
    if name == "stdin closed":
        return ["sh", "-c", 'exec "$@" <&-', "sh", *script]
    if name == "no tty":
        return ["setsid", "--wait", *script]
    if name == "KERBSIDE_* set":
        place.env.update(KERBSIDE)
        return place.playbook()
    if name == "/etc/kerbside/kerbside.ini":
        ini = "[kerbside]\n" + "".join(f"{key.removeprefix('KERBSIDE_').lower()} = {value}\n" for key, value in KERBSIDE.items() if key != "KERBSIDE_PROXY_BIN")
        (place.base / "kerbside.ini").write_text(ini)
        inside = f'mount -t tmpfs none /etc/kerbside && cp "{place.base}/kerbside.ini" /etc/kerbside/ && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", inside, "sh", *place.playbook()]
    assert name == "a system MariaDB"
    return script


def carry_out(name: str, number: int) -> Outcome:
    with surroundings(number) as place:
        command = command_of(name, place)
        database = system_database(place) if name == "a system MariaDB" else nullcontext()
        with database:
            run = Started(command, place.environment())
            open_to_others: set[str] = set()
            while run.process.poll() is None:
                for root, folders, names in os.walk(place.dir):
                    folders[:] = [f for f in folders if f not in ("db", "tmp")]  # mariadbd's and Ansible's own affair, behind a door that is closed
                    with suppress(OSError):
                        open_to_others |= {f"{root}/{n}" for n in names if is_open(Path(root, n))}
                        if os.lstat(root).st_mode & 0o077:
                            open_to_others.add(root)
                time.sleep(0.5)
            status = run.wait(10)
        _, left = place.seconds_until_gone()
        left = [trace for trace in left if trace != place.env.get("TMPDIR") and "mariadbd --no-defaults" not in trace]
        path = place.artifacts / "result.json"
        return Outcome(status, run.text, json.loads(path.read_text()) if path.exists() else {}, left, sorted(open_to_others))


NEIGHBOURS = [
    "umask 077",
    "umask 000",
    "TMPDIR elsewhere",
    "a path with spaces",
    "HOME unset",
    "HOME read-only",
    "LANG=C",
    "stdin closed",
    "no tty",
    "KERBSIDE_* set",
    "a system MariaDB",
    "/etc/kerbside/kerbside.ini",
]


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Future[Outcome]]]:
    """One full lane for each neighbour, AT_ONCE at a time."""
    made = not Path("/etc/kerbside").exists()
    if os.getuid() == 0 and made:
        Path("/etc/kerbside").mkdir()  # empty; the file is there for its own lane only, in a mount namespace
    try:
        with lane_ids(AT_ONCE) as ids, ThreadPoolExecutor(AT_ONCE) as pool:
            free = list(ids)

            def one(name: str) -> Outcome:
                number = free.pop()
                try:
                    return carry_out(name, number)
                finally:
                    free.append(number)

            started = {name: pool.submit(one, name) for name in NEIGHBOURS}
            yield started
            for future in started.values():
                future.cancel()  # those that were not chosen or not reached
    finally:
        if os.getuid() == 0 and made:
            Path("/etc/kerbside").rmdir()


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_lane_works_beside(name: str, outcomes: dict[str, Future[Outcome]]) -> None:
    if name == "/etc/kerbside/kerbside.ini" and os.getuid() != 0:
        pytest.skip("only root can put a file there for one program")
    outcome = outcomes[name].result(600)
    assert outcome.status == 0, outcome.text[-3000:]
    assert outcome.result["verdict"] == "pass"
    assert outcome.left == []
    assert outcome.open_to_others == []
    if name == "/etc/kerbside/kerbside.ini":
        assert "LANE PASS" in outcome.text
