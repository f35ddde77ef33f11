"""What an observation says, as lines for people and as JSON."""

import json
import os
import signal
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from probes.action import Profile
from probes.documents import siblings
from probes.documents.policy import Policy
from probes.errors import ExitStatus
from probes.finding import weighty
from probes.observe.caller import NOBODY_KNOWS
from probes.observe.contacts import Contact
from probes.observe.findings import SeenCalls, exit_status
from probes.observe.hiding import UNKNOWN
from probes.observe.limits import limits
from probes.observe.observation import WorkloadObservation
from probes.observe.supervisor import ObservationEnd, WorkloadEnd
from probes.observe.watch import Kind
from probes.text import counted, visible
from reports.results.observed import SCHEMA
from reports.terminal.lines import MOST_LINES, shortened

_COMM_SIZE: Final = 15
_SHOWN: Final = 3
"""Argument lists and places of a finding that the lines show."""


@dataclass(frozen=True, slots=True)
class ObservationReport:
    """An observation of a workload, with all that a report on it needs.

    Attributes:
        command: the words of the command.
        image: the image or the bundle, as a target's word; "" for a plain command.
        policy: what the platform does not allow.
        profiles: those about which the report says what would happen.
        observation: how it went.
        findings: what was seen.
        notes: sentences about what could not be seen.
    """

    command: tuple[str, ...]
    policy: Policy
    profiles: tuple[Profile, ...]
    observation: WorkloadObservation
    findings: tuple[SeenCalls, ...]
    notes: tuple[str, ...] = ()
    image: str = ""

    @property
    def status(self) -> ExitStatus:
        """The exit status of ``syscall-conformance observe``."""
        return exit_status(self.observation, self.findings)

    def of(self, *kinds: Kind) -> tuple[SeenCalls, ...]:
        """The findings of some kinds."""
        return tuple(one for one in self.findings if one.key.kind in kinds)


def lines(report: ObservationReport, width: int, *, verbose: bool = True) -> list[str]:
    """The report for people.

    Args:
        report: the report.
        width: how long a line may be.
        verbose: whether all is told, in more than ``MOST_LINES`` lines if need be.
    """
    not_allowed = refused(report)
    ways = [one for one in report.of(Kind.SIBLING) if not _is_everyday(one)]
    everyday = [one for one in report.of(Kind.SIBLING) if _is_everyday(one)]
    said = [headline(report), ending_words(report.observation.outcome)]
    if not_allowed:
        said += ["", *_table(not_allowed)]
        said += ["", *(line for one in report.profiles for line in _fate(one, not_allowed, width))]
    if ways:
        head = "Allowed, for the policy leaves them out, but with the power of documented calls:"
        said += ["", *textwrap.wrap(head, width), *_table(ways)]
    if everyday:
        said += ["", *textwrap.wrap(_folded(everyday), width, subsequent_indent="  ")]
    noted: list[str] = []
    for note in (*notes(report), *report.notes):
        # Paths have hyphens, too.
        noted += textwrap.wrap(
            f"note: {note}", width, subsequent_indent="  ", break_on_hyphens=False
        )
    if not verbose:
        # What could not be seen decides how much the rest is worth.
        said = shortened(said, max(MOST_LINES - len(noted), MOST_LINES // 2))
        noted = shortened(noted, MOST_LINES - len(said))
    return [visible(line) for line in (*said, *noted)]


def refused(report: ObservationReport) -> tuple[SeenCalls, ...]:
    """What was seen that the platform does not allow."""
    return report.of(Kind.DOCUMENTED, Kind.UNKNOWN)


def _is_everyday(found: SeenCalls) -> bool:
    """Whether most programs make a call that gives such power; clone(2) may give other power."""
    given: set[str] = set()
    for one in siblings.siblings():
        if one.everyday and found.key.name in {one.name, one.label}:
            given |= set(one.gives)
    return bool(found.gives) and given.issuperset(found.gives)


def _folded(found: Sequence[SeenCalls]) -> str:
    """What most programs do, in one sentence: it says little about this one."""
    names = ", ".join(sorted({one.key.name for one in found}))
    gives = ", ".join(sorted({name for one in found for name in one.gives}))
    programs = len({one.key.executable for one in found})
    times = _times(sum(one.count for one in found))
    return (
        f"As most programs do, {counted(programs, 'program')} made calls that are allowed and have "
        f"the power of {gives}: {names}, {times} in all"
    )


def headline(report: ObservationReport) -> str:
    """The answer in one line: a word, and what was seen."""
    return f"{verdict(report)}: {seen_words(report)}"


def verdict(report: ObservationReport) -> str:
    """The answer in a word."""
    if report.status is ExitStatus.NOT_CONFORMANT:
        return "FAIL"
    return "PASS" if report.status is ExitStatus.CONFORMANT else "CANNOT TELL"


def seen_words(report: ObservationReport) -> str:
    """What was seen that the platform does not allow, in one line."""
    found = refused(report)
    title = f"the {len(report.policy.calls)} calls of {report.policy.name}"
    stopped = [one for one in found if one.stopped_by]
    granted = [one for one in found if not one.stopped_by]
    count = sum(one.count for one in granted)
    if stopped:
        names = sorted({one.key.name for one in stopped})
        what = "a call" if len(names) == 1 else f"{len(names):,} calls"
        made = _times(sum(one.count for one in stopped))
        aside = f"; granted ones {_times(count)}" if granted else ""
        return f"{', '.join(names)}: {what} that the platform does not allow, made {made}{aside}"
    if granted:
        return f"of {title} only granted ones were seen, {_times(count)}"
    return f"none of {title} was seen"


def ending_words(outcome: WorkloadEnd) -> str:
    """How the command ended, and after how long."""
    seconds = f"after {outcome.nanoseconds / 1e9:.2f} s"
    status = _status(outcome)
    how = (
        f"ended with exit status {status['exit_status']}"
        if status["signal"] is None
        else f"was ended by {status['signal']}"
    )
    why = {
        ObservationEnd.ITSELF: "",
        ObservationEnd.DEADLINE: ", at the deadline",
        ObservationEnd.INTERRUPTED: ", when it was interrupted",
    }
    return f"the command {how} {seconds}{why[outcome.ending]}"


def _status(outcome: WorkloadEnd) -> dict[str, Any]:
    if os.WIFSIGNALED(outcome.status):
        number = os.WTERMSIG(outcome.status)
        known = {one.value: one.name for one in signal.Signals}
        return {"exit_status": None, "signal": known.get(number, f"signal {number}")}
    return {"exit_status": os.WEXITSTATUS(outcome.status), "signal": None}


def _table(found: Sequence[SeenCalls]) -> list[str]:
    rows = [("call", "ABI", "times", "processes", "first", "by")]
    details: list[list[str]] = [[]]
    for one in found:
        key = one.key
        first = f"{one.first:.3f} s"
        row = (key.name, key.abi, f"{one.count:,}", f"{len(one.processes):,}", first, _who(one))
        rows.append(row)
        details.append(_details(one))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    said = []
    for row, more in zip(rows, details, strict=True):
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [row[column].rjust(widths[column]) for column in (2, 3, 4)]
        said.append("  ".join((*cells, row[5])))
        said += [f"    {line}" for line in more]
    return said


def _who(one: SeenCalls) -> str:
    program, comm = one.key.executable, one.key.comm
    if comm == program.rpartition("/")[2][:_COMM_SIZE] or comm == NOBODY_KNOWS:
        return program
    return f"{program} ({comm})" if program != NOBODY_KNOWS else comm


def _details(one: SeenCalls) -> list[str]:
    said = []
    if one.gives:
        said.append(f"has the power of {', '.join(one.gives)}")
    for words in dict.fromkeys(one.grants.values()):
        under = [profile for profile, other in one.grants.items() if other == words]
        only = "" if len(under) == len(one.under) else f" (under {', '.join(under)})"
        said.append(f"granted{only}: {words}")
    if one.key.kind.allowed:
        return said
    for values, _ in one.arguments[:_SHOWN]:
        said.append(f"{one.key.name}({', '.join(f'{value:#x}' for value in values)})")
    places = ", ".join(place for place, _ in one.sites[:_SHOWN] if place != NOBODY_KNOWS)
    if places:
        said.append(f"from {places}{', ...' if len(one.sites) > _SHOWN else ''}")
    if one.cut_short:
        said.append(f"{_times(one.cut_short)} its caller was killed before it ran")
    return said


def _fate(profile: Profile, found: Sequence[SeenCalls], width: int) -> list[str]:
    return textwrap.wrap(f"{profile}: {fate(profile, found)}", width, subsequent_indent="  ")


def fate(profile: Profile, found: Sequence[SeenCalls]) -> str:
    """What the platform would do under a profile, as one sentence.

    Args:
        profile: the profile.
        found: what was seen that it does not allow.
    """
    stopped = [one for one in found if profile in one.stopped_by]
    if not found:
        return "nothing that was seen would be stopped or recorded"
    if not stopped:
        return "every call that was seen is granted"
    if profile is Profile.KILL:
        return _killed(stopped)
    count = sum(one.count for one in stopped)
    if profile is Profile.ERRNO:
        return f"{counted(count, 'call')} would be refused with EPERM, and no record written"
    return f"{counted(count, 'call')} would run, and leave an audit record each"


def _killed(stopped: Sequence[SeenCalls]) -> str:
    processes = {process for one in stopped for process in one.processes}
    first: dict[str, SeenCalls] = {}
    for one in sorted(stopped, key=lambda one: one.first):
        first.setdefault(_who(one), one)
    at = [f"{who} at {one.key.name}" for who, one in first.items()]
    named = ", ".join(at[:_SHOWN]) + (", ..." if len(at) > _SHOWN else "")
    ended = "1 process" if len(processes) == 1 else f"each of {len(processes):,} processes"
    return f"{ended} would be ended by SIGSYS at its first such call, with an audit record: {named}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def notes(report: ObservationReport) -> list[str]:
    """What the reader must know of how it was seen."""
    said = []
    observation = report.observation
    if observation.no_new_privs:
        said.append(
            "the command ran with no_new_privs, for without CAP_SYS_ADMIN there is no other way: "
            "set-user-ID programs and file capabilities gave no privilege; run as root to have them"
        )
    said += [str(one) for one in limits(observation)]
    said += _hidden(observation.hidden)
    outcome = observation.outcome
    if (
        report.status is ExitStatus.CANNOT_TELL
        and outcome.status
        and outcome.ending is ObservationEnd.ITSELF
    ):
        said.append(
            "the command failed, so it may not have come to the calls that it makes when it works"
        )
    if report.status is ExitStatus.INTERRUPTED:
        said.append("what the command would have done later was not seen")
    return said


def _hidden(hidden: Mapping[str, Mapping[str, str]] | None) -> list[str]:
    if hidden is None:
        unread = "the container's own filters could not be read, and what they answer is not seen"
        return [f"{unread}: run this as root"]
    said = []
    for abi, calls in hidden.items():
        by_answer: dict[str, list[str]] = {}
        for name, answer in calls.items():
            by_answer.setdefault(answer, []).append(name)
        words = "; ".join(
            f"{answer} to {', '.join(sorted(names))}" for answer, names in by_answer.items()
        )
        count = len(calls.keys() - {UNKNOWN})
        what = [counted(count, "documented call")] if count else []
        what += [UNKNOWN] if UNKNOWN in calls else []
        said.append(
            f"the container's own profile answers {' and '.join(what)} of {abi} before they can be "
            f"seen here: {words}"
        )
    if hidden:
        said.append("to see whether those are made, run it with --seccomp=unconfined")
    return said


def document(report: ObservationReport) -> Mapping[str, Any]:
    """The report as plain data, in an order that does not depend on the run."""
    observation = report.observation
    return {
        "schema": SCHEMA,
        "command": list(report.command),
        "image": report.image,
        "policy": {
            "name": report.policy.name,
            "sha256": report.policy.sha256,
            "calls": len(report.policy.calls),
        },
        "kernel": os.uname().release,
        "started": observation.started.isoformat(timespec="milliseconds"),
        "seconds": round(observation.outcome.nanoseconds / 1e9, 6),
        "ending": observation.outcome.ending.value,
        "workload": _status(observation.outcome),
        "exit_status": int(report.status),
        "would": {profile.value: fate(profile, refused(report)) for profile in report.profiles},
        "profiles": [profile.value for profile in report.profiles],
        "no_new_privs": observation.no_new_privs,
        "hidden": _plain(observation.hidden),
        "contacts": [_contact(one) for one in observation.contacts],
        "own_filters": [
            {"executable": one.executable, "hidden": _plain(one.hidden)}
            for one in observation.confinements
        ],
        "limits": [{"about": one.about, "text": one.text} for one in weighty(limits(observation))],
        "calls": [_call(one) for one in report.findings],
        "notes": [*notes(report), *report.notes],
        "sentence": seen_words(report),
        "ended": ending_words(observation.outcome),
    }


def _plain(hidden: Mapping[str, Mapping[str, str]] | None) -> dict[str, dict[str, str]] | None:
    return None if hidden is None else {abi: dict(calls) for abi, calls in hidden.items()}


def _contact(one: Contact) -> Mapping[str, Any]:
    return {
        "executable": one.executable,
        "where": one.where,
        "listener": one.listener,
        "daemon": one.daemon,
        "starts": one.starts,
        "work": one.work.value,
    }


def _call(one: SeenCalls) -> Mapping[str, Any]:
    key = one.key
    sought = sum(times for _, times in one.sites)
    return {
        "kind": key.kind.value,
        "call": key.name,
        "number": key.number,
        "abi": key.abi,
        "executable": key.executable,
        "comm": key.comm,
        "gives": list(one.gives),
        "count": one.count,
        "processes": len(one.processes),
        "calls_by_process": [
            {"calls": calls, "processes": processes} for calls, processes in one.histogram
        ],
        "first_seconds": round(one.first, 6),
        "last_seconds": round(one.last, 6),
        "cut_short": one.cut_short,
        "arguments": [
            {"values": [f"{value:#x}" for value in values], "count": count}
            for values, count in one.arguments
        ],
        "sites": [{"at": place, "count": count} for place, count in one.sites],
        "sites_not_sought": one.count - sought,
        "under": {profile.value: word for profile, word in one.under.items()},
        "granted": {profile.value: words for profile, words in one.grants.items()},
    }


def to_json(report: ObservationReport) -> str:
    """The document as text."""
    return json.dumps(document(report), indent=2, ensure_ascii=True) + "\n"
