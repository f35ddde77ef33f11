"""The suite's version, which stands nowhere else."""

from typing import Final

DISTRIBUTION: Final = "syscall-conformance"
"""The name of the suite's distribution, as an index and a record have it."""

VERSION = "0.1.0"
