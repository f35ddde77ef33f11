"""A target that is not the suite's own: opened, with what its analysis finds."""

from probes.action import Profile
from probes.arch import Arch
from probes.errors import BadInputError
from probes.filters import prover, unread
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight
from probes.judging import proof
from probes.targets import StackTarget
from probes.targets.name import TargetName
from probes.targets.open import Surroundings, open_target


def opened(name: TargetName, where: Surroundings) -> StackTarget:
    """Opens a target that is not the suite's own.

    Raises:
        BadInputError: its file or process is not what it must be.
        InstrumentError: the filters cannot be read here.
    """
    try:
        found = open_target(name, where)
    except BadInputError as error:
        raise BadInputError(f"--target: {error}") from error
    target = StackTarget(name.kind, {where.profile: found})
    # The analysis is shared, for it is what takes the time.
    analysed = [
        one for part in target.members for one in _of_analysis(part, where.profile, found.native)
    ]
    # Several stacks may leave the same architecture open, which is one finding.
    analysed.sort(key=lambda one: one.weight, reverse=True)
    alike = {one.about or one.text: one for one in analysed}
    return target.with_findings(*alike.values())


def _of_analysis(target: StackTarget, profile: Profile, native: Arch) -> tuple[Finding, ...]:
    """The architectures about which nobody can tell, and rules that look at bits nobody reads."""
    try:
        analysis = target.analysis(profile)
        return (*proof.unjudged(analysis, profile.returns), *unread.findings(analysis, native))
    except TooComplexError:
        return _too_many(target, profile)


def _too_many(target: StackTarget, profile: Profile) -> tuple[Finding, ...]:
    """That the filters tell too many architectures apart, where that is what outgrew a proof.

    Where the programs are too complex altogether, each cell of the proof says so.
    """
    try:
        analysis = prover.analyze(target.programs(profile), big_endian=target.big_endian)
    except TooComplexError:
        return ()
    try:
        return proof.unjudged(analysis, profile.returns)
    except TooComplexError as error:
        text = (
            f"which architectures the filters name, and what they let through there, cannot be "
            f"told, for {error}: have them compare seccomp_data.arch with whole tokens"
        )
        return (Finding(text, Weight.LIMITS, "architectures"),)
