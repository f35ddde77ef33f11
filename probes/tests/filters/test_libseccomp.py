"""Our simulator, prover and disassembler against libseccomp's and libpcap's accounts.

Debian's package seccomp has no scmp_bpf_sim and no scmp_bpf_disasm, which libseccomp only builds
for its own tests. In their place: seccomp_export_pfc(3), libseccomp's second account of a filter,
made from its rules and not from the program; and libpcap's interpreter, checker and disassembler.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import pyseccomp
import pytest

from probes.arch import ARCHES, X32_SYSCALL_BIT, Arch
from probes.filters import bpf, prover
from probes.filters.bpf import IllegalProgramError, Program, SeccompData, jump, statement
from probes.instrument.calls import Call, Zygote
from probes.targets.oci.profile import ARCHITECTURES
from probes.tests.support import libpcap, pseudo_code, replay
from probes.tests.support import random_programs as made_up
from probes.tests.support.emitter import sharing_records

MACHINES: Final = (
    ("x86_64",),
    ("x86_64", "i386", "x32"),
    ("i386",),
    ("aarch64", "arm"),
    ("ppc64le",),
    ("riscv64",),
    ("mips64el",),
)
"""The ABIs of a filter; libseccomp only compiles for this machine's byte order."""

_OPERATORS: Final = (
    *(pyseccomp.NE, pyseccomp.LT, pyseccomp.LE, pyseccomp.EQ, pyseccomp.GE, pyseccomp.GT),
    pyseccomp.MASKED_EQ,
)
_VALUES: Final = (0, 1, 5, 0xFFFF, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_WIDE_VALUES: Final = (1 << 32, (1 << 32) + 1, 5 << 32 | 7, 1 << 63, (1 << 64) - 1)
_MASKS: Final = (0xFF, 0x7E020000, (1 << 32) - 1, 1)
_WIDE_MASKS: Final = (1 << 32 | 1, 1 << 63, (1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Export:
    """A filter as libseccomp exports it: the program and the pseudo code."""

    program: Program
    pseudo: str


def _exported(built: Any) -> Export:  # noqa: ANN401 - pyseccomp has no types
    raw = []
    for export in (built.export_bpf, built.export_pfc):
        with os.fdopen(os.memfd_create("filter"), "w+b") as file:
            export(file)
            file.seek(0)
            raw.append(file.read())
    return Export(bpf.from_bytes(raw[0]), raw[1].decode("ascii"))


def _an_action(rng: Random) -> int:
    return int(
        rng.choice(
            (
                *(pyseccomp.ALLOW, pyseccomp.LOG, pyseccomp.KILL, pyseccomp.KILL_PROCESS),
                *(pyseccomp.TRAP, pyseccomp.NOTIFY, pyseccomp.TRACE(rng.randrange(1 << 16))),
                *(pyseccomp.ERRNO(rng.randrange(4096)), pyseccomp.ERRNO(1)),
            )
        )
    )


def _conditions(rng: Random, *, wide: bool) -> Iterator[Any]:
    values = (*_VALUES, *(_WIDE_VALUES if wide else ()))
    for index in rng.sample(range(6), rng.choice((0, 0, 1, 1, 2, 3))):
        compare = rng.choice(_OPERATORS)
        if compare == pyseccomp.MASKED_EQ:
            mask = rng.choice((*_MASKS, *(_WIDE_MASKS if wide else ())))
            yield pyseccomp.Arg(index, compare, mask, rng.choice(values) & mask)
        else:
            yield pyseccomp.Arg(index, compare, rng.choice(values))


def a_filter(rng: Random, machine: Sequence[Arch], rules: int) -> Export:
    """A filter of that many calls, each with one rule."""
    default = _an_action(rng)
    built = pyseccomp.SyscallFilter(default)
    here = pyseccomp.system_arch()
    tokens = [ARCHITECTURES[arch.scmp] for arch in machine]
    for token in tokens:
        if token != here:
            built.add_arch(token)
    if here not in tokens:
        built.remove_arch(here)
    if rng.random() < 0.5:
        built.set_attr(8, 2)  # SCMP_FLTATR_CTL_OPTIMIZE: a search tree
    # Where an ABI of 32 bits is among them libseccomp refuses wider values.
    wide = not {"i386", "x32", "arm"}.intersection(arch.name for arch in machine)
    for name in rng.sample(sorted(machine[0].numbers), rules):
        number = pyseccomp.resolve_syscall(here, name)
        # One rule a call: of several libseccomp 2.5 makes wrong programs, see below.
        with contextlib.suppress(OSError):  # unknown, or the default action
            built.add_rule(_an_action(rng), number, *_conditions(rng, wide=wide))
    return _exported(built)


def _numbers(machine: Sequence[Arch], decisive: Sequence[int]) -> Iterator[tuple[Arch, int]]:
    """Every number of the tables, and everything that the program compares with."""
    for arch in machine:
        edges = {0, X32_SYSCALL_BIT, X32_SYSCALL_BIT - 1, 1 << 31, bpf.U32, bpf.U32 - 1}
        for number in sorted({*arch.numbers.values(), *decisive, *edges}):
            yield arch, number


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES, ids="-".join)
def test_libseccomps_exports_mean_the_same_to_all(machine: Sequence[str]) -> None:
    """Simulator, prover, libseccomp's pseudo code and libpcap's interpreter."""
    arches = [ARCHES[name] for name in machine]
    compared = conditional = 0
    values = set()
    for place in range(2):
        rng = Random(f"{machine}-{place}")  # noqa: S311 - a failure must come again
        export = a_filter(rng, arches, (12, 25)[place])
        by_libseccomp = pseudo_code.interpreter(export.pseudo)
        by_libpcap = libpcap.interpreter(export.program)
        analysis = prover.analyze([export.program])
        assert analysis.exact
        decisive = made_up.interesting([export.program])
        for arch, number in _numbers(arches, decisive):
            possible = analysis.returns(arch.audit_arch, number)
            some = [SeccompData(number, arch.audit_arch)]
            if len(possible) > 1:
                conditional += 1
                some += [
                    SeccompData(number, arch.audit_arch, made_up.arguments(rng, decisive))
                    for _ in range(25)
                ]
                # An input for each return is what random arguments may miss.
                some += [
                    found
                    for value in possible
                    if (found := analysis.witness(arch.audit_arch, number, value)) is not None
                ]
            for data in some:
                value = bpf.simulate(export.program, data)
                proved = analysis.value_at(data) if len(possible) > 1 else possible
                assert proved == {value}, data
                assert by_libpcap(data) == value, data
                assert by_libseccomp(data) == value, data
                compared += 1
                values.add(value)
        foreign = SeccompData(1, analysis.foreign_token())
        assert bpf.simulate(export.program, foreign) == by_libseccomp(foreign) == 0
    assert compared > 2 * len(arches[0].numbers)
    assert conditional > 5
    assert len(values) > 5


def _understood(program: Program) -> bool:
    """Whether libpcap means the same by the program as the kernel."""
    shifts = {bpf.LSH | bpf.SOURCE_X, bpf.RSH | bpf.SOURCE_X}
    return all(each.code not in {bpf.LDX_LEN, *shifts} for each in program)


def test_libpcap_runs_made_up_programs_as_we_do() -> None:
    compared = 0
    values = set()
    for seed in range(400):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        program = rng.choice((made_up.computing, _anything))(rng)
        if not _understood(program):
            continue
        by_libpcap = libpcap.interpreter(program)
        for data in made_up.inputs(rng, [program], 40):
            value = bpf.simulate(program, data)
            assert by_libpcap(data) == value, f"seed {seed}: {data}"
            values.add(value)
            compared += 1
    assert compared > 8_000
    assert len(values) > 80


def _anything(rng: Random) -> Program:
    return made_up.anything(rng, rng.randint(1, 60))


def test_libpcap_accepts_what_we_accept() -> None:
    """It refuses less than seccomp does, but never what seccomp takes."""
    refused_by_both = 0
    for seed in range(1500):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        program = made_up.changed_at_random(rng, made_up.anything(rng, rng.randint(1, 40)))
        if any(each.code == bpf.LDX_LEN for each in program):
            continue
        try:
            bpf.check(program)
        except IllegalProgramError:
            refused_by_both += not libpcap.accepts(program)
            continue
        assert libpcap.accepts(program), f"seed {seed}: {bpf.disassemble(program)}"
    assert refused_by_both > 300


def _in_our_words(line: str) -> str:
    """A line of bpf_image() as our disassembler writes it."""
    head, _, rest = line.partition(") ")
    place = f"{int(head[1:]):4d}:"
    if rest == "ret":
        return f"{place} ret a"
    rest = rest.replace("#pktlen", "#len")
    if found := re.fullmatch(r"(\S+) (\S+) jt (\d+) jf (\d+)", rest):
        rest = f"{found[1]} {found[2]} ? {found[3]} : {found[4]}"
    if found := re.fullmatch(r"(\S+) #(-?(?:0x)?[0-9a-f]+)", rest):
        value = int(found[2], 0) & bpf.U32  # some are shown as signed numbers, some in decimal
        return f"{place} {found[1]} #{value:{'#010x' if found[1] == 'ret' else '#x'}}"
    return f"{place} {rest}"


def test_libpcaps_disassembler_says_the_same() -> None:
    opcodes = set()
    for seed in range(150):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        program = made_up.anything(rng, rng.randint(1, 60))
        for index, line in enumerate(bpf.disassemble(program).splitlines()):
            if program[index].code == bpf.LDX_LEN:
                continue  # which libpcap does not know
            opcodes.add(program[index].code)
            assert line == _in_our_words(libpcap.line(index, program[index]))
    assert len(opcodes) > 35


def test_several_comparisons_of_one_argument() -> None:
    """Of these rules libseccomp 2.5 makes a wrong program, and we say what that very program does.

    Where the first comparison fails on the low half, its program goes on to compare the second
    rule's high half with the low one, which A still holds. A newer libseccomp may be right.
    """
    built = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    built.add_rule(pyseccomp.ERRNO(11), "read", pyseccomp.Arg(0, pyseccomp.LT, bpf.U32))
    built.add_rule(pyseccomp.ERRNO(12), "read", pyseccomp.Arg(0, pyseccomp.LT, (1 << 32) + 1))
    export = _exported(built)
    native = ARCHES["x86_64"]
    by_libpcap = libpcap.interpreter(export.program)
    by_libseccomp = pseudo_code.interpreter(export.pseudo)
    inputs = [
        SeccompData(native.numbers["read"], native.audit_arch, (value,))
        for value in (0, 5, bpf.U32 - 1, bpf.U32, 1 << 32, (1 << 32) + 1, 1 << 63)
    ]
    analysis = prover.analyze([export.program])
    for data in inputs:
        value = bpf.simulate(export.program, data)
        assert analysis.value_at(data) == {by_libpcap(data)} == {value}
    wrong = [data.args[0] for data in inputs if by_libpcap(data) != by_libseccomp(data)]
    assert wrong in ([], [bpf.U32])
    if os.uname().machine == native.machine:
        calls = [Call(data.nr, data.args) for data in inputs]
        with Zygote() as zygote, sharing_records():
            compared = replay.replay(zygote, native, [bpf.to_bytes(export.program)], calls)
        assert compared.mismatches == ()
        assert compared.asked == len(inputs)


# The comparison can fail.


@pytest.mark.parametrize("name", ["operand", "target", "value"])
def test_another_program_is_told_apart(name: str) -> None:
    """Of changes to one instruction most make a difference; some change what was redundant."""
    rng = Random(1)  # noqa: S311 - any one will do
    export = a_filter(rng, [ARCHES["x86_64"]], 10)
    change: dict[str, Callable[[bpf.Instruction], bpf.Instruction]] = {
        "operand": lambda each: jump(each.code, each.k ^ 1, each.jt, each.jf),
        "target": lambda each: jump(each.code, each.k, each.jf, each.jt),
        "value": lambda each: statement(each.code, each.k ^ 1),
    }
    places = [
        place
        for place, each in enumerate(export.program)
        if each.code == (bpf.RET_K if name == "value" else bpf.JEQ)
    ]
    by_libseccomp = pseudo_code.interpreter(export.pseudo)
    answers = [(data, by_libseccomp(data)) for data in _one_of_each(export.program)]
    caught = 0
    for place in places:
        changed = list(export.program)
        changed[place] = change[name](changed[place])
        caught += any(bpf.simulate(tuple(changed), data) != value for data, value in answers)
    assert len(places) > 3
    assert caught >= len(places) * 0.7


def _one_of_each(program: Program) -> Iterator[SeccompData]:
    """A witness for every return that any number has."""
    analysis = prover.analyze([program])
    for token in (*analysis.tokens(), analysis.foreign_token()):
        for part in analysis.numbers(token):
            for value in part.returns:
                found = analysis.witness(token, part.first, value)
                if found is not None:
                    yield found
