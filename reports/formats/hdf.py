"""HDF, the InSpec exec JSON of MITRE's Heimdall.

An HDF control is a claim under a profile on an ABI. Heimdall takes a control for passed as soon as
one result is and none failed; so what was waived, could not be told, broke or does not apply is a
control of its own, and none of it hides behind what passed.
"""

from typing import Final

from probes.cell import Cell, Claim, Outcome
from probes.judging import claims
from probes.text import visible
from reports import controls, results
from reports.formats.shared import (
    RECORD,
    Check,
    cell_name,
    checks,
    evidence_texts,
    facts,
    json_text,
    required,
    slug,
)
from reports.results import Run, Verdict, time_text
from reports.summary import OUTCOME_WORDS

_STATUS: Final = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.BROKEN: "error",
    Outcome.CANNOT_TELL: "skipped",
    Outcome.NOT_APPLICABLE: "skipped",
    Outcome.WAIVED: "skipped",
    Outcome.ACCEPTED: "skipped",
}
_RULED: Final = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCOMPLETE: "skipped",
    Verdict.BROKEN: "error",
}
_DECIDED: Final = frozenset({Outcome.PASSED, Outcome.FAILED})
_IMPACT: Final = 0.7
"""High; 0 is how Heimdall knows what does not apply."""


def render(run: Run) -> str:
    """The run as an HDF file."""
    every = [
        (identifier, check, cells) for check in checks(run) for identifier, cells in _split(check)
    ]
    profile: dict[str, object] = {
        "name": slug(visible(run.policy.name)),
        "version": required(run.suite.version),
        "sha256": run.policy.sha256,
        "title": required(run.policy.title),
        "maintainer": required(run.suite.name),
        "summary": visible(results.summarize(run).ruling.sentence),
        "supports": [{"platform": "linux"}],
        "attributes": [
            {"name": name, "options": {"value": value}} for name, value in facts(run).items()
        ],
        "groups": _groups(every),
        "controls": [
            _whole(run),
            *(_control(run, identifier, check, cells) for identifier, check, cells in every),
        ],
        "status": "loaded",
    }
    return json_text(
        {
            "platform": {
                "name": required(run.environment.machine),
                "release": required(run.environment.kernel),
                "target_id": required(f"{run.target.kind}: {run.target.description}"),
            },
            "version": required(run.suite.version),
            "statistics": {
                "duration": (run.finished - run.started).total_seconds(),
                "controls": _statistics([cells for _, _, cells in every]),
            },
            "profiles": [profile],
            "passthrough": {"record": RECORD, "sha256": results.record_digest(run)},
        }
    )


def _whole(run: Run) -> dict[str, object]:
    """The verdict on the run: whether what passed counts, which no other control says."""
    ruling = results.summarize(run).ruling
    status = _RULED[ruling.verdict]
    sentence = visible(ruling.sentence)
    result = {
        "status": status,
        "code_desc": "the whole run",
        "start_time": time_text(run.started),
        "message": sentence,
    }
    return {
        **_frame(run, "run", "The verdict on the run", sentence),
        "impact": _IMPACT,
        "tags": {"nist": []},
        "results": [{**result, "skip_message": sentence} if status == "skipped" else result],
    }


def _frame(run: Run, identifier: str, title: str, description: str) -> dict[str, object]:
    """What every control has."""
    return {
        "id": identifier,
        "title": title,
        "desc": description,
        "descriptions": [{"label": "check", "data": description}],
        "refs": [],
        "source_location": {"ref": required(run.policy.name), "line": 1},
        "code": "",
        "waiver_data": {},
    }


def _split(check: Check) -> list[tuple[str, list[Cell]]]:
    """The cells of a test by control: those that were decided, and each other outcome by itself."""
    groups: dict[str, list[Cell]] = {}
    for cell in check.cells:
        suffix = "" if cell.outcome in _DECIDED else f"/{slug(OUTCOME_WORDS[cell.outcome])}"
        # Heimdall knows one waiver for a control.
        which = "" if cell.waiver is None else f"/{cell.waiver + 1}"
        groups.setdefault(f"{check.name}{suffix}{which}", []).append(cell)
    return list(groups.items())


def _groups(every: list[tuple[str, Check, list[Cell]]]) -> list[dict[str, object]]:
    members: dict[Claim, list[str]] = {}
    for identifier, check, _ in every:
        members.setdefault(check.claim, []).append(identifier)
    return [
        {"id": slug(claim), "title": claims.of(claim).meaning, "controls": names}
        for claim, names in members.items()
    ]


def _control(run: Run, identifier: str, check: Check, cells: list[Cell]) -> dict[str, object]:
    outcome = cells[0].outcome
    applies = outcome is not Outcome.NOT_APPLICABLE
    nist = [
        one.id
        for one in controls.load()
        if one.framework.startswith("NIST")
        and check.claim in one.claims
        and check.profile in one.profiles
        and controls.is_about(run, one)
    ]
    suffix = "" if outcome in _DECIDED else f": {OUTCOME_WORDS[outcome]}"
    return {
        **_frame(run, identifier, f"{check.title}{suffix}", claims.of(check.claim).meaning),
        "impact": _IMPACT if applies else 0.0,
        "tags": {
            "nist": [*nist, "Rev_5"] if nist else [],
            "claim": check.claim,
            "profile": visible(check.profile),
            "arch": visible(check.arch),
        },
        "waiver_data": _waiver_data(run, cells[0]),
        "results": [_result(run, cell) for cell in cells],
    }


def _waiver_data(run: Run, cell: Cell) -> dict[str, object]:
    """The waiver of a control's cells. It was run all the same, and is not "not applicable"."""
    if cell.waiver is None:
        return {}
    waiver = run.waivers[cell.waiver].waiver
    return {
        "justification": visible(f"{waiver.reason} ({waiver.approver})"),
        "expiration_date": waiver.expires.isoformat(),
        "run": True,
        "skipped_due_to_waiver": False,
    }


def _result(run: Run, cell: Cell) -> dict[str, str]:
    status = _STATUS[cell.outcome]
    # Not in the backtrace, which makes a result an error to Heimdall.
    message = "\n".join(map(visible, (cell.sentence, *evidence_texts(cell))))
    result = {
        "status": status,
        "code_desc": cell_name(cell),
        "start_time": time_text(run.started),
        "message": message,
    }
    return {**result, "skip_message": message} if status == "skipped" else result


def _statistics(every: list[list[Cell]]) -> dict[str, dict[str, int]]:
    """How many controls came to what, as InSpec counts them."""
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for cells in every:
        seen = {_STATUS[cell.outcome] for cell in cells}
        worst = next(one for one in ("failed", "error", "passed", "skipped") if one in seen)
        totals["failed" if worst == "error" else worst] += 1
    return {name: {"total": count} for name, count in totals.items()}
