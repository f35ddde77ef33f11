"""What could not be seen of a workload, in sentences with a weight. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from probes.finding import Finding, Weight
from probes.observe.contacts import Contact, Work
from probes.observe.observation import WorkloadObservation
from probes.observe.own_filters import InstalledFilters
from probes.observe.watch import Kind

_SHOWN: Final = 8
"""Calls that a sentence names."""

_RING: Final = "io_uring_setup"

_THERE: Final = "run observe where the work is started, such as in the service's own command line"


def limits(observation: WorkloadObservation) -> tuple[Finding, ...]:
    """All of them; those with weight keep it open whether none of the calls was made."""
    return (
        *_contacts(observation.contacts),
        *_unread(observation),
        *_jobs(observation),
        *_confinements(observation),
        *_within(observation),
    )


def _contacts(contacts: Iterable[Contact]) -> list[Finding]:
    found = []
    for one in contacts:
        who = one.executable or "a socket that was open from the start"
        verb = "connected" if one.executable else "is connected"
        listener = one.listener or "a listener that cannot be looked up"
        weight = Weight.LIMITS if one.work.limits else Weight.ADVICE
        if one.work is Work.STARTS:
            by = f" ({one.listener})" if one.listener else ""
            said = (
                f"{who} {verb} to {one.where}, {one.daemon}{by}, which starts {one.starts}: what "
                f"runs there is not seen here: {_instead(one)}"
            )
        else:
            said = f"{who} {verb} to {one.where}, {listener}, {_WORK[one.work]}"
        found.append(Finding(said, weight, f"contact {one.where} of {who}"))
    return found


_WORK: Final[Mapping[Work, str]] = {
    Work.STARTED: "which started processes meanwhile; what they do, if it is for the command, is "
    f"not seen here: {_THERE}",
    Work.ENDED: "which has ended since, so that it cannot be told whether it started anything for "
    f"the command: {_THERE}",
    Work.UNKNOWN: "and it is not known whether work is started there for the command: as root, in "
    f"the machine's own pid namespace, more can be looked up; if it is, {_THERE}",
    Work.NONE: "outside of what is observed; it was not seen to start a process",
}


def _instead(contact: Contact) -> str:
    if not contact.image:
        return _THERE
    runtime = "podman" if "podman" in contact.daemon else "docker"
    return (
        f"observe the image (observe --image=IMAGE --runtime={runtime} -- COMMAND ...), or {_THERE}"
    )


def _unread(observation: WorkloadObservation) -> list[Finding]:
    found = []
    if observation.contacts_unread:
        names = ", ".join(observation.contacts_unread)
        found.append(
            Finding(
                f"to whom {names} connected could not be read, and so not whether work was started "
                "there: run this as root",
                Weight.LIMITS,
                "addresses that could not be read",
            )
        )
    if observation.contacts_left_out:
        found.append(
            Finding(
                f"it talked to more others than the {len(observation.contacts)} that are named, "
                "and whether those start work was not looked up: observe its parts one by one",
                Weight.LIMITS,
                "contacts that were left out",
            )
        )
    rings = {
        key.executable for key in observation.rows if key.name == _RING and key.kind is Kind.SIBLING
    }
    if rings:
        found.append(
            Finding(
                f"io_uring was set up by {', '.join(sorted(rings))}: whom its rings connect to is "
                "not seen, and so not whether work was started there: observe it with io_uring off "
                "(sysctl kernel.io_uring_disabled=2)",
                Weight.LIMITS,
                "io_uring",
            )
        )
    return found


def _jobs(observation: WorkloadObservation) -> list[Finding]:
    return [
        Finding(
            f"{one.path} was left meanwhile, which {one.daemon} runs later: what it does then is "
            f"not seen here: {_THERE}",
            Weight.LIMITS,
            f"file {one.path}",
        )
        for one in observation.jobs
    ]


def _confinements(observation: WorkloadObservation) -> list[Finding]:
    found = []
    for one in observation.confinements:
        if one.hidden is None:
            found.append(
                Finding(
                    f"filters of its own were installed by {one.executable}, and which calls they "
                    "answer before those are seen here could not be found out: switch its own "
                    "filters off to see whether it makes any",
                    Weight.LIMITS,
                    f"filters of {one.executable}",
                )
            )
        elif one.hidden:
            found.append(_hiding(one, one.hidden))
    if observation.listeners_refused:
        times = observation.listeners_refused
        often = {1: "once", 2: "twice"}.get(times, f"{times} times")
        found.append(
            Finding(
                f"{often} a filter with a listener was refused, EBUSY, for a process can have one "
                "only, and that is this observer's: without it the workload may go on differently",
                Weight.LIMITS,
                "a listener that was refused",
            )
        )
    return found


def _hiding(one: InstalledFilters, hidden: Mapping[str, Mapping[str, str]]) -> Finding:
    by_abi = "; ".join(f"on {abi} {_answers(calls)}" for abi, calls in hidden.items())
    return Finding(
        f"filters of its own were installed by {one.executable}, and what they answer is not seen "
        f"here: {by_abi}. Under the platform's filter such calls may end otherwise: switch its own "
        "filters off to see whether it makes them",
        Weight.LIMITS,
        f"filters of {one.executable}",
    )


def _answers(calls: Mapping[str, str]) -> str:
    by_answer: dict[str, list[str]] = {}
    for name, answer in calls.items():
        by_answer.setdefault(answer, []).append(name)
    return ", ".join(f"{answer} to {_some(names)}" for answer, names in sorted(by_answer.items()))


def _some(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(sorted(names))
    return f"{', '.join(sorted(names)[:_SHOWN])} and {len(names) - _SHOWN} more"


def _within(observation: WorkloadObservation) -> list[Finding]:
    if not observation.under_filters:
        return []
    return [
        Finding(
            "the observer is itself under filters, and what they answer is not seen here: run it "
            "where it is under none, such as outside of the container",
            Weight.LIMITS,
            "filters that were there before",
        )
    ]
