"""Filters with everything that an explanation and a comparison can have, for their tests."""

import json
from pathlib import Path
from typing import Final

from probes import arch as abis
from probes.action import Action, FilterReturn
from probes.filters import bpf
from probes.filters.bpf import Program, jump, statement
from probes.finding import Finding, Weight, advice
from probes.targets.stack import FilterStack
from probes.tests.support.random_programs import ALLOW, EPERM, I386, X86_64
from reports import results
from reports.filters import explanation, overview, places
from reports.filters.explanation import StackExplanation

X86: Final = abis.ARCHES["x86_64"]
KILL: Final = FilterReturn(Action.KILL_PROCESS).value
LOG: Final = FilterReturn(Action.LOG).value
TRAP: Final = FilterReturn(Action.TRAP, 7).value
NOTIFY: Final = FilterReturn(Action.USER_NOTIF).value
TRACE: Final = FilterReturn(Action.TRACE, 3).value
KILL_THREAD: Final = FilterReturn(Action.KILL_THREAD).value
ENOSYS: Final = FilterReturn(Action.ERRNO, 38).value
EIO: Final = FilterReturn(Action.ERRNO, 5).value


def schema(name: str) -> object:
    """A published schema.

    Args:
        name: the file's name without its suffixes.
    """
    path = Path(results.__file__).with_name(f"{name}.schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


def of_calls(**returns: int) -> Program:
    """By x86_64's calls, whatever the arguments; everything else is let through."""
    chosen = {X86.numbers[name]: value for name, value in returns.items()}
    return bpf.dispatch({X86_64: bpf.ranges_from(chosen, ALLOW)}, foreign=ALLOW)


def by_arguments() -> Program:
    """Refuses clone with a new namespace, by x86_64; kills every other architecture but i386."""
    return (
        statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        jump(bpf.JEQ, X86_64, 2, 0),
        jump(bpf.JEQ, I386, 5, 0),
        statement(bpf.RET_K, KILL),
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JEQ, X86.numbers["clone"], 0, 2),
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        jump(bpf.JSET, 0x20000, 1, 0),
        statement(bpf.RET_K, ALLOW),
        statement(bpf.RET_K, EPERM),
    )


def every_action() -> Program:
    """Each action for a call of its own."""
    return of_calls(
        acct=EPERM,
        mount=KILL,
        bpf=LOG,
        reboot=TRAP,
        ptrace=NOTIFY,
        read=TRACE,
        unshare=KILL_THREAD,
        kcmp=ENOSYS,
        sysfs=EIO,
    )


def stack(*programs: Program, name: str = "a made-up stack") -> FilterStack:
    """A stack of filters for x86_64, with a finding."""
    return FilterStack(name, programs, X86, advice(["this is a finding"]))


def weighty(*programs: Program) -> FilterStack:
    """A stack of filters with a finding that keeps it from being all that was meant."""
    limit = Finding("there may be more", Weight.LIMITS, "more")
    return FilterStack("a part of something", programs, X86, (limit,))


def explained(one: FilterStack) -> StackExplanation:
    """What a stack does with every number of every place."""
    analysis = overview.analyze(one)
    return explanation.of_everything(one, analysis, places.places(analysis, X86, ()))


def explained_call(one: FilterStack, name: str) -> StackExplanation:
    """What a stack does with one call of x86_64."""
    analysis = overview.analyze(one)
    return explanation.of_call(one, analysis, [(places.abi(X86), X86.numbers[name])])
