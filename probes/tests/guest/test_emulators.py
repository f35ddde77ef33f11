"""QEMU on this machine: which package has it, whether it will do, and Debian's in its place."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from probes.errors import BadInputError, InstrumentError
from probes.guest import boot, choice, emulators, machines, packages
from probes.guest.machines import MACHINES, Machine
from probes.tests.support.oracles import require

ONE_PACKAGE = sorted(n for n, one in MACHINES.items() if not one.bookworm_qemu_package)
TWO_PACKAGES = sorted(MACHINES.keys() - set(ONE_PACKAGE))


def program(folder: Path, name: str, body: str) -> None:
    """A program in a folder that PATH names alone."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH, empty yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def refusal(machine: Machine) -> str:
    with pytest.raises(BadInputError) as told:
        emulators.check(machine)
    return str(told.value).partition("--no-install-recommends ")[2]


def apt_knows(path: Path, *names: str) -> None:
    """Has apt-cache know these packages, and say nothing of others, as it does of virtual ones."""
    known = "|".join(names)
    program(path, "apt-cache", f'case "$3" in {known}) echo "Package: $3" ;; esac')


@pytest.mark.parametrize("name", TWO_PACKAGES)
def test_the_package_is_the_one_that_this_release_has(name: str, path: Path) -> None:
    one = machines.get(name)
    apt_knows(path, "qemu-system-misc")
    assert refusal(one) == "qemu-system-misc"
    apt_knows(path, "qemu-system-misc", one.qemu_package)
    assert refusal(one) == one.qemu_package


@pytest.mark.parametrize("name", TWO_PACKAGES)
def test_where_nobody_knows_both_packages_are_named(name: str, path: Path) -> None:
    one = machines.get(name)
    both = f"{one.qemu_package} (before Debian 13: qemu-system-misc)"
    assert refusal(one) == both
    program(path, "apt-cache", "exit 100")
    assert refusal(one) == both


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", ONE_PACKAGE)
def test_a_package_that_has_kept_its_name_is_named_alone(name: str) -> None:
    one = replace(machines.get(name), qemu_suite="")
    assert refusal(one) == one.qemu_package


@pytest.mark.usefixtures("path")
def test_an_emulator_that_is_fetched_need_not_be_installed() -> None:
    emulators.check(machines.get("loongarch64"))


@pytest.mark.parametrize("name", MACHINES)
def test_the_package_that_is_named_has_the_emulator(name: str) -> None:
    """As dpkg knows it, of the emulators that are installed here."""
    one = machines.get(name)
    require("dpkg", "dpkg")
    emulator = shutil.which(one.qemu)
    if emulator is None:
        pytest.skip(f"{one.qemu} is not installed")
    words = ["dpkg", "--search", emulator]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    if not said:
        pytest.skip(f"{emulator} is no package's")
    owner = said.partition(":")[0]
    assert owner in {one.qemu_package, one.bookworm_qemu_package}
    assert owner != one.bookworm_qemu_package or owner in refusal_without(one)


def refusal_without(one: Machine) -> str:
    """What is told where this machine's apt is there and the emulator is not."""
    return refusal(replace(one, qemu="/nowhere", qemu_suite=""))


@pytest.mark.parametrize(
    ("body", "enough"),
    [
        ("echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)'", False),
        ("echo 'QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)'", False),
        ("echo 'QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)'", True),
        ("echo 'QEMU emulator version 12.0.0'", True),
        ("echo no version", False),
        ("exit 1", False),
    ],
)
def test_an_emulator_that_is_too_old_will_not_do(body: str, enough: bool, path: Path) -> None:  # noqa: FBT001 - a parameter
    one = machines.get("loongarch64")
    assert not emulators.is_new_enough(one)
    program(path, one.qemu, body)
    assert emulators.is_new_enough(one) is enough


def test_an_emulator_that_will_do_is_this_machines_own(path: Path, tmp_path: Path) -> None:
    one = machines.get("loongarch64")
    program(path, one.qemu, "echo 'QEMU emulator version 11.1.3'")

    assert boot.emulator(one, tmp_path) == (one.qemu,)


def test_any_emulator_will_do_for_most(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="needs qemu-system-s390x"):
        boot.emulator(machines.get("s390x"), tmp_path)
    program(path, "qemu-system-s390x", "exit 1")
    assert boot.emulator(machines.get("s390x"), tmp_path) == ("qemu-system-s390x",)


def test_what_was_unpacked_runs_with_its_own_c_library(tmp_path: Path) -> None:
    library = tmp_path / "usr/lib/x86_64-linux-gnu"
    library.mkdir(parents=True)
    for name in ("libc.so.6", "ld-linux-x86-64.so.2"):
        (library / name).touch()

    assert packages.by_own_loader(tmp_path, "qemu") == (
        *(f"{library}/ld-linux-x86-64.so.2", "--library-path", str(library)),
        f"{tmp_path}/usr/bin/qemu",
    )
    (library / "libc.so.6").unlink()
    with pytest.raises(InstrumentError, match=f"^{tmp_path.name} has no C library for qemu$"):
        packages.by_own_loader(tmp_path, "qemu")


@pytest.mark.guests
@pytest.mark.skipif(
    "loongarch64" not in os.environ.get("SYSCALL_CONFORMANCE_GUESTS", ""),
    reason="fetches an emulator: set SYSCALL_CONFORMANCE_GUESTS=loongarch64",
)
def test_the_emulator_of_another_suite_runs_here() -> None:
    one = machines.get("loongarch64")
    command = boot.emulator(one, choice.default_cache())
    words = [*command, "-machine", "help"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "virt" in said
