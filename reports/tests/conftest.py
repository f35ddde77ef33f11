"""What all tests of this folder share."""

import probes.tests.interruptible
import probes.tests.unhurried  # noqa: F401 - it sets Hypothesis up
