"""The gate: what it says, what it exits with, and that what it says can be done again."""

import fcntl
import io
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents import policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY
from probes.finding import Finding, Weight
from probes.judging import plan
from probes.tests.support.emitter import sharing_records, wait_for
from probes.tests.support.machine import need
from reports import reproduce, results
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest
from reports.reproduce import Again
from reports.results import Run
from reports.terminal import agreement, gate_lines
from reports.tests.support import samples
from reports.tests.support.job import CHECKOUT, PATIENCE_SECONDS, environment, run_command

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
NAME = "conformance-gate"

starts_containers = pytest.mark.containers(machine="x86_64")


# The commands that look at a cell again.


def planned() -> Iterator[plan.Case]:
    profiles = tuple(Profile)
    first = plan.plan(SHIPPED, profiles, X86, X86, X86)
    yield from first
    yield from plan.of_stack(first, 1)
    yield from plan.executed(SHIPPED, profiles, X86)
    yield from plan.all_judged(profiles, X86[0], [Finding("a sentence", Weight.LIMITS, "a thing")])


def test_every_cell_leads_to_the_test_that_judges_it() -> None:
    wrong = [
        (key, reproduce.test_of(key))
        for case in planned()
        for key in case.cells
        if reproduce.test_of(key).partition("::")[2] != f"{case.function}[{case.id}]"
    ]
    assert wrong == []
    assert {case.claim for case in planned()} == set(Claim)


def test_the_tests_stand_where_it_is_said() -> None:
    for case in planned():
        module, _, test = reproduce.test_of(case.cells[0]).partition("::")
        function = test.partition("[")[0]
        assert f"def {function}(" in (CHECKOUT / "cases" / module).read_text(encoding="utf-8")


def test_a_command_is_one_line_of_a_shell() -> None:
    key = CellKey(Claim.DENIES, "errno", "x86_64", "acct", 163)
    options = ["--target=docker:a b", "--profile=errno"]
    told = [
        "cases/test_errno.py::test_denies[x86_64-acct]",
        *options,
        "--report-dir=my reports/again",
    ]
    here = reproduce.again(CHECKOUT, options, "my reports")
    assert shlex.split(here.command(key)) == ["pytest", *told]
    elsewhere = reproduce.again(Path("/"), options, "my reports")
    assert shlex.split(elsewhere.command(key)) == ["syscall-conformance", "run", *told]


# What is said of a run.


AGAIN = Again(("pytest",), ("--profile=kill",), "out")


def failed(count: int) -> list[Cell]:
    numbers = sorted(X86[0].numbers.items())[:count]
    plain = Cell(
        CellKey(Claim.TERMINATES, "kill", "", "", None), Outcome.FAILED, None, "s", "e", "o"
    )
    through = replace(plain, returned=FilterReturn(Action.ALLOW))
    return [
        replace(through, key=CellKey(claim, "kill", abi.name, name, number))
        for claim in (Claim.TERMINATES, Claim.IS_REPORTED, Claim.IS_PROVED)
        for abi in X86
        for name, number in numbers[: count - X86.index(abi)]
    ]


def test_failures_come_first_and_all_fits() -> None:
    many = samples.run((*samples.controls(), *failed(30)))

    said = gate_lines.lines(many, [Path("out/results.json")], AGAIN)

    assert len(said) <= gate_lines.MOST_LINES
    assert said[0].startswith("FAIL: ✗ kill: none of 30 documented calls is refused, ")
    assert said[1].startswith("✗ GETS THROUGH (kill): 30 calls: ")
    assert said[2].startswith("  mend: Take them out of the rules that allow them; ")
    assert said[3].startswith("  again: pytest 'cases/test_kill.py::test_terminates[x86_64-")
    assert said[3].endswith(" --profile=kill --report-dir=out/again")
    assert said[-1] == "reports in out: results.json"
    assert said[-2].startswith("FAIL (exit status 1): ")


def test_what_does_not_fit_is_counted_and_told_if_asked_for() -> None:
    """One cause a call: more than there is room for."""
    errnos = [
        replace(one, returned=FilterReturn(Action.ERRNO, number))
        for number, one in enumerate(failed(30))
    ]
    run = samples.run(errnos)
    said = gate_lines.lines(run, [], AGAIN)
    assert len(said) <= gate_lines.MOST_LINES
    assert sum(line.startswith("≠ REFUSED OTHERWISE (kill): ") for line in said) == 12
    (rest,) = [line for line in said if line.startswith("and ")]
    assert rest.endswith(" more groups: see the report, or -v")
    whole = gate_lines.lines(run, [], AGAIN, verbose=True)
    assert sum(line.startswith("≠ REFUSED OTHERWISE (kill): ") for line in whole) > 30
    assert sum(line.startswith("  again: ") for line in whole) > 30
    assert not any("more" in line for line in whole)


def test_abis_with_the_same_calls_stand_together() -> None:
    keys = [CellKey(Claim.DENIES, "errno", abi.name, "acct", 1) for abi in X86]
    cells = tuple(Cell(key, Outcome.FAILED, None, "s", "e", "o") for key in keys)
    said = gate_lines.lines(samples.run(cells), [], AGAIN)
    arches = ", ".join(abi.name for abi in X86)
    assert f"≠ REFUSED OTHERWISE (errno): 1 call by another answer: acct ({arches})" in said
    assert sum(line.startswith("  again: pytest ") for line in said) == 1


@pytest.mark.parametrize("status", sorted(set(ExitStatus) - {ExitStatus.CONFORMANT}))
def test_no_other_status_is_printed_than_the_one_that_is_returned(status: ExitStatus) -> None:
    again = AGAIN
    run = samples.passing()
    said = gate_lines.lines(run, [], again, ["from inside: 1 differs"], status)
    assert said[0].startswith("from outside alone PASS: ✓ ")
    assert said[-1] == f"exit status of the gate: {status.value}"
    assert said[-2].startswith("from outside alone: PASS (exit status 0): ")
    alike = gate_lines.lines(run, [], again, [], ExitStatus.CONFORMANT)
    assert alike[0].startswith("PASS: ✓ ")
    assert alike[-1].startswith("PASS (exit status 0): ")


# The command itself, on bwrap, which needs no daemon.


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with nothing in it at all."""
    need("bwrap")
    return tmp_path_factory.mktemp("empty")


def exported(folder: Path, profile: Profile, arches: Sequence[abis.Arch] = X86) -> Path:
    made = allowlist.export(ExportRequest(SHIPPED, profile, tuple(arches)), ExportFormat.BPF)
    assert isinstance(made, bytes)
    path = folder / "program.bpf"
    path.write_bytes(made)
    return path


def words(root: Path, folder: Path, *options: str) -> list[str]:
    """The command; without a worker, which doubles its time, unless an option asks for one."""
    script = Path(sys.executable).parent / "syscall-conformance"
    return [
        *(str(script), "gate", str(root), "--runtime=bwrap", "--arch=x86_64", "-n", "0"),
        *(f"--report-dir={folder / 'reports'}", *options),
    ]


def gated(root: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    with sharing_records():
        return run_command(words(root, folder, *options))


@starts_containers
def test_a_sandbox_that_holds(root: Path, tmp_path: Path) -> None:
    program = exported(tmp_path, Profile.KILL)

    ended = gated(root, tmp_path, "--profile=kill", f"--seccomp={program}", "-n", "1")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    holds, first, second, third = ended.stdout.splitlines()
    assert holds == "PASS: ✓ 60 of 60 documented calls are refused as documented (x86_64)"
    assert first.startswith(f"bwrap container of {root} with program.bpf (bwrap ")
    assert "; profile kill; Linux " in first
    assert second.startswith("PASS (exit status 0): ")
    assert third.startswith(f"reports in {tmp_path}/reports: compliance.html, ")
    told = ended.stderr.splitlines()
    assert len(told) + 4 <= 20
    assert told[0] == f"judging bwrap:{root}, profile kill"
    record = json.loads((tmp_path / "reports/results.json").read_text())
    assert record["summary"]["verdict"] == "PASS"
    assert record["target"]["runtime"]["name"] == "bwrap"


@starts_containers
def test_a_sandbox_that_does_not_hold(root: Path, tmp_path: Path) -> None:
    """The first command that it gives fails as it said, and for a call that holds it would not."""
    program = exported(tmp_path, Profile.ERRNO)

    ended = gated(root, tmp_path, "--profile=kill", f"--seccomp={program}")

    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert len(lines) <= gate_lines.MOST_LINES
    assert lines[0].startswith(
        "FAIL: ≠ 60 of 60 documented calls are refused, but by EPERM instead of KILL_PROCESS"
    )
    assert lines[1].startswith("≠ REFUSED OTHERWISE (kill): 60 calls by EPERM instead of KILL_")
    assert lines[2].startswith('  mend: Write "action": "SCMP_ACT_KILL_PROCESS" where ')
    typed = lines[3].removeprefix("  again: ")
    assert typed.startswith("pytest 'cases/test_kill.py::test_terminates[x86_64-_sysctl]' ")
    assert typed.endswith(f" --report-dir={tmp_path / 'reports'}/again")
    before = (tmp_path / "reports/results.json").read_bytes()
    again = [sys.executable, "-m", *shlex.split(typed)]
    with sharing_records():
        repeated = subprocess.run(
            again, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=False
        )
    assert repeated.returncode == 1
    assert "_sysctl (156) on x86_64: expected KILL_PROCESS, but the filter" in repeated.stdout
    assert (tmp_path / "reports/results.json").read_bytes() == before
    assert (tmp_path / "reports/again/results.json").exists()


@starts_containers
def test_a_sandbox_without_a_filter_does_not_hold(root: Path, tmp_path: Path) -> None:
    ended = gated(root, tmp_path, "--profile=errno")
    assert ended.returncode == 1
    assert "its first process has no seccomp filter at all" in ended.stdout
    assert ended.stdout.splitlines()[0] == (
        "FAIL: ✗ none of 60 documented calls is refused, all 60 get through (x86_64); "
        "numbers that no table knows get through (x86_64); calls of every other architecture get"
        " through"
    )


@starts_containers
def test_what_cannot_be_asked_is_refused(root: Path, tmp_path: Path) -> None:
    ended = gated(root, tmp_path, "--profile=kill", "--seccomp=/no/such/file")
    assert ended.returncode == 4
    assert ended.stdout == ""
    *_, last = ended.stderr.splitlines()
    assert last.startswith("syscall-conformance gate: --target: /no/such/file: a raw BPF program")
    assert not (tmp_path / "reports").exists()


def test_an_odd_name_stays_on_its_line(tmp_path: Path) -> None:
    ended = gated(tmp_path / "a\nb", tmp_path, "--profile=kill")
    assert ended.returncode == 4
    first, last = ended.stderr.splitlines()
    assert first == f"judging bwrap:{tmp_path}/a\\u000ab, profile kill"
    assert last.startswith("syscall-conformance gate: --target: ")


@starts_containers
def test_it_can_be_interrupted(root: Path, tmp_path: Path) -> None:
    """By Ctrl-C; SIGTERM is in test_interruption.py."""
    program = exported(tmp_path, Profile.KILL)
    with sharing_records():
        process = subprocess.Popen(
            words(root, tmp_path, "--profile=kill", f"--seccomp={program}"),
            cwd=CHECKOUT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for((tmp_path / "reports").is_dir, "the run does not start", 60)
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert said == ""
    assert told.splitlines()[-1] == "syscall-conformance interrupted"


@starts_containers
def test_progress_on_a_terminal(root: Path, tmp_path: Path) -> None:
    """One line that changes and is gone at the end."""
    program = exported(tmp_path, Profile.KILL)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with sharing_records(), os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            words(root, tmp_path, "--profile=kill", f"--seccomp={program}"),
            cwd=CHECKOUT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        seen = b"".join(_until_closed(terminal))
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
    shown = [re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", b"", one) for one in seen.split(b"\x1b[2K")]
    # How many lines there are depends on the machine's speed; what each may be does not.
    *progress, last = shown
    assert last == b""
    assert all(line.startswith(b"judging bwrap:") for line in progress if line)
    percents = [int(found[1]) for line in progress if (found := re.search(rb"(\d+)%$", line))]
    assert len(set(percents)) > 1
    assert percents == sorted(percents)


def _until_closed(terminal: io.RawIOBase) -> Iterator[bytes]:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            read = terminal.read(4096)
        except OSError:  # EIO: the other side is closed
            return
        if not read:
            return
        yield read


# Outside and inside side by side.


def cell(outcome: Outcome, claim: Claim = Claim.DENIES) -> Cell:
    key = CellKey(claim, "errno", "x86_64", "acct", 163)
    return Cell(key, outcome, None, f"it {outcome}", "e", "o")


@pytest.mark.parametrize(
    ("outside", "inside", "counts"),
    [
        (cell(Outcome.PASSED), cell(Outcome.PASSED), (1, 0, 0)),
        (cell(Outcome.FAILED), cell(Outcome.FAILED), (1, 0, 0)),
        (cell(Outcome.WAIVED), cell(Outcome.FAILED), (1, 0, 0)),
        (cell(Outcome.PASSED), cell(Outcome.FAILED), (0, 1, 0)),
        (cell(Outcome.FAILED), cell(Outcome.PASSED), (0, 1, 0)),
        (cell(Outcome.WAIVED), cell(Outcome.PASSED), (0, 1, 0)),
        (cell(Outcome.PASSED), cell(Outcome.CANNOT_TELL), (0, 0, 1)),
        (cell(Outcome.PASSED), None, (0, 0, 1)),
        (cell(Outcome.CANNOT_TELL), cell(Outcome.PASSED), (0, 0, 0)),
        (cell(Outcome.PASSED, Claim.IS_PROVED), cell(Outcome.FAILED, Claim.IS_PROVED), (0, 0, 0)),
        (
            replace(cell(Outcome.FAILED, Claim.LEAVES_THE_REST_ALONE), by_program=True),
            cell(Outcome.PASSED, Claim.LEAVES_THE_REST_ALONE),
            (0, 0, 0),
        ),
        (
            cell(Outcome.FAILED, Claim.LEAVES_THE_REST_ALONE),
            cell(Outcome.PASSED, Claim.LEAVES_THE_REST_ALONE),
            (0, 1, 0),
        ),
    ],
)
def test_how_two_verdicts_agree(
    outside: Cell, inside: Cell | None, counts: tuple[int, int, int]
) -> None:
    found = agreement.compare(
        samples.run([outside]), samples.run([] if inside is None else [inside])
    )
    assert (found.agreed, len(found.differing), found.only_outside) == counts
    said = agreement.lines(found, most=3)
    assert len(said) == 1 + counts[1]
    assert said[-1].endswith("(exit status 7)") == bool(counts[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inside", "outside", "status"),
    [
        (samples.unprivileged(), ExitStatus.CONFORMANT, ExitStatus.CONFORMANT),
        (samples.run([cell(Outcome.CANNOT_TELL)]), ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL),
        (samples.run([]), ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL),
        (samples.broken(), ExitStatus.CONFORMANT, ExitStatus.BROKEN),
        (samples.broken(), ExitStatus.CANNOT_TELL, ExitStatus.BROKEN),
        (samples.broken(), ExitStatus.NOT_CONFORMANT, ExitStatus.NOT_CONFORMANT),
    ],
)
def test_silence_from_inside_is_no_agreement(
    inside: Run, outside: ExitStatus, status: ExitStatus
) -> None:
    found = agreement.compare(samples.passing(), inside)
    theirs = results.summarize(inside).ruling.exit_status
    assert not found.differing
    if agreement.both_decided(found, theirs):
        assert status is outside
    else:
        assert agreement.together(outside, theirs) is status


@starts_containers
def test_both_ways_in_one_command(root: Path, tmp_path: Path) -> None:
    """By this machine's own Python, which is mounted where there is nothing."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs /usr/bin/python3")
    program = exported(tmp_path, Profile.ERRNO)
    options = ("--profile=errno", f"--seccomp={program}", "--probe-python=/")

    ended = gated(root, tmp_path, *options)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    first, second, *_ = ended.stdout.splitlines()
    assert first.startswith("PASS: ✓ 60 of 60 ")
    found = re.fullmatch(r"from inside: (\d+) verdicts agree, 0 differ, \d+ cannot .*", second)
    assert found
    assert int(found[1]) > 350
    inside = json.loads((tmp_path / "reports/inside/results.json").read_text())
    assert inside["target"]["kind"] == "ambient"


@starts_containers
def test_inside_without_a_python(root: Path, tmp_path: Path) -> None:
    program = exported(tmp_path, Profile.ERRNO)
    ended = gated(root, tmp_path, "--profile=errno", f"--seccomp={program}", "--inside")
    assert ended.returncode == 4
    first, second, *_ = ended.stdout.splitlines()
    assert first.startswith("from outside alone PASS: ✓ 60 of 60 ")
    assert second.startswith("from inside: not judged: to judge from inside takes python3 in the")
    assert "mount one (--probe-python)" in second
    outside, status = ended.stdout.splitlines()[-3:-1]
    assert outside.startswith("from outside alone: PASS (exit status 0): ")
    assert status == "exit status of the gate: 4"


@starts_containers
def test_waivers_are_handed_on(root: Path, tmp_path: Path) -> None:
    """An unknown file is refused by the one who reads it."""
    ended = gated(root, tmp_path, "--profile=errno", "--waivers=/no/such/file")
    assert ended.returncode == 4
    assert "--waivers: /no/such/file" in ended.stderr
