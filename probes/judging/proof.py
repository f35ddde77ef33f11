"""Claims that an analysis of the programs decides, for all arguments, numbers and tokens."""

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch, belongs_to, known_to, of_token, token_text
from probes.documents.policy import DocumentedCall, Policy
from probes.filters import partition, pointer
from probes.filters.bpf import SeccompData
from probes.filters.conditions import Comparison, Operator, Where
from probes.filters.pointer import Span
from probes.filters.prover import Analysis
from probes.finding import Finding, Weight
from probes.judging import plan
from probes.judging.plan import Case, Scope


@dataclass(frozen=True, slots=True)
class Deviation:
    """An input for which the programs return something else than they must.

    Attributes:
        number: the number.
        value: the raw value that the programs return.
        data: the whole input; certain only where the analysis is exact. Its instruction address
            is 0 where that does not matter.
        count: how many numbers deviate, this one among them.
    """

    number: int
    value: int
    data: SeccompData
    count: int

    @property
    def returns(self) -> FilterReturn:
        """The returned value, taken apart as the kernel does."""
        return FilterReturn.decode(self.value)


def expected(case: Case, policy: Policy) -> tuple[FilterReturn, ...]:
    """The values that the programs may return for all that a case covers, the best one first."""
    if case.cells[0].syscall == Scope.OTHER_CALLS:
        return (FilterReturn(Action.ALLOW),)
    profile, call = _profile_of(case), _documented(case, policy)
    return (profile.returns,) if call is None else call.returns(profile, case.arch)


A_REFUSAL: Final = "a refusal"
"""What programs may return where any refusal counts, in words."""


def refusals(analysis: Analysis, *, supervised: bool = False) -> tuple[FilterReturn, ...]:
    """All that the programs return and that keeps a call from running.

    Args:
        analysis: the analysis of the programs.
        supervised: whether those count that leave it to a supervisor or a tracer.
    """
    found = map(FilterReturn.decode, analysis.outcomes)
    return tuple(
        one
        for one in found
        if not one.action.reaches_kernel and (supervised or one.action not in _SUPERVISED)
    )


_SUPERVISED: Final = frozenset({Action.USER_NOTIF, Action.TRACE})


def deviation(
    case: Case, policy: Policy, analysis: Analysis, wanted: Sequence[FilterReturn]
) -> Deviation | None:
    """The first input that a case covers and that deviates; None where there is none.

    A number about which some kernels ask no filter stands for others only if there are none.

    Args:
        case: the proof, which covers one or many calls.
        policy: the policy, which says for which arguments a call is restricted.
        analysis: the analysis of the programs.
        wanted: the values that they may return.

    Raises:
        TooComplexError: there is no proof.
    """
    found = (
        _deviation(part, policy, analysis, values)
        for part, values in _parts(case, policy, analysis, wanted)
    )
    return next((one for one in found if one is not None), None)


def suspects(
    case: Case, policy: Policy, analysis: Analysis, wanted: Sequence[FilterReturn]
) -> Iterator[tuple[Case, "Suspect"]]:
    """Every run of numbers that a case covers and that deviates in one way, each with its part.

    Args:
        case: the proof, which covers one or many calls.
        policy: the policy, which says for which arguments a call is restricted.
        analysis: the analysis of the programs.
        wanted: the values that they may return.

    Raises:
        TooComplexError: there is no proof.
    """
    for part, values in _parts(case, policy, analysis, wanted):
        yield from ((part, one) for one in _suspects_of(part, policy, analysis, values))


def _parts(
    case: Case, policy: Policy, analysis: Analysis, wanted: Sequence[FilterReturn]
) -> Iterator[tuple[Case, Sequence[FilterReturn]]]:
    """What a case covers, itself and on ABIs that are left out, each with what may be returned."""
    yield case, wanted
    if case.cells[0].syscall == Scope.OTHER_ARCHITECTURES:
        # Elsewhere a call may get an errno of its own, or what everything gets there.
        for part in plan.left_out(policy, case, analysis.tokens()):
            yield part, (*wanted, *expected(part, policy))


def _suspects_of(
    case: Case, policy: Policy, analysis: Analysis, wanted: Sequence[FilterReturn]
) -> list["Suspect"]:
    """The runs of numbers that deviate of those that a case covers itself."""
    return [
        Suspect(token, number, value, count)
        for token, number, count in _covered(case, policy, analysis, wanted)
        for value in sorted(analysis.returns(token, number))
        if not _agrees_with_any(value, wanted)
        and _input(case, policy, analysis, (token, number, value)) is not None
    ]


def _deviation(
    case: Case, policy: Policy, analysis: Analysis, wanted: Sequence[FilterReturn]
) -> Deviation | None:
    """The first input that deviates of those that a case covers itself."""
    found = _suspects_of(case, policy, analysis, wanted)
    if not found:
        return _other_form(case, analysis, wanted)
    first = min(found, key=lambda one: plan.is_exempt_number(case.arch, one.number))
    data = _placed(
        analysis,
        lambda span: _input(case, policy, analysis, (first.token, first.number, first.value), span),
    )
    by_place = {(one.token, one.number): one.count for one in found}
    return Deviation(
        first.number,
        first.value,
        data or SeccompData(first.number, first.token),
        sum(by_place.values()),
    )


@dataclass(frozen=True, slots=True)
class Suspect:
    """A run of numbers for which the programs may return a wrong value.

    Attributes:
        token: the architecture's.
        number: the first number.
        value: the raw value.
        count: how many numbers the run has.
    """

    token: int
    number: int
    value: int
    count: int


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of a call as an operation of a multiplexer, such as ``ipc`` or ``socketcall``.

    Attributes:
        call: the call that stands for several.
        operation: the operation of its first argument.
        mask: the bits of the first argument in which the kernel looks for it.
    """

    call: str
    operation: int
    mask: int

    @property
    def inside(self) -> Comparison:
        """The arguments with which the other call takes this form."""
        return Comparison(0, Operator.EQ, self.mask, self.operation)

    @property
    def outside(self) -> Comparison:
        """The arguments with which it does not."""
        return Comparison(0, Operator.NE, self.mask, self.operation)


_FORMS: Final = {"msgrcv": _Form("ipc", 12, 0xFFFF)}
"""MSGRCV of linux/ipc.h; ksys_ipc() in ipc/syscall.c takes the bits above 16 for a version."""


def _other_form(case: Case, analysis: Analysis, wanted: Sequence[FilterReturn]) -> Deviation | None:
    """An input by which a call's other form evades a filter that restricts this form.

    A filter that says nothing about the form lets it through knowingly or not: that is a gap of the
    document (``probes.documents.siblings``), and not a rule that does not hold.
    """
    form = _FORMS.get(case.cells[0].syscall)
    number = None if form is None else case.arch.number(form.call)
    if form is None or number is None:
        return None
    found = {
        value: data
        for value in sorted(analysis.returns(case.arch.audit_arch, number))
        if (data := _placed(analysis, partial(_in_form, case, analysis, number, value, form)))
        is not None
    }
    right = {value for value in found if _agrees_with_any(value, wanted)}
    if not right or right == found.keys():
        return None
    value = next(value for value in found if value not in right)
    return Deviation(number, value, found[value], 1)


def _in_form(  # noqa: PLR0913, PLR0917 - the last one is what its caller varies
    case: Case,
    analysis: Analysis,
    number: int,
    value: int,
    form: _Form,
    span: Span | None,
) -> SeccompData | None:
    return analysis.witness(case.arch.audit_arch, number, value, form.inside, span)


def _placed(
    analysis: Analysis, found_in: Callable[[Span | None], SeccompData | None]
) -> SeccompData | None:
    """An input with an instruction address, if it matters, where code is easily placed."""
    for span in (*pointer.PREFERRED, None):
        data = found_in(span)
        if data is not None:
            matters = analysis.depends_on_pointer(data)
            return data if matters else replace(data, instruction_pointer=0)
    return None


def _input(
    case: Case,
    policy: Policy,
    analysis: Analysis,
    what: tuple[int, int, int],
    span: Span | None = None,
) -> SeccompData | None:
    """An input of a number that returns a value and should not; None where there is none.

    Of a call that the policy restricts for some arguments those count that the case is about.

    What other calls get only as the form of a documented one they should get.
    """
    token, number, value = what
    name = case.arch.name_of(number)
    call = _documented(case, policy)
    if call is not None and call.args:
        return analysis.witness(token, number, value, call.restriction(case.arch), span)
    forms = [form for call, form in _FORMS.items() if form.call == name and call in policy.names]
    outside: Where | None = None
    if case.cells[0].syscall == Scope.OTHER_CALLS:
        if forms and agrees(FilterReturn.decode(value), _profile_of(case).returns):
            outside = forms[0].outside
        elif name is not None and policy.entries(name):
            outside = policy.rest(name, case.arch)
    return analysis.witness(token, number, value, outside, span)


def _documented(case: Case, policy: Policy) -> DocumentedCall | None:
    """The documented call that a case is about; None where it is about something else."""
    label = case.cells[0].syscall
    return next((call for call in policy.calls if call.label == label), None)


def _profile_of(case: Case) -> Profile:
    if case.profile is None:
        raise ValueError(f"{case.id} has no profile")
    return case.profile


def agrees(returns: FilterReturn, wanted: FilterReturn) -> bool:
    """Whether two returns have the same effect; only ERRNO's data has one."""
    if returns.action is not wanted.action:
        return False
    return returns.action is not Action.ERRNO or returns.data == wanted.data


def _agrees_with_any(value: int, wanted: Sequence[FilterReturn]) -> bool:
    returns = FilterReturn.decode(value)
    return any(agrees(returns, one) for one in wanted)


def _covered(
    case: Case, policy: Policy, analysis: Analysis, wanted: Sequence[FilterReturn]
) -> Iterator[tuple[int, int, int]]:
    """The tokens and numbers to check, each with how many numbers it stands for."""
    key, arch = case.cells[0], case.arch
    token = arch.audit_arch
    if key.syscall == Scope.OTHER_CALLS:
        yield from ((token, number, 1) for number in sorted(plan.rest_of(policy, arch)))
    elif key.syscall == Scope.UNKNOWN_NUMBERS:
        known = sorted(known_to(arch))
        for number, count in _suspects(analysis, arch, token, known, wanted):
            yield token, number, count
    elif key.syscall == Scope.OTHER_ARCHITECTURES:
        for foreign in partition.unnamed_tokens(analysis):
            for number, count in _suspects(analysis, None, foreign, (), wanted):
                yield foreign, number, count
        for foreign in _tokens_without_a_table(analysis):
            for low, high in _cut(_deviating(analysis, foreign, wanted), NUMBERS_OF_NO_ABI):
                yield foreign, low, high - low + 1
    elif key.number is not None:
        yield token, key.number, 1


def _suspects(
    analysis: Analysis,
    arch: Arch | None,
    token: int,
    known: Sequence[int],
    wanted: Sequence[FilterReturn],
) -> Iterator[tuple[int, int]]:
    """The first number of each run of numbers that may deviate, without the known ones."""
    for start, end in _deviating(analysis, token, wanted):
        for first, last in gaps(start, end, known):
            for low, high in _own(arch, first, last):
                yield low, high - low + 1


NUMBERS_OF_NO_ABI: Final = ((0x01000000, 0x3FFFFFFF), (0x41000000, 0xFFFFFFFF))
"""Numbers that no call has on any ABI of Linux, first and last.

Of the numbers below, arm's old ABI has the highest (from 0x900000 on), and those of x32 begin at
0x40000000.
"""


def _tokens_without_a_table(analysis: Analysis) -> tuple[int, ...]:
    """The tokens that the filters name and of whose calls the suite knows nothing."""
    return tuple(token for token in analysis.tokens() if not of_token(token))


def unjudged(analysis: Analysis, *wanted: FilterReturn) -> tuple[Finding, ...]:
    """The architectures that the filters name and for which no verdict is possible.

    Without a table of an ABI's calls it is not known which number is a documented one's. So all is
    well where every number gets what a documented call must get, and nothing is where one does not
    that no call can have: a proof about every other architecture says both. In between, this does.

    Args:
        analysis: what the filters return.
        *wanted: what they may return for a documented call.

    Raises:
        TooComplexError: they tell too many tokens or numbers apart.
    """
    found = {
        token: _deviating(analysis, token, wanted) for token in _tokens_without_a_table(analysis)
    }
    return tuple(
        _unjudged(token, runs)
        for token, runs in found.items()
        if runs and not list(_cut(runs, NUMBERS_OF_NO_ABI))
    )


def _unjudged(token: int, found: Sequence[tuple[int, int]]) -> Finding:
    first, last = found[0]
    count = sum(high - low + 1 for low, high in found)
    numbers = f"{first:#x} to {last:#x}" if last > first else f"{first:#x}"
    more = f" and {count - (last - first + 1)} more" if len(found) > 1 else ""
    return Finding(
        f"the filters name architecture {token_text(token)}, of whose calls the suite has no "
        f"table, and let numbers through there ({numbers}{more}): whether a documented call is "
        "among them is told by that architecture's asm/unistd.h, or have the filters answer it as "
        "they answer architectures that they do not name",
        Weight.LIMITS,
        f"architecture {token:#x}",
    )


def _deviating(
    analysis: Analysis, token: int, wanted: Sequence[FilterReturn]
) -> tuple[tuple[int, int], ...]:
    """The runs of a token's numbers that may return something else, as first and last number."""
    return tuple(
        (part.first, part.last)
        for part in analysis.numbers(token)
        if not all(_agrees_with_any(value, wanted) for value in part.returns)
    )


def _cut(
    runs: Iterable[tuple[int, int]], ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The intersection of runs of numbers with ranges of numbers."""
    for first, last in runs:
        for low, high in ranges:
            if first <= high and low <= last:
                yield max(first, low), min(last, high)


def gaps(first: int, last: int, known: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The runs of numbers from first to last that are not among the known ones, which ascend."""
    for number in known[bisect.bisect_left(known, first) : bisect.bisect_right(known, last)]:
        if number > first:
            yield first, number - 1
        first = number + 1
    if first <= last:
        yield first, last


_X32_HALF = 1 << 30


def _own(arch: Arch | None, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The parts of a run that belong to the ABI; a bit decides where two share a token."""
    start = first
    while start <= last:
        end = min(last, start | (_X32_HALF - 1))
        if arch is None or belongs_to(arch, start):
            yield start, end
        start = end + 1
