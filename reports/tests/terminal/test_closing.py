"""The closing lines on the terminal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cell import Outcome
from reports import results
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


@given(RUNS)
def test_trouble_comes_first_and_failures_before_all(run: results.Run) -> None:
    """Each kind of trouble has a line; failures are the first."""
    shown = lines(run)
    starts = {
        Outcome.FAILED: "FAILED ",
        Outcome.BROKEN: "BROKEN ",
        Outcome.CANNOT_TELL: "CANNOT TELL ",
    }
    counts = results.count_outcomes(run.cells)
    present = [start for outcome, start in starts.items() if counts[outcome]]
    for start in present:
        assert any(line.startswith(start) for line in shown)
    if present:
        assert shown[0].startswith(present[0])


@given(RUNS, st.integers(40, 200))
def test_lines_keep_to_the_width(run: results.Run, width: int) -> None:
    """Only the paths of reports, which must stay whole, may be longer."""
    shown = lines(run, width)
    assert all(len(line) <= width for line in shown if not line.startswith("reports in "))


def test_passing_run() -> None:
    """What a good run says."""
    shown = lines(samples.passing())
    assert "kill: x86_64 60 calls, x32 53 (7 not applicable), i386 57 (3 not applicable)" in shown
    assert "planned 4,152: 4,092 passed, 0 failed" in shown[0]
    assert shown[-2].startswith("PASS (exit status 0): ")
    assert shown[-1] == "reports in /tmp/out: results.json, compliance.html"


def test_proofs_are_counted_on_their_own() -> None:
    """A proof makes no call a judged one, and an ABI that only proofs cover has its place."""
    shown = lines(samples.proved(), 120)
    assert "kill: x86_64 60 calls, x32 53 (7 not applicable), i386 57 (3 not applicable)" in shown
    proofs = "x86_64 186 of 186, x32 165 of 165, i386 177 of 177, aarch64 186 of 186, any 3 of 3"
    assert f"proved for all arguments: {proofs}" in shown
    assert not any(line.startswith("proved") for line in lines(samples.passing()))


def test_failures_are_grouped_with_a_sentence() -> None:
    """The same calls on two ABIs are one line, and the first sentence follows."""
    shown = lines(samples.failing())
    assert shown[0] == "FAILED terminates (kill) x86_64, x32: acct, bpf"
    assert shown[1].startswith("  acct (400) on x86_64: expected KILL_PROCESS, but")


def test_a_thousand_failures_read_well() -> None:
    """Where nothing holds, each claim still has its line with the number of its cells."""
    shown = lines(samples.hopeless())
    assert shown[0].startswith("FAILED terminates (kill) on x86_64, x32, i386, 170 cells: ")
    assert shown[0].endswith(" more")
    assert any(line.startswith("FAILED denies (errno)") for line in shown)
    told = sum(
        int(line.split(" cells: ")[0].rpartition(" ")[2])
        for line in shown
        if line.startswith("FAILED ")
    )
    rest = next(line for line in shown if line.startswith("and "))
    assert told + int(rest.split()[1].replace(",", "")) == 1104


@pytest.mark.slow
def test_unprivileged_run_says_what_to_do() -> None:
    """One reason is told once, with its count."""
    shown = lines(samples.unprivileged())
    assert shown[0].startswith("CANNOT TELL 510 cells (is reported, is silent, is recorded):")
    assert "run as root" in shown[1] + shown[2]


def test_gaps_of_the_document_have_a_line() -> None:
    """It counts calls, not places, and names those that are open; without gaps there is none."""
    told = [line for line in lines(samples.compared()) if line.startswith("gaps")]
    assert told == ["gaps of the document: 1 open, 1 unknown, 1 closed: fsopen"]
    assert not any("gaps" in line for line in lines(samples.passing()))
