"""Containers, services and other groups of processes: who belongs to which. Pure, but for labels.

A process belongs to the innermost container around it, else to its service, else to a group of its
own kind.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from probes.survey import cgroups, labels, monitors
from probes.survey.cgroups import Owner
from probes.survey.labels import Label
from probes.survey.monitors import Monitor
from probes.survey.seen_processes import Listing, SeenProcess
from probes.workload import OwnerKind

SHORT_ID: Final = 12
"""How much of a container's id is shown, as docker does."""

_ID_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class FoundWorkload:
    """A container, a service, or processes that belong to neither.

    Attributes:
        kind: the kind.
        engine: what made it, such as ``docker``; ``systemd`` for a service, "" where that is not
            known.
        id: the container's id or the unit's name.
        name: the name by which people know it; the id where there is no other.
        image: the container's image; "" where it is not known.
        pod: the uid of the Kubernetes pod; "" outside of pods.
        inside: the container around it, where there is one.
        processes: those that belong to it, by their ids.
        is_own: whether the suite itself runs in it.
    """

    kind: OwnerKind
    engine: str
    id: str
    name: str
    image: str = ""
    pod: str = ""
    inside: str = ""
    processes: tuple[SeenProcess, ...] = ()
    is_own: bool = False

    @property
    def sort(self) -> str:
        """The word before the colon in its title: the engine, or the kind where none is known."""
        return self.engine if self.kind is OwnerKind.CONTAINER and self.engine else self.kind.value

    @property
    def title(self) -> str:
        """What people call it, and no other is called: ``docker:web (0123456789ab)``."""
        short = self.id[:SHORT_ID] if len(self.id) == _ID_DIGITS else self.id
        return f"{self.sort}:{self.name}" + ("" if short in self.name else f" ({short})")

    @property
    def words(self) -> tuple[str, ...]:
        """What a pattern may name it by."""
        return tuple(
            f"{self.sort}:{one}"
            for one in dict.fromkeys((self.name, self.id, self.image, self.pod))
            if one
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """The owner of a process, and the monitor that knows its name."""

    place: Owner
    monitor: Monitor | None = None


@dataclass(frozen=True, slots=True)
class _Owners:
    """What is known of the machine when the owner of a process is looked for.

    Attributes:
        listing: all processes.
        by_hand: the containers that runtimes know, by their first processes.
    """

    listing: Listing
    by_hand: Mapping[int, tuple[str, str]]
    known: dict[int, _Found] = field(default_factory=dict)

    def of(self, process: SeenProcess) -> _Found:
        """The owner of a process."""
        if process.pid not in self.known:
            self.known[process.pid] = self._found(process)
        return self.known[process.pid]

    def _found(self, process: SeenProcess) -> _Found:
        place = cgroups.place_of(process.cgroup)
        monitor = monitors.above(self.listing, process)
        if place.kind is OwnerKind.CONTAINER:
            return _Found(_with_engine(place, monitor), monitor)
        if monitor is not None:
            return _Found(Owner(OwnerKind.CONTAINER, monitor.engine, monitor.id), monitor)
        for one in (process, *self.listing.ancestors(process)):
            if one.pid in self.by_hand:
                return _Found(Owner(OwnerKind.CONTAINER, *self.by_hand[one.pid]))
        if place.kind is OwnerKind.OTHER and self._is_apart(process):
            return _Found(Owner(OwnerKind.CONTAINER, "", _id_apart(process)))
        return _Found(place)

    def _is_apart(self, process: SeenProcess) -> bool:
        """Whether a process that no session has is in a pid namespace of its own."""
        first = self.listing.processes.get(1)
        own = "" if first is None else first.namespace
        in_session = "/user.slice/" in process.cgroup
        return bool(own and process.namespace) and process.namespace != own and not in_session


def _id_apart(process: SeenProcess) -> str:
    number = process.namespace.strip("pid:[]")
    group = process.cgroup.rstrip("/").rpartition("/")[2]
    return f"{group or 'namespace'}-{number}"


def _with_engine(place: Owner, monitor: Monitor | None) -> Owner:
    """The place, with the engine that its path does not tell."""
    if place.engine or monitor is None:
        return place
    return replace(place, engine=monitor.engine)


Labelling = Callable[[Monitor, str], Label]
"""Finds the words by which people know a container of a monitor, by its id."""


def workloads(
    listing: Listing,
    own: int,
    by_hand: Mapping[int, tuple[str, str]],
    label: Labelling = labels.label,
) -> tuple[FoundWorkload, ...]:
    """Every container, service and other group of processes, in the order of their titles.

    Args:
        listing: the processes.
        own: the id of the suite's own process.
        by_hand: the containers that runtimes know, by their first processes.
        label: finds the names of containers.
    """
    owners = _Owners(listing, by_hand)
    groups: dict[_Identity, list[SeenProcess]] = {}
    for process in listing.processes.values():
        groups.setdefault(_identity(owners.of(process)), []).append(process)
    found = [_workload(owners, processes, own, label) for processes in groups.values()]
    kinds = list(OwnerKind)
    return tuple(sorted(_told_apart(found), key=lambda one: (kinds.index(one.kind), one.title)))


_Identity = tuple[OwnerKind, str, str, str]
"""What the processes of one owner have in common."""


def _identity(found: _Found) -> _Identity:
    """Ids of 64 digits are unique, names are not: two users may have services of one name."""
    place, monitor = found.place, found.monitor
    if len(place.id) == _ID_DIGITS:
        return (place.kind, place.engine, place.id, "")
    where = place.path or ("" if monitor is None else str(monitor.process.pid))
    return (place.kind, place.engine, place.id, where)


def _told_apart(found: Sequence[FoundWorkload]) -> Iterator[FoundWorkload]:
    """The same with names that no other one has."""
    titles = Counter(one.title for one in found)
    for one in found:
        alike = titles[one.title] > 1
        yield replace(one, name=f"{one.name} of process {one.processes[0].pid}") if alike else one


def _workload(
    owners: _Owners, processes: Sequence[SeenProcess], own: int, label: Labelling
) -> FoundWorkload:
    found = next(
        (one for one in map(owners.of, processes) if one.monitor is not None),
        owners.of(processes[0]),
    )
    place, monitor = found.place, found.monitor
    identity = place.id or place.path
    is_container = place.kind is OwnerKind.CONTAINER
    known = label(monitor, identity) if is_container and monitor is not None else Label()
    inside = place.outside[-1][:SHORT_ID] if place.outside else ""
    return FoundWorkload(
        place.kind,
        place.engine,
        identity,
        known.name or _otherwise(place, processes, identity),
        known.image,
        place.pod or known.pod,
        inside,
        tuple(processes),
        any(one.pid == own for one in processes),
    )


def _otherwise(place: Owner, processes: Sequence[SeenProcess], identity: str) -> str:
    """The name where no engine has given any."""
    if place.kind is not OwnerKind.CONTAINER:
        return identity
    if place.engine == "bwrap":
        return processes[-1].name
    return identity if len(identity) != _ID_DIGITS else identity[:SHORT_ID]
