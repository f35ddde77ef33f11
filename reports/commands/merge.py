"""``syscall-conformance merge``: a fleet from the records of its nodes."""

import argparse
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from probes.cell import Outcome
from probes.errors import BadInputError
from probes.judging import claims
from probes.text import shown, visible
from reports import results, summary
from reports.commands.answer import Answer, Subparsers, add_command, text, width
from reports.formats.shared import RECORD
from reports.html import fleet_page
from reports.results import Verdict
from reports.results import fleet as fleets
from reports.results.fleet import Difference, Fleet, FleetNode
from reports.summary import OUTCOME_WORDS
from reports.terminal.lines import name_line, wrapped

_MERGE = """\
Puts records of many machines together: what each claim came to on how many nodes, and which nodes
differ from the majority and how.

A file is a results.json, the journal of a run that was killed, or what this command has written
before. The order of the files does not matter, and one that is given twice counts once. Each
environment of a record is a node. OUT is JSON: every cell with its counts, every node with its
outcomes, a letter a cell.

With --record OUT is one results.json instead, in which each environment has its cells, such as
those of several kernels: reports show them side by side. All must be of one policy, one sort of
target and one version of the suite.

--expect names the machines that must be there, lest one is overlooked that left no record.

exit status: that of the worst node, for what failed 1, for what is broken 7, for what could not be
told 6; then 5 and 2, which is also that of a good fleet that lacks an expected machine, or has the
record of an earlier run where a later one has not come to its end. It is 4 where a file is not what
it must be: then nothing is written."""

_MOST_NODES = 20
_MOST_GROUPS = 5


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands, "merge", _merge, words="put results.json of a fleet together", description=_MERGE
    )
    one.add_argument("files", metavar="FILE", nargs="+", type=Path)
    one.add_argument("-o", dest="out", required=True, metavar="OUT", type=Path)
    one.add_argument(
        "--expect",
        metavar="NAMES",
        help="the machines of which there must be records, comma-separated",
    )
    forms = one.add_mutually_exclusive_group()
    forms.add_argument(
        "--record", action="store_true", help="make one results.json of all, and no fleet"
    )
    forms.add_argument(
        "--html", metavar="PAGE", type=Path, help="write a page of the fleet as well"
    )


def _merge(options: argparse.Namespace) -> Answer:
    expected = _expected(options.expect)
    _check_page(options.html, [options.out, *options.files])
    stale = _stale(options.files)
    if options.record:
        return _merge_records(options.files, options.out, expected, stale)
    fleet = fleets.gather(options.files)
    absent = _absent(expected, {node.name for node, _ in fleet.nodes})
    results.write_text(fleets.to_json(fleet), options.out)
    if options.html is not None:
        results.write_text(fleet_page.render(fleet, absent), options.html)
    status = fleets.with_absent(fleet.status, [*absent, *stale])
    notes = (*_absence(absent, expected), *stale, *_notes(fleet))
    return Answer(status, text(_lines(fleet)), notes)


def _expected(names: str | None) -> tuple[str, ...]:
    """The machines of which there must be records.

    Raises:
        BadInputError: a name is empty, as where a list was to be made and nothing came of it.
    """
    if names is None:
        return ()
    expected = tuple(dict.fromkeys(names.split(",")))
    if "" in expected:
        raise BadInputError(
            f"--expect {shown(names)!r}: a name is empty: give the machines' names with commas"
            " between"
        )
    return expected


def _check_page(page: Path | None, records: Iterable[Path]) -> None:
    """Refuses a page in the place of a record, which would be lost.

    Raises:
        BadInputError: it is one.
    """
    if page is not None and page.resolve() in {one.resolve() for one in records}:
        raise BadInputError(f"--html {shown(page)}: a record stands there: name another file")


def _stale(files: Iterable[Path]) -> tuple[str, ...]:
    """Sentences on records that lie where runs put them, beside what a later run has left."""
    in_place = [one for one in files if one.name == RECORD]
    return tuple(filter(None, map(results.superseded, in_place)))


def _absent(expected: Sequence[str], there: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in expected if name not in there)


def _absence(absent: Sequence[str], expected: Sequence[str]) -> tuple[str, ...]:
    """The note on machines without a record, if there are any."""
    if not absent:
        return ()
    named = ", ".join(map(visible, absent[:_MOST_NODES]))
    more = f" and {len(absent) - _MOST_NODES:,} more" if len(absent) > _MOST_NODES else ""
    return (f"no record of {len(absent):,} of {len(expected):,} machines: {named}{more}",)


def _merge_records(
    files: Sequence[Path], out: Path, expected: Sequence[str], stale: Sequence[str]
) -> Answer:
    run = results.join([results.load(path) for path in files])
    results.write(run, out)
    absent = _absent(expected, {one.host for one in run.environments if one.host})
    ruling = results.summarize(run).ruling
    kernels = [f"  {one.host or '-'}: {one.machine} {one.kernel}" for one in run.environments]
    lines = [f"{ruling.verdict}: {ruling.sentence}", *kernels]
    status = fleets.with_absent(ruling.exit_status, [*absent, *stale])
    notes = (*_absence(absent, expected), *stale)
    return Answer(status, text([visible(line) for line in lines]), notes)


def _notes(fleet: Fleet) -> tuple[str, ...]:
    notes = []
    policies = {node.policy for node, _ in fleet.nodes}
    if len(policies) > 1:
        notes.append(f"the nodes were judged by {len(policies)} different policies")
    names = Counter(node.name for node, _ in fleet.nodes)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        notes.append(
            f"{len(twice)} names stand for several nodes or runs, such as {visible(twice[0])}"
        )
    return tuple(notes)


def _lines(fleet: Fleet) -> list[str]:
    differing = list(fleet.differing())
    verdicts = Counter(node.verdict for node, _ in fleet.nodes)
    told = ", ".join(f"{verdicts[one]:,} {one}" for one in Verdict if verdicts[one])
    lines = [
        f"{len(fleet.nodes):,} nodes, {len(fleet.cells):,} cells: {told}",
        f"{len(differing):,} of them differ from the majority",
        "",
        *_claims(fleet),
    ]
    for node, pattern, cells in differing[:_MOST_NODES]:
        lines += ["", *_node(node, fleet.differences(pattern, cells), len(cells))]
    if len(differing) > _MOST_NODES:
        lines += ["", f"and {len(differing) - _MOST_NODES:,} more nodes: see the file"]
    return lines


def _claims(fleet: Fleet) -> list[str]:
    """A table of how often each claim came to which outcome, over all nodes."""
    groups = summary.gathered(
        fleet.cells, lambda cell: claims.of(cell.key.claim).title(cell.key.profile)
    )
    rows = [
        (
            visible(title),
            *(f"{sum(cell.counts[outcome] for cell in cells):,}" for outcome in OUTCOME_WORDS),
        )
        for title, cells in groups.items()
    ]
    return _columns([("claim", *OUTCOME_WORDS.values()), *rows])


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            (
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            )
        )
        for row in rows
    ]


def _node(node: FleetNode, differences: Sequence[Difference], cells: int) -> list[str]:
    """In what a node differs, by claim and what the two came to, each with one sentence."""
    lines = [
        visible(
            f"{node.name} ({node.machine} {node.kernel}): {node.verdict}, differs in"
            f" {summary.cells_text(cells)}"
        )
    ]
    for one in differences[:_MOST_GROUPS]:
        title = claims.of(one.claim).title(one.profile)
        told = f"  {title}: {_word(one.mine)}; most: {_word(one.most)}: "
        lines.append(name_line(told, [fleets.name_of(cell.key) for cell in one.cells], width()))
        if one.sentence:
            lines += wrapped(one.sentence, width(), indent="    ")
    if len(differences) > _MOST_GROUPS:
        rest = sum(len(one.cells) for one in differences[_MOST_GROUPS:])
        lines.append(f"  and {summary.cells_text(rest)} more: see the file")
    return lines


def _word(outcome: Outcome | None) -> str:
    return "not judged" if outcome is None else OUTCOME_WORDS[outcome]
