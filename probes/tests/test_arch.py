"""Our tables of numbers against the kernel's own headers and against libseccomp.

The oracles are Debian's packages: ``linux-libc-dev`` and its ``-cross`` variants, read by the C
preprocessor, and ``seccomp``, whose ``scmp_sys_resolver`` asks libseccomp. Every difference that
is right as it is stands in a table here with its reason. A test fails on a difference that does
not, and on one that does but has gone.
"""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from system_calls import syscalls

from probes import arch as arch_module
from probes.arch import (
    ARCHES,
    TOKENS,
    X32_SYSCALL_BIT,
    Arch,
    Entry,
    all_names,
    get,
    machine_here,
    of_this_process,
    of_token,
    offered_by,
    token_text,
)
from probes.errors import BadInputError, InstrumentError
from probes.files import SUITE
from probes.guest import choice, packages
from probes.guest.packages import Archive
from probes.tests.support.oracles import require
from probes.tests.support.releases import unless_asked_for

POLICY = SUITE / "cases" / "policies" / "container-restrictions.toml"
USR = Path("/usr")

every_arch = pytest.mark.parametrize("arch", ARCHES.values(), ids=str)


@cache
def documented() -> tuple[str, ...]:
    """The names of the document's calls."""
    with POLICY.open("rb") as file:
        return tuple(call["name"] for call in tomllib.load(file)["call"])


# The kernel's headers


@dataclass(frozen=True, slots=True)
class Headers:
    """Where an ABI's headers are, and what makes them choose it.

    Attributes:
        package: the Debian package.
        folders: below usr/, the first that is there counts. From Debian 13 on one package has
            the headers of every ABI; before, each has its own.
        defines: the macros that a compiler for this ABI has built in.
        audit_token: the ABI's name in linux/audit.h.
        include: the header with the numbers.
    """

    package: str
    folders: tuple[str, ...]
    defines: tuple[str, ...]
    audit_token: str
    include: str = "asm/unistd.h"

    def folder(self, usr: Path) -> Path:
        """The folder with ``asm/`` that counts; the last one where there is none."""
        paths = [usr / below for below in self.folders]
        return next((path for path in paths if (path / "asm").exists()), paths[-1])


def _cross(debian: str, triplet: str, audit_token: str, *defines: str) -> Headers:
    folders = (f"include/{triplet}", f"{triplet}/include")
    return Headers(f"linux-libc-dev-{debian}-cross", folders, defines, audit_token)


def _mips(audit_token: str, convention: int) -> Headers:
    """The headers of one of the three ABIs, which asm/sgidefs.h numbers."""
    known = ("_MIPS_SIM_ABI32=1", "_MIPS_SIM_NABI32=2", "_MIPS_SIM_ABI64=3")
    which = f"_MIPS_SIM={convention}"
    return _cross("mips64el", "mips64el-linux-gnuabi64", audit_token, which, *known)


# linux-libc-dev has all three ABIs of x86.
_X86 = ("linux-libc-dev:amd64", ("include/x86_64-linux-gnu", "x86_64-linux-gnu/include"))

HEADERS = {
    "x86_64": Headers(*_X86, ("__x86_64__",), "AUDIT_ARCH_X86_64"),
    "x32": Headers(*_X86, ("__x86_64__", "__ILP32__"), "AUDIT_ARCH_X86_64"),
    "i386": Headers(*_X86, ("__i386__",), "AUDIT_ARCH_I386"),
    "aarch64": _cross("arm64", "aarch64-linux-gnu", "AUDIT_ARCH_AARCH64", "__aarch64__"),
    "arm": _cross("armhf", "arm-linux-gnueabihf", "AUDIT_ARCH_ARM", "__arm__", "__ARM_EABI__"),
    "ppc64le": _cross(
        "ppc64el", "powerpc64le-linux-gnu", "AUDIT_ARCH_PPC64LE", "__powerpc64__", "__powerpc__"
    ),
    "ppc64": _cross(
        "ppc64el", "powerpc64le-linux-gnu", "AUDIT_ARCH_PPC64", "__powerpc64__", "__powerpc__"
    ),
    "ppc": _cross("ppc64el", "powerpc64le-linux-gnu", "AUDIT_ARCH_PPC", "__powerpc__"),
    "s390x": _cross("s390x", "s390x-linux-gnu", "AUDIT_ARCH_S390X", "__s390x__"),
    "s390": _cross("s390x", "s390x-linux-gnu", "AUDIT_ARCH_S390"),
    "riscv64": _cross(
        "riscv64",
        "riscv64-linux-gnu",
        "AUDIT_ARCH_RISCV64",
        "__LP64__",
        "__riscv_xlen=64",
        "__SIZEOF_POINTER__=8",
    ),
    "riscv32": _cross(
        "riscv64",
        "riscv64-linux-gnu",
        "AUDIT_ARCH_RISCV32",
        "__riscv_xlen=32",
        "__SIZEOF_POINTER__=4",
    ),
    "loongarch64": _cross(
        "loong64",
        "loongarch64-linux-gnu",
        "AUDIT_ARCH_LOONGARCH64",
        "__loongarch64",
        "__CHAR_BIT__=8",
        "__SIZEOF_LONG__=8",
    ),
    "mips64el": _mips("AUDIT_ARCH_MIPSEL64", 3),
    "mipsel": _mips("AUDIT_ARCH_MIPSEL", 1),
    "mipsel64n32": _mips("AUDIT_ARCH_MIPSEL64N32", 2),
}

LOONGARCH64_BY_GENERIC_HEADERS = Headers(
    *_X86,
    ("__x86_64__", "__ARCH_WANT_SYS_CLONE", "__ARCH_WANT_SYS_CLONE3"),
    "AUDIT_ARCH_LOONGARCH64",
    "asm-generic/unistd.h",
)
"""In place of this ABI's own headers, which Debian 12 has not.

They would be the generic ones with these two switches, set by Linux 6.1's
arch/loongarch/include/uapi/asm/unistd.h. x86_64 lends the width of a word.
"""

BROUGHT_BY = {
    "cachestat": "6.5",
    "fchmodat2": "6.6",
    "map_shadow_stack": "6.7",
    "futex_wake": "6.7",
    "futex_wait": "6.7",
    "futex_requeue": "6.7",
    "statmount": "6.8",
    "listmount": "6.8",
    "lsm_get_self_attr": "6.8",
    "lsm_set_self_attr": "6.8",
    "lsm_list_modules": "6.8",
    "mseal": "6.10",
    "setxattrat": "6.13",
    "getxattrat": "6.13",
    "listxattrat": "6.13",
    "removexattrat": "6.13",
    "open_tree_attr": "6.15",
    "file_getattr": "6.17",
    "file_setattr": "6.17",
    "listns": "6.19",
    "rseq_slice_yield": "7.0",
    "fchroot": "7.3",
}
"""Known differences: the Linux release with the call, which headers older than it lack."""

BROUGHT_BY_ON = {
    "x86_64": {"map_shadow_stack": "6.6", "uretprobe": "6.11", "uprobe": "6.18"},
    "x32": {"map_shadow_stack": "6.10", "uretprobe": "6.11", "uprobe": "6.18"},
    "s390x": {"memfd_secret": "6.4"},
    "s390": {"memfd_secret": "6.4"},
    "riscv64": {"riscv_hwprobe": "6.4"},
    "riscv32": {"riscv_hwprobe": "6.4"},
    "loongarch64": {"fstat": "6.11", "newfstatat": "6.11", "memfd_secret": "7.0"},
}
"""The same, where an ABI differs from the others or is alone with the call."""

GONE_BEFORE = {"s390": frozenset({"listns", "rseq_slice_yield", "fchroot"})}
"""Calls that came to other ABIs after the kernel had given up an ABI."""

GENERIC_MACROS = {
    "arch_specific_syscall": "the first of 16 numbers that an ABI of its own may use",
    "syscalls": "how many numbers there are",
}
GENERIC_MACROS_UNTIL = "6.11"
"""The release that came to generate these ABIs' headers from a table, without such macros."""


def _mips_gaps(*names: str) -> Mapping[str, str]:
    return {"Linux": "what is added to every number", **dict.fromkeys(names, "a gap in the table")}


NOT_OURS: Mapping[str, Mapping[str, str]] = {
    "aarch64": GENERIC_MACROS,
    "riscv64": GENERIC_MACROS,
    "riscv32": GENERIC_MACROS,
    "loongarch64": GENERIC_MACROS,
    "arm": {
        "BASE": "where arm's private numbers start",
        "SYSCALL_BASE": "what is added to every number: 0 in this ABI",
        "OABI_SYSCALL_BASE": "what the old ABI adds to every number",
        "SYSCALL_MASK": "the bits of a number",
        "arm_sync_file_range": "the other name of sync_file_range2: one number has one name",
    },
    "mips64el": _mips_gaps("reserved177", "reserved193"),
    "mipsel64n32": _mips_gaps("reserved177", "reserved193"),
    "mipsel": _mips_gaps(
        *("unused18", "unused28", "unused59", "reserved82", "unused84"),
        *("unused109", "unused150", "reserved221"),
    ),
}
"""Known differences: what the headers define like a number but we do not list, and why."""


def _installed(name: str, usr: Path) -> Headers:
    """An ABI's headers, or what stands in for them."""
    headers = HEADERS[name]
    if name == "loongarch64" and not headers.folder(usr).exists():
        return LOONGARCH64_BY_GENERIC_HEADERS
    return headers


def _preprocessed(headers: Headers, *includes: str, usr: Path = USR) -> dict[str, str]:
    """The macros after some includes, as a compiler for the ABI would see them."""
    compiler = require("gcc", "gcc")
    folder = headers.folder(usr)
    require(str(folder / "asm" / "unistd.h"), headers.package)
    command = [compiler, "-E", "-dM", "-undef", "-nostdinc", f"-I{folder}", f"-I{usr}/include"]
    command += [f"-D{define}" for define in headers.defines]
    source = "".join(f"#include <{include}>\n" for include in includes)
    done = subprocess.run(
        [*command, "-x", "c", "-"], input=source, capture_output=True, text=True, check=True
    )
    defined = (line.split(maxsplit=2)[1:] for line in done.stdout.splitlines())
    return {words[0]: words[1] for words in defined if len(words) == 2}


def _value(macros: Mapping[str, str], expression: str) -> int:
    """The value of an expression of macros and numbers."""

    def of(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return _value(macros, macros[name])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return of(left) + of(right)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return of(left) | of(right)
        raise AssertionError(f"cannot read {expression!r} in a kernel header")

    return of(ast.parse(expression, mode="eval").body)


@cache
def kernel_table(name: str, usr: Path = USR) -> tuple[tuple[int, int], Mapping[str, int]]:
    """The release (major, minor) of an ABI's headers, and the numbers that they define."""
    headers = _installed(name, usr)
    macros = _preprocessed(headers, headers.include, "linux/version.h", usr=usr)
    code = _value(macros, "LINUX_VERSION_CODE")
    numbers = {
        macro.removeprefix(prefix): _value(macros, macro)
        for prefix in ("__NR_", "__ARM_NR_")
        for macro in macros
        if macro.startswith(prefix)
    }
    return (code >> 16, code >> 8 & 0xFF), numbers


def _release(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


@every_arch
def test_numbers_are_those_of_the_kernels_headers(arch: Arch) -> None:
    """Every name has the headers' number, but for the listed differences."""
    check_table(arch, USR)


def check_table(arch: Arch, usr: Path) -> None:
    release, theirs = kernel_table(arch.name, usr)
    brought_by = {**BROUGHT_BY, **BROUGHT_BY_ON.get(arch.name, {})}
    known: dict[str, tuple[int | None, int | None]] = {
        call: (arch.number(call), None)
        for call, since in brought_by.items()
        if release < _release(since) and call not in GONE_BEFORE.get(arch.name, ())
    }
    not_ours = NOT_OURS.get(arch.name, {})
    if not_ours is GENERIC_MACROS and release >= _release(GENERIC_MACROS_UNTIL):
        not_ours = {}
    known |= {macro: (None, theirs.get(macro)) for macro in not_ours}

    found = {
        call: (arch.number(call), theirs.get(call))
        for call in sorted(arch.numbers.keys() | theirs.keys())
        if arch.number(call) != theirs.get(call)
    }

    assert found == known


NEWER = ("sid", "experimental")
"""Suites of Debian whose headers know every call of ours, and each ABI's in one package."""


@cache
def headers_of(suite: str) -> Path:
    """The folder usr/ of a suite's kernel headers.

    Raises:
        SuiteError: they cannot be had.
    """
    archive = Archive(suite, packages.architecture_here(), choice.default_cache())
    archive.update()
    origin = [each for each in archive.closure(["linux-libc-dev"]) if each.name == "linux-libc-dev"]
    folder = choice.default_cache() / "unpacked" / f"headers-{packages.digest(suite, origin)}"
    if not folder.exists():
        with packages.made(folder) as making:
            for file in archive.fetch(origin):
                packages.unpack(file, making, lambda _: True)
    return folder / "usr"


@every_arch
@pytest.mark.parametrize("suite", [pytest.param(one, marks=unless_asked_for(one)) for one in NEWER])
def test_numbers_are_those_of_the_newest_headers(arch: Arch, suite: str) -> None:
    """Also those of calls that this machine's headers do not have yet, such as fchroot."""
    if arch.name in GONE_BEFORE:
        pytest.skip(f"{arch} is gone from the kernel")
    usr = headers_of(suite)

    check_table(arch, usr)
    assert kernel_table(arch.name, usr)[0] >= (7, 0)


@every_arch
def test_documented_numbers_are_those_of_the_kernels_headers(arch: Arch) -> None:
    """The document's calls have no known difference: same number, or none in both."""
    _, theirs = kernel_table(arch.name)

    assert {call: arch.number(call) for call in documented()} == {
        call: theirs.get(call) for call in documented()
    }


@every_arch
def test_audit_arch_is_the_kernels_token(arch: Arch) -> None:
    """The token, and the byte order that is one of its bits."""
    macros = _preprocessed(HEADERS["x86_64"], "linux/audit.h", "linux/elf-em.h")

    assert arch.audit_arch == _value(macros, HEADERS[arch.name].audit_token)
    little_endian = arch.audit_arch & _value(macros, "__AUDIT_ARCH_LE") != 0
    assert arch.big_endian is not little_endian


def test_token_names_are_the_kernels() -> None:
    """Each is the header's; a name that it lacks would be that of an architecture it dropped."""
    macros = _preprocessed(HEADERS["x86_64"], "linux/audit.h", "linux/elf-em.h")
    theirs = {_value(macros, one): one[11:] for one in macros if one.startswith("AUDIT_ARCH_")}

    assert theirs.items() <= TOKENS.items()
    assert {arch.audit_arch for arch in ARCHES.values()} <= TOKENS.keys()
    assert token_text(0x16) == "0x16 (AUDIT_ARCH_S390)"
    assert token_text(0x12345678) == "0x12345678"


def test_abis_of_a_token_are_those_with_a_table() -> None:
    """x86_64's token has two; one that only has a name has none."""
    assert [one.name for one in of_token(0xC000003E)] == ["x86_64", "x32"]
    assert [one.name for one in of_token(0xE0000008)] == ["mipsel64n32"]
    assert of_token(0x2) == ()


def test_x32_bit_is_the_kernels() -> None:
    """The bit of asm/unistd.h; every number of x32 has it, and none of another ABI's."""
    macros = _preprocessed(HEADERS["x32"], "asm/unistd.h")

    assert _value(macros, "__X32_SYSCALL_BIT") == X32_SYSCALL_BIT
    for arch in ARCHES.values():
        bits = {number & X32_SYSCALL_BIT for number in arch.numbers.values()}
        assert bits == {X32_SYSCALL_BIT if arch.name == "x32" else 0}


# libseccomp

LIBSECCOMP_UNKNOWN_ABIS = {"loongarch64": "2.6"}
"""Known differences: the release that taught libseccomp the ABI."""

LIBSECCOMP_OTHERWISE = {
    (name, "msgrcv"): -212
    for name in ("i386", "ppc64le", "ppc64", "ppc", "s390x", "s390", "mipsel")
}
"""Known differences: libseccomp's answer where it is not ours.

These ABIs have msgrcv as ipc(2)'s operation 12, and as a call of its own since Linux 5.1. A
filter of libseccomp gets both from this pseudo number; what a filter sees is 401, 4401 on mipsel.
"""

LIBSECCOMP_NO_SUCH_NAME = -1


def _is_known_to_libseccomp(arch: Arch) -> bool:
    since = LIBSECCOMP_UNKNOWN_ABIS.get(arch.name, "0.0")
    return bool(arch.scmp) and _release_of_libseccomp() >= _release(since)


@every_arch
def test_documented_numbers_are_those_of_libseccomp(arch: Arch) -> None:
    """``scmp_sys_resolver`` says the same number; a negative one where the ABI has none."""
    resolver = require("scmp_sys_resolver", "seccomp")
    token = arch.scmp.removeprefix("SCMP_ARCH_").lower() or arch.name
    if not _is_known_to_libseccomp(arch):
        refusal = _resolve(resolver, token, "read")
        assert refusal.returncode != 0
        assert refusal.stdout.startswith("usage:") or refusal.stderr.startswith("usage:")
        return

    found = {}
    for call in documented():
        answer = int(_resolve(resolver, token, call).stdout)
        assert answer != LIBSECCOMP_NO_SUCH_NAME, call
        if (answer if answer >= 0 else None) != arch.number(call):
            found[arch.name, call] = answer

    assert found == {
        (name, call): answer
        for (name, call), answer in LIBSECCOMP_OTHERWISE.items()
        if name == arch.name
    }


@every_arch
def test_scmp_name_is_libseccomps_for_the_token(arch: Arch) -> None:
    """The name is that of the header, and stands for the kernel's token.

    x32 is the exception: libseccomp tells it from x86_64 by a token that the kernel never shows.
    """
    header = Path(require("/usr/include/seccomp.h", "libseccomp-dev"))
    if not _is_known_to_libseccomp(arch):
        assert (arch.scmp or "RISCV32") not in header.read_text()
        return
    macros = _preprocessed(HEADERS["x86_64"], "linux/audit.h", "linux/elf-em.h")
    lines = [line.split(maxsplit=2)[1:] for line in header.read_text().splitlines()]
    macros |= {words[0]: words[1] for words in lines if words and words[0] == arch.scmp}

    assert (_value(macros, arch.scmp) == arch.audit_arch) is (arch.name != "x32")


def _resolve(resolver: str, token: str, call: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [resolver, "-a", token, call], capture_output=True, text=True, check=False
    )


@cache
def _release_of_libseccomp() -> tuple[int, int]:
    require("scmp_sys_resolver", "seccomp")
    query = require("dpkg-query", "dpkg")
    command = [query, "--show", "--showformat=${Version}", "seccomp"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return _release(".".join(version.split(".")[:2]))


# The tables themselves


@every_arch
def test_a_number_has_one_name(arch: Arch) -> None:
    """Names and numbers answer each other; what no table knows has neither."""
    assert {arch.name_of(number) for number in arch.numbers.values()} == set(arch.numbers)
    assert list(arch.numbers) == sorted(arch.numbers)
    assert arch.number("no_such_call") is None
    assert arch.name_of(max(arch.numbers.values()) + 1) is None


@every_arch
def test_numbers_cannot_be_changed(arch: Arch) -> None:
    """A table is shared by everyone who asks for it."""
    with pytest.raises(TypeError):
        arch.numbers["acct"] = 0  # type: ignore[index]  # that it cannot is the point


@every_arch
def test_our_own_file_has_only_what_the_package_lacks(arch: Arch) -> None:
    """A name that system-calls has come to list is to be removed from the file."""
    package = syscalls().load_arch_table(arch_module._PACKAGE_NAMES.get(arch.name, arch.name))

    assert not arch_module._legacy()[arch.name].keys() & package.keys()


def test_our_own_file_knows_the_abis_and_no_other() -> None:
    """No table of the file is left unread."""
    assert arch_module._legacy().keys() == ARCHES.keys()


@pytest.mark.parametrize(
    "legacy", [{"acct": 164}, {"accounting": 163}], ids=["two numbers", "two names"]
)
def test_contradicting_sources_are_refused(legacy: dict[str, int]) -> None:
    """A number that two sources see differently is no number to judge by."""
    with pytest.raises(InstrumentError, match=r"legacy-numbers\.toml .* on x86_64"):
        arch_module._merged("x86_64", {"acct": 163}, legacy)


def test_agreeing_sources_are_merged() -> None:
    """What both say counts once."""
    merged = arch_module._merged("x86_64", {"b": 2, "acct": 163}, {"acct": 163, "a": 1})

    assert list(merged.items()) == [("a", 1), ("acct", 163), ("b", 2)]


def test_importing_the_module_reads_no_table() -> None:
    """A probing process that only needs a token starts fast."""
    script = "import sys, probes.arch; print('system_calls' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_all_names_are_those_of_every_table() -> None:
    """The document's calls, and calls of one ABI only."""
    assert all_names() >= {*documented(), "arm_fadvise64_64", "s390_guarded_storage", "bdflush"}
    assert "no_such_call" not in all_names()


# Names and machines


@every_arch
def test_get_finds_an_abi_by_name(arch: Arch) -> None:
    """By its own name, no other."""
    assert get(arch.name) is arch


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("arm64", "aarch64"), ("AMD64", "x86_64"), ("x86-64", "x86_64"), ("i868", "i386")],
)
def test_get_suggests_the_nearest_name(name: str, nearest: str) -> None:
    """For other projects' names and for slips."""
    with pytest.raises(BadInputError) as refused:
        get(name)

    sentence = str(refused.value)
    assert sentence.startswith(f"unknown architecture {name!r} (did you mean {nearest}?): ")
    assert all(known in sentence for known in ARCHES)


def test_get_suggests_nothing_far_fetched() -> None:
    """A suggestion that is a guess would only mislead."""
    with pytest.raises(BadInputError, match=r"^unknown architecture 'vax': the names are x86_64, "):
        get("vax")


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        ("x86_64", ["x86_64", "x32", "i386"]),
        ("aarch64", ["aarch64", "arm"]),
        ("ppc64le", ["ppc64le"]),
        ("s390x", ["s390x", "s390"]),
        ("riscv64", ["riscv64", "riscv32"]),
        ("loongarch64", ["loongarch64"]),
        ("mips64", ["mips64el", "mipsel", "mipsel64n32"]),
        ("ppc64", ["ppc64", "ppc"]),
    ],
)
def test_offered_by_names_the_native_abi_first(machine: str, names: list[str]) -> None:
    """The native ABI is the one that the C library's syscall(2) enters."""
    offered = offered_by(machine)

    assert [arch.name for arch in offered] == names
    assert offered[0].entry is Entry.SYSCALL


def test_offered_by_refuses_an_unknown_machine() -> None:
    """A 32-bit personality among them, which hides the kernel's real machine."""
    with pytest.raises(BadInputError, match=r"'i686'.*64-bit process.*x86_64, aarch64, ppc64le"):
        offered_by("i686")


@pytest.mark.parametrize(
    ("machine", "name"),
    [("x86_64", "i386"), ("i686", "i386"), ("armv7l", "arm"), ("armv8l", "arm")],
)
def test_a_32_bit_process_has_its_own_abi_only(
    machine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own C library's syscall(2) enters by it, without a stub."""
    seen = os.uname_result(("Linux", "here", "6.1", "#1", machine))
    monkeypatch.setattr(os, "uname", lambda: seen)
    monkeypatch.setattr(sys, "maxsize", (1 << 31) - 1)

    assert [(one.name, one.entry) for one in of_this_process()] == [(name, Entry.SYSCALL)]
    assert machine_here() == ARCHES[name].machine


def test_a_64_bit_process_has_those_of_its_kernel() -> None:
    assert of_this_process() == offered_by(os.uname().machine)
