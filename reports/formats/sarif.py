"""SARIF 2.1.0 (OASIS), as GitHub's code scanning reads it: what failed, waived or not.

Code scanning takes a result only with a place in a file, which is the policy; it tells results
apart by ``primaryLocationLineHash``, and shows 5,000 of a run. What else has to be known, that a
run is broken above all, is said in the invocation, for a log without results reads as success.
"""

import hashlib
from itertools import chain, islice
from typing import Final
from urllib.parse import quote

from probes.cell import Cell, Claim, Outcome
from probes.documents.waivers import FAULTS, JudgedWaiver, Waiver
from probes.judging import claims
from probes.text import visible
from reports import results
from reports.formats.shared import (
    RECORD,
    Identifiers,
    evidence_texts,
    facts,
    fingerprint,
    json_text,
    required,
    slug,
)
from reports.results import Run, Verdict, time_text
from reports.summary import not_all_judged

MOST_RESULTS: Final = 5000
"""How many results of a run code scanning shows."""

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_TELLING: Final = frozenset({Outcome.FAILED, Outcome.WAIVED})
_WAIVER_RULE: Final = "waiver"
_RULES: Final = (*map(slug, Claim), _WAIVER_RULE)
_SEVERITY: Final = "8.0"
"""CVSS-like, as code scanning shows it: "high", for a restriction that does not hold."""


def render(run: Run) -> str:
    """The failures of the run as a SARIF log."""
    uuids = Identifiers(results.record_digest(run))
    telling = [cell for cell in results.in_order(run.cells) if cell.outcome in _TELLING]
    # What nobody has accepted comes first, so that a cut never hides it behind what somebody has.
    telling.sort(key=lambda cell: cell.outcome is Outcome.WAIVED)
    faults = [one for one in run.waivers if one.state in FAULTS]
    every = chain(
        (_waiver(run, rank, one, uuids) for rank, one in enumerate(faults)),
        (_cell(run, cell, uuids) for cell in telling),
    )
    hidden = len(faults) + len(telling) - MOST_RESULTS
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
                "invocations": [_invocation(run, hidden)],
                "results": list(islice(every, MOST_RESULTS)),
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
            *(_rule(f"claim {claim}", slug(claim), claims.of(claim).meaning) for claim in Claim),
            _rule("waiver at fault", _WAIVER_RULE, "A waiver has not expired, and is needed."),
        ],
    }


def _rule(name: str, identifier: str, meaning: str) -> dict[str, object]:
    return {
        "id": identifier,
        "name": name.title().replace(" ", ""),
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": meaning},
        "help": {
            "text": f"{meaning} The result says what was expected and what was observed;"
            f" {RECORD} has the evidence."
        },
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "precision": "very-high",
            "security-severity": _SEVERITY,
            "tags": ["security", "seccomp", "container"],
        },
    }


def _cell(run: Run, cell: Cell, uuids: Identifiers) -> dict[str, object]:
    """The result for a cell that failed or was waived."""
    key = cell.key
    call = next((call for call in run.policy.calls if call.name == key.syscall), None)
    properties = {
        "profile": visible(key.profile),
        "arch": visible(key.arch),
        "syscall": visible(key.syscall),
        "number": key.number,
        "variant": visible(key.variant),
        "stack": key.stack + 1,
        "kernel": visible(run.environments[cell.environment].kernel),
        "cause": cell.cause,
        "expected": visible(cell.expected),
        "observed": visible(cell.observed),
        "evidence": list(map(visible, evidence_texts(cell))),
        "cves": [] if call is None else list(map(visible, call.cves)),
        "attack": [] if call is None else list(map(visible, call.attack)),
    }
    print_ = fingerprint(cell)
    result = {
        **_result(run, slug(key.claim), print_, key.syscall, key.arch),
        "guid": uuids("result", print_),
        "message": {"text": required(cell.sentence)},
        "properties": properties,
    }
    if cell.outcome is Outcome.WAIVED:
        waiver = None if cell.waiver is None else run.waivers[cell.waiver].waiver
        why = cell.sentence if waiver is None else waiver.reason
        result["suppressions"] = [
            {
                "guid": uuids("suppression", print_),
                "kind": "external",
                "status": "accepted",
                "justification": required(why),
                "properties": {} if waiver is None else _accepted(waiver),
            }
        ]
    return result


def _accepted(waiver: Waiver) -> dict[str, str]:
    return {
        "owner": visible(waiver.owner),
        "approver": visible(waiver.approver),
        "created": waiver.created.isoformat(),
        "expires": waiver.expires.isoformat(),
    }


def _waiver(run: Run, rank: int, one: JudgedWaiver, uuids: Identifiers) -> dict[str, object]:
    """The result for a waiver that makes the run fail."""
    waiver = one.waiver
    parts = (waiver.call, waiver.arch, waiver.target, waiver.profile or "", waiver.claim or "")
    print_ = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
    return {
        **_result(run, _WAIVER_RULE, print_, waiver.call, waiver.arch),
        "guid": uuids("waiver", str(rank)),
        "message": {"text": required(one.sentence)},
        "properties": {**_accepted(waiver), "state": one.state, "reason": visible(waiver.reason)},
    }


def _result(run: Run, rule: str, print_: str, call: str, arch: str) -> dict[str, object]:
    """What every result has: its rule, its place, and what it is known by in other runs."""
    return {
        "ruleId": rule,
        "ruleIndex": _RULES.index(rule),
        "kind": "fail",
        "level": "error",
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _policy_uri(run), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [
                    {
                        "name": required(call),
                        "fullyQualifiedName": required(f"{arch}/{call}"),
                        "kind": "function",
                    }
                ],
            }
        ],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{print_}:1",
            "syscallConformance/v1": print_,
        },
    }


def _policy_uri(run: Run) -> str:
    """Where the shipped policy stands in a repository; of any other only the name is known."""
    return f"cases/policies/{quote(visible(run.policy.name), safe='')}.toml"


def _invocation(run: Run, hidden: int) -> dict[str, object]:
    ruling = results.summarize(run).ruling
    notes = []
    if ruling.verdict not in {Verdict.PASS, Verdict.FAIL}:
        notes.append({"level": "error", "message": {"text": visible(ruling.sentence)}})
    notes += [
        {"level": "error", "message": {"text": required(cell.sentence)}}
        for cell in not_all_judged(run)
        if cell.outcome is Outcome.CANNOT_TELL
    ]
    if hidden > 0:
        text = f"{hidden:,} more results are left out, for no more are shown: see {RECORD}."
        notes.append({"level": "warning", "message": {"text": text}})
    return {
        "executionSuccessful": ruling.verdict in {Verdict.PASS, Verdict.FAIL},
        "exitCode": ruling.exit_status.value,
        "exitCodeDescription": visible(ruling.sentence),
        "startTimeUtc": time_text(run.started),
        "endTimeUtc": time_text(run.finished),
        "toolExecutionNotifications": notes,
    }
