"""``syscall-conformance merge``: a fleet from the records of its nodes."""

import argparse
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from probes.errors import BadInputError
from probes.text import shown, visible
from reports import results
from reports.commands import output
from reports.commands.answer import (
    Answer,
    Subparsers,
    add_command,
    add_detail,
    as_lines,
    text,
    width,
)
from reports.commands.forms import Form, Renderers
from reports.formats.shared import RECORD
from reports.pages import fleet_page
from reports.results import fleet as fleets
from reports.results.fleet import Fleet
from reports.terminal import fleet_lines, progress
from reports.terminal.lines import UNCUT, shortened

_MERGE = """\
Puts records of many machines together: what each claim came to on how many nodes, and which nodes
differ from the majority and how.

A file is a results.json, the journal of a run that was killed, or what this command has written
before. The order of the files does not matter, and one that is given twice counts once. Each
environment of a record is a node. OUT is JSON: every cell with its counts, every node with its
outcomes, a letter a cell; with --format it is the page, or what is told here.

A majority is more than half of the nodes that judged a cell; where there is none, nobody differs
from it, and the nodes are named. Nodes with another kind of target are never compared.

With --record OUT is one results.json instead, in which each environment has its cells, such as
those of several kernels: reports show them side by side. All must be of one policy, one sort of
target and one version of the suite.

--expect names the machines that must be there, lest one is overlooked that left no record.

exit status: that of the worst node, for what failed 1, for what is broken 7, for what could not be
told 6; then 5 and 2, which is also that of a good fleet that lacks an expected machine, or has the
record of an earlier run where a later one has not come to its end. It is 4 where a file is not what
it must be: then nothing is written."""

_MOST_NODES = 20


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
    add_detail(one, "tell every claim and every node that differs")
    forms = one.add_mutually_exclusive_group()
    forms.add_argument(
        "--record", action="store_true", help="make one results.json of all, and no fleet"
    )
    forms.add_argument(
        "--format",
        default=Form.JSON.value,
        choices=[one.value for one in Form],
        help="the form of OUT; only JSON can be merged again; default: json",
    )
    one.add_argument("--json", metavar="FILE", type=Path, help="write the fleet as JSON, too")
    one.add_argument("--html", metavar="FILE", type=Path, help="write a page of the fleet, too")


def _merge(options: argparse.Namespace) -> Answer:
    expected = _expected(options.expect)
    further = {Form.JSON: options.json, Form.HTML: options.html}
    _check_files(further, options)
    stale = _stale(options.files)
    if options.record:
        return _merge_records(options, expected, stale)
    with progress.telling("merging", quiet=options.quiet, only_bar=True) as at:
        fleet = fleets.gather(progress.each(options.files, at))
    absent = _absent(expected, {node.name for node, _ in fleet.nodes})
    wide = UNCUT if options.quiet else width(otherwise=UNCUT)
    lines = fleet_lines.lines(fleet, wide, verbose=options.verbose)
    said = text(lines[:1] if options.quiet else lines)
    renderers: Renderers = {
        Form.TEXT: lambda: said,
        Form.JSON: lambda: fleets.to_json(fleet),
        Form.HTML: lambda: fleet_page.render(fleet, absent),
    }
    is_told = str(options.out) == output.STANDARD_OUTPUT
    made = renderers[Form(options.format)]()
    if not is_told:
        results.write_text(made, options.out)
    for form, path in further.items():
        if path is not None:
            results.write_text(renderers[form](), path)
    status = fleets.with_absent(fleet.status, [*absent, *stale])
    notes = (*_absence(absent, expected), *stale, *_notes(fleet))
    is_lines = not is_told or options.format == Form.TEXT
    return Answer(status, made if is_told else said, notes, is_lines=is_lines)


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


def _check_files(further: Mapping[Form, Path | None], options: argparse.Namespace) -> None:
    """Refuses a file in the place of another one, which would be lost.

    Raises:
        BadInputError: it is one, or --record goes with no other form.
    """
    taken = {one.resolve() for one in (options.out, *options.files)}
    for form, path in further.items():
        if path is None:
            continue
        if options.record:
            raise BadInputError(f"--{form}: not with --record, which makes no fleet: leave it out")
        if path.resolve() in taken:
            raise BadInputError(f"--{form} {shown(path)}: a record stands there: name another file")
        taken.add(path.resolve())


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
    options: argparse.Namespace, expected: Sequence[str], stale: Sequence[str]
) -> Answer:
    run = results.join([results.load(path) for path in options.files])
    results.write(run, options.out)
    absent = _absent(expected, {one.host for one in run.environments if one.host})
    ruling = results.summarize(run).ruling
    kernels = [f"  {one.host or '-'}: {one.machine} {one.kernel}" for one in run.environments]
    lines = [f"{ruling.verdict}: {ruling.sentence}", *([] if options.quiet else kernels)]
    lines = lines if options.verbose else shortened(lines)
    status = fleets.with_absent(ruling.exit_status, [*absent, *stale])
    notes = (*_absence(absent, expected), *stale)
    return as_lines(status, [visible(line) for line in lines], notes)


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
