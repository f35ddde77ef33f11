"""A fleet: what the same job came to on many machines, and which of them differ from the rest.

Records are taken in one by one, and of each only its outcomes are kept, a letter a cell; nodes
that came to the same share them. So memory grows with how unlike the nodes are, not with the size
of their records. A fleet can take in another one, in any order, and comes to the same.
"""

import gc
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from probes.cell import CellKey, Claim, Outcome
from probes.errors import BadInputError, ExitStatus
from probes.judging.plan import UNKNOWN
from reports import results
from reports.results import Run, Verdict
from reports.results.changes import Identity, by_identity, identity
from reports.results.codec import indented, key_from_fields, key_to_json, time_text
from reports.results.fields import Fields, is_of
from reports.results.known_cells import KnownCells
from reports.results.ruling import Summary

SCHEMA: Final = "syscall-conformance/fleet/1"
"""What ``schema`` says in a file of this version."""

ABSENT: Final = "."
"""The letter of a cell that a node does not have."""

DIVIDED: Final = "?"
"""What stands for a majority where there is none; no letter of a pattern."""

LETTERS: Final = {
    Outcome.PASSED: "p",
    Outcome.FAILED: "f",
    Outcome.CANNOT_TELL: "c",
    Outcome.NOT_APPLICABLE: "n",
    Outcome.WAIVED: "w",
    Outcome.ACCEPTED: "a",
    Outcome.BROKEN: "b",
}
"""The letter of each outcome in a pattern."""

_OUTCOMES: Final = {letter: outcome for outcome, letter in LETTERS.items()}
_STATUSES: Final = (
    ExitStatus.NOT_CONFORMANT,
    ExitStatus.BROKEN,
    ExitStatus.CANNOT_TELL,
    ExitStatus.NOTHING_ASSESSED,
    ExitStatus.INTERRUPTED,
)


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A machine of the fleet: one environment of one record.

    Attributes:
        name: the host's name; the beginning of the record's digest where that is not known.
        kernel: its release and version.
        machine: its hardware.
        kind: the sort of target.
        target: which one it was.
        policy: the digest of the policy file.
        started: when the run started, aware, in UTC.
        verdict: what the run came to.
        exit_status: the exit status that goes with it.
        record: the digest of the record's file.
        environment: which of the record's environments it is.
    """

    name: str
    kernel: str
    machine: str
    kind: str
    target: str
    policy: str
    started: datetime
    verdict: Verdict
    exit_status: int
    record: str
    environment: int


@dataclass(frozen=True, slots=True)
class FleetCell:
    """What one cell came to on all nodes.

    Attributes:
        key: the cell; its number is the highest that a node has for it.
        counts: how many nodes came to each outcome; nodes without the cell are in none.
        majority: what more than half of these came to; None where there is no such outcome, where
            most nodes do not have the cell, and where the nodes are of several kinds of targets.
        sentences: for each outcome but *passed*, what one of the nodes says; the first by
            alphabet, lest it depends on the order of the files.
    """

    key: CellKey
    counts: Mapping[Outcome, int]
    majority: Outcome | None
    sentences: Mapping[Outcome, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Cells of one claim that came to one outcome on a node, and to another one on most.

    Attributes:
        claim: the claim.
        profile: the profile under which it is judged.
        mine: what they came to on the node; None where it does not have them.
        most: what they came to on most nodes; None where most do not have them.
        cells: the cells, at least one, in order.
    """

    claim: Claim
    profile: str
    mine: Outcome | None
    most: Outcome | None
    cells: tuple[FleetCell, ...]

    @property
    def sentence(self) -> str:
        """What a node says of the first of them; "" where nobody says anything."""
        return "" if self.mine is None else self.cells[0].sentences.get(self.mine, "")


@dataclass(frozen=True, slots=True)
class Division:
    """Cells of one claim about which nodes disagree without a majority.

    Attributes:
        kind: the nodes' kind of target.
        claim: the claim.
        profile: the profile under which it is judged.
        camps: what they came to, and on which nodes each; None where these do not have the cells.
        cells: the cells, at least one, in order.
    """

    kind: str
    claim: Claim
    profile: str
    camps: tuple[tuple[Outcome | None, tuple[str, ...]], ...]
    cells: tuple[FleetCell, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The outcomes of one job on many machines.

    Attributes:
        cells: every cell that a node has, in the order of keys.
        nodes: the nodes by name, each with its pattern: a letter of ``LETTERS`` a cell.
    """

    cells: tuple[FleetCell, ...]
    nodes: tuple[tuple[FleetNode, str], ...]
    _majorities: list[dict[str, str]] = field(default_factory=list, repr=False, compare=False)
    """What ``majorities`` says, once it was asked: with many unlike nodes that takes a while."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of targets that were judged; nodes of different ones are never compared."""
        return tuple(sorted({node.kind for node, _ in self.nodes}))

    def majorities(self) -> dict[str, str]:
        """For each kind of target the letters of its nodes' majority, a letter a cell."""
        if not self._majorities:
            found = {}
            for kind in self.kinds:
                count = sum(node.kind == kind for node, _ in self.nodes)
                letters = (_letters_of(counts, count) for counts in self.counts(kind))
                found[kind] = "".join(map(_majority, letters))
            self._majorities.append(found)
        return self._majorities[0]

    def counts(self, kind: str) -> list[Mapping[Outcome, int]]:
        """How many nodes of a kind came to each outcome, cell by cell."""
        if self.kinds == (kind,):
            return [cell.counts for cell in self.cells]
        weights = Counter(pattern for node, pattern in self.nodes if node.kind == kind)
        return [_counts_of(_letters_at(weights, place)) for place in range(len(self.cells))]

    def differing(self) -> Iterator[tuple[FleetNode, str, list[int]]]:
        """The nodes that differ from the majority, with their pattern and the cells that do.

        Nodes are compared with those of their own kind of target. Where there is no majority
        nobody differs from it; see ``divided``.
        """
        majorities = self.majorities()
        known: dict[tuple[str, str], list[int]] = {}
        for node, pattern in self.nodes:
            alike = (node.kind, pattern)
            if alike not in known:
                known[alike] = [
                    index
                    for index, (mine, most) in enumerate(
                        zip(pattern, majorities[node.kind], strict=True)
                    )
                    if most not in {mine, DIVIDED}
                ]
            if known[alike]:
                yield node, pattern, known[alike]

    def differences(
        self, node: FleetNode, pattern: str, cells: Sequence[int]
    ) -> list["Difference"]:
        """The cells in which a node differs, those together that differ alike.

        Args:
            node: the node.
            pattern: the node's.
            cells: the places of the cells.
        """
        most = self.majorities()[node.kind]
        groups: dict[tuple[Claim, str, Outcome | None, Outcome | None], list[FleetCell]] = {}
        for place in cells:
            cell = self.cells[place]
            outcomes = (outcome_of(pattern[place]), outcome_of(most[place]))
            groups.setdefault((cell.key.claim, cell.key.profile, *outcomes), []).append(cell)
        return [Difference(*alike, tuple(members)) for alike, members in groups.items()]

    def divided(self) -> list["Division"]:
        """The cells without a majority; those together about which nodes disagree alike."""
        groups: dict[tuple[object, ...], Division] = {}
        for kind, most in self.majorities().items():
            nodes = [(node.name, pattern) for node, pattern in self.nodes if node.kind == kind]
            for place, letter in enumerate(most):
                if letter != DIVIDED:
                    continue
                cell = self.cells[place]
                camps: dict[Outcome | None, list[str]] = {}
                for name, pattern in nodes:
                    camps.setdefault(outcome_of(pattern[place]), []).append(name)
                told = tuple(
                    (outcome, tuple(names))
                    for outcome, names in sorted(
                        camps.items(), key=lambda item: (-len(item[1]), _letter(item[0]))
                    )
                )
                alike = (kind, cell.key.claim, cell.key.profile, told)
                known = groups.get(alike)
                cells = (*known.cells, cell) if known else (cell,)
                groups[alike] = Division(kind, cell.key.claim, cell.key.profile, told, cells)
        return list(groups.values())

    @property
    def status(self) -> ExitStatus:
        """The exit status of the worst node."""
        said = {node.exit_status for node, _ in self.nodes}
        return next((one for one in _STATUSES if one in said), ExitStatus.CONFORMANT)


def with_absent(status: ExitStatus, absent: Collection[str]) -> ExitStatus:
    """A fleet's exit status where machines may be absent, of which nothing is known.

    Args:
        status: that of the machines that are there.
        absent: the names of the others.
    """
    if absent and status is ExitStatus.CONFORMANT:
        return ExitStatus.INTERRUPTED
    return status


def outcome_of(letter: str) -> Outcome | None:
    """The outcome of a letter of a pattern; None where the node does not have the cell."""
    return _OUTCOMES.get(letter)


def name_of(key: CellKey) -> str:
    """A cell as lists of its claim name it: ``mount (x86_64)``."""
    call = f"{key.syscall} {key.number}" if key.syscall == UNKNOWN else key.syscall
    return " ".join(filter(None, (call, key.which, f"({key.arch})")))


def _letter(outcome: Outcome | None) -> str:
    return ABSENT if outcome is None else LETTERS[outcome]


class Gathering:
    """A fleet that takes in records and other fleets."""

    def __init__(self) -> None:
        """Makes an empty one."""
        self._columns: dict[Identity, int] = {}
        self._keys: list[CellKey] = []
        self._sentences: list[dict[Outcome, str]] = []
        self._nodes: dict[tuple[str, int], tuple[FleetNode, str]] = {}
        self._patterns: dict[str, str] = {}

    def take_record(self, run: Run, digest: str, summary: Summary | None = None) -> None:
        """Takes in a record; a record that is in it already changes nothing.

        Args:
            run: the record.
            digest: the SHA-256 of its file.
            summary: the run's, where it is known.
        """
        ruling = (summary or results.summarize(run)).ruling
        for index, environment in enumerate(run.environments):
            node = FleetNode(
                name=environment.host or f"record {digest[:12]}",
                kernel=environment.kernel,
                machine=environment.machine,
                kind=run.target.kind,
                target=run.target.description,
                policy=run.policy.sha256,
                started=run.started,
                verdict=ruling.verdict,
                exit_status=int(ruling.exit_status),
                record=digest,
                environment=index,
            )
            cells = by_identity(cell for cell in run.cells if cell.environment == index)
            outcomes = {}
            for one, cell in cells.items():
                column = self._column(cell.key, one)
                outcomes[column] = cell.outcome
                if cell.outcome is not Outcome.PASSED:
                    self._say(column, cell.outcome, cell.sentence)
            self._add(node, outcomes)

    def take_fleet(self, fleet: Fleet) -> None:
        """Takes in another fleet."""
        columns = [self._column(cell.key, identity(cell.key)) for cell in fleet.cells]
        for column, cell in zip(columns, fleet.cells, strict=True):
            for outcome, sentence in cell.sentences.items():
                self._say(column, outcome, sentence)
        for node, pattern in fleet.nodes:
            self._add(
                node,
                {
                    column: _OUTCOMES[letter]
                    for column, letter in zip(columns, pattern, strict=True)
                    if letter != ABSENT
                },
            )

    def _column(self, key: CellKey, one: Identity) -> int:
        column = self._columns.setdefault(one, len(self._keys))
        if column == len(self._keys):
            self._keys.append(key)
            self._sentences.append({})
        elif self._keys[column] is not key:
            # One of two numbers may be unknown, or they are different ones.
            self._keys[column] = max(self._keys[column], key, key=results.sort_key)
        return column

    def _say(self, column: int, outcome: Outcome, sentence: str) -> None:
        known = self._sentences[column]
        known[outcome] = min(known.get(outcome, sentence), sentence)

    def _add(self, node: FleetNode, outcomes: Mapping[int, Outcome]) -> None:
        letters = [ABSENT] * len(self._keys)
        for column, outcome in outcomes.items():
            letters[column] = LETTERS[outcome]
        pattern = "".join(letters).rstrip(ABSENT)
        # Nodes that came to the same share one string.
        shared = self._patterns.setdefault(pattern, pattern)
        self._nodes[node.record, node.environment] = (node, shared)

    def fleet(self) -> Fleet:
        """What was taken in, in an order that does not depend on that of the files."""
        order = sorted(
            range(len(self._keys)), key=lambda column: results.sort_key(self._keys[column])
        )
        width = len(self._keys)
        laid_out = {
            pattern: "".join(map(pattern.ljust(width, ABSENT).__getitem__, order))
            for pattern in self._patterns
        }
        nodes = tuple(
            (node, laid_out[pattern])
            for node, pattern in sorted(self._nodes.values(), key=lambda one: _node_order(one[0]))
        )
        weights = Counter(pattern for _, pattern in nodes)
        is_mixed = len({node.kind for node, _ in nodes}) > 1
        cells = []
        for place, column in enumerate(order):
            letters = _letters_at(weights, place)
            most = DIVIDED if is_mixed else _majority(letters)
            cells.append(_cell(self._keys[column], letters, most, self._sentences[column]))
        return Fleet(tuple(cells), nodes)


def _node_order(node: FleetNode) -> tuple[str, str, str, int]:
    return (node.name, time_text(node.started), node.record, node.environment)


def _cell(
    key: CellKey, letters: Mapping[str, int], most: str, sentences: Mapping[Outcome, str]
) -> FleetCell:
    return FleetCell(
        key=key,
        counts=_counts_of(letters),
        majority=outcome_of(most),
        sentences={outcome: sentences[outcome] for outcome in Outcome if outcome in sentences},
    )


def _letters_at(weights: Mapping[str, int], place: int) -> Counter[str]:
    """How many nodes have which letter for a cell.

    Args:
        weights: how many nodes have each pattern.
        place: the place of the cell.
    """
    letters: Counter[str] = Counter()
    for pattern, weight in weights.items():
        letters[pattern[place]] += weight
    return letters


def _counts_of(letters: Mapping[str, int]) -> dict[Outcome, int]:
    return {outcome: letters[letter] for outcome, letter in LETTERS.items()}


def _letters_of(counts: Mapping[Outcome, int], nodes: int) -> Mapping[str, int]:
    """How many of so many nodes have which letter, by how many came to which outcome."""
    letters = {letter: counts[outcome] for outcome, letter in LETTERS.items()}
    return {**letters, ABSENT: nodes - sum(letters.values())}


def _majority(letters: Mapping[str, int]) -> str:
    """The letter of most nodes: ABSENT where most do not have the cell, DIVIDED for no majority."""
    having = sum(count for letter, count in letters.items() if letter != ABSENT)
    if letters.get(ABSENT, 0) > having:
        return ABSENT
    return next(
        (one for one, count in letters.items() if one != ABSENT and 2 * count > having), DIVIDED
    )


def gather(paths: Iterable[Path]) -> Fleet:
    """The fleet of these files, each a record, a journal or a fleet.

    Raises:
        BadInputError: a file cannot be read, or is none of these.
    """
    gathering, known = Gathering(), KnownCells()
    for path in paths:
        with _without_collection():
            _take(gathering, path, known)
    return gathering.fleet()


def _take(gathering: Gathering, path: Path, known: KnownCells) -> None:
    text, digest = results.read_text(path)
    if (record := known.record(text)) is not None:
        run, summary = record
        gathering.take_record(run, digest, summary)
        return
    read = results.read_as(path, text, digest)
    if not is_fleet(read.document):
        gathering.take_record(read.run(), read.sha256)
        return
    try:
        gathering.take_fleet(from_json(read.document))
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keeps the collector of cycles from running while a file is read, which makes none.

    It would look through every object of the file again and again, for a third of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def is_fleet(document: object) -> bool:
    """Whether a JSON document says that it is a fleet, of whatever version."""
    return is_of(document, SCHEMA)


def to_json(fleet: Fleet) -> str:
    """The canonical text of a fleet's file: the same files always give the same bytes."""
    patterns = sorted({pattern for _, pattern in fleet.nodes})
    ranks = {pattern: rank for rank, pattern in enumerate(patterns)}
    record = {
        "schema": SCHEMA,
        "cells": [
            {
                **key_to_json(cell.key),
                "counts": {outcome.value: cell.counts[outcome] for outcome in Outcome},
                "majority": None if cell.majority is None else cell.majority.value,
                "sentences": {one.value: sentence for one, sentence in cell.sentences.items()},
            }
            for cell in fleet.cells
        ],
        "patterns": patterns,
        "nodes": [
            {
                "name": node.name,
                "kernel": node.kernel,
                "machine": node.machine,
                "kind": node.kind,
                "target": node.target,
                "policy": node.policy,
                "started": time_text(node.started),
                "verdict": node.verdict.value,
                "exit_status": node.exit_status,
                "record": node.record,
                "environment": node.environment,
                "pattern": ranks[pattern],
            }
            for node, pattern in fleet.nodes
        ],
    }
    return indented(record) + "\n"


def from_json(value: object) -> Fleet:
    """Takes the plain data of a fleet's file back into a fleet, and checks it all.

    Raises:
        BadInputError: it is none, or damaged.
    """
    fields = Fields(value).only("schema", "cells", "patterns", "nodes")
    fields.check_schema(SCHEMA)
    cells = tuple(_cell_from_fields(one) for one in fields.children("cells"))
    patterns = fields.texts("patterns")
    for pattern in patterns:
        if len(pattern) != len(cells) or not set(pattern) <= {ABSENT, *_OUTCOMES}:
            raise fields.refusal("patterns", f"{pattern[:20]!a} is not a letter a cell")
    nodes = tuple(_node_from_fields(one, patterns) for one in fields.children("nodes"))
    again = Gathering()
    again.take_fleet(Fleet(cells, nodes))
    made = again.fleet()
    # Earlier versions called the best of several outcomes the majority where there was none.
    read = tuple(
        replace(one, majority=None) if told.majority is None else one
        for one, told in zip(cells, made.cells, strict=False)
    )
    if len(made.cells) != len(cells) or made != Fleet(read, nodes):
        raise BadInputError(
            "cells: they are not what the nodes say: the file was changed or is damaged"
        )
    return made


def _cell_from_fields(fields: Fields) -> FleetCell:
    fields.only(
        "claim",
        "profile",
        "arch",
        "syscall",
        "number",
        "variant",
        "counts",
        "majority",
        "sentences",
        optional=("stack",),
    )
    needed = [one for one in Outcome if one is not Outcome.ACCEPTED]
    counts = fields.child("counts").only(*needed, optional=(Outcome.ACCEPTED,))
    sentences = fields.child("sentences")
    said = [outcome for outcome in Outcome if sentences.has(outcome)]
    sentences.only(*said)
    return FleetCell(
        key=key_from_fields(fields),
        counts={
            outcome: counts.number(outcome) if counts.has(outcome) else 0 for outcome in Outcome
        },
        majority=fields.member_or_none("majority", Outcome),
        sentences={outcome: sentences.text(outcome) for outcome in said},
    )


def _node_from_fields(fields: Fields, patterns: Sequence[str]) -> tuple[FleetNode, str]:
    fields.only(
        "name",
        "kernel",
        "machine",
        "kind",
        "target",
        "policy",
        "started",
        "verdict",
        "exit_status",
        "record",
        "environment",
        "pattern",
    )
    node = FleetNode(
        name=fields.text("name"),
        kernel=fields.text("kernel"),
        machine=fields.text("machine"),
        kind=fields.text("kind"),
        target=fields.text("target"),
        policy=fields.digest("policy"),
        started=fields.time("started"),
        verdict=fields.member("verdict", Verdict),
        exit_status=fields.number("exit_status", max(ExitStatus)),
        record=fields.digest("record"),
        environment=fields.number("environment"),
    )
    return node, patterns[fields.number("pattern", len(patterns) - 1)]
