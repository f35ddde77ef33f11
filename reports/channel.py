"""What a run tells the program that has started it: lines of JSON in a file of that program's.

So nothing that pytest writes for people has to be understood by a program.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from probes.errors import InstrumentError

VARIABLE: Final = "SYSCALL_CONFORMANCE_CHANNEL"
"""The variable that names the file; without it nothing is told."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a run has told so far.

    Attributes:
        percent: how much of it is done.
        refused: why it never began, in a sentence; "" where it did, or has not said so.
        troubles: sentences about what went wrong on its way.
        record: the digest of the record that it has written; "" where it has written none.
    """

    percent: int = 0
    refused: str = ""
    troubles: tuple[str, ...] = ()
    record: str = ""


def is_listened_to() -> bool:
    """Whether somebody wants to be told."""
    return bool(os.environ.get(VARIABLE))


def tell_done(percent: int) -> None:
    """Tells how much of the run is done.

    Raises:
        OSError: it cannot be written.
    """
    _tell({"done": percent})


def tell_refused(sentence: str) -> None:
    """Tells why the run does not begin.

    Raises:
        OSError: it cannot be written.
    """
    _tell({"refused": sentence})


def tell_trouble(sentence: str) -> None:
    """Tells what went wrong on the way.

    Raises:
        OSError: it cannot be written.
    """
    _tell({"trouble": sentence})


def tell_record(sha256: str) -> None:
    """Tells which record the run has written, by the digest of its file.

    Raises:
        OSError: it cannot be written.
    """
    _tell({"record": sha256})


def _tell(message: Mapping[str, str | int]) -> None:
    place = os.environ.get(VARIABLE)
    if not place:
        return
    line = json.dumps(message, ensure_ascii=True).encode("ascii") + b"\n"
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    finally:
        os.close(descriptor)


def heard(path: Path) -> Heard:
    """What was told in a file until now; nothing where there is no file.

    Raises:
        InstrumentError: something else has written there.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Heard()
    whole, _, _ = text.rpartition(b"\n")  # the last line may still be being written
    told = Heard()
    try:
        for line in whole.splitlines():
            told = _with(told, json.loads(line))
    except (ValueError, TypeError, AttributeError) as error:
        raise InstrumentError(
            f"{path}: what the run tells there cannot be understood ({error}): has something else"
            " written to that file?"
        ) from error
    return told


def _with(told: Heard, message: dict[str, Any]) -> Heard:
    """What was told, and one message more."""
    ((kind, value),) = message.items()
    match kind:
        case "done":
            return replace(told, percent=int(value))
        case "refused":
            return replace(told, refused=str(value))
        case "trouble":
            return replace(told, troubles=(*told.troubles, str(value)))
        case "record":
            return replace(told, record=str(value))
    raise ValueError(f"{kind!r} is no message")
