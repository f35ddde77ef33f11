"""How Hypothesis runs here: without a stopwatch, which a loaded machine would lose to.

With ``SYSCALL_CONFORMANCE_REPEATABLE=1`` it makes up the same input every time, and a fifth of it.
Where the checkout cannot be written to, input that failed is not kept for the next run.
"""

import os
from typing import Final

from hypothesis import HealthCheck, settings

from probes.files import SUITE

REPEATABLE: Final = "SYSCALL_CONFORMANCE_REPEATABLE"

_KEPT: Final = SUITE / ".hypothesis"

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
if os.environ.get(REPEATABLE) == "1":
    settings.register_profile("repeatable", derandomize=True, database=None, max_examples=20)
    settings.load_profile("repeatable")
elif not os.access(_KEPT if _KEPT.exists() else SUITE, os.W_OK):
    settings.register_profile("read-only", database=None)
    settings.load_profile("read-only")
