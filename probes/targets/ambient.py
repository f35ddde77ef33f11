"""The target ``ambient``: whatever confines this very process, judged from inside.

Nothing is put on the probes but a witness. What the filters are the kernel does not show: reading
them takes a tracer that is not confined itself (PTRACE_SECCOMP_GET_FILTER in ptrace(2)). So there
is nothing to simulate and nothing to prove, and filters that depend on arguments are judged for
those that were asked about. What the confinement prevents the witness from doing cannot be told.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, Self

from probes import environment
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch, Entry
from probes.errors import InstrumentError
from probes.filters.bpf import Program
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight, advice
from probes.instrument import effect, witness
from probes.instrument.calls import (
    DEADLINE_SECONDS,
    Call,
    Observation,
    Request,
    Route,
    Stage,
    Standing,
    Zygote,
)
from probes.instrument.effect import Effect
from probes.instrument.witness import Attempt, Witness
from probes.targets import Canary
from probes.targets.name import AMBIENT
from probes.targets.stack import ProgramIdentity

CANARIES: Final = (
    "getppid",
    "getpid",
    "gettid",
    "getuid",
    "getgid",
    "geteuid",
    "getegid",
    "sched_yield",
)
"""Calls without arguments that change nothing: one that is let through serves the controls."""

_HARVEST: Final = (
    "read the filters from outside instead (--target=pid:N on the host, N being this process)"
)


@dataclass(frozen=True, slots=True)
class Ambient:
    """The filters that confine this process, as far as calls can show their effect.

    Attributes:
        description: what a sentence calls it.
        standing: how calls can be witnessed.
        canaries: the call of the controls, by the name of each ABI that can be judged.
        untold: why no verdict is possible, by the name of each other ABI.
        shut: what happened instead, by the name of each ABI that the kernel does not offer.
        nameless: why probes can have no name by which to find their records; "" if they can.
        supervised: what shows that a supervisor or a tracer is there, who may be asked about calls;
            "" where nothing does.
        unsure: why nothing could show it; "" where there certainly is none, or one was seen.
        findings: what a reader should know of the confinement.
    """

    description: str
    standing: Standing
    canaries: Mapping[str, Canary]
    untold: Mapping[str, str]
    shut: Mapping[str, str]
    nameless: str = ""
    supervised: str = ""
    unsure: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def members(self) -> "tuple[Ambient, ...]":
        """The filters of this process, which confine all of it."""
        return (self,)

    @property
    def kind(self) -> str:
        """The kind of target, as the word of ``--target`` begins."""
        return AMBIENT

    @property
    def origin(self) -> None:
        """None: no container was started."""

    @property
    def written(self) -> tuple[()]:
        """None: whoever has put up the filters does not say from which files."""
        return ()

    @property
    def library(self) -> None:
        """None: what made the filters is not known."""

    @property
    def logged(self) -> tuple[bool, ...]:
        """None: the flags are not known."""
        return ()

    @property
    def is_ambient(self) -> bool:
        """Yes: this process has the filters already."""
        return True

    @property
    def alone(self) -> bool:
        """Whether nobody is there who could be asked about a call, and have it run."""
        return not self.supervised and not self.unsure

    @property
    def identities(self) -> Mapping[Profile, tuple[ProgramIdentity, ...]]:
        """None: the programs are not known."""
        return {}

    def why_unrecorded(self, native: Arch) -> str:
        """Why no audit record can be told to be a probe's; "" where it can.

        Args:
            native: the ABI of the sentinel, whose record ends what was read.
        """
        if self.nameless:
            return self.nameless
        canary = self.canaries.get(native.name)
        if canary is None or canary.returns.action is not Action.ALLOW:
            return (
                "no call can be recorded that would show that records arrive: this process is "
                f"confined against each of {', '.join(CANARIES)}"
            )
        return ""

    @property
    def witness(self) -> Witness:
        """Tells what the confinement does with a call.

        Raises:
            InstrumentError: no verdict is possible on the ABI; ``untold`` says why.
        """
        if self.standing is Standing.NONE:
            raise InstrumentError("there is no witness in this process")
        return witness.WITNESSES[self.standing]

    def open_zygote(self, native: Arch) -> Zygote:
        """Starts the process that makes the calls in spite of the confinement.

        Args:
            native: the kernel's own ABI.

        Raises:
            InstrumentError: the confinement is another one than when it was explored.
        """
        with ExitStack() as unless_it_works:
            zygote = unless_it_works.enter_context(Zygote(confined=True))
            standing, _ = put_up(zygote, native)
            if standing is not self.standing:
                raise InstrumentError(
                    "this process's confinement is another one than when the run began: run it"
                    " again"
                )
            unless_it_works.pop_all()
        return zygote

    def programs(self, profile: Profile) -> tuple[Program, ...]:
        """None: the filters are there already."""
        del profile
        return ()

    def analysis(self, profile: Profile) -> NoReturn:
        """There is none.

        Raises:
            TooComplexError: always.
        """
        del profile
        raise TooComplexError("the kernel does not show a confined process its filters")

    def predict(self, profile: Profile, arch: Arch, number: int) -> FilterReturn | None:
        """Nothing: the programs are not known."""
        del profile, arch, number
        return None

    def reworded(self, reword: Callable[[str], str]) -> Self:
        """A copy of this target whose sentences about the filters are reworded."""
        findings = tuple(replace(one, text=reword(one.text)) for one in self.findings)
        return replace(self, description=reword(self.description), findings=findings)

    def to_plain(self) -> dict[str, Any]:
        """The target in types that can be sent to another process; see ``from_plain``."""
        return {
            "kind": self.kind,
            "description": self.description,
            "standing": self.standing.value,
            "canaries": {
                arch: [one.name, one.number, one.returns.value]
                for arch, one in self.canaries.items()
            },
            "untold": dict(self.untold),
            "shut": dict(self.shut),
            "nameless": self.nameless,
            "supervised": self.supervised,
            "unsure": self.unsure,
            "findings": [one.to_plain() for one in self.findings],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The target that ``to_plain`` was given."""
        return cls(
            plain["description"],
            Standing(plain["standing"]),
            {
                arch: Canary(name, number, FilterReturn.decode(value))
                for arch, (name, number, value) in plain["canaries"].items()
            },
            plain["untold"],
            plain["shut"],
            plain["nameless"],
            plain["supervised"],
            plain["unsure"],
            tuple(map(Finding.from_plain, plain["findings"])),
        )


def put_up(zygote: Zygote, native: Arch) -> tuple[Standing, Mapping[str, str]]:
    """Has a confined zygote put up its witness; see ``Zygote.put_up_witness``."""
    numbers = [number for name in CANARIES if (number := native.number(name)) is not None]
    return zygote.put_up_witness(witness.orders(native, numbers))


def explore(arches: Sequence[Arch]) -> Ambient:
    """Finds out what can be told of this process's confinement, and how.

    Args:
        arches: the ABIs that the machine may offer, its native one first.
    """
    here = environment.read()
    try:
        with Zygote(confined=True) as zygote:
            standing, trouble = put_up(zygote, arches[0])
            if standing is not Standing.NONE:
                others = company(trouble, environment.tracer(), here.kernel)
                found = list(_tried(zygote, witness.WITNESSES[standing], arches))
                findings = _findings(here.seccomp, standing, trouble, others)
                return _assembled(_description(), standing, trouble, found, others, findings)
    except InstrumentError as error:
        why = f"{error}, perhaps for this process's confinement; {_HARVEST}"
    else:
        why = (
            "this process's confinement lets it install no filter of its own, by prctl(2) "
            f"({trouble['prctl']}) or seccomp(2) ({trouble['seccomp']}"
            f"{_SO_DO_EMULATORS if _as_emulated(trouble) else ''}); {_HARVEST}"
        )
    return untold(arches, why)


_SO_DO_EMULATORS: Final = "; an emulator of programs, such as qemu-user, answers both so"


def _as_emulated(trouble: Mapping[str, str]) -> bool:
    """Whether filters are refused as by emulators of programs, which have no seccomp at all.

    A kernel that has it answers EINVAL for a program only, and never ENOSYS.
    """
    told = (trouble["prctl"], trouble["seccomp"])
    return told == (os.strerror(errno.EINVAL), os.strerror(errno.ENOSYS))


@dataclass(frozen=True, slots=True)
class Company:
    """What was found of a supervisor or a tracer; the fields are those of ``Ambient``."""

    supervised: str = ""
    unsure: str = ""


def company(trouble: Mapping[str, str], tracer: int, kernel: str) -> Company:
    """Who may be asked about calls, by what became of a listener of our own.

    Of all the filters of a process one may have a listener (EBUSY). Before Linux 5.0 there is none
    to be had, and the kernel says so itself; an EINVAL of a later one is a filter's.

    Args:
        trouble: what the confinement prevents; see ``Zygote.put_up_witness``.
        tracer: the process that traces this one; 0 for none.
        kernel: the release of the kernel.
    """
    failure = trouble.get("listener", "")
    if tracer:
        return Company(supervised=f"process {tracer} traces this one")
    if failure == os.strerror(errno.EBUSY):
        return Company(supervised="another filter of this process has a listener already")
    if failure == os.strerror(errno.EINVAL) and _major(kernel) < _FIRST_WITH_LISTENERS:
        return Company()
    return Company(unsure=f"seccomp(2) gives no listener here: {failure}" if failure else "")


_FIRST_WITH_LISTENERS: Final = 5


def _major(kernel: str) -> int:
    digits = kernel.partition(".")[0]
    return int(digits) if digits.isdecimal() else _FIRST_WITH_LISTENERS


def untold(arches: Sequence[Arch], why: str, findings: tuple[Finding, ...] = ()) -> Ambient:
    """A confinement about which no verdict is possible.

    Args:
        arches: the ABIs that the machine may offer.
        why: the reason.
        findings: what a reader should know besides.
    """
    every = {arch.name: why for arch in arches if arch.entry is not Entry.NONE}
    shut = _without_entry(arches)
    return Ambient(_description(), Standing.NONE, {}, every, shut, findings=findings)


def _description() -> str:
    here = environment.read()
    seccomp, filters = here.seccomp, here.seccomp_filters
    if seccomp == 0:
        return "this process's confinement (no seccomp filter is installed)"
    count = "" if filters is None else f" ({filters} filter{'s' if filters != 1 else ''})"
    return f"this process's confinement{count}"


def _without_entry(arches: Sequence[Arch]) -> dict[str, str]:
    return {
        arch.name: "it takes a program of that ABI" for arch in arches if arch.entry is Entry.NONE
    }


@dataclass(frozen=True, slots=True)
class _Tried:
    """The result of trying one ABI: exactly one of the three is set."""

    arch: Arch
    canary: Canary | None = None
    untold: str = ""
    shut: str = ""


def _tried(zygote: Zygote, told_by: Witness, arches: Sequence[Arch]) -> Iterator[_Tried]:
    """Looks for a canary on each ABI: one that is let through, else the first."""
    for arch in arches:
        if arch.entry is Entry.NONE:
            yield _Tried(arch, shut=_without_entry([arch])[arch.name])
            continue
        if _asks_no_filter(zygote, told_by, arch):
            yield _Tried(arch, shut="the kernel answers ENOSYS to its calls, and asks no filter")
            continue
        seen = [
            (name, number, _seen(zygote, told_by, arch, number))
            for name in CANARIES
            if (number := arch.number(name)) is not None
        ]
        name, number, first = next(
            (one for one in seen if one[2].effect is Effect.REACHED), seen[0]
        )
        returns = _RETURNS.get(first.effect)
        if first.effect in {Effect.HANDED_ON, Effect.ASKED}:
            why = f"no call is known by which to calibrate the instrument: {name}: {first.detail}"
            yield _Tried(arch, untold=f"{why}; likewise {', '.join(CANARIES)}")
        elif returns is not None:
            data = first.errno if returns is Action.ERRNO else 0
            yield _Tried(arch, Canary(name, number, FilterReturn(returns, data)))
        elif first.effect is Effect.FAULT:
            why = f"a probe cannot be made in this process's confinement: {first.detail}"
            yield _Tried(arch, untold=why)
        else:
            yield _Tried(arch, shut=first.detail)


_RETURNS: Final = {
    Effect.REACHED: Action.ALLOW,
    Effect.REFUSED: Action.ERRNO,
    Effect.TRAPPED: Action.TRAP,
    Effect.KILLED_THREAD: Action.KILL_THREAD,
    Effect.KILLED_PROCESS: Action.KILL_PROCESS,
}


def _seen(zygote: Zygote, told_by: Witness, arch: Arch, number: int) -> effect.Seen:
    # The route tells KILL_THREAD from KILL_PROCESS.
    requests = [
        Request(
            arch.entry.name.lower(),
            one.calls,
            one.programs,
            zygote.nonce(),
            Route.SIBLING,
            runs=False,
        )
        for one in told_by.one(arch, Call(number), (), ())
    ]
    told = effect.read(told_by.told([answers[0] for answers in zygote.run(requests)]))
    if told.effect is not Effect.REACHED:
        return told
    attempt = witness.asking(arch, Call(number))
    asking = _made(zygote, arch, attempt, SECONDS_TO_ANSWER)
    return effect.asked(told, effect.Asking(asking))


SECONDS_TO_ANSWER: Final = 2.0
"""How long a supervisor of this process may take to answer a call."""


def _asks_no_filter(zygote: Zygote, told_by: Witness, arch: Arch) -> bool:
    """Whether the kernel answers ENOSYS to a call, though a marker would have answered otherwise.

    A filter that refuses all calls of an ABI is outranked by the marker, or equal to it and older.
    """
    numbers = [number for name in CANARIES if (number := arch.number(name)) is not None]
    made = _made(zygote, arch, told_by.unasked(arch, Call(numbers[0])))
    return made.stage is Stage.RETURNED and made.errno == errno.ENOSYS


def _made(
    zygote: Zygote, arch: Arch, attempt: Attempt, deadline: float = DEADLINE_SECONDS
) -> Observation:
    """A harmless call, as one child makes it."""
    request = Request(
        *(arch.entry.name.lower(), attempt.calls, attempt.programs, zygote.nonce()),
        deadline=deadline,
        runs=False,
    )
    return zygote.run([request])[0][0]


def _assembled(  # noqa: PLR0913, PLR0917 - it only puts together what was found
    description: str,
    standing: Standing,
    trouble: Mapping[str, str],
    found: Sequence[_Tried],
    others: Company,
    findings: tuple[Finding, ...],
) -> Ambient:
    nameless = ""
    if "name" in trouble and "comm" in trouble:
        nameless = (
            f"a probe can have no name by which to find its record: prctl(2) ({trouble['name']}) "
            f"and /proc/thread-self/comm ({trouble['comm']}) are closed to this process"
        )
    return Ambient(
        description,
        standing,
        {one.arch.name: one.canary for one in found if one.canary is not None},
        {one.arch.name: one.untold for one in found if one.untold},
        {one.arch.name: one.shut for one in found if one.shut},
        nameless,
        others.supervised,
        others.unsure,
        findings,
    )


def _findings(
    seccomp: int | None, standing: Standing, trouble: Mapping[str, str], others: Company
) -> tuple[Finding, ...]:
    """The findings about the confinement that a report shows."""
    findings: list[str] = []
    if seccomp == 0:
        findings.append("no seccomp filter is installed in this process: nothing is confined by it")
    if standing is Standing.ORDER:
        why = trouble.get("listener", "")
        findings.append(
            f"the witness can have no listener here ({why}), so that each probe that is let through"
            " leaves an audit record of a kill with the code 0x7f000000"
        )
    return (*advice(findings), *_about_others(others))


def _about_others(others: Company) -> tuple[Finding, ...]:
    """What a reader has to know of whoever may be asked about calls."""
    if not others.unsure:
        return ()
    text = (
        "whether a supervisor is asked about the calls that are let through cannot be told for "
        f"each of them ({others.unsure}): {_HARVEST}"
    )
    return (Finding(text, Weight.LIMITS, "a supervisor"),)
