"""The filter of the observer against what it should report, and the counting. No processes."""

import os
from dataclasses import replace
from itertools import product

import pytest

from probes import arch
from probes.documents import policy
from probes.documents.policy import DocumentedCall
from probes.filters.bpf import SeccompData, simulate
from probes.filters.conditions import Condition, Operator
from probes.observe.caller import Caller, site
from probes.observe.listener import Notification
from probes.observe.tally import ARGUMENTS_KEPT, SITES_SOUGHT, Tally
from probes.observe.watch import Kind, Watch, program, watch
from probes.tests.support.observing import POLICY

DOCUMENTED = policy.load(POLICY, arch.all_names())
NOTIFY, ALLOW = 0x7FC00000, 0x7FFF0000
SETSID = 112
MACHINES = sorted({one.machine for one in arch.ARCHES.values()})


def _watch(machine: str = "x86_64") -> Watch:
    return watch(DOCUMENTED, arch.offered_by(machine))


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_reports_what_is_documented_and_what_no_table_knows(machine: str) -> None:
    watched = _watch(machine)
    code = program(watched)
    big_endian = watched.arches[0].big_endian
    for abi in watched.arches:
        known = {
            number
            for one in watched.arches
            if one.audit_arch == abi.audit_arch
            for number in one.numbers.values()
        }
        names = {number: name for name, number in abi.numbers.items()}
        for number in sorted({*names, *(n + 1 for n in names), 9999, 0xFFFFFFFF}):
            data = SeccompData(number, abi.audit_arch)
            said = simulate(code, data, big_endian=big_endian)
            if names.get(number) in DOCUMENTED.names or number not in known:
                assert said == NOTIFY, (abi.name, number)
            elif names.get(number) in {"read", "openat", "execve", "mprotect", "clone", "prctl"}:
                assert said == ALLOW, (abi.name, number)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_reports_exactly_what_is_recognized(machine: str) -> None:
    watched = _watch(machine)
    code = program(watched)
    big_endian = watched.arches[0].big_endian
    values = (0, 1, 12, 22, 0x1000C, 0x20000, 0x40000000, 0x7E000011, 12 << 32, 0x20000 << 32)
    for abi, name in product(
        watched.arches, ("clone", "ipc", "prctl", "seccomp", "read", "fsopen", "socketcall")
    ):
        number = abi.number(name)
        if number is None:
            continue
        for first, second in product(values, values):
            data = SeccompData(number, abi.audit_arch, (first, second, 0, 0, 0, 0))
            said = simulate(code, data, big_endian=big_endian) == NOTIFY
            recognized = watched.recognize(abi.audit_arch, number, data.args)
            addresses = watched.addresses(abi.audit_arch, number, data.args)
            assert said == bool(recognized or addresses), (abi.name, name, first, second)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_reports_whatever_may_name_the_other_end_of_a_socket(machine: str) -> None:
    watched = _watch(machine)
    code = program(watched)
    big_endian = watched.arches[0].big_endian
    there, size = 0x7F0000000000, 16
    asked = {
        "connect": {(3, there, size, 0, 0, 0): True, (3, 0, 0, 0, 0, 0): True},
        "sendto": {(3, 0, 0, 0, there, size): True, (3, there, 9, 0x20000000, 0, 0): False},
        "sendmsg": {(3, there, 0, 0, 0, 0): True},
        "sendmmsg": {(3, there, 2, 0, 0, 0): True},
        "socketcall": {
            (operation, there, 0, 0, 0, 0): operation in {3, 11, 16, 20} for operation in range(25)
        },
        "recvmsg": {(3, there, 0, 0, 0, 0): False},
    }
    for abi, name in product(watched.arches, asked):
        number = abi.number(name)
        if number is None:
            continue
        for args, reported in asked[name].items():
            data = SeccompData(number, abi.audit_arch, args)
            said = simulate(code, data, big_endian=big_endian) == NOTIFY
            assert said == reported, (abi.name, name, args)
            assert (watched.addresses(abi.audit_arch, number, args) is not None) == reported
            assert watched.recognize(abi.audit_arch, number, args) is None


def test_a_documented_connect_counts_and_is_looked_at() -> None:
    one = replace(DOCUMENTED.calls[0], name="connect")
    watched = watch(replace(DOCUMENTED, calls=(one,)), arch.offered_by("x86_64"))
    number = arch.get("x86_64").numbers["connect"]
    assert simulate(program(watched), SeccompData(number, 0xC000003E)) == NOTIFY
    assert watched.recognize(0xC000003E, number, (0,) * 6) is not None
    assert watched.addresses(0xC000003E, number, (0,) * 6) is not None


def test_a_foreign_abi_is_reported() -> None:
    watched = _watch()
    assert simulate(program(watched), SeccompData(0, 0xC00000B7)) == NOTIFY
    assert watched.abi_of(0xC00000B7, 0) == "AUDIT_ARCH 0xc00000b7"


def test_a_clone_is_watched_only_for_a_namespace() -> None:
    watched = _watch()
    clone = arch.get("x86_64").numbers["clone"]
    assert watched.recognize(0xC000003E, clone, (0x10000000 | 17, 0, 0, 0, 0, 0)) is not None
    assert watched.recognize(0xC000003E, clone, (0x3D0F00, 0, 0, 0, 0, 0)) is None
    assert watched.recognize(0xC000003E, clone, (17, 0x10000000, 0, 0, 0, 0)) is None
    s390 = _watch("s390x")
    clone = arch.get("s390x").numbers["clone"]
    assert s390.recognize(0x80000016, clone, (0, 0x10000000, 0, 0, 0, 0)) is not None
    assert s390.recognize(0x80000016, clone, (0x10000000, 17, 0, 0, 0, 0)) is None


# Counting.

CALLER = Caller((100, 5), "sh", "/bin/sh")
CALL = Notification(1, 100, SETSID, 0xC000003E, 0x401000, (1, 2, 3, 4, 5, 6))


def _site(tid: int, pointer: int) -> str:
    return f"{tid}+{pointer:#x}"


def test_calls_of_one_program_are_one_row() -> None:
    tally = Tally(_watch())
    other = replace(CALLER, process=(101, 6))
    for index, caller in enumerate((CALLER, CALLER, other)):
        tally.take(replace(CALL, tid=caller.process[0]), caller, index, _site)
    (key,), (row,) = tally.rows, tally.rows.values()
    assert (key.kind, key.abi, key.name, key.comm) == (Kind.DOCUMENTED, "x86_64", "setsid", "sh")
    assert (row.count, row.first, dict(row.processes)) == (3, 0, {(100, 5): 2, (101, 6): 1})
    assert row.sites == {"100+0x401000": 2, "101+0x401000": 1}
    assert row.last == 2


def test_a_call_that_starts_again_is_one_call_however_often() -> None:
    tally = Tally(_watch())
    row = tally.take(CALL, CALLER, 0, _site)
    for repeat in range(1, 4):
        tally.interrupted(row, CALL, CALLER)
        assert (row.count, row.cut_short) == (1, 1)
        assert tally.take(replace(CALL, cookie=repeat), CALLER, repeat, _site) is row
        assert (row.count, row.cut_short, tally.repeats) == (1, 0, repeat)
    assert tally.take(replace(CALL, cookie=9), CALLER, 9, _site) is row
    assert row.count == 2


@pytest.mark.parametrize(
    ("call", "caller"),
    [
        (replace(CALL, args=(1, 2, 3, 4, 5, 7)), CALLER),
        (replace(CALL, pointer=0x401002), CALLER),
        (CALL, replace(CALLER, process=(100, 9))),
        (replace(CALL, tid=102), CALLER),
    ],
)
def test_another_call_after_an_interrupted_one_counts(call: Notification, caller: Caller) -> None:
    tally = Tally(_watch())
    row = tally.take(CALL, CALLER, 0, _site)
    tally.interrupted(row, CALL, CALLER)
    assert tally.take(call, caller, 1, _site) is row
    assert (row.count, row.cut_short) == (2, 1)


def test_what_is_kept_of_a_row_is_bounded() -> None:
    tally = Tally(_watch())
    for index in range(200):
        call = replace(CALL, args=(index, 0, 0, 0, 0, 0))
        tally.take(call, replace(CALLER, process=(index, 0)), index, _site)
    (row,) = tally.rows.values()
    assert row.count == 200
    assert len(row.arguments) == ARGUMENTS_KEPT
    assert sum(row.sites.values()) == row.sought == SITES_SOUGHT


def test_an_address_is_told_by_its_file_and_offset() -> None:
    with open("/proc/self/maps", "rb") as maps:  # noqa: PTH123 - it is what the code does
        line = next(one for one in maps if b" r-xp " in one and b"/" in one)
    where, _, offset, *_ = line.split()
    first = int(where.split(b"-")[0], 16)
    name = os.fsdecode(line.split()[5].rpartition(b"/")[2])
    assert site(os.getpid(), first + 0x10) == f"{name}+{int(offset, 16) + 0x10:#x}"
    assert site(os.getpid(), 0x10) == "0x10"
    assert site(0, 0x10) == "?"


@pytest.mark.parametrize("machine", MACHINES)
def test_of_a_call_under_conditions_only_what_meets_them_is_reported(machine: str) -> None:
    conditions = (
        (Condition(0, Operator.EQ, 38),),
        (Condition(0, Operator.EQ, 2), Condition(1, Operator.MASKED_EQ, 3, 0xF)),
    )
    made = replace(
        DOCUMENTED,
        calls=tuple(DocumentedCall("socket", "all", "x", "y", args=one) for one in conditions),
    )
    watched = watch(made, arch.offered_by(machine))
    code = program(watched)
    big_endian = watched.arches[0].big_endian
    expected = {
        (38, 0): "socket[0==38]",
        (0x1_0000_0026, 7): "socket[0==38]",
        (2, 3): "socket[0==2,1&0xf==0x3]",
        (2, 0xF3): "socket[0==2,1&0xf==0x3]",
        (2, 1): None,
        (1, 3): None,
    }
    for abi in watched.arches:
        number = abi.number("socket")
        for words, name in expected.items() if number is not None else ():
            assert number is not None
            data = SeccompData(number, abi.audit_arch, (*words, 0, 0, 0, 0))
            said = simulate(code, data, big_endian=big_endian)
            seen = watched.recognize(abi.audit_arch, number, data.args)
            assert said == (ALLOW if name is None else NOTIFY), (abi.name, words)
            assert (None if seen is None else seen.name) == name, (abi.name, words)
