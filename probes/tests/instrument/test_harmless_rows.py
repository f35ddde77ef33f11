"""The catalogue's rows, without asking a kernel: complete, well formed, and never dangerous."""

import errno
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from probes.action import errno_name
from probes.arch import ARCHES, Arch
from probes.files import SUITE
from probes.instrument.harmless import CATALOGUE, Preparation, Probe, probe_for

POLICY = SUITE / "cases" / "policies" / "container-restrictions.toml"
with POLICY.open("rb") as _file:
    DOCUMENTED = tuple(call["name"] for call in tomllib.load(_file)["call"])

every_row = pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE)


def test_catalogue_covers_exactly_the_document() -> None:
    """A row for each call; none for a call that nobody asks about, and none twice."""
    assert len(DOCUMENTED) == 60
    assert sorted(CATALOGUE) == sorted(DOCUMENTED)
    assert all(name == row.name for name, row in CATALOGUE.items())


@pytest.mark.parametrize("arch", ARCHES.values(), ids=str)
def test_every_documented_number_can_be_probed(arch: Arch) -> None:
    """Whatever ABI the kernel is entered by."""
    numbers = [name for name in DOCUMENTED if arch.number(name) is not None]

    assert numbers
    assert [name for name in numbers if probe_for(name) is None] == []


def test_no_row_for_what_is_not_documented() -> None:
    """A call without a row is not guessed at."""
    assert probe_for("getpid") is None


@every_row
def test_arguments_fit_the_registers(row: Probe) -> None:
    """At most six, each an unsigned 64-bit value."""
    assert len(row.args) <= 6
    assert all(0 <= argument < 1 << 64 for argument in row.args)


@every_row
def test_answers_are_spelled_as_observations_are(row: Probe) -> None:
    """An errno's one name, or a result."""
    for answer in (*row.root, *row.unprivileged):
        if answer in {"0", "PID"}:
            continue
        assert errno_name(getattr(errno, answer)) == answer
    assert row.root
    assert row.unprivileged


@every_row
def test_several_answers_are_explained(row: Probe) -> None:
    """And nothing is explained that does not vary."""
    several = max(len(row.root), len(row.unprivileged)) > 1

    assert several is bool(row.varies)
    assert len(set(row.root)) == len(row.root)
    assert len(set(row.unprivileged)) == len(row.unprivileged)


@every_row
def test_absence_is_told_from_never_there(row: Probe) -> None:
    """ENOSYS is the one answer of a call that never is there; any other names its condition."""
    if "ENOSYS" in (*row.root, *row.unprivileged):
        assert row.root == row.unprivileged == ("ENOSYS",)
        assert row.absent is None
    assert ("ENOSYS" in row.answers(root=True)) is (row.absent is not None or "ENOSYS" in row.root)


def test_answers_hold_what_the_rows_say() -> None:
    """By privilege, with the answer of an absent call where it can be absent."""
    assert CATALOGUE["acct"].answers(root=True) == {"EFAULT", "ENOSYS"}
    assert CATALOGUE["acct"].answers(root=False) == {"EPERM", "ENOSYS"}
    assert CATALOGUE["reboot"].answers(root=False) == {"EPERM"}


@every_row
def test_the_reason_is_a_sentence(row: Probe) -> None:
    """It stands in a report."""
    assert re.fullmatch(r"[A-Z].+\.", row.why_harmless)


# What must never be run, not even by mistake: the LOG profile lets these calls through.


def _readable(pointer: int) -> bool:
    """Whether a pointer could be one, to the kernel or cut to 32 bits."""
    return pointer >= 4096 or pointer & 0xFFFF_FFFF >= 4096


def _int(value: int) -> int:
    """What C makes of an argument that it takes as an int."""
    low = value & 0xFFFF_FFFF
    return low - (1 << 32) if low & 0x8000_0000 else low


def _exists(pid: int) -> bool:
    """Whether a process could have the id, 0 for the caller among them."""
    return _int(pid) <= 4_194_304


_UNSHARE_FLAGS = 0x7E07_0F80
"""Those of linux/sched.h: CLONE_NEW*, _VM, _FS, _FILES, _SIGHAND, _THREAD and _SYSVSEM."""

DANGERS: Mapping[str, Callable[[tuple[int, ...], Preparation], bool]] = {
    "acct": lambda args, _: args[0] == 0 or _readable(args[0]),
    "bpf": lambda args, _: _int(args[0]) < 256,
    "clock_settime": lambda args, _: _readable(args[1]),
    "delete_module": lambda args, _: _readable(args[0]),
    "finit_module": lambda args, _: _int(args[0]) >= 0,
    "init_module": lambda args, _: _readable(args[0]),
    "ioperm": lambda args, _: args[2] != 0 and args[0] + args[1] <= 65536,
    "iopl": lambda args, _: args[0] <= 3,
    "kexec_file_load": lambda args, _: _int(args[0]) >= 0 or args[4] & 1 != 0,
    "kexec_load": lambda args, _: args[1] & 0xFFFF_FFFF <= 16,
    "keyctl": lambda args, _: 0 <= _int(args[0]) < 1024,
    "migrate_pages": lambda args, _: _exists(args[0]),
    "mount": lambda args, _: _readable(args[1]),
    "move_pages": lambda args, _: _exists(args[0]),
    "msgrcv": lambda args, _: _int(args[0]) >= 0,
    "open_by_handle_at": lambda args, _: _readable(args[1]),
    "pivot_root": lambda args, _: _readable(args[0]) or _readable(args[1]),
    "process_vm_writev": lambda args, _: _exists(args[0]),
    "quotactl": lambda args, _: args[0] & 0xFF <= 2,
    "reboot": lambda args, _: args[0] & 0xFFFF_FFFF == 0xFEE1DEAD,
    "setdomainname": lambda args, _: _int(args[1]) >= 0,
    "sethostname": lambda args, _: _int(args[1]) >= 0,
    "setns": lambda args, _: _int(args[0]) >= 0,
    "settimeofday": lambda args, _: args == (0, 0) or _readable(args[0]) or _readable(args[1]),
    "swapoff": lambda args, _: _readable(args[0]),
    "swapon": lambda args, _: _readable(args[0]),
    "syslog": lambda args, _: 0 <= _int(args[0]) <= 10,
    "umount2": lambda args, _: _readable(args[0]),
    "unshare": lambda args, _: args[0] & _UNSHARE_FLAGS != 0,
    "uselib": lambda args, _: _readable(args[0]),
    "vhangup": lambda _, prepare: prepare is not Preparation.NEW_SESSION,
}
"""By call, whether it would or could do something with those arguments."""


def _is_dangerous(row: Probe) -> bool:
    danger = DANGERS.get(row.name)
    return danger is not None and danger(row.args, row.prepare)


@every_row
def test_no_row_is_dangerous(row: Probe) -> None:
    """With all capabilities nothing may happen to the host."""
    assert not _is_dangerous(row)


_POINTER = 0x7FFF_F000_1000
_CUT_POINTER = 0x1_0000_1000

DANGEROUS = {
    "acct switches accounting off": ("acct", 0, 0),
    "acct switches accounting on": ("acct", 0, _POINTER),
    "bpf makes a map": ("bpf", 0, 0),
    "clock_settime sets the clock": ("clock_settime", 1, _POINTER),
    "delete_module finds a name": ("delete_module", 0, _POINTER),
    "finit_module has a file": ("finit_module", 0, 3),
    "init_module has an image": ("init_module", 0, _POINTER),
    "iopl opens all ports": ("iopl", 0, 3),
    "kexec_file_load has a kernel": ("kexec_file_load", 0, 3),
    "kexec_file_load unloads": ("kexec_file_load", 4, 1),
    "kexec_load unloads": ("kexec_load", 1, 0),
    "kexec_load loads": ("kexec_load", 1, 16),
    "keyctl joins a session": ("keyctl", 0, 1),
    "migrate_pages finds itself": ("migrate_pages", 0, 0),
    "mount has a mount point": ("mount", 1, _POINTER),
    "move_pages finds init": ("move_pages", 0, 1),
    "msgrcv takes a message": ("msgrcv", 0, 0),
    "open_by_handle_at has a handle": ("open_by_handle_at", 1, _POINTER),
    "pivot_root has a new root": ("pivot_root", 0, _POINTER),
    "pivot_root has a place for the old": ("pivot_root", 1, _POINTER),
    "process_vm_writev finds init": ("process_vm_writev", 0, 1),
    "quotactl finds user quotas": ("quotactl", 0, 0x8000_0200),
    "reboot has its first magic number": ("reboot", 0, 0xFEE1DEAD),
    "reboot has it with high bits": ("reboot", 0, 0xFFFF_FFFF_FEE1_DEAD),
    "setdomainname empties the name": ("setdomainname", 1, 0),
    "sethostname empties the name": ("sethostname", 1, 0),
    "sethostname has a length above its int": ("sethostname", 1, 0x8000_0000_0000_0004),
    "setns has a namespace": ("setns", 0, 3),
    "settimeofday sets the clock": ("settimeofday", 0, _POINTER),
    "settimeofday sets the time zone": ("settimeofday", 1, _POINTER),
    "swapoff has a path": ("swapoff", 0, _POINTER),
    "swapoff has one on i386": ("swapoff", 0, _CUT_POINTER),
    "swapon has a path": ("swapon", 0, _POINTER),
    "syslog clears the log": ("syslog", 0, 5),
    "umount2 has a path": ("umount2", 0, _POINTER),
    "unshare leaves the mounts": ("unshare", 0, 0x0002_0000),
    "uselib has a path": ("uselib", 0, _POINTER),
}
"""A call, the place of an argument, and the value that makes the row dangerous."""


@pytest.mark.parametrize(("name", "place", "value"), DANGEROUS.values(), ids=DANGEROUS)
def test_a_dangerous_argument_is_noticed(name: str, place: int, value: int) -> None:
    """The list above does see what it is there for."""
    row = CATALOGUE[name]
    args = (*row.args[:place], value, *row.args[place + 1 :])

    assert _is_dangerous(replace(row, args=args))


def test_opening_a_port_is_noticed() -> None:
    """It takes two arguments to be one that exists, and to be opened."""
    assert _is_dangerous(replace(CATALOGUE["ioperm"], args=(0x80, 1, 1)))


def test_hanging_up_a_terminal_is_noticed() -> None:
    """A child that kept its terminal would take it from everyone who uses it."""
    assert _is_dangerous(replace(CATALOGUE["vhangup"], prepare=Preparation.NONE))


def test_every_danger_is_tried() -> None:
    """No entry of the list goes without an example."""
    assert {name for name, _, _ in DANGEROUS.values()} | {"ioperm", "vhangup"} == DANGERS.keys()
