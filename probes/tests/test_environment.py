"""Whether this process is emulated: what uname(2) says, and what the kernel's own file does."""

from pathlib import Path

import pytest

from probes import environment
from probes.errors import InstrumentError
from probes.run import entries

OWN: dict[str, str] = {
    "x86_64": "x86_64",
    "i686": "x86_64",
    "i386": "i386",
    "aarch64": "aarch64",
    "armv8l": "aarch64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loongarch64",
    "mips64": "mips64",
}
"""What native and 32-bit processes see of their machine, and the kernel's UTS_MACHINE."""

EMULATED = {
    "aarch64": "x86_64",
    "armv7l": "x86_64",
    "x86_64": "aarch64",
    "i686": "aarch64",
    "riscv64": "x86_64",
    "s390x": "ppc64le",
    "loongarch64": "aarch64",
}


def root_of(folder: Path, kernel: str | None) -> Path:
    place = folder / "proc/sys/kernel"
    place.mkdir(parents=True)
    if kernel is not None:
        (place / "arch").write_text(f"{kernel}\n", encoding="ascii")
    return folder


@pytest.mark.parametrize(("machine", "kernel"), OWN.items())
def test_a_process_of_the_kernels_own_kind_is_not_emulated(
    machine: str, kernel: str, tmp_path: Path
) -> None:
    assert environment.emulation(machine, root_of(tmp_path, kernel)) == ""


@pytest.mark.parametrize(("machine", "kernel"), EMULATED.items())
def test_another_machine_than_the_kernels_is_an_emulators(
    machine: str, kernel: str, tmp_path: Path
) -> None:
    shown = environment.emulation(machine, root_of(tmp_path, kernel))

    assert machine in shown
    assert kernel in shown
    assert "/proc/sys/kernel/arch" in shown


def test_older_kernels_do_not_say(tmp_path: Path) -> None:
    assert environment.emulation("aarch64", root_of(tmp_path, None)) == ""


def test_this_process_is_not_emulated() -> None:
    assert entries.why_emulated("x86_64", "") == ""
    assert "no filter of its own can be tested here" in entries.why_emulated("arm", "it says so")


def test_without_no_new_privs_in_its_status_a_kernel_is_read_all_the_same(tmp_path: Path) -> None:
    """As gVisor's, which has a line for seccomp and none for that."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("CapEff:\t00\nSeccomp:\t0\n", encoding="ascii")

    found = environment.read(tmp_path)

    assert (found.seccomp, found.no_new_privs, found.actions_logged) == (0, False, ())
    assert environment.tracer(tmp_path) == 0


def test_without_proc_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(InstrumentError, match=r"self/status cannot be read \(No such .*mount proc"):
        environment.seccomp_mode(tmp_path)
