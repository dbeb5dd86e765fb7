"""Mutants of a Python source: copies in which one condition, constant or exit is changed.

They tell which lines no test (or no lane) watches.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: ">=",
    ast.LtE: ">",
    ast.Gt: "<=",
    ast.GtE: "<",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
#: The same with the boundary moved: "<" for "<=".
BOUNDARIES: dict[type[ast.cmpop], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
#: Keyword arguments that change how something looks or guards what cannot happen.
COSMETIC = {"strict", "indent", "sort_keys", "ensure_ascii", "flush"}


@dataclass(frozen=True)
class Mutant:
    """One change of a source. start, end: the byte range that `text` replaces; line: from 1; what: the change for
    people ("< -> <=").
    """

    start: int
    end: int
    text: str
    line: int
    what: str

    def of(self, source: bytes) -> bytes:
        """The whole mutated source."""
        return source[: self.start] + self.text.encode() + source[self.end :]


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes) -> None:
        self.source = source
        self.found: list[Mutant] = []
        self._lines = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]

    def span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno and node.end_col_offset
        return self._lines[node.lineno - 1] + node.col_offset, self._lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def add(self, node: ast.expr | ast.stmt, text: str, what: str) -> None:
        self.found.append(Mutant(*self.span(node), text, node.lineno, what))

    def condition(self, node: ast.expr) -> None:
        inverted = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        if not isinstance(node, ast.Compare | ast.Constant) and not inverted:
            self.add(node, f"(not ({self.text(node)}))", "condition negated")

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            left, right = self.text(node.left), self.text(node.comparators[0])
            # no test meets a boundary of time
            clock = any(word in left + right for word in ("time.monotonic()", "time.time()"))
            for table in (COMPARISONS,) if clock else (COMPARISONS, BOUNDARIES):
                if new := table.get(type(node.ops[0])):
                    self.add(node, f"({left} {new} {right})", f"-> {new}")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        joint = " or " if isinstance(node.op, ast.And) else " and "
        self.add(node, "(" + joint.join(f"({self.text(value)})" for value in node.values) + ")", f"->{joint.rstrip()}")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.add(node, f"bool({self.text(node.operand)})", "not removed")
        self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if self.text(node.test) != "TYPE_CHECKING":
            self.condition(node.test)
            self.generic_visit(node)

    visit_While = visit_IfExp = visit_If

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.condition(test)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.add(node, "pass", "raise removed")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, str(not node.value), f"-> {not node.value}")
        elif isinstance(node.value, int | float):
            new = node.value * 2 + 1
            self.add(node, repr(new), f"{node.value} -> {new}")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """What stands in a sentence is for people."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]:
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in node.body:
            self.visit(part)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in COSMETIC:
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)


def mutants(source: bytes) -> Iterator[Mutant]:
    """Every mutant of the source that is still Python and differs from it.

    Annotations, decorators and f-strings are left alone.
    """
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    known = {source}
    for mutant in sorted(finder.found, key=lambda mutant: (mutant.start, mutant.end, mutant.text)):
        changed = mutant.of(source)
        if changed not in known:
            known.add(changed)
            with contextlib.suppress(SyntaxError):
                ast.parse(changed)
                yield mutant
