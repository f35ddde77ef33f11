"""The numbers of x86's calls, by the kernel's own headers."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from probes.tests.support.oracles import require

X32: Final = 1 << 30
"""The bit that tells x32's numbers from x86_64's."""

_HEADERS: Final = Path("/usr/include/x86_64-linux-gnu/asm")


@cache
def defined(header: str) -> Mapping[str, int]:
    """The numbers of all calls by name.

    Args:
        header: ``unistd_64.h``, ``unistd_x32.h`` or ``unistd_32.h``.
    """
    text = Path(require(str(_HEADERS / header), "linux-libc-dev")).read_text(encoding="ascii")
    found = re.findall(r"#define __NR_(\w+) (\(__X32_SYSCALL_BIT \+ )?(\d+)", text)
    return {name: int(number) | (X32 if of_x32 else 0) for name, of_x32, number in found}
