"""The journal of a run: what was judged so far, on the disk as soon as it is known.

``results.json`` is written when a run is over. Until then ``results.partial.jsonl`` beside it
grows by a line a test; a run that is killed leaves it there, and reports can be rendered from it.
A line is written by one write(2), so that a kill cuts off at most the last one. It is not synced
to the disk: a power cut may lose lines.

The first line is what ``head_to_json`` says, the second which cells are planned, each of the
others what a test sent (``cases.run.carried.record``).
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from probes.cell import Cell, CellKey, Outcome
from probes.documents.waivers import JudgedWaiver, WaiverState
from probes.errors import BadInputError
from probes.judging.claims import About, is_about
from reports.results import codec
from reports.results.fields import Fields, parse
from reports.results.model import AuditSource, Run, missing

NAME: Final = "results.partial.jsonl"
"""What the journal is called in its folder."""

_NODES: Final = "nodes"
"""The folder beside it with a folder for each node of a run on several kernels."""

SCHEMA: Final = "syscall-conformance/journal/2"
"""What ``schema`` says in its first line. The number is that of the records that it speaks of."""


class JudgedCells:
    """The cells that the tests of a run have judged so far, by test.

    Attributes:
        by_test: the cells of each test by its node id.
        controls: what the controls came to: of several instruments, the worst.
        trails: where the instruments' audit records came from.
    """

    def __init__(self) -> None:
        """Makes one without any cell."""
        self.by_test: dict[str, list[Cell]] = {}
        self.controls: dict[CellKey, Cell] = {}
        self.trails: set[AuditSource] = set()

    def take(self, test: str, sent: Mapping[str, Any]) -> None:
        """Takes in what a test sent.

        Args:
            test: its node id.
            sent: the plain data of ``cases.run.carried.record``.
        """
        before = {cell.key: cell for cell in self.by_test.get(test, ())}
        # A plug-in may have a test run again: that it passes then does not undo that it failed.
        cells = [
            before[cell.key] if _has_failed(before.get(cell.key)) else cell
            for cell in map(codec.cell_from_json, sent["cells"])
        ]
        self.by_test[test] = cells
        self._calibrate([cell for cell in cells if is_about(cell.key, About.CONTROL)])
        self._calibrate([codec.cell_from_json(cell) for cell in sent["controls"]])
        if sent["audit_source"]:  # else the test needed no instrument
            self.trails.add(AuditSource(sent["audit_source"], sent["audit_reason"]))

    def _calibrate(self, controls: Sequence[Cell]) -> None:
        for cell in controls:
            known = self.controls.get(cell.key)
            if known is None or known.outcome is Outcome.PASSED:
                self.controls[cell.key] = cell

    @property
    def cells(self) -> list[Cell]:
        """Every cell, the controls among them once."""
        judged = [
            cell
            for cells in self.by_test.values()
            for cell in cells
            if not is_about(cell.key, About.CONTROL)
        ]
        return [*judged, *self.controls.values()]

    @property
    def audit(self) -> AuditSource:
        """Where the audit records came from: one answer, unless the instruments differ."""
        if not self.trails:
            return AuditSource("none", "no test reported")
        ordered = sorted(self.trails, key=lambda trail: (trail.source, trail.reason))
        if len(ordered) == 1:
            return ordered[0]
        told = "; ".join(f"{trail.source}: {trail.reason}" for trail in ordered)
        return AuditSource(", ".join(dict.fromkeys(trail.source for trail in ordered)), told)


def _has_failed(cell: Cell | None) -> bool:
    return cell is not None and cell.outcome in {
        Outcome.FAILED,
        Outcome.WAIVED,
        Outcome.ACCEPTED,
    }


class Journal:
    """Writes a journal while a run is going on."""

    def __init__(self, folder: Path, run: Run) -> None:
        """Begins the file, in place of one that a killed run has left there.

        Args:
            folder: where it shall be.
            run: what is known of the run before anything is judged.

        Raises:
            OSError: it cannot be written there.
        """
        self.path = folder / NAME
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o666)
        self._write_line(head_to_text(run))

    def plan(self, selected: Collection[CellKey], selected_of: int) -> None:
        """Notes which cells are to be judged.

        Args:
            selected: the cells of the selected tests.
            selected_of: how many cells the whole job has.

        Raises:
            OSError: it cannot be written.
        """
        keys = [codec.key_to_json(key) for key in selected]
        self._write({"selected_of": selected_of, "planned": keys})

    def note(self, test: str, sent: Mapping[str, Any], moment: datetime) -> None:
        """Notes what a test sent.

        Raises:
            OSError: it cannot be written.
        """
        self._write({"test": test, "time": codec.time_text(moment), **sent})

    def _write(self, line: Mapping[str, object]) -> None:
        self._write_line(json.dumps(line, ensure_ascii=True, allow_nan=False))

    def _write_line(self, line: str) -> None:
        raw = line.encode() + b"\n"
        while raw:
            raw = raw[os.write(self._file, raw) :]

    def close(self) -> None:
        """Ends the writing; the file stays."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def discard(self) -> None:
        """Takes the file away: the record is in place, or nothing was judged."""
        self.close()
        self.path.unlink(missing_ok=True)


def of_node(folder: Path, node: str) -> Path:
    """The folder for the journal of a node.

    Args:
        folder: where the record shall be.
        node: the node's name, which is one of a file, too.
    """
    return folder / _NODES / node


def of_nodes(folder: Path) -> list[Path]:
    """The journals of nodes that are there."""
    return sorted(folder.glob(f"{_NODES}/*/{NAME}"))


def is_journal(text: str) -> bool:
    """Whether a text is that of a journal, by its first line."""
    return text.startswith(f'{{"schema": "{SCHEMA.rpartition("/")[0]}/')


def from_text(text: str) -> Run:
    """What a journal says, as a run that did not come to its end.

    Raises:
        BadInputError: it is damaged, or of another version.
    """
    return _read(text)[0]


def lost_from_text(text: str) -> Run:
    """What a journal says of a run that nobody will come to the end of: the rest is *broken*.

    Raises:
        BadInputError: it is damaged, or of another version.
    """
    run, planned = _read(text)
    rest = missing({*planned, *(cell.key for cell in run.cells)}, run.cells)
    return replace(run, planned=len(run.cells) + len(rest), cells=(*run.cells, *rest))


def _read(text: str) -> tuple[Run, Collection[CellKey]]:
    """The run, and the cells that were planned but for controls that nobody selected."""
    # What stands after the last line's end was cut off when the run was killed.
    lines = text.split("\n")[:-1]
    if not lines:
        raise BadInputError("the journal breaks off in its first line: nothing was judged")
    run = _head(_line(lines, 0))
    planned: tuple[CellKey, ...] = ()
    selected_of = 0
    finished = run.started
    judged = JudgedCells()
    for index in range(1, len(lines)):
        fields = _line(lines, index)
        if index == 1:
            fields.only("selected_of", "planned")
            selected_of = fields.number("selected_of")
            planned = tuple(codec.key_from_fields(one) for one in fields.children("planned"))
        else:
            finished = _take(fields, judged)
    read = replace(
        so_far(run, judged),
        finished=finished,
        # The controls vouch for all tests, and are judged whether selected or not.
        planned=len({*planned, *judged.controls}),
        selected_of=selected_of,
    )
    codec.check(read)
    return read, planned


def so_far(head: Run, judged: JudgedCells) -> Run:
    """What is known of a run that nobody has come to the end of.

    Args:
        head: what is known before anything is judged.
        judged: what was judged.
    """
    cells = tuple(judged.cells)
    return replace(
        head,
        environments=(replace(head.environment, audit=judged.audit),),
        cells=cells,
        waivers=tuple(
            _counted(one, sum(cell.waiver == index for cell in cells))
            for index, one in enumerate(head.waivers)
        ),
    )


def head_to_text(run: Run) -> str:
    """The first line of the journal of a run, without its end."""
    line = {
        **codec.head_to_json(run),
        "schema": SCHEMA,
        "waivers": [codec.waiver_to_json(judged) for judged in run.waivers],
        codec.ACCEPT: [name.value for name in run.accept],
    }
    return json.dumps(line, ensure_ascii=True, allow_nan=False)


def head_from_text(text: str) -> Run:
    """What ``head_to_text`` was given, as far as the line says it.

    Raises:
        BadInputError: it is no such line.
    """
    return _head(_line([text], 0))


def _line(lines: Sequence[str], index: int) -> Fields:
    try:
        parsed = parse(lines[index])
    except BadInputError as error:
        raise BadInputError(f"line {index + 1}: the journal is damaged there") from error
    return Fields(parsed, f"line {index + 1}")


def _head(fields: Fields) -> Run:
    fields.only(*codec.HEAD_KEYS, "waivers", optional=(codec.ACCEPT,))
    fields.check_schema(SCHEMA)
    waivers = tuple(codec.waiver_from_fields(one) for one in fields.children("waivers"))
    accept = codec.accept_from_fields(fields)
    return replace(codec.head_from_fields(fields), waivers=waivers, accept=accept)


def _take(fields: Fields, judged: JudgedCells) -> datetime:
    fields.only("test", "time", "cells", "controls", "audit_source", "audit_reason")
    sent = {
        "cells": fields.items("cells"),
        "controls": fields.items("controls"),
        "audit_source": fields.text("audit_source"),
        "audit_reason": fields.text("audit_reason"),
    }
    try:
        judged.take(fields.text("test"), sent)
    except BadInputError as error:
        raise BadInputError(f"{fields.place()}: {error}") from error
    return fields.time("time")


def _counted(one: JudgedWaiver, waived: int) -> JudgedWaiver:
    state = WaiverState.ACTIVE if waived else WaiverState.OUT_OF_SCOPE
    return replace(one, state=state, waived=waived)
