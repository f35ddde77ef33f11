"""``syscall-conformance merge``: a fleet from the records of its nodes."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from probes.cell import Outcome
from probes.judging import claims
from probes.judging.plan import UNKNOWN
from probes.text import visible
from reports import results, summary
from reports.commands.answer import Answer, Subparsers, add_command, text, width
from reports.results import Verdict
from reports.results import fleet as fleets
from reports.results.fleet import Fleet, FleetCell, FleetNode
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

exit status: that of the worst node, for what failed 1, for what is broken 7, for what could not be
told 6; then 5 and 2. It is 4 where a file is not what it must be: then nothing is written."""

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
        "--record", action="store_true", help="make one results.json of all, and no fleet"
    )


def _merge(options: argparse.Namespace) -> Answer:
    if options.record:
        return _merge_records(options.files, options.out)
    fleet = fleets.gather(options.files)
    results.write_text(fleets.to_json(fleet), options.out)
    return Answer(fleet.status, text(_lines(fleet)), _notes(fleet))


def _merge_records(files: Sequence[Path], out: Path) -> Answer:
    run = results.join([results.load(path) for path in files])
    results.write(run, out)
    ruling = results.summarize(run).ruling
    kernels = [f"  {one.host or '-'}: {one.machine} {one.kernel}" for one in run.environments]
    lines = [f"{ruling.verdict}: {ruling.sentence}", *kernels]
    return Answer(ruling.exit_status, text([visible(line) for line in lines]))


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
        lines += ["", *_node(node, pattern, [(index, fleet.cells[index]) for index in cells])]
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


def _node(node: FleetNode, pattern: str, cells: Sequence[tuple[int, FleetCell]]) -> list[str]:
    """In what a node differs, by claim and what the two came to, each with one sentence."""
    groups = summary.gathered(
        cells,
        lambda one: (
            claims.of(one[1].key.claim).title(one[1].key.profile),
            fleets.outcome_of(pattern[one[0]]),
            one[1].majority,
        ),
    )
    lines = [
        visible(
            f"{node.name} ({node.machine} {node.kernel}): {node.verdict}, differs in"
            f" {summary.cells_text(len(cells))}"
        )
    ]
    for (title, mine, most), members in list(groups.items())[:_MOST_GROUPS]:
        told = f"  {title}: {_word(mine)}; most: {_word(most)}: "
        lines.append(name_line(told, [_name(cell) for _, cell in members], width()))
        sentences = members[0][1].sentences
        if mine is not None and mine in sentences:
            lines += wrapped(sentences[mine], width(), indent="    ")
    if len(groups) > _MOST_GROUPS:
        rest = sum(map(len, list(groups.values())[_MOST_GROUPS:]))
        lines.append(f"  and {summary.cells_text(rest)} more: see the file")
    return lines


def _name(cell: FleetCell) -> str:
    key = cell.key
    call = f"{key.syscall} {key.number}" if key.syscall == UNKNOWN else key.syscall
    return " ".join(filter(None, (call, key.which, f"({key.arch})")))


def _word(outcome: Outcome | None) -> str:
    return "not judged" if outcome is None else OUTCOME_WORDS[outcome]
