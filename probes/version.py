"""The suite's version, which stands nowhere else."""

from typing import Final

DISTRIBUTION: Final = "syscall-conformance"
"""What an index, and a record, calls the suite."""

VERSION = "0.1.0"
