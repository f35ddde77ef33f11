"""Pods that run already: every container of them, and the filters of each of its processes."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from probes.cri import connection, membership, selection
from probes.cri.messages import ContainerState, Details, NotFoundError, PodContainer, PodSandbox
from probes.cri.selection import ChosenPod, Selection
from probes.errors import BadInputError
from probes.instrument import harvest
from probes.instrument.harvest import Harvest
from probes.text import shown

if TYPE_CHECKING:  # what it imports need not be installed
    from probes.cri.client import Client

PAUSE: Final = "pause"
"""What the container is called that holds a pod's namespaces."""

_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Part:
    """A container of a pod that runs.

    Attributes:
        pod: the pod, for sentences.
        name: the container's name in it.
        state: what it does.
        processes: the filters of each of its processes; none of one that has ended.
        details: what the runtime tells of it.
        sandbox: what the runtime tells of its pod's sandbox.
    """

    pod: str
    name: str
    state: ContainerState
    processes: tuple[Harvest, ...]
    details: Details
    sandbox: Details

    @property
    def words(self) -> str:
        """The container in a sentence."""
        return f"container {shown(self.name)} of the pod {self.pod}"

    @property
    def is_pause(self) -> bool:
        """Whether it is the one that holds the pod's namespaces."""
        return self.details is self.sandbox


@dataclass(frozen=True, slots=True)
class Found:
    """The containers that were meant, and what their runtime is.

    Attributes:
        runtime: what it calls itself.
        version: its version.
        parts: the containers.
        settled: whether none of their processes came or went while they were read.
    """

    runtime: str
    version: str
    parts: tuple[Part, ...]
    settled: bool


def find(wanted: Selection, endpoint: str) -> Found:
    """Reads what confines each container that is meant; all of them go on unchanged.

    Raises:
        BadInputError: there is no such thing, or it ends meanwhile, or this user may not read it.
        InstrumentError: the runtime does not answer in time, or this kernel does not tell.
    """
    client = connection.connect(endpoint)
    try:
        parts: tuple[Part, ...] = ()
        for _ in range(harvest.MOST_READINGS):
            chosen = selection.choose(wanted, client.sandboxes(), client.containers())
            try:
                parts = tuple(_parts(client, chosen, wanted))
            except _ChangedError:
                continue
            if _is_settled(client, wanted, chosen, parts):
                return Found(client.name, client.version, parts, settled=True)
            time.sleep(_PAUSE_SECONDS)
        if not parts:
            raise BadInputError(
                f"cri:{shown(wanted.text)}: it ended, or was started anew, each time that it was"
                " read: judge it while it runs"
            )
        return Found(client.name, client.version, parts, settled=False)
    finally:
        client.close()


class _ChangedError(Exception):
    """A container ended while it was looked at."""


def _is_settled(
    client: "Client", wanted: Selection, chosen: Sequence[ChosenPod], parts: Sequence[Part]
) -> bool:
    """Whether the same containers have the same processes as a moment ago."""
    try:
        if selection.choose(wanted, client.sandboxes(), client.containers()) != tuple(chosen):
            return False
    except BadInputError:  # it has ended
        return False
    members = _members(client, chosen)
    meant = [one.id for pod in chosen for one in pod.containers]
    meant += [pod.sandbox.id for pod in chosen if pod.is_whole]
    pids = {pid for one in meant for pid in members[one]}
    read = {one.pid for part in parts for one in part.processes}
    return {pid for pid in pids if harvest.is_alive(pid)} == read and all(
        one.settled for part in parts for one in part.processes
    )


def _parts(client: "Client", chosen: Sequence[ChosenPod], wanted: Selection) -> Iterator[Part]:
    """Each container with its filters; those of a pod before its pause container.

    Raises:
        _ChangedError: one has ended meanwhile.
        BadInputError: one cannot be seen from here.
    """
    members = _members(client, chosen)
    for pod in chosen:
        try:
            of_sandbox = client.details_of_sandbox(pod.sandbox.id)
            details = {one.id: client.details_of_container(one.id) for one in pod.containers}
        except NotFoundError as error:
            raise _ChangedError from error
        for one in pod.containers:
            processes = tuple(_read(members[one.id]))
            if one.state is ContainerState.RUNNING and not processes:
                _refuse_hidden(client, one, wanted)
            known = details[one.id]
            yield Part(pod.sandbox.words, one.name, one.state, processes, known, of_sandbox)
        if pod.is_whole:
            yield from _pause(pod.sandbox, members[pod.sandbox.id], of_sandbox, wanted)


def _pause(
    sandbox: PodSandbox, pids: Sequence[int], details: Details, wanted: Selection
) -> Iterator[Part]:
    """The pause container; CRI-O goes without one where the pod has no need of it."""
    processes = tuple(_read(pids))
    if processes:
        yield Part(sandbox.words, PAUSE, ContainerState.RUNNING, processes, details, details)
    elif details.pid:
        raise _hidden(wanted, f"the pause container of the pod {sandbox.words}")


def _members(client: "Client", chosen: Sequence[ChosenPod]) -> dict[str, tuple[int, ...]]:
    found = membership.places()
    # Without the daemon's it cannot be told which namespaces are the node's.
    spaces = (
        {membership.namespace_of(os.getpid()), membership.namespace_of(client.daemon)}
        if client.daemon
        else {place.namespace for place in found.values()}
    )
    made: dict[str, tuple[int, ...]] = {}
    for pod in chosen:
        # The pause container last: it shares its namespace with whoever it is made for.
        ids = [*(one.id for one in pod.containers), pod.sandbox.id]
        made |= membership.members(ids, found, spaces)
    return made


def _read(pids: Sequence[int]) -> Iterator[Harvest]:
    for pid in pids:
        try:
            yield harvest.filters_of(pid)
        except BadInputError:  # who has ended confines nobody
            if harvest.is_alive(pid):
                raise


def _refuse_hidden(client: "Client", container: PodContainer, wanted: Selection) -> None:
    """Refuses a container that is said to run and shows no process.

    Raises:
        _ChangedError: it has ended meanwhile.
        BadInputError: it runs.
    """
    try:
        state = client.state_of(container.id)
    except NotFoundError as error:
        raise _ChangedError from error
    if state is not ContainerState.RUNNING:
        raise _ChangedError
    raise _hidden(wanted, f"the container {shown(container.name)}")


def _hidden(wanted: Selection, what: str) -> BadInputError:
    return BadInputError(
        f"cri:{shown(wanted.text)}: {what} runs, and no process of it can be seen from here: run"
        " the suite as root in the node's pid namespace (hostPID: true), on a runtime that gives"
        " containers control groups of their own; a sandbox with a kernel of its own (gVisor, Kata"
        " Containers) shows its processes to nobody outside: judge it from inside, with"
        " --target=ambient"
    )


def seccomp_of(details: Details) -> Mapping[str, Any] | None:
    """The profile that the OCI runtime got for a container; None where it got none.

    Raises:
        LookupError: the runtime does not tell.
    """
    if not details.specification:
        raise LookupError
    found = (details.specification.get("linux") or {}).get("seccomp")
    return found or None
