"""Which statements of kerbside's Python count (tools/kerbside_lines.py)."""

from pathlib import Path
from typing import Any

import pytest

from tools import kerbside_lines, mutants

SOURCE = """\
class Page:
    def get(self):
        if flask.request.headers.get('Accept', 'text/html').find('text/html') != -1:
            show(
                1 < 2)
        else:
            answer(3 < 4)

    def other(self):
        return 5 < 6


def other():
    return 7 < 8
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    entries = [{"file": "left/", "reason": "x"}, {"file": "page.py", "functions": ["Page.other"], "reason": "x"}]
    known: dict[str, list[dict[str, Any]]] = {"left_out": entries, "equivalent": []}
    monkeypatch.setattr(kerbside_lines, "listed", known.__getitem__)
    Path(tmp_path, "left").mkdir()
    for name in ("page.py", "left/out.py", "empty.py"):
        Path(tmp_path, name).write_text(SOURCE if name == "page.py" else "")
    return tmp_path


def test_pages_and_what_is_listed_do_not_count(package):
    assert kerbside_lines.files(package) == ["empty.py", "page.py"]
    assert kerbside_lines.left_out(SOURCE, "page.py") == {4, 5, 10}
    assert kerbside_lines.left_out(SOURCE, "else.py") == {4, 5}


def test_the_share_is_of_what_counts(package):
    found = kerbside_lines.shares(package, {"page.py": {1, 2, 3, 4, 7, 10}})
    assert found == {"page.py": (4, 7)}
    assert kerbside_lines.table(found).splitlines()[-1].split()[:5] == ["57.1", "%", "4", "of", "7"]


def test_no_mutant_is_made_in_what_does_not_count(package, monkeypatch):
    found = mutants.candidates(package, {"page.py": set(range(1, 15))})
    assert {mutant.line for _, mutant, _ in found} == {3, 7, 14}
    changes = [mutant.what for _, mutant, _ in found if mutant.line == 14]
    equivalent = [{"file": "page.py", "line": "return 7 < 8", "change": change} for change in changes]
    monkeypatch.setattr(kerbside_lines, "listed", lambda key: equivalent if key == "equivalent" else [])
    assert 14 not in {mutant.line for _, mutant, _ in mutants.candidates(package, {"page.py": set(range(1, 15))})}


def test_everything_that_is_left_out_has_its_reason():
    assert all(one["reason"] for key in ("left_out", "equivalent") for one in kerbside_lines.listed(key))
