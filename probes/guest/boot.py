"""What a guest boots: a kernel, and a root file system in memory, from Debian packages.

Everything that costs time is kept in a cache by the digest of what it is made from. The root has
three layers, one archive after the other: Debian's Python with its standard library; the Python
packages that the suite needs, which are the very files that are installed here; and the working
tree with what to do. All Python is compiled beforehand, for an emulated processor takes long.
"""

import importlib.metadata
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from probes import main_job
from probes.errors import InstrumentError
from probes.guest import cpio, emulators, packages
from probes.guest.cpio import ArchiveMember
from probes.guest.machines import Machine
from probes.guest.packages import Archive, Package
from probes.version import DISTRIBUTION

_RECIPE: Final = 1
"""Part of every digest: raise it when the same packages shall give another image."""

_NEEDED: Final = ("python3",)
_NOT_NEEDED: Final = re.compile(
    r"(dpkg|tar|gcc-\d+-base|readline-common|media-types|netbase|tzdata|sensible-utils|perl-base"
    r"|libgssapi|libkrb5|libk5|libtirpc|libnsl2|libcom-err|libkeyutils|libdb5|libpcre2|libselinux"
    r"|libacl|libsystemd|libmd0|debconf|cdebconf)"
)
"""Dependencies of Python's packages that the suite never loads."""

_LEFT_OUT: Final = re.compile(
    r"usr/share/(doc|man|lintian|locale|bug|perl5|menu|applications|pixmaps|python3/debpython)"
    r"|.*/(gconv|__pycache__|lib2to3|ensurepip|idlelib|pydoc_data|config-3[^/]*|tkinter|turtledemo)"
    r"(/|$)|usr/lib/python3\.[0-9]+/test(/|$)|(etc|var)/.*"
)
_EMULATOR_LEAVES_OUT: Final = (
    r"usr/share/(doc|man|lintian|locale|bug|info|applications|icons)(/|$)|(etc|var)/.*"
    r"|.*/gconv(/|$)"
)
_EMULATOR_NEEDS_NOT: Final = re.compile(
    r"(systemd|libsystemd-shared|seabios|ipxe-qemu|libasound2|gcc-\d+-base|openssl-provider"
    r"|libc-gconv)"
)
"""What QEMU loads only for keyboards, sound and machines of a PC."""

_LINKS: Final = ("bin", "sbin", "lib", "lib64")
_FOLDERS: Final = ("dev", "proc", "sys", "tmp", "root", "etc", "run", "out", "suite")
_SITE: Final = "usr/lib/python3/dist-packages"
_MODULES: Final = re.compile(r"(virtio|failover|net_failover)")
_COMPILE_SECONDS: Final = 900
_ACCOUNTS: Final = (
    ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", b"127.0.0.1 localhost\n"),
)


@dataclass(frozen=True, slots=True)
class DebianKernel:
    """A kernel of Debian.

    Attributes:
        image: what QEMU loads.
        modules: the modules that a guest may need, in a folder, none of them compressed.
        origin: the packages that they are from.
    """

    image: Path
    modules: Path
    origin: tuple[Package, ...]

    @property
    def release(self) -> str:
        """The kernel's release, as its image or the folder of the image is called.

        Up to Linux 6 Debian has it as ``boot/vmlinuz-RELEASE``, from 7 on as
        ``usr/lib/modules/RELEASE/vmlinuz``.
        """
        return self.image.name.partition("-")[2] or self.image.parent.name


@dataclass(frozen=True, slots=True)
class Userland:
    """A Python userland of Debian.

    Attributes:
        layers: the archives, in order.
        origin: the packages of the first one.
        compiler: the command of an interpreter that runs here and compiles for it.
    """

    layers: tuple[Path, ...]
    origin: tuple[Package, ...]
    compiler: tuple[str, ...]


def kernel(machine: Machine, suite: str, cache: Path) -> DebianKernel:
    """The newest kernel of a suite for a machine.

    Raises:
        InstrumentError: it cannot be had.
        BadInputError: a tool is missing, or the cache cannot be written.
    """
    archive = Archive(suite, machine.kernel, cache)
    archive.update()
    origin = archive.kernel(machine.package)
    folder = cache / "kernels" / f"{machine.package}-{packages.digest(_RECIPE, origin)}"
    if not folder.exists():
        with packages.made(folder) as making:
            for package in archive.fetch(origin):
                packages.unpack(package, making, _is_kernel_part)
            _expand_modules(making)
    images = sorted(path for path in folder.rglob("vmlinu*") if path.is_file())
    if not images:
        raise InstrumentError(f"{origin[0].name} of {suite} has no kernel image")
    return DebianKernel(images[0], folder / "modules", origin)


def _is_kernel_part(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.startswith("vmlinu") or (
        ".ko" in base and _MODULES.match(base.replace("-", "_")) is not None
    )


def _expand_modules(root: Path) -> None:
    """Puts every module into one folder, as the kernel loads it: not compressed."""
    flat = root / "modules"
    flat.mkdir()
    for path in sorted(root.rglob("*.ko*")):
        name, dot, _ = path.name.partition(".ko")
        raw = path.read_bytes()
        if path.suffix == ".xz":
            raw = lzma.decompress(raw)
        (flat / f"{name.replace('-', '_')}{dot}").write_bytes(raw)
        path.unlink()


def in_load_order(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The files of modules with what they depend on, in the order in which they can be loaded.

    A module that is not in the folder is built in, or this kernel has none.
    """
    found: dict[str, None] = {}

    def need(name: str) -> None:
        path = folder / f"{name.replace('-', '_')}.ko"
        if path.name in found or not path.exists():
            return
        depends = re.search(rb"(?:^|\0)depends=([^\0]*)", path.read_bytes())
        for other in depends[1].decode().split(",") if depends else ():
            if other:
                need(other)
        found[path.name] = None

    for name in names:
        need(name)
    return tuple(found)


def userland(machine: Machine, suite: str, cache: Path) -> Userland:
    """The Python of a suite for a machine, with the packages that the suite of tests needs.

    Raises:
        InstrumentError: it cannot be had, or not be compiled.
        BadInputError: a tool is missing, or the cache cannot be written.
    """
    archive = Archive(suite, machine.userland, cache)
    archive.update()
    origin = tuple(
        each for each in archive.closure(_NEEDED) if _NOT_NEEDED.match(each.name) is None
    )
    python = _python_version(origin)
    compiler = _compiler(python, suite, cache)
    name = f"{suite}-{machine.userland}-{packages.digest(_RECIPE, origin)}.cpio"
    base = cache / "userlands" / name
    if not base.exists():
        with packages.made(base) as making:
            _build_base(making, archive, origin, compiler)
    site = _site_layer(python, compiler, cache)
    return Userland((base, site), origin, compiler)


def emulator(machine: Machine, cache: Path) -> tuple[str, ...]:
    """The command of QEMU for a machine: this machine's own where it will do, else Debian's.

    Raises:
        InstrumentError: Debian's cannot be had.
        BadInputError: it is not installed, a tool is missing, or the cache cannot be written.
    """
    emulators.check(machine)
    if not machine.qemu_suite or emulators.is_new_enough(machine):
        return (machine.qemu,)
    architecture = packages.architecture_here()
    archive = Archive(machine.qemu_suite, architecture, cache)
    archive.update()
    closure = archive.closure((machine.qemu_package,))
    origin = tuple(each for each in closure if _EMULATOR_NEEDS_NOT.match(each.name) is None)
    left_out = rf"{_EMULATOR_LEAVES_OUT}|usr/s?bin/(?!{machine.qemu}$)"
    name = f"{machine.qemu}-{architecture}-{packages.digest(_RECIPE, origin)}"
    folder = cache / "emulators" / name
    if not folder.exists():
        with packages.made(folder) as making:
            _unpack_all(making, archive.fetch(origin), re.compile(left_out))
    return (*packages.by_own_loader(folder, machine.qemu), "-L", f"{folder}/usr/share/qemu")


def _python_version(origin: Sequence[Package]) -> str:
    for each in origin:
        match = re.fullmatch(r"python(3\.[0-9]+)-minimal", each.name)
        if match:
            return match[1]
    raise InstrumentError("there is no python3.N-minimal among the packages that python3 needs")


def _build_base(
    making: Path, archive: Archive, origin: Sequence[Package], compiler: Sequence[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=making.parent) as folder:
        root = Path(folder)
        _unpack_all(root, archive.fetch(origin))
        compile_python(root / "usr/lib", Path("/usr/lib"), compiler)
        _pack(making, _base_entries(root))


def _unpack_all(root: Path, files: Iterable[Path], left_out: re.Pattern[str] = _LEFT_OUT) -> None:
    for link in _LINKS:
        (root / "usr" / link).mkdir(parents=True)
        (root / link).symlink_to(f"usr/{link}")
    for package in files:
        packages.unpack(package, root, lambda name: left_out.match(name) is None)


def _base_entries(root: Path) -> Iterator[ArchiveMember]:
    yield from cpio.tree(root)
    for name in _FOLDERS:
        yield cpio.directory(name)
    # Python as the first process ends at once without a source of random numbers.
    for name, number in (("console", (5, 1)), ("null", (1, 3)), ("urandom", (1, 9))):
        yield cpio.character_device(f"dev/{name}", *number)
    for name, data in _ACCOUNTS:
        yield cpio.file(name, data)


def _pack(place: Path, entries: Iterator[ArchiveMember]) -> None:
    with place.open("wb") as archive:
        for piece in cpio.pack(entries):
            archive.write(piece)


def _compiler(python: str, suite: str, cache: Path) -> tuple[str, ...]:
    """An interpreter that runs here and compiles for that version of Python."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return (sys.executable, "-I", "-S")
    architecture = packages.architecture_here()
    archive = Archive(suite, architecture, cache)
    archive.update()
    origin = tuple(
        each for each in archive.closure(_NEEDED) if _NOT_NEEDED.match(each.name) is None
    )
    folder = cache / "interpreters" / f"{suite}-{architecture}-{packages.digest(_RECIPE, origin)}"
    if not folder.exists():
        with packages.made(folder) as making:
            _unpack_all(making, archive.fetch(origin))
    home = f"PYTHONHOME={folder}/usr"
    return ("env", home, *packages.by_own_loader(folder, f"python{python}"), "-S")


def compile_python(folder: Path, there: Path, compiler: Sequence[str]) -> None:
    """Compiles every module in a folder, so that a guest need not, and never checks.

    Args:
        folder: where they are.
        there: where they will be.
        compiler: the command of an interpreter of the guest's version.

    Raises:
        InstrumentError: the compiler failed.
    """
    words = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    places = ("-s", str(folder), "-p", str(there))
    _ran((*compiler, *words, *places, str(folder)), deadline=_COMPILE_SECONDS)


def _ran(command: Sequence[str], deadline: float = 60) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstrumentError(f"{command[0]} failed while a guest was made: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InstrumentError(
            f"{command[0]} failed while a guest was made: "
            f"{said[-1] if said else f'exit status {done.returncode}'}"
        )
    return done.stdout


def _site_layer(python: str, compiler: Sequence[str], cache: Path) -> Path:
    """The Python packages that the suite needs, as they are installed here."""
    files = dict(_site_files())
    made_of = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files.items()]
    place = cache / "sites" / f"python{python}-{packages.digest(_RECIPE, made_of)}.cpio"
    if not place.exists():
        with (
            packages.made(place) as making,
            tempfile.TemporaryDirectory(dir=making.parent) as folder,
        ):
            root = Path(folder) / _SITE
            for name, path in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, root / name)
            compile_python(root, Path("/") / _SITE, compiler)
            _pack(making, cpio.tree(Path(folder)))
    return place


def _site_files() -> Iterator[tuple[str, Path]]:
    """Every file of the packages that the suite needs, by its place among the packages."""
    for name in sorted(needed_distributions() - {DISTRIBUTION}):
        distribution = importlib.metadata.distribution(name)
        for file in sorted(distribution.files or ()):
            path = Path(str(distribution.locate_file(file)))
            portable = ".." not in file.parts and path.suffix not in {".pyc", ".so", ".pth"}
            if portable and path.is_file():
                yield file.as_posix(), path


def needed_distributions() -> set[str]:
    """The names of the suite's package and of all that it needs."""
    found: set[str] = set()
    waiting = [DISTRIBUTION]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(re.sub(r"[-_.]+", "-", needed.name).lower())
    return found


_TREE: Final = ("cases", "probes", "reports")


def tree_layer(tree: Path, under: str, userland: Userland) -> Iterator[ArchiveMember]:
    """The working tree, compiled.

    Args:
        tree: the checkout.
        under: its folder in the guest.
        userland: whose Python it is compiled for.

    Raises:
        InstrumentError: it cannot be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="tree-") as folder:
        root = Path(folder)
        for name in _TREE:
            shutil.copytree(tree / name, root / name, ignore=_is_left_at_home)
        compile_python(root, Path("/") / under, userland.compiler)
        # For nodes of xdist's: whoever starts them says no more than what shall be judged.
        shutil.copyfile(tree / main_job.CONFIGURATION, root / "pyproject.toml")
        yield from cpio.tree(root, under)


def _is_left_at_home(folder: str, names: list[str]) -> set[str]:
    """What of a working tree no guest needs."""
    own_output = {"out"} if Path(folder).name == "reports" else set()
    return {name for name in names if name in {"__pycache__", "tests", "benchmarks"} | own_output}
