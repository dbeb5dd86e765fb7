"""Bugs planted in Rust source (tools/rust_edits.py), built by a cargo that copies the source to the program's place."""

import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from prepared import executable

from tools import mutants
from tools.mutants import Lane
from tools.rust_edits import PROXY, RYLL, Product, RustEdits

CARGO = """
echo "$PWD $CARGO_TARGET_DIR $CARGO_PROFILE_RELEASE_INCREMENTAL $*" >> "$ASKED"
grep -q broken {source} && { echo "error: broken" >&2; exit 101; }
mkdir -p $CARGO_TARGET_DIR/release && cat {source} > $CARGO_TARGET_DIR/release/{program}
chmod +x $CARGO_TARGET_DIR/release/{program}
"""
#: Where each product has the file that is edited: as an edit names it, in the checkout, and from the crate.
PLACES = {
    "proxy": ("a.rs", "rust/kerbside-proxy/src/a.rs", "src/a.rs"),
    "ryll": ("lib/src/a.rs", "lib/src/a.rs", "../lib/src/a.rs"),
}


@pytest.fixture(params=[PROXY, RYLL], ids=lambda product: product.component)
def product(request: pytest.FixtureRequest) -> Product:
    return request.param


@pytest.fixture
def rust(product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RustEdits:
    _, where, from_crate = PLACES[product.component]
    bin_dir = tmp_path / "bin"
    checkout = tmp_path / "checkout"
    for folder in ((checkout / where).parent, checkout / product.crate, tmp_path / "scratch", bin_dir):
        folder.mkdir(parents=True, exist_ok=True)
    (checkout / where).write_text("#!/bin/sh\n\necho right\n")
    executable(bin_dir / "cargo", CARGO.replace("{source}", from_crate).replace("{program}", product.program))
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return RustEdits(product, checkout, tmp_path / "scratch")


def edit(product: Product, **more: str) -> dict[str, str]:
    file = PLACES[product.component][0]
    return {"name": "wrong-word", "file": file, "needs": "", "find": "right", "put": "wrong", **more}


def started(variables: dict[str, Any]) -> str:
    """What the program says that a lane with these variables starts."""
    program = variables.get("lane_ryll_origin") or variables["kerbside_environment"]["KERBSIDE_PROXY_BIN"]
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


def test_an_edit_is_built_and_undone_beside_the_checkout(product, rust, tmp_path):
    with rust.edited(edit(product)) as line:
        assert (line, started(rust.variables())) == (3, "wrong")
    assert rust.build() == ""
    assert started(rust.variables()) == "right"
    assert "right" in (tmp_path / "checkout" / PLACES[product.component][1]).read_text()
    folder, target, incremental, *arguments = (tmp_path / "asked").read_text().splitlines()[0].split()
    assert (folder, target) == (f"{rust.tree / product.crate}", f"{tmp_path}/cache/kerbside-lane/{product.target}")
    assert incremental == "true"
    assert arguments[:2] == ["build", "--release"]
    assert ("--no-default-features" in arguments) is (product is RYLL)


@pytest.mark.parametrize("product", [RYLL], ids=["ryll"])
def test_ryll_is_started_by_the_same_script_each_time(product, rust):
    scripts = []
    for put in ("wrong", "worse"):
        with rust.edited(edit(product, put=put)):
            scripts.append(Path(rust.variables()["lane_ryll_origin"]).read_bytes())
    assert scripts[0] == scripts[1]  # one entry of the lane's cache


@pytest.mark.parametrize(
    ("more", "said"),
    [({"find": "nowhere"}, "its text is not in"), ({"put": "broken"}, "does not compile: error: broken")],
)
def test_an_edit_that_cannot_be_planted(product, rust, more, said):
    with pytest.raises(SystemExit, match=said), rust.edited(edit(product, **more)):
        pass
    assert rust.build() == ""  # it is undone


def test_each_edit_is_whole_and_each_name_is_there_once(product):
    edits = product.edits()
    assert all(set(one) == {"name", "file", "needs", "find", "put"} and one["find"] != one["put"] for one in edits)
    assert len({one["name"] for one in edits}) == len(edits)
    suites = {path.stem for path in (mutants.ROOT / "roles/suites/files").glob("*.yml")}
    assert {one["needs"] for one in edits} <= {"", *suites}
    assert product.edits(edits[0]["name"]) == [edits[0]]


@pytest.mark.parametrize("smoke_only", [False, True])
def test_each_edit_is_judged_by_the_suite_that_it_names(product, rust, tmp_path, monkeypatch, smoke_only):
    edits = [edit(product), edit(product, name="other", needs="input")]
    monkeypatch.setattr(Product, "edits", lambda self, only: edits)
    judged = []

    class Judged(Lane):
        def judge(self, outcome: mutants.Outcome, words: list[str], **variables: Any) -> mutants.Outcome:
            judged.append((outcome.text, words, started(variables)))
            return outcome

    (tmp_path / "new").mkdir()
    lane = Judged(tmp_path / "new", 98, [], [])
    asked = Namespace(proxy=None, ryll=None, file=None, smoke_only=smoke_only)
    setattr(asked, product.component, tmp_path / "checkout")
    list(mutants.of_rust(lane, asked))
    assert judged == [("wrong-word", [], "wrong"), ("other", [] if smoke_only else ["suites", "input"], "wrong")]
