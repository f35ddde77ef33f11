"""Conditions in exported profiles, compiled by libseccomp and held against the builtin program."""

import json
import os
import random
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.documents.policy import DocumentedCall
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import Program, SeccompData
from probes.filters.comparison import compare
from probes.filters.conditions import Condition, Operator
from probes.tests.filters.test_conditions import (
    ALLOW,
    documented,
    plainly,
    policy_of,
    some_calls,
    some_words,
)
from reports.filters import allowlist
from reports.filters.allowlist import ExportRequest

X86 = tuple(abis.ARCHES[name] for name in ("x86_64", "x32", "i386"))
WIDE, NARROW = (X86[0],), (X86[2],)
SEED = int(os.environ.get("SYSCALL_CONFORMANCE_SEED", "11"))


@pytest.fixture(scope="module")
def libseccomp() -> ModuleType:
    found: ModuleType = pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    return found


def compiled(library: ModuleType, request: ExportRequest, only: str) -> Program:
    """What libseccomp makes of an exported profile's rules about one call."""
    profile = json.loads(allowlist.oci_json(request))

    def action_of(name: str, number: int) -> int:
        value: int = (
            library.ERRNO(number)
            if name == "SCMP_ACT_ERRNO"
            else getattr(library, name.removeprefix("SCMP_ACT_"))
        )
        return value

    default = action_of(profile["defaultAction"], profile.get("defaultErrnoRet", 1))
    made = library.SyscallFilter(default)
    wanted = [getattr(library.Arch, one.scmp.removeprefix("SCMP_ARCH_")) for one in request.arches]
    for token in wanted:
        if token != library.system_arch():
            made.add_arch(token)
    if library.system_arch() not in wanted:
        made.remove_arch(library.system_arch())
    for rule in profile["syscalls"]:
        if only in rule["names"]:
            args = [
                library.Arg(
                    one["index"],
                    getattr(library, one["op"].removeprefix("SCMP_CMP_")),
                    one["value"],
                    one.get("valueTwo", 0),
                )
                for one in rule.get("args", ())
            ]
            made.add_rule(action_of(rule["action"], rule.get("errnoRet", 1)), only, *args)
    with os.fdopen(os.memfd_create("profile"), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return bpf.from_bytes(file.read(), big_endian=request.arches[0].big_endian)


def returned(program: Program, arch: Arch, name: str, words: tuple[int, ...]) -> int:
    data = SeccompData(arch.numbers[name], arch.audit_arch, words)
    return bpf.simulate(program, data, big_endian=arch.big_endian)


@pytest.mark.slow
@pytest.mark.parametrize("arches", [WIDE, NARROW, X86], ids=["x86_64", "i386", "all of x86"])
@pytest.mark.parametrize("round_", range(12))
def test_libseccomp_makes_of_a_profile_what_the_conditions_say(
    libseccomp: ModuleType, round_: int, arches: tuple[Arch, ...]
) -> None:
    dice = random.Random(f"{SEED}-{round_}")  # noqa: S311 - for made-up input
    calls = some_calls(dice)
    name = calls[0].name
    request = ExportRequest(policy_of(*calls), Profile.ERRNO, arches)
    refused = FilterReturn(Action.ERRNO, 1).value
    try:
        program = compiled(libseccomp, request, name)
        stricter = {
            arch for one, _ in allowlist.argument_rules_of(request) for arch in one.found.stricter
        }
    except BadInputError as error:
        # What no profile can say is said of the call, and of more than a single condition only.
        assert name in str(error)  # noqa: PT017 - not every policy is refused
        assert sum(len(call.args) for call in calls) > 1 or len(arches) > 1
        return
    for arch in arches:
        for _ in range(60):
            words = some_words(dice, calls)
            restricted = any(plainly(name, call.args, arch, words) for call in calls)
            got = returned(program, arch, name, words)
            said = f"{[call.label for call in calls]} on {arch} with {list(map(hex, words))}"
            if restricted:
                assert got == refused, said
            elif arch.name not in stricter:
                assert got == ALLOW, said


@pytest.mark.slow
@pytest.mark.parametrize("arches", [WIDE, NARROW, X86], ids=["x86_64", "i386", "all of x86"])
@pytest.mark.parametrize(
    "calls",
    [
        [documented("socket", Condition(0, Operator.EQ, 38))],
        [documented("ptrace", Condition(0, Operator.EQ, 16))],
        [
            documented("clone", Condition(0, Operator.MASKED_EQ, bit, bit))
            for bit in (0x10000000, 0x20000)
        ],
        [documented("ioctl", Condition(1, Operator.EQ, 0x5412))],
        [documented("personality", Condition(0, Operator.NE, 0))],
        [documented("chmod", Condition(1, Operator.MASKED_EQ, 0o4000, 0o4000))],
        [documented("kill", Condition(1, Operator.GE, 9), Condition(1, Operator.LE, 19))],
    ],
    ids=lambda calls: calls[0].label if isinstance(calls, list) else "",
)
def test_what_documents_say_is_proved_equal(
    libseccomp: ModuleType, calls: list[DocumentedCall], arches: tuple[Arch, ...]
) -> None:
    made = policy_of(*calls)
    request = ExportRequest(made, Profile.KILL, arches)
    name = made.names[0]
    theirs = compiled(libseccomp, request, name)
    ours = allowlist.export(request, allowlist.ExportFormat.BPF)
    assert isinstance(ours, bytes)
    comparison = compare((bpf.from_bytes(ours),), (theirs,))
    assert comparison.exact
    for arch in arches:
        differing = comparison.analysis.returns(arch.audit_arch, arch.numbers[name])
        pairs = {comparison.pairs[index] for index in differing & comparison.differing}
        if arch.name == "x32" and name == "ptrace":
            continue  # x32 has compat registers there, which libseccomp cuts as well
        assert not pairs, arch


def test_errnos_of_their_own_are_exported(libseccomp: ModuleType) -> None:
    made = policy_of(
        documented("clone3", errnos=("ENOSYS", "EPERM")),
        documented("socket", Condition(0, Operator.EQ, 38), errnos=("EAFNOSUPPORT",)),
        documented("socket", Condition(0, Operator.EQ, 40)),
        documented("acct"),
    )
    request = ExportRequest(made, Profile.ERRNO, WIDE)
    profile = json.loads(allowlist.oci_json(request))
    (whole,) = (rule for rule in profile["syscalls"] if "clone3" in rule["names"])
    assert (whole["action"], whole["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert "args" not in whole
    assert not [rule for rule in profile["syscalls"] if "acct" in rule["names"]]
    program = compiled(libseccomp, request, "socket")
    for family, wanted in ((38, 97), (40, 1), (0x100000026, 97), (0x100000028, 1)):
        words = (family, 0, 0, 0, 0, 0)
        assert (
            returned(program, X86[0], "socket", words) == FilterReturn(Action.ERRNO, wanted).value
        )
    assert returned(program, X86[0], "socket", (2, 0, 0, 0, 0, 0)) == ALLOW
    # Under the other profiles nobody answers an errno.
    assert "errnoRet" not in allowlist.oci_json(ExportRequest(made, Profile.KILL, WIDE))


def test_a_seccomp_profile_of_kubernetes_has_the_conditions() -> None:
    made = policy_of(documented("ptrace", Condition(0, Operator.EQ, 16)))
    read = yaml.safe_load(allowlist.spo_yaml(ExportRequest(made, Profile.KILL, WIDE)))
    (rule,) = (one for one in read["spec"]["syscalls"] if "args" in one)
    assert rule == {
        "action": "SCMP_ACT_ALLOW",
        "names": ["ptrace"],
        "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_NE"}],
    }
    own = policy_of(documented("clone3", errnos=("ENOSYS",)))
    read = yaml.safe_load(allowlist.spo_yaml(ExportRequest(own, Profile.ERRNO, WIDE)))
    (rule,) = (one for one in read["spec"]["syscalls"] if "clone3" in one["names"])
    assert rule == {"action": "SCMP_ACT_ERRNO", "names": ["clone3"], "errnoRet": 38}


def test_what_a_profile_cannot_say_is_refused_in_a_sentence() -> None:
    # Bits above 32, of an argument that has only 32 on i386.
    made = policy_of(documented("mmap", Condition(1, Operator.MASKED_EQ, 1 << 40, 1 << 40)))
    with pytest.raises(BadInputError, match="no profile can say what the policy restricts of mmap"):
        allowlist.oci_json(ExportRequest(made, Profile.KILL, X86))
    assert allowlist.oci_json(ExportRequest(made, Profile.KILL, WIDE))
    assert allowlist.export(ExportRequest(made, Profile.KILL, X86), allowlist.ExportFormat.BPF)


def test_the_header_says_which_argument_is_looked_at(tmp_path: Path) -> None:
    del tmp_path
    made = policy_of(documented("ptrace", Condition(1, Operator.EQ, 16)))
    header = allowlist.c_header(ExportRequest(made, Profile.KILL, WIDE))
    assert "half of argument 1" in header
    assert header.count(": the number") == 1
