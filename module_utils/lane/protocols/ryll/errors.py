"""What can go wrong on a control socket: one exception for each kind, all LaneErrors."""

from __future__ import annotations

from ...core.errors import LaneError, one_line


class ControlError(LaneError):
    """Root of this package's exceptions; component "ryll" unless said otherwise.

    sample: words of the peer (a line, a message) that help to understand the failure; they are kept apart from the
    problem because a session with private texts must not quote its peer.
    """

    code_of_kind: str
    #: Most characters of the cause.
    longest = 600

    def __init_subclass__(cls, code: str) -> None:
        cls.code_of_kind = code

    def __init__(self, problem: str, fix: str = "", *, component: str = "ryll", sample: str = "") -> None:
        self.sample = sample
        super().__init__(self.code_of_kind, component, problem, fix)

    @property
    def kind(self) -> str:
        """A short name for programs: the code without "ryll_"; "environment" for what is not of this package."""
        return self.code.removeprefix("ryll_") if self.code.startswith("ryll_") else "environment"

    @property
    def cause(self) -> str:
        text = f'{self.problem}: "{one_line(self.sample, 120)}"' if self.sample else self.problem
        return one_line(f"{text}; {self.fix}" if self.fix else text, self.longest)


class Unreachable(ControlError, code="ryll_unreachable"):
    """The socket cannot be reached: it does not exist, nothing listens, no permission."""


class Closed(ControlError, code="ryll_closed"):
    """The peer ended the connection."""


class ProcessLost(ControlError, code="ryll_process"):
    """The process behind the socket has ended, is a zombie or is stopped."""


class TimedOut(ControlError, code="ryll_timeout"):
    """The limit passed without an answer."""


class Malformed(ControlError, code="ryll_malformed"):
    """The peer sent what the protocol does not allow."""


class Unsupported(ControlError, code="ryll_unsupported"):
    """The server did not list the verb or event in its answer to hello."""


class Refused(ControlError, code="ryll_refused"):
    """The server answered with an error. refusal: ryll's stable error code; its message is the sample."""

    def __init__(self, method: str, refusal: str, message: str) -> None:
        self.refusal = refusal
        super().__init__(f"ryll refused `{method}` with {refusal}", sample=message)


class Unmet(ControlError, code="ryll_unmet"):
    """The protocol worked, but what the step expects did not happen."""


class BadSteps(ControlError, code="ryll_input"):
    """The list of steps, or a setting of the session, cannot be played; found before anything starts."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, component="lane")


def failed(kind: str, problem: str, sample: str) -> ControlError:
    """The exception for what the connection reports (protocols/json_lines.py)."""
    kinds = {"unreachable": Unreachable, "closed": Closed, "timeout": TimedOut, "malformed": Malformed}
    return kinds[kind](problem, sample=sample)


class SessionFailed(ControlError, code="ryll_unmet"):
    """A step failed: the problem names it, `result` holds the transcript so far. code is that of the failure; check is
    the step's name.
    """

    longest = 800

    def __init__(
        self, error: LaneError, problem: str, *, component: str, fix: str, evidence: str | None, check: str
    ) -> None:
        sample = error.sample if isinstance(error, ControlError) else ""
        super().__init__(problem, fix, component=component, sample=sample)
        self.code = error.code
        self.check = check
        self.evidence = evidence
