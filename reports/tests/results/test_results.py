"""The record: its schema, its way to the disk and back, and the verdict."""

import json
import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import execnet
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Cause, Cell, CellKey, Claim, Gap, GapState, Outcome
from probes.deviation import KnownDeviation
from probes.documents.waivers import WaiverState
from probes.errors import BadInputError, ExitStatus, InstrumentError
from probes.files import SUITE
from reports import results
from reports.results import Verdict
from reports.results.provenance import Pipeline, RunBy
from reports.tests.support import samples
from reports.tests.support.strategies import CELL_LISTS, CELLS, RUNS

SCHEMA_FILE = Path(results.__file__).with_name("results.schema.json")
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def cell(
    outcome: Outcome, claim: Claim = Claim.TERMINATES, syscall: str = "acct", arch: str = "x86_64"
) -> Cell:
    """A cell of which only the claim and the outcome matter."""
    return Cell(CellKey(claim, "kill", arch, syscall, 1), outcome, None, "s", "e", "o")


def dump(document: object, path: Path) -> Path:
    """A file with this JSON."""
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@cache
def small_text() -> str:
    """Its record."""
    return results.to_json(small())


def small() -> results.Run:
    """A run with little of everything that a record can hold."""
    waived = samples.waived()
    gap = Gap(
        "clock", "clock_settime64", "i386", 404, "kill", ("clock_settime",), GapState.OPEN, "s"
    )
    change = results.Change(
        results.ChangeKind.WORSE, waived.cells[0].key, Outcome.PASSED, Outcome.FAILED, "s"
    )
    program = results.TargetProgram("kill", "0" * 64, 7)
    return replace(
        waived,
        target=results.TargetInfo(
            "docker",
            "d",
            ("a finding",),
            (program,),
            results.Image("debian:12", None),
            results.RuntimeInfo("runc", "1.1.5"),
        ),
        run_by=RunBy(0, "root", "jane", Pipeline("Jenkins", None, "https://ci/1")),
        policy=replace(waived.policy, calls=waived.policy.calls[:2]),
        cells=tuple(c for c in waived.cells if c.outcome is Outcome.WAIVED)[:2],
        gaps=(gap,),
        baseline=results.Baseline("1" * 64, waived.started, (change,)),
    )


# The schema


def test_schema_is_itself_valid() -> None:
    """The schema obeys the meta-schema of JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.slow
@given(RUNS)
def test_every_record_obeys_the_schema(run: results.Run) -> None:
    """Whatever a run holds, its record is as published."""
    VALIDATOR.validate(json.loads(results.to_json(run)))


@pytest.mark.slow
@pytest.mark.parametrize("name", samples.all_kinds())
def test_every_sample_obeys_the_schema(name: str) -> None:
    """The samples do too, at their full size."""
    VALIDATOR.validate(json.loads(results.to_json(samples.all_kinds()[name])))


def objects(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    """The paths of all objects in a JSON document."""
    found = [path] if isinstance(document, dict) else []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, (dict, list)):
            found += objects(value, (*path, key))
    return found


def at(document: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - JSON
    """What stands at a path."""
    for key in path:
        document = document[key]
    return document


EQ: dict[str, object] = {"index": 0, "op": "SCMP_CMP_EQ", "value": 2}


@pytest.mark.parametrize(
    ("call", "legal"),
    [
        ({"args": [EQ]}, True),
        ({"args": [EQ | {"mask": 2**64 - 1}], "errno": ["ENOSYS"]}, True),
        ({"args": []}, False),
        ({"errno": []}, False),
        ({"args": [EQ | {"index": 6}]}, False),
        ({"args": [EQ | {"value": 2**64}]}, False),
        ({"args": [EQ | {"value": -1}]}, False),
        ({"args": [EQ | {"mask": None}]}, False),
        ({"args": [EQ | {"op": "EQ"}]}, False),
        ({"args": [EQ | {"more": 1}]}, False),
        ({"args": [{"index": 0, "op": "SCMP_CMP_EQ"}]}, False),
        ({"errno": [1]}, False),
    ],
)
def test_conditions_are_read_as_the_schema_has_them(
    tmp_path: Path, *, call: dict[str, object], legal: bool
) -> None:
    document = json.loads(small_text())
    document["policy"]["calls"][0] |= call
    assert VALIDATOR.is_valid(document) is legal
    path = dump(document, tmp_path / "results.json")
    if legal:
        accept_or_contradict(path)
        return
    with pytest.raises(BadInputError, match=r"policy\.calls\[0\]\."):
        results.load(path)


@given(data=st.data())
def test_reader_is_as_strict_as_the_schema(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the schema refuses, the reader refuses too: keys missing, added, or of another type."""
    document = json.loads(small_text())
    place = at(document, data.draw(st.sampled_from(objects(document))))
    name = data.draw(st.sampled_from(sorted(place)))
    change: object = data.draw(
        st.sampled_from(["drop", "add", None, True, -1, 2**40, 0.5, "", "x", [], [1], {}])
    )
    if change == "drop":
        del place[name]
    elif change == "add":
        place["more"] = 1
    else:
        place[name] = change
    path = dump(document, tmp_path_factory.mktemp("strict") / "results.json")
    if VALIDATOR.is_valid(document):
        accept_or_contradict(path)
        return
    with pytest.raises(BadInputError) as caught:
        results.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def accept_or_contradict(path: Path) -> None:
    """Reads the file; the only reason against a valid one is that it contradicts itself."""
    try:
        results.load(path)
    except BadInputError as error:
        assert re.search(  # noqa: PT017 - to read it is right too
            r"summary\.|was judged in environment|has the waiver|of the calendar", str(error)
        )


# To the disk and back


@given(run=RUNS)
def test_record_reads_back(run: results.Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is read is what was written, the cells in order."""
    path = tmp_path_factory.mktemp("record") / "results.json"
    results.write(run, path)
    assert results.load(path) == replace(
        run, cells=results.in_order(run.cells), gaps=results.gaps_in_order(run.gaps)
    )
    assert path.read_text(encoding="utf-8") == results.to_json(results.load(path))


def test_a_cell_is_made_of_what_workers_can_send() -> None:
    """No type of ours is sent: execnet refuses it, and the worker that sends it ends."""
    failed = next(c for c in samples.failing().cells if c.outcome is Outcome.FAILED)
    sent = results.cell_to_json(replace(failed, deviations=tuple(KnownDeviation)))
    assert execnet.loads(execnet.dumps(sent)) == sent


@given(CELLS)
def test_cell_survives_the_way_from_a_worker(cell: Cell) -> None:
    """A cell comes out of plain JSON as it went in."""
    assert results.cell_from_json(json.loads(json.dumps(results.cell_to_json(cell)))) == cell


@given(st.permutations(list(samples.controls())))
def test_order_of_arrival_leaves_no_trace(cells: list[Cell]) -> None:
    """Workers report in any order; the record is the same."""
    assert results.to_json(samples.run(cells)) == results.to_json(samples.run(samples.controls()))


@given(CELL_LISTS)
def test_order_is_that_of_the_keys(cells: tuple[Cell, ...]) -> None:
    """Cells stand in the order of ``CellKey`` wherever that has one."""
    numbered = [cell.key for cell in cells if cell.key.number is not None]
    assert sorted(numbered, key=results.sort_key) == sorted(numbered)


def test_record_is_plain_ascii() -> None:
    """Nothing in the file can reorder or recolour a terminal that shows it."""
    run = samples.run([replace(next(samples.controls()), sentence="\u202e\x1b[31m\udcff")])
    assert results.to_json(run).replace("\n", "").isprintable()
    assert results.to_json(run).isascii()


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure before the rename leaves the old record, whole, and nothing else."""
    path = tmp_path / "results.json"
    results.write(samples.empty(), path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInputError, match="No space left on device"):
        results.write(samples.passing(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_kill_in_the_middle_of_a_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even an interrupt by the user leaves a part of the new record."""
    path = tmp_path / "results.json"
    results.write(samples.empty(), path)
    before = path.read_bytes()

    def interrupted(_self: Path, _target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.write(samples.passing(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_report_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    """The process's umask decides who may read a report, as for every file."""
    results.write_text("a", tmp_path / "report")
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_folder_is_made_and_checked(tmp_path: Path) -> None:
    """The check makes the folder and leaves nothing in it."""
    folder = tmp_path / "a" / "b"
    results.check_folder(folder)
    assert list(folder.iterdir()) == []


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """One sentence, with the place in it."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInputError, match="cannot write reports there"):
        results.check_folder(file / "out")
    with pytest.raises(BadInputError, match="cannot write the report"):
        results.write_text("a", file / "out" / "results.json")


# Damaged and foreign files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: damaged"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "not a results.json"),
        (b"[]", "its schema is not"),
        (b"{}", "its schema is not"),
        (b'{"schema": "syscall-conformance/results/3"}', "use the version of the suite"),
        (b'{"schema": NaN}', "NaN"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "not a results.json"),
        (b'{"$schema": "https://json.schemastore.org/sarif-2.1.0.json"}', "its schema is not"),
    ],
)
def test_foreign_file_is_refused_in_one_sentence(
    content: bytes, words: str, tmp_path: Path
) -> None:
    """Whatever is in a file that is not ours, the reader is told what is wrong with it."""
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words) as caught:
        results.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is the user's to name."""
    with pytest.raises(BadInputError, match="No such file"):
        results.load(tmp_path / "results.json")


@pytest.mark.slow
def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    """No part of a record passes for a whole one."""
    path = tmp_path / "results.json"
    text = results.to_json(samples.run(list(samples.controls())[:1])).rstrip()
    for length in range(0, len(text), 7):
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(BadInputError):
            results.load(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [("failed", 0), ("passed", 99), ("verdict", "PASS"), ("exit_status", 0)],
)
def test_summary_that_contradicts_the_cells_is_refused(
    name: str, value: object, tmp_path: Path
) -> None:
    """A failing record cannot be edited into a passing one at its head alone."""
    document = json.loads(results.to_json(samples.failing()))
    document["summary"][name] = value
    with pytest.raises(BadInputError, match=rf"summary\.{name}"):
        results.load(dump(document, tmp_path / "results.json"))


def test_cell_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """A cell has one verdict."""
    document = json.loads(results.to_json(samples.run(list(samples.controls())[:1])))
    document["cells"] *= 2
    with pytest.raises(BadInputError, match="2 times"):
        results.load(dump(document, tmp_path / "results.json"))


def test_moment_outside_the_calendar_is_refused(tmp_path: Path) -> None:
    """A day that does not exist is damage."""
    document = json.loads(results.to_json(samples.empty()))
    document["started"] = "2026-02-30T00:00:00Z"
    with pytest.raises(BadInputError, match="calendar"):
        results.load(dump(document, tmp_path / "results.json"))


# Reasons, which records of earlier versions had in their sentences only


def test_the_reason_of_an_earlier_record_is_what_cells_share(tmp_path: Path) -> None:
    """Its sentence loses the words that name the cell, and no others."""
    for sentence, observed, outcome, reason in (
        ("acct (163) on x86_64: no rule: none", "o", Outcome.FAILED, "no rule: none"),
        ("no rule for acct: none", "o", Outcome.FAILED, ""),
        ("account: closed", "o", Outcome.FAILED, ""),
        ("acct", "o", Outcome.FAILED, ""),
        ("acct: cannot tell (expected x): none", "none", Outcome.CANNOT_TELL, "none"),
        ("acct: cannot tell: none", "not assessed", Outcome.CANNOT_TELL, "cannot tell: none"),
    ):
        key = CellKey(Claim.LEAVES_THE_REST_ALONE, "kill", "x86_64", "acct", 163)
        known = Cell(key, outcome, None, sentence, "e", observed, reason="another")
        written = json.loads(results.to_json(samples.run([known])))
        assert results.load(dump(written, tmp_path / "new.json")).cells == (known,)
        del written["cells"][0]["reason"]
        (cell,) = results.load(dump(written, tmp_path / "earlier.json")).cells
        assert (cell.reason, cell.why) == (reason, reason or sentence)


@pytest.mark.parametrize("observed", ["the program returns LOG for it", "it answered 0"])
def test_an_earlier_record_says_by_its_words_that_the_program_tells(
    observed: str, tmp_path: Path
) -> None:
    key = CellKey(Claim.LEAVES_THE_REST_ALONE, "kill", "x86_64", "acct", 163)
    known = Cell(key, Outcome.FAILED, None, "s", "e", observed, by_program=True)
    written = json.loads(results.to_json(samples.run([known])))
    assert results.load(dump(written, tmp_path / "new.json")).cells[0].by_program
    del written["cells"][0]["by_program"]
    assert not results.load(dump(written, tmp_path / "seen.json")).cells[0].by_program
    del written["cells"][0]["reason"]
    (cell,) = results.load(dump(written, tmp_path / "earlier.json")).cells
    assert cell.by_program is (observed == "the program returns LOG for it")


@pytest.mark.parametrize(
    ("observed", "returned"),
    [
        ("SIGSYS ended the process at the call", "KILL_PROCESS"),
        (
            "only the thread that made the call ended; its process lived on (KILL_THREAD)",
            "KILL_THREAD",
        ),
        ("SIGSYS went to a handler, which a program can survive (TRAP)", "TRAP"),
        ("the filter answered ERRNO(ENOSYS)", "ERRNO(ENOSYS)"),
        ("the filter answered ERRNO(4000)", "ERRNO(4000)"),
        ("the call reached the kernel (the witness answered)", "ALLOW"),
        ("a tracer or a supervisor is asked about it, and it answered 7", "TRACE"),
        ("the program returns LOG for it", "LOG"),
        ("the program returns USER_NOTIF, which leaves it to a supervisor", "USER_NOTIF"),
        ("the audit record says sig=31 code=0x0", "KILL_THREAD"),
        ("it left an audit record, code=0x50001", "ERRNO(EPERM)"),
        ("the builtin filter returns ERRNO(EPERM) for number 0x1, and so it is", "ERRNO(EPERM)"),
        ("this kernel does not honour LOG: SIGSYS ended the process at the call", "KILL_PROCESS"),
        ("the kernel let the process leave filter mode", "ALLOW"),
        ("it left no audit record, although a later event left one", None),
        ("it answered EPERM and, without a filter, 0", None),
        ("the filter answered ERRNO(EPERMIT)", None),
    ],
)
def test_an_earlier_record_says_by_its_words_what_the_filter_returned(
    observed: str, returned: str | None, tmp_path: Path
) -> None:
    key = CellKey(Claim.TERMINATES, "kill", "x86_64", "acct", 163)
    for outcome in (Outcome.FAILED, Outcome.CANNOT_TELL):
        known = Cell(key, outcome, None, "acct: s", "e", observed, reason="s")
        written = json.loads(results.to_json(samples.run([known])))
        written["cells"][0].pop("returned", None)
        for keys in ((), ("reason",)):
            for name in keys:
                del written["cells"][0][name]
            (cell,) = results.load(dump(written, tmp_path / "results.json")).cells
            told = None if cell.returned is None else str(cell.returned)
            assert told == (returned if outcome is Outcome.FAILED else None)


@pytest.mark.parametrize("returned", ["EPERM", "ERRNO(EPERMIT)", "KILL_PROCESS(EPERM)", "", 1])
def test_a_return_value_that_is_none_is_refused(returned: object, tmp_path: Path) -> None:
    written = json.loads(results.to_json(samples.failing()))
    failed = next(cell for cell in written["cells"] if cell["outcome"] == "failed")
    failed["returned"] = returned
    with pytest.raises(BadInputError, match="returned"):
        results.load(dump(written, tmp_path / "results.json"))


def test_a_claim_that_holds_has_no_return_value(tmp_path: Path) -> None:
    written = json.loads(results.to_json(samples.passing()))
    written["cells"][0]["returned"] = "ALLOW"
    with pytest.raises(BadInputError, match="returned"):
        results.load(dump(written, tmp_path / "results.json"))


@pytest.mark.parametrize("name", ["reason", "by_program"])
def test_a_reason_of_another_type_is_refused(name: str, tmp_path: Path) -> None:
    written = json.loads(results.to_json(samples.failing()))
    written["cells"][0][name] = 1
    with pytest.raises(BadInputError, match=name):
        results.load(dump(written, tmp_path / "results.json"))


# Missing cells


def test_planned_cells_without_a_verdict_are_broken() -> None:
    """What never reported is counted and named."""
    every = list(samples.controls())
    lost = results.missing((cell.key for cell in every), every[3:])
    assert {cell.key for cell in lost} == {cell.key for cell in every[:3]}
    assert {(cell.outcome, cell.cause) for cell in lost} == {(Outcome.BROKEN, Cause.INSTRUMENT)}
    assert all("never reported" in cell.sentence for cell in lost)
    assert len(lost) + len(every[3:]) == len(every)


def test_nothing_is_missing_from_a_whole_run() -> None:
    """A complete run gains no cell."""
    every = list(samples.controls())
    assert results.missing([cell.key for cell in every], every) == ()


@pytest.mark.parametrize(
    ("planned", "judged", "words"),
    [
        (["acct", "acct"], ["acct"], "planned twice"),
        (["acct"], ["acct", "acct"], "judged twice"),
        (["acct"], ["acct", "bpf"], "never planned"),
    ],
)
def test_books_that_do_not_balance_are_refused(
    planned: list[str], judged: list[str], words: str
) -> None:
    """A doubled or unplanned verdict is a fault of the instrument."""
    with pytest.raises(InstrumentError, match=words):
        results.missing(
            [cell(Outcome.PASSED, syscall=name).key for name in planned],
            [cell(Outcome.PASSED, syscall=name) for name in judged],
        )


# The verdict

CONTROL = cell(Outcome.PASSED, Claim.CONTROLS, "getppid")
OUTCOMES = {outcome: cell(outcome, syscall=outcome.value) for outcome in Outcome}


@pytest.mark.parametrize(
    ("outcomes", "verdict", "status"),
    [
        ([Outcome.PASSED], Verdict.PASS, ExitStatus.CONFORMANT),
        ([Outcome.PASSED, Outcome.NOT_APPLICABLE], Verdict.PASS, ExitStatus.CONFORMANT),
        ([Outcome.PASSED, Outcome.WAIVED], Verdict.PASS, ExitStatus.CONFORMANT),
        ([Outcome.FAILED], Verdict.FAIL, ExitStatus.NOT_CONFORMANT),
        (list(Outcome), Verdict.FAIL, ExitStatus.NOT_CONFORMANT),
        ([Outcome.PASSED, Outcome.BROKEN], Verdict.BROKEN, ExitStatus.BROKEN),
        ([Outcome.CANNOT_TELL, Outcome.BROKEN], Verdict.BROKEN, ExitStatus.BROKEN),
        ([Outcome.PASSED, Outcome.CANNOT_TELL], Verdict.INCOMPLETE, ExitStatus.CANNOT_TELL),
        ([Outcome.CANNOT_TELL, Outcome.WAIVED], Verdict.INCOMPLETE, ExitStatus.CANNOT_TELL),
        ([], Verdict.INCOMPLETE, ExitStatus.NOTHING_ASSESSED),
        ([Outcome.NOT_APPLICABLE], Verdict.INCOMPLETE, ExitStatus.NOTHING_ASSESSED),
        ([Outcome.WAIVED], Verdict.INCOMPLETE, ExitStatus.NOTHING_ASSESSED),
    ],
)
def test_verdict(outcomes: list[Outcome], verdict: Verdict, status: ExitStatus) -> None:
    """Each rule, with a good control."""
    cells = [CONTROL, *(OUTCOMES[outcome] for outcome in outcomes)]
    ruling = results.verdict(cells, len(cells))
    assert (ruling.verdict, ruling.exit_status) == (verdict, status)


@pytest.mark.parametrize("off", sorted(set(Outcome) - {Outcome.PASSED, Outcome.CANNOT_TELL}))
@pytest.mark.parametrize("outcome", Outcome)
def test_control_that_did_not_pass_voids_everything(off: Outcome, outcome: Outcome) -> None:
    """Out of calibration comes before every other rule, failures included."""
    cells = [CONTROL, cell(off, Claim.CONTROLS, "getpid"), OUTCOMES[outcome]]
    ruling = results.verdict(cells, len(cells))
    assert (ruling.verdict, ruling.exit_status) == (Verdict.BROKEN, ExitStatus.BROKEN)
    assert "1 of 2 controls" in ruling.sentence


def test_a_control_that_cannot_be_told_vouches_for_nothing() -> None:
    """A confinement may keep the instrument from being calibrated; then nothing else is told."""
    control = cell(Outcome.CANNOT_TELL, Claim.CONTROLS, "getpid")
    untold = OUTCOMES[Outcome.CANNOT_TELL]

    assert results.verdict([control, untold], 2).exit_status is ExitStatus.CANNOT_TELL
    for decided in (Outcome.PASSED, Outcome.FAILED):
        ruling = results.verdict([CONTROL, control, OUTCOMES[decided]], 3)
        assert ruling.exit_status is ExitStatus.BROKEN
        assert "not calibrated on" in ruling.sentence


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED, Outcome.WAIVED])
def test_verdicts_without_calibration_do_not_count(outcome: Outcome) -> None:
    """A control on one ABI vouches for no other."""
    stranger = cell(outcome, arch="i386")
    for cells in ([stranger], [CONTROL, OUTCOMES[Outcome.PASSED], stranger]):
        ruling = results.verdict(cells, len(cells))
        assert ruling.exit_status is ExitStatus.BROKEN
        assert "not calibrated on" in ruling.sentence


def test_proofs_rest_on_no_instrument() -> None:
    """They need no control, and a run of nothing else says that nothing was observed."""
    proof = cell(Outcome.PASSED, Claim.IS_PROVED, arch="any")
    ruling = results.verdict([CONTROL, OUTCOMES[Outcome.PASSED], proof], 3)
    assert ruling.verdict is Verdict.PASS
    assert "by analysis" not in ruling.sentence
    alone = results.verdict([proof], 1)
    assert alone.verdict is Verdict.PASS
    assert "by analysis: nothing was observed on a kernel" in alone.sentence


@pytest.mark.parametrize("planned", [1, 3, 100])
def test_counts_that_differ_are_no_pass(planned: int) -> None:
    """Neither fewer nor more verdicts than planned make a green run."""
    ruling = results.verdict([CONTROL, OUTCOMES[Outcome.PASSED]], planned)
    assert ruling.exit_status is ExitStatus.BROKEN
    assert f"{planned:,} cell" in ruling.sentence


@given(CELL_LISTS, st.integers(0, 40))
def test_green_means_that_everything_was_decided(cells: tuple[Cell, ...], planned: int) -> None:
    """Exit status 0 rules out everything that could hide a hole; 1 needs a failure."""
    ruling = results.verdict(cells, planned)
    counts = results.count_outcomes(cells)
    if ruling.exit_status is ExitStatus.CONFORMANT:
        assert planned == len(cells)
        assert counts[Outcome.PASSED]
        assert not counts[Outcome.FAILED] + counts[Outcome.BROKEN] + counts[Outcome.CANNOT_TELL]
    if ruling.exit_status is ExitStatus.NOT_CONFORMANT:
        assert counts[Outcome.FAILED]
    assert (ruling.verdict is Verdict.PASS) == (ruling.exit_status is ExitStatus.CONFORMANT)


@given(RUNS)
def test_a_part_of_the_job_is_called_one(run: results.Run) -> None:
    """Nobody takes the verdict on a selection for the verdict on the whole."""
    said = f"Only {run.planned:,} of the job's" in results.summarize(run).ruling.sentence
    assert said == (run.planned < run.selected_of)


@given(RUNS)
def test_counts_add_up(run: results.Run) -> None:
    """Every cell is counted once."""
    assert results.summarize(run).judged == len(run.cells)


# Earlier versions

OLD_FILE = SUITE / "reports/tests/data/results-1.json"
"""Written by the suite when it wrote version 1, and a part of a sample of then."""

OLD_VALIDATOR = jsonschema.Draft202012Validator(
    json.loads(SCHEMA_FILE.with_name("results-1.schema.json").read_text(encoding="utf-8"))
)


def test_a_record_of_version_1_is_read() -> None:
    """With all that it holds, and nothing that it does not."""
    document = json.loads(OLD_FILE.read_text(encoding="utf-8"))
    OLD_VALIDATOR.validate(document)
    run = results.load(OLD_FILE)
    again = json.loads(results.to_json(run))
    VALIDATOR.validate(again)
    assert again["environments"] == [document["environment"] | {"host": None}]
    for name in ("suite", "policy", "profiles", "started", "finished"):
        assert again[name] == document[name]
    assert again["summary"] == document["summary"] | {"accepted": 0}
    added = {"environment": 0, "waiver": None}
    for cell in again["cells"]:
        assert cell["sentence"].endswith(cell.pop("reason"))
    assert again["cells"] == [cell | added for cell in document["cells"]]
    assert run.complete
    assert run.run_by == RunBy()
    assert (run.waivers, run.gaps, run.baseline, run.target.programs) == ((), (), None, ())


@given(data=st.data())
def test_reader_is_as_strict_with_version_1(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What its schema refuses, the reader refuses too, and keys of version 2 above all."""
    document = json.loads(OLD_FILE.read_text(encoding="utf-8"))
    place = at(document, data.draw(st.sampled_from(objects(document))))
    name = data.draw(st.sampled_from(sorted(place)))
    change: object = data.draw(st.sampled_from(["drop", "add", None, True, -1, "", [1], {}]))
    if change == "drop":
        del place[name]
    elif change == "add":
        place[data.draw(st.sampled_from(["more", "waiver", "environment", "host"]))] = 0
    else:
        place[name] = change
    path = dump(document, tmp_path_factory.mktemp("strict") / "results.json")
    if OLD_VALIDATOR.is_valid(document):
        accept_or_contradict(path)
        return
    with pytest.raises(BadInputError) as caught:
        results.load(path)
    assert str(caught.value).startswith(f"{path}: ")


# What no schema can say


@pytest.mark.parametrize(
    ("change", "words"),
    [({"environment": 1}, "was judged in environment 1"), ({"waiver": 9}, "has the waiver 9")],
)
def test_index_that_leads_nowhere_is_refused(
    change: dict[str, int], words: str, tmp_path: Path
) -> None:
    """A cell stands in one of the environments, and under one of the waivers."""
    document = json.loads(small_text())
    document["cells"][0] |= change
    with pytest.raises(BadInputError, match=words):
        results.load(dump(document, tmp_path / "results.json"))


@pytest.mark.slow
def test_waiver_of_what_did_not_fail_is_refused(tmp_path: Path) -> None:
    """Only a waived cell has a waiver."""
    document = json.loads(results.to_json(samples.waived()))
    passed = next(cell for cell in document["cells"] if cell["outcome"] == "passed")
    passed["waiver"] = 0
    with pytest.raises(BadInputError, match="has the waiver 0"):
        results.load(dump(document, tmp_path / "results.json"))


# The verdict on waivers and on runs that ended before their time


@pytest.mark.slow
@pytest.mark.parametrize("state", WaiverState)
def test_faulty_waiver_fails_a_run_that_passes(state: WaiverState) -> None:
    """And no other waiver does."""
    judged = replace(samples.waived().waivers[0], state=state, sentence="the waiver of x is odd")
    cells = [CONTROL, OUTCOMES[Outcome.PASSED]]
    ruling = results.verdict(cells, 2, [judged])
    faulty = state in {WaiverState.EXPIRED, WaiverState.UNUSED, WaiverState.UNKNOWN}
    assert (ruling.verdict is Verdict.FAIL) == faulty
    assert (ruling.exit_status is ExitStatus.NOT_CONFORMANT) == faulty
    assert ("the waiver of x is odd" in ruling.sentence) == faulty


@pytest.mark.parametrize(
    ("outcome", "verdict", "status"),
    [
        (Outcome.PASSED, Verdict.INCOMPLETE, ExitStatus.INTERRUPTED),
        (Outcome.BROKEN, Verdict.INCOMPLETE, ExitStatus.INTERRUPTED),
        (Outcome.CANNOT_TELL, Verdict.INCOMPLETE, ExitStatus.INTERRUPTED),
        (Outcome.FAILED, Verdict.FAIL, ExitStatus.NOT_CONFORMANT),
    ],
)
def test_run_that_ended_before_its_time_never_passes(
    outcome: Outcome, verdict: Verdict, status: ExitStatus
) -> None:
    """Not even with every cell judged; a failure stays one."""
    for planned in (2, 5):
        ruling = results.verdict([CONTROL, OUTCOMES[outcome]], planned, complete=False)
        assert (ruling.verdict, ruling.exit_status) == (verdict, status)
        assert "ended before its time" in ruling.sentence


@given(RUNS)
def test_text_is_what_the_library_would_write(run: results.Run) -> None:
    """Byte for byte, whatever is in it."""
    text = results.to_json(run)
    assert text == json.dumps(json.loads(text), indent=1) + "\n"
