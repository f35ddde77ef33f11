"""libseccomp, asked in a process of its own: a compile that it does not finish ends at a deadline.

Releases of it are known that loop for ever over some rules, and no runtime gets further with them.
"""

import atexit
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument.helper import Helper, NoAnswerError
from probes.instrument.libseccomp import UNKNOWN

__all__ = ["UNKNOWN", "CompileAnswer", "CompileRequest", "Refusal", "Rule", "ask", "version"]

PROCESSOR_SECONDS: Final = 8
"""How much processor time libseccomp may take; the longest profile that is taken needs 2 s."""

SECONDS: Final = 12.0
"""How long it may take; more than its processor time, for other programs run as well."""

Conditions = Sequence[tuple[int, int, int, int]]
"""Conditions of which all must hold: an argument's index, ``enum scmp_compare``, and two values."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as libseccomp takes it.

    Attributes:
        name: the call.
        returns: what the filter returns.
        alternatives: a rule of its own for each: where one of them holds, the rule does.
    """

    name: str
    returns: int
    alternatives: Sequence[Conditions]


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What libseccomp is to compile.

    Attributes:
        default: what the filter returns where no rule holds.
        architectures: libseccomp's tokens of those that the filter is for.
        rules: in order.
        names: the calls whose numbers are asked for, those of the rules among them.
        is_tree: whether the filter is to be a search tree.
    """

    default: int
    architectures: Sequence[int]
    rules: Sequence[Rule]
    names: Sequence[str] = ()
    is_tree: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A step that libseccomp refused.

    Attributes:
        step: ``default``, ``architecture``, ``rule`` or ``export``.
        place: which of several, from 0.
        number: the error's.
        words: what the error means.
    """

    step: str
    place: int
    number: int
    words: str


@dataclass(frozen=True, slots=True)
class CompileAnswer:
    """What libseccomp makes of an order.

    Attributes:
        version: its release, by its file's name; "?" for another name.
        here: its token of this machine.
        numbers: by architecture's token and call; ``UNKNOWN`` for a call that none has.
        program: the filter; empty where it was refused.
        refusal: the step that was refused; None where none was.
    """

    version: str
    here: int
    numbers: Mapping[int, Mapping[str, int]]
    program: Program = ()
    refusal: Refusal | None = None


class EndlessError(BadInputError):
    """libseccomp does not come to an end."""


def ask(request: CompileRequest, path: str, *, big_endian: bool) -> CompileAnswer:
    """Has libseccomp compile.

    Args:
        request: what is to be compiled.
        path: the profile, as a sentence can hold it.
        big_endian: the byte order of the program.

    Raises:
        BadInputError: libseccomp or its binding is missing.
        EndlessError: it does not finish in time.
    """
    question = {**asdict(request), "processor_seconds": PROCESSOR_SECONDS}
    try:
        raw = _helper().ask(json.dumps(question).encode(), SECONDS)
    except NoAnswerError as error:
        if error.status not in {None, -signal.SIGXCPU}:
            raise BadInputError(
                f"{path}: libseccomp crashed over the profile (status {error.status}), and so "
                f"would a runtime: simplify its rules"
            ) from error
        raise EndlessError(
            f"{path}: libseccomp did not compile the profile within {PROCESSOR_SECONDS} s of "
            f"processor time or {SECONDS:.0f} s in all, and a runtime would hang likewise: "
            f"simplify the rules of a call that compare the same argument"
        ) from error
    return _answer(json.loads(raw), big_endian=big_endian)


def numbers(calls: Sequence[str], tokens: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
    """The numbers of calls as libseccomp has them, by architecture; below 0 for none.

    Args:
        calls: the calls.
        tokens: libseccomp's tokens of the architectures.

    Raises:
        BadInputError: it cannot be loaded, or refuses an architecture.
    """
    return ask(CompileRequest(_ALLOW, tokens, (), calls), "libseccomp", big_endian=False).numbers


_ALLOW: Final = 0x7FFF0000


def version() -> str:
    """The release of the libseccomp that compiles.

    Raises:
        BadInputError: it cannot be loaded.
    """
    if not _versions:
        ask(CompileRequest(0, (), ()), "libseccomp", big_endian=False)
    return _versions[-1]


_helpers: Final[list[Helper]] = []
_versions: Final[list[str]] = []


def _helper() -> Helper:
    """The process that is asked: started once, and again where it has ended."""
    if not (_helpers and _helpers[-1].is_alive):
        started = Helper("from probes.instrument import libseccomp; libseccomp.serve()")
        atexit.register(started.close)
        _helpers[:] = [started]
    return _helpers[-1]


def _answer(said: Mapping[str, Any], *, big_endian: bool) -> CompileAnswer:
    if "no_binding" in said:
        raise BadInputError(
            "an OCI profile is compiled by libseccomp, and its Python binding is not installed: "
            "pip install pyseccomp"
        )
    if "no_library" in said:
        raise BadInputError(
            f"an OCI profile is compiled by libseccomp, which cannot be loaded "
            f"({said['no_library']}): install libseccomp.so.2, on Debian with apt-get install "
            f"libseccomp2"
        )
    _versions[:] = [said["version"]]
    numbers: dict[int, dict[str, int]] = dict(said["numbers"])
    refused = said.get("refused")
    return CompileAnswer(
        said["version"],
        said["here"],
        numbers,
        bpf.from_bytes(bytes.fromhex(said.get("program", "")), big_endian=big_endian),
        None if refused is None else Refusal(*refused),
    )
