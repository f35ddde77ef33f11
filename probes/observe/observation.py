"""Observes a workload: from a command to what was seen of it."""

import os
import re
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from probes.errors import BadInputError
from probes.filters import bpf
from probes.instrument import kernel
from probes.observe import processes, spools
from probes.observe.contacts import Contact, Contacts
from probes.observe.inherited import inherited
from probes.observe.launch import Launched, launch, not_executable
from probes.observe.own_filters import InstalledFilters, OwnFilters
from probes.observe.peers import Peers
from probes.observe.spools import SpooledFile
from probes.observe.supervisor import (
    Notes,
    Supervisor,
    Workload,
    WorkloadEnd,
    signals_held,
    supervise,
)
from probes.observe.tally import Tally, TallyKey, TallyRow
from probes.observe.watch import Watch, program

FIRST_KERNEL: Final = (5, 5)
"""The first release with SECCOMP_USER_NOTIF_FLAG_CONTINUE."""


@dataclass(frozen=True, slots=True)
class WorkloadObservation:
    """What was seen of a workload.

    Attributes:
        started: when, in UTC.
        outcome: how it went.
        no_new_privs: whether it ran with no_new_privs only because it was observed.
        rows: its watched calls.
        hidden: the documented calls that a filter of the container's own answers before they can be
            seen, by ABI, with what it answers; None where that could not be read.
        listeners_refused: how often the kernel refused it a filter with a listener, because the
            observer has the one that a process may have.
        contacts: whom it talked to outside of itself, where that may have started something.
        contacts_left_out: whether there were more than are kept.
        contacts_unread: its programs whose addresses could not be read.
        confinements: its programs that installed filters of their own, and what those hide.
        jobs: files that were left meanwhile for a daemon to run.
        under_filters: whether the observer is itself under filters, which answer before its own.
    """

    started: datetime
    outcome: WorkloadEnd
    no_new_privs: bool
    rows: dict[TallyKey, TallyRow]
    listeners_refused: int
    hidden: Mapping[str, Mapping[str, str]] | None = field(default_factory=dict)
    contacts: tuple[Contact, ...] = ()
    contacts_left_out: bool = False
    contacts_unread: tuple[str, ...] = ()
    confinements: tuple[InstalledFilters, ...] = ()
    jobs: tuple[SpooledFile, ...] = ()
    under_filters: bool = False


def observe(
    command: Sequence[str], watched: Watch, timeout: float | None, say: Callable[[str], None]
) -> WorkloadObservation:
    """Runs a command to its end, and to that of all processes that it starts.

    This process becomes their subreaper, and waits for every child that it has.

    Args:
        command: its words.
        watched: what is watched.
        timeout: after how many seconds it is ended; None for never.
        say: tells the user a sentence while it runs.

    Raises:
        BadInputError: there is no such command, or a filter with a listener is here already.
        InstrumentError: this kernel cannot do it.
    """
    refuse_old_kernel(os.uname().release)
    native = watched.arches[0]
    code = bpf.to_bytes(program(watched), big_endian=native.big_endian)
    notes = notes_for(watched, lambda: processes.descendants(os.getpid()))
    for peer in inherited(notes.contacts.peers):
        notes.contacts.note("", peer)
    before_it = spools.now()
    kernel.adopt_orphans()
    started = datetime.now(UTC)
    with signals_held() as before:
        launched = launch(command, code, native.numbers, before)
        try:
            supervisor = Supervisor(launched.listener, watched, notes)
            workload = Workload(launched.pid, launched.listener, _signal_all)
            outcome = supervise(supervisor, workload, timeout, say)
        except BaseException:  # Ctrl-C, too; it is raised again
            # Without an answer its calls would fail one after the other.
            _signal_all(signal.SIGKILL)
            raise
        finally:
            os.close(launched.listener)
    _refuse_failure(command, launched)
    seen = WorkloadObservation(started, outcome, launched.no_new_privs, notes.tally.rows, 0)
    under_filters = kernel.own_status("Seccomp") not in {"0", None}
    return replace(
        with_notes(seen, notes), jobs=spools.since(before_it), under_filters=under_filters
    )


def notes_for(watched: Watch, below: Callable[[], Collection[int]]) -> Notes:
    """Where nothing is noted yet.

    Args:
        watched: what is watched.
        below: tells the processes of the workload.
    """
    peers = Peers(watched.arches[0].number("openat2"))
    return Notes(Tally(watched), Contacts(peers, below), OwnFilters(watched))


def with_notes(seen: WorkloadObservation, notes: Notes) -> WorkloadObservation:
    """An observation with what was noted until the workload's end."""
    return replace(
        seen,
        listeners_refused=notes.own_filters.refused,
        contacts=notes.contacts.finish(),
        contacts_left_out=notes.contacts.full,
        contacts_unread=tuple(notes.contacts.unreadable),
        confinements=notes.own_filters.finish(),
    )


def _signal_all(number: signal.Signals) -> None:
    processes.signal_descendants(os.getpid(), number)


def refuse_old_kernel(release: str) -> None:
    """Refuses a kernel that cannot let a reported call run.

    Raises:
        BadInputError: it is one.
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    if found and (int(found[1]), int(found[2])) < FIRST_KERNEL:
        raise BadInputError(
            f"Linux {release} cannot let a call run that a supervisor has looked at: it takes "
            f"{FIRST_KERNEL[0]}.{FIRST_KERNEL[1]} or newer"
        )


def _refuse_failure(command: Sequence[str], launched: Launched) -> None:
    if reason := launched.refusal():
        raise not_executable(command[0], reason)
