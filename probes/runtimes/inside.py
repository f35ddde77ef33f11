"""Judging from inside: the suite runs in the container, as the target ``ambient``.

What it needs is mounted beside the container's own files, on the file system that every runtime
mounts at /dev: the suite and its packages, read-only, and a folder for the results.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from probes import main_job
from probes.errors import BadInputError
from probes.files import SUITE
from probes.runtimes import container, probe_python
from probes.runtimes.wanted import Job, Mount, Wanted

PLACE: Final = "/dev/.syscall-conformance"
"""Where in the container everything is."""

LOADER: Final = "/dev/.sc-loader"
"""Where the loader of a mounted Python is: a short path, for it replaces another in a program."""

_PACKAGES: Final = ("pytest", "rich", "system_calls")
_RESULTS: Final = "results"
_RECORD: Final = "results.json"

# The image's environment and what is installed there say nothing: of its Python only the standard
# library counts.
_ALONE: Final = ("-I", "-S")
_PROGRAM: Final = """\
import os, sys
if sys.version_info < (3, 11):
    sys.exit(f"Python {sys.version.split()[0]} is too old: the suite needs 3.11 or newer")
for name in list(os.environ):
    if name.startswith(("PYTHON", "PYTEST_")):
        del os.environ[name]
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
sys.dont_write_bytecode = True
sys.path += sys.argv[1].split(":")
import pytest
os.chdir(sys.argv[2])
pytest.main(sys.argv[3:])
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of judging inside a container.

    Attributes:
        record: the results; None where there are none.
        said: what was printed.
    """

    record: Path | None
    said: str


def judge(
    wanted: Wanted,
    folder: Path,
    python: Path | None,
    options: Sequence[str],
    policy: Path | None = None,
) -> Judged:
    """Has the suite judge a container from inside; the container is removed.

    Args:
        wanted: the container.
        folder: a new folder for the results, which anybody may write to.
        python: a root file system with Python to mount; None for the image's own.
        options: the suite's options besides the target and the policy.
        policy: the policy; None for the one that ships with the suite.

    Raises:
        BadInputError: the runtime refuses, or there is no Python.
        InstrumentError: it takes too long.
    """
    results = folder / _RESULTS
    results.mkdir()
    results.chmod(0o777)
    made = container.make(wanted)
    try:
        with container.removed(made):
            said = made.run(_job(folder, python, options, policy))
    except BadInputError as error:
        if python is None and "python3" in str(error):
            raise BadInputError(
                "to judge from inside takes python3 in the container: mount one (--probe-python);"
                f" {error}"
            ) from error
        raise
    record = results / _RECORD
    return Judged(record if record.is_file() else None, said)


def _job(folder: Path, python: Path | None, options: Sequence[str], policy: Path | None) -> Job:
    out = f"{PLACE}/out"
    packages = list(_packages())
    mounts = [Mount(path, f"{PLACE}/{index}") for index, path in enumerate(packages)]
    mounts.append(Mount(folder / _RESULTS, out, writable=True))
    places = ":".join(mount.place for mount in mounts[:-1])
    environment: Mapping[str, str] = {"TMPDIR": out}
    interpreter = "python3"
    if python is not None:
        interpreter, more, variables = _mounted(folder, python)
        mounts += more
        environment = {**environment, **variables}
    if policy is not None:
        mounts.append(Mount(policy.absolute(), f"{PLACE}/policy.toml"))
        options = [*options, f"--policy={PLACE}/policy.toml"]
    suite = f"{PLACE}/0"
    words = (
        *(interpreter, *_ALONE, "-c", _PROGRAM, places, suite, f"{suite}/cases"),
        *main_job.words(PurePosixPath(suite)),
        *("-q", "--tb=line", "--color=no"),
        *("--target=ambient", f"--report-dir={out}", *options),
    )
    return Job(words, environment, tuple(mounts))


def _mounted(folder: Path, root: Path) -> tuple[str, list[Mount], Mapping[str, str]]:
    """The interpreter of another root file system: its path, its mounts, its environment."""
    place = f"{PLACE}/python"
    found = probe_python.prepare(root, LOADER)
    patched = folder / "python3"
    patched.write_bytes(found.patched)
    patched.chmod(0o755)
    mounts = [
        Mount(root.absolute(), place),
        Mount(patched, f"{place}/{found.program}"),
        Mount(found.loader, LOADER),
    ]
    libraries = ":".join(f"{place}/{library}" for library in found.libraries)
    return f"{place}/{found.program}", mounts, {"LD_LIBRARY_PATH": libraries}


def _packages() -> Iterator[Path]:
    """The folders on this machine that have the suite, and what it imports; the suite's first."""
    suite = SUITE
    folders = [suite]
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise BadInputError(f"{name} is not installed for {sys.executable}: install it")
        folders.append(Path(spec.origin).parents[1])
    yield from dict.fromkeys(folders)
