"""From the words of a command line to what a run does; every bad word is refused in a sentence."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from probes import arch, environment
from probes.action import Profile
from probes.arch import Arch
from probes.audit.source import BEST, RecordSource
from probes.cell import Claim
from probes.documents import policy
from probes.documents.policy import Policy
from probes.errors import BadInputError, InstrumentError
from probes.filters import prover, unread
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight
from probes.instrument import effect
from probes.instrument.calls import Observation, Zygote
from probes.judging import examiner, plan, proof
from probes.judging.plan import Case
from probes.runtimes.wanted import RUNTIMES, Start
from probes.targets import StackTarget, Target, ambient, confinement
from probes.targets import words as container_words
from probes.targets.ambient import Ambient
from probes.targets.builtin import builtin
from probes.targets.confinement import ConfinedError, Confinement
from probes.targets.open import Opened, Surroundings, open_target, taken_apart
from probes.targets.words import Container
from probes.text import did_you_mean, in_brackets, shown

BUILTIN: Final = "builtin"
"""The target that the suite builds itself, with each profile; every other has one filter."""


@dataclass(frozen=True, slots=True)
class Words:
    """The options as they were given; "" means the default.

    Attributes:
        policy: ``--policy``, a file.
        profile: ``--profile``, comma-separated.
        arch: ``--arch``, comma-separated.
        target: ``--target``.
        audit_source: ``--audit-source``.
        container: ``--cap`` and others, on which a target ``oci:FILE`` depends.
        start: ``--seccomp`` and others, on which a container that is started depends.
    """

    policy: str
    profile: str = ""
    arch: str = ""
    target: str = BUILTIN
    audit_source: RecordSource = BEST
    container: Container = field(default_factory=Container)
    start: Start = field(default_factory=Start)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run does.

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
        """Why nothing can be told by an ABI; "" where something can."""
        untold = self.target.untold.get(one.name, "") if isinstance(self.target, Ambient) else ""
        return self.emulation or untold

    @property
    def handed(self) -> dict[str, Any] | None:
        """What a worker needs, for ``resolve``, to judge the very filters that were opened here."""
        if isinstance(self.target, StackTarget | Ambient):
            return self.target.to_plain()
        return None


def resolve(words: Words, handed: dict[str, Any] | None = None) -> Settings:
    """Reads the options and plans the run.

    Args:
        words: the options.
        handed: ``Settings.handed`` of the process that has opened the target already: a file may
            change meanwhile, and a process end.

    Raises:
        BadInputError: an option has no meaning, or not here.
        InstrumentError: the process that makes the calls cannot be started, or filters cannot be
            read here.
    """
    documented = policy.load(Path(words.policy), arch.all_names())
    profiles = profiles_named(words.profile)
    if words.target == ambient.WORD:
        return _ambient(words, documented, profiles, handed)
    where = None if words.target == BUILTIN else _surroundings(words, profiles)
    _check_container(words)
    _check_start(words)
    machine = arch.machine_here()
    known = arch.of_this_process()
    entries = _entries(known)
    offered = entries.offered
    elsewhere = where is not None and where.native.machine != known[0].machine
    arches = () if elsewhere else _arches(words.arch, offered, machine, entries.prevented)
    target: Target
    if handed is not None:
        target = StackTarget.from_plain(handed)
    elif where is None:
        target = builtin(documented, (*offered, *entries.prevented))
    else:
        target = _opened(words.target, where)
    if handed is None and not elsewhere:
        left_out = entries.left_out(words.arch)
        target = replace(target, findings=(*target.findings, *left_out))
    emulation = why_emulated(machine, environment.emulation(os.uname().machine))
    if emulation and handed is None:
        target = replace(target, findings=(*target.findings, _of_emulator(emulation)))
    # Of each stack of the target's filters the ABIs that are proved.
    proved = [
        _asked(words.arch, _named(part, profiles))
        if where is None
        else _proved(words, part, where, machine)
        for part in target.members
    ]
    by_exec = target.origin is not None and target.origin.executed is not None
    executed = plan.executed(documented, profiles, arches) if by_exec else ()
    own = entries.confinement
    first, *others = (plan.plan(documented, profiles, arches, offered, named) for named in proved)
    cases = (
        *first,
        *executed,
        *plan.all_judged(profiles, where.native if where else known[0], target.findings),
        *(case for stack, one in enumerate(others, 1) for case in plan.of_stack(one, stack)),
    )
    return Settings(
        policy=documented,
        profiles=profiles,
        native=known[0],
        arches=arches,
        offered=offered,
        shut=MappingProxyType(dict(entries.shut)),
        target=target,
        audit_source=words.audit_source,
        cases=plan.with_canaries(cases, own.canaries) if own else cases,
        confinement=own,
        emulation=emulation,
        left_out=tuple(
            dict.fromkeys(
                one
                for part, named in zip(target.members, proved, strict=True)
                for one in _named(part, profiles)
                if named and one not in named
            )
        ),
    )


@dataclass(frozen=True, slots=True)
class _Entries:
    """By which ABIs this process can enter the kernel.

    Attributes:
        offered: those by which it can.
        shut: what happened instead, by the names of the others.
        prevented: those of the others by which its own confinement lets no call be made, with what
            came of one.
        confinement: what confines this process itself; None where nothing does.
    """

    offered: tuple[Arch, ...]
    shut: Mapping[str, str]
    prevented: Mapping[Arch, Observation] = field(default_factory=dict)
    confinement: Confinement | None = None

    def left_out(self, text: str) -> tuple[Finding, ...]:
        """Findings about the ABIs that are left out although ``--arch`` asks for them."""
        if self.confinement is None:
            return ()
        asked = _asked(text, self.prevented)
        shut = {one: self.prevented[one] for one in asked}
        return confinement.left_out(shut, self.confinement.words)


def _entries(known: Sequence[Arch]) -> _Entries:
    """Asks the kernel by which ABIs this process can enter it.

    Raises:
        InstrumentError: not even by its own.
    """
    own = known[0]
    said = confinement.words()
    if said:
        return _entries_of_confined(known, said)
    with Zygote() as zygote:
        tried = dict(examiner.entered(zygote, known))
    offered = tuple(one for one, trouble in tried.items() if not trouble)
    shut = {one.name: trouble for one, trouble in tried.items() if trouble}
    if own not in offered:
        raise InstrumentError(f"this kernel's own ABI cannot be called: {shut[own.name]}")
    return _Entries(offered, shut)


def _entries_of_confined(known: Sequence[Arch], said: str) -> _Entries:
    """Likewise, in a process that is confined itself.

    Raises:
        ConfinedError: not even by its own, or no call can be made.
    """
    with confinement.open_zygote(known[0], said) as zygote:
        seen = dict(confinement.entered(zygote, known))
        offered = tuple(one for one, made in seen.items() if confinement.came_back(made))
        found = confinement.explore(zygote, offered, said)
    shut = {one: made for one, made in seen.items() if one not in offered}
    why = {one.name: "it takes a program of that ABI" for one in known if one not in seen}
    why |= {one.name: effect.answer(made) for one, made in shut.items()}
    if known[0] not in offered:
        raise ConfinedError(found.prevents(why[known[0].name]))
    prevented = {one: made for one, made in shut.items() if confinement.is_shut(made)}
    return _Entries(offered, why, prevented, found)


def why_emulated(machine: str, shown: str) -> str:
    """Why nothing can be observed in an emulated process; "" where nothing shows that it is one.

    Args:
        machine: the one that the emulator pretends to be.
        shown: what shows it; see ``environment.emulation``.
    """
    if not shown:
        return ""
    return (
        f"this process is emulated ({shown}): no filter of its own can be tested here; run the "
        f"suite on a machine of that kind ({machine}), or in a guest (syscall-conformance guest)"
    )


def _of_emulator(emulation: str) -> Finding:
    """What a reader has to know of a record that was made under an emulator."""
    text = f"{emulation}; machine and kernel in this record are what the emulator says"
    return Finding(text, Weight.LIMITS, "this kernel")


def _ambient(
    words: Words, documented: Policy, profiles: tuple[Profile, ...], handed: dict[str, Any] | None
) -> Settings:
    """What a run does that judges this process's own confinement.

    Raises:
        BadInputError: an option has no meaning here.
    """
    _check_one_profile(words, profiles)
    _check_container(words)
    _check_start(words)
    known = arch.of_this_process()
    emulation = why_emulated(arch.machine_here(), environment.emulation(os.uname().machine))
    if handed is not None:
        target = Ambient.from_plain(handed)
    elif emulation:
        target = ambient.untold(known, emulation, (_of_emulator(emulation),))
    else:
        target = ambient.explore(known)
    offered = tuple(one for one in known if one.name not in target.shut)
    arches = _arches(words.arch, offered, arch.machine_here())
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
        audit_source=words.audit_source,
        cases=plan.with_canaries(cases, target.calls),
        emulation=emulation,
    )


def _check_one_profile(words: Words, profiles: Sequence[Profile]) -> None:
    if len(profiles) > 1:
        raise BadInputError(
            f"--target {shown(words.target)}: this is one filter and is judged against one "
            f"profile: name it, --profile={' or --profile='.join(Profile)}"
        )


def profiles_named(text: str) -> tuple[Profile, ...]:
    """The profiles of a list of names, in the project's order; all for no list.

    Raises:
        BadInputError: a name is none.
    """
    if not text:
        return tuple(Profile)
    names = [profile.value for profile in Profile]
    for word in text.split(","):
        if word not in names:
            hint = in_brackets(did_you_mean(word, names))
            raise BadInputError(
                f"--profile {text}: unknown profile {word!r}{hint}; "
                f"the profiles are {', '.join(names)}, separated by commas"
            )
    return tuple(profile for profile in Profile if profile.value in text.split(","))


def _check_container(words: Words) -> None:
    """Refuses options of a profile where none is judged, lest somebody thinks that they count.

    Raises:
        BadInputError: one was given.
    """
    for option in container_words.OPTIONS:
        if (given := getattr(words.container, option.name)) and not words.target.startswith("oci:"):
            raise BadInputError(
                f"--{option.name} {shown(given)}: only --target=oci:FILE depends on it; leave it "
                f"out, or name a profile"
            )


def _check_start(words: Words) -> None:
    """Refuses options of a container where none is started, lest somebody thinks that they count.

    Raises:
        BadInputError: one was given.
    """
    if words.start != Start() and words.target.partition(":")[0] not in RUNTIMES:
        names = ", ".join(f"--{option.name}" for option in container_words.START_OPTIONS)
        raise BadInputError(
            f"{names}: --target {shown(words.target)} starts no container; leave them out, or name "
            f"one of the targets {', '.join(f'{runtime}:...' for runtime in RUNTIMES)}"
        )


def _surroundings(words: Words, profiles: Sequence[Profile]) -> Surroundings:
    """What a target that is not the suite's own depends on.

    Raises:
        BadInputError: a word has no meaning, or not for such a target.
    """
    try:
        taken_apart(words.target)
    except BadInputError as error:
        raise BadInputError(f"--target: {error}, or {ambient.WORD}") from error
    _check_one_profile(words, profiles)
    wanted = container_words.arches(words.arch)
    found = container_words.surroundings(Path(words.policy), profiles[0], wanted, words.container)
    return replace(found, start=words.start)


def _opened(word: str, where: Surroundings) -> StackTarget:
    """A target that is not the suite's own.

    Raises:
        BadInputError: the word is none, or its file or process is not what it must be.
        InstrumentError: the filters cannot be read here.
    """
    try:
        opened = open_target(word, where)
    except BadInputError as error:
        raise BadInputError(f"--target: {error}") from error
    target = _stack_target(word.partition(":")[0], opened, where.profile)
    # The analysis is shared, for it is what takes the time.
    found = [
        one for part in target.members for one in _of_analysis(part, where.profile, opened.native)
    ]
    # Several stacks may leave the same architecture open, which is one finding.
    found.sort(key=lambda one: one.weight, reverse=True)
    alike = {one.about or one.text: one for one in found}
    return replace(target, findings=(*target.findings, *alike.values()))


def _stack_target(kind: str, opened: Opened, profile: Profile) -> StackTarget:
    return StackTarget(
        kind=kind,
        description=opened.description,
        stacks={profile: opened.programs},
        big_endian=opened.native.big_endian,
        findings=opened.findings,
        origin=opened.origin,
        logged=opened.logged,
        first=opened.first,
        further=tuple(_stack_target(kind, one, profile) for one in opened.further),
    )


def _of_analysis(target: StackTarget, profile: Profile, native: Arch) -> tuple[Finding, ...]:
    """The architectures about which nobody can tell, and rules that look at bits nobody reads."""
    try:
        analysis = target.analysis(profile)
        return (*proof.unjudged(analysis, profile.returns), *unread.findings(analysis, native))
    except TooComplexError:
        return _too_many(target, profile)


def _too_many(target: StackTarget, profile: Profile) -> tuple[Finding, ...]:
    """That the filters tell too many architectures apart, where that is what outgrew a proof.

    Where the programs are too complex altogether, each cell of the proof says so.
    """
    try:
        analysis = prover.analyze(target.programs(profile), big_endian=target.big_endian)
    except TooComplexError:
        return ()
    try:
        return proof.unjudged(analysis, profile.returns)
    except TooComplexError as error:
        text = (
            f"which architectures the filters name, and what they let through there, cannot be "
            f"told, for {error}: have them compare seccomp_data.arch with whole tokens"
        )
        return (Finding(text, Weight.LIMITS, "architectures"),)


def _arches(
    text: str, offered: Sequence[Arch], machine: str, prevented: Iterable[Arch] = ()
) -> tuple[Arch, ...]:
    if not text:
        return tuple(offered)
    wanted = {_arch(text, word).name: _arch(text, word) for word in text.split(",")}
    for one in wanted.values():
        if one.name not in {each.name for each in (*offered, *prevented)}:
            names = ", ".join(each.name for each in offered)
            raise BadInputError(
                f"--arch {text}: this kernel ({machine}) cannot be entered as {one.name}; "
                f"it can as {names}"
            )
    return tuple(one for one in offered if one.name in wanted)


def _named(target: Target, profiles: Iterable[Profile]) -> tuple[Arch, ...]:
    """The ABIs that the programs name."""
    tokens: set[int] = set()
    for profile in profiles:
        try:
            tokens |= set(target.analysis(profile).tokens())
        except TooComplexError:
            continue  # each cell of the proof will say so
    return tuple(one for one in arch.ARCHES.values() if one.audit_arch in tokens)


def _proved(words: Words, target: Target, where: Surroundings, machine: str) -> tuple[Arch, ...]:
    """The ABIs to judge by proof, of filters that may be for another machine.

    Filters that do not look at the architecture name no ABI; whatever they return for a number
    holds on each.

    Raises:
        BadInputError: the filters are for another machine than was said.
    """
    theirs = where.native.machine
    named = _named(target, [where.profile]) or arch.offered_by(theirs)
    asked = _asked(words.arch, named)
    fits = any(one.machine == theirs for one in named)
    if theirs == machine and words.arch and not asked:
        # They treat it like architectures that they do not name: that is to be judged, too.
        return _asked(words.arch, arch.offered_by(theirs))
    if asked if theirs != machine else fits:
        return asked
    names = ", ".join(one.name for one in named)
    nothing = f"--arch={words.arch}" if words.arch else f"this machine, {machine}"
    raise BadInputError(
        f"--target {shown(words.target)}: these filters are for {names}, and not for {nothing}: "
        f"say by --arch which of them to judge"
    )


def _asked(text: str, arches: Iterable[Arch]) -> tuple[Arch, ...]:
    """Those that were asked for, where any were."""
    return tuple(one for one in arches if not text or one.name in text.split(","))


def _arch(text: str, word: str) -> Arch:
    try:
        return arch.get(word)
    except BadInputError as error:
        raise BadInputError(f"--arch {text}: {error}") from error
