"""tests/lint/errors.py: green on the checkout, and red on each gap between the codes, their uses, and the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint import errors

CODES = (
    'CODES: dict[str, tuple[str, str]] = {"lane_taken": ("It is taken.", "Use another."),'
    ' "no_room": ("It is full.", "Free some.")}\n'
)
RAISES = 'raise LaneError("lane_taken", "lane", "x")\nFound(code="no_room")\n'
STALE = "docs/errors.md is out of date"
NO_SNAKE = ["noRoom is not in snake_case", "the code no_room is not in", "nothing raises noRoom", STALE]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small checkout in which all is well."""
    for folder in (*errors.PRODUCT, "docs", "module_utils/lane/core"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / errors.TABLE).write_text(CODES)
    (tmp_path / "library/a.py").write_text(RAISES)
    (tmp_path / errors.PAGE).write_text(errors.page(tmp_path, errors.scan(tmp_path)[0]))
    return tmp_path


def test_the_checkout_has_no_unknown_or_unused_code() -> None:
    assert errors.scan(errors.ROOT)[1] == []


@pytest.mark.parametrize(
    ("file", "text", "wrong"),
    [
        ("library/a.py", f'{RAISES}LaneError("no_such", "lane", "x")', ["library/a.py:3: the code no_such is not in"]),
        ("library/a.py", f'{RAISES}errors.LaneError("typo", "x")', ["library/a.py:3: the code typo is not in"]),
        ("library/a.py", f'{RAISES}Found(code="no_rom")', ["library/a.py:3: the code no_rom is not in"]),
        ("library/a.py", 'LaneError("lane_taken", "lane", "x")\n', ["nothing raises no_room", STALE]),
        (errors.TABLE, CODES.replace("It is full.", "full"), ["no_room: no sentence: 'full'", STALE]),
        (errors.TABLE, CODES.replace("no_room", "noRoom"), NO_SNAKE),
        (errors.PAGE, "", [STALE]),
    ],
)
def test_a_gap_is_named(tree: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, wrong: list[str]) -> None:
    assert errors.main(["--check", str(tree)]) == 0
    (tree / file).write_text(text)
    capsys.readouterr()
    assert errors.main(["--check", str(tree)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(wrong)
    assert all(words in line for words, line in zip(wrong, printed, strict=True)), printed


def test_the_page_is_written(tree: Path) -> None:
    (tree / errors.PAGE).unlink()
    assert errors.main([str(tree)]) == 0
    assert "| `no_room` | It is full. | Free some. | library/a.py |" in (tree / errors.PAGE).read_text()
