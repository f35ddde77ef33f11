"""Findings: remarks about a target, each with a weight that says whether it affects a verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self


class Weight(StrEnum):
    """The effect of a finding on the result of a run.

    ``ADVICE``: nothing; no verdict depends on it. ``LIMITS``: something that the target names was
    not judged or cannot be decided, so that the run can at best end as *cannot tell*.
    ``CONTRADICTS``: the restrictions do not hold there, so that the run fails.
    """

    ADVICE = "advice"
    LIMITS = "limits"
    CONTRADICTS = "contradicts"


_WORDS: Final = {
    Weight.ADVICE: "advice",
    Weight.LIMITS: "cannot tell",
    Weight.CONTRADICTS: "does not hold",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about a target.

    Attributes:
        text: what was found, and what would decide or mend it.
        weight: its effect on the result of a run.
        about: what it is about, as a short noun that is the same in every run, such as
            ``readers``; it names the finding's cell. Needed, and unique in a target, unless the
            finding is only advice.
        calls: calls about which nothing can be told because of it, whatever its weight.
        everything: whether nothing at all can be told because of it: the filters are not what
            confines that which is meant.

    Raises:
        ValueError: a finding with weight does not say what it is about, or one that is no limit
            leaves everything open, or a contradiction calls.
    """

    text: str
    weight: Weight = Weight.ADVICE
    about: str = ""
    calls: tuple[str, ...] = ()
    everything: bool = False

    def __post_init__(self) -> None:
        """Checks that ``weight`` and the other fields fit together."""
        if self.weight is not Weight.ADVICE and not self.about:
            raise ValueError(f"a finding with weight has to say what it is about: {self.text}")
        contradicts = self.weight is Weight.CONTRADICTS
        if (self.everything and self.weight is not Weight.LIMITS) or (self.calls and contradicts):
            raise ValueError(f"only a limit can leave calls undecided: {self.text}")

    def __str__(self) -> str:
        """The sentence."""
        return self.text

    @property
    def line(self) -> str:
        """The sentence, after a word for its effect on the verdict."""
        return f"{_WORDS[self.weight]}: {self.text}"

    def to_plain(self) -> list[object]:
        """Turns the finding into built-in types that can be sent to another process."""
        return [self.text, self.weight.value, self.about, list(self.calls), self.everything]

    @classmethod
    def from_plain(cls, plain: Iterable[object]) -> Self:
        """Rebuilds a finding from what ``to_plain`` returned."""
        text, weight, about, calls, everything = plain
        if not isinstance(calls, Iterable):
            raise TypeError(f"the calls of a finding are a list, and not {calls!r}")
        left_open = tuple(map(str, calls))
        return cls(str(text), Weight(str(weight)), str(about), left_open, bool(everything))


def advice(texts: Iterable[str]) -> tuple[Finding, ...]:
    """Findings on which no verdict depends."""
    return tuple(map(Finding, texts))


def weighty(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that take part in the verdict on a run."""
    return tuple(one for one in findings if one.weight is not Weight.ADVICE)


def undecided(findings: Iterable[Finding], call: str) -> str:
    """Why nothing can be told about a call; "" where no finding keeps it open."""
    return next((one.text for one in findings if call in one.calls), "")


def all_undecided(findings: Iterable[Finding]) -> str:
    """Why nothing at all can be told of a target; "" where no finding keeps it open."""
    return next((one.text for one in findings if one.everything), "")
