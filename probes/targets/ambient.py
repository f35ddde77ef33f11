"""The target ``ambient``: whatever confines this very process, judged from inside.

Nothing is put on the probes but a witness. What the filters are the kernel does not show: reading
them takes a tracer that is not confined itself (PTRACE_SECCOMP_GET_FILTER in ptrace(2)). So there
is nothing to simulate and nothing to prove, and filters that depend on arguments are judged for
those that were asked about. What the confinement prevents the witness from doing cannot be told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

from probes import environment, verdict, witness
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch, Entry
from probes.bpf import Program
from probes.errors import InstrumentError
from probes.finding import Finding, advice
from probes.instrument import Call, Request, Route, Standing, Zygote
from probes.prover import TooComplexError
from probes.targets import ProgramIdentity
from probes.verdict import Effect
from probes.witness import Witness

WORD: Final = "ambient"
"""How the target is written."""

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
class Canary:
    """The call of the controls on an ABI.

    Attributes:
        name: the call.
        number: its number.
        returns: what the confinement does with it: ALLOW stands for all that lets a call through.
    """

    name: str
    number: int
    returns: FilterReturn


@dataclass(frozen=True, slots=True)
class Ambient:
    """What confines this process, as far as it can be told.

    Attributes:
        description: what a sentence calls it.
        standing: how calls can be witnessed.
        canaries: the call of the controls, by the name of each ABI that can be told about.
        untold: why nothing can be told, by the name of each other ABI.
        shut: what happened instead, by the name of each ABI that the kernel does not offer.
        nameless: why probes can have no name by which to find their records; "" if they can.
        findings: what a reader should know of the confinement.
    """

    description: str
    standing: Standing
    canaries: Mapping[str, Canary]
    untold: Mapping[str, str]
    shut: Mapping[str, str]
    nameless: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def kind(self) -> str:
        """See ``probes.targets.Target``."""
        return WORD

    @property
    def origin(self) -> None:
        """None: no container was started."""

    @property
    def identities(self) -> Mapping[Profile, tuple[ProgramIdentity, ...]]:
        """None: the programs are not known."""
        return {}

    @property
    def calls(self) -> Mapping[str, tuple[str, int]]:
        """The names and numbers of the canaries; see ``plan.with_canaries``."""
        return {arch: (one.name, one.number) for arch, one in self.canaries.items()}

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
            InstrumentError: there is no way to tell; ``untold`` says why.
        """
        if self.standing is Standing.NONE:
            raise InstrumentError("there is no witness in this process")
        return witness.WITNESSES[self.standing]

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
    description = _description(here.seccomp, here.seccomp_filters)
    try:
        with Zygote(confined=True) as zygote:
            standing, trouble = put_up(zygote, arches[0])
            if standing is not Standing.NONE:
                found = list(_tried(zygote, witness.WITNESSES[standing], arches))
                return _assembled(description, standing, trouble, found, here.seccomp)
    except InstrumentError as error:
        why = f"{error}, perhaps for this process's confinement; {_HARVEST}"
    else:
        why = (
            "this process's confinement lets it install no filter of its own, by prctl(2) "
            f"({trouble['prctl']}) or seccomp(2) ({trouble['seccomp']}); {_HARVEST}"
        )
    untold = {arch.name: why for arch in arches if arch.entry is not Entry.NONE}
    return Ambient(description, Standing.NONE, {}, untold, _without_entry(arches))


def _description(seccomp: int | None, filters: int | None) -> str:
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
    """What came of an ABI: one of the three is set."""

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
        seen = [
            (name, number, _seen(zygote, told_by, arch, number))
            for name in CANARIES
            if (number := arch.number(name)) is not None
        ]
        name, number, first = next(
            (one for one in seen if one[2].effect is Effect.REACHED), seen[0]
        )
        returns = _RETURNS.get(first.effect)
        if returns is not None:
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


def _seen(zygote: Zygote, told_by: Witness, arch: Arch, number: int) -> verdict.Seen:
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
    return verdict.read(told_by.told([answers[0] for answers in zygote.run(requests)]))


def _assembled(
    description: str,
    standing: Standing,
    trouble: Mapping[str, str],
    found: Sequence[_Tried],
    seccomp: int | None,
) -> Ambient:
    findings: list[str] = []
    if seccomp == 0:
        findings.append("no seccomp filter is installed in this process: nothing is confined by it")
    if standing is Standing.ORDER:
        why = trouble.get("listener", "")
        findings.append(
            f"the witness can have no listener here ({why}), so that each probe that is let through"
            " leaves an audit record of a kill with the code 0x7f000000"
        )
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
        advice(findings),
    )
