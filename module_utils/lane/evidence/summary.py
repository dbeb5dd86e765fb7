"""Several lanes in one command: one line for each, one verdict for all."""

from __future__ import annotations

from dataclasses import dataclass

#: The worst decides: a product that is wrong on one lane counts more than a lane that could not tell.
WORSE = ("pass", "error", "fail")
#: Verdict and line of a lane that came to neither.
NONE = ("error", "LANE FAIL lane: ansible-playbook ended without a verdict of this lane")
LONGEST = 1500  #: characters of the last line


@dataclass(frozen=True)
class Outcome:
    """How one lane ended: its label, its verdict, and the last line that it would have had alone."""

    label: str
    verdict: str
    line: str

    @property
    def words(self) -> str:
        """The line without its first two words: component and cause of a failure."""
        return self.line.split(" ", 2)[-1]

    @property
    def text(self) -> str:
        """One line about this lane."""
        return f"{self.label}: {self.line.removeprefix('LANE ')}"


def label(name: str, address: object) -> str:
    """How a lane is called: its name in the inventory, and its machine where the name does not say it."""
    plain = isinstance(address, str) and "{" not in address and address not in (name, "localhost")
    return f"{name} ({address})" if plain else name


def of_all(outcomes: list[Outcome]) -> tuple[str, str]:
    """(the worst verdict, the last line)."""
    verdict = max((outcome.verdict for outcome in outcomes), key=WORSE.index)
    bad = [outcome for outcome in outcomes if outcome.verdict != "pass"]
    if not bad:
        return verdict, f"LANE PASS {len(outcomes)} of {len(outcomes)} lanes"
    bad.sort(key=lambda outcome: -WORSE.index(outcome.verdict))
    line = f"LANE FAIL {len(bad)} of {len(outcomes)} lanes: " + "; ".join(f"{outcome.label}: {outcome.words}" for outcome in bad)
    return verdict, line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
