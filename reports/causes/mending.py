"""How a cause is mended, for all its calls at once, and how a single cell is. Pure."""

import json
from collections.abc import Sequence
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.cell import Cause, Cell
from probes.judging import advice, claims
from probes.judging.kinds import Kind, Manner, Subject
from reports.causes.grouping import FaultGroup

_MOST_NAMES: Final = 4
"""So many calls a rule of the profile names; the rest stands for itself."""


def mend(group: FaultGroup) -> str:
    """What to change so that a cause is gone: a sentence or two, without names of ABIs."""
    first = group.cells[0]
    if first.cause in {Cause.INSTRUMENT, Cause.NOT_IMPLEMENTED}:
        return mend_cell(first)
    if group.subject is Subject.OTHER_CALL:
        return _allow(group)
    if group.subject is Subject.OTHER_ARCHITECTURE:
        return _ELSEWHERE.format(wanted=_wanted(group))
    if group.subject is Subject.DOCUMENTED_CALL:
        return _answer(group)
    return mend_cell(first)


def mend_cell(cell: Cell) -> str:
    """What to change so that a cell passes: a sentence or two."""
    if cell.cause is Cause.INSTRUMENT:
        return "Run it again; if it happens again, report it as a bug of the suite."
    if cell.cause is Cause.NOT_IMPLEMENTED:
        return advice.of_kernel(cell)
    return claims.of(cell.key.claim).advice(cell)


def _answer(group: FaultGroup) -> str:
    """How documented calls get the right answer."""
    if group.manner is Manner.BY_SOME_ARGUMENTS:
        return _ARGUMENTS.format(names=_named(group.names))
    if group.profile == Profile.LOG and group.kind is Kind.GETS_THROUGH:
        word = _LOGGED[Profile.LOG]
        return f"Write {_wanted(group)} for them. {_RECORDS[Manner.UNRECORDED].format(word=word)}"
    if group.manner in _RECORDS:
        return _RECORDS[group.manner].format(word=_LOGGED.get(group.profile, group.profile))
    if group.kind is Kind.GETS_THROUGH:
        return _refuse(group)
    return f"Write {_wanted(group)} where the profile answers {_scmp(group.returned)} to them."


_ELSEWHERE: Final = (
    "Answer {wanted} to calls of architectures that the profile does not name, too: of itself"
    " libseccomp ends only the thread there (SCMP_FLTATR_ACT_BADARCH)."
)
_ARGUMENTS: Final = (
    'Let the rule for {names} look at no argument (no "args"), or mask those that it looks at to'
    " the bits that the kernel reads."
)
_RECORDS: Final = {
    Manner.UNRECORDED: (
        "See that {word} is in /proc/sys/kernel/seccomp/actions_logged, that no audit rule excludes"
        " the message type SECCOMP, and that the profile answers by that action."
    ),
    Manner.RECORDED: 'Load the filter without SECCOMP_FILTER_FLAG_LOG (leave it out of "flags").',
}
_LOGGED: Final = {"kill": "kill_process", "log": "log"}


def _refuse(group: FaultGroup) -> str:
    rule = _rule(group.names, _action(group.profile))
    them = "it" if len(group.names) == 1 else "them"
    return (
        f"Take {them} out of the rules that allow {them}; where the default action allows, add"
        f" {rule}."
    )


def _allow(group: FaultGroup) -> str:
    if not group.names:
        return "Allow whatever the policy does not name, with all arguments, or document it."
    rule = _rule(group.names, {"action": Action.ALLOW.scmp})
    return f"Add {rule}; what is to be refused has to be documented in the policy."


def _wanted(group: FaultGroup) -> str:
    made = _action(group.profile)
    return ", ".join(f'"{name}": {json.dumps(value)}' for name, value in made.items())


def _action(profile: str) -> dict[str, str | int]:
    """The action of a profile as an OCI profile has it; of one that is unknown any refusal."""
    returns = Profile(profile).returns if profile in set(Profile) else Profile.ERRNO.returns
    made: dict[str, str | int] = {"action": returns.action.scmp}
    return made | ({"errnoRet": returns.data} if returns.data else {})


def _scmp(returned: FilterReturn | None) -> str:
    if returned is None:
        return "something else"
    if returned.action is Action.KILL_THREAD:
        return f"{returned.action.scmp} (SCMP_ACT_KILL)"
    data = f" with errnoRet {returned.data}" if returned.action is Action.ERRNO else ""
    return f"{returned.action.scmp}{data}"


def _rule(names: Sequence[str], action: dict[str, str | int] | dict[str, str]) -> str:
    """A rule of an OCI profile."""
    shown = list(names[:_MOST_NAMES])
    listed = json.dumps(shown)[1:-1] + (", ..." if len(names) > _MOST_NAMES else "")
    rest = ", ".join(f'"{name}": {json.dumps(value)}' for name, value in action.items())
    return f'{{"names": [{listed}], {rest}}}'


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"
