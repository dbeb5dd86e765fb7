"""Holds the error codes and the code that uses them together, and makes docs/errors.md of both:
errors.py [--check] [CHECKOUT]

Every code that is given to an error is in module_utils/lane/core/codes.py, and every code of that table is used
somewhere in the product. With --check nothing is written, and a page that is not as it would be written makes the
status 1.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = "module_utils/lane/core/codes.py"
PAGE = "docs/errors.md"
PRODUCT = ("module_utils", "library", "plugins", "tools")
HEAD = """# Error codes

What does a code mean, and what should I do? `blame.code` in `result.json` is one of these, and so is the code on the
report. Codes are stable; the words of a cause are not. This page is made from module_utils/lane/core/codes.py by
`.venv/bin/python tests/lint/errors.py`.

| code | what it means | what to do | raised in |
|---|---|---|---|
"""


def table(root: Path) -> dict[str, tuple[str, str]]:
    """CODES of a checkout, without importing it."""
    for node in ast.parse((root / TABLE).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CODES" and node.value:
            return ast.literal_eval(node.value)
    raise SystemExit(f"{root / TABLE} has no CODES")


def given(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(code, line) of each constant that is given to an error as its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            codes = [word.value for word in node.keywords if word.arg == "code"]
            if re.fullmatch(r"(.*\.)?LaneError", ast.unparse(node.func)):
                codes += node.args[:1]
            for code in codes:
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    yield code.value, node.lineno


def scan(root: Path) -> tuple[dict[str, set[str]], list[str]]:
    """({code: the files that use it}, what is wrong)."""
    codes = table(root)
    used: dict[str, set[str]] = {code: set() for code in codes}
    wrong = []
    for code, texts in codes.items():
        if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", code):
            wrong.append(f"{TABLE}: {code} is not in snake_case")
        wrong += [f"{TABLE}: {code}: no sentence: {text!r}" for text in texts if not re.fullmatch(r"\w.*[.]", text)]
    for path in sorted(path for folder in PRODUCT for path in (root / folder).rglob("*.py")):
        name = str(path.relative_to(root))
        if name == TABLE:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unknown = [(code, line) for code, line in given(tree) if code not in codes]
        wrong += [f"{name}:{line}: the code {code} is not in {TABLE}" for code, line in unknown]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in used:
                used[node.value].add(name)
    return used, wrong + [f"{TABLE}: nothing raises {code}" for code, files in used.items() if not files]


def page(root: Path, used: dict[str, set[str]]) -> str:
    """docs/errors.md."""
    rows = [
        f"| `{code}` | {meaning} | {fix} | {', '.join(sorted(used[code]))} |\n"
        for code, (meaning, fix) in sorted(table(root).items())
    ]
    return HEAD + "".join(rows)


def main(words: list[str]) -> int:
    """Entry point."""
    root = Path(next((word for word in words if word != "--check"), ROOT))
    used, wrong = scan(root)
    wanted, path = page(root, used), root / PAGE
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        if "--check" in words:
            wrong.append(f"{PAGE} is out of date; run .venv/bin/python tests/lint/errors.py")
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote {PAGE}")
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
