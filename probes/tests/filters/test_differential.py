"""Simulator, prover and kernel on made-up programs: the same answer for every input.

The kernel is asked by really installing the programs above a marker that keeps every call from
running, a whole batch of calls in one child. What it tells apart are KILL_PROCESS, KILL_THREAD,
TRAP, ERRNO with its data, and everything that would let a call go further. Where a program loads
the instruction pointer nobody knows the input beforehand, so these are left to ``test_prover``.

A failure names the seed of its program. ``SYSCALL_CONFORMANCE_SEED`` starts from another number.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import pytest

from probes.action import MAX_ERRNO, Action, FilterReturn
from probes.arch import ARCHES
from probes.filters import bpf, prover
from probes.filters.bpf import IllegalProgramError, Program, SeccompData, jump, statement
from probes.filters.prover import TooComplexError
from probes.instrument.calls import Call, Observation, Request, Route, Zygote
from probes.instrument.effect import Effect, Seen, read
from probes.instrument.witness import MARKER_ERRNO
from probes.tests.support import random_programs as made_up
from probes.tests.support.emitter import sharing_records
from probes.tests.support.random_programs import ALLOW, I386, X86_64

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the inputs are for the ABIs of x86_64"
)

FIRST_SEED: Final = int(os.environ.get("SYSCALL_CONFORMANCE_SEED", "0"))
BATCHES: Final = 8
STACKS_IN_A_BATCH: Final = 63
INPUTS_OF_A_STACK: Final = 200
PAIRS_IN_A_BATCH: Final = STACKS_IN_A_BATCH * INPUTS_OF_A_STACK
"""All batches together have more than 100,000 pairs of program and input."""

NODES: Final = 6_000
"""For one analysis: enough for two of three made-up stacks, and little time for the others."""

_numbers = ARCHES["x86_64"].numbers
EXEMPT: Final = tuple(_numbers[name] for name in ("prctl", "rt_sigreturn", "exit_group"))
"""What a child itself needs: to install the next filter, to leave a handler, and to end."""
UNASKED: Final = frozenset({_numbers["uretprobe"], _numbers["uprobe"]})
"""About these newer kernels ask no filter."""


def say(sentence: str) -> None:
    """Leaves a figure in the test's output, which ``pytest -rP`` shows."""
    sys.stdout.write(f"{sentence}\n")


def gated(program: Program) -> Program:
    """The program for all numbers but the exempt ones; A is 0 again where it begins."""
    first, second, third = EXEMPT
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JEQ, first, 2, 0),
        jump(bpf.JEQ, second, 1, 0),
        jump(bpf.JEQ, third, 0, 1),
        statement(bpf.RET_K, ALLOW),
        statement(bpf.LD_IMM, 0),
        *program,
    )


MARK: Final = FilterReturn(Action.ERRNO, MARKER_ERRNO).value
MARKER: Final = bpf.to_bytes(gated((statement(bpf.RET_K, MARK),)))


def told_apart(program: Program) -> Program:
    """The program with an errno of its own for every return that is none of the rarer kinds.

    So what the kernel answers tells at which instruction a call left the program.
    """
    return tuple(
        statement(bpf.RET_K, FilterReturn(Action.ERRNO, place).value)
        if each.code == bpf.RET_K and FilterReturn.decode(each.k).action in _COMMON
        else each
        for place, each in enumerate(program, 1)
    )


_COMMON: Final = frozenset(
    {Action.ERRNO, Action.USER_NOTIF, Action.TRACE, Action.LOG, Action.ALLOW}
)


def a_stack(rng: Random) -> tuple[Program, ...]:
    """Made-up programs that a child can live under."""
    kind = rng.random()
    if kind < 0.3:
        stack: tuple[Program, ...] = (made_up.computing(rng, made_up.NO_POINTER),)
    else:
        stack = made_up.a_stack(rng, made_up.NO_POINTER)
    if kind > 0.6:
        stack = tuple(told_apart(program) for program in stack)
    return tuple(gated(program) for program in stack)


def makeable(rng: Random, stack: Sequence[Program], count: int) -> Iterator[SeccompData]:
    """Inputs that a call of this machine can have and that are not exempt."""
    while count:
        for data in made_up.inputs(rng, stack, count):
            if data.nr in {*EXEMPT, *UNASKED}:
                continue
            count -= 1
            by_i386 = data.arch == I386 or rng.random() < 0.2
            yield SeccompData(data.nr, I386 if by_i386 else X86_64, data.args)


Wanted = tuple[Effect, int]


def wanted(value: int) -> Wanted:
    """What must be seen of a return value, in a child with one thread above the marker."""
    heeded = made_up.heeded((MARK, value))
    action, data = heeded >> 16, heeded & 0xFFFF
    if action == 0x0005:
        number = min(data, MAX_ERRNO)
        return (Effect.REACHED if number == MARKER_ERRNO else Effect.REFUSED), number
    # All others that come before ERRNO kill, and so do those that no kernel knows.
    return (Effect.TRAPPED if action == 0x0003 else Effect.KILLED_PROCESS), 0


@dataclass(frozen=True, slots=True)
class Pairs:
    """A stack and its inputs, with what the simulator and the prover say."""

    seed: str
    stack: tuple[Program, ...]
    inputs: tuple[SeccompData, ...]
    values: tuple[int, ...]

    def requests(self, zygote: Zygote) -> Iterator[tuple[list[int], Request]]:
        """What to ask the kernel, each request with the inputs that it is about."""
        programs = (MARKER, *(bpf.to_bytes(program) for program in self.stack))
        for token, entry in ((X86_64, "syscall"), (I386, "int80")):
            places = [place for place, data in enumerate(self.inputs) if data.arch == token]
            calls = tuple(Call(self.inputs[place].nr, self.inputs[place].args) for place in places)
            if calls:
                yield places, Request(entry, calls, programs, zygote.nonce())


def pairs_of(batch: str, count: int) -> Iterator[Pairs]:
    """Stacks of which there is an analysis, with inputs on which it agrees with the simulator."""
    made = tried = 0
    while made < count:
        seed = f"{FIRST_SEED}-{batch}-{tried}"
        rng = Random(seed)  # noqa: S311 - a failure must come again
        tried += 1
        assert tried < 20 + 3 * count, "most stacks outgrow the limit"
        stack = a_stack(rng)
        try:
            analysis = prover.analyze(stack, limit=NODES)
        except TooComplexError:
            continue
        inputs = tuple(makeable(rng, stack, INPUTS_OF_A_STACK))
        values = tuple(made_up.simulated(stack, data) for data in inputs)
        for data, value in zip(inputs, values, strict=True):
            claimed = analysis.value_at(data)
            assert value in claimed, f"seed {seed}: {value:#x} for {data}, proved {claimed}"
            assert not analysis.exact or len(claimed) == 1, f"seed {seed}: {claimed} for {data}"
        made += 1
        yield Pairs(seed, stack, inputs, values)


def seen_by_kernel(pairs: Pairs, zygote: Zygote) -> list[Seen]:
    """What became of each input's call."""
    asked = list(pairs.requests(zygote))
    with sharing_records():
        answers = zygote.run([request for _, request in asked])
    found = {
        place: read(observation)
        for (places, _), answer in zip(asked, answers, strict=True)
        for place, observation in zip(places, answer, strict=True)
    }
    return [found[place] for place in range(len(pairs.inputs))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "batch", range(BATCHES), ids=lambda batch: f"{PAIRS_IN_A_BATCH}-pairs-part-{batch}"
)
def test_simulator_prover_and_kernel_agree(
    batch: int, zygote: Zygote, record_property: Callable[[str, object], None]
) -> None:
    effects: Counter[str] = Counter()
    by_errno: set[int] = set()
    for pairs in pairs_of(str(batch), STACKS_IN_A_BATCH):
        answers = seen_by_kernel(pairs, zygote)
        for data, value, seen in zip(pairs.inputs, pairs.values, answers, strict=True):
            assert (seen.effect, seen.errno) == wanted(value), (
                f"seed {pairs.seed}: {value:#x} for {data}, but {seen.detail}"
            )
            effects[seen.effect.name] += 1
            by_errno.add(seen.errno)
    record_property("seed", str(FIRST_SEED))
    record_property("pairs", str(effects.total()))
    say(f"seed {FIRST_SEED}, {effects.total()} pairs: {dict(effects)}, {len(by_errno)} errnos")
    assert effects.total() == PAIRS_IN_A_BATCH
    assert PAIRS_IN_A_BATCH * BATCHES >= 100_000
    # Neither all nor none: the programs do tell calls apart.
    assert effects["REACHED"] > PAIRS_IN_A_BATCH // 20
    assert effects["REFUSED"] > PAIRS_IN_A_BATCH // 4
    assert len(by_errno) > 20


# The comparison can fail: a simulator or a prover that is wrong in one thing is found out.


@pytest.fixture(scope="module")
def answered(zygote: Zygote) -> list[tuple[Pairs, list[Seen]]]:
    """Some pairs with what the kernel did; each mutant is held against the same ones."""
    found = []
    for place in range(160):
        seed = f"{FIRST_SEED}-mutants-{place}"
        rng = Random(seed)  # noqa: S311 - a failure must come again
        computing = (gated(made_up.computing(rng, made_up.NO_POINTER)),)
        stack = a_stack(rng) if place % 4 == 0 else computing
        inputs = tuple(makeable(rng, stack, 60))
        pairs = Pairs(seed, stack, inputs, tuple(made_up.simulated(stack, one) for one in inputs))
        found.append((pairs, seen_by_kernel(pairs, zygote)))
    return found


def _holds(change: Mapping[int, Callable[[int, int], bool]]) -> Callable[[int, int, int], bool]:
    right = bpf._holds
    return lambda code, a, operand: change.get(code, partial(right, code))(a, operand)


def _compute(change: Mapping[int, Callable[[int, int], int]]) -> Callable[[int, int, int], int]:
    right = bpf.compute
    return lambda code, a, operand: change.get(code, partial(right, code))(a, operand)


WRONG_SIMULATORS: Mapping[str, tuple[str, Callable[..., object]]] = {
    "jgt is jge": ("_holds", _holds({bpf.JGT: lambda a, operand: a >= operand})),
    "jge is jgt": ("_holds", _holds({bpf.JGE: lambda a, operand: a > operand})),
    "jset tests all bits": ("_holds", _holds({bpf.JSET: lambda a, b: a & b == b})),
    "jgt is signed": ("_holds", _holds({bpf.JGT: lambda a, b: a ^ 1 << 31 > b ^ 1 << 31})),
    "and is or": ("compute", _compute({bpf.AND: lambda a, operand: a | operand})),
    "add saturates": ("compute", _compute({bpf.ADD: lambda a, b: min(a + b, bpf.U32)})),
    "sub is the other way round": ("compute", _compute({bpf.SUB: lambda a, b: b - a & bpf.U32})),
    "xor is or": ("compute", _compute({bpf.XOR: lambda a, operand: a | operand})),
    "rsh is arithmetic": (
        "compute",
        _compute({bpf.RSH: lambda a, b: ((a ^ 1 << 31) - (1 << 31) >> (b & 31)) & bpf.U32}),
    ),
    "lsh keeps the bits that it should lose": (
        "compute",
        _compute({bpf.LSH: lambda a, b: (a << (b & 31) | a << (b & 31) >> 32) & bpf.U32}),
    ),
    "scratch memory is lost": (
        "_loaded",
        lambda code, k, _: k if code in {bpf.LD_IMM, bpf.LDX_IMM} else bpf.SECCOMP_DATA_SIZE,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_SIMULATORS)
def test_the_kernel_finds_out_a_wrong_simulator(
    name: str, answered: list[tuple[Pairs, list[Seen]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpf, *WRONG_SIMULATORS[name])

    assert any(
        (seen.effect, seen.errno) != wanted(made_up.simulated(pairs.stack, data))
        for pairs, answers in answered
        for data, seen in zip(pairs.inputs, answers, strict=True)
    )


@pytest.mark.slow
def test_the_kernel_finds_out_swapped_halves(answered: list[tuple[Pairs, list[Seen]]]) -> None:
    assert any(
        (seen.effect, seen.errno) != wanted(made_up.simulated(pairs.stack, data, big_endian=True))
        for pairs, answers in answered
        for data, seen in zip(pairs.inputs, answers, strict=True)
    )


WRONG_PROVERS: Mapping[str, tuple[str, Callable[..., object]]] = {
    "jge and jgt are the same": (
        "_not_less",
        lambda right: lambda self, one, other, *, equal: right(self, one, other, equal=not equal),
    ),
    "jset tests the highest bit only": (
        "_holds",
        lambda right: (
            lambda self, code, a, b: (
                right(self, code, a[:1] + prover._ZERO[1:], b)
                if code == bpf.JSET
                else right(self, code, a, b)
            )
        ),
    ),
    "sums lose the carry": (
        "_sum",
        lambda _: (
            lambda self, one, other, **_: tuple(
                self._diagrams.different(a, b) for a, b in zip(one, other, strict=True)
            )
        ),
    ),
    "where ways meet the first one counts": ("_either", lambda _: lambda *words: words[2]),
    "shifts by one more": (
        "_shifted",
        lambda right: (
            lambda self, word, count, *, left: right(
                self, right(self, word, prover._constant(1), left=left), count, left=left
            )
        ),
    ),
    "every half is the low one": (
        "_base",
        lambda right: lambda self, offset: right(self, offset if offset < 16 else offset & ~4),
    ),
    "the older filter always wins": ("stack", lambda _: lambda *layers: dict(layers[1])),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_PROVERS)
def test_the_simulator_finds_out_a_wrong_prover(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, wrong = WRONG_PROVERS[name]
    monkeypatch.setattr(prover._Prover, method, wrong(getattr(prover._Prover, method)))

    with pytest.raises(AssertionError, match="seed "):
        list(pairs_of("provers", 200))


@pytest.mark.slow
def test_a_kill_ends_what_its_action_says(zygote: Zygote) -> None:
    """A thread of its own makes the call: the process lives on only after KILL_THREAD."""
    ended: Counter[Effect] = Counter()
    tried = 0
    while min(ended[Effect.KILLED_THREAD], ended[Effect.KILLED_PROCESS]) < 25:
        seed = f"{FIRST_SEED}-kill-{tried}"
        rng = Random(seed)  # noqa: S311 - a failure must come again
        tried += 1
        stack = a_stack(rng)
        for data in makeable(rng, stack, 30):
            value = made_up.simulated(stack, data)
            if wanted(value)[0] is not Effect.KILLED_PROCESS or data.arch != X86_64:
                continue
            programs = (MARKER, *(bpf.to_bytes(program) for program in stack))
            call = Call(data.nr, data.args)
            request = Request("syscall", (call,), programs, zygote.nonce(), route=Route.SIBLING)
            with sharing_records():
                ((observation,),) = zygote.run([request])
            effect = Effect.KILLED_THREAD if value >> 16 == 0 else Effect.KILLED_PROCESS
            seen = read(observation)
            assert seen.effect is effect, f"seed {seed}: {value:#x} for {data}, but {seen.detail}"
            ended[effect] += 1
            break


PROGRAMS_IN_A_BATCH: Final = 400


def is_refused(observation: Observation) -> bool:
    """Whether the kernel answered EINVAL to the filter."""
    return observation.fault == "Invalid argument while installing filter 1 of 1"


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(4))
def test_the_kernel_and_we_refuse_the_same_programs(
    batch: int, zygote: Zygote, record_property: Callable[[str, object], None]
) -> None:
    refused = 0
    reasons: Counter[str] = Counter()
    for place in range(PROGRAMS_IN_A_BATCH):
        seed = f"{FIRST_SEED}-invalid-{batch}-{place}"
        rng = Random(seed)  # noqa: S311 - a failure must come again
        good = made_up.anything(rng, rng.randint(1, 40))
        spoilers = [*made_up.SPOILERS.values(), *(made_up.changed_at_random,) * 16]
        program = rng.choice(spoilers)(rng, good)
        try:
            bpf.check(program)
            ours = ""
        except IllegalProgramError as error:
            ours = str(error)
        # Should the program let it through, this call does no harm.
        harmless = (Call(_numbers["getppid"]),)
        request = Request("syscall", harmless, (bpf.to_bytes(program),), zygote.nonce())
        with sharing_records():
            ((observation,),) = zygote.run([request])
        assert is_refused(observation) == bool(ours), (
            f"seed {seed}: we say {ours or 'nothing'!r}, the kernel {observation}:\n"
            f"{bpf.disassemble(program)}"
        )
        refused += bool(ours)
        reasons[ours.partition(": ")[2].partition(" ")[0]] += 1
    record_property("programs", str(PROGRAMS_IN_A_BATCH))
    say(f"seed {FIRST_SEED}, {PROGRAMS_IN_A_BATCH} programs, {refused} refused: {dict(reasons)}")
    assert PROGRAMS_IN_A_BATCH // 4 < refused < PROGRAMS_IN_A_BATCH
    assert len(reasons) > 6
