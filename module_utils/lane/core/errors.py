"""The one exception of the lane: which component failed, what failed and why, what to do about it, and a stable code
for programs.
"""

from __future__ import annotations

import time
from typing import Any

from .codes import CODES

#: Components whose failure is a verdict "fail": a product under test is wrong.
PRODUCT = ("guest", "qemu", "firmware", "kerbside", "proxy", "database", "tls", "ryll")
#: Components whose failure is a verdict "error": the machine or the lane itself is wrong.
SETTING = ("host", "environment", "lane", "artifacts")
COMPONENTS = PRODUCT + SETTING


class LaneError(Exception):
    """A failure that a person can act on.

    code: one of codes.CODES; it never changes, the words may. component: one of COMPONENTS. problem: what failed and
    why, a clause without a full stop ("lane 60 is already running in /tmp/kerbside-lane-60"). fix: what to do ("stop it
    (./lane down -e lane_id=60) or use another lane_id"), or "" when the problem already says it. check: the name of the
    check that failed, if it was one. evidence: the file that shows the cause ("path" or "path:line").
    """

    def __init__(
        self,
        code: str,
        component: str,
        problem: str,
        fix: str = "",
        *,
        check: str | None = None,
        evidence: str | None = None,
    ) -> None:
        if component not in COMPONENTS:
            raise ValueError(f"unknown component {component!r}; known: {', '.join(COMPONENTS)}")
        if code not in CODES:
            raise ValueError(f"unknown code {code!r}; add it to module_utils/lane/core/codes.py")
        self.code = code
        self.component = component
        self.problem = problem
        self.fix = fix
        self.check = check
        self.evidence = evidence
        #: What else the module returns with the failure, such as the checks that were done before it.
        self.result: dict[str, Any] = {}
        super().__init__(f"{component}: {self.cause}")

    @property
    def cause(self) -> str:
        """The sentence without the component, as it is in result.json."""
        return one_line(f"{self.problem}; {self.fix}" if self.fix else self.problem)

    def as_dict(self) -> dict[str, Any]:
        """What a module returns as `lane_failure`, and what `blame` in result.json is made of."""
        return {
            "component": self.component,
            "check": self.check,
            "code": self.code,
            "cause": self.cause,
            "evidence": self.evidence,
        }


def clock(seconds: float) -> str:
    """A time (seconds since 1970) as it is written everywhere: UTC, with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def one_line(text: str, limit: int = 600) -> str:
    """Fold white space and control characters into single blanks and cut at limit characters."""
    folded = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return folded if len(folded) <= limit else folded[: limit - 3] + "..."
