"""Actions against the kernel's header, libseccomp's, and the running kernel."""

import errno
import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from probes import action, arch
from probes.action import Action, FilterReturn, Profile
from probes.filters import bpf
from probes.instrument.calls import Call, Observation, Request, Route, Zygote
from probes.tests.support.oracles import require

NATIVE = arch.offered_by(os.uname().machine)[0]
ALLOW = Action.ALLOW.value
GETPID = NATIVE.numbers["getpid"]


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


def answering(value: int) -> bytes:
    """A filter that returns a value for getpid and allows the rest."""
    program = bpf.dispatch({NATIVE.audit_arch: bpf.ranges({GETPID}, value, ALLOW)}, ALLOW)
    return bpf.to_bytes(program, big_endian=NATIVE.big_endian)


def under(prober: Zygote, *values: int) -> Observation:
    """What becomes of getpid in a second thread, under filters that return these, in order."""
    programs = tuple(answering(value) for value in values)
    calls = (Call(GETPID),)
    request = Request("syscall", calls, programs, prober.nonce(), Route.SIBLING)
    observation = prober.run([request])[0][0]
    assert not observation.fault
    return observation


def test_values_are_the_headers() -> None:
    header = Path(require("/usr/include/linux/seccomp.h", "linux-libc-dev"))
    defined = {
        name: int(value, 16)
        for name, value in re.findall(
            r"#define SECCOMP_RET_(\w+)\s+(0x[0-9a-f]{8})U", header.read_text(encoding="utf-8")
        )
    }

    assert defined.pop("ACTION_FULL") == action.ACTION_MASK
    assert defined.pop("DATA") == action.DATA_MASK
    defined.pop("ACTION")
    assert defined == {each.name: each.value for each in Action}


def test_scmp_names_are_libseccomps() -> None:
    header = Path(require("/usr/include/seccomp.h", "libseccomp-dev"))
    text = header.read_text(encoding="utf-8")
    defined = dict(re.findall(r"#define (SCMP_ACT_\w+)(?:\(\w+\))?\s+\(?(0x[0-9a-f]{8})U", text))

    for each in Action:
        assert int(defined[each.scmp], 16) == each.value


def test_precedence_is_the_manuals() -> None:
    """seccomp(2) lists the actions in decreasing order of precedence, as does the header."""
    header = Path(require("/usr/include/linux/seccomp.h", "linux-libc-dev"))
    listed = re.findall(r"#define SECCOMP_RET_(\w+)\s+0x[0-9a-f]{8}U /\*", header.read_text())

    by_rank = sorted(Action, key=lambda each: each.precedence)

    assert [each.name for each in by_rank] == [
        name for name in listed if name in Action.__members__
    ]


def sign(observation: Observation) -> tuple[object, ...]:
    """What tells the actions apart from outside."""
    return (
        observation.stage,
        observation.errno,
        observation.trapped,
        observation.survived,
        observation.signal,
        observation.own_pid,
    )


def test_the_kernel_ranks_actions_so(prober: Zygote) -> None:
    """Of two filters the stronger one acts, whichever is newer."""
    values = {each: each.value | (77 if each is Action.ERRNO else 0) for each in Action}
    alone = {each: sign(under(prober, value)) for each, value in values.items()}

    assert (
        len(set(alone.values())) >= len(Action) - 2
    )  # LOG looks like ALLOW, TRACE like USER_NOTIF
    for older, newer in product(Action, repeat=2):
        stronger = min(older, newer, key=lambda each: each.precedence)
        assert sign(under(prober, values[older], values[newer])) == alone[stronger], (older, newer)


def test_among_equals_the_newest_filters_data_counts(prober: Zygote) -> None:
    first, second = (Action.ERRNO.value | data for data in (77, 78))

    assert under(prober, first, second).errno == 78
    assert under(prober, second, first).errno == 77


@pytest.mark.parametrize("value", [0x00040000, 0x12340000, 0x7FFD0000, 0x80010000, 0xFFFF0001])
def test_the_kernel_kills_the_process_for_an_unknown_action(prober: Zygote, value: int) -> None:
    assert FilterReturn.decode(value).action is Action.KILL_PROCESS
    assert sign(under(prober, value)) == sign(under(prober, Action.KILL_PROCESS.value))


@pytest.mark.parametrize("data", [0, 1, 133, 2121, 4095, 4096, 0xFFFF])
def test_the_kernel_clamps_an_errno(prober: Zygote, data: int) -> None:
    observation = under(prober, FilterReturn(Action.ERRNO, data).value)

    assert observation.errno == min(data, action.MAX_ERRNO)
    assert observation.result == (-1 if data else 0)
    shown = action.errno_name(min(data, action.MAX_ERRNO))
    assert str(FilterReturn(Action.ERRNO, data)) == f"ERRNO({shown})"


@pytest.mark.parametrize("each", list(Action))
def test_only_what_runs_reaches_the_kernel(prober: Zygote, each: Action) -> None:
    """With nobody who traces or listens."""
    assert under(prober, each.value).own_pid is each.reaches_kernel


@pytest.mark.parametrize("each", list(Action))
@pytest.mark.parametrize("data", [0, 5, 0xFFFF])
def test_a_return_value_is_taken_apart_and_put_together(each: Action, data: int) -> None:
    returns = FilterReturn(each, data)

    assert FilterReturn.decode(returns.value) == returns
    assert returns.value & 0xFFFF0000 == each.value


def test_people_read_return_values() -> None:
    assert str(FilterReturn(Action.ERRNO, errno.EPERM)) == "ERRNO(EPERM)"
    assert str(FilterReturn(Action.ERRNO)) == "ERRNO(0)"
    assert str(FilterReturn(Action.KILL_PROCESS)) == "KILL_PROCESS"
    assert str(FilterReturn(Action.TRACE, 7)) == "TRACE(7)"
    assert action.errno_name(errno.ENOSYS) == "ENOSYS"
    assert action.errno_name(2121) == "2121"


def test_profiles_return_what_the_document_says() -> None:
    assert Profile.KILL.returns == FilterReturn(Action.KILL_PROCESS)
    assert Profile.ERRNO.returns == FilterReturn(Action.ERRNO, errno.EPERM)
    assert Profile.LOG.returns == FilterReturn(Action.LOG)
