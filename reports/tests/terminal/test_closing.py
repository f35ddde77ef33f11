"""The closing lines on the terminal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from probes.cell import Claim, Outcome
from probes.judging import kinds
from reports import reproduce, results
from reports.causes import headline
from reports.causes.grouping import causes
from reports.causes.looks import LOOKS
from reports.terminal import closing
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS, TEXTS

WRITTEN = [Path("/tmp/out/results.json"), Path("/tmp/out/compliance.html")]  # noqa: S108 - never opened


def lines(run: results.Run, width: int = 100) -> list[str]:
    """The closing lines of a run."""
    return closing.lines(run, WRITTEN, width)


@given(RUNS, st.lists(TEXTS.map(lambda text: Path("/x") / text.replace("\0", "")), max_size=9))
def test_never_more_than_twenty_lines(run: results.Run, written: list[Path]) -> None:
    """Whatever happened, the summary fits on a small screen, and nothing in it acts on it."""
    for width in (1, 80, 200):
        shown = closing.lines(run, written, width)
        assert len(shown) <= 20
        assert all(line and line.isprintable() for line in shown)


@given(RUNS)
def test_verdict_and_counts_are_always_there(run: results.Run) -> None:
    """However much there is to say about failures, they do not crowd out the verdict."""
    text = "\n".join(lines(run, 100_000))
    ruling = results.summarize(run).ruling
    assert f"{ruling.verdict} (exit status {ruling.exit_status.value})" in text
    assert f"planned {run.planned:,}: " in text
    assert str(WRITTEN[0].parent) in text


STARTS = {
    Outcome.FAILED: tuple(
        f"{LOOKS[kind].sign} {kind.value.upper()} (" for kind in sorted(kinds.FAULTS)
    ),
    Outcome.BROKEN: ("BROKEN ",),
    Outcome.CANNOT_TELL: ("CANNOT TELL ",),
}


@given(RUNS)
def test_what_holds_comes_first_and_every_kind_of_trouble_has_a_line(run: results.Run) -> None:
    """Target and kernel, then the first line, then failures, broken cells, open questions."""
    # The verdict, near the end, may be BROKEN as well.
    shown = [line for line in lines(run, 100_000) if " (exit status " not in line]
    first, *_ = headline.headlines(run)
    assert shown[0] == headline.banner(run)
    assert shown[1][:40] == f"{LOOKS[first.kind].sign} {first.line}"[:40]
    told = [cell for cell in run.cells if cell.key.claim is not Claim.CONTROLS]
    counts = results.count_outcomes(run.cells)
    present = [one for one in STARTS if counts[one]]
    if not any(cell.outcome is Outcome.FAILED for cell in told):
        present = [one for one in present if one is not Outcome.FAILED]
    found = [n for one in present for n, line in enumerate(shown) if line.startswith(STARTS[one])]
    assert found == sorted(found)
    for one in present:
        assert any(line.startswith(STARTS[one]) for line in shown)


@given(RUNS, st.integers(40, 200))
def test_lines_keep_to_the_width(run: results.Run, width: int) -> None:
    """Only the paths of reports, which must stay whole, may take more columns."""
    shown = lines(run, width)
    long = ("reports in ", "  again: ")
    assert all(cell_len(line) <= width for line in shown if not line.startswith(long))


def test_passing_run() -> None:
    """What a good run says."""
    assert lines(samples.passing(), 120) == [
        "the suite's own filter, and no platform; profiles kill, errno, log; Linux 6.12.0, x86_64",
        "✓ kill: 60 of 60 documented calls are refused as documented (x86_64, x32, i386)",
        "✓ errno: 60 of 60 documented calls are refused as documented (x86_64, x32, i386)",
        "✓ log: 60 of 60 documented calls run and are recorded (x86_64, x32, i386)",
        "planned 4,152: 4,092 passed, 60 not applicable",
        "audit records: netlink (a record made on purpose arrived)",
        f"PASS (exit status 0): {results.summarize(samples.passing()).ruling.sentence}",
        "reports in /tmp/out: results.json, compliance.html",
    ]


def test_failures_are_grouped_by_cause_and_mended() -> None:
    """The same calls on two ABIs are one line; how to mend and to repeat it follows."""
    again = reproduce.again(Path("/"), ["--profile=kill"], "out")
    shown = closing.lines(samples.failing(), WRITTEN, 120, again=again)
    at = shown.index("✗ GETS THROUGH (kill): 2 calls: acct, bpf (x86_64, x32)")
    assert shown[at + 1].startswith("  mend: Take them out of the rules that allow them; ")
    assert shown[at + 3] == (
        "  again: syscall-conformance run 'cases/test_kill.py::test_terminates[x86_64-acct]'"
        " --profile=kill --report-dir=out/again"
    )
    assert sum("acct" in line for line in shown if line.startswith("✗ GETS THROUGH (kill)")) == 1


def test_a_thousand_failures_read_well() -> None:
    """Where nothing holds, each profile has its line, and what is not shown is counted."""
    shown = lines(samples.hopeless())
    for profile in ("kill", "errno", "log"):
        assert any(line.startswith(f"✗ GETS THROUGH ({profile}): 60 calls") for line in shown)
    assert shown[1].startswith("✗ kill: none of 60 documented calls is refused, all 60 get through")


def test_everything_is_said_if_asked_for() -> None:
    """Every call by its name, every cause with its command, and no line cut short."""
    again = reproduce.again(Path("/"), [], "out")
    for run in (samples.hopeless(), samples.failing(), samples.unprivileged()):
        whole = closing.lines(run, WRITTEN, 100, again=again, verbose=True)
        groups = [one for one in causes(run) if one.outcome is Outcome.FAILED]
        assert sum(line.startswith("  again: ") for line in whole) == len(groups)
        text = " ".join(line.strip() for line in whole)
        assert not any(line.endswith("…") for line in whole)
        assert all(name in text for group in groups for name in group.names if group.arches)
    assert len(closing.lines(samples.hopeless(), WRITTEN, 100, verbose=True)) > closing.MOST_LINES


@pytest.mark.slow
def test_unprivileged_run_says_what_to_do() -> None:
    """One reason is told once, with its count."""
    shown = lines(samples.unprivileged())
    at = next(n for n, line in enumerate(shown) if line.startswith("CANNOT TELL "))
    assert shown[at] == "CANNOT TELL 510 cells (is reported, is silent, is recorded):"
    assert "run as root" in shown[at + 1] + shown[at + 2]


def test_gaps_of_the_document_have_a_line() -> None:
    """It counts calls, not places, and names those that are open; without gaps there is none."""
    told = [line for line in lines(samples.compared()) if line.startswith("gaps")]
    assert told == ["gaps of the document: 1 open, 1 unknown, 1 closed: fsopen"]
    assert not any("gaps" in line for line in lines(samples.passing()))
