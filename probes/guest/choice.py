"""Guests by the words of a command line: which machine, with the kernel of which suite."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.errors import BadInputError
from probes.guest import boot, machines
from probes.guest.machines import Machine
from probes.guest.runner import Guest, Limits
from probes.version import DISTRIBUTION

EVERY: Final = "all"
"""The word for the whole fleet."""

FLEET: Final = (
    *("x86_64", "x86_64@bullseye", "x86_64@trixie", "x86_64@sid", "x32", "i386"),
    *("aarch64", "arm", "armv7", "ppc64le", "s390x", "riscv64", "loongarch64", "mips64el"),
)
"""Every machine with the kernel of its suite, and x86_64 with older and newer ones."""

_WITHOUT_USERLAND: Final = "experimental"
"""The suite that has single packages only, kernels among them, and takes the rest from sid."""

_SUITE_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz-")


@dataclass(frozen=True, slots=True)
class WantedGuest:
    """A guest that was asked for.

    Attributes:
        machine: the machine.
        kernel_suite: the Debian suite of its kernel.
        userland_suite: the Debian suite of its Python.
        named: whether the kernel's suite was asked for.
    """

    machine: Machine
    kernel_suite: str
    userland_suite: str
    named: bool

    def __str__(self) -> str:
        """The guest as the user writes it: ``aarch64``, ``x86_64@bullseye``."""
        name = self.machine.name
        return f"{name}@{self.kernel_suite}" if self.named else name

    @property
    def is_native(self) -> bool:
        """Whether this very machine, with the kernel that runs, is what was asked for."""
        return not self.named and self.machine.native == os.uname().machine


def read(words: Sequence[str]) -> tuple[WantedGuest, ...]:
    """The guests that words stand for, each once and in their order.

    Args:
        words: names of machines, with ``@SUITE`` for the kernel of another suite; or ``all``.

    Raises:
        BadInputError: a word is none of these.
    """
    spelled = [each for word in words for each in (FLEET if word == EVERY else (word,))]
    return tuple(dict.fromkeys(_read(word) for word in spelled))


def _read(word: str) -> WantedGuest:
    name, at, suite = word.partition("@")
    machine = machines.get(name)
    if at and not (suite and set(suite) <= _SUITE_LETTERS):
        raise BadInputError(
            f"guest {word!r}: {suite!r} is no suite of Debian: write such as {name}@bullseye"
        )
    # An older kernel runs a newer Python; a machine that is new to Debian has no older one.
    kernel = suite or machine.suite
    is_whole = machine.suite != machines.DEFAULT_SUITE and kernel != _WITHOUT_USERLAND
    userland = kernel if is_whole else machine.suite
    return WantedGuest(machine, kernel, userland, bool(at))


def prepare(wanted: WantedGuest, cache: Path, limits: Limits) -> Guest:
    """Gets or makes what a guest boots.

    Raises:
        BadInputError: a tool is missing, or the cache cannot be written.
        InstrumentError: Debian's packages cannot be had.
    """
    emulator = boot.emulator(wanted.machine, cache)
    kernel = boot.kernel(wanted.machine, wanted.kernel_suite, cache)
    userland = boot.userland(wanted.machine, wanted.userland_suite, cache)
    return Guest(wanted.machine, kernel, userland, limits, emulator)


def default_cache() -> Path:
    """The user's own cache folder, as the XDG Base Directory Specification has it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / DISTRIBUTION
