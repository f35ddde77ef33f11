"""SARIF 2.1.0 (OASIS), as GitHub's code scanning reads it: what failed by cause, waived or not.

Code scanning takes a result only with a place in a file; it tells results apart by
``primaryLocationLineHash``, and shows 5,000 of a run. What else has to be known, that a run is
broken above all, is said in the invocation, for a log without results reads as success.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from probes.cell import Cell, Outcome
from probes.documents.waivers import Waiver
from probes.text import visible
from reports import results
from reports.causes import headline
from reports.causes.blame import Spot
from reports.formats.alerts import RULES, Alert, alerts
from reports.formats.shared import (
    RECORD,
    Identifiers,
    cell_name,
    facts,
    json_text,
    required,
    slug,
)
from reports.results import Run, Verdict, time_text
from reports.summary import call_name, not_all_judged

MOST_RESULTS: Final = 5000
"""How many results of a run code scanning shows."""

MOST_CELLS: Final = 1000
"""How many cells a result lists; a hundred calls of every ABI fail fewer."""

_MOST_PLACES: Final = 100
"""How many further places a result has; code scanning takes 1,000."""

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_RULE_NAMES: Final = tuple(RULES)


def render(run: Run) -> str:
    """The failures of the run as a SARIF log."""
    uuids = Identifiers(results.record_digest(run))
    every = alerts(run)
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(run)},
                "automationDetails": {
                    "id": f"{slug(run.suite.name)}/{slug(visible(run.target.kind))}/",
                    "guid": uuids("run"),
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {
                    "%SRCROOT%": {"description": {"text": "The root of the repository."}}
                },
                "invocations": [_invocation(run, len(every) - MOST_RESULTS)],
                "results": [_result(run, one, uuids) for one in every[:MOST_RESULTS]],
                "properties": {**facts(run), "record_sha256": uuids.digest},
            }
        ],
    }
    return json_text(log)


def _driver(run: Run) -> dict[str, object]:
    return {
        "name": required(run.suite.name),
        "version": required(run.suite.version),
        "rules": [
            {
                "id": identifier,
                "name": name,
                "shortDescription": {"text": meaning},
                "fullDescription": {"text": meaning},
                "help": {
                    "text": f"{meaning} The result says which calls, why, and what mends it;"
                    f" {RECORD} has the evidence."
                },
                "defaultConfiguration": {"level": "error"},
                "properties": {
                    "precision": "very-high",
                    "security-severity": severity,
                    "tags": ["security", "seccomp", "container"],
                },
            }
            for identifier, (name, meaning, severity) in RULES.items()
        ],
    }


def _result(run: Run, one: Alert, uuids: Identifiers) -> dict[str, object]:
    """A result; readers take one without both ``kind`` and ``level`` for what it is not."""
    made: dict[str, object] = {
        "ruleId": one.rule,
        "ruleIndex": _RULE_NAMES.index(one.rule),
        "kind": "fail",
        "level": "error",
        "guid": uuids("result", one.fingerprint),
        "message": {"text": required(one.message)},
        "locations": [_location(one.spot) | _logical(one)],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{one.fingerprint}:1",
            "syscallConformance/v2": one.fingerprint,
        },
        "properties": _properties(run, one),
    }
    related = [
        {"id": rank, "message": {"text": required(spot.words)}, **_location(spot)}
        for rank, spot in enumerate(one.related[:_MOST_PLACES], 1)
    ]
    if related:
        made["relatedLocations"] = related
    if one.is_accepted:
        made["suppressions"] = list(_suppressions(run, one, uuids))
    return made


def _location(spot: Spot) -> dict[str, object]:
    lines = {} if spot.lines is None else {"endLine": max(spot.lines.first, spot.lines.last)}
    first = 1 if spot.lines is None else spot.lines.first
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri(spot.path), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": first, **lines},
        }
    }


def uri(path: str) -> str:
    """A path below a root as a relative reference (RFC 3986), whatever its file is called."""
    quoted = quote(visible(path), safe="/")
    # What begins with a slash, or has a colon in its first part, would be no relative one.
    return quoted.lstrip("/") or "-"


def _logical(one: Alert) -> dict[str, object]:
    """The calls, as names below their ABIs, for readers who do not look into files."""
    names = {}
    for cell in one.cells:
        full = required(f"{cell.key.arch}/{call_name(cell.key)}")
        names[full] = {
            "name": required(call_name(cell.key)),
            "fullyQualifiedName": full,
            "kind": "function",
        }
    return {"logicalLocations": list(names.values())[:_MOST_PLACES]} if names else {}


def _properties(run: Run, one: Alert) -> dict[str, object]:
    if one.waiver is not None:
        waiver = one.waiver.waiver
        return {
            **_accepted(waiver),
            "state": one.waiver.state,
            "reason": visible(waiver.reason),
        }
    cells = one.cells
    calls = {call.name: call for call in run.policy.calls}
    known = [calls[name] for name in _once(cell.key.syscall for cell in cells) if name in calls]
    return {
        "profiles": _shown(cell.key.profile for cell in cells),
        "claims": _shown(cell.key.claim for cell in cells),
        "calls": _shown(cell.key.syscall for cell in cells),
        "arches": _shown(cell.key.arch for cell in cells),
        "kernels": _shown(run.environments[cell.environment].kernel for cell in cells),
        "causes": _shown(cell.cause or "" for cell in cells if cell.cause),
        "expected": _shown(cell.expected for cell in cells),
        "observed": _shown(cell.observed for cell in cells),
        "cells": list(map(_cell, cells[:MOST_CELLS])),
        "cells_left_out": max(0, len(cells) - MOST_CELLS),
        "cves": _shown(one for call in known for one in call.cves),
        "attack": _shown(one for call in known for one in call.attack),
    }


def _once(words: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _shown(words: Iterator[str]) -> list[str]:
    return _once(map(visible, words))


def _cell(cell: Cell) -> str:
    return f"{cell.key.claim}: {cell_name(cell)}"


def _suppressions(run: Run, one: Alert, uuids: Identifiers) -> Iterator[dict[str, object]]:
    """What has been accepted, once for each waiver and each deviation of runtimes."""
    accepted = {(cell.waiver, cell.deviations): cell for cell in one.cells}
    for (rank, deviations), cell in accepted.items():
        waiver = None if rank is None else run.waivers[rank].waiver
        known = f"what runtimes do to every profile: {', '.join(deviations)}"
        named = known if deviations else cell.sentence
        yield {
            "guid": uuids("suppression", one.fingerprint, str(rank), *deviations),
            "kind": "external",
            "status": "accepted",
            "justification": required(named if waiver is None else waiver.reason),
            "properties": {} if waiver is None else _accepted(waiver),
        }


def _accepted(waiver: Waiver) -> dict[str, object]:
    return {
        "owner": visible(waiver.owner),
        "approver": visible(waiver.approver),
        "created": waiver.created.isoformat(),
        "expires": waiver.expires.isoformat(),
    }


def _invocation(run: Run, hidden: int) -> dict[str, object]:
    ruling = results.summarize(run).ruling
    decided = ruling.verdict in {Verdict.PASS, Verdict.FAIL}
    notes = [_note("note" if decided else "error", one.line) for one in headline.headlines(run)]
    if not decided:
        notes.append(_note("error", ruling.sentence))
    notes += [
        _note("error", cell.sentence)
        for cell in not_all_judged(run)
        if cell.outcome is Outcome.CANNOT_TELL
    ]
    if hidden > 0:
        text = f"{hidden:,} more results are left out, for no more are shown: see {RECORD}."
        notes.append(_note("warning", text))
    notes += [
        _note("note", f"{file.path}: no lines are named, for {file.untold}")
        for file in run.target.written
        if file.untold
    ]
    return {
        "executionSuccessful": decided,
        "exitCode": ruling.exit_status.value,
        "exitCodeDescription": visible(ruling.sentence),
        "startTimeUtc": time_text(run.started),
        "endTimeUtc": time_text(run.finished),
        "toolExecutionNotifications": notes,
    }


def _note(level: str, text: str) -> dict[str, object]:
    return {"level": level, "message": {"text": required(text)}}
