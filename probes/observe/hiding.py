"""Which documented calls a filter answers before the observer's filter can report them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from probes import prover
from probes.action import Action, FilterReturn
from probes.bpf import Program
from probes.observe.watch import Kind, Watch

Hidden = Mapping[str, Mapping[str, str]]
"""What is answered, by the ABI's name and the call's."""

_REPORT: Final = Action.USER_NOTIF.precedence


def hidden_by(programs: Sequence[Program], watched: Watch, *, newer: bool) -> Hidden:
    """The documented calls that filters answer themselves.

    Args:
        programs: the filters, the oldest first; none hides nothing.
        watched: what is watched.
        newer: whether they are newer than the observer's filter: of two that both want a
            supervisor's answer, the kernel follows the newer one.

    Raises:
        TooComplexError: that is not known of these filters.
    """
    if not programs:
        return {}
    analysis = prover.analyze(programs, big_endian=watched.arches[0].big_endian)
    found: dict[str, dict[str, str]] = {}
    for one in watched.calls.values():
        if one.kind is not Kind.DOCUMENTED:
            continue
        values = analysis.returns(one.arch.audit_arch, one.number)
        answers = {FilterReturn.decode(value) for value in values}
        first = [answer for answer in answers if _comes_first(answer.action, newer=newer)]
        if first:
            words = " or ".join(sorted(map(str, first)))
            some = "" if len(first) == len(answers) else " for some arguments"
            found.setdefault(one.arch.name, {})[one.name] = words + some
    return found


def _comes_first(action: Action, *, newer: bool) -> bool:
    return action.precedence < _REPORT or (newer and action is Action.USER_NOTIF)
