"""Runs to render in the formats of others: the samples, a container's, and a hostile one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache

from probes.cell import Cause, Cell, CellKey, Claim, Evidence, EvidenceKind, Gap, GapState, Outcome
from reports import results
from reports.results import (
    Baseline,
    CallInfo,
    Change,
    ChangeKind,
    Image,
    Run,
    RuntimeInfo,
    TargetProgram,
)
from reports.results.provenance import Pipeline, RunBy
from reports.tests.support import samples

_KEPT = 20
"""Of the calls that are let alone, as many are enough to render."""

NASTY = (
    "<img src=x onerror=alert(1)>",
    "\u202egnp.exe\u2066",
    "\x1b[31mred\x00\x07",
    "]]>",
    "</script><script>alert(1)</script>",
    "=1+cmd|' /C calc'!A0",
    " @SUM(1)",
    "| a | b |\n|---|---|",
    "`code` **bold** [link](https://evil.example) ![i](https://evil.example/i.png)",
    "https://evil.example/?a=1&b=2 www.evil.example a@evil.example @everyone",
    "a\r\nb\tc\u2028d",
    "\"quoted\", 'single'; &amp; &#x3c;",
    "\ud800\ufffe\uffff\U0010ffff",
    "  blanks  ",
    "",
)
"""What a hostile image, process or waiver may be called."""

SHA = "sha256:" + "0123456789abcdef" * 4


def deployed() -> Run:
    """A container's filter held, in a pipeline, with an earlier run to compare with."""
    whole = trimmed(samples.passing())
    key = whole.cells[0].key
    change = Change(ChangeKind.BETTER, key, Outcome.FAILED, Outcome.PASSED, "it holds now")
    return replace(
        whole,
        target=replace(
            whole.target,
            kind="docker",
            description="a container of example/app:1",
            programs=(TargetProgram("errno", SHA[7:], 120), TargetProgram("errno", SHA[7:], 9)),
            image=Image("example/app:1", SHA),
            runtime=RuntimeInfo("docker", "28.1"),
        ),
        run_by=RunBy(0, "root", "ada", Pipeline("GitHub Actions", "ada", "https://ci.example/1")),
        gaps=(Gap("mounts", "fsopen", "x86_64", 430, "errno", ("mount",), GapState.OPEN, "open"),),
        baseline=Baseline("0" * 64, whole.started - timedelta(days=1), (change,)),
    )


def nasty() -> Run:
    """Every text from outside is hostile."""
    whole = trimmed(samples.waived())
    text = NASTY[0] + "".join(NASTY)
    cells = [
        Cell(
            CellKey(claim, NASTY[rank % 5], name, NASTY[rank % 7], rank, name),
            outcome,
            Cause.FILTER,
            name,
            name,
            text,
            (Evidence(EvidenceKind.RECORDED, name, text),),
        )
        for rank, name in enumerate(NASTY)
        for claim in (Claim.TERMINATES, Claim.IS_PROVED)
        for outcome in (list(Outcome)[rank % 6],)
        if outcome is not Outcome.WAIVED
    ]
    call = CallInfo(text, text, text, text, NASTY, NASTY)
    return replace(
        whole,
        suite=results.Suite(text, text),
        policy=replace(whole.policy, name=text, title=text, calls=(call,), families=NASTY),
        target=replace(
            whole.target,
            kind=text,
            description=text,
            findings=NASTY,
            programs=(TargetProgram(text, SHA[7:], 1),),
            image=Image(text, text),
            runtime=RuntimeInfo(text, text),
        ),
        environments=(
            replace(
                whole.environment,
                kernel=text,
                machine=text,
                audit=results.AuditSource(text, text),
                arches=NASTY,
                host=text,
            ),
        ),
        profiles=NASTY,
        planned=len(cells),
        selected_of=len(cells),
        cells=tuple(cells),
        run_by=RunBy(1, text, text, Pipeline(text, text, text)),
        waivers=tuple(
            replace(one, sentence=text, waiver=replace(one.waiver, call=text, reason=text))
            for one in (*whole.waivers, *samples.expired().waivers)
        ),
        gaps=(Gap(text, text, text, 1, text, NASTY, GapState.OPEN, text),),
        baseline=Baseline(
            "0" * 64,
            whole.started,
            (Change(ChangeKind.WORSE, cells[0].key, None, Outcome.FAILED, text),),
        ),
    )


def trimmed(run: Run) -> Run:
    """The run with less of what it has very much of, all of it alike."""
    kept = tuple(_trimmed(run.cells))
    lost = len(run.cells) - len(kept)
    planned, selected_of = run.planned - lost, run.selected_of - lost
    return replace(run, cells=kept, planned=planned, selected_of=selected_of)


def _trimmed(cells: tuple[Cell, ...]) -> Iterator[Cell]:
    for cell in cells:
        alike = cell.key.claim is Claim.LEAVES_THE_REST_ALONE and cell.outcome is Outcome.PASSED
        if not alike or int(cell.key.syscall.removeprefix("call")) < _KEPT:
            yield cell


NAMES = (
    "passing",
    "failing",
    "unprivileged",
    "broken",
    "interrupted",
    "waived",
    "expired",
    "merged",
    "compared",
    "empty",
    "deployed",
    "nasty",
)


@cache
def runs() -> dict[str, Run]:
    """Every run by its name."""
    made = {"deployed": deployed(), "nasty": nasty()}
    return {name: made[name] if name in made else trimmed(_SAMPLES[name]()) for name in NAMES}


_SAMPLES = {
    "passing": samples.passing,
    "failing": samples.failing,
    "unprivileged": samples.unprivileged,
    "broken": samples.broken,
    "interrupted": samples.interrupted,
    "waived": samples.waived,
    "expired": samples.expired,
    "merged": samples.merged,
    "compared": samples.compared,
    "empty": samples.empty,
}
