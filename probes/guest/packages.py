"""Debian packages of any architecture and suite, by an apt with folders of its own.

Nothing of the host's dpkg is touched and no root is needed: apt gets its configuration, lists and
caches elsewhere (apt.conf(5), APT_CONFIG), and packages are only downloaded and unpacked. It checks
the archive's signatures against Debian's keyring as it always does.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from probes.errors import BadInputError, InstrumentError

MIRROR_VARIABLE: Final = "SYSCALL_CONFORMANCE_MIRROR"
"""The environment variable with the address of an archive of Debian."""

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DOWNLOAD_SECONDS: Final = 900
_QUERY_SECONDS: Final = 120
_PAUSES: Final = (5.0, 15.0)
"""Seconds between attempts to fetch the lists of packages."""

_TOOLS: Final = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
}

_CONFIGURATION: Final = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir "{folder}";
Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Etc "{folder}/etc";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::parts "{folder}/etc/apt.conf.d";
Acquire::Languages "none";
Acquire::Retries "5";
// An archived suite's Release file is out of date and still signed.
Acquire::Check-Valid-Until "false";
"""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A package in one version."""

    name: str
    version: str


def digest(*parts: object) -> str:
    """A name for what is made from these parts: equal parts, equal names."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


def check_tools() -> None:
    """Refuses a machine that lacks the tools.

    Raises:
        BadInputError: with the line that installs them.
    """
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        raise BadInputError(
            f"guests are made of Debian packages, and this machine lacks the tools for that; "
            f"run: apt-get install {' '.join(missing)}"
        )


class Archive:
    """A suite of Debian for one architecture."""

    def __init__(self, suite: str, architecture: str, cache: Path) -> None:
        """Prepares an apt of its own; nothing is fetched yet.

        Args:
            suite: such as ``bookworm``.
            architecture: Debian's name, such as ``arm64``.
            cache: the folder of all that can be fetched or made again.

        Raises:
            BadInputError: a tool is missing, or the folder cannot be written.
        """
        check_tools()
        self.suite = suite
        self.architecture = architecture
        self._folder = cache / "apt" / f"{suite}-{architecture}"
        self._packages = cache / "packages" / f"{suite}-{architecture}"
        try:
            for name in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "cache/archives"):
                (self._folder / name / "partial").mkdir(parents=True, exist_ok=True)
            self._packages.mkdir(parents=True, exist_ok=True)
            (self._folder / "status").touch()
            self._write_sources()
            configuration = _CONFIGURATION.format(architecture=architecture, folder=self._folder)
            _write_once(self._folder / "apt.conf", configuration)
        except OSError as error:
            raise BadInputError(
                f"--cache-dir {cache}: cannot be written ({error.strerror}): name another folder"
            ) from error

    def _write_sources(self) -> None:
        lines = f"deb [signed-by={KEYRING}] {mirror()} {self.suite} main\n"
        _write_once(self._folder / "sources.list", lines)

    def update(self) -> None:
        """Fetches the lists of packages, unless it has them.

        Raises:
            InstrumentError: the archive cannot be reached, or its signature is not good.
        """
        if not any(self._folder.glob("lists/*_Packages*")):
            self.refresh()

    def refresh(self) -> None:
        """Fetches the lists of packages, newer ones in place of older ones.

        Raises:
            InstrumentError: as ``update``.
        """
        for pause in _PAUSES:
            try:
                self._apt("apt-get", "-qq", "update", deadline=_DOWNLOAD_SECONDS)
            except InstrumentError:
                time.sleep(pause)  # a mirror that is being synchronized contradicts itself
            else:
                return
        self._apt("apt-get", "-qq", "update", deadline=_DOWNLOAD_SECONDS)

    def closure(self, names: Sequence[str]) -> tuple[Package, ...]:
        """The packages with all that they depend on.

        Raises:
            InstrumentError: apt cannot tell.
        """
        said = self._apt("apt-get", "install", "--simulate", *names)
        found = re.findall(r"^Inst (\S+) \((\S+)", said, re.MULTILINE)
        return tuple(sorted(Package(*pair) for pair in found))

    def kernel(self, package: str) -> tuple[Package, ...]:
        """The packages that hold the kernel's image and modules.

        Args:
            package: the one that depends on the newest of them.

        Raises:
            InstrumentError: there is none.
        """
        said = self._apt("apt-cache", "depends", "--recurse", "--important", package)
        found = re.findall(r"^(linux-(?:image|binary|modules)-\d\S+)", said, re.MULTILINE)
        if not found:
            raise InstrumentError(
                f"{self.suite} ({self.architecture}) has no kernel {package}: name another suite"
            )
        return tuple(Package(name, self._version(name)) for name in sorted(set(found)))

    def _version(self, name: str) -> str:
        said = self._apt("apt-cache", "show", "--no-all-versions", name)
        match = re.search(r"^Version: (\S+)", said, re.MULTILINE)
        if match is None:
            raise InstrumentError(f"{self.suite} ({self.architecture}) has no package {name}")
        return match[1]

    def fetch(self, packages: Iterable[Package]) -> tuple[Path, ...]:
        """The files of packages, downloaded where they are not there yet.

        Raises:
            InstrumentError: one cannot be had.
        """
        wanted = tuple(packages)
        missing = [each for each in wanted if not self._file(each)]
        if missing:
            words = [f"{each.name}={each.version}" for each in missing]
            self._apt(
                *("apt-get", "-qq", "download", *words),
                deadline=_DOWNLOAD_SECONDS,
                folder=self._packages,
            )
        files = [self._file(each) for each in wanted]
        for each, file in zip(wanted, files, strict=True):
            if file is None:
                raise InstrumentError(f"apt did not download {each.name} {each.version}")
        return tuple(file for file in files if file is not None)

    def _file(self, package: Package) -> Path | None:
        version = package.version.replace(":", "%3a")
        return next(self._packages.glob(f"{package.name}_{version}_*.deb"), None)

    def _apt(
        self, *command: str, deadline: float = _QUERY_SECONDS, folder: Path | None = None
    ) -> str:
        environment = {**os.environ, "APT_CONFIG": f"{self._folder}/apt.conf", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=deadline,
            )
        except subprocess.TimeoutExpired as error:
            raise InstrumentError(
                f"{' '.join(command[:3])} for {self.suite} ({self.architecture}) took more than "
                f"{deadline:.0f} s: try again when the archive answers"
            ) from error
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise InstrumentError(
                f"Debian's {self.suite} for {self.architecture} cannot be had from {mirror()} "
                f"({said[0] if said else f'apt ended with {done.returncode}'}): check the network "
                f"and the suite's name, then try again"
            )
        return done.stdout


def _write_once(path: Path, text: str) -> None:
    """Writes a file that another process may be reading, unless it says so already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def mirror() -> str:
    """The archive that this machine's own apt uses.

    A suite that has been archived is no longer there; then MIRROR_VARIABLE names its archive.

    Raises:
        BadInputError: this machine has no archive of Debian.
    """
    chosen = os.environ.get(MIRROR_VARIABLE, "")
    if chosen:
        return chosen
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)"],  # noqa: S607 - on PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=_QUERY_SECONDS,
    ).stdout
    for line in said.splitlines():
        site, _, origin = line.partition(" ")
        if origin == "Debian" and "security" not in site:
            return site
    raise BadInputError(
        f"this machine's apt has no archive of Debian from which guests could be made; name one: "
        f"{MIRROR_VARIABLE}=URL"
    )


@contextmanager
def content(package: Path) -> Iterator[tarfile.TarFile]:
    """The files of a package, as a stream that can be read once.

    Raises:
        InstrumentError: it is no package.
    """
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", package],  # noqa: S607 - on PATH
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        stream = process.stdout
        if stream is None:
            raise InstrumentError("dpkg-deb has no output")
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                yield archive
        except tarfile.TarError as error:
            raise InstrumentError(f"{package.name}: not a Debian package ({error})") from error
        finally:
            stream.close()


@contextmanager
def made(place: Path) -> Iterator[Path]:
    """Where something is made that appears at its place whole, or not at all.

    Args:
        place: a file if its name has a suffix, else a folder.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as folder:
        making = Path(folder) / place.name
        if not place.suffix:
            making.mkdir()
        yield making
        if not place.exists():  # somebody else may have been quicker
            making.rename(place)


def architecture_here() -> str:
    """Debian's name for the architecture of this machine's programs.

    Raises:
        BadInputError: dpkg cannot tell.
    """
    try:
        return subprocess.run(
            ["dpkg", "--print-architecture"],  # noqa: S607 - on PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=_QUERY_SECONDS,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInputError(
            "guests are made of Debian packages, and dpkg does not say of which architecture this "
            "machine is; run: apt-get install dpkg"
        ) from error


def by_own_loader(root: Path, program: str) -> tuple[str, ...]:
    """The command of an unpacked program that runs here with its own C library.

    Args:
        root: where the program was unpacked with all that it depends on.
        program: its name.

    Raises:
        InstrumentError: the C library is not there.
    """
    loader = next(iter(sorted(root.rglob("ld-linux*.so.*"))), None)
    libraries = sorted(str(path.parent) for path in root.rglob("libc.so.6"))
    if loader is None or not libraries:
        raise InstrumentError(f"{root.name} has no C library for {program}")
    return (str(loader), "--library-path", ":".join(libraries), f"{root}/usr/bin/{program}")


NeededPackage = Callable[[str], bool]


def unpack(package: Path, root: Path, wanted: NeededPackage) -> None:
    """Unpacks the files of a package that are wanted, and every folder and link on their way.

    Where a package has a folder and the root a symbolic link to one, the link stays: Debian's
    root has had ``/lib`` and others as links since bookworm, not all of its packages know that.
    """
    with content(package) as archive:
        for member in archive:
            name = member.name.removeprefix("./").rstrip("/")
            if not name or name == "." or not wanted(name):
                continue
            place = root / name
            if not place.parent.resolve().is_relative_to(root.resolve()):
                raise InstrumentError(f"{package.name}: {name} would be unpacked elsewhere")
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif member.issym() or member.islnk():
                _link(member, place, root)
            elif member.isfile():
                place.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is not None:
                    _write(place, source, member.mode)


def _link(member: tarfile.TarInfo, place: Path, root: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    if member.issym():
        place.symlink_to(member.linkname)
    else:
        place.hardlink_to(root / member.linkname.removeprefix("./"))


def _write(place: Path, source: IO[bytes], mode: int) -> None:
    with place.open("wb") as file:
        shutil.copyfileobj(source, file)
    place.chmod(mode & 0o777 | 0o600)
