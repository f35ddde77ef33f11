"""A summary in Markdown, for the step summary of GitHub Actions, merge requests and chats.

GitHub refuses a step summary of more than 1 MiB; this one stays below, and says what it left out.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from probes import deviation
from probes.cell import Gap, GapState, Outcome
from probes.documents.waivers import FAULTS
from probes.text import visible
from reports import controls, results
from reports.causes.grouping import FaultGroup, causes
from reports.causes.headline import banner, headlines
from reports.causes.looks import LOOKS
from reports.causes.mending import mend
from reports.causes.words import Places, short, told
from reports.formats.shared import RECORD, programs, run_by, subjects
from reports.results import ChangeKind, Environment, Run, Verdict, gaps_in_order, time_text
from reports.summary import (
    OUTCOME_WORDS,
    by_reason,
    cells_text,
    coverage,
    gathered,
)

MOST_BYTES: Final = 1024 * 1024
"""The limit of a step summary of GitHub Actions, GITHUB_STEP_SUMMARY."""

_KEPT_BYTES: Final = 4096
"""Room for what stands after the parts that may be cut."""

_MOST_TEXT: Final = 400
"""Characters of one text from outside; more of it is in the record."""

_MOST_LINE: Final = 2000
"""Characters of a first line."""

_MOST_NAMES: Final = 70
"""Names of calls in one row."""

_MOST_ENVIRONMENTS: Final = 20
"""Environments of a record that was put together."""

_GLYPHS: Final = {
    Verdict.PASS: "✅",
    Verdict.FAIL: "❌",
    Verdict.INCOMPLETE: "⚠️",
    Verdict.BROKEN: "⛔",
}
_ACTIVE: Final = re.compile(
    r"(?<=www)\.|:(?=//)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|[^A-Za-z0-9 _.:,;()/'=+\-\u0080-\U0010ffff]",
    re.IGNORECASE,
)
"""What Markdown, as GitHub reads it, or HTML could take for more than text."""


def render(run: Run) -> str:
    """The summary; less than ``MOST_BYTES`` in UTF-8."""
    parts = (
        _head(run),
        _failures(run),
        _identity(run),
        _coverage(run),
        _waivers(run),
        _accepted(run),
        _undecided(run),
        _changes(run),
        _gaps(run),
        _controls(run),
    )
    lines: list[str] = []
    left, cut = MOST_BYTES - _KEPT_BYTES, 0
    for part in parts:
        for line in part:
            left -= len(line.encode()) + 1
            if left < 0:
                cut += 1
            else:
                lines.append(line)
    if cut:
        lines += ["", f"**{cut:,} lines are left out, for a summary may not be longer.**"]
    lines += ["", f"Everything, with the evidence, is in `{RECORD}` and `compliance.html`."]
    return "\n".join(lines) + "\n"


def _head(run: Run) -> Iterator[str]:
    summary = results.summarize(run)
    ruling = summary.ruling
    yield f"## {_GLYPHS[ruling.verdict]} {ruling.verdict}: {escaped(run.policy.title)}"
    yield ""
    for one in headlines(run):
        yield f"{LOOKS[one.kind].sign} {escaped(one.line, most=_MOST_LINE)}"
        yield ""
    yield escaped(banner(run), most=_MOST_LINE)
    yield ""
    yield escaped(ruling.sentence)
    yield from _table(
        ("planned", *OUTCOME_WORDS.values()),
        [(f"{summary.planned:,}", *(f"{summary.counts[one]:,}" for one in OUTCOME_WORDS))],
    )


def _identity(run: Run) -> Iterator[str]:
    yield from _table(
        ("what", ""),
        [
            ("target", escaped(f"{run.target.kind}: {run.target.description}")),
            *(("advice", escaped(words)) for words in run.target.findings),
            *((f"SHA-256 of {escaped(name)}", f"`{digest}`") for name, digest in _digests(run)),
            ("policy", f"{escaped(run.policy.name)} (SHA-256 `{run.policy.sha256}`)"),
            ("profiles", escaped(", ".join(run.profiles))),
            *_environments(run),
            ("run by", escaped(run_by(run) or "nobody knows")),
            ("time", f"{time_text(run.started)} to {time_text(run.finished)}"),
            ("suite", escaped(str(run.suite))),
        ],
    )


def _environments(run: Run) -> Iterator[tuple[str, str]]:
    every = run.environments
    for rank, environment in enumerate(every[:_MOST_ENVIRONMENTS], 1):
        yield from _environment(environment, f" {rank}" if len(every) > 1 else "")
    if len(every) > _MOST_ENVIRONMENTS:
        yield "and more", f"{len(every) - _MOST_ENVIRONMENTS:,} kernels"


def _environment(environment: Environment, which: str) -> Iterator[tuple[str, str]]:
    audit = environment.audit
    yield f"kernel{which}", escaped(f"{environment.kernel} on {environment.machine}")
    yield f"ABIs{which}", escaped(", ".join(environment.arches))
    yield f"audit records{which}", escaped(f"{audit.source} ({audit.reason})")


def _digests(run: Run) -> list[tuple[str, str]]:
    return list(dict.fromkeys((*subjects(run), *programs(run))))


def _coverage(run: Run) -> Iterator[str]:
    places = coverage(run)
    if not places:
        return
    yield from ("", "### Documented calls judged")
    yield from _table(
        ("profile", "ABI", "judged", "undecided", "not applicable"),
        [
            (
                escaped(place.profile),
                escaped(place.arch),
                f"{place.judged:,}",
                f"{place.undecided:,}",
                f"{place.not_applicable:,}",
            )
            for place in places
        ],
    )


def _failures(run: Run) -> Iterator[str]:
    """What does not hold, by cause; what is accepted under a heading of its own."""
    places = Places(run)
    for outcome, groups in gathered(causes(run), lambda group: group.outcome).items():
        count = sum(cell.outcome is outcome for cell in run.cells)
        yield from ("", f"### {OUTCOME_WORDS[outcome].capitalize()}: {cells_text(count)}")
        yield from _table(
            ("kind", "profile", "what", "how to mend"),
            [
                (
                    f"{LOOKS[group.kind].sign} {group.kind}",
                    escaped(group.profile),
                    _what(places, group),
                    escaped(mend(group)),
                )
                for group in groups
            ],
        )


def _what(places: Places, group: FaultGroup) -> str:
    named = places.named(group.fates, _MOST_NAMES)
    what = f"{short(group)}: {named}" if named else short(group)
    return escaped("; ".join((what, *told(group))), most=_MOST_NAMES * 40)


def _accepted(run: Run) -> Iterator[str]:
    if not run.accept:
        return
    yield from ("", "### Accepted of runtimes")
    yield from _table(
        ("name", "where it was met", "what it is"),
        [
            (
                escaped(name),
                cells_text(len(deviation.met_by(run.cells, name))),
                escaped(deviation.ROWS[name].meaning),
            )
            for name in run.accept
        ],
    )


def _waivers(run: Run) -> Iterator[str]:
    if not run.waivers:
        return
    yield from ("", "### Waivers")
    yield from _table(
        ("waiver", "state", "last day", "what came of it"),
        [
            (
                escaped(str(one.waiver)),
                f"**{one.state}**" if one.state in FAULTS else one.state,
                one.waiver.expires.isoformat(),
                escaped(one.sentence),
            )
            for one in run.waivers
        ],
    )


def _changes(run: Run) -> Iterator[str]:
    if run.baseline is None:
        return
    changes = gathered(run.baseline.changes, lambda change: change.kind)
    yield from ("", f"### Since the run of {time_text(run.baseline.started)}")
    if not changes:
        yield from ("", "Nothing has changed.")
        return
    yield from _table(
        ("change", "cells", "the first of them"),
        [
            (kind, f"{len(changes[kind]):,}", escaped(changes[kind][0].sentence))
            for kind in ChangeKind
            if kind in changes
        ],
    )


def _gaps(run: Run) -> Iterator[str]:
    open_ = [gap for gap in gaps_in_order(run.gaps) if gap.state is GapState.OPEN]
    yield from _open_gaps(open_)
    if run.unreviewed:
        yield from ("", "### Gaps of the policy: not known")
        yield ""
        yield (
            "Which other calls give their power is not known for "
            f"{_listed(run.unreviewed)}, so none was looked for."
        )


def _open_gaps(open_: Sequence[Gap]) -> Iterator[str]:
    if not open_:
        return
    yield from ("", "### Gaps of the policy: open ways to the power of a documented call")
    yield from _table(
        ("calls", "not documented, and gets through"),
        [
            (escaped(family), _listed(dict.fromkeys(gap.syscall for gap in members)))
            for family, members in gathered(open_, lambda gap: gap.family).items()
        ],
    )


def _undecided(run: Run) -> Iterator[str]:
    for outcome in (Outcome.BROKEN, Outcome.CANNOT_TELL):
        groups = by_reason(cell for cell in run.cells if cell.outcome is outcome)
        if not groups:
            continue
        count = cells_text(sum(len(group.cells) for group in groups))
        yield from ("", f"### {OUTCOME_WORDS[outcome].capitalize()}: {count}")
        yield from _table(
            ("cells", "why"),
            [(f"{len(group.cells):,}", escaped(group.title)) for group in groups],
        )


def _controls(run: Run) -> Iterator[str]:
    alike = gathered(controls.assess(run), lambda one: (one.state, one.sentence))
    yield from ("", "### Controls")
    yield from _table(
        ("what the claims say", "about", "why"),
        [
            (
                state,
                _listed(f"{one.control.framework} {one.control.id}" for one in members),
                escaped(sentence),
            )
            for (state, sentence), members in alike.items()
        ],
    )


def _listed(words: Iterable[str]) -> str:
    every = list(words)
    more = f" and {len(every) - _MOST_NAMES:,} more" if len(every) > _MOST_NAMES else ""
    return escaped(", ".join(every[:_MOST_NAMES]), most=_MOST_NAMES * 40) + more


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str, most: int = _MOST_TEXT) -> str:
    """A text from outside in which Markdown and HTML see nothing but text.

    Every sign that either could take for markup, and a colon or point that makes an address,
    becomes a character reference; others stay, so that the source can be read, too. Renderers
    look for mail addresses and mentions in the text that comes of it, so a comment stands between
    an at sign and what follows.
    """
    shown = visible(text)
    if len(shown) > most:
        shown = f"{shown[:most]}…"
    return _ACTIVE.sub(_reference, shown)


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};{'<!-- -->' if match[0] == '@' else ''}"
