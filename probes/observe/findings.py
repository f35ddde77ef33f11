"""What the observed calls mean on the platform. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import Profile
from probes.errors import ExitStatus
from probes.finding import weighty
from probes.instrument import harmless
from probes.observe.caller import Process
from probes.observe.limits import limits
from probes.observe.observation import WorkloadObservation
from probes.observe.supervisor import ObservationEnd
from probes.observe.tally import TallyKey, TallyRow
from probes.observe.watch import Kind

EFFECTS: Final[Mapping[Profile, str]] = {
    Profile.KILL: "killed",
    Profile.ERRNO: "refused",
    Profile.LOG: "logged",
}
"""What becomes of a call that is not allowed, in a word."""

ALLOWED: Final = "allowed"
GRANTED: Final = "granted"

_REGISTERS: Final = 6
_32_BITS: Final = 0xFFFFFFFF
_32_BIT_ABIS: Final = frozenset({"i386", "arm", "s390", "riscv32", "mipsel", "ppc"})
_SECOND: Final = 1e9

Grants = Callable[[str, str, Profile], str]
"""Who has granted a call, by its name, its ABI and the profile; "" for nobody."""


@dataclass(frozen=True, slots=True)
class SeenCalls:
    """The calls of one kind that one program made.

    Attributes:
        key: the call and its caller.
        gives: of a sibling, the documented calls whose power it has.
        count: how many calls there were.
        cut_short: how many of them did not run, for a signal ended their caller first.
        first: when the first came, in seconds after the start.
        last: when the last came, likewise.
        processes: how many each process made.
        arguments: the first distinct argument lists, each with how often it came.
        sites: where in the code they came from, each with how often.
        under: what becomes of the calls, by profile: a word.
        grants: who has granted them, by profile; empty for nobody.
    """

    key: TallyKey
    gives: tuple[str, ...]
    count: int
    cut_short: int
    first: float
    last: float
    processes: Mapping[Process, int]
    arguments: tuple[tuple[tuple[int, ...], int], ...]
    sites: tuple[tuple[str, int], ...]
    under: Mapping[Profile, str]
    grants: Mapping[Profile, str]

    @property
    def stopped_by(self) -> tuple[Profile, ...]:
        """The profiles under which the platform does not allow the calls."""
        return tuple(
            profile for profile, word in self.under.items() if word not in {ALLOWED, GRANTED}
        )

    @property
    def histogram(self) -> tuple[tuple[int, int], ...]:
        """How many processes made how many calls each: pairs of calls and processes."""
        return tuple(sorted(Counter(self.processes.values()).items()))


def findings(
    observation: WorkloadObservation, profiles: Sequence[Profile], grants: Grants
) -> tuple[SeenCalls, ...]:
    """What was seen, in an order that does not depend on the run."""
    order = list(Kind)
    keys = sorted(
        observation.rows,
        key=lambda k: (order.index(k.kind), k.name, k.abi, k.number, k.executable, k.comm),
    )
    return tuple(_finding(key, observation.rows[key], profiles, grants) for key in keys)


def _finding(
    key: TallyKey, row: TallyRow, profiles: Sequence[Profile], grants: Grants
) -> SeenCalls:
    granted: dict[Profile, str] = {}
    if not key.kind.allowed:
        who = {profile: grants(key.name, key.abi, profile) for profile in profiles}
        granted = {profile: words for profile, words in who.items() if words}
    return SeenCalls(
        key,
        row.gives,
        row.count,
        row.cut_short,
        row.first / _SECOND,
        max(row.first, row.last) / _SECOND,
        row.processes,
        _arguments(key, row),
        _ranked(row.sites),
        {profile: _effect(key.kind, profile, granted) for profile in profiles},
        granted,
    )


def _effect(kind: Kind, profile: Profile, granted: Mapping[Profile, str]) -> str:
    if kind.allowed:
        return ALLOWED
    return GRANTED if profile in granted else EFFECTS[profile]


def _arguments(key: TallyKey, row: TallyRow) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The arguments, as many as the call has where that is known, as wide as the ABI's."""
    probe = harmless.probe_for(key.name)
    count = _REGISTERS if probe is None or key.kind is not Kind.DOCUMENTED else len(probe.args)
    width = _32_BITS if key.abi in _32_BIT_ABIS else -1
    counted: Counter[tuple[int, ...]] = Counter()
    for values, times in row.arguments.items():
        counted[tuple(value & width for value in values[:count])] += times
    return tuple(counted.items())


def _ranked(sites: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(sites.items(), key=lambda item: (-item[1], item[0])))


def exit_status(observation: WorkloadObservation, found: Sequence[SeenCalls]) -> ExitStatus:
    """What an observation comes to.

    A workload that failed by itself may not have come to the calls that it makes when it works,
    one in a container of its own profile may make calls that nobody sees, and so may whatever else
    limits what was seen.
    """
    if any(one.stopped_by for one in found):
        return ExitStatus.NOT_CONFORMANT
    if observation.outcome.ending is ObservationEnd.INTERRUPTED:
        return ExitStatus.INTERRUPTED
    failed = observation.outcome.ending is ObservationEnd.ITSELF and observation.outcome.status != 0
    if failed or observation.hidden is None or observation.hidden or weighty(limits(observation)):
        return ExitStatus.CANNOT_TELL
    return ExitStatus.CONFORMANT
