"""What a survey of a machine is asked: what must hold, and for whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from probes.action import Profile
from probes.errors import BadInputError
from probes.survey.workloads import FoundWorkload
from probes.text import did_you_mean, in_brackets, shown
from probes.workload import OwnerKind

REFUSE: Final = "refuse"
"""The profile under which any refusal counts: a machine's engines refuse in different ways."""

PROFILES: Final = (REFUSE, *(profile.value for profile in Profile))
"""The values of ``--profile``."""

_ALL: Final = "all"
_REQUIRED: Final = {
    "containers": frozenset({OwnerKind.CONTAINER}),
    "services": frozenset({OwnerKind.SERVICE}),
    _ALL: frozenset(OwnerKind),
}

REQUIRED: Final = tuple(_REQUIRED)
"""The words of ``--require``."""


@dataclass(frozen=True, slots=True)
class SurveyQuestion:
    """The question to a machine.

    Attributes:
        profile: how documented calls must be answered: a profile's name, or ``refuse``.
        required: the kinds of owners for which that must hold.
        include: patterns for what is looked at; without any, everything is.
        exclude: patterns for what is not.
        namespace_alone: whether only the processes of this process's pid namespace are meant.
    """

    profile: str = REFUSE
    required: frozenset[OwnerKind] = frozenset({OwnerKind.CONTAINER})
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    namespace_alone: bool = False

    @property
    def any_refusal(self) -> bool:
        """Whether a documented call may be refused in whatever way."""
        return self.profile == REFUSE

    @property
    def planned(self) -> Profile:
        """The profile for which cells are planned; for any refusal one that refuses."""
        return Profile.ERRNO if self.any_refusal else Profile(self.profile)

    def is_meant(self, workload: FoundWorkload) -> bool:
        """Whether the patterns leave it in."""
        return (not self.include or _matches(workload, self.include)) and not _matches(
            workload, self.exclude
        )

    def requires(self, workload: FoundWorkload) -> bool:
        """Whether the verdict depends on it."""
        return workload.kind in self.required and self.is_meant(workload)

    def shows(self, workload: FoundWorkload) -> bool:
        """Whether it is told of at all: other processes only where they are required."""
        return workload.kind is not OwnerKind.OTHER or OwnerKind.OTHER in self.required


def _matches(workload: FoundWorkload, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(word, pattern) for word in workload.words for pattern in patterns)


def required(words: str) -> frozenset[OwnerKind]:
    """The kinds that ``--require`` names.

    Args:
        words: its value: words separated by commas.

    Raises:
        BadInputError: one of them means nothing.
    """
    found: frozenset[OwnerKind] = frozenset()
    for word in words.split(","):
        if word not in _REQUIRED:
            hint = in_brackets(did_you_mean(word, REQUIRED))
            raise BadInputError(
                f"--require {shown(words)}: unknown word {shown(word)!r}{hint}; the words are"
                f" {', '.join(REQUIRED)}, separated by commas"
            )
        found |= _REQUIRED[word]
    return found


def check_patterns(option: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns of an option.

    Args:
        option: its name.
        patterns: its values, such as ``docker:web*``.

    Raises:
        BadInputError: one names no sort of things.
    """
    for pattern in patterns:
        if ":" not in pattern and not pattern.startswith("*"):
            raise BadInputError(
                f"{option} {shown(pattern)}: a pattern is a sort and a name, such as"
                f" 'docker:{shown(pattern)}', 'service:*' or '*:{shown(pattern)}'"
            )
    return tuple(patterns)
