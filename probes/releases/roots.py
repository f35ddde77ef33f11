"""Root file systems of Debian's releases, made once from packages and never written to afterwards.

The packages come by ``probes.guest.packages`` and lie in the same cache; mmdebstrap(1) installs
them, for a runtime or a daemon needs what their own scripts set up: accounts, links, certificates.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError, InstrumentError
from probes.guest import packages
from probes.guest.packages import Archive, Package

SUITES: Final = ("bookworm", "trixie", "sid")
"""The releases whose runtimes are compared, the oldest first."""

_RUNTIMES: Final = (
    *("bubblewrap", "containerd", "crun", "dbus", "docker.io", "podman", "python3", "runc"),
    *("systemd", "systemd-container"),
)
_MORE: Final = MappingProxyType({"trixie": ("docker-cli",), "sid": ("docker-cli",)})
"""What was part of another package in the first release."""

_RECIPE: Final = 1
"""Part of every digest: raise it when the same packages shall give another root."""

_ESSENTIAL: Final = "?and(?essential, ?not(?exact-name(apt)))"
"""Apt's pattern for what every root has (apt-patterns(7)); only apt counts itself among them."""

_ALWAYS: Final = ("mount",)
"""What a machine needs of its root: umount(8), once the root is its own."""

_BUILD_SECONDS: Final = 900
_KEPT_IN_CACHE: Final = "skip=download/empty,essential/unlink"

# mmdebstrap gives the root to hooks as their first argument.
_BRING: Final = """\
mkdir -p "$1/var/cache/apt/archives"
cp --link --no-clobber "$CONFORMANCE_FILES"/*.deb "$1/var/cache/apt/archives/" 2>/dev/null ||
    cp --no-clobber "$CONFORMANCE_FILES"/*.deb "$1/var/cache/apt/archives/"
"""

# A machine of the root has its own, and nobody shall start a daemon while packages are set up.
_FINISH: Final = 'rm -f "$1/etc/resolv.conf" "$1/etc/hostname" "$1/etc/machine-id"'


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system of a release, to be read and never written.

    Attributes:
        suite: the release.
        path: the folder.
        origin: its packages.
    """

    suite: str
    path: Path
    origin: tuple[Package, ...]

    def version(self, name: str) -> str:
        """The version of a package; "" where the root has none of that name."""
        return next((one.version for one in self.origin if one.name == name), "")


def build(suite: str, names: Sequence[str], cache: Path) -> Root:
    """The root of a release with these packages and all that they depend on.

    Args:
        suite: such as ``trixie``.
        names: the packages.
        cache: the folder of all that can be fetched or made again.

    Raises:
        BadInputError: a tool is missing, or the cache cannot be written.
        InstrumentError: the packages cannot be had, or not be installed.
    """
    check_tools()
    archive = Archive(suite, _architecture(), cache)
    wanted = (*_ALWAYS, *names)
    lists = cache / "roots" / f"{suite}.lock"
    with _locked(lists):
        archive.update()
    try:
        return _built(archive, wanted, cache)
    except InstrumentError:
        with _locked(lists):
            archive.refresh()  # they may name what the archive no longer has
    return _built(archive, wanted, cache)


def of_runtimes(suite: str, cache: Path) -> Root:
    """The root of a release with every container runtime and sandbox that is compared.

    Raises:
        BadInputError: as ``build``.
        InstrumentError: as ``build``.
    """
    return build(suite, (*_RUNTIMES, *_MORE.get(suite, ())), cache)


def check_tools() -> None:
    """Refuses a machine on which no root can be made.

    Raises:
        BadInputError: with what is missing, and the line that installs it.
    """
    packages.check_tools()
    if shutil.which("mmdebstrap") is None:
        raise BadInputError(
            "roots of Debian's releases are made by mmdebstrap, which this machine lacks; "
            "run: apt-get install --no-install-recommends mmdebstrap"
        )
    if os.geteuid():
        raise BadInputError("roots of Debian's releases are made as root: run this as root")


def _architecture() -> str:
    said = subprocess.run(
        ["dpkg", "--print-architecture"],  # noqa: S607 - on PATH
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Keeps every other process from making the same until the context ends."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise BadInputError(
            f"the cache {place.parent.parent} cannot be written ({error.strerror}): name another"
            " folder"
        ) from error


def _built(archive: Archive, names: Sequence[str], cache: Path) -> Root:
    origin = archive.closure((_ESSENTIAL, *names))
    name = f"{archive.suite}-{archive.architecture}-{packages.digest(_RECIPE, origin)}"
    place = cache / "roots" / name
    if not place.exists():
        with _locked(place.with_name(f"{name}.lock")):
            if not place.exists():  # somebody else was quicker
                _make(archive, names, origin, place)
    return Root(archive.suite, place, origin)


def _make(archive: Archive, names: Sequence[str], origin: Sequence[Package], place: Path) -> None:
    files = archive.fetch(origin)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as folder:
        making = Path(folder) / "root"
        _install(archive.suite, names, files, making)
        check(making, origin, archive.suite)
        making.chmod(0o755)
        making.rename(place)


def _install(suite: str, names: Sequence[str], files: Sequence[Path], place: Path) -> None:
    """Has mmdebstrap make a root from files that are here."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="files-") as folder:
        for file in files:
            Path(folder, file.name).hardlink_to(file)
        command = (
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=essential"),
            *("--aptopt=Acquire::Check-Valid-Until false", "--aptopt=Acquire::Languages none"),
            # As a user of the sandbox apt could not read the files that are linked here.
            "--aptopt=APT::Sandbox::User root",
            *(f"--{_KEPT_IN_CACHE}", f"--setup-hook={_BRING}", f"--customize-hook={_FINISH}"),
            *(f"--keyring={packages.KEYRING}", f"--include={','.join(names)}"),
            *(suite, str(place), packages.mirror()),
        )
        run(command, suite, {"CONFORMANCE_FILES": folder})


def run(command: Sequence[str], suite: str, environment: dict[str, str]) -> None:
    """Runs mmdebstrap.

    Args:
        command: it, with its words.
        suite: the release, for a sentence.
        environment: variables for its hooks.

    Raises:
        InstrumentError: it failed, with its own words, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise InstrumentError(
            f"mmdebstrap took more than {_BUILD_SECONDS} s for a root of {suite}: try again when "
            "the archive answers"
        ) from error
    if done.returncode:
        raise InstrumentError(f"mmdebstrap cannot make a root of {suite}: {_reason(done.stderr)}")


def _reason(said: str) -> str:
    """What mmdebstrap says of an error, without its own progress."""
    lines = [line.strip() for line in said.splitlines() if re.match(r"(E|dpkg|W): ?", line)]
    return lines[0] if lines else "it does not say why"


def check(root: Path, origin: Sequence[Package], suite: str) -> None:
    """Refuses a root of other packages than its name says.

    Args:
        root: the root.
        origin: the packages that its name is made of.
        suite: the release, for a sentence.

    Raises:
        InstrumentError: the archive changed meanwhile.
    """
    listed = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f=${Package} ${Version}\n"],  # noqa: S607 - on PATH
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    wanted = {f"{one.name.partition(':')[0]} {one.version}" for one in origin}
    if odd := sorted(wanted ^ set(listed)):
        raise InstrumentError(
            f"the archive of {suite} changed while its packages were fetched ({odd[0]}): try again"
        )
