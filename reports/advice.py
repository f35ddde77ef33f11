"""How a reader mends a failed cell.

Each piece of advice follows from the claim that failed and from where it failed, never from the
wording of a sentence.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from probes.action import Profile
from probes.cell import Cause, Cell, CellKey, Claim
from probes.filters.conditions import name_in

_PROFILE_ACTIONS = {"kill": "KILL_PROCESS", "errno": "ERRNO with EPERM", "log": "LOG"}
_SCMP_ACTIONS = {
    "kill": "SCMP_ACT_KILL_PROCESS",
    "errno": "SCMP_ACT_ERRNO with errnoRet 1",
    "log": "SCMP_ACT_LOG",
}
"""How an OCI profile asks for a profile's action; SCMP_ACT_KILL ends but one thread."""

_LOGGED_WORDS = {"kill": "kill_process", "log": "log"}
"""The words of ``/proc/sys/kernel/seccomp/actions_logged``."""


def mend(cell: Cell) -> str:
    """What to change so that the cell passes: a sentence or two."""
    if cell.cause is Cause.INSTRUMENT:
        return "Run it again; if it happens again, report it as a bug of the suite."
    if cell.cause is Cause.NOT_IMPLEMENTED:
        return _of_kernel(cell.key)
    if cell.key.claim is Claim.DENIES and cell.expected not in {"", str(Profile.ERRNO.returns)}:
        return f"Have the filter answer {cell.expected} to {_call(cell.key)}. {_CAUSES}"
    return _ADVICE[cell.key.claim](cell.key)


def _of_kernel(key: CellKey) -> str:
    action = _PROFILE_ACTIONS.get(key.profile, key.variant)
    return (
        f"The filter may be right: this kernel does something else for {action} than Linux does."
        " Use a platform whose kernel honours it, or an action that this one honours (ERRNO)."
    )


def _action(key: CellKey) -> str:
    return _PROFILE_ACTIONS.get(key.profile, key.profile)


def _refuse(key: CellKey) -> str:
    scmp = _SCMP_ACTIONS.get(key.profile, "")
    oci = f" (in an OCI profile {scmp})" if scmp else ""
    return f"Have the filter answer {_action(key)}{oci} to {_call(key)}. {_CAUSES}"


_CAUSES = (
    "Usual causes: a denylist without the call, a profile that does not list this ABI, another"
    " action, a rule that looks at arguments."
)


def _every_thread(key: CellKey) -> str:
    return (
        f"Have the filter answer KILL_PROCESS (in an OCI profile SCMP_ACT_KILL_PROCESS) to"
        f" {_call(key)}: KILL_THREAD, which SCMP_ACT_KILL stands for, leaves other threads alive."
    )


def _record(key: CellKey) -> str:
    word = _LOGGED_WORDS.get(key.profile, key.profile)
    return (
        f"Have the filter answer {_action(key)} to {_call(key)};"
        f" where it does, see that {word} is in /proc/sys/kernel/seccomp/actions_logged and that no"
        " audit rule excludes the message type SECCOMP."
    )


def _silence(key: CellKey) -> str:
    return (
        f"Have the filter refuse {_call(key)} by ERRNO, and load it without"
        " SECCOMP_FILTER_FLAG_LOG, which makes the kernel record every refusal."
    )


def _allow(key: CellKey) -> str:
    return (
        f"Allow {_call(key)} without a condition: the policy does not restrict it, so programs may"
        " rely on it. If it is to be restricted, document it. What the policy restricts under"
        " conditions has to be allowed with all arguments that do not meet them."
    )


def _default(key: CellKey) -> str:
    return (
        f"Make {_action(key)} the filter's default action and list what is allowed: a filter that"
        " lists what is refused lets through every call that a newer kernel adds."
    )


def _inherit(key: CellKey) -> str:
    return (
        "Put the filter on the first process, before it starts others, and let it answer"
        f" {_action(key)} there; the kernel hands it on and never takes it off."
    )


def _prove(key: CellKey) -> str:
    if name_in(key.syscall) != key.syscall:
        return (
            f"Let the rule for {_call(key)} hold for all arguments that meet the conditions: mask"
            " them to the bits that the kernel reads."
        )
    return (
        f"Let the rule for {_call(key)} look at the number only; where it has to look at"
        " arguments, mask them to the bits that the kernel uses."
    )


def _judge_all(_: CellKey) -> str:
    return "Confine all of it alike, or name the part that is meant: the sentence says how."


def _calibrate(_: CellKey) -> str:
    return "No verdict of this run counts: find out what else acts on the calls, and run it again."


_ADVICE: Mapping[Claim, Callable[[CellKey], str]] = MappingProxyType(
    {
        Claim.CONTROLS: _calibrate,
        Claim.TERMINATES: _refuse,
        Claim.ENDS_EVERY_THREAD: _every_thread,
        Claim.IS_REPORTED: _record,
        Claim.DENIES: _refuse,
        Claim.IS_SILENT: _silence,
        Claim.RUNS: _refuse,
        Claim.IS_RECORDED: _record,
        Claim.LEAVES_THE_REST_ALONE: _allow,
        Claim.DEFAULT_ACTION: _default,
        Claim.IS_INHERITED: _inherit,
        Claim.IS_PROVED: _prove,
        Claim.IS_ALL_JUDGED: _judge_all,
    }
)


def _call(key: CellKey) -> str:
    number = "" if key.number is None else f" ({key.number:#x})" if key.number > _PLAIN else ""
    number = number or ("" if key.number is None else f" ({key.number})")
    return f"{key.syscall}{number} on {key.arch}"


_PLAIN = 0xFFFF
"""Numbers above this are written in hexadecimal, as x32's are."""
