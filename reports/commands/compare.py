"""``syscall-conformance compare``: what two records say differently."""

import argparse
from pathlib import Path

from probes.cell import Outcome
from probes.errors import ExitStatus
from probes.judging.claims import About, is_about
from probes.text import visible
from reports import results
from reports.commands.answer import Answer, Subparsers, add_command, text, width
from reports.results import DECIDED, Change, ChangeKind, Run
from reports.summary import OUTCOME_WORDS
from reports.terminal.lines import wrapped

_COMPARE = """\
Compares two records of runs, each a results.json or the journal of a run that was killed: what got
worse, got better, appeared and vanished. Cells are the same that have the same claim, profile,
ABI, call and variant.

Worse is what a gate would let pass less readily: a failure, then what could not be told, then what
is waived. Better is only what holds now. A failure that appeared counts as worse, and so does a
part of the target that was not judged (is all judged).

exit status:
  0  nothing is worse
  1  something is worse
  3  the command itself failed
  4  a file is not what it must be; one sentence says which and why
  6  nothing is worse, but NEW is not complete, or lacks cells that OLD has decided"""

_HEADINGS = {
    ChangeKind.WORSE: "worse",
    ChangeKind.BETTER: "better",
    ChangeKind.OTHER: "neither better nor worse",
    ChangeKind.APPEARED: "appeared",
    ChangeKind.VANISHED: "vanished",
}
_NONE = "-"


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "compare", _compare, words="compare two results.json", description=_COMPARE
    )
    one.add_argument("old", metavar="OLD", type=Path)
    one.add_argument("new", metavar="NEW", type=Path)


def _compare(options: argparse.Namespace) -> Answer:
    old, new = results.load(options.old), results.load(options.new)
    found = results.changes(old, new)
    notes = [results.superseded(path) for path in (options.old, options.new)]
    return Answer(
        _status(found, new),
        text(_lines(old, new, found)),
        (*filter(None, notes), *_unlike(old, new)),
    )


def _status(found: tuple[Change, ...], new: Run) -> ExitStatus:
    if any(_is_worse(change) for change in found):
        return ExitStatus.NOT_CONFORMANT
    lost = any(change.kind is ChangeKind.VANISHED and change.before in DECIDED for change in found)
    return ExitStatus.CANNOT_TELL if lost or not new.complete else ExitStatus.CONFORMANT


def _is_worse(change: Change) -> bool:
    if change.kind is not ChangeKind.APPEARED:
        return change.kind is ChangeKind.WORSE
    # A cell about a part that nobody judged is there only where there is such a part.
    return change.after is Outcome.FAILED or is_about(change.key, About.FINDING)


def _unlike(old: Run, new: Run) -> list[str]:
    """Why the two records may not be comparable."""
    pairs = {
        "policies": (old.policy.sha256, new.policy.sha256),
        "targets": (_target(old), _target(new)),
        "kernels": (_kernels(old), _kernels(new)),
    }
    return [
        f"the {what} differ: {visible(before)} and {visible(after)}"
        for what, (before, after) in pairs.items()
        if before != after
    ]


def _target(run: Run) -> str:
    return f"{run.target.kind} {run.target.description}"


def _kernels(run: Run) -> str:
    return ", ".join(f"{one.machine} {one.kernel}" for one in run.environments)


def _lines(old: Run, new: Run, found: tuple[Change, ...]) -> list[str]:
    counts = results.count_kinds(found)
    lines = [
        _headline("old", old),
        _headline("new", new),
        ", ".join(f"{counts[kind]:,} {word}" for kind, word in _HEADINGS.items()),
    ]
    for kind, heading in _HEADINGS.items():
        group = [change for change in found if change.kind is kind]
        if group:
            lines += ["", f"{heading}:", *_table(group, sentences=kind is ChangeKind.WORSE)]
    return lines


def _headline(name: str, run: Run) -> str:
    ruling = results.summarize(run).ruling
    said = f"{results.time_text(run.started)} {ruling.verdict}: {ruling.sentence}"
    return visible(f"{name}: {said}")


def _table(group: list[Change], *, sentences: bool) -> list[str]:
    """A table with a line for each change, and under it the sentence where that is wanted."""
    rows = [
        tuple(
            map(
                visible,
                (
                    change.key.claim,
                    change.key.profile,
                    change.key.arch,
                    _call(change),
                    f"{_word(change.before)} -> {_word(change.after)}",
                ),
            )
        )
        for change in group
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for change, row in zip(group, rows, strict=True):
        cells = (cell.ljust(wide) for cell, wide in zip(row, widths, strict=True))
        lines.append(f"  {'  '.join(cells)}".rstrip())
        if sentences:
            lines += wrapped(change.sentence, width(), indent="      ")
    return lines


def _call(change: Change) -> str:
    number = "" if change.key.number is None else f" ({change.key.number})"
    which = f", {change.key.which}" if change.key.which else ""
    return f"{change.key.syscall}{number}{which}"


def _word(outcome: Outcome | None) -> str:
    return _NONE if outcome is None else OUTCOME_WORDS[outcome]
