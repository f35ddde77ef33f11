"""What to change so that a failed cell passes, claim by claim. Pure.

Advice follows from the claim that failed and from where it failed, never from the wording of a
sentence.
"""

from probes.action import Profile
from probes.cell import Cell, call_words
from probes.filters.conditions import name_in

_PROFILE_ACTIONS = {"kill": "KILL_PROCESS", "errno": "ERRNO with EPERM", "log": "LOG"}
_SCMP_ACTIONS = {
    "kill": "SCMP_ACT_KILL_PROCESS",
    "errno": "SCMP_ACT_ERRNO with errnoRet 1",
    "log": "SCMP_ACT_LOG",
}
"""The actions in an OCI profile, by the suite's profile; SCMP_ACT_KILL ends only one thread."""

_LOGGED_WORDS = {"kill": "kill_process", "log": "log"}
"""The words of ``/proc/sys/kernel/seccomp/actions_logged``."""


def of_kernel(cell: Cell) -> str:
    """Advice where the kernel does something else for an action than Linux does."""
    action = _PROFILE_ACTIONS.get(cell.key.profile, cell.key.variant)
    return (
        f"The filter may be right: this kernel does something else for {action} than Linux does."
        " Use a platform whose kernel honours it, or an action that this one honours (ERRNO)."
    )


def _action(cell: Cell) -> str:
    return _PROFILE_ACTIONS.get(cell.key.profile, cell.key.profile)


def refuse(cell: Cell) -> str:
    """Advice that the filter must answer the call as the profile says."""
    scmp = _SCMP_ACTIONS.get(cell.key.profile, "")
    oci = f" (in an OCI profile {scmp})" if scmp else ""
    return f"Have the filter answer {_action(cell)}{oci} to {call_words(cell.key)}. {_CAUSES}"


def deny(cell: Cell) -> str:
    """Advice that the filter must answer the call with the errno that is documented for it."""
    if cell.expected in {"", str(Profile.ERRNO.returns)}:
        return refuse(cell)
    return f"Have the filter answer {cell.expected} to {call_words(cell.key)}. {_CAUSES}"


_CAUSES = (
    "Usual causes: a denylist without the call, a profile that does not list this ABI, another"
    " action, a rule that looks at arguments."
)


def every_thread(cell: Cell) -> str:
    """Advice that the filter must end the whole process."""
    call = call_words(cell.key)
    return (
        f"Have the filter answer KILL_PROCESS (in an OCI profile SCMP_ACT_KILL_PROCESS) to"
        f" {call}: KILL_THREAD, which SCMP_ACT_KILL stands for, leaves other threads alive."
    )


def record(cell: Cell) -> str:
    """Advice that the audit record must be written."""
    word = _LOGGED_WORDS.get(cell.key.profile, cell.key.profile)
    return (
        f"Have the filter answer {_action(cell)} to {call_words(cell.key)};"
        f" where it does, see that {word} is in /proc/sys/kernel/seccomp/actions_logged and that no"
        " audit rule excludes the message type SECCOMP."
    )


def silence(cell: Cell) -> str:
    """Advice that the refusal must leave no audit record."""
    return (
        f"Have the filter refuse {call_words(cell.key)} by ERRNO, and load it without"
        " SECCOMP_FILTER_FLAG_LOG, which makes the kernel record every refusal."
    )


def allow(cell: Cell) -> str:
    """Advice that the filter must allow the call."""
    call = call_words(cell.key)
    return (
        f"Allow {call} without a condition: the policy does not restrict it, so programs may"
        " rely on it. If it is to be restricted, document it. What the policy restricts under"
        " conditions has to be allowed with all arguments that do not meet them."
    )


def default_action(cell: Cell) -> str:
    """Advice that the profile's action must be the filter's default one."""
    return (
        f"Make {_action(cell)} the filter's default action and list what is allowed: a filter that"
        " lists what is refused lets through every call that a newer kernel adds."
    )


def inherit(cell: Cell) -> str:
    """Advice that the filter must be installed before the process starts others."""
    return (
        "Put the filter on the first process, before it starts others, and let it answer"
        f" {_action(cell)} there; the kernel hands it on and never takes it off."
    )


def prove(cell: Cell) -> str:
    """Advice that the rule must hold for all arguments."""
    call = call_words(cell.key)
    if name_in(cell.key.syscall) != cell.key.syscall:
        return (
            f"Let the rule for {call} hold for all arguments that meet the conditions: mask"
            " them to the bits that the kernel reads."
        )
    return (
        f"Let the rule for {call} look at the number only; where it has to look at"
        " arguments, mask them to the bits that the kernel uses."
    )


def judge_all(_: Cell) -> str:
    """Advice that every part of the target must be judged."""
    return "Confine all of it alike, or name the part that is meant: the sentence says how."


def calibrate(_: Cell) -> str:
    """Advice about an instrument whose controls fail."""
    return "No verdict of this run counts: find out what else acts on the calls, and run it again."
