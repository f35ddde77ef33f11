"""A second opinion on a sandbox: a small C program that asks it by means the suite does not use.

``prober.c`` says how. The numbers are the kernel headers' own, not those of the suite's tables.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError, InstrumentError

RUNS: Final = "runs"
SIGSYS: Final = "SIGSYS"

ABIS: Final[Mapping[str, str]] = MappingProxyType({"x86_64": "64", "x32": "x32", "i386": "32"})
"""The ABIs that it enters, each with the end of its header's name."""

NAME: Final = "prober"
"""The program's file in a root of its own."""

HOLD: Final = "hold"
"""The word that has it hold still."""

_SOURCE: Final = Path(__file__).with_name("prober.c")
_HEADERS: Final = Path("/usr/include/x86_64-linux-gnu/asm")
_LAST: Final = "done"
_COMPILE_SECONDS: Final = 120
_LINE: Final = re.compile(r"(\w+) (\d+) (.+)")

Answers = Mapping[tuple[str, str], str]
"""What became of each call, by ABI and name."""


def source() -> bytes:
    """The program's source, which answers depend on."""
    return _SOURCE.read_bytes()


def numbers(abi: str, names: Iterable[str]) -> dict[str, int]:
    """The numbers of those calls that an ABI has, by the kernel's headers.

    Args:
        abi: one of ``ABIS``.
        names: the kernel's names.

    Raises:
        BadInputError: the headers are missing.
    """
    header = _HEADERS / f"unistd_{ABIS[abi]}.h"
    try:
        text = header.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(
            f"{header}: {error.strerror}; run: apt-get install --no-install-recommends"
            " linux-libc-dev"
        ) from error
    found = re.findall(r"#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)", text)
    known = {name: int(number) for name, number in found}
    return {name: known[name] for name in names if name in known}


def words(names: Iterable[str]) -> tuple[str, ...]:
    """The program's arguments for these calls, on every ABI that has them.

    Raises:
        BadInputError: the headers are missing.
    """
    wanted = tuple(names)
    return tuple(f"{abi}:{number}" for abi in ABIS for number in numbers(abi, wanted).values())


def build(root: Path) -> Path:
    """Makes a root file system of the program alone.

    Args:
        root: its folder.

    Raises:
        BadInputError: there is no compiler.
        InstrumentError: it does not compile the program.
    """
    if shutil.which("gcc") is None:
        raise BadInputError(
            "the C program that asks sandboxes must be compiled; run: apt-get install "
            "--no-install-recommends gcc libc6-dev"
        )
    for place in ("proc", "dev", "sys", "etc", "usr", "tmp", "run", "var", "root"):
        (root / place).mkdir(parents=True, exist_ok=True)
    # systemd-nspawn(1) runs nothing in a folder that is no operating system's.
    (root / "etc/os-release").write_text("ID=prober\n", encoding="utf-8")
    done = subprocess.run(
        ["gcc", "-O1", "-static", "-o", root / NAME, _SOURCE],  # noqa: S607 - on PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMPILE_SECONDS,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InstrumentError(
            f"{_SOURCE.name} does not compile: {said[0] if said else 'gcc fails'}"
        )
    return root


def read(text: str, names: Iterable[str]) -> Answers:
    """What the program said.

    Args:
        text: all that it printed.
        names: the calls that it was asked about.

    Raises:
        InstrumentError: it did not come to its end, or could not tell.
    """
    lines = text.split("\n")
    if _LAST not in lines:
        raise InstrumentError(f"the C program did not end well: {text.strip()[-200:] or 'no word'}")
    wanted = tuple(names)
    by_number = {
        (abi, number): name for abi in ABIS for name, number in numbers(abi, wanted).items()
    }
    found: dict[tuple[str, str], str] = {}
    for match in filter(None, map(_LINE.fullmatch, lines)):
        abi, number, answer = match[1], int(match[2]), match[3]
        if answer.startswith("untold"):
            raise InstrumentError(f"the C program cannot tell about {abi} {number}: {answer}")
        found[abi, by_number[abi, number]] = answer
    if missing := sorted(
        set(by_number) - {(abi, numbers(abi, [name])[name]) for abi, name in found}
    ):
        raise InstrumentError(f"the C program said nothing about {missing[0]}")
    return found
