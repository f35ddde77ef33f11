"""Proofs: the programs are analyzed, and each counterexample is tried on the kernel."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from probes.action import Action, FilterReturn
from probes.arch import belongs_to, of_token, token_text
from probes.audit.collector import Batch
from probes.cell import Cause, Cell, Outcome
from probes.documents.policy import Policy
from probes.filters import bpf, partition, pointer
from probes.filters.prover import TooComplexError
from probes.instrument import effect, witness
from probes.instrument.calls import Call, Observation, Request, Route, can_place
from probes.judging import deviations, plan, proof, proved, under_test, verdict
from probes.judging.call_arguments import widest
from probes.judging.deviations import Explanation
from probes.judging.inquiry import Inquiry, entry, is_absent, profile_of
from probes.judging.obstacles import BY_SECCOMP, INSTALLING, decisive
from probes.judging.plan import Case, Scope
from probes.judging.proof import Deviation
from probes.judging.proved import Counterexample
from probes.judging.setup import Setup
from probes.judging.sighting import Question
from probes.targets import Target, confinement


@dataclass(frozen=True, slots=True)
class Proof:
    """What an analysis of the programs says about a case.

    Attributes:
        question: the question about the case's cell.
        exact: whether the analysis is.
        found: the first input that deviates; None where none does.
        untold: the verdict where the analysis gives none; None where it gives one.
        deviations: what explains every input that deviates, if runtimes do that to every profile.
    """

    question: Question
    exact: bool = True
    found: Deviation | None = None
    untold: Cell | None = None
    deviations: Explanation = ()

    def judge(self, tried: Observation | None) -> Cell:
        """The verdict on the case's cell.

        Args:
            tried: what the kernel did with the input that was found; None where it was not tried.
        """
        if self.untold is not None or self.found is None:
            return self.untold or proved.judge_proof(self.question, None)
        elsewhere = self.question.key.syscall == Scope.OTHER_ARCHITECTURES
        text = _input_words(self.found, _place_words(self.found) if elsewhere else "")
        rare = _rarely_had(self.found)
        example = Counterexample(self.found.returns, text, self.exact, tried, rare)
        cell = proved.judge_proof(self.question, example)
        if cell.outcome is not Outcome.FAILED:
            return cell
        return replace(cell, deviations=self.deviations)


def proof_of(
    target: Target,
    policy: Policy,
    case: Case,
    *,
    any_refusal: bool,
    unhonoured: frozenset[Action] = frozenset(),
) -> Proof:
    """Analyzes the programs; asks nothing of the kernel.

    Args:
        target: gives the programs.
        policy: says which calls are documented.
        case: the proof to make.
        any_refusal: whether a call may be refused in whatever way.
        unhonoured: the actions for which this kernel does something else, by the controls.
    """
    key = case.cells[0]
    wanted = proof.expected(case, policy)
    said = proof.A_REFUSAL if any_refusal else ""
    question = Question(
        key, wanted[0], target.description, others=wanted[1:], unhonoured=unhonoured, said=said
    )
    try:
        analysis = target.analysis(profile_of(case))
        may = [wanted]
        if any_refusal:  # what runs for sure is worse than what somebody else decides
            may = [proof.refusals(analysis, supervised=one) for one in (True, False)]
        every = (proof.deviation(case, policy, analysis, values) for values in may)
        found = next((one for one in every if one is not None), None)
        excused = () if found is None or any_refusal else _deviations(target, policy, case, wanted)
    except TooComplexError as error:
        reason = f"there is no proof, for {error}"
        untold = verdict.cannot_tell(key, Cause.INSTRUMENT, reason)
        return Proof(question, untold=untold)
    if found is not None and any_refusal and not found.returns.action.reaches_kernel:
        reason = f"{target.description} leave it to somebody else, who decides ({found.returns})"
        return Proof(question, untold=verdict.cannot_tell(key, Cause.TARGET, reason))
    return Proof(question, analysis.exact, found, deviations=excused)


def _deviations(
    target: Target, policy: Policy, case: Case, wanted: Sequence[FilterReturn]
) -> Explanation:
    """What explains every input for which the programs return something else than they must."""
    if case.cells[0].syscall not in set(Scope):
        return ()
    profile = profile_of(case)
    analysis = target.analysis(profile)
    found = list(proof.suspects(case, policy, analysis, wanted))
    unnamed = partition.unnamed_tokens(analysis)
    return deviations.of_proof(deviations.made(target, profile), found, unnamed)


def prove(setup: Setup, inquiry: Inquiry) -> None:
    """Analyzes the programs; a counterexample is tried on the kernel, under the witness."""
    case = inquiry.case
    made = proof_of(
        setup.target,
        setup.policy,
        case,
        any_refusal=setup.any_refusal,
        unhonoured=under_test.not_honoured(setup, case.arch.name),
    )
    trial = trial_of(setup, case, made.found) if made.found is not None else None
    if trial is not None:
        inquiry.requests.append(trial)
        if setup.own is not None:
            nonce = setup.zygote.nonce()
            inquiry.requests.append(replace(trial, programs=trial.programs[:1], comm=nonce))

    def judge(seen: Sequence[Sequence[Observation]], _: Batch | None) -> list[Cell]:
        tried = seen[0][0] if seen else None
        if len(seen) > 1 and confinement.overruling(seen[1][0]):
            tried = None  # what this process's own confinement answers shows nothing
        return [made.judge(tried)]

    inquiry.judge = judge


def without_kernel(
    target: Target, policy: Policy, cases: Sequence[Case], *, any_refusal: bool
) -> list[Cell]:
    """The verdicts on proofs, none of which is tried on a kernel.

    Args:
        target: gives the programs.
        policy: says which calls are documented.
        cases: the proofs to make.
        any_refusal: whether a call may be refused in whatever way.
    """
    return [
        verdict.not_applicable(case.cells[0])
        if is_absent(case)
        else proof_of(target, policy, case, any_refusal=any_refusal).judge(None)
        for case in cases
    ]


def trial_of(setup: Setup, case: Case, found: Deviation) -> Request | None:
    """A request that shows this kernel a counterexample exactly as it was found, under the witness.

    None where the kernel has no such ABI, where this process cannot make the input, and for a
    number about which it may ask no filter, so that nothing keeps the call from running.
    """
    # The case has the ABI as 64-bit processes enter it; a proof needs no process at all.
    entered = next((one for one in setup.offered if one.name == case.arch.name), None)
    if entered is None or case.cells[0].syscall == Scope.OTHER_ARCHITECTURES or setup.doubt:
        return None
    if not setup.observes:
        return None
    if plan.is_exempt_number(case.arch, found.number) or effect.is_hidden(found.value):
        return None
    address = found.data.instruction_pointer
    if not can_place(address) or max(found.data.args) > widest():
        return None
    by_seccomp = under_test.is_prctl(setup, entered, found.number)
    installing = BY_SECCOMP if by_seccomp else INSTALLING
    filters = setup.target.programs(profile_of(case))
    if decisive(filters, setup.native, Route.SIBLING, installing=installing):
        return None
    call = Call(found.number, found.data.args)
    (attempt,) = witness.MARKER.one(entered, call, under_test.filters(setup, case), ())
    return Request(
        *(entry(entered), (call,), attempt.programs, setup.zygote.nonce(), Route.SIBLING),
        seccomp=setup.native.numbers["seccomp"],
        by_seccomp=by_seccomp,
        address=address,
    )


def _place_words(found: Deviation) -> str:
    """The name of a number's call, where it is known, and of the architecture."""
    token, number = found.data.arch, found.number
    names = (arch.name_of(number) for arch in of_token(token) if belongs_to(arch, number))
    name = next(filter(None, names), "")
    return f"{f' ({name})' if name else ''} on architecture {token_text(token)}"


def _input_words(found: Deviation, where: str) -> str:
    """An input in words: the number, and the arguments that are not zero."""
    arguments = ", ".join(
        f"args[{index}]={value:#x}" for index, value in enumerate(found.data.args) if value
    )
    more = f" and {found.count - 1} more numbers" if found.count > 1 else ""
    with_them = f" with {arguments}" if arguments else ""
    address = found.data.instruction_pointer
    at = f" at instruction address {address:#x}" if address else ""
    return f"number {found.number:#x}{where}{with_them}{at}{more}"


def _rarely_had(found: Deviation) -> str:
    """The reason why not every process can make this input; "" where each can."""
    address = found.data.instruction_pointer
    narrow = not found.data.arch & _AUDIT_ARCH_64BIT and max(found.data.args) > bpf.U32
    if narrow and max(found.data.args) > widest() and os.uname().machine != "x86_64":
        return "only code of 64 bits has such an argument in its registers"
    if not address or pointer.is_ordinary(address) or pointer.is_vsyscall(address):
        return ""
    return (
        f"code at {address:#x} takes more than any process has (CAP_SYS_RAWIO or a lower "
        "vm.mmap_min_addr, or page tables of five levels)"
    )


_AUDIT_ARCH_64BIT = 0x80000000
"""__AUDIT_ARCH_64BIT of linux/audit.h."""
