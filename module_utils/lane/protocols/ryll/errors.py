"""What can go wrong on a control socket: one exception for each kind, all LaneErrors."""

from __future__ import annotations

from typing import Any

from ...core.errors import LaneError, one_line


class ControlError(LaneError):
    """Root of this package's exceptions; component "ryll" unless said otherwise.

    kind: a short name for programs. sample: words of the peer (a line, a message) that help to understand the failure;
    they are kept apart from the problem because a session with private texts must not quote its peer.
    """

    kind = "control"
    code_of_kind = ""

    def __init__(self, problem: str, fix: str = "", *, component: str = "ryll", sample: str = "") -> None:
        self.sample = sample
        super().__init__(self.code_of_kind, component, problem, fix)

    @property
    def cause(self) -> str:
        return one_line(_sentence(self.problem, self.sample, self.fix))


class Unreachable(ControlError):
    """The socket cannot be reached: it does not exist, nothing listens, no permission."""

    kind = "unreachable"
    code_of_kind = "ryll_unreachable"


class Closed(ControlError):
    """The peer ended the connection."""

    kind = "closed"
    code_of_kind = "ryll_closed"


class ProcessLost(ControlError):
    """The process behind the socket has ended, is a zombie or is stopped."""

    kind = "process"
    code_of_kind = "ryll_process"


class TimedOut(ControlError):
    """The limit passed without an answer."""

    kind = "timeout"
    code_of_kind = "ryll_timeout"


class Malformed(ControlError):
    """The peer sent what the protocol does not allow."""

    kind = "malformed"
    code_of_kind = "ryll_malformed"


class Unsupported(ControlError):
    """The server did not list the verb or event in its answer to hello."""

    kind = "unsupported"
    code_of_kind = "ryll_unsupported"


class Refused(ControlError):
    """The server answered with an error. refusal: ryll's stable error code; its message is the sample."""

    kind = "refused"
    code_of_kind = "ryll_refused"

    def __init__(self, method: str, refusal: str, message: str) -> None:
        self.refusal = refusal
        super().__init__(f"ryll refused `{method}` with {refusal}", sample=message)


class Unmet(ControlError):
    """The protocol worked, but what the step expects did not happen."""

    kind = "unmet"
    code_of_kind = "ryll_unmet"


class BadSteps(ControlError):
    """The list of steps, or a setting of the session, cannot be played; found before anything starts."""

    kind = "input"
    code_of_kind = "ryll_input"

    def __init__(self, problem: str) -> None:
        super().__init__(problem, component="lane")


_OF_KIND = {"unreachable": Unreachable, "closed": Closed, "timeout": TimedOut, "malformed": Malformed}


def failed(kind: str, problem: str, sample: str) -> ControlError:
    """The exception for what the connection reports (protocols/json_lines.py)."""
    return _OF_KIND[kind](problem, sample=sample)


class SessionFailed(ControlError):
    """A step failed: the problem names it, `result` holds the transcript so far. kind and code are those of the
    failure; check is the step's name.
    """

    kind = "unmet"
    code_of_kind = "ryll_unmet"

    def __init__(
        self, place: str, error: LaneError, *, problem: str, component: str, fix: str, evidence: str | None, check: str
    ) -> None:
        super().__init__(
            f"{place}: {problem}",
            fix,
            component=component,
            sample=error.sample if isinstance(error, ControlError) else "",
        )
        self.kind = error.kind if isinstance(error, ControlError) else "environment"
        self.code = error.code
        self.check = check
        self.evidence = evidence
        self.result: dict[str, Any] = {}

    @property
    def cause(self) -> str:
        return one_line(_sentence(self.problem, self.sample, self.fix), 800)


def _sentence(problem: str, sample: str, fix: str) -> str:
    text = f"{problem}: {quoted(sample)}" if sample else problem
    return f"{text}; {fix}" if fix else text


def quoted(text: str, limit: int = 120) -> str:
    """The peer's words between quotes, on one line, cut at limit characters."""
    return f'"{one_line(text, limit)}"'


def quoted_end(text: str, limit: int = 300) -> str:
    """The end of a text between quotes, on one line, its beginning cut off when it is longer than limit characters."""
    line = one_line(text, len(text) + 1)
    return f'"{line}"' if len(line) <= limit else f'"...{line[-limit:]}"'
