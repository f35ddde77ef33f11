"""Whether a failure is exactly what runtimes do to every profile. Pure.

Decided by the programs and by what the kernel was seen to do, never by words. A documented call is
nowhere excused: only other calls, numbers of no call, and other architectures are looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.cell import Cause, Cell, Outcome
from probes.deviation import KnownDeviation
from probes.filters import enosys_stub
from probes.filters.bpf import Program
from probes.filters.enosys_stub import Stub
from probes.filters.prover import TooComplexError
from probes.instrument.effect import read
from probes.judging import judges, plan, proof
from probes.judging.claims import About
from probes.judging.plan import Case, Scope
from probes.judging.proof import Suspect
from probes.judging.sighting import Sighting
from probes.targets import Target

Explanation = tuple[KnownDeviation, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """How a target's filters were made, as far as their programs and their libseccomp show it.

    Attributes:
        stubs: what runc has put before their programs.
        lacking: by the ABI's name, the numbers of calls for which no rule could be made.
        returns: what the profile asks for where no rule holds.
    """

    stubs: tuple[Stub, ...]
    lacking: Mapping[str, frozenset[int]]
    returns: FilterReturn

    def of_call(self, arch: Arch, number: int, returns: FilterReturn) -> Explanation:
        """What makes a call that is not documented get an answer; nothing that is known, if none.

        Args:
            arch: the ABI.
            number: the call's.
            returns: what the filters return for it.
        """
        if number not in self.lacking.get(arch.name, ()):
            return ()
        if proof.agrees(returns, self.returns):
            return (KnownDeviation.LIBSECCOMP_UNKNOWN_CALLS,)
        beyond = self.of_number(arch, number, returns)
        return (*beyond, KnownDeviation.LIBSECCOMP_UNKNOWN_CALLS) if beyond else ()

    def of_number(self, arch: Arch, number: int, returns: FilterReturn) -> Explanation:
        """What makes a number that no table knows get an answer; nothing that is known, if none.

        Args:
            arch: the ABI.
            number: the number.
            returns: what the filters return for it.
        """
        by_stub = any(stub.covers(arch, number) for stub in self.stubs)
        if by_stub and enosys_stub.is_enosys(returns):
            return (KnownDeviation.RUNC_ENOSYS_STUB,)
        return ()


def made(target: Target, profile: Profile) -> Made:
    """How a target's filters were made."""
    return Made(
        stubs=_stubs(target.programs(profile)),
        lacking={} if target.library is None else target.library.lacking,
        returns=profile.returns,
    )


@lru_cache(maxsize=8)
def _stubs(programs: tuple[Program, ...]) -> tuple[Stub, ...]:
    found: list[Stub] = []
    for program in programs:
        try:
            stub = enosys_stub.found_in(program)
        except TooComplexError:  # then none is recognized, and nothing excused
            continue
        if stub is not None:
            found.append(stub)
    return tuple(found)


def named_in(target: Target, case: Case, cell: Cell, sighting: Sighting) -> Cell:
    """The cell, with the deviations that explain its failure where it is about a number.

    Args:
        target: gives the filters.
        case: the case of the cell.
        cell: the verdict.
        sighting: what was seen.
    """
    if cell.outcome is not Outcome.FAILED or cell.cause is not Cause.FILTER:
        return cell
    if case.profile is None or case.row.about not in _NUMBERS:
        return cell
    return replace(cell, deviations=of_sighting(made(target, case.profile), case, cell, sighting))


_NUMBERS: Final = frozenset({About.OTHER_CALL, About.UNKNOWN_NUMBER})


def of_sighting(made_so: Made, case: Case, cell: Cell, sighting: Sighting) -> Explanation:
    """The deviations that explain the failure of a cell about a number; none if it is another.

    Args:
        made_so: how the filters were made.
        case: the case of the cell.
        cell: the cell, which failed.
        sighting: what was seen.
    """
    returns, number = sighting.returns, cell.key.number
    if returns is None or number is None or sighting.witnessed is None:
        return ()
    # Of what some kernels ask no filter about, the program alone tells.
    if not plan.is_exempt(cell.key) and not judges.shows(read(sighting.witnessed), returns):
        return ()
    if case.row.about is About.OTHER_CALL:
        return made_so.of_call(case.arch, number, returns)
    return made_so.of_number(case.arch, number, returns)


def of_proof(
    made_so: Made, found: Sequence[tuple[Case, Suspect]], unnamed: Iterable[int]
) -> Explanation:
    """The deviations that explain every input that deviates; none if one of them is another.

    Args:
        made_so: how the filters were made.
        found: the runs of numbers that deviate, each with what covers it.
        unnamed: the tokens that stand for those which the filters do not name.
    """
    others = frozenset(unnamed)
    explained = [_of_suspect(made_so, part, one, others) for part, one in found]
    if not all(explained):
        return ()
    known = {name for names in explained for name in names}
    return tuple(name for name in KnownDeviation if name in known)


def _of_suspect(made_so: Made, part: Case, one: Suspect, unnamed: frozenset[int]) -> Explanation:
    scope, returns = part.cells[0].syscall, FilterReturn.decode(one.value)
    if scope == Scope.OTHER_CALLS:
        return made_so.of_call(part.arch, one.number, returns)
    if scope == Scope.UNKNOWN_NUMBERS:
        return made_so.of_number(part.arch, one.number, returns)
    is_elsewhere = scope == Scope.OTHER_ARCHITECTURES and one.token in unnamed
    if is_elsewhere and returns.action is Action.KILL_THREAD:
        return (KnownDeviation.BAD_ARCH_KILL_THREAD,)
    return ()
