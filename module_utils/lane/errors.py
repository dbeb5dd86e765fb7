"""The one exception of the lane: who failed, what was expected, what came, where to look."""

from __future__ import annotations

import time
from typing import Any

#: Components whose failure is a verdict "fail": the spine under test is wrong.
PRODUCT = ("guest", "qemu", "firmware", "kerbside", "proxy", "database", "tls", "ryll")
#: Components whose failure is a verdict "error": the machine or the lane itself is wrong.
SETTING = ("host", "environment", "lane", "artifacts")
COMPONENTS = PRODUCT + SETTING


class LaneError(Exception):
    """A failure that a person can act on; its text is one sentence.

    component: one of COMPONENTS. expected, got: clauses without a full stop.
    where: the file, command or page to look at, or "" when the sentence already says it.
    check: the name of the smoke check that failed, if it was one.
    evidence: path of the file that shows the cause ("path" or "path:line").
    """

    def __init__(
        self,
        component: str,
        expected: str,
        got: str,
        where: str = "",
        *,
        check: str | None = None,
        evidence: str | None = None,
    ) -> None:
        if component not in COMPONENTS:
            raise ValueError(f"unknown component {component!r}; known: {', '.join(COMPONENTS)}")
        self.component = component
        self.expected = expected
        self.got = got
        self.where = where
        self.check = check
        self.evidence = evidence
        #: What else the module shall return with the failure, such as the checks that were done before it.
        self.result: dict[str, Any] = {}
        super().__init__(f"{component}: {self.cause}")

    @property
    def cause(self) -> str:
        """The sentence without the component, as it stands in result.json."""
        text = f"expected {self.expected}, but {self.got}"
        if self.where:
            text += f"; look at {self.where}"
        return one_line(text)

    def as_dict(self) -> dict[str, Any]:
        """What a module returns as `lane_failure`, and `blame` in result.json is made of."""
        return {
            "component": self.component,
            "check": self.check,
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
