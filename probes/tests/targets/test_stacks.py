"""Parts of a target that are confined by other filters: planned, told apart, and compared."""

import marshal
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.audit.trail import AuditTrail
from probes.cell import Claim, Outcome
from probes.documents import policy
from probes.files import SUITE
from probes.filters import bpf
from probes.filters.comparison import Pair, compare, outcome
from probes.filters.prover import TooComplexError
from probes.finding import Finding
from probes.instrument import harvest
from probes.instrument.calls import Zygote
from probes.judging import plan, sentences
from probes.judging.examiner import Examiner
from probes.targets import StackTarget, builtin, sandbox_kernel
from probes.targets.stack import FilterStack, Origin
from probes.tests.support import random_programs as made_up
from probes.tests.support.emitter import wait_for

ROOT = SUITE
SHIPPED = policy.load(ROOT / "cases/policies/container-restrictions.toml", arch.all_names())
NATIVE = arch.offered_by(os.uname().machine)[0]
ERRNO = Profile.ERRNO
RIGHT = builtin.build(SHIPPED, [NATIVE], ERRNO)
EPERM = FilterReturn(Action.ERRNO, 1).value
ALLOW = FilterReturn(Action.ALLOW).value

OTHER = FilterStack("thread 8 (b) of process 7 (a)", (), NATIVE)
UNCONFINED = StackTarget("pid", {ERRNO: OTHER})
TARGET = StackTarget(
    "pid",
    {
        ERRNO: FilterStack(
            "process 7 (a)",
            (RIGHT, RIGHT),
            NATIVE,
            logged=(True, False),
            first="thread 7 (a) of process 7 (a)",
            further=(OTHER,),
        )
    },
)


def test_a_target_of_several_parts_reaches_workers_whole() -> None:
    sent = marshal.loads(marshal.dumps(TARGET.to_plain()))  # noqa: S302 - made right here
    assert StackTarget.from_plain(sent) == TARGET


def test_a_stack_for_another_byte_order_reaches_workers_whole() -> None:
    there = arch.get("s390x")
    origin = Origin("runc", "1.1.5", "bundle", "", (RIGHT,), (True,))
    stack = FilterStack("x", (RIGHT,), there, origin=origin, logged=(True,))
    sent = marshal.loads(marshal.dumps(stack.to_plain()))  # noqa: S302 - made right here
    assert FilterStack.from_plain(sent) == stack
    assert sent["programs"] == [bpf.to_bytes(RIGHT, big_endian=True)]
    assert sent["origin"][4] == sent["programs"]


def test_other_words_reach_each_part_and_change_no_filter() -> None:
    """A node judges copies of files, and tells of them by the names that the user gave."""
    told = TARGET.with_findings(Finding("of process 7")).reworded(
        lambda text: text.replace("process 7", "process 9")
    )
    assert [one.description for one in told.members] == [
        "thread 7 (a) of process 9 (a)",
        "thread 8 (b) of process 9 (a)",
    ]
    assert told.description == "process 9 (a)"
    assert [one.text for one in told.findings] == ["of process 9"]
    assert told.identities == TARGET.identities
    assert told.logged == TARGET.logged


def test_the_findings_of_the_whole_are_those_of_each_part() -> None:
    told = TARGET.with_findings(Finding("something"))
    assert [part.findings for part in told.members] == [told.findings] * 2
    assert TARGET.findings == ()


def test_the_members_are_the_parts_and_one_part_is_the_whole() -> None:
    first, other = TARGET.members
    assert first.description == TARGET.stacks[ERRNO].first
    assert first.programs(ERRNO) == TARGET.programs(ERRNO)
    assert first.logged == TARGET.logged
    assert first.members == (first,)
    assert other == UNCONFINED
    # The analyses, which take a second each, are made once.
    assert first.analysis(ERRNO) is TARGET.analysis(ERRNO)


def test_every_case_but_the_controls_is_planned_for_another_stack() -> None:
    cases = plan.plan(SHIPPED, (ERRNO,), (NATIVE,), (NATIVE,), (NATIVE,))
    others = plan.of_stack(cases, 1)
    assert len(others) == sum(case.claim is not Claim.CONTROLS for case in cases)
    assert {key.stack for case in others for key in case.cells} == {1}
    assert all(case.id.endswith("-stack_2") for case in others)
    ids = [(case.function, case.id) for case in (*cases, *others)]
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names the calls of x86_64")
def test_a_part_without_a_filter_fails_under_its_own_name() -> None:
    cases = [
        case
        for case in plan.of_stack(plan.plan(SHIPPED, (ERRNO,), (NATIVE,), (NATIVE,), (NATIVE,)), 1)
        if case.cells[0].syscall in {"acct", "uselib", "msgrcv", plan.UNKNOWN}
        or case.claim is Claim.IS_INHERITED
    ]
    with Zygote() as zygote:
        first, other = TARGET.members
        examiner = Examiner(zygote, first, SHIPPED, [NATIVE], AuditTrail(None, "not asked for"))
        assert {cell.outcome for cell in examiner.calibrate([NATIVE])} == {Outcome.PASSED}
        cells = examiner.beside(other).examine(cases)
    assert {cell.outcome for cell in cells} == {Outcome.FAILED}
    assert {cell.key.stack for cell in cells} == {1}
    for cell in cells:
        assert UNCONFINED.description in cell.sentence
        assert cell.sentence.startswith(sentences.subject(cell.key))


def test_the_calibration_of_one_counts_for_the_other() -> None:
    with Zygote() as zygote:
        examiner = Examiner(zygote, TARGET, SHIPPED, [NATIVE], AuditTrail(None, ""))
        examiner._setup.fault = "out of calibration"
        planned = plan.plan(SHIPPED, (ERRNO,), (NATIVE,), (NATIVE,), ())
        (case,) = plan.of_stack(planned[6:7], 1)
        (cell,) = examiner.beside(UNCONFINED).examine([case])
    assert cell.outcome is Outcome.BROKEN
    assert "out of calibration" in cell.sentence


@pytest.mark.slow
def test_what_flags_have_recorded_is_compared_for_every_call() -> None:
    """Against running the filters one after the other, as the kernel does."""
    differing = 0
    for seed in range(40):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        stack = made_up.a_stack(rng)
        flags = tuple(rng.random() < 0.5 for _ in stack)
        others = tuple(rng.random() < 0.5 for _ in stack)
        try:
            comparison = compare(stack, stack, logged=(flags, others), limit=200_000)
        except TooComplexError:
            continue
        for data in made_up.inputs(rng, stack, 25):
            (left, ours), (right, theirs) = (
                outcome(stack, data, flags),
                outcome(stack, data, others),
            )
            pair = Pair(left, right, ours, theirs)
            found = {comparison.pairs[one] for one in comparison.analysis.value_at(data)}
            assert pair in found, seed
            assert comparison.exact <= (found == {pair}), seed
            differing += pair.differs
    assert differing > 20


def test_a_flag_counts_where_the_action_leaves_no_record_by_itself() -> None:
    for action, counts in (
        (EPERM, True),
        (FilterReturn(Action.TRAP).value, True),
        (FilterReturn(Action.KILL_PROCESS).value, False),
        (FilterReturn(Action.LOG).value, False),
        (ALLOW, False),
    ):
        program = ((bpf.statement(bpf.RET_K, action),),)
        assert bool(compare(program, program, logged=((True,), ())).differing) == counts


def has_begun(pid: int, name: str) -> bool:
    """Whether a process has become the program of that name."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("runsc", "gVisor"),
        ("runsc-sandbox", "gVisor"),
        ("qemu-system-aarch64", "QEMU"),
        ("cloud-hypervisor", "Cloud Hypervisor"),
        ("firecracker", "Firecracker"),
        ("containerd-shim-kata-v2", "Kata Containers"),
        ("containerd-shim-runc-v2", ""),
        ("grep-runsc", ""),
        ("qemu-img", ""),
    ],
)
def test_sandboxes_are_known_by_their_programs(name: str, kind: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([program, "60"]) as process:
        try:
            wait_for(lambda: has_begun(process.pid, name), "no exec")
            assert sandbox_kernel.of_process(process.pid) == kind
        finally:
            process.kill()


def test_a_sandbox_that_starts_itself_anew_goes_by_what_it_is_called() -> None:
    """As gVisor does: its file is its own, /proc/self/exe, and argv[0] tells."""
    with subprocess.Popen(["runsc-sandbox", "60"], executable="/bin/sleep") as process:
        try:
            wait_for(lambda: has_begun(process.pid, "sleep"), "no exec")
            assert sandbox_kernel.of_process(process.pid) == "gVisor"
        finally:
            process.kill()


RING = """
import ctypes, mmap, sys, time
from probes.instrument import kernel
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = [ctypes.c_long] * 7
made = (ctypes.c_uint32 * 32)()
made[2] = 2  # flags of struct io_uring_params: IORING_SETUP_SQPOLL
ring = libc.syscall(425, 4, ctypes.addressof(made), 0, 0, 0, 0)
kernel.set_no_new_privs()
kernel.install(kernel.Filter(bytes.fromhex(sys.argv[1])))
print(ring, flush=True)
time.sleep(60)
"""


@pytest.mark.root("reads a process")
def test_the_kernels_own_worker_in_a_process_makes_no_calls() -> None:
    """A poller of io_uring that came before the filter has none, and enters by no call."""
    raw = bpf.to_bytes(RIGHT, big_endian=sys.byteorder == "big")
    words = [sys.executable, "-c", RING, raw.hex()]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if int(process.stdout.readline()) < 0:
                pytest.skip("this kernel has no io_uring, or forbids it")
            tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
            found = harvest.filters_of(process.pid)
        finally:
            process.kill()
    assert len(tasks) == 2
    assert [one.programs for one in found.threads] == [(raw,)]
