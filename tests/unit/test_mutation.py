"""The mutants of a source, each a change of one condition, constant or exit (tools/mutation.py)."""

import ast

import pytest
import yaml

from tools import ROOT
from tools.mutation import mutants


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a == b", ["x = (a != b)"]),
        ("x = a < b", ["x = (a <= b)", "x = (a >= b)"]),
        ("x = a < time.monotonic() - b", ["x = (a >= time.monotonic() - b)"]),
        ("if TYPE_CHECKING:\n    a = 1", []),
        ("x = a not in b", ["x = (a in b)"]),
        ("x = a and b and c", ["x = ((a) or (b) or (c))"]),
        ("x = not a", ["x = bool(a)"]),
        ("while a:\n    b()", ["while (not (a)):\n    b()"]),
        ("x = [a for a in b if c(a)]", ["x = [a for a in b if (not (c(a)))]"]),
        ("if a:\n    raise E", ["if (not (a)):\n    raise E", "if a:\n    pass"]),
        ("x = f(True, 2)", ["x = f(False, 2)", "x = f(True, 5)"]),
        ("def f(a: int = 1) -> X:\n    g(strict=True)", ["def f(a: int = 3) -> X:\n    g(strict=True)"]),
        ("@d(x=True)\nclass A:\n    y: int = 1", ["@d(x=True)\nclass A:\n    y: int = 3"]),
        ('x = f"{1 if a else 2}"', []),
        ("é = 'é' == b", ["é = ('é' != b)"]),
    ],
)
def test_each_change_is_made_once_and_is_python(source, expected):
    found = [mutant.of(source.encode()).decode() for mutant in mutants(source.encode())]
    assert sorted(found) == sorted(expected)
    for text in found:
        ast.parse(text)


def test_a_mutant_that_is_listed_as_equivalent_is_there():
    listed = yaml.safe_load((ROOT / "tests/mutation/equivalent.yml").read_text(encoding="utf-8"))
    there = set()
    for module in {one["module"] for one in listed}:
        source = (ROOT / module).read_bytes()
        lines = source.decode().splitlines()
        there |= {(module, lines[mutant.line - 1].strip(), mutant.what) for mutant in mutants(source)}
    wrong = [one for one in listed if (one["module"], one["line"], one["change"]) not in there or not one["reason"]]
    assert wrong == []
