"""What can go wrong on a control socket: one exception for each kind, all LaneErrors."""

from __future__ import annotations

from typing import Any

from ...core.errors import LaneError, one_line


class ControlError(LaneError):
    """Root of this package's exceptions; component "ryll" unless said otherwise.

    kind: a short name for programs. sample: words of the peer (a line, a message) that help to understand the failure; they are
    kept apart from the sentence because a session with private texts must not quote its peer.
    """

    kind = "control"

    def __init__(self, expected: str, got: str, where: str = "", *, component: str = "ryll", sample: str = "") -> None:
        self.sample = sample
        self.expected = expected
        self.got = got
        self.where = where
        super().__init__("unclassified", component, f"expected {expected}, but {got}", f"look at {where}" if where else "")

    @property
    def cause(self) -> str:
        if not self.sample:
            return super().cause
        text = f"expected {self.expected}, but {self.got}: {quoted(self.sample)}"
        return one_line(f"{text}; look at {self.where}" if self.where else text)


class Unreachable(ControlError):
    """There is no way to the socket: nothing there, nobody listens, no permission."""

    kind = "unreachable"


class Closed(ControlError):
    """The peer ended the connection."""

    kind = "closed"


class ProcessLost(ControlError):
    """The process behind the socket has ended, is a zombie or is stopped."""

    kind = "process"


class TimedOut(ControlError):
    """The limit passed without an answer."""

    kind = "timeout"


class Malformed(ControlError):
    """The peer sent what the protocol does not allow."""

    kind = "malformed"


class Unsupported(ControlError):
    """The server did not list the verb or event in its answer to hello."""

    kind = "unsupported"


class Refused(ControlError):
    """The server answered with an error. code: ryll's stable error code; its message is the sample."""

    kind = "refused"

    def __init__(self, method: str, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"`{method}` to be accepted", f"ryll refused it with {code}", sample=message)


class Unmet(ControlError):
    """The protocol worked, what the step expects did not come true."""

    kind = "unmet"


class BadSteps(ControlError):
    """The list of steps, or a setting of the session, cannot be played; found before anything starts."""

    kind = "input"

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected, got, component="lane")


class SessionFailed(ControlError):
    """A step failed: the sentence names it, `result` holds the transcript so far.

    kind is that of the failure underneath; check is the step's name.
    """

    def __init__(self, place: str, error: LaneError, *, component: str, where: str, evidence: str | None, check: str, result: dict[str, Any]) -> None:
        self.kind = error.kind if isinstance(error, ControlError) else "environment"
        self.place = place
        self.result = result
        super().__init__(error.expected, error.got, where, component=component, sample=error.sample if isinstance(error, ControlError) else "")
        self.check = check
        self.evidence = evidence

    @property
    def cause(self) -> str:
        return one_line(f"{self.place} {super().cause}", 800)


def quoted(text: str, limit: int = 120) -> str:
    """The peer's words between quotes, on one line, cut at limit characters."""
    return f'"{one_line(text, limit)}"'


def quoted_end(text: str, limit: int = 300) -> str:
    """The end of a text between quotes, on one line, its beginning cut off when it is longer than limit characters."""
    line = one_line(text, len(text) + 1)
    return f'"{line}"' if len(line) <= limit else f'"...{line[-limit:]}"'
