"""What a proof covers: other architectures, other machines, and calls that have another form."""

import errno
import json
import os
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, Claim, EvidenceKind, Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters import bpf, prover
from probes.filters.bpf import Program, SeccompData
from probes.instrument import abis as kernel_abis
from probes.instrument.calls import Call, Request, Zygote
from probes.judging import proof
from probes.judging.examiner import Examiner
from probes.judging.plan import Case, Scope, plan
from probes.targets import builtin
from probes.targets.oci import compiler
from probes.targets.oci.capability import CAPABILITIES
from probes.tests.support.stacks import target_of

POLICY = policy.load(DEFAULT_POLICY, arch.all_names())
X86_64, X32, I386 = (ARCHES[name] for name in ("x86_64", "x32", "i386"))
ALLOW = FilterReturn(Action.ALLOW).value
EPERM = Profile.ERRNO.returns.value

IPC = I386.numbers["ipc"]
MSGRCV = 12
"""linux/ipc.h."""
NEWER_VERSION = 1 << 16

on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="these are x86's ABIs")


def cases(named: Arch, profile: Profile = Profile.ERRNO) -> dict[str, Case]:
    """The cases of a proof on one ABI, by call or scope."""
    return {case.cells[0].syscall: case for case in plan(POLICY, [profile], [], [], [named])}


def deviation(program: Program, case: Case) -> proof.Deviation | None:
    analysis = prover.analyze([program])
    return proof.deviation(case, POLICY, analysis, proof.expected(case, POLICY))


def proved(zygote: Zygote, program: Program, case: Case) -> Cell:
    """The verdict, after a counterexample was tried on this kernel."""
    assert case.profile is not None
    target = target_of("oci", "the profile", {case.profile: (program,)})
    kernel = arch.offered_by(os.uname().machine)
    offered = tuple(one for one, trouble in kernel_abis.entered(zygote, kernel) if not trouble)
    judge = Examiner(zygote, target, POLICY, offered, AuditTrail(None, "none were asked for"))
    (cell,) = judge.examine([case])
    return cell


# Other architectures.


def two_ranges(below: int) -> Program:
    """A filter that lets half of the architectures through, and tells none by name but x86_64's."""
    return (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, X86_64.audit_arch, 2, 0),
        bpf.jump(bpf.JGE, 0xD0000000, 1, 0),
        bpf.statement(bpf.RET_K, below),
        bpf.statement(bpf.RET_K, EPERM),
    )


def test_no_architecture_is_overlooked() -> None:
    """Be it in the smaller of the ranges that a filter tells apart."""
    case = cases(X86_64)[Scope.OTHER_ARCHITECTURES]
    assert deviation(two_ranges(EPERM), case) is None
    found = deviation(two_ranges(ALLOW), case)
    assert found is not None
    assert found.data.arch < 0xD0000000
    assert found.value == ALLOW
    above = (*two_ranges(EPERM)[:-1], bpf.statement(bpf.RET_K, ALLOW))
    found = deviation(above, case)
    assert found is not None
    assert found.data.arch >= 0xD0000000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aarch64", "riscv64", "i386"])
def test_the_builtin_filter_of_another_machine_is_proved(name: str) -> None:
    arches = arch.offered_by(ARCHES[name].machine)
    program = builtin.build(POLICY, arches, Profile.ERRNO)
    for call, case in cases(ARCHES[name]).items():
        assert deviation(program, case) is None, call


@on_x86_64
def test_what_cannot_be_tried_here_is_judged_by_proof_alone(zygote: Zygote) -> None:
    aarch64 = ARCHES["aarch64"]
    numbers = {n for n in aarch64.numbers.values() if n != aarch64.numbers["acct"]}
    program = bpf.dispatch({aarch64.audit_arch: bpf.ranges(numbers, ALLOW, EPERM)}, EPERM)
    found = cases(aarch64)
    right, wrong = (proved(zygote, program, found[call]) for call in ("acct", "mount"))
    assert (right.outcome, wrong.outcome) == (Outcome.PASSED, Outcome.FAILED)
    assert wrong.cause is Cause.FILTER
    assert {one.kind for one in (*right.evidence, *wrong.evidence)} == {EvidenceKind.PROVED}
    assert "on this kernel" not in wrong.sentence


@on_x86_64
def test_a_counterexample_is_tried_and_the_evidence_is_told_apart(zygote: Zygote) -> None:
    numbers = set(X86_64.numbers.values()) - {X86_64.numbers["acct"]}
    program = bpf.dispatch({X86_64.audit_arch: bpf.ranges(numbers, ALLOW, EPERM)}, EPERM)
    cell = proved(zygote, program, cases(X86_64)["mount"])
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)
    assert [one.kind for one in cell.evidence] == [EvidenceKind.PROVED, EvidenceKind.OBSERVED]
    assert "and so it is on this kernel" in cell.sentence


# A call with another form: msgrcv(2) as an operation of ipc(2).


def compiled(folder: Path, call: str = "msgrcv") -> Program:
    """What libseccomp makes of a profile that denies one call and allows the rest."""
    file = folder / "profile.json"
    rule = {"names": [call], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    names = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    file.write_text(json.dumps({**profile, "architectures": names}), encoding="utf-8")
    resolved = compiler.resolve(compiler.read(file), X86_64, CAPABILITIES, (6, 1))
    (program,) = compiler.compile(resolved).programs
    return program


@on_x86_64
def test_the_hole_in_libseccomps_rule_for_msgrcv_is_found(tmp_path: Path, zygote: Zygote) -> None:
    """It compares the whole first argument of ipc, of which the kernel takes the low 16 bits."""
    program = compiled(tmp_path)
    cell = proved(zygote, program, cases(I386)["msgrcv"])
    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)
    assert f"number {IPC:#x} with args[0]=0x1000c" in cell.sentence
    assert "and so it is on this kernel" in cell.sentence

    found = deviation(program, cases(I386)["msgrcv"])
    assert found is not None
    assert found.data.args[0] & 0xFFFF == MSGRCV
    # 64-bit ABIs have no other form of it.
    assert deviation(program, cases(X86_64)["msgrcv"]) is None


@on_x86_64
def test_the_kernel_takes_the_hole_for_msgrcv(tmp_path: Path, zygote: Zygote) -> None:
    """Without a witness: the plain operation is refused, and the other one reads the queue's id."""
    if dict(kernel_abis.entered(zygote, [I386]))[I386]:
        pytest.skip("this kernel cannot be entered as i386")
    raw = bpf.to_bytes(compiled(tmp_path))
    no_queue = (0xFFFFFFFF, 0, 0, 0, 0)
    answers = [
        zygote.run([Request("int80", (Call(IPC, (first, *no_queue)),), programs, zygote.nonce())])
        for first in (MSGRCV, MSGRCV | NEWER_VERSION)
        for programs in ((), (raw,))
    ]
    free, denied, newer_free, newer = (answer[0][0].errno for answer in answers)
    assert denied == errno.EPERM
    assert newer == newer_free
    assert newer not in {0, errno.EPERM}
    assert free in {errno.EINVAL, errno.ENOSYS}


def ipc_rule(mask: int) -> Program:
    """A filter that denies msgrcv by ipc, and looks at these bits of the operation."""
    others = bpf.dispatch({}, ALLOW)
    return (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, I386.audit_arch, 0, 7),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, I386.numbers["msgrcv"], 4, 0),
        bpf.jump(bpf.JEQ, IPC, 0, 4),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        bpf.statement(bpf.AND, mask),
        bpf.jump(bpf.JEQ, MSGRCV, 0, 1),
        bpf.statement(bpf.RET_K, EPERM),
        *others,
    )


def test_a_rule_that_looks_at_the_right_bits_is_proved() -> None:
    """And what it denies of ipc is the documented call, and not another one."""
    right, narrow = ipc_rule(0xFFFF), ipc_rule(bpf.U32)
    found = cases(I386)
    assert deviation(right, found["msgrcv"]) is None
    assert deviation(narrow, found["msgrcv"]) is not None
    wider = ipc_rule(0xFF)
    other = deviation(wider, found[Scope.OTHER_CALLS])
    assert other is not None
    assert (other.number, other.value) == (IPC, EPERM)
    assert other.data.args[0] & 0xFFFF != MSGRCV
    data = other.data
    assert bpf.simulate(wider, data) == EPERM
    for program in (right, narrow):
        assert deviation(program, found[Scope.OTHER_CALLS]) is None
    assert bpf.simulate(narrow, SeccompData(IPC, I386.audit_arch, (MSGRCV,) + (0,) * 5)) == EPERM


def test_a_filter_that_says_nothing_about_the_form_breaks_no_rule() -> None:
    """That the call has another form is a gap of the document, and is reported as one."""
    only = {I386.numbers["msgrcv"]}
    program = bpf.dispatch({I386.audit_arch: bpf.ranges(only, EPERM, ALLOW)}, ALLOW)
    assert deviation(program, cases(I386)["msgrcv"]) is None
    whole = {I386.numbers["msgrcv"], IPC}
    program = bpf.dispatch({I386.audit_arch: bpf.ranges(whole, EPERM, ALLOW)}, ALLOW)
    assert deviation(program, cases(I386)["msgrcv"]) is None


def test_claims_of_a_proof_are_planned_for_every_documented_call() -> None:
    found = cases(ARCHES["aarch64"])
    assert set(POLICY.names) <= set(found)
    assert {case.claim for case in found.values()} == {Claim.IS_PROVED}
    assert {str(scope) for scope in Scope} <= set(found)
