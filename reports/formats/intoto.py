"""An in-toto Statement v1 with the predicate test-result v0.1, for cosign and others to sign.

Not signed itself. A test is a claim under a profile on an ABI; what its cells were is in the
record, whose digest the configuration holds. The predicate knows no word for "not assessed":
only a run that passed is PASSED or WARNED, any other is FAILED, so that no gate opens by mistake.
"""

from typing import Final

from probes.cell import FORGIVEN, Outcome
from probes.text import visible
from reports import results
from reports.formats.shared import (
    RECORD,
    Check,
    checks,
    json_text,
    programs,
    required,
    subjects,
)
from reports.results import Run, Verdict

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://in-toto.io/attestation/test-result/v0.1"

_PASSED, _WARNED, _FAILED = "PASSED", "WARNED", "FAILED"


def render(run: Run) -> str:
    """The run as a statement about what was tested."""
    record = _descriptor(RECORD, results.record_digest(run))
    every = [(check.name, _result(check)) for check in checks(run)]
    predicate: dict[str, object] = {
        "result": _ruled(run),
        "configuration": [
            _descriptor(required(run.policy.name), run.policy.sha256),
            *(_descriptor(*program) for program in programs(run)),
            record,
        ],
        "passedTests": [name for name, result in every if result == _PASSED],
        "warnedTests": [name for name, result in every if result == _WARNED],
        "failedTests": [name for name, result in every if result == _FAILED],
    }
    pipeline = run.run_by.pipeline
    if pipeline is not None and pipeline.job:
        predicate["url"] = visible(pipeline.job)
    return json_text(
        {
            "_type": STATEMENT,
            # A running process or a foreign filter may have no digest: then the record stands in.
            "subject": [_descriptor(*subject) for subject in subjects(run)] or [record],
            "predicateType": PREDICATE,
            "predicate": predicate,
        }
    )


def _descriptor(name: str, sha256: str) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": sha256}}


def _ruled(run: Run) -> str:
    summary = results.summarize(run)
    if summary.ruling.verdict is not Verdict.PASS:
        return _FAILED
    forgiven = any(summary.counts[outcome] for outcome in FORGIVEN)
    whole = summary.planned >= summary.selected_of and not forgiven
    return _PASSED if whole else _WARNED


def _result(check: Check) -> str:
    outcomes = {cell.outcome for cell in check.cells}
    if outcomes & {Outcome.FAILED, Outcome.BROKEN}:
        return _FAILED
    if outcomes & {Outcome.CANNOT_TELL, *FORGIVEN}:
        return _WARNED
    return _PASSED if Outcome.PASSED in outcomes else ""
