"""The target ``oci:FILE``: a seccomp profile, compiled to the program that a runtime installs.

Three steps, as in real life: the file is read (``probes.targets.oci.profile``), the engine picks
the rules that count for a container (``probes.targets.oci.resolve``), and the OCI runtime
compiles them with libseccomp. All three depend on who reads (``probes.targets.oci.reader``). What
any of them silently leaves out is a finding, for whoever wrote it thinks that it holds.

Sources: runc ``libcontainer/specconv/spec_linux.go``,
``libcontainer/seccomp/seccomp_linux.go`` and ``libcontainer/seccomp/patchbpf``, crun
``src/libcrun/seccomp.c``, libseccomp 2.5.
"""

import errno
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes import arch as abi
from probes.action import Action, FilterReturn
from probes.arch import Arch
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import IllegalProgramError, Instruction, Program, jump, statement
from probes.targets.oci import compile_request, kept
from probes.targets.oci.profile import ARCHITECTURES, read
from probes.targets.oci.reader import Engine, Reader
from probes.targets.oci.resolve import (
    NEWEST,
    Resolved,
    ResolvedRule,
    kernel_version,
    listed,
    repeats,
    resolve,
)

__all__ = [
    "NEWEST",
    "Compiled",
    "Engine",
    "Resolved",
    "ResolvedRule",
    "compile",
    "kernel_version",
    "read",
    "resolve",
]

MAX_RULES: Final = 8192
"""The most rules that are compiled: far above any real profile, and libseccomp's work grows with
the square of their number. No more than 4096 could be told apart by a program."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled profile.

    Attributes:
        programs: the one program that the runtime installs.
        architectures: ``SCMP_ARCH_*`` that it names, the native one first.
        flags: ``SECCOMP_FILTER_FLAG_*`` that go with it.
        findings: sentences about what is not as it was written.
    """

    programs: tuple[Program, ...]
    architectures: tuple[str, ...]
    flags: tuple[str, ...]
    findings: tuple[str, ...]


_MANY_RULES: Final = 32
"""From how many names on runc has libseccomp build a search tree."""


def compile(  # noqa: A001 - the step's own name; callers write oci.compile
    resolved: Resolved, *, enosys_stub: bool = True
) -> Compiled:
    """Compiles what a runtime gets, through libseccomp, the way the runtime does.

    runc's other attributes of the filter (no_new_privs off, TSYNC, LOG, SSB) concern how it is
    installed and leave no trace in the program.

    Args:
        resolved: the rules.
        enosys_stub: whether the runtime may put its own part before it. runc's answers ENOSYS for
            numbers above the highest one named, where the default action denies. crun has none.

    Raises:
        BadInputError: libseccomp is missing or refuses the rules, or the program is too long.
    """
    if resolved.raw is not None:
        return _given(resolved, resolved.raw)
    names = tuple(dict.fromkeys((resolved.native.scmp, *resolved.architectures)))
    rules = [rule for rule in resolved.rules if rule.returns != resolved.default]
    answer = _asked(resolved, names, rules)
    numbers = answer.numbers[answer.here]
    calls = dict.fromkeys(rule.name for rule in resolved.rules)
    unknown = [name for name in calls if numbers[name] == compile_request.UNKNOWN]
    _check_rules(resolved, unknown)
    if answer.refusal is not None:
        raise _refused(resolved, answer.refusal, names, rules)
    program = answer.program
    if enosys_stub and resolved.reader.has_stub:
        counted = names if resolved.reader.stub_is_native else resolved.architectures
        program = _enosys_stub(resolved, _last_numbers(answer, counted)) + program
    _check_program(resolved, program, "what the profile compiles to", "shorten it")
    findings = (
        *resolved.findings,
        *_unknown_names(resolved, unknown),
        *kept.findings(resolved, program, names, unknown),
    )
    return Compiled((program,), names, resolved.flags, findings)


def _asked(
    resolved: Resolved, names: Sequence[str], rules: Sequence[ResolvedRule]
) -> compile_request.CompileAnswer:
    """Has libseccomp compile rules, and gives its answer, which may be that it refuses them.

    Args:
        resolved: all of the rules.
        names: the architectures, the native one first.
        rules: those whose action is not the default one.

    Raises:
        BadInputError: libseccomp is missing, or never asked: it would compile these wrongly, or
            for ever.
    """
    if resolved.native.big_endian != (sys.byteorder == "big"):
        # For the other byte order libseccomp 2.5 swaps the bytes of some returns twice.
        raise BadInputError(
            f"{resolved.path}: libseccomp compiles wrongly for {resolved.native}, which has "
            f"another byte order than this machine; compile the profile on such a machine"
        )
    if len(resolved.rules) > MAX_RULES:
        raise BadInputError(
            f"{resolved.path}: the profile has {len(resolved.rules)} rules, counted by call, and "
            f"more than {MAX_RULES} are compiled by nobody; remove some"
        )
    return compile_request.ask(
        compile_request.CompileRequest(
            default=resolved.default.value,
            architectures=[ARCHITECTURES[name] for name in names],
            rules=list(map(_order, rules)),
            names=[rule.name for rule in resolved.rules],
            is_tree=len(resolved.rules) > _MANY_RULES,
        ),
        resolved.path,
        big_endian=resolved.native.big_endian,
    )


_INSTRUCTION_BYTES: Final = 8
"""sizeof(struct sock_filter)."""


def _given(resolved: Resolved, raw: bytes) -> Compiled:
    """A program that the file itself holds; the kernel ignores what is less than an instruction."""
    whole = len(raw) - len(raw) % _INSTRUCTION_BYTES
    program = bpf.from_bytes(raw[:whole], big_endian=resolved.native.big_endian)
    _check_program(resolved, program, "the program of the annotation", "mend it")
    return Compiled((program,), (), resolved.flags, resolved.findings)


def _check_program(resolved: Resolved, program: Program, what: str, remedy: str) -> None:
    """Refuses a program that the kernel refuses.

    Args:
        resolved: where it is from.
        program: the program.
        what: what it is, for a sentence.
        remedy: what to do then.
    """
    try:
        bpf.check(program)
    except IllegalProgramError as error:
        raise BadInputError(
            f"{resolved.path}: the kernel would refuse {what} ({error}); {remedy}"
        ) from error


def _check_rules(resolved: Resolved, unknown: Collection[str]) -> None:
    """Refuses rules that the runtime refuses, although libseccomp would compile them."""
    for rule in resolved.rules:
        redundant = rule.returns == resolved.default
        if redundant and not resolved.reader.takes_default_rules and rule.name not in unknown:
            raise BadInputError(
                f"{resolved.path}: {rule.place} has the default action for {rule.name}, and "
                f"{resolved.reader.runtime} refuses that; remove it"
            )
        if resolved.knows_all_calls and not redundant and rule.name in unknown:
            raise BadInputError(
                f"{resolved.path}: {rule.place} names {rule.name}, which libseccomp does not know, "
                f"and an annotation has {resolved.reader.runtime} refuse that; remove it"
            )


def _order(rule: ResolvedRule) -> compile_request.Rule:
    """A rule as libseccomp takes it."""
    conditions = [
        (each.index, each.operator.value, each.value, each.value_two) for each in rule.conditions
    ]
    alternatives = [[one] for one in conditions] if repeats(rule) else [conditions]
    return compile_request.Rule(rule.name, rule.returns.value, alternatives)


def _refused(
    resolved: Resolved,
    refusal: compile_request.Refusal,
    names: Sequence[str],
    rules: Sequence[ResolvedRule],
) -> BadInputError:
    """What libseccomp refuses, with the place in the profile."""
    if refusal.step == "default":
        return BadInputError(
            f"{resolved.path}: libseccomp, and so runtimes, refuse the default action "
            f"{resolved.default} ({refusal.words}); give another errno"
        )
    if refusal.step == "architecture":
        reason = (
            f"has another byte order than {resolved.native.scmp}, and runtimes refuse both in "
            f"one filter; leave it out"
            if refusal.number == errno.EDOM
            else f"is unknown to the installed libseccomp ({refusal.words}); install a newer "
            f"one, or leave it out"
        )
        return BadInputError(f"{resolved.path}: the architecture {names[refusal.place]} {reason}")
    if refusal.step == "rule":
        reason = (
            "another rule asks the same of the arguments and has another action; keep one"
            if refusal.number == errno.EEXIST
            else f"{refusal.words}; remove it"
        )
        rule = rules[refusal.place]
        return BadInputError(
            f"{resolved.path}: libseccomp, and so runtimes, refuse {rule.place} for "
            f"{rule.name} ({reason})"
        )
    return BadInputError(
        f"{resolved.path}: libseccomp cannot compile the profile ({refusal.words}); shorten it"
    )


_X32: Final = ARCHITECTURES["SCMP_ARCH_X32"]
_X86_64: Final = ARCHITECTURES["SCMP_ARCH_X86_64"]
_S390: Final = frozenset({ARCHITECTURES["SCMP_ARCH_S390"], ARCHITECTURES["SCMP_ARCH_S390X"]})
_S390_MULTIPLEXER: Final = 0
"""setup(2), as which s390 kernels show calls with numbers that they do not know."""

_ENOSYS_ON_MIPS: Final = 89
_ENOSYS_ELSEWHERE: Final = 38


def _last_numbers(answer: compile_request.CompileAnswer, names: Iterable[str]) -> dict[int, int]:
    """The highest number that the rules name, by libseccomp's token; 0 is none to runc."""
    found: dict[int, int] = {}
    for token in (ARCHITECTURES[name] for name in names):
        # Calls that the architecture does not have are negative.
        last = max(answer.numbers[token].values(), default=0)
        if last > 0:
            found[token] = last
    return found


def _enosys_stub(resolved: Resolved, last: Mapping[int, int]) -> Program:
    """The part that runc puts before libseccomp's program: ENOSYS for calls newer than the profile.

    Nobody who wrote the profile knew them, and a C library that gets EPERM does not fall back.
    """
    # runc compares the bare errno with a whole return value, so what it means never happens.
    as_return = FilterReturn(Action.ERRNO, _enosys(resolved.native)).value
    permissive = {Action.ALLOW, Action.LOG, Action.TRACE}
    if resolved.default.action in permissive or resolved.default_errno_ret == as_return:
        return ()
    sections: dict[int, tuple[Instruction, ...]] = {}
    for token in last:
        seen = _X86_64 if token == _X32 else token
        enosys = statement(bpf.RET_K, as_return)
        sections[seen] = _section(resolved.reader, seen, last, enosys)
    # Built from its end, which is where libseccomp's program begins.
    stub: Program = ()
    for token, section in reversed(sections.items()):
        block = (*section, statement(bpf.JA, len(stub)))
        stub = (jump(bpf.JEQ, token, 0, len(block)), *block, *stub)
    return (statement(bpf.LD_ABS, bpf.OFFSET_ARCH), *stub) if stub else ()


def _enosys(native: Arch) -> int:
    return _ENOSYS_ON_MIPS if native.machine.startswith("mips") else _ENOSYS_ELSEWHERE


def _section(
    reader: Reader, token: int, last: Mapping[int, int], enosys: Instruction
) -> tuple[Instruction, ...]:
    """What answers ENOSYS on one architecture and otherwise runs off its end."""
    load = statement(bpf.LD_ABS, bpf.OFFSET_NR)
    if token in _S390 and reader.stub_knows_setup:
        multiplexed = (jump(bpf.JEQ, _S390_MULTIPLEXER, 0, 1), enosys)
        return (load, *multiplexed, *_above(last[token], enosys))
    if token != _X86_64:
        return (load, *_above(last[token], enosys))
    # One token, two ABIs; one that the rules do not name is left to libseccomp's program.
    wide, x32 = (_above(last[each], enosys) if each in last else () for each in (token, _X32))
    wide = (*wide, statement(bpf.JA, len(x32)))
    return (load, jump(bpf.JSET, abi.X32_SYSCALL_BIT, len(wide), 0), *wide, *x32)


def _above(last: int, enosys: Instruction) -> tuple[Instruction, ...]:
    return (jump(bpf.JGT, last, 0, 1), enosys)


def _unknown_names(resolved: Resolved, unknown: Sequence[str]) -> Iterator[str]:
    """A finding about calls that libseccomp does not know."""
    if not unknown:
        return
    places = {rule.name: rule.place for rule in reversed(resolved.rules)}
    known = [name for name in unknown if resolved.native.number(name) is not None]
    yield (
        f"{resolved.path}: libseccomp does not know "
        f"{listed([f'{name} ({places[name]})' for name in unknown])}, so what the profile says "
        f"about them is silently unenforced"
        + (f", although {resolved.native} has {listed(known)}" if known else "")
    )
