"""The parts and the state that all modules of the examiner share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from probes.action import Action, Profile
from probes.arch import Arch
from probes.audit.trail import AuditTrail
from probes.documents.policy import Policy
from probes.instrument.calls import Route, Zygote
from probes.instrument.witness import Witness
from probes.targets import Target
from probes.targets.ambient import SECONDS_TO_ANSWER
from probes.targets.confinement import Confinement


@dataclass(slots=True)
class Setup:
    """The parts of the measuring instrument, and what has been learned with them.

    Attributes:
        zygote: the process that makes the calls.
        target: the target, which has the filters under test.
        policy: the policy, which documents calls.
        offered: the ABIs by which the kernel can be entered, its own one first.
        trail: the source of audit records.
        own: what confines this process itself while it judges something else.
        observes: whether filters can be tried here at all; elsewhere only proofs can be had.
        ambient: the target, where it is what confines this process.
        witness: the witness of the probed calls.
        any_refusal: whether proofs ask only that a call is refused, in whatever way.
        raw: the filters under test as the kernel takes them, by profile and whether it is about
            the runtime's exec.
        reached: whether a probe reaches its call without a filter under test, by ABI and route.
        unhonoured: the actions that the kernel takes for another, each with the ABI.
        supervisors_time: seconds that a supervisor may take.
        fault: why no verdict counts; "" once calibrated.
        doubt: why no verdict can be had, for the instrument cannot be calibrated; "" where it can.
    """

    zygote: Zygote
    target: Target
    policy: Policy
    offered: Sequence[Arch]
    trail: AuditTrail
    own: Confinement | None
    observes: bool
    ambient: Target | None
    witness: Witness
    any_refusal: bool = False
    raw: dict[tuple[Profile, bool], tuple[bytes, ...]] = field(default_factory=dict)
    reached: dict[tuple[str, Route], bool] = field(default_factory=dict)
    unhonoured: frozenset[tuple[str, Action]] = frozenset()
    supervisors_time: float = SECONDS_TO_ANSWER
    fault: str = ""
    doubt: str = ""

    @property
    def native(self) -> Arch:
        """The kernel's own ABI."""
        return self.offered[0]
