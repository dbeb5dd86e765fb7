"""kerbside's environment and its proxy: made once for each content, and never in the user's checkout."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.lane.prepare import kerbside, origin, program, python_env
from ansible.module_utils.lane.prepare.source import Place
from prepared import executable, fails, only_index

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
#: A build backend of a page, so that no test needs a registry: it leaves things behind as setuptools does, and writes
#: one wheel of all modules.
BACKEND = """
import pathlib, zipfile
VERSION = open("VERSION").read().strip()
def build_wheel(folder, config=None, metadata=None):
    pathlib.Path("build/lib").mkdir(parents=True, exist_ok=True)
    pathlib.Path("_version.py").write_text(VERSION)
    name, info = f"kerbside-{VERSION}-py3-none-any.whl", f"kerbside-{VERSION}.dist-info"
    files = {f"kerbside/{p.name}": p.read_text() for p in pathlib.Path("kerbside").glob("*.py")}
    needs = "Requires-Dist: mysqlclient==2.3.0\\nRequires-Dist: kerbside-proxy==1\\n"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: kerbside\\nVersion: {VERSION}\\n{needs}"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{n},,\\n" for n in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for entry, text in files.items():
            wheel.writestr(entry, text)
    return name
"""
WITHOUT = ("mysqlclient",)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "cache"), None, str(tmp_path / "log"), 300)


@pytest.fixture
def proxy(tmp_path: Path) -> str:
    """A built proxy."""
    return executable(tmp_path / "proxy", "echo usage")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a tiny kerbside, and no package index."""
    folder = tmp_path / "src"
    (folder / "kerbside").mkdir(parents=True)
    files = {"pyproject.toml": PROJECT, "backend.py": BACKEND, "VERSION": "1.0", ".gitignore": "build/\n_version.py\n"}
    for name, text in {**files, "kerbside/a.py": "", "kerbside/b.py": ""}.items():
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    only_index(tmp_path / "index", monkeypatch)
    for name, value in {"PIP_ROOT": "/nowhere", "PIP_DRY_RUN": "1"}.items():  # what does not count
        monkeypatch.setenv(name, value)
    return folder


def install(place: Place, text: object, proxy: str = "", proxy_bin: str = "") -> kerbside.Installed:
    named = origin.parse(origin.KERBSIDE, str(text), "/")
    return kerbside.install(place, named, origin.parse(origin.PROXY, proxy, "/"), proxy_bin, WITHOUT)


@pytest.mark.slow
def test_a_checkout_is_built_as_it_is_and_left_as_it_was(place, checkout, proxy):
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in checkout.rglob("*") if ".git" not in path.parts}

    before = files()
    first = install(place, checkout, proxy)
    assert not first.cached
    assert first.facts["versions"]["kerbside"] == "1.0"
    assert "mysqlclient" not in first.facts["versions"]
    assert subprocess.run([first.facts["proxy"]], capture_output=True, text=True, check=True).stdout == "usage\n"
    digest = hashlib.sha256(Path(proxy).read_bytes()).hexdigest()
    entry = {"kind": "file", "source": proxy, "version": "", "commit": None, "dirty": None, "sha256": digest}
    assert first.origins["proxy"] == entry
    assert files() == before
    again = install(place, checkout, proxy)
    assert again.cached
    assert again.facts == first.facts

    (checkout / "kerbside/b.py").unlink()  # a module that is gone is gone
    (checkout / "_version.py").write_text("made by a build of the user's")
    second = install(place, checkout, proxy)
    assert not second.cached
    assert second.origins["kerbside"]["sha256"] != first.origins["kerbside"]["sha256"]
    [module] = Path(second.facts["bin"]).parent.rglob("kerbside/*.py")
    assert module.name == "a.py"

    module.unlink()  # a package of the cached environment loses a file: it is made anew
    assert not install(place, checkout, proxy).cached
    assert module.exists()
    (checkout / "rust").mkdir()
    (checkout / "rust/main.rs").write_text("")  # a file of the proxy's source alone
    assert install(place, checkout, proxy).cached


@pytest.mark.slow
def test_a_wheel_is_installed_once_with_a_given_proxy(place, checkout, tmp_path, proxy):
    subprocess.run(["python3", "-c", "import backend; backend.build_wheel('..')"], cwd=checkout, check=True)
    [wheel] = tmp_path.glob("*.whl")
    first = install(place, wheel, proxy_bin=proxy)
    assert (first.facts["proxy"], first.origins["kerbside"]["kind"]) == (proxy, "file")
    given = first.origins["proxy"]
    assert (given["kind"], given["source"]) == ("environment", f"KERBSIDE_PROXY_BIN={proxy}")
    assert install(place, wheel, proxy_bin=proxy).cached


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "code"),
    [
        ("raise RuntimeError('no such thing')", "package_broken"),
        (BACKEND.replace("mysqlclient==2.3.0", "not-to-be-had==1"), "no_such_version"),
    ],
    ids=["broken", "dependency"],
)
def test_a_package_that_does_not_build(place, checkout, proxy, backend, code):
    (checkout / "backend.py").write_text(backend)
    with fails(code, "kerbside"):
        install(place, checkout, proxy)
    assert not list(Path(place.cache_dir, "venvs").glob("[!.]*"))


def test_the_folder_follows_everything_that_matters(place, checkout, tmp_path):
    def home(text: str, *without: str) -> Path:
        named = origin.parse(origin.KERBSIDE, text, "/")
        source = kerbside.resolve(origin.KERBSIDE, named, place)
        return python_env.Environment(source, without).home(place.cache_dir)

    assert len({home("0.8.0"), home("0.8.1"), home("0.8.0", "x"), home(str(checkout))}) == 4
    assert home("kerbside==0.8.0") == home("0.8.0")
    wheel = tmp_path / "kerbside-1.0-py3-none-any.whl"
    wheel.write_bytes(b"some")
    some = home(str(wheel))
    assert home(str(wheel)) == some
    wheel.write_bytes(b"other")
    assert home(str(wheel)) != some


def test_what_cargo_has_to_build(place, checkout, proxy):
    def builds(git: bool = True, **origins: str) -> bool:
        given = {"kerbside": "0.8.0", "proxy": "", "ryll": "0.3.0", "features": [], "here": "/", **origins}
        return kerbside.builds(place, given, git)

    assert not builds()
    assert not builds(kerbside=str(checkout))  # it has no proxy in it
    assert not builds(ryll=proxy)
    assert builds(ryll="crates:0.3.0")
    assert builds(git=False, ryll="git+https://example.invalid/ryll")
    (checkout / "rust/kerbside-proxy").mkdir(parents=True)
    (checkout / "rust/kerbside-proxy/Cargo.toml").write_text("")
    assert builds(kerbside=str(checkout))
    assert not builds(kerbside=str(checkout), proxy="0.8.0")
    source = kerbside.resolve(origin.PROXY, origin.Origin("checkout", str(checkout)), place)
    home = program.Wanted(origin.PROXY, source).home(place)
    home.mkdir(parents=True)
    (home / "kerbside-proxy").write_text("x")
    known = {"sha256": hashlib.sha256(b"x").hexdigest(), "version": "1", "commit": "", "wheel": ""}
    (home / "record.json").write_text(json.dumps(known))
    assert not builds(kerbside=str(checkout))
