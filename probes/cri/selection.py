"""Which pods and containers of a node are meant by the words behind ``cri:``. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.cri.messages import PodContainer, PodSandbox
from probes.errors import BadInputError
from probes.text import did_you_mean, in_brackets, shown

_BEGINNING: Final = re.compile(r"(?:pod|container|label)=")
_LEAST_OF_ID: Final = 4
"""How much of an id must be given: less would soon be the beginning of several."""

_FORM: Final = (
    "write pod=NAMESPACE/NAME, pod=ID, pod=...,container=NAME, container=ID or label=KEY=VALUE"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is meant of what runs on a node.

    Attributes:
        text: the words.
        pod: a pod's id, or its name after its namespace; "" for any.
        container: a container's id or name; "" for all of a pod.
        label: a key and a value that pods carry; None for any.
    """

    text: str
    pod: str = ""
    container: str = ""
    label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ChosenPod:
    """A pod, as far as it is meant.

    Attributes:
        sandbox: the pod.
        containers: its containers that are meant, the oldest first.
        is_whole: whether all of it is meant, the pause container too.
    """

    sandbox: PodSandbox
    containers: tuple[PodContainer, ...]
    is_whole: bool


def is_selection(text: str) -> bool:
    """Whether words name what runs already, and no image: an image's name has no such beginning."""
    return _BEGINNING.match(text) is not None


def read(text: str) -> Selection:
    """Takes the words apart.

    Raises:
        BadInputError: they mean nothing.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        key, sign, value = part.partition("=")
        if not sign or not value or key in found or not _BEGINNING.match(part):
            raise BadInputError(f"cri:{shown(text)}: {shown(part)!r} names nothing: {_FORM}")
        found[key] = value
    label = None
    if "label" in found:
        name, sign, value = found["label"].partition("=")
        if not sign or len(found) > 1:
            raise BadInputError(f"cri:{shown(text)}: a label stands alone, as label=KEY=VALUE")
        label = (name, value)
    return Selection(text, found.get("pod", ""), found.get("container", ""), label)


def choose(
    wanted: Selection, sandboxes: Sequence[PodSandbox], containers: Sequence[PodContainer]
) -> tuple[ChosenPod, ...]:
    """What is meant, of all that a runtime has.

    Raises:
        BadInputError: there is no such thing, or it has ended, or it cannot be told which.
    """
    named = _pods(wanted, sandboxes)
    if not wanted.container:
        running = [one for one in named if one.is_ready]
        if not running:
            raise BadInputError(
                f"cri:{shown(wanted.text)}: the pod {named[0].words} has ended: judge it while it"
                " runs"
            )
        return tuple(ChosenPod(one, tuple(_of(one, containers)), is_whole=True) for one in running)
    known = {one.id: one for one in named}
    candidates = [one for one in containers if one.sandbox in known]
    matching = _matching(wanted.container, candidates)
    if not matching:
        names = sorted({one.name for one in candidates})
        hint = in_brackets(did_you_mean(wanted.container, names))
        raise BadInputError(
            f"cri:{shown(wanted.text)}: there is no such container{hint}: crictl ps --all lists"
            " those of this node"
        )
    if len({one.sandbox for one in matching}) > 1 or len({one.name for one in matching}) > 1:
        raise BadInputError(
            f"cri:{shown(wanted.text)}: {len(matching)} containers are called so: name the pod,"
            " too, or give the id in full"
        )
    chosen = matching[-1]
    sandbox = known[chosen.sandbox]
    if not sandbox.is_ready:
        raise BadInputError(
            f"cri:{shown(wanted.text)}: the pod {sandbox.words} has ended: judge it while it runs"
        )
    return (ChosenPod(sandbox, (chosen,), is_whole=False),)


def _pods(wanted: Selection, sandboxes: Sequence[PodSandbox]) -> list[PodSandbox]:
    """The pods that are named, all of them if none is; never none."""
    if wanted.label is not None:
        name, value = wanted.label
        found = [one for one in sandboxes if one.labels.get(name) == value]
    elif wanted.pod:
        found = list(_called(wanted.pod, sandboxes))
    else:
        found = list(sandboxes)
    if not found:
        names = [f"{one.namespace}/{one.name}" for one in sandboxes]
        hint = in_brackets(did_you_mean(wanted.pod, names)) if wanted.pod else ""
        raise BadInputError(
            f"cri:{shown(wanted.text)}: there is no such pod on this node{hint}: crictl pods lists"
            " them"
        )
    if wanted.pod and len({(one.namespace, one.name) for one in found}) > 1:
        raise BadInputError(
            f"cri:{shown(wanted.text)}: {len(found)} pods are called so: write pod=NAMESPACE/NAME,"
            " or give the id in full"
        )
    return found


def _called(text: str, sandboxes: Iterable[PodSandbox]) -> Iterator[PodSandbox]:
    for one in sandboxes:
        names = (one.id, f"{one.namespace}/{one.name}", one.name)
        if text in names or _begins(one.id, text):
            yield one


def _begins(identifier: str, text: str) -> bool:
    return len(text) >= _LEAST_OF_ID and identifier.startswith(text)


def _matching(text: str, containers: Sequence[PodContainer]) -> list[PodContainer]:
    exact = [one for one in containers if text in {one.id, one.name}]
    return exact or [one for one in containers if _begins(one.id, text)]


def _of(sandbox: PodSandbox, containers: Iterable[PodContainer]) -> Iterator[PodContainer]:
    """The containers of a pod: of those that were started again and again the newest."""
    newest = {one.name: one for one in containers if one.sandbox == sandbox.id}
    yield from newest.values()
