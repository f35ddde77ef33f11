"""Writes the sentence of a verdict: its subject and its reason. Pure."""

from collections.abc import Mapping
from typing import Final

from probes.cell import Cause, CellKey, Outcome, call_words
from probes.filters.conditions import name_in
from probes.instrument.effect import Effect
from probes.judging.claims import About, is_about
from probes.judging.needed_calls import Way
from probes.judging.plan import ANY_ARCH
from probes.judging.sighting import Judgement, Question


def subject(key: CellKey) -> str:
    """The subject of a sentence: ``acct (163) on x86_64 after fork``."""
    part = f" in {key.part}" if key.part else ""
    if key.arch == ANY_ARCH:
        return f"{key.syscall}{part}"
    return f"{call_words(key)}{_WAY_WORDS.get(key.variant, '')}{part}"


_WAY_WORDS: Final[Mapping[str, str]] = {
    Way.FORK: " after fork",
    Way.THREAD: " in a new thread",
    Way.EXECVE: " after execve",
    Way.SETUID: " after a change of user",
    Way.LATER_FILTER: " under a later filter that allows everything",
    Way.RUNTIME_EXEC: " in a process that the runtime's exec starts",
    Way.REMOVAL: " after trying to leave filter mode",
}


def sentence(question: Question, expected: str, found: Judgement) -> str:
    """A verdict in one sentence: what it is about, and the reason."""
    lead = {
        Outcome.CANNOT_TELL: f"cannot tell (expected {expected}): ",
        Outcome.BROKEN: "no verdict: ",
    }
    why = reason(question, expected, found)
    return f"{subject(question.key)}: {lead.get(found.outcome, '')}{why}"


def reason(question: Question, expected: str, found: Judgement) -> str:
    """The reason of a verdict, without the words that name the cell."""
    if found.outcome is Outcome.PASSED:
        return f"{found.observed}, as expected"
    if found.outcome in {Outcome.CANNOT_TELL, Outcome.BROKEN}:
        return found.observed
    return f"expected {expected}, but {found.observed}{_blame(question, found)}"


def _blame(question: Question, finding: Judgement) -> str:
    """Which rule is wrong, where the filter's own answer shows it."""
    if finding.cause is not Cause.FILTER or is_about(question.key, About.PROOF):
        return ""
    if finding.by_program:
        return f" ({question.program})"
    if finding.effect is Effect.REACHED:
        return f": {question.program} lets it through"
    return f": {question.program} has another rule for it"


def is_conditional(key: CellKey) -> bool:
    """Whether a cell is about a call with some arguments only."""
    return name_in(key.syscall) != key.syscall
