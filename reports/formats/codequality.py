"""GitLab's Code Quality: the part of Code Climate's format that merge requests show.

GitLab reads a report without issues as success, so that a run without a verdict has an issue of its
own. It tells issues apart by their fingerprints, and marks those that the target branch lacks.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from probes.text import visible
from reports import results
from reports.causes.blame import Spot, policy_path
from reports.formats.alerts import RULES, Alert, alerts, undecided
from reports.formats.shared import json_text, required
from reports.results import Run, Verdict

_GRAVE: Final = 7.0
"""The CVSS-like severity from which an issue is "critical", as CVSS has "high"."""


def render(run: Run) -> str:
    """The issues, as a list; none of a run that passed."""
    return json_text(list(_issues(run)))


def _issues(run: Run) -> Iterator[dict[str, object]]:
    ruling = results.summarize(run).ruling
    if ruling.verdict not in {Verdict.PASS, Verdict.FAIL}:
        whole = hashlib.sha256(f"run\0{run.target.kind}".encode(errors="surrogatepass"))
        spot = Spot("", policy_path(run), None)
        fingerprint = whole.hexdigest()[:32]
        yield _issue("not-assessed", undecided(run), spot, fingerprint, "blocker")
    for one in alerts(run):
        yield _issue(one.rule, one.message, one.spot, one.fingerprint, _severity(one))


def _severity(one: Alert) -> str:
    if one.is_accepted:
        return "info"
    _, _, severity = RULES[one.rule]
    return "critical" if float(severity) >= _GRAVE else "major"


def _issue(
    rule: str, message: str, spot: Spot, fingerprint: str, severity: str
) -> dict[str, object]:
    lines = spot.lines
    first, last = (1, 1) if lines is None else (lines.first, max(lines.first, lines.last))
    return {
        "description": required(message),
        "check_name": f"syscall-conformance/{rule}",
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {
            "path": visible(spot.path).lstrip("/") or "-",
            "lines": {"begin": first, "end": last},
        },
    }
