"""Files of reports: written whole or not at all."""

import os
import secrets
from pathlib import Path

from probes.errors import BadInputError


def write_text(text: str, path: Path) -> None:
    """Writes a report so that a reader finds the old file or the whole new one, never a part.

    The folder is made where it is missing.

    Raises:
        BadInputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(text.encode(), path)
        _sync_folder(path.parent)
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot write the report ({error.strerror or error}): name another folder"
        ) from error


def write_whole(content: bytes, path: Path) -> None:
    """Writes a file so that a reader finds the old one or the whole new one, never a part.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # nothing is left on Ctrl-C, too; it is raised again
        temporary.unlink(missing_ok=True)
        raise


def check_folder(folder: Path) -> None:
    """Makes the folder for reports where it is missing, and tries to write a file to it.

    Raises:
        BadInputError: it cannot be made or written to.
    """
    trial = folder / f".{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise BadInputError(
            f"{folder}: cannot write reports there ({error.strerror or error}): name another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut; fsync(2) asks for this second step."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
