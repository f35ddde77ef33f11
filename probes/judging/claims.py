"""The table of claims: the calls, the judge and the words of each.

Plan, examiner, verdict, pages, formats and commands ask the row. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.action import Profile
from probes.cell import Cell, CellKey, Claim
from probes.instrument.calls import Route
from probes.judging import advice, judges, needed_calls
from probes.judging.needed_calls import Calls, CallsOf, always
from probes.judging.sighting import Judgement, Question, Sighting

Judge = Callable[[Question, Sighting], Judgement]
"""Turns what was seen for a cell into a judgement."""


class About(StrEnum):
    """The kinds of things that a claim's cells are about, by which they are planned and named."""

    CONTROL = "a known filter"
    DOCUMENTED_CALL = "each documented call"
    SAMPLE_CALL = "one documented call that stands for all"
    OTHER_CALL = "each call that is not documented"
    UNKNOWN_NUMBER = "a number that no table knows"
    WAY = "a way in which a process might come loose"
    PROOF = "what an analysis of the programs covers"
    FINDING = "what the target names and nobody judged"


class Shows(StrEnum):
    """What a claim says of its things: what the filter does, or something more about that."""

    ACT = "what the filter does"
    RECORD = "that this leaves an audit record"
    SILENCE = "that this leaves none"
    EVERY_ARGUMENT = "that it is so whatever the arguments are"


_DOCUMENTED: Final = frozenset({About.DOCUMENTED_CALL, About.PROOF})
_UNOBSERVED: Final = frozenset({About.PROOF, About.FINDING})
_BY_VARIANT: Final = frozenset({About.CONTROL, About.WAY})


@dataclass(frozen=True, slots=True)
class Row:
    """A claim's row in the table.

    Attributes:
        claim: the claim; the words of its test function.
        module: the file in ``cases`` that holds the test function.
        about: the kind of things that its cells are about.
        profiles: the profiles under which it is judged; empty where it does not depend on them.
        meaning: the claim in a sentence, for a reader who does not know the suite.
        advice: gives the advice for a failed cell.
        calls: the calls that a verdict on a cell is drawn from.
        judge: turns what was seen into a judgement; None where no call decides, but an analysis of
            the programs or the target alone.
        expected: gives the expectation in words, for the verdict of a cell.
        own_calls: whether the calls are chosen by the suite and known to do no harm, and not by a
            policy.
        shows: what it says of these things.
        doubt: what is open about a call of which only this claim could not be told; "" where no
            sentence says so.
    """

    claim: Claim
    module: str
    about: About
    profiles: tuple[Profile, ...]
    meaning: str
    advice: Callable[[Cell], str]
    calls: CallsOf = needed_calls.plain
    judge: Judge | None = None
    expected: Callable[[Question], str] = judges.the_words
    own_calls: bool = False
    shows: Shows = Shows.ACT
    doubt: str = ""

    @property
    def function(self) -> str:
        """The name of the test function."""
        return f"test_{self.claim.value.replace(' ', '_')}"

    @property
    def of_documented(self) -> bool:
        """Whether the claim is judged for each documented call."""
        return self.about in _DOCUMENTED

    @property
    def observed(self) -> bool:
        """Whether calls to the kernel decide it, which an analysis of programs cannot replace."""
        return self.about not in _UNOBSERVED

    @property
    def by_variant(self) -> bool:
        """Whether its cells are told apart by their variants, and not by what they are about."""
        return self.about in _BY_VARIANT

    def title(self, profile: str) -> str:
        """The claim with its profile: ``terminates (kill)``; controls have no profile.

        Args:
            profile: the profile of a cell.
        """
        return f"{self.claim} ({profile})" if self.profiles else self.claim.value

    def heading(self, profile: str) -> str:
        """The claim under its profile: ``KILL terminates``; controls have no profile.

        Args:
            profile: the profile of a cell.
        """
        return f"{profile.upper()} {self.claim}" if self.profiles else self.claim.value


_EVERY_PROFILE: Final = tuple(Profile)
_RECORDED: Final = "whether they are recorded"

_TABLE: Final = (
    Row(
        Claim.CONTROLS,
        "test_controls.py",
        About.CONTROL,
        (),
        "A filter whose effect is known is seen for what it is.",
        advice.calibrate,
        needed_calls.of_control,
        judge=judges.judge_control,
        expected=judges.the_return,
        own_calls=True,
    ),
    Row(
        Claim.TERMINATES,
        "test_kill.py",
        About.DOCUMENTED_CALL,
        (Profile.KILL,),
        "A documented call ends the whole process with SIGSYS, at that call.",
        advice.refuse,
        always(Calls(route=Route.SIBLING, plainly=True)),
        judge=judges.judge_act,
        expected=judges.the_words,
    ),
    Row(
        Claim.ENDS_EVERY_THREAD,
        "test_kill.py",
        About.SAMPLE_CALL,
        (Profile.KILL,),
        "The other threads of the process end too, not only the caller.",
        advice.every_thread,
        always(Calls(route=Route.THREADS)),
        judge=judges.judge_act,
        expected=judges.for_all_threads,
        doubt="whether every thread ends",
    ),
    Row(
        Claim.IS_REPORTED,
        "test_kill.py",
        About.DOCUMENTED_CALL,
        (Profile.KILL,),
        "That end leaves an audit record with the signal, the ABI and the number.",
        advice.record,
        always(Calls(route=Route.SIBLING, records=True, plainly=True)),
        judge=judges.judge_record,
        expected=judges.a_record,
        shows=Shows.RECORD,
        doubt=_RECORDED,
    ),
    Row(
        Claim.DENIES,
        "test_errno.py",
        About.DOCUMENTED_CALL,
        (Profile.ERRNO,),
        "A documented call does not run; the filter answers EPERM, or as documented.",
        advice.deny,
        always(Calls(plainly=True)),
        judge=judges.judge_act,
        expected=judges.the_words,
    ),
    Row(
        Claim.IS_SILENT,
        "test_errno.py",
        About.DOCUMENTED_CALL,
        (Profile.ERRNO,),
        "That denial leaves no audit record.",
        advice.silence,
        always(Calls(records=True, plainly=True)),
        judge=judges.judge_silence,
        expected=judges.no_record,
        shows=Shows.SILENCE,
        doubt="whether that leaves no record",
    ),
    Row(
        Claim.RUNS,
        "test_log.py",
        About.DOCUMENTED_CALL,
        (Profile.LOG,),
        "A documented call runs as it does without a filter.",
        advice.refuse,
        always(Calls(free=True, control=True)),
        judge=judges.judge_run,
        expected=judges.a_run,
    ),
    Row(
        Claim.IS_RECORDED,
        "test_log.py",
        About.DOCUMENTED_CALL,
        (Profile.LOG,),
        "That call leaves an audit record with the ABI and the number.",
        advice.record,
        always(Calls(witnessed=False, free=True, records=True)),
        judge=judges.judge_record,
        expected=judges.a_record,
        shows=Shows.RECORD,
        doubt=_RECORDED,
    ),
    Row(
        Claim.LEAVES_THE_REST_ALONE,
        "test_allow.py",
        About.OTHER_CALL,
        _EVERY_PROFILE,
        "Every call that is not documented goes through, and so does one with other arguments than"
        " documented.",
        advice.allow,
        judge=judges.judge_rest,
        expected=judges.the_return,
    ),
    Row(
        Claim.DEFAULT_ACTION,
        "test_default.py",
        About.UNKNOWN_NUMBER,
        _EVERY_PROFILE,
        "A number that no table knows gets the action of the profile.",
        advice.default_action,
        needed_calls.of_unknown_number,
        judge=judges.judge_confined,
        expected=judges.whole_action,
        own_calls=True,
    ),
    Row(
        Claim.IS_INHERITED,
        "test_inherit.py",
        About.WAY,
        _EVERY_PROFILE,
        "Nothing that a process does takes the filter off it or its children.",
        advice.inherit,
        needed_calls.of_way,
        judge=judges.judge_confined,
        expected=judges.whole_action,
    ),
    Row(
        Claim.IS_PROVED,
        "test_proved.py",
        About.PROOF,
        _EVERY_PROFILE,
        "By analysis, the filter gives its answer whatever the arguments are, or whatever ones meet"
        " the documented conditions.",
        advice.prove,
        shows=Shows.EVERY_ARGUMENT,
        doubt="whether it is so for all arguments",
    ),
    Row(
        Claim.IS_ALL_JUDGED,
        "test_all_judged.py",
        About.FINDING,
        _EVERY_PROFILE,
        "Nothing that the target names was left out of the verdicts.",
        advice.judge_all,
    ),
)

ROWS: Final = {row.claim: row for row in _TABLE}
"""The claims in the order in which a report lists them."""


def of(claim: Claim) -> Row:
    """The row of a claim."""
    return ROWS[claim]


def about(kinds: Sequence[About], profile: Profile | None = None) -> tuple[Row, ...]:
    """The rows of the claims about some kinds of things, in the order of the table.

    Args:
        kinds: the kinds of things that the claims are about.
        profile: only claims that are judged under this profile; all of them unless given.
    """
    return tuple(
        row
        for row in ROWS.values()
        if row.about in kinds and (profile is None or profile in row.profiles)
    )


def documented(profile: Profile) -> tuple[Claim, ...]:
    """The rows of a profile that ask the kernel about every documented call."""
    return tuple(row.claim for row in about([About.DOCUMENTED_CALL], profile))


def is_about(key: CellKey, *kinds: About) -> bool:
    """Whether a cell is about one of some kinds of things."""
    return of(key.claim).about in kinds


def parameters(key: CellKey) -> tuple[tuple[str, str], ...]:
    """The parameters of a cell's test, by name."""
    values = {
        "profile": key.profile,
        "arch": key.arch,
        "action": key.variant,
        "way": key.variant,
        "call": key.syscall,
        "about": key.syscall,
        "number": f"{key.number or 0:#x}",
    }
    return tuple((name, values[name]) for name in _PARAMETERS[of(key.claim).about])


_PARAMETERS: Final = {
    About.CONTROL: ("arch", "action"),
    About.DOCUMENTED_CALL: ("arch", "call"),
    About.SAMPLE_CALL: ("arch",),
    About.OTHER_CALL: ("profile", "arch"),
    About.UNKNOWN_NUMBER: ("profile", "arch", "number"),
    About.WAY: ("profile", "arch", "way"),
    About.PROOF: ("profile", "arch", "call"),
    About.FINDING: ("profile", "about"),
}
