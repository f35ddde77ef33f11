"""The process that compiles by libseccomp, whose calls may never come back.

One line of JSON asks, one answers; ``probes.targets.oci.compile_request`` is the other side. It
sets a limit on the processor time of each question: a library that loops then ends the process.
"""

import importlib
import json
import math
import os
import re
import resource
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final, Protocol

_CTL_OPTIMIZE: Final = 8
_SEARCH_TREE: Final = 2
"""SCMP_FLTATR_CTL_OPTIMIZE of seccomp_attr_set(3) and its value for a tree."""

UNKNOWN: Final = -1
"""__NR_SCMP_ERROR: no architecture has a call of this name."""

_LIBRARY_FILE: Final = re.compile(r"/libseccomp\.so\.([0-9]+(?:\.[0-9]+)+)$", re.MULTILINE)


class _Filter(Protocol):
    """What is used of pyseccomp's SyscallFilter; all raise OSError where libseccomp refuses."""

    def add_arch(self, arch: int) -> None:
        """seccomp_arch_add(3)."""

    def remove_arch(self, arch: int) -> None:
        """seccomp_arch_remove(3)."""

    def set_attr(self, attr: int, value: int) -> None:
        """seccomp_attr_set(3)."""

    def add_rule(self, action: int, syscall: int, *args: object) -> None:
        """seccomp_rule_add_array(3)."""

    def export_bpf(self, file: IO[bytes]) -> None:
        """seccomp_export_bpf(3)."""


def serve() -> None:
    """Answers every line of standard input by a line on standard output."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    _limit(order["processor_seconds"])
    try:
        library = importlib.import_module("pyseccomp")
    except ImportError:
        return {"no_binding": True}
    except (RuntimeError, OSError, AttributeError) as error:
        return {"no_library": str(error)}
    names = dict.fromkeys(order["names"])
    here = library.system_arch()
    tokens = dict.fromkeys((here, *order["architectures"]))
    numbers = {
        token: {name: library.resolve_syscall(token, name) for name in names} for token in tokens
    }
    told = {"version": _version(), "here": here, "numbers": list(numbers.items())}
    try:
        program = _exported(library, order, numbers[here])
    except _RefusedError as refused:
        return {**told, "refused": [refused.step, refused.place, *refused.reason]}
    return {**told, "program": program.hex()}


def _limit(seconds: int) -> None:
    """Has the kernel end this process by SIGXCPU after so much more processor time."""
    soft = math.ceil(time.process_time()) + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _version() -> str:
    match = _LIBRARY_FILE.search(Path("/proc/self/maps").read_text(errors="replace"))
    return match[1] if match else "?"


class _RefusedError(Exception):
    """A step of libseccomp's that failed.

    Attributes:
        step: the step.
        place: which of several, from 0.
        reason: the error's number and its words.
    """

    def __init__(self, step: str, place: int, error: OSError) -> None:
        super().__init__(step)
        self.step = step
        self.place = place
        self.reason = (error.errno, error.strerror)


def _exported(library: ModuleType, order: dict[str, Any], numbers: dict[str, int]) -> bytes:
    """The program that libseccomp makes of the rules."""
    try:
        built: _Filter = library.SyscallFilter(order["default"])
    except OSError as error:  # EINVAL for the errno 4095, the kernel's highest
        raise _RefusedError("default", 0, error) from error
    _set_architectures(library.system_arch(), built, order["architectures"])
    if order["is_tree"]:
        # libseccomp before 2.5 has no trees; runc goes on, too, for they change no result.
        try:
            built.set_attr(_CTL_OPTIMIZE, _SEARCH_TREE)
        except OSError:
            order["is_tree"] = False
    for place, rule in enumerate(order["rules"]):
        number = numbers[rule["name"]]
        for conditions in rule["alternatives"] if number != UNKNOWN else ():
            try:
                built.add_rule(rule["returns"], number, *(library.Arg(*one) for one in conditions))
            except OSError as error:
                raise _RefusedError("rule", place, error) from error
    with os.fdopen(os.memfd_create("profile"), "w+b") as file:
        try:
            built.export_bpf(file)
        except OSError as error:
            raise _RefusedError("export", 0, error) from error
        file.seek(0)
        return file.read()


def _set_architectures(here: int, built: _Filter, wanted: list[int]) -> None:
    """Gives a filter the architectures, which are not this machine's if it is for another one."""
    if here not in wanted:
        built.remove_arch(here)
    for place, token in enumerate(wanted):
        try:
            built.add_arch(token)
        except FileExistsError:  # named twice
            continue
        except OSError as error:
            raise _RefusedError("architecture", place, error) from error
