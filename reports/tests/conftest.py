"""What all tests of this folder share."""

import probes.tests.support.interruptible
import probes.tests.support.unhurried  # noqa: F401 - it sets Hypothesis up
