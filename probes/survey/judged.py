"""The verdicts on a machine: a proof of each distinct stack of filters, and what they come to.

Only what follows from the programs is claimed: what a filter returns for every number, argument and
architecture. Proofs are made without the kernel. What an analysis leaves open, and one
counterexample of each stack that fails, is tried on it, as a run of one target tries each.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, Self

from probes import arch
from probes.audit.trail import AuditTrail
from probes.cell import Cell, Outcome
from probes.documents.policy import Policy
from probes.filters.prover import TooComplexError
from probes.finding import Finding
from probes.instrument import workers
from probes.instrument.calls import Zygote
from probes.judging import counterexamples, plan, proof, sentences, verdict
from probes.judging.examiner import Examiner
from probes.judging.plan import Case, Scope
from probes.run import entries, judged_abis
from probes.survey import confined
from probes.survey.question import SurveyQuestion
from probes.targets import StackTarget, confinement
from probes.targets.threads import ThreadConfinement, native, stack_of

FILTERS: Final = "this stack of filters"
"""What a sentence calls the programs of a stack, so that stacks alike are told of together."""

KIND: Final = "node"
"""The sort of target that a whole machine is."""

NO_RECORDS: Final = "a survey of a machine makes no calls of which records would tell"
"""Why there are no audit records."""


_WHOLE: Final = frozenset({"x86_64", "aarch64"})
"""The machines of which the suite has a table for every ABI by which their kernels are entered."""


@dataclass(frozen=True, slots=True)
class JudgedStack:
    """A distinct stack of filters with its verdicts.

    Attributes:
        name: its name.
        confinement: the programs and their flags.
        cells: the verdicts, each with the stack's name as its variant.
    """

    name: str
    confinement: ThreadConfinement
    cells: tuple[Cell, ...]


def judged(
    stacks: Sequence[ThreadConfinement], policy: Policy, wanted: SurveyQuestion
) -> tuple[JudgedStack, ...]:
    """Judges each stack once, on every processor that this process may use.

    Args:
        stacks: distinct ones.
        policy: what must hold.
        wanted: under which profile.

    Raises:
        InstrumentError: the process that tries counterexamples cannot be started.
    """

    def judge(share: Sequence[ThreadConfinement]) -> list[JudgedStack]:
        with _Judge(policy, wanted) as one:
            return [JudgedStack(confined.name_of(it), it, tuple(one.cells(it))) for it in share]

    done = workers.spread(judge, _shares(stacks, len(os.sched_getaffinity(0))))
    found = {one.confinement: one for share in done for one in share}
    return tuple(found[one] for one in stacks)


def _shares(
    stacks: Sequence[ThreadConfinement], count: int
) -> tuple[Sequence[ThreadConfinement], ...]:
    """Stacks in groups whose proofs take about as long; none of them empty."""
    shares: list[list[ThreadConfinement]] = [[] for _ in range(count)]
    for one in sorted(stacks, key=_size, reverse=True):
        min(shares, key=lambda share: sum(map(_size, share))).append(one)
    return tuple(filter(None, shares))


def _size(one: ThreadConfinement) -> int:
    return sum(map(len, one[0]))


class _Judge:
    """Proves stacks of filters, and tries on the kernel what is left open."""

    def __init__(self, policy: Policy, wanted: SurveyQuestion) -> None:
        self._policy = policy
        self._wanted = wanted
        self._stack = ExitStack()
        self._zygote: Zygote | None = None
        self._offered: Sequence[arch.Arch] = ()
        self._examiner: Examiner | None = None

    def __enter__(self) -> Self:
        # What confines this process would answer its probes, too; and an emulator tries no filter.
        if not (confinement.words() or entries.emulation()):
            self._offered = entries.entries(arch.of_this_process()).offered
            self._zygote = self._stack.enter_context(Zygote())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cells(self, one: ThreadConfinement) -> Iterator[Cell]:
        """The verdicts on a stack."""
        name = confined.name_of(one)
        target = StackTarget(KIND, {self._wanted.planned: stack_of(FILTERS, one)})
        cases = self._cases(target)
        any_refusal = self._wanted.any_refusal
        cells = counterexamples.without_kernel(target, self._policy, cases, any_refusal=any_refusal)
        found = {cell.key: cell for cell in cells}
        found |= {cell.key: cell for cell in self._tried(target, _to_be_tried(cases, cells))}
        yield from (_of_stack(cell, name, self._wanted) for cell in found.values())
        yield from self._unjudged(target, name)

    def _tried(self, target: StackTarget, cases: Sequence[Case]) -> Sequence[Cell]:
        """The verdicts on some proofs, whose counterexamples are tried on the kernel."""
        if not cases or self._zygote is None:
            return ()
        if self._examiner is None:
            self._examiner = Examiner(
                *(self._zygote, target, self._policy, self._offered, AuditTrail(None, NO_RECORDS)),
                any_refusal=self._wanted.any_refusal,
            )
            self._examiner.calibrate(self._offered, [self._wanted.planned])
        return self._examiner.beside(target).examine(cases)

    def _cases(self, target: StackTarget) -> tuple[Case, ...]:
        """The proofs of a stack."""
        profile, machine = self._wanted.planned, arch.machine_here()
        own = arch.offered_by(machine)
        if not self._wanted.any_refusal:
            named = judged_abis.named(target, [profile]) or own
            return plan.plan(self._policy, [profile], (), (), named)
        # A filter that refuses more than it has to refuses what it has to; and what it does on an
        # architecture that this machine does not have is nobody's way round it.
        left_out = {Scope.OTHER_CALLS}
        if machine in _WHOLE:
            left_out.add(Scope.OTHER_ARCHITECTURES)
        cases = plan.plan(self._policy, [profile], (), (), own)
        return tuple(case for case in cases if case.cells[0].syscall not in left_out)

    def _unjudged(self, target: StackTarget, name: str) -> Iterator[Cell]:
        """The architectures that a stack names and about which nobody can tell."""
        profile = self._wanted.planned
        if self._wanted.any_refusal and arch.machine_here() in _WHOLE:
            return
        try:
            analysis = target.analysis(profile)
            may = proof.refusals(analysis) if self._wanted.any_refusal else (profile.returns,)
            findings = proof.unjudged(analysis, *may)
        except TooComplexError:
            return  # each cell of the proof says so
        for finding in findings:
            named = replace(finding, about=f"{finding.about} of {name}")
            yield from of_findings([named], self._wanted)


def of_findings(findings: Sequence[Finding], wanted: SurveyQuestion) -> Iterator[Cell]:
    """The cells of findings with weight.

    Args:
        findings: the findings, no two of which are about the same.
        wanted: under which profile.
    """
    for case in plan.all_judged([wanted.planned], native(), findings):
        for cell in verdict.all_judged(case, findings):
            yield _renamed(cell, wanted, "")


def _to_be_tried(cases: Sequence[Case], cells: Sequence[Cell]) -> list[Case]:
    """The proofs that are open, and one that fails: were the analysis wrong, it would show."""
    pairs = list(zip(cases, cells, strict=True))
    left_open = [case for case, cell in pairs if cell.outcome is Outcome.CANNOT_TELL]
    failed = [case for case, cell in pairs if cell.outcome is Outcome.FAILED]
    return [*left_open, *failed[:1]]


def _of_stack(cell: Cell, name: str, wanted: SurveyQuestion) -> Cell:
    """A cell of a stack, which its name tells from the same one of others."""
    what = sentences.subject(cell.key)
    sentence = cell.sentence.replace(what, f"{what}, filters {name}", 1)
    return _renamed(replace(cell, sentence=sentence), wanted, name)


def _renamed(cell: Cell, wanted: SurveyQuestion, variant: str) -> Cell:
    return replace(cell, key=replace(cell.key, profile=wanted.profile, variant=variant))
