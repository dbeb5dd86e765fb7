"""pip: which settings of the caller count, and whose fault its failures are. The texts are what pip 23 and 26 print."""

import pytest
from ansible.module_utils.lane.prepare import pip
from prepared import fails

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError("
    "'<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new connection: "
    "[Errno -3] Temporary failure in name resolution')': /simple/kerbside/\n"
)
NONE = """ERROR: Could not find a version that satisfies the requirement kerbside==9 (from versions: {})
ERROR: No matching distribution found for kerbside==9
"""
BOX = """  error: subprocess-exited-with-error
  \u00d7 Building wheel did not run successfully.
  \u2570\u2500> [3 lines of output]
      {}
      [end of output]
"""
IN_C = "x.c:3:1: error: unknown type name 'in'\n      x.c:9:1: error: other"
NO_GCC = "error: command 'gcc' failed: No such file or directory"
NO_TABLE = "Traceback\n      ValueError: invalid pyproject.toml config: `project.version`"
NOT_TOML = """ERROR: Exception:
Traceback (most recent call last):
  File "/v/pip/_vendor/tomli/_parser.py", line 298, in create_dict_rule
    raise suffixed_err(src, pos, "Expected ']' at the end of a table declaration")
pip._vendor.tomli.TOMLDecodeError: Expected ']' at the end of a table declaration (at line 1, column 9)
"""
NOT_UTF_8 = """ERROR: Exception:
Traceback (most recent call last):
  File "/v/pip/_internal/pyproject.py", line 64, in load_pyproject_toml
    pp_toml = tomli.loads(f.read())
UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 16: invalid start byte
"""
UNREADABLE = "its pyproject.toml cannot be read: "
HASHES = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("said", "code", "component", "words"),
    [
        (RETRY + NONE.format("none"), "no_package_index", "environment", "(Temporary failure in name resolution)"),
        (RETRY + NONE.format("0.7.0"), "no_package_index", "environment", ""),  # some other source has others
        (BOX.format(RETRY + NONE.format("none")), "no_package_index", "environment", ""),  # what the build needs
        (NONE.format("none"), "no_such_version", "kerbside", "newest is none"),
        (NONE.format("0.7.0, 0.8.0"), "no_such_version", "kerbside", "newest is 0.8.0"),
        (RETRY + BOX.format(IN_C), "package_broken", "kerbside", "error: unknown type"),
        (BOX.format(NO_TABLE), "package_broken", "kerbside", "ValueError: invalid"),
        (NOT_TOML, "package_broken", "kerbside", f"{UNREADABLE}pip._vendor.tomli.TOMLDecodeError: Expected"),
        (NOT_UTF_8, "package_broken", "kerbside", f"{UNREADABLE}UnicodeDecodeError: 'utf-8' codec"),
        (BOX.format(NO_GCC), "no_compiler", "host", "gcc is not installed"),
        (HASHES, "wrong_hash", "environment", ""),
        ("ERROR: ResolutionImpossible: for help visit", "pip_failed", "kerbside", ""),
        (FULL, "pip_failed", "environment", "No space left"),
    ],
    ids="name other build none newest error exception toml utf-8 gcc hash conflict full".split(),
)
def test_a_failure_has_its_kind(said, code, component, words):
    with fails(code, component, words):
        raise pip.failure(said, "install kerbside", "log", "kerbside")
    own = pip.failure(said, "install kerbside", "log", "")
    assert (own.code, own.component) == (code, "host" if component == "host" else "environment")


def test_a_real_index_that_cannot_be_reached(tmp_path, monkeypatch):
    """Real pip, a port where nobody listens."""
    settings = {"INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "0", "FIND_LINKS": "", "NO_INDEX": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    arguments = ["download", "--dest", str(tmp_path), "nothing==1"]
    with fails("no_package_index"):
        pip.run(pip.program(), arguments, pip.environment(None), 60, "download", str(tmp_path / "log"), "ryll")


def test_only_the_settings_for_an_index_count(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://i.test/simple\nroot = /elsewhere\n"
        "[install]\nuser = true\ndry-run = true\ntrusted-host = i.test\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    for name in ("PIP_ROOT", "PIP_TARGET", "PIP_DRY_RUN", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_CERT", "/cert")
    env = pip.environment("9/t")
    found = {name: value for name, value in env.items() if name.startswith("PIP_")}
    for ours in ("PIP_FIND_LINKS", "PIP_DEFAULT_TIMEOUT"):  # of the machine that runs the test
        found.pop(ours, None)
    assert found == {
        "PIP_INDEX_URL": "https://i.test/simple",
        "PIP_TRUSTED_HOST": "i.test",
        "PIP_CERT": "/cert",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_RETRIES": pip.RETRIES,
        "PIP_REQUIRE_VIRTUALENV": "0",
    }


def test_without_any_pip_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(pip.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(pip.command, "find_program", lambda name: None)
    with fails("no_pip", "host") as caught:
        pip.program()
    assert "python3-pip" in caught.value.fix
    monkeypatch.setattr(pip.command, "find_program", lambda name: f"/bin/{name}")
    assert pip.program() == ["/bin/pip3"]
