"""What the matrix of runtimes runs in each container: the suite's judge, without pytest's share.

That a whole run of pytest gives the same there is shown once a runtime; most of its time goes to
what does not depend on the confinement.
"""

import json
import sys
from typing import Any

from probes.action import Profile
from probes.audit.source import NONE
from probes.audit.trail import AuditTrail
from probes.files import DEFAULT_POLICY
from probes.judging.claims import documented
from probes.judging.examiner import Examiner
from probes.run import settings, values
from probes.run.bench import open_zygote
from probes.targets.ambient import Ambient
from probes.targets.name import AMBIENT
from reports.results import codec


def judged(profile: Profile) -> dict[str, Any]:
    """The verdicts about every documented call, and what is to be known of the confinement."""
    words = values.read(DEFAULT_POLICY, profile=profile.value, target=AMBIENT, audit_source=NONE)
    resolved = settings.resolve(words)
    assert isinstance(resolved.target, Ambient)
    effect, record = documented(profile)
    cases = [case for case in resolved.cases if case.claim is effect]
    # No records are to be had, so that one call stands for all.
    cases.append(next(case for case in resolved.cases if case.claim is record))
    with open_zygote(resolved) as zygote:
        trail = AuditTrail(None, "no record reaches this container")
        examiner = Examiner(zygote, resolved.target, resolved.policy, resolved.offered, trail)
        controls = examiner.calibrate(resolved.arches)
        cells = [*controls, *examiner.examine(cases)]
    return {
        "description": resolved.target.description,
        "findings": [one.text for one in resolved.target.findings],
        "cells": [codec.cell_to_json(cell) for cell in cells],
    }


if __name__ == "__main__":
    json.dump(judged(Profile(sys.argv[1])), sys.stdout)
