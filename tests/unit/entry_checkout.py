"""A throw-away checkout with the real `lane` and a stub for Ansible, made here, which records how it was run."""

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: ansible.cli.playbook of the stub.
STUB = """
import json, os, signal, sys, time

if os.environ.get("STUB_STATUS") == "IMPORT":
    raise ImportError("broken")

def main():
    seen = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}
    seen["stdin"] = os.path.realpath("/proc/self/fd/0")
    seen["sigint"] = str(signal.getsignal(signal.SIGINT))
    with open(os.environ["STUB_SEEN"], "w") as file:
        json.dump(seen, file)
    if "STUB_WAIT" in os.environ:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(99)
    print(os.environ.get("STUB_SAYS", ""), end="")
    if os.environ.get("STUB_VERDICT"):
        with open(os.environ["LANE_VERDICT_FILE"], "w") as file:
            file.write(os.environ["STUB_VERDICT"])
    if os.environ.get("STUB_STATUS") == "KILL":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(int(os.environ.get("STUB_STATUS", "0")))
"""
STUBS = {f"ansible/{name}": "" for name in ("__init__.py", "cli/__init__.py", "module_utils/__init__.py")}
STUBS["ansible/cli/playbook.py"] = STUB


def wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """Make a wheel with these files; returns its line for a requirements file."""
    info = f"{name}-1.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": kind}
    files[f"{info}/RECORD"] = "".join(f"{at},,\n" for at in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        for inside, text in files.items():
            made.writestr(inside, text)
    return f"{name} @ {path.as_uri()} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Checkout:
    """A checkout with the real `lane` and a stub for Ansible."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "Prüf lane's"
        self.path.mkdir(parents=True)
        self.seen = folder / "seen.json"
        shutil.copy2(ROOT / "lane", self.path)
        for name in ("tools", "module_utils", "roles"):
            shutil.copytree(ROOT / name, self.path / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.path.joinpath("requirements.txt").write_text(wheel(folder, "stub", STUBS), encoding="utf-8")
        dev = wheel(folder, "devstub", {"devstub.py": ""})
        self.path.joinpath("requirements-dev.txt").write_text(dev, encoding="utf-8")
        self.path.joinpath("tests/faults").mkdir(parents=True)
        shutil.copy2(ROOT / "tests/faults/catalogue.yml", self.path / "tests/faults")
        for script in ("tests/faults/run.py", "tools/bench.py", "tools/run_tests.py"):
            needed = ", devstub" if script == "tools/run_tests.py" else ""
            self.path.joinpath(script).write_text(f"import sys{needed}; print('ran', sys.argv)\n", encoding="utf-8")

    @property
    def venv(self) -> Path:
        return self.path / ".venv"

    def environment(self, **env: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "STUB_SEEN": str(self.seen), **env}

    def run(
        self, *args: str, cwd: Path | None = None, around: tuple[str, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `./lane ARGS`, behind the words of around, with PATH, HOME, what the stub needs and env alone."""
        self.seen.unlink(missing_ok=True)
        command = [*around, str(self.path / "lane"), *args]
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 120}
        return subprocess.run(command, env=self.environment(**env), cwd=cwd, **how)

    def tell(self) -> dict[str, Any]:
        """What the stub was called with."""
        return json.loads(self.seen.read_text(encoding="utf-8"))
