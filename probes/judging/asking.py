"""Whether a supervisor or a tracer is asked about a call, and how that may be tried."""

from probes.instrument import effect
from probes.instrument.calls import DEADLINE_SECONDS, Observation
from probes.judging import call_arguments
from probes.judging.inquiry import MAY_RUN, Role
from probes.judging.needed_calls import Calls
from probes.judging.plan import Case
from probes.judging.setup import Setup

UNANSWERED_SECONDS = 0.5
"""The seconds that a supervisor may take, once it has left a call unanswered."""


def may_run(setup: Setup, role: Role) -> bool:
    """Whether the kernel may run a call of this purpose."""
    if role is Role.ASKING:
        return setup.ambient is None or not setup.ambient.alone
    return role in MAY_RUN


def deadline(setup: Setup, *, runs: bool) -> float:
    """The seconds that a child may take; few where a supervisor may never answer its call."""
    supervised = setup.ambient is not None and setup.ambient.supervised
    return setup.supervisors_time if runs and supervised else DEADLINE_SECONDS


def can_ask(setup: Setup, case: Case) -> bool:
    """Whether to try if a supervisor or a tracer is asked about a call.

    Without a supervisor and a tracer the call cannot run, so every call is tried. With one it may
    run, so only a call that is known to do no harm is tried.
    """
    if setup.ambient is None or case.is_control:
        return False
    harmless = call_arguments.harmless_arguments(setup, case) is not None
    return setup.ambient.alone or harmless or case.row.own_calls


def asked_about(
    setup: Setup, case: Case, calls: Calls, made: Observation | None
) -> effect.Asking | None:
    """What is known about a supervisor or a tracer that may be asked about a case's call."""
    ambient = setup.ambient
    if ambient is None or calls.control or case.is_control:
        return None
    if made is not None and made.timed_out:
        setup.supervisors_time = UNANSWERED_SECONDS
    if made is None and not ambient.supervised:
        return None  # that nobody knows is a finding, and nothing hints at anybody
    return effect.Asking(made, untried(setup), ambient.alone)


def asked_about_rest(setup: Setup, made: Observation | None) -> effect.Asking | None:
    """What is known about a supervisor or a tracer of a call that the policy does not restrict."""
    if setup.ambient is None or (made is None and not setup.ambient.supervised):
        return None
    return effect.Asking(made, untried(setup), setup.ambient.alone)


def untried(setup: Setup) -> str:
    """The reason not to try whether a supervisor or a tracer is asked about a call."""
    who = setup.ambient.supervised if setup.ambient else ""
    return (
        f"whether a tracer or a supervisor is asked about it ({who}) cannot be tried, for it "
        "might run, and it is not known to be harmless"
    )
