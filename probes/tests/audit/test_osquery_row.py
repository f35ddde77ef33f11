"""Rows of osquery's seccomp_events say what the kernel's records said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import arch
from probes.audit.osquery_row import QUERY, MalformedResultError, read_line
from probes.audit.record import SeccompRecord, parse
from probes.tests.support.kernel_records import TEXTS
from probes.tests.support.osquery_log import ResultsLog, fields_of, row_of, x86_64_names

KILLED = TEXTS[0]


def line_of(*texts: str, batched: bool = False, numerics: bool = False, named: bool = True) -> str:
    log = ResultsLog(Path("unused"), batched=batched, numerics=numerics)
    (line,) = log.lines([row_of(text, named=named) for text in texts])
    return line


def bare(record: SeccompRecord | None) -> SeccompRecord:
    """A record without what no row has."""
    assert record is not None
    return replace(record, timestamp="", serial=0, raw="")


@pytest.mark.parametrize("numerics", [False, True], ids=["strings", "numerics"])
@pytest.mark.parametrize("named", [True, False], ids=["libc++", "libstdc++"])
def test_every_record_of_real_kernels_comes_back(*, numerics: bool, named: bool) -> None:
    """Those of loongarch64 too, for whose architecture osquery has no word."""
    found = read_line(line_of(*TEXTS, batched=True, numerics=numerics, named=named))

    assert found is not None
    assert [bare(one) for one in found.records] == [bare(parse(text)) for text in TEXTS]
    assert {one.arch for one in found.records} > {0xC0000102, 0xC000003E, 0x40000003}


def test_an_event_is_one_record() -> None:
    found = read_line(line_of(KILLED))

    assert found is not None
    assert [bare(one) for one in found.records] == [bare(parse(KILLED))]
    assert (found.query, found.epoch, found.counter, found.snapshot) == ("seccomp", "0", 1, False)


def test_names_of_x86_64_are_the_kernels() -> None:
    """The table of osquery and the suite's come from different places."""
    ours = arch.get("x86_64")
    assert {number: ours.number(name) for number, name in x86_64_names().items()} == {
        number: number for number in x86_64_names()
    }


@pytest.mark.parametrize(
    ("code", "value"), [("0x7fc00000", 0x7FC00000), ("0x80010000", 0x80010000), ("0x0", 0)]
)
def test_an_action_without_a_word_keeps_its_number(code: str, value: int) -> None:
    """USER_NOTIF has none in osquery's table."""
    text = KILLED.replace("code=0x80000000", f"code={code}")

    found = read_line(line_of(text))

    assert found is not None
    assert [one.code for one in found.records] == [value]


@given(number=st.integers(-(2**31), 2**31 - 1), token=st.sampled_from(sorted(arch.TOKENS)))
def test_any_number_of_any_architecture_comes_back(number: int, token: int) -> None:
    """The kernel prints a signed number; osquery makes 64 unsigned bits of it."""
    found = fields_of(KILLED)
    text = KILLED.replace(f"syscall={found['syscall']}", f"syscall={number}")
    text = text.replace(f"arch={found['arch']}", f"arch={token:x}")

    line = read_line(line_of(text))

    assert line is not None
    assert [(one.arch, one.syscall) for one in line.records] == [(token, number & 0xFFFFFFFF)]


@pytest.mark.parametrize("comm", ['"a"', "612022", "(null)"])
def test_names_come_as_the_kernel_wrote_them(comm: str) -> None:
    text = KILLED.replace(f"comm={fields_of(KILLED)['comm']}", f"comm={comm}")

    found = read_line(line_of(text))

    assert found is not None
    assert [one.comm for one in found.records] == [{"612022": 'a "'}.get(comm, comm.strip('"'))]


@pytest.mark.parametrize(
    "line",
    [
        "",
        '{"name": "p", "action": "added", "columns": {"pid": "1", "name": "x"}}',
        line_of(KILLED).replace('"added"', '"removed"'),
        '{"name": "p", "diffResults": {"removed": "", "added": ""}}',
        "{}",
    ],
)
def test_other_lines_have_no_record(line: str) -> None:
    assert read_line(line) is None


@pytest.mark.parametrize("line", ["x", "[]", "3", line_of(KILLED)[:-9], "[" * 100_000, "\udcff"])
def test_a_damaged_line_is_told(line: str) -> None:
    with pytest.raises(MalformedResultError) as caught:
        read_line(line)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("comm", "unquoted"),
        ("pid", "x"),
        ("pid", True),
        ("arch", "VAX"),
        ("syscall", "no_such_call"),
        ("syscall", "3(known)"),
        ("code", "KILL"),
        ("ip", "elsewhere"),
    ],
)
def test_a_row_that_cannot_be_read_is_told(column: str, value: object) -> None:
    document = json.loads(line_of(KILLED))
    document["columns"][column] = value

    with pytest.raises(MalformedResultError, match="is not as seccomp_events has it"):
        read_line(json.dumps(document))


@pytest.mark.parametrize("column", ["pid", "comm", "sig", "arch"])
def test_a_query_that_leaves_a_column_out_is_told(column: str) -> None:
    document = json.loads(line_of(KILLED))
    del document["columns"][column]

    with pytest.raises(MalformedResultError) as caught:
        read_line(json.dumps(document))
    told, _, advice = str(caught.value).partition(": ")
    assert told == f"osquery's query 'seccomp' gives no {column}"
    assert advice == f"schedule {QUERY!r}."


def test_a_snapshot_is_known() -> None:
    document = json.loads(line_of(KILLED, batched=True))
    rows = document.pop("diffResults")["added"]
    for line in (
        {**document, "snapshot": rows, "action": "snapshot"},
        {**document, "columns": rows[0], "action": "snapshot"},
        {**document, "snapshot": [{"syscall": "acct", "code": "LOG"}], "action": "snapshot"},
    ):
        found = read_line(json.dumps(line))
        assert found is not None
        assert found.snapshot
        assert found.records == ()
