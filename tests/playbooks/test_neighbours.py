"""Bad neighbours: the lane works in surroundings that upset other programs, or says in one sentence why not."""

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from whole_lanes import ROOT, Started, Surroundings, copy_checkout

pytestmark = pytest.mark.slow
ALONE = nullcontext()
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


def kerbside_ini(place: Surroundings, stack: ExitStack) -> list[str]:
    """What runs a command with the settings of KERBSIDE in /etc/kerbside/kerbside.ini, which only that command sees."""
    if not (folder := Path("/etc/kerbside")).exists():
        folder.mkdir()
        stack.callback(folder.rmdir)
    settings = {key.removeprefix("KERBSIDE_").lower(): value for key, value in KERBSIDE.items()}
    lines = [f"{key} = {value}\n" for key, value in settings.items() if key != "proxy_bin"]
    file = place.base / "kerbside.ini"
    file.write_text("".join(["[kerbside]\n", *lines]))
    inside = f'mount -t tmpfs none {folder} && cp "{file}" {folder}/ && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", inside, "sh"]


def works(place: Surroundings, command: list[str], beside: AbstractContextManager[None] = ALONE) -> None:
    """This command is a green lane, whose files are nobody else's at any time; it leaves nothing."""
    open_to_others: set[str] = set()
    with beside:
        run = Started(command, place.environment())
        while run.process.poll() is None:
            open_to_others |= open_in(place.dir)
            time.sleep(0.5)
    assert run.wait(10) == 0, run.text[-3000:]
    assert "LANE PASS" in run.text
    assert place.result["verdict"] == "pass"
    assert [trace for trace in place.seconds_until_gone()[1] if trace != place.env.get("TMPDIR")] == []
    assert open_to_others == set()


# Each lane is beside several neighbours that do not undo each other; it would be red for each of them.


def test_a_umask_of_077_a_path_with_spaces_and_a_hostile_kerbside_ini(place):
    home = copy_checkout(place.base / 'my läne\'s "check" out')
    place.env["ANSIBLE_CONFIG"] = str(home / "ansible.cfg")
    command = [part.replace(str(ROOT / "playbooks"), str(home / "playbooks")) for part in place.playbook()]
    with ExitStack() as stack:
        if os.getuid() == 0:  # only root can put it there for one program
            command = [*kerbside_ini(place, stack), *command]
        works(place, ["sh", "-c", 'umask 077; exec "$@"', "sh", *command])


def test_a_umask_of_000_another_kerbside_tmpdir_and_locale_no_home_nor_stdin_and_a_system_mariadb(place):
    place.env |= {**KERBSIDE, "TMPDIR": str(place.base / "tmp" / ("a läng place " * 8)), "LC_ALL": "C", "LANG": "C"}
    Path(place.env["TMPDIR"]).mkdir()
    command = ["sh", "-c", 'umask 000; exec env -u HOME "$@" <&-', "sh", *place.script()]
    works(place, command, beside=system_database(place))
