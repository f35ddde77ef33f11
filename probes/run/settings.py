"""The settings of a run: a plan is made of its options, this kernel and the target."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.audit.source import RecordSource
from probes.cell import Claim
from probes.documents import policy
from probes.documents.policy import Policy
from probes.judging import plan
from probes.judging.plan import Case
from probes.run import entries, judged_abis, opening
from probes.run.entries import Entries
from probes.run.values import RunOptions
from probes.targets import StackTarget, Target, ambient, words
from probes.targets.ambient import Ambient
from probes.targets.builtin import builtin
from probes.targets.confinement import Confinement
from probes.targets.open import Surroundings


@dataclass(frozen=True, slots=True)
class Settings:
    """The resolved settings of a run: its options, this kernel and the opened target.

    Attributes:
        policy: what must hold.
        profiles: the profiles to judge, in the project's order.
        native: the kernel's own ABI.
        arches: the ABIs to judge on this kernel; none where the filters are for another machine,
            which proofs alone judge.
        offered: every ABI that this kernel can be entered by.
        shut: the ABIs that were looked for and cannot be entered, with what happened.
        target: what is put to the test.
        audit_source: where records shall come from.
        cases: the plan.
        confinement: what confines this process itself, which judges something else; None where
            nothing does.
        left_out: the ABIs that the filters name, and that were not asked for.
        emulation: why nothing can be observed, for this process is emulated; "" where it is not.
    """

    policy: Policy
    profiles: tuple[Profile, ...]
    native: Arch
    arches: tuple[Arch, ...]
    offered: tuple[Arch, ...]
    shut: Mapping[str, str]
    target: Target
    audit_source: RecordSource
    cases: tuple[Case, ...]
    confinement: Confinement | None = None
    left_out: tuple[Arch, ...] = ()
    emulation: str = ""
    _by_test: dict[tuple[Claim, tuple[str, ...], int], Case] = field(
        default_factory=dict, repr=False, compare=False
    )

    def case(self, claim: Claim, parameters: Iterable[str], stack: int = 0) -> Case:
        """The planned case of a claim with these parameters.

        Args:
            claim: the claim.
            parameters: what its test function takes.
            stack: which of the target's stacks of filters is judged.

        Raises:
            LookupError: nothing like it was planned.
        """
        if not self._by_test:
            for case in self.cases:
                words = tuple(value for _, value in case.parameters)
                self._by_test[case.claim, words, case.stack] = case
        wanted = tuple(parameters)
        try:
            return self._by_test[claim, wanted, stack]
        except KeyError:
            raise LookupError(f"no case was planned for {claim!r} and {wanted}") from None

    def untold(self, one: Arch) -> str:
        """Why no verdict by calls of an ABI is possible; "" where one is."""
        return self.emulation or self.target.untold.get(one.name, "")

    @property
    def handed(self) -> dict[str, Any]:
        """The opened target in plain data: by it a worker's ``resolve`` judges the same filters."""
        return self.target.to_plain()


def resolve(options: RunOptions, handed: dict[str, Any] | None = None) -> Settings:
    """Asks this kernel, opens the target and plans the run.

    Args:
        options: what the run shall judge.
        handed: ``Settings.handed`` of the process that has opened the target already: a file may
            change meanwhile, and a process end.

    Raises:
        BadInputError: an option has no meaning here, or a file is not what it must be.
        InstrumentError: the process that makes the calls cannot be started, or filters cannot be
            read here.
    """
    documented = policy.load(options.policy, arch.all_names())
    if options.target.is_ambient:
        return _ambient(options, documented, handed)
    return _of_filters(options, documented, handed)


def _of_filters(options: RunOptions, documented: Policy, handed: dict[str, Any] | None) -> Settings:
    """The settings of a run that puts filters to the test."""
    profiles = options.profiles
    where = None if options.target.is_builtin else _surroundings(options)
    known = arch.of_this_process()
    found = entries.entries(known)
    elsewhere = where is not None and where.native.machine != known[0].machine
    arches = () if elsewhere else judged_abis.judged(options, found.offered, found.prevented)
    emulation = entries.emulation()
    if handed is not None:
        target = StackTarget.from_plain(handed)
    else:
        target = _opened(options, documented, where, found)
        target = _with_limits(target, options, found, emulation, elsewhere=elsewhere)
    # Of each stack of the target's filters the ABIs that are proved.
    proved = [_proved(options, part, where) for part in target.members]
    native = where.native if where else known[0]
    cases = _planned(_Judged(documented, profiles, arches, found.offered, native), target, proved)
    own = found.confinement
    return Settings(
        policy=documented,
        profiles=profiles,
        native=known[0],
        arches=arches,
        offered=found.offered,
        shut=MappingProxyType(dict(found.shut)),
        target=target,
        audit_source=options.audit_source,
        cases=plan.with_canaries(cases, own.canaries) if own else cases,
        confinement=own,
        emulation=emulation,
        left_out=_left_out(target, profiles, proved),
    )


def _surroundings(options: RunOptions) -> Surroundings:
    """What a target that is not the suite's own depends on.

    Raises:
        BadInputError: a word has no meaning for such a target.
    """
    wanted = words.ordered(options.arches)
    found = words.surroundings(options.policy, options.profiles[0], wanted, options.container)
    return replace(found, start=options.start)


def _opened(
    options: RunOptions, documented: Policy, where: Surroundings | None, found: Entries
) -> StackTarget:
    if where is None:
        return builtin(documented, (*found.offered, *found.prevented))
    return opening.opened(options.target, where)


def _with_limits(
    target: StackTarget, options: RunOptions, found: Entries, emulation: str, *, elsewhere: bool
) -> StackTarget:
    """The target, with what this process cannot judge of it."""
    left_out = () if elsewhere else found.left_out(options)
    of_emulator = (entries.of_emulator(emulation),) if emulation else ()
    return target.with_findings(*left_out, *of_emulator)


def _proved(options: RunOptions, part: Target, where: Surroundings | None) -> tuple[Arch, ...]:
    """The ABIs that are proved of a stack of filters."""
    if where is None:
        return judged_abis.asked(options, judged_abis.named(part, options.profiles))
    return judged_abis.proved(options, part, where)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The policy, the profiles and the ABIs for which cases are planned."""

    documented: Policy
    profiles: tuple[Profile, ...]
    arches: tuple[Arch, ...]
    offered: tuple[Arch, ...]
    native: Arch


def _planned(
    one: _Judged, target: StackTarget, proved: Sequence[tuple[Arch, ...]]
) -> tuple[Case, ...]:
    """The cases about all stacks of a target's filters.

    Args:
        one: what they are planned for.
        target: the target.
        proved: the ABIs that are proved, of each of its stacks.
    """
    by_exec = target.origin is not None and target.origin.executed is not None
    executed = plan.executed(one.documented, one.profiles, one.arches) if by_exec else ()
    first, *others = (
        plan.plan(one.documented, one.profiles, one.arches, one.offered, named) for named in proved
    )
    return (
        *first,
        *executed,
        *plan.all_judged(one.profiles, one.native, target.findings),
        *(case for stack, cases in enumerate(others, 1) for case in plan.of_stack(cases, stack)),
    )


def _left_out(
    target: StackTarget, profiles: Sequence[Profile], proved: Sequence[tuple[Arch, ...]]
) -> tuple[Arch, ...]:
    """The ABIs that the filters name and that are not proved."""
    return tuple(
        dict.fromkeys(
            one
            for part, chosen in zip(target.members, proved, strict=True)
            for one in judged_abis.named(part, profiles)
            if chosen and one not in chosen
        )
    )


def _ambient(options: RunOptions, documented: Policy, handed: dict[str, Any] | None) -> Settings:
    """The settings of a run that judges this process's own confinement."""
    profiles, known = options.profiles, arch.of_this_process()
    emulation = entries.emulation()
    if handed is not None:
        target = Ambient.from_plain(handed)
    elif emulation:
        target = ambient.untold(known, emulation, (entries.of_emulator(emulation),))
    else:
        target = ambient.explore(known)
    offered = tuple(one for one in known if one.name not in target.shut)
    arches = judged_abis.judged(options, offered)
    cases = (
        *plan.plan(documented, profiles, arches, offered, ()),
        *plan.all_judged(profiles, known[0], target.findings),
    )
    return Settings(
        policy=documented,
        profiles=profiles,
        native=known[0],
        arches=arches,
        offered=offered,
        shut=MappingProxyType(dict(target.shut)),
        target=target,
        audit_source=options.audit_source,
        cases=plan.with_canaries(cases, target.canaries),
        emulation=emulation,
    )
