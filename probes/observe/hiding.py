"""Which watched calls a filter answers before the observer's filter can report them. Pure.

Those that the platform does not allow: the documented ones, and the numbers that no table knows.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from probes.action import Action, FilterReturn
from probes.arch import Arch
from probes.filters import partition, prover
from probes.filters.bpf import Program
from probes.filters.prover import Analysis
from probes.observe.watch import Kind, Watch

Hidden = Mapping[str, Mapping[str, str]]
"""What is answered, by the ABI's name and the call's."""

UNKNOWN: Final = "numbers that no table knows"
"""Stands for the name of those."""

_REPORT: Final = Action.USER_NOTIF.precedence


def hidden_by(programs: Sequence[Program], watched: Watch, *, newer: bool) -> Hidden:
    """The calls that filters answer themselves although the platform does not allow them.

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
        first = _first(answers, newer=newer)
        if first:
            some = "" if len(first) == len(answers) else " for some arguments"
            found.setdefault(one.arch.name, {})[one.name] = _words(first) + some
    for arch in watched.arches:
        first = _first(_of_unknown(analysis, watched, arch), newer=newer)
        if first:
            found.setdefault(arch.name, {})[UNKNOWN] = _words(first)
    return found


def _of_unknown(analysis: Analysis, watched: Watch, arch: Arch) -> set[FilterReturn]:
    """What is returned for any of the numbers of an ABI that no table knows."""
    token = arch.audit_arch
    known = watched.known[token]
    found: set[int] = set()
    for alike in partition.number_ranges(analysis, token):
        for low, high in partition.share(arch):
            first, last = max(alike.first, low), min(alike.last, high)
            if last - first + 1 > sum(first <= number <= last for number in known):
                found |= alike.returns
    return {FilterReturn.decode(value) for value in found}


def _first(answers: Collection[FilterReturn], *, newer: bool) -> list[FilterReturn]:
    return [answer for answer in answers if _comes_first(answer.action, newer=newer)]


def _words(answers: Collection[FilterReturn]) -> str:
    return " or ".join(sorted(map(str, answers)))


def _comes_first(action: Action, *, newer: bool) -> bool:
    return action.precedence < _REPORT or (newer and action is Action.USER_NOTIF)
