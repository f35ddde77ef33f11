"""Which pods and containers are meant: read, and chosen of what a runtime has."""

import pytest

from probes.cri import selection
from probes.cri.messages import ContainerState, PodContainer, PodSandbox
from probes.cri.selection import Selection
from probes.errors import BadInputError

WEB = PodSandbox("aaaa1111", "web", "shop", {"app": "web"}, is_ready=True)
SAME = PodSandbox("aaaa2222", "web", "test", {"app": "web"}, is_ready=True)
GONE = PodSandbox("bbbb3333", "old", "shop", {"app": "web"}, is_ready=False)
PODS = (WEB, SAME, GONE)
CONTAINERS = (
    PodContainer("c0000001", "app", WEB.id, ContainerState.EXITED, "i", 1),
    PodContainer("c0000002", "app", WEB.id, ContainerState.RUNNING, "i", 2),
    PodContainer("c0000003", "log", WEB.id, ContainerState.RUNNING, "i", 3),
    PodContainer("d0000004", "app", SAME.id, ContainerState.RUNNING, "i", 4),
    PodContainer("e0000005", "old", GONE.id, ContainerState.EXITED, "i", 5),
)

CHOSEN = {
    "pod=shop/web": {(WEB.id, "c0000002"), (WEB.id, "c0000003")},
    "pod=aaaa1": {(WEB.id, "c0000002"), (WEB.id, "c0000003")},
    "pod=test/web": {(SAME.id, "d0000004")},
    "pod=shop/web,container=log": {(WEB.id, "c0000003")},
    "container=d000": {(SAME.id, "d0000004")},
    "container=c0000001": {(WEB.id, "c0000001")},
    "label=app=web": {(WEB.id, "c0000002"), (WEB.id, "c0000003"), (SAME.id, "d0000004")},
}


@pytest.mark.parametrize(("text", "ids"), CHOSEN.items(), ids=CHOSEN)
def test_what_is_chosen(text: str, ids: set[tuple[str, str]]) -> None:
    """Of a container that was started anew the newest counts, unless its id is said."""
    assert selection.is_selection(text)
    chosen = selection.choose(selection.read(text), PODS, CONTAINERS)
    assert {(pod.sandbox.id, one.id) for pod in chosen for one in pod.containers} == ids
    assert all(pod.is_whole is ("container=" not in text) for pod in chosen)


REFUSED = {
    "pod=web": "2 pods are called so: write pod=NAMESPACE/NAME",
    "pod=shop/old": "the pod shop/old has ended: judge it while it runs",
    "container=old": "the pod shop/old has ended",
    "container=app": "3 containers are called so: name the pod",
    "container=c00": "there is no such container",
    "container=c0000": "2 containers are called so|3 containers are called so",
    "pod=aaa": "there is no such pod",
    "label=app=db": "there is no such pod",
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_chosen(text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        selection.choose(selection.read(text), PODS, CONTAINERS)


@pytest.mark.parametrize(
    "text", ["pod=", "pod", "pod=a,pod=b", "pod=a,image=b", "label=x", "label=a=b,pod=c", "pod=a,"]
)
def test_words_that_mean_nothing(text: str) -> None:
    with pytest.raises(BadInputError, match="cri:"):
        selection.read(text)


@pytest.mark.parametrize("image", ["alpine", "pod:1", "registry:5000/pod/container@sha256:0"])
def test_an_image_is_no_selection(image: str) -> None:
    assert not selection.is_selection(image)


def test_a_selection_of_a_container_in_a_pod() -> None:
    assert selection.read("pod=a/b,container=c") == Selection("pod=a/b,container=c", "a/b", "c")
