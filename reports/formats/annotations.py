"""Annotations of GitHub Actions: workflow commands that a step prints, one a cause.

A step shows ten of a level, so that the rest is counted in the last one. A run that passed prints
nothing. The runner decodes what its toolkit escapes: data, and more of it in properties.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from probes.text import visible
from reports import results
from reports.formats.alerts import Alert, alerts, undecided
from reports.results import Run, Verdict

MOST: Final = 10
"""How many errors of a step GitHub shows."""

_DATA: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def render(run: Run) -> str:
    """The annotations, one a line; none of a run that passed."""
    return "".join(f"{line}\n" for line in _lines(run))


def _lines(run: Run) -> Iterator[str]:
    ruling = results.summarize(run).ruling
    if ruling.verdict is Verdict.PASS:
        return
    found = [one for one in alerts(run) if not one.is_accepted]
    head = [] if ruling.verdict is Verdict.FAIL and found else [_command(undecided(run), {})]
    yield from head
    room = MOST - len(head)
    shown = found if len(found) <= room else found[: room - 1]
    yield from map(_annotation, shown)
    if left := found[len(shown) :]:
        yield _command(_more(left), {"title": f"syscall-conformance: {len(left):,} more causes"})


def _more(left: Sequence[Alert]) -> str:
    titles = "; ".join(one.title for one in left)
    return f"{len(left):,} more causes are in the reports: {titles}"


def _annotation(one: Alert) -> str:
    told = {"title": f"syscall-conformance: {one.title}", "file": visible(one.spot.path)}
    if (lines := one.spot.lines) is not None:
        told |= {"line": str(lines.first), "endLine": str(max(lines.first, lines.last))}
    return _command(one.message, told)


def _command(message: str, properties: dict[str, str]) -> str:
    told = ",".join(f"{name}={text.translate(_PROPERTY)}" for name, text in properties.items())
    return f"::error{' ' if told else ''}{told}::{message.translate(_DATA)}"
