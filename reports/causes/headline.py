"""The first line of every verdict: what holds, what gets through, what is blocked too much. Pure.

Terminal, gate, summary, page, JUnit and SARIF begin with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import Profile
from probes.cell import Claim, Outcome
from probes.documents.waivers import FAULTS
from probes.judging import claims, kinds
from probes.judging.claims import Shows
from probes.judging.kinds import GRAVEST_FIRST, Fate, Kind, Manner, Subject
from probes.judging.plan import Scope
from probes.targets.name import BUILTIN
from probes.text import visible
from reports.causes.grouping import FaultGroup, answered, grouped
from reports.causes.words import Places, noun, predicate, too_much, verb
from reports.results import Run, in_order, why_none_counts
from reports.summary import OUTCOME_WORDS, gathered, ordered_profiles, release_of

MOST_NAMES: Final = 8
"""So many calls a clause names; of more, the rest is counted."""

_FEW: Final = 4
"""So many calls are named that are refused, though not as documented."""

_MOST_KERNELS: Final = 3
"""So many kernels are named that came to the same."""


@dataclass(frozen=True, slots=True)
class Headline:
    """What a profile came to, on the kernels that came to the same.

    Attributes:
        where: the profile and the kernels, where a run has several; "" elsewhere.
        text: the sentence, without its point.
        kind: the gravest kind of what nobody has accepted.
        accepted: whether there are faults, and all of them are accepted.
    """

    where: str
    text: str
    kind: Kind
    accepted: bool = False

    @property
    def line(self) -> str:
        """All of it in one line."""
        return visible(f"{self.where}: {self.text}" if self.where else self.text)


def headlines(run: Run, most: int | None = MOST_NAMES) -> tuple[Headline, ...]:
    """The first lines of a verdict: one a profile, and one more for each kernel that differs.

    Args:
        run: the run.
        most: how many calls a clause names at most; all of them unless given.
    """
    if why := why_none_counts(run.cells):
        return (Headline("", why.rstrip("."), Kind.NOT_JUDGED),)
    told = list(_headlines(run, most)) or [Headline("", "nothing was judged", Kind.NOT_JUDGED)]
    if not run.complete:
        text = "the run ended before its time, and what it did not reach may be otherwise"
        told.append(Headline("", text, Kind.NOT_JUDGED))
    if faults := sum(judged.state in FAULTS for judged in run.waivers):
        are = "waiver is" if faults == 1 else "waivers are"
        told.append(Headline("", f"{faults:,} {are} at fault", Kind.NOT_JUDGED))
    return tuple(told)


def banner(run: Run) -> str:
    """What was tested where: the target, the profiles and the kernels."""
    target = run.target
    by = f" ({target.runtime})" if target.runtime is not None else ""
    what = f"{target.description}{by}"
    if target.kind == BUILTIN:
        what = "the suite's own filter, and no platform"
    noun_ = "profile" if len(run.profiles) == 1 else "profiles"
    under = f"{noun_} {', '.join(run.profiles)}" if run.profiles else "no profile"
    kernels = _kernels(run, range(len(run.environments)), every=True)
    return visible(f"{what}; {under}; {kernels}")


def _headlines(run: Run, most: int | None) -> Iterator[Headline]:
    every = gathered(kinds.fates(in_order(run.cells)), lambda fate: fate.thing.place.profile)
    places = Places(run)
    for profile in ordered_profiles(run, run.cells):
        kernels = gathered(every.get(profile, ()), lambda fate: fate.thing.place.environment)
        told = {
            number: _Sentence(run, places, profile, kernels[number], most).headline
            for number in sorted(kernels)
        }
        for found, numbers in sorted(
            gathered(told, told.__getitem__).items(), key=lambda one: _gravity(one[0])
        ):
            which = _kernels(run, numbers)
            named = profile if len(run.profiles) > 1 else ""
            where = ", ".join(filter(None, (named, which)))
            yield Headline(where, found.text, found.kind, found.accepted)


def _gravity(found: Headline) -> tuple[int, bool]:
    return GRAVEST_FIRST.index(found.kind), not found.accepted


def _kernels(run: Run, numbers: Sequence[int], *, every: bool = False) -> str:
    """Some of a record's kernels by name; "" for the only one, unless every record's is asked.

    Machines of one kernel are told apart by their own names, where all have one.
    """
    known = run.environments
    if len(known) == 1:
        return f"Linux {release_of(known[0])}, {known[0].machine}" if every else ""
    if len(numbers) == len(known) and not every:
        return f"each of {len(known):,} kernels"
    released = [f"{release_of(one)} ({one.machine})" for one in known]
    alone = not every and len(set(released)) < len(known) and all(one.host for one in known)
    names = [known[number].host or "" if alone else released[number] for number in numbers]
    named = list(dict.fromkeys(names))
    more = f" and {len(named) - _MOST_KERNELS:,} more" if len(named) > _MOST_KERNELS else ""
    machines = f" on {len(numbers):,} machines" if len(named) < len(numbers) else ""
    kernel = "" if alone else "Linux "
    return f"{kernel}{', '.join(named[:_MOST_KERNELS])}{more}{machines}"


class _Sentence:
    """The sentence about one profile on one kernel."""

    def __init__(
        self, run: Run, places: Places, profile: str, fates: Sequence[Fate], most: int | None
    ) -> None:
        self._run = run
        self._places = places
        self._profile = profile
        self._most = most
        self._fates = fates
        groups = grouped(run, fates)
        self._failed = [one for one in groups if one.outcome is Outcome.FAILED]
        self._accepted = [one for one in groups if one.outcome is not Outcome.FAILED]
        self._calls = self._by_call()

    def _by_call(self) -> Mapping[str, Kind]:
        """The gravest kind that a documented call came to on any ABI, by its name."""
        found: dict[str, Kind] = {}
        for fate in self._fates:
            if fate.thing.subject is Subject.DOCUMENTED_CALL:
                name = fate.thing.name
                found[name] = min(found.get(name, fate.kind), fate.kind, key=GRAVEST_FIRST.index)
        return found

    @property
    def headline(self) -> Headline:
        """The sentence with the gravest kind of what is in it."""
        clauses = [*self._about_calls(), *self._about_the_rest(), *self._about_what_is_open()]
        clauses += self._about_what_is_accepted()
        if not clauses:
            clauses = [_PLAIN_WORDS[self._kind]]
        accepted = not self._failed and bool(self._accepted)
        return Headline("", "; ".join(clauses), self._kind, accepted)

    @property
    def _kind(self) -> Kind:
        """The gravest kind of what nobody has accepted."""
        found = {one.kind for one in self._failed}
        if found:
            return min(found, key=GRAVEST_FIRST.index)
        if any(fate.kind is Kind.NOT_JUDGED or fate.open for fate in self._fates):
            return Kind.NOT_JUDGED
        some = any(fate.kind is not Kind.NOT_APPLICABLE for fate in self._fates)
        return Kind.AS_DOCUMENTED if some else Kind.NOT_APPLICABLE

    # Documented calls

    def _count(self, *wanted: Kind) -> int:
        return sum(kind in wanted for kind in self._calls.values())

    def _of(self, groups: Iterable[FaultGroup], subject: Subject, *of: Kind) -> list[FaultGroup]:
        return [one for one in groups if one.subject is subject and (not of or one.kind in of)]

    def _about_calls(self) -> Iterator[str]:
        total = len(self._calls) - self._count(Kind.NOT_APPLICABLE)
        unjudged = self._count(Kind.NOT_JUDGED)
        if not total:
            return
        calls = f"{total:,} documented call{'' if total == 1 else 's'}"
        if unjudged == total:
            yield f"none of {calls} could be judged ({self._where(Kind.NOT_JUDGED)})"
            return
        held = [self._lead(total, calls), *self._otherwise()]
        through = list(self._through(total))
        if len(held) == 1:
            yield ", ".join((*held, *through))
        else:
            yield from (", ".join(held), *through)
        if unjudged:
            yield f"{unjudged:,} could not be judged: {self._names(Kind.NOT_JUDGED)}"

    def _lead(self, total: int, calls: str) -> str:
        logs = self._profile == Profile.LOG
        through, otherwise = self._count(Kind.GETS_THROUGH), self._count(Kind.REFUSED_OTHERWISE)
        held = total - through - self._count(Kind.NOT_JUDGED) - (otherwise if logs else 0)
        number = f"{held:,}" if held else "none"
        be = "is" if held in {0, 1} else "are"
        if logs:
            recorded = "" if self._is_open(Shows.RECORD) else f" and {be} recorded"
            what = f"run{'s' if held in {0, 1} else ''}{recorded}"
        else:
            plain = held == total and not otherwise and not self._open_claims()
            what = f"{be} refused{' as documented' if plain else ''}"
        every = held == total and not (otherwise and not logs)
        return f"{number} of {calls} {what}{self._whole_place() if every else ''}"

    def _whole_place(self) -> str:
        """The ABIs on which calls were made, and those of which only programs were analyzed."""
        fates = self._fates_of(Subject.DOCUMENTED_CALL, *(set(Kind) - {Kind.NOT_APPLICABLE}))
        made = {fate.thing.arch for fate in fates if _is_observed(fate)}
        seen = self._places.where([fate for fate in fates if fate.thing.arch in made])
        analyzed = self._places.where([fate for fate in fates if fate.thing.arch not in made])
        by_analysis = f"by analysis {analyzed}" if analyzed else ""
        return f" ({'; '.join(filter(None, (seen, by_analysis)))})"

    def _otherwise(self) -> Iterator[str]:
        """How calls are refused that are not refused as documented."""
        held = len(self._calls) - self._count(
            Kind.GETS_THROUGH, Kind.NOT_JUDGED, Kind.NOT_APPLICABLE
        )
        groups = self._of(self._failed, Subject.DOCUMENTED_CALL, Kind.REFUSED_OTHERWISE)
        for group in groups:
            names = [name for name in group.names if self._is(name, Kind.REFUSED_OTHERWISE)]
            if not names:
                continue
            one = len(names) == 1
            what = verb(group, one=one)
            by = what.removeprefix("is answered ").removeprefix("are answered ")
            few = f": {', '.join(names)}" if len(names) <= _FEW else ""
            if self._profile == Profile.LOG:
                yield f"{len(names):,} {what}{few}"
            elif len(names) == held and len(groups) == 1:
                yield f"but {by}"
            elif by == what:
                yield f"{len(names):,} of them {what}{few}"
            else:
                yield f"{len(names):,} of them {by}{few}"

    def _is(self, name: str, kind: Kind) -> bool:
        return self._calls.get(name) is kind

    def _through(self, total: int) -> Iterator[str]:
        """The calls that get through, by name unless it is all of them."""
        for group in self._of(self._failed, Subject.DOCUMENTED_CALL, Kind.GETS_THROUGH):
            every = 1 < total == len(group.names)
            where = f" ({self._places.where(group.fates)})"
            spot = where if every else f": {self._named(group)}"
            yield f"{'all ' if every else ''}{len(group.names):,} {predicate(group)}{spot}"

    def _named(self, group: FaultGroup) -> str:
        return self._places.named(group.fates, self._most)

    def _fates_of(self, subject: Subject, *wanted: Kind) -> list[Fate]:
        return [
            fate for fate in self._fates if fate.thing.subject is subject and fate.kind in wanted
        ]

    def _where(self, *wanted: Kind) -> str:
        kinds_ = set(wanted) - {Kind.NOT_APPLICABLE}
        return self._places.where(self._fates_of(Subject.DOCUMENTED_CALL, *kinds_))

    def _names(self, kind: Kind) -> str:
        fates = self._fates_of(Subject.DOCUMENTED_CALL, kind)
        return self._places.named([f for f in fates if self._is(f.thing.name, kind)], self._most)

    # What is beside them

    def _about_the_rest(self) -> Iterator[str]:
        others = self._of(self._failed, Subject.OTHER_CALL)
        for what, alike in gathered(others, _plainly).items():
            names = list(dict.fromkeys(name for one in alike for name in one.names))
            yield _others(names, what, alike)
        yield from self._about_numbers()
        for group in self._of(self._failed, Subject.WAY):
            yield f"{noun(group)} ({', '.join(group.names)}) {predicate(group)}"
        for group in self._of(self._failed, Subject.PART):
            yield f"{noun(group)} {predicate(group)}: {', '.join(group.names)}"

    def _about_numbers(self) -> Iterator[str]:
        """What becomes of numbers and ABIs that a filter cannot name one by one."""
        both = (Subject.UNKNOWN_NUMBER, Subject.OTHER_ARCHITECTURE)
        for subject in both:
            for group in self._of(self._failed, subject, Kind.GETS_THROUGH):
                where = self._places.where(group.fates)
                spot = f" ({where})" if subject is Subject.UNKNOWN_NUMBER and where else ""
                yield f"{noun(group)} {predicate(group)}{spot}"
        otherwise = {
            subject: self._of(self._failed, subject, Kind.REFUSED_OTHERWISE) for subject in both
        }
        told = [
            (noun(groups[0]), " or ".join(dict.fromkeys(map(_by, groups))))
            for groups in otherwise.values()
            if groups
        ]
        if told:
            yield ", ".join(
                f"{what} {'' if index else 'are answered '}by {answer}"
                for index, (what, answer) in enumerate(told)
            )

    # What could not be told, and what is accepted

    def _open_claims(self) -> list[Claim]:
        """The claims that are open about calls of which more is known."""
        found = {
            claim
            for fate in self._fates_of(Subject.DOCUMENTED_CALL, *Kind)
            if fate.kind is not Kind.NOT_JUDGED
            for claim in fate.open
        }
        return [claim for claim in Claim if claim in found]

    def _is_open(self, shows: Shows) -> bool:
        return any(claims.of(claim).shows is shows for claim in self._open_claims())

    def _about_what_is_open(self) -> Iterator[str]:
        for claim in self._open_claims():
            if doubt := claims.of(claim).doubt:
                yield f"{doubt} could not be told"
        rest = {
            subject: self._fates_of(subject, Kind.NOT_JUDGED)
            for subject in Subject
            if subject is not Subject.DOCUMENTED_CALL
        }
        others = {one.thing.name for one in rest.pop(Subject.OTHER_CALL)} - {Scope.OTHER_CALLS}
        if others:
            yield f"{len(others):,} other call{'' if len(others) == 1 else 's'} could not be judged"
        words = [_OPEN_SUBJECTS[subject] for subject, fates in rest.items() if fates]
        if words:
            yield f"not everything could be judged about {', '.join(words)}"
        asked = {fate.thing.name for fate in self._fates_of(Subject.DOCUMENTED_CALL, *Kind)}
        left = [call.name for call in self._run.policy.calls if call.name not in asked]
        if left and asked:
            yield f"{len(left):,} more {'was' if len(left) == 1 else 'were'} not selected"

    def _about_what_is_accepted(self) -> Iterator[str]:
        for outcome, groups in gathered(self._accepted, lambda one: one.outcome).items():
            told = [f"{noun(one)} {predicate(one)}{self._few(one)}" for one in groups]
            yield f"{OUTCOME_WORDS[outcome]}: {', '.join(told)}"

    def _few(self, group: FaultGroup) -> str:
        return f": {self._named(group)}" if 0 < len(group.names) <= _FEW else ""


_PLAIN_WORDS: Final = {
    Kind.AS_DOCUMENTED: "what was judged is as documented, and no documented call was",
    Kind.NOT_JUDGED: "no documented call was judged",
    Kind.NOT_APPLICABLE: "nothing that was asked about exists here",
}
"""What is said where no documented call is among what was judged, and nothing is amiss."""

_OPEN_SUBJECTS: Final = {
    Subject.UNKNOWN_NUMBER: "numbers that no table knows",
    Subject.OTHER_ARCHITECTURE: "other architectures",
    Subject.WAY: "processes that come of others",
    Subject.PART: "the parts of the target",
}


def _is_observed(fate: Fate) -> bool:
    return any(claims.of(cell.key.claim).observed for cell in fate.cells)


def _plainly(group: FaultGroup) -> str:
    """What becomes of several calls that should be let be, whatever errno they get."""
    some = " with some arguments" if group.manner is Manner.BY_SOME_ARGUMENTS else ""
    return f"{too_much(group.returned, 'are')}{some}"


def _others(names: Sequence[str], what: str, groups: Sequence[FaultGroup]) -> str:
    if not names:
        return f"{noun(groups[0])} {what}"
    one = len(names) == 1
    calls = "call" if one else "calls"
    few = f": {', '.join(names)}" if len(names) <= _FEW else ""
    said = what.replace("are ", "is ", 1) if one else what
    return f"{len(names):,} {calls} that the document does not name {said}{few}"


def _by(group: FaultGroup) -> str:
    return "another answer" if group.returned is None else answered(group.returned)
