"""OSCAL assessment results (NIST), 1.1.3, in JSON.

One observation for each claim, profile and ABI, and one for each cell that did not pass; a finding
for each control that the run says something about. A control that was not assessed has none, for
OSCAL knows only "satisfied" and "not satisfied": it is named in the remarks instead.
"""

from collections.abc import Sequence
from typing import Final

from probes.cell import Cell, Claim, Outcome
from probes.documents.waivers import JudgedWaiver
from probes.judging import claims
from probes.text import visible
from reports import controls, results
from reports.controls import Assessment, Control, State
from reports.formats.shared import (
    RECORD,
    Check,
    Identifiers,
    cell_name,
    checks,
    counted,
    evidence_texts,
    facts,
    fingerprint,
    json_text,
    required,
    subjects,
)
from reports.results import Run, time_text
from reports.summary import OUTCOME_WORDS

VERSION: Final = "1.1.3"
"""The version of OSCAL."""

_NAMESPACE: Final = "https://syscall-conformance.invalid/ns/oscal"
"""Whose properties they are: a name in the form of an address, as OSCAL wants it (RFC 6761)."""

_QUIET: Final = frozenset({Outcome.PASSED, Outcome.NOT_APPLICABLE})
_STATES: Final = {
    State.SUPPORTED: {"state": "satisfied", "reason": "pass"},
    State.CONTRADICTED: {"state": "not-satisfied", "reason": "fail"},
}


def render(run: Run) -> str:
    """The run as OSCAL assessment results."""
    uuids = Identifiers(results.record_digest(run))
    return json_text(
        {
            "assessment-results": {
                "uuid": uuids("assessment-results"),
                "metadata": {
                    "title": required(f"System call restrictions: {run.policy.title}"),
                    "last-modified": time_text(run.finished),
                    "version": uuids.digest[:16],
                    "oscal-version": VERSION,
                },
                "import-ap": {"href": f"#{uuids('policy')}"},
                "results": [_result(run, uuids)],
                "back-matter": {"resources": _resources(run, uuids)},
            }
        }
    )


def _result(run: Run, uuids: Identifiers) -> dict[str, object]:
    every = checks(run)
    assessments = controls.assess(run)
    result: dict[str, object] = {
        "uuid": uuids("result"),
        "title": required(f"{run.target.kind} under {run.policy.name}"),
        "description": required(results.summarize(run).ruling.sentence),
        "start": time_text(run.started),
        "end": time_text(run.finished),
        "props": [_property(name, value) for name, value in facts(run).items()],
        "local-definitions": {"components": [_component(run, uuids)]},
        "reviewed-controls": {
            "description": "The controls to which the claims of the suite speak.",
            "control-selections": [
                {"include-controls": [{"control-id": one.control.token} for one in assessments]}
            ],
        },
        "remarks": _remarks(assessments),
    }
    observations = [
        *(_group(run, check, uuids) for check in every),
        *(_waiver(run, rank, one, uuids) for rank, one in enumerate(run.waivers, 1)),
        *(
            _single(run, cell, uuids)
            for check in every
            for cell in check.cells
            if cell.outcome not in _QUIET
        ),
    ]
    findings = [_finding(one, every, uuids) for one in assessments if one.state in _STATES]
    # OSCAL has no empty lists.
    if observations:
        result["observations"] = observations
    if findings:
        result["findings"] = findings
    return result


def _remarks(assessments: Sequence[Assessment]) -> str:
    open_ = [
        f"{_named(one.control)}: {one.sentence}."
        for one in assessments
        if one.state is State.NOT_ASSESSED
    ]
    if not open_:
        return "Every control was assessed, as far as the claims of the suite speak to it."
    return visible(f"Not assessed: {' '.join(open_)}")


def _component(run: Run, uuids: Identifiers) -> dict[str, object]:
    component: dict[str, object] = {
        "uuid": uuids("target"),
        "type": "software",
        "title": required(run.target.kind),
        "description": required(run.target.description),
        "status": {"state": "operational"},
    }
    digests = [_property("sha256", digest, name) for name, digest in subjects(run)]
    return {**component, "props": digests} if digests else component


def _group(run: Run, check: Check, uuids: Identifiers) -> dict[str, object]:
    words = ", ".join(f"{count:,} {OUTCOME_WORDS[one]}" for one, count in counted(check.cells))
    return {
        "uuid": uuids("test", check.name),
        "title": check.title,
        "description": f"{claims.of(check.claim).meaning} {words}.",
        "props": [_property(one, str(count)) for one, count in counted(check.cells)],
        **_circumstances(run, _method(check.claim), uuids),
    }


def _single(run: Run, cell: Cell, uuids: Identifiers) -> dict[str, object]:
    key = cell.key
    evidence = [{"description": required(one)} for one in evidence_texts(cell)]
    properties = [
        _property("outcome", cell.outcome),
        _property("claim", key.claim),
        _property("profile", key.profile),
        _property("arch", key.arch),
        _property("syscall", key.syscall),
        _property("kernel", run.environments[cell.environment].kernel),
    ]
    if key.number is not None:
        properties.append(_property("number", str(key.number)))
    if key.part:
        properties.append(_property("stack", str(key.stack + 1)))
    return {
        "uuid": uuids("cell", fingerprint(cell)),
        "title": required(f"{key.claim} ({key.profile}): {cell_name(cell)}"),
        "description": required(cell.sentence),
        "props": properties,
        **_circumstances(run, _method(key.claim), uuids),
        "relevant-evidence": [
            *evidence,
            {"href": f"#{uuids('record')}", "description": f"The cell in {RECORD}."},
        ],
    }


def _waiver(run: Run, rank: int, one: JudgedWaiver, uuids: Identifiers) -> dict[str, object]:
    """An exception that somebody granted, and what came of it."""
    waiver = one.waiver
    return {
        "uuid": uuids("waiver", str(rank)),
        "title": required(f"Waiver {rank}: {waiver}"),
        "description": required(one.sentence),
        "props": [
            _property("state", one.state),
            _property("reason", waiver.reason),
            _property("owner", waiver.owner),
            _property("approver", waiver.approver),
            _property("created", waiver.created.isoformat()),
            _property("expires", waiver.expires.isoformat()),
            _property("waived", str(one.waived)),
        ],
        **_circumstances(run, "EXAMINE", uuids),
    }


def _method(claim: Claim) -> str:
    return "TEST" if claims.of(claim).observed else "EXAMINE"


def _circumstances(run: Run, method: str, uuids: Identifiers) -> dict[str, object]:
    return {
        "methods": [method],
        "types": ["control-objective"],
        "subjects": [{"subject-uuid": uuids("target"), "type": "component"}],
        "collected": time_text(run.finished),
    }


def _finding(one: Assessment, every: Sequence[Check], uuids: Identifiers) -> dict[str, object]:
    control = one.control
    related = [
        {"observation-uuid": uuids("test", check.name)}
        for check in every
        if check.claim in control.claims and check.profile in control.profiles
    ]
    return {
        "uuid": uuids("finding", control.token),
        "title": _named(control),
        "description": f"{control.why} {one.sentence[:1].upper()}{one.sentence[1:]}.",
        "target": {
            "type": "objective-id",
            "target-id": control.token,
            "title": control.title,
            "status": _STATES[one.state],
            "remarks": f"Not shown: {control.not_shown}",
        },
        "related-observations": related,
        "remarks": f"Source: {control.source}",
    }


def _named(control: Control) -> str:
    return f"{control.framework} {control.id}"


def _property(name: str, value: str, remarks: str = "") -> dict[str, str]:
    made = {"name": name.replace("_", "-"), "ns": _NAMESPACE, "value": required(value)}
    return {**made, "remarks": remarks} if remarks else made


def _resources(run: Run, uuids: Identifiers) -> list[dict[str, object]]:
    files = (
        ("policy", f"{run.policy.name}.toml", run.policy.title, run.policy.sha256),
        ("record", RECORD, "The record that this was rendered from.", uuids.digest),
    )
    return [
        {
            "uuid": uuids(name),
            "title": required(file),
            "description": required(words),
            "rlinks": [
                {
                    "href": required(file),
                    "hashes": [{"algorithm": "SHA-256", "value": digest}],
                }
            ],
        }
        for name, file, words, digest in files
    ]
