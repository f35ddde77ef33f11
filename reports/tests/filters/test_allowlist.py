"""Exports against those who load them: libseccomp, gcc, PyYAML, json and real runtimes.

Where a profile and the builtin program may differ, and why:

* a call that libseccomp has no number for on an ABI, because it is newer than this libseccomp or
  was left out (``map_shadow_stack`` on x32, ``sync_file_range2`` on arm), gets the profile's
  action; so does ``sys_debug_setcontext``, where a profile for ppc64le is compiled elsewhere, as
  libseccomp 2.5 has one pseudo number for it and ``switch_endian``;
* an architecture that is not named is killed by thread, which libseccomp does by itself;
* runc, unlike crun, answers ENOSYS above the highest number that it knows of a profile, unless
  the default action lets calls run.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.documents import policy
from probes.documents.policy import DocumentedCall, Policy
from probes.errors import BadInputError
from probes.files import SUITE
from probes.filters import bpf, partition
from probes.filters.bpf import Program
from probes.filters.comparison import Pair, StackComparison, compare, effect, run
from probes.targets import builtin, oci_file, started_container
from probes.targets.oci.reader import AskedReaders, Engine, Runtime, newest
from probes.tests.support import oracles
from probes.tests.support.machine import Machine, need, private_machine, static_root
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest

SHIPPED = policy.load(SUITE / "cases/policies/container-restrictions.toml", abis.all_names())
ALLOW = FilterReturn(Action.ALLOW)
KILL_THREAD = FilterReturn(Action.KILL_THREAD)
ENOSYS = FilterReturn(Action.ERRNO, 38)

MACHINES = tuple(dict.fromkeys(arch.machine for arch in abis.ARCHES.values()))
profiles = pytest.mark.parametrize("profile", Profile)
machines = pytest.mark.parametrize("machine", MACHINES)


def request_for(
    profile: Profile, machine: str = "x86_64", documented: Policy = SHIPPED
) -> ExportRequest:
    return ExportRequest(documented, profile, abis.offered_by(machine))


def program_of(request: ExportRequest) -> Program:
    return builtin.build(request.policy, request.arches, request.profile)


def a_policy(*names: str, name: str = "made up") -> Policy:
    calls = tuple(DocumentedCall(each, "all", "does something", "for a test") for each in names)
    return Policy(name, "A title", "A source.", ("all",), calls, "made-up.toml", "0" * 64)


@pytest.fixture(scope="module")
def libseccomp() -> ModuleType:
    found: ModuleType = pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    return found


def compiled(library: ModuleType, profile: Mapping[str, Any], native: Arch) -> Program:
    """What libseccomp makes of a profile: a plain reading of the runtime-spec."""
    actions = {"SCMP_ACT_ERRNO": library.ERRNO(profile.get("defaultErrnoRet", 1))}
    for name in ("KILL_PROCESS", "LOG", "ALLOW"):
        actions[f"SCMP_ACT_{name}"] = getattr(library, name)
    made = library.SyscallFilter(actions[profile["defaultAction"]])
    wanted = [arch_of(library, name) for name in profile["architectures"]]
    if library.system_arch() not in wanted:
        made.remove_arch(library.system_arch())
    for token in wanted:
        if token != library.system_arch():
            made.add_arch(token)
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            if library.resolve_syscall(library.system_arch(), name) != -1:
                made.add_rule(actions[rule["action"]], name)
    with os.fdopen(os.memfd_create("profile"), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return bpf.from_bytes(file.read(), big_endian=native.big_endian)


def arch_of(library: ModuleType, scmp: str) -> int:
    token: int = getattr(library.Arch, scmp.removeprefix("SCMP_ARCH_"))
    return token


def unknown_to(library: ModuleType, arch: Arch) -> frozenset[int]:
    """The numbers of an ABI for which libseccomp makes no rule.

    Its pseudo numbers are below -10000 for calls that the ABI has not got, and above that for
    those which a multiplexer carries; for these it makes rules both ways.
    """
    numbers = {
        number: library.resolve_syscall(arch_of(library, arch.scmp), name)
        for name, number in arch.numbers.items()
    }
    return frozenset(number for number, found in numbers.items() if found == -1 or found < -10000)


def confused_here(library: ModuleType, arch: Arch) -> set[int]:
    """The number that libseccomp takes for another one where it is not the machine's own."""
    name = "sys_debug_setcontext"
    if library.resolve_syscall(library.system_arch(), name) >= 0 or arch.name != "ppc64le":
        return set()
    return {arch.numbers[name]}


def differing(comparison: StackComparison, arch: Arch) -> dict[Pair, set[tuple[int, int]]]:
    """The ranges of an ABI's numbers about which two programs differ, by what they do."""
    found: dict[Pair, set[tuple[int, int]]] = {}
    for part in partition.number_ranges(comparison.analysis, arch.audit_arch):
        for low, high in partition.share(arch):
            first, last = max(part.first, low), min(part.last, high)
            for index in part.returns & comparison.differing if first <= last else ():
                found.setdefault(comparison.pairs[index], set()).add((first, last))
    return found


def numbers_in(ranges: Iterable[tuple[int, int]]) -> frozenset[int]:
    return frozenset(number for first, last in ranges for number in range(first, last + 1))


# Our own names' numbers agree with libseccomp's wherever it knows them: probes/tests/test_arch.py.


@pytest.mark.slow
@profiles
def test_libseccomp_makes_the_builtin_program_of_the_profile(
    libseccomp: ModuleType, profile: Profile
) -> None:
    check_equality(libseccomp, request_for(profile))


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["aarch64", "ppc64le", "riscv64", "mips64"])
def test_so_it_does_for_other_machines(libseccomp: ModuleType, machine: str) -> None:
    check_equality(libseccomp, request_for(Profile.ERRNO, machine))


def test_so_it_does_for_a_big_endian_machine(libseccomp: ModuleType) -> None:
    # Where its own machine is little-endian, libseccomp 2.5 swaps the bytes of a return once too
    # often in programs that are too long for a short jump, so this one allows few calls.
    names = sorted(set(abis.ARCHES["s390x"].numbers) - {"ipc", "socketcall"})
    documented = a_policy(*(name for index, name in enumerate(names) if index % 6))
    check_equality(libseccomp, request_for(Profile.ERRNO, "s390x", documented))


def check_equality(library: ModuleType, request: ExportRequest) -> None:
    request = replace(request, arches=tuple(one for one in request.arches if one.scmp))
    native = request.arches[0]
    theirs = compiled(library, json.loads(allowlist.oci_json(request)), native)
    comparison = compare((program_of(request),), (theirs,), big_endian=native.big_endian)
    assert comparison.exact
    returns = request.profile.returns
    documented = set(request.policy.names)
    for arch in request.arches:
        found = differing(comparison, arch)
        intended = confused_here(library, arch) | {
            number for number in unknown_to(library, arch) if arch.name_of(number) not in documented
        }
        assert set(found) <= {Pair(ALLOW, returns)}, arch
        assert numbers_in(found.get(Pair(ALLOW, returns), ())) == intended, arch
        assert len(intended) < 30  # else libseccomp knows nothing of this ABI, or we do not
    *named, others = partition.token_classes(comparison.analysis)
    assert {token for alike in named for token in alike.tokens()} == {
        arch.audit_arch for arch in request.arches
    }
    assert {
        comparison.pairs[index] for index in comparison.analysis.returns(others.example, 0)
    } == {Pair(returns, KILL_THREAD)}


@pytest.mark.parametrize("form", [ExportFormat.OCI, ExportFormat.SPO])
def test_an_abi_that_libseccomp_lacks_is_told_and_not_named(form: ExportFormat) -> None:
    """A profile that named it would be refused by every runtime."""
    both = request_for(Profile.KILL, "riscv64")
    assert [one.name for one in both.arches] == ["riscv64", "riscv32"]
    alone = replace(both, arches=both.arches[:1])
    said, expected = (str(allowlist.export(one, form)).splitlines() for one in (both, alone))
    assert [line for line in said if "#" not in line] == [
        line for line in expected if "#" not in line
    ]
    assert any("libseccomp has no riscv32" in note for note in allowlist.notes(both, form))
    assert not any("riscv32" in note for note in allowlist.notes(alone, form))
    with pytest.raises(BadInputError, match="no riscv32: name others by --arch"):
        allowlist.export(replace(both, arches=both.arches[1:]), form)


def test_an_abi_that_is_left_out_is_no_business_of_the_profile(libseccomp: ModuleType) -> None:
    request = ExportRequest(SHIPPED, Profile.KILL, (abis.ARCHES["x86_64"],))
    assert json.loads(allowlist.oci_json(request))["architectures"] == ["SCMP_ARCH_X86_64"]
    check_equality_on(libseccomp, request, abis.ARCHES["x86_64"])


def check_equality_on(library: ModuleType, request: ExportRequest, arch: Arch) -> None:
    theirs = compiled(library, allowlist.oci_profile(request), arch)
    found = differing(compare((program_of(request),), (theirs,)), arch)
    known = numbers_in(found.pop(Pair(ALLOW, request.profile.returns)))
    assert known <= unknown_to(library, arch)
    # libseccomp alone looks at the sign of x86_64's numbers where x32 is not there.
    assert set(found) <= {Pair(request.profile.returns, KILL_THREAD)}


@pytest.mark.parametrize("carrier", ["ipc", "socketcall"])
def test_what_a_profile_cannot_keep_shut_is_told(libseccomp: ModuleType, carrier: str) -> None:
    request = request_for(Profile.ERRNO, documented=a_policy(carrier))
    i386 = abis.ARCHES["i386"]
    comparison = compare(
        (program_of(request),), (compiled(libseccomp, allowlist.oci_profile(request), i386),)
    )
    opened = differing(comparison, i386).get(Pair(Profile.ERRNO.returns, ALLOW), set())
    assert opened == {(i386.numbers[carrier],) * 2}
    told = [note for note in allowlist.notes(request, ExportFormat.OCI) if carrier in note]
    assert len(told) == 1
    assert "i386" in told[0]
    assert not [note for note in allowlist.notes(request, ExportFormat.BPF) if carrier in note]
    whole = request_for(Profile.ERRNO, documented=a_policy("acct", "msgrcv"))
    assert not [note for note in allowlist.notes(whole, ExportFormat.OCI) if carrier in note]


@machines
@profiles
def test_a_documented_call_is_never_listed_and_any_other_is_once(
    machine: str, profile: Profile
) -> None:
    request = request_for(profile, machine)
    (rule,) = json.loads(allowlist.oci_json(request))["syscalls"]
    assert rule["names"] == sorted(set(rule["names"]))
    assert not set(rule["names"]) & set(SHIPPED.names)
    known = {name for arch in request.arches if arch.scmp for name in arch.numbers}
    assert set(rule["names"]) | set(SHIPPED.names) >= known
    assert rule["action"] == "SCMP_ACT_ALLOW"


def test_the_profile_says_what_the_runtime_spec_wants() -> None:
    kill, errno_, log = (json.loads(allowlist.oci_json(request_for(each))) for each in Profile)
    assert kill["defaultAction"] == "SCMP_ACT_KILL_PROCESS"
    assert (errno_["defaultAction"], errno_["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert log["defaultAction"] == "SCMP_ACT_LOG"
    for one in (kill, errno_, log):
        assert one["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"]
        assert set(one) <= {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}


starts_containers = pytest.mark.containers(machine="x86_64")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@starts_containers
@pytest.mark.parametrize(
    ("runtime", "profile"),
    [
        ("runc", Profile.KILL),
        ("runc", Profile.LOG),
        ("crun", Profile.KILL),
        ("crun", Profile.ERRNO),
        ("podman", Profile.KILL),
        ("docker", Profile.ERRNO),
    ],
)
def test_containers_run_confined_by_the_profile(
    runtime: str, profile: Profile, machine: Machine, tmp_path: Path
) -> None:
    need(runtime)
    request = request_for(profile)
    exported = json.loads(allowlist.oci_json(request))
    root = static_root(tmp_path, "int main(void) { return 0; }")
    harvested = started_container.load(machine.wanted(runtime, root, exported)).programs
    comparison = compare((program_of(request),), harvested)
    assert comparison.exact
    returns = profile.returns
    for arch in request.arches:
        found = differing(comparison, arch)
        newer = {
            number
            for pair in (Pair(ALLOW, returns), Pair(ALLOW, ENOSYS))
            for number in numbers_in(found.pop(pair, ()))
        }
        assert not {arch.name_of(number) for number in newer} & set(SHIPPED.names)
        assert len(newer) < 30
        if runtime in {"runc", "docker"} and profile is not Profile.LOG:
            assert set(found) == {Pair(returns, ENOSYS)}, arch
            assert not numbers_named(arch, found[Pair(returns, ENOSYS)])
        else:
            assert not found, arch


def numbers_named(arch: Arch, ranges: Iterable[tuple[int, int]]) -> list[str]:
    return [
        name
        for name, number in arch.numbers.items()
        if any(first <= number <= last for first, last in ranges)
    ]


def test_the_raw_program_is_the_builtin_one_in_the_machine_s_order() -> None:
    for machine in ("x86_64", "s390x"):
        request = request_for(Profile.KILL, machine)
        raw = allowlist.export(request, ExportFormat.BPF)
        assert isinstance(raw, bytes)
        big_endian = machine == "s390x"
        assert bpf.from_bytes(raw, big_endian=big_endian) == program_of(request)
        # The first instruction loads the architecture: BPF_LD | BPF_W | BPF_ABS, 4.
        assert raw[:8] == (b"\0\x20\0\0\0\0\0\4" if big_endian else b"\x20\0\0\0\4\0\0\0")


_MAIN = """\
#include <stdio.h>
#include "one.h"
#include "two.h"
#include "one.h"
#define WRITE(name, length) fwrite(name, sizeof(struct sock_filter), length, stdout)
_Static_assert(sizeof {one} / sizeof {one}[0] == {ONE}_LENGTH, "the length is the array's");
int main(void)
{{
    WRITE({one}, {ONE}_LENGTH);
    WRITE({two}, {TWO}_LENGTH);
    return 0;
}}
"""


@pytest.mark.parametrize(
    "name", ["container-restrictions", "7 */ /* \\ ??/ \u202e Pol\u00edtica", "\u65e5\u672c"]
)
def test_gcc_reads_the_program_from_the_header(name: str, tmp_path: Path) -> None:
    gcc = oracles.require("gcc", "gcc libc6-dev linux-libc-dev")
    documented = a_policy(*SHIPPED.names, name=name)
    requests = [request_for(profile, documented=documented) for profile in Profile][:2]
    names = []
    for request, file in zip(requests, ("one.h", "two.h"), strict=True):
        header = allowlist.export(request, ExportFormat.C)
        assert isinstance(header, str)
        (tmp_path / file).write_text(header)
        names += re.findall(r"struct sock_filter (\w+)\[", header)
    one, two = names
    (tmp_path / "main.c").write_text(
        _MAIN.format(one=one, two=two, ONE=one.upper(), TWO=two.upper())
    )
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run([gcc, *flags, "-o", "main", "main.c"], cwd=tmp_path, check=True)
    written = subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout
    assert written == b"".join(bpf.to_bytes(program_of(request)) for request in requests)


def test_the_header_says_what_each_instruction_means() -> None:
    lines = allowlist.c_header(request_for(Profile.KILL)).splitlines()
    assert "    /* x86_64, x32: architecture 0xc000003e */" in lines
    assert "    /* i386: architecture 0x40000003 */" in lines
    program = program_of(request_for(Profile.KILL))
    numbered = [line for line in lines if re.match(r" *\{0x", line)]
    assert len(numbered) == len(program)
    for index, (line, instruction) in enumerate(zip(numbered, program, strict=True)):
        assert f"/* {index:4d}: " in line
        if instruction.code == bpf.RET_K:
            assert str(FilterReturn.decode(instruction.k)) in line


# Of the operator's CustomResourceDefinition, security-profiles-operator v0.9.
_SPO_ARCHITECTURES = re.compile(
    "SCMP_ARCH_(NATIVE|X86|X86_64|X32|ARM|AARCH64|MIPS(64|64N32|EL|EL64|EL64N32)?|PPC(64|64LE)?"
    "|S390X?|PARISC(64)?|RISCV64)"
)


@machines
@profiles
def test_the_operator_gets_the_same_profile(machine: str, profile: Profile) -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    request = request_for(profile, machine)
    if machine == "loongarch64":
        with pytest.raises(BadInputError, match="has no loongarch64"):
            allowlist.spo_yaml(request)
        return
    read = yaml.safe_load(allowlist.spo_yaml(request))
    assert read.pop("apiVersion") == "security-profiles-operator.x-k8s.io/v1beta1"
    assert read.pop("kind") == "SeccompProfile"
    assert read.pop("metadata") == {"name": f"container-restrictions-{profile.value}"}
    spec = read.pop("spec")
    assert not read
    wanted = allowlist.oci_profile(request)
    wanted.pop("defaultErrnoRet", None)  # runtimes' default is EPERM, and the operator has none
    assert spec == wanted
    assert all(_SPO_ARCHITECTURES.fullmatch(name) for name in spec["architectures"])


def _never(path: Path) -> oci_file.Document:
    raise AssertionError(f"there is one reader of {path}, and so nothing to compare")


@profiles
def test_what_the_operator_gets_can_be_read_back(profile: Profile, tmp_path: Path) -> None:
    """The exported profile is equal on a node, by the program and so in every answer."""
    pytest.importorskip("yaml", reason="needs PyYAML")
    request = request_for(profile)
    found = []
    for form in (ExportFormat.SPO, ExportFormat.OCI):
        path = tmp_path / form
        path.write_text(str(allowlist.export(request, form)))
        container = oci_file.ProfiledContainer(request.arches[0], frozenset(), (6, 1))
        asked = AskedReaders(newest(Engine.CONTAINERD), newest(Runtime.RUNC))
        found.append(oci_file.load([path], container, asked, partial(_never, path)))
    assert found[0].programs == found[1].programs


@pytest.mark.parametrize("name", ["", "no", "A_b.c", "-x-", "n" * 300, "\u65e5", '"\n#: {'])
def test_kubernetes_takes_the_name(name: str) -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    request = request_for(Profile.LOG, documented=a_policy("acct", name=name))
    label = yaml.safe_load(allowlist.spo_yaml(request))["metadata"]["name"]
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", label)
    assert len(label) <= 63
    assert label.endswith("-log")


@pytest.mark.parametrize("form", ExportFormat)
def test_an_export_depends_on_nothing_but_the_request(form: ExportFormat) -> None:
    one, two = (allowlist.export(request_for(Profile.KILL), form) for _ in range(2))
    assert one == two
    other = allowlist.export(request_for(Profile.LOG), form)
    assert other != one
    less = allowlist.export(request_for(Profile.KILL, documented=a_policy("acct")), form)
    assert less != one


def test_the_notes_say_how_a_profile_falls_short() -> None:
    for profile in Profile:
        told = allowlist.notes(request_for(profile), ExportFormat.OCI)
        assert any("KILL_THREAD" in note for note in told)
        assert any("ENOSYS" in note for note in told) == (profile is not Profile.LOG)
        assert told == allowlist.notes(request_for(profile), ExportFormat.SPO)
        assert not allowlist.notes(request_for(profile), ExportFormat.C)


def test_the_exported_program_does_what_the_policy_says() -> None:
    request = request_for(Profile.ERRNO)
    raw = allowlist.export(request, ExportFormat.BPF)
    assert isinstance(raw, bytes)
    program = bpf.from_bytes(raw)
    for arch in request.arches:
        for name, number in arch.numbers.items():
            got = effect(run((program,), bpf.SeccompData(number, arch.audit_arch)))
            wanted = Profile.ERRNO.returns if name in SHIPPED.names else ALLOW
            assert got == wanted, (arch, name)
