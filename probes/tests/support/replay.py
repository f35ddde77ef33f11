"""What the kernel, the simulator and the prover make of a stack of filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.arch import Arch
from probes.filters import bpf, prover
from probes.instrument import witness
from probes.instrument.calls import Call, Request, Zygote
from probes.instrument.effect import Effect, read
from probes.instrument.zygote import MAX_CALLS


@dataclass(frozen=True, slots=True)
class Comparison:
    """The kernel against the simulation and the proof.

    Attributes:
        asked: how many calls were made.
        effects: how many of them had each effect.
        mismatches: a sentence for each call of which the three do not say the same.
    """

    asked: int
    effects: Mapping[Effect, int]
    mismatches: tuple[str, ...]


def replay(
    prober: Zygote, arch: Arch, programs: Sequence[bytes], calls: Sequence[Call]
) -> Comparison:
    """Has children make calls under a stack of filters; compares with simulation and proof.

    A marker below the stack keeps every call from running: see ``probes.instrument.witness``.

    Args:
        prober: who forks the children.
        arch: the ABI of the calls.
        programs: raw filters, the oldest first.
        calls: the numbers, and up to five arguments each; the sixth is the marker's.
    """
    stack = [bpf.from_bytes(raw, big_endian=arch.big_endian) for raw in programs]
    marked = [Call(call.number, _with_magic(call.arguments)) for call in calls]
    installed = (witness.sweeping_marker(arch), *programs)
    entry = arch.entry.name.lower()
    requests = [
        Request(entry, tuple(marked[first : first + MAX_CALLS]), installed, prober.nonce())
        for first in range(0, len(marked), MAX_CALLS)
    ]
    seen = [read(one) for answer in prober.run(requests) for one in answer]
    analysis = prover.analyze(stack, big_endian=arch.big_endian)
    effects: dict[Effect, int] = {}
    mismatches = list(analysis.inexact)
    for call, found in zip(marked, seen, strict=True):
        effects[found.effect] = effects.get(found.effect, 0) + 1
        data = _as_seen(arch, call)
        returned = combined(stack, data, big_endian=arch.big_endian)
        proved = analysis.value_at(data)
        if proved != {returned.value}:
            mismatches.append(f"{arch} {call.number:#x}: simulated {returned}, proved {proved}")
        if (found.effect, found.errno) != _effect_of(returned):
            mismatches.append(
                f"{arch} {call.number:#x}{call.arguments}: simulated {returned}, {found.detail}"
            )
    return Comparison(len(seen), effects, tuple(mismatches))


def combined(
    stack: Sequence[bpf.Program], data: bpf.SeccompData, *, big_endian: bool = False
) -> FilterReturn:
    """What the kernel makes of the filters together: the first in precedence, else the newest."""
    values = [bpf.simulate(program, data, big_endian=big_endian) for program in stack]
    returns = [FilterReturn.decode(value) for value in values]
    return min(reversed(returns), key=lambda one: one.action.precedence)


def _with_magic(arguments: Sequence[int]) -> tuple[int, ...]:
    return (*(*arguments, 0, 0, 0, 0, 0)[:5], witness.SWEEP_MAGIC)


def _as_seen(arch: Arch, call: Call) -> bpf.SeccompData:
    return bpf.SeccompData(call.number, arch.audit_arch, tuple(call.arguments))


def _effect_of(returned: FilterReturn) -> tuple[Effect, int]:
    """What is seen of a return value in a child with one thread, above a marker."""
    if returned.action in {Action.KILL_PROCESS, Action.KILL_THREAD}:
        return Effect.KILLED_PROCESS, 0
    if returned.action is Action.TRAP:
        return Effect.TRAPPED, 0
    if returned.action is Action.ERRNO:
        return Effect.REFUSED, min(returned.data, MAX_ERRNO)
    # The marker's own answer has precedence over all the others.
    return Effect.REACHED, witness.MARKER_ERRNO


def numbers_of(arch: Arch) -> tuple[int, ...]:
    """Every number of an ABI's table, its neighbours, and where ranges and signs change.

    Without x86_64's uretprobe and uprobe, about which newer kernels ask no filter.
    """
    known = frozenset(arch.numbers.values())
    edges = {0, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF}
    beside = {number + step for number in known for step in (-1, 1)}
    unasked = {arch.number("uretprobe"), arch.number("uprobe")} if arch.name == "x86_64" else set()
    return tuple(sorted(n for n in known | edges | beside if n >= 0 and n not in unasked))
