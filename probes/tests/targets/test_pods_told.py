"""What is said of pods that run: of containers that ended, and of what nobody tells."""

import os
from dataclasses import replace
from typing import Any, Final

import pytest

from probes.cri import running
from probes.cri.messages import ContainerState, Details
from probes.cri.running import Found, Part
from probes.errors import BadInputError
from probes.finding import Finding, Weight
from probes.instrument.harvest import Harvest, ThreadFilters
from probes.targets import running_pods, sandbox_kernel
from probes.targets.oci.reader import Runtime
from probes.targets.stack import FilterStack

PROCESS: Final = Harvest(os.getpid(), "app", (ThreadFilters(os.getpid(), "app", (), ()),))
REFUSING: Final = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
SANDBOX: Final = Details()


def part(name: str, *processes: Harvest, **told: Any) -> Part:  # noqa: ANN401 - any field
    """A container of a pod."""
    state = ContainerState.RUNNING if processes else ContainerState.EXITED
    return Part("shop/web", name, state, processes, Details(**told), SANDBOX)


def loaded(monkeypatch: pytest.MonkeyPatch, *parts: Part, settled: bool = True) -> FilterStack:
    found = Found("containerd", "2.1.9", parts, settled)
    monkeypatch.setattr(running, "find", lambda *_: found)
    return running_pods.load("pod=shop/web", "", (6, 0))


def limits(found: FilterStack) -> list[Finding]:
    return [one for one in found.findings if one.weight is Weight.LIMITS]


def test_one_that_has_ended_and_of_which_nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    (limit,) = limits(loaded(monkeypatch, part("app", PROCESS), part("setup")))
    assert (
        "container setup of the pod shop/web does not run, and its runtime does not" in limit.text
    )
    assert limit.about == "the container setup of shop/web"


def test_two_of_which_nobody_tells_are_two_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(monkeypatch, part("app", PROCESS), part("one"), part("two"))
    assert len({one.about for one in limits(found)}) == 2


def test_nothing_at_all_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match=r"no container of it runs, nor says which profile"):
        loaded(monkeypatch, part("setup"))


@pytest.mark.parametrize(
    ("linux", "count"), [({"seccomp": REFUSING}, 1), ({"seccomp": None}, 0), ({}, 0)]
)
def test_one_that_has_ended_is_judged_by_its_profile(
    linux: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = part("setup", specification={"ociVersion": "1.0", "linux": linux})
    found = loaded(monkeypatch, ended)
    assert len(found.programs) == count
    assert limits(found) == []
    assert "does not run" in " ".join(map(str, found.findings))


def test_a_profile_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NEW"}}}
    found = loaded(monkeypatch, part("app", PROCESS), part("setup", specification=wrong))
    (limit,) = limits(found)
    assert "its profile cannot be compiled: its profile: " in limit.text


def test_containers_that_keep_changing(monkeypatch: pytest.MonkeyPatch) -> None:
    (limit,) = limits(loaded(monkeypatch, part("app", PROCESS), settled=False))
    assert limit.about == "processes that come and go"


def test_a_sandbox_with_a_kernel_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_kernel, "of_process", lambda _: "Kata Containers")
    (limit,) = limits(loaded(monkeypatch, part("app", PROCESS)))
    assert limit.everything
    assert "Kata Containers is the sandbox of container app of the pod shop/web" in limit.text


CONTEXTS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "privileged": ({"privileged": True}, "is privileged: its runtime gives it no filter"),
    "no field": ({}, "was made without a seccomp field"),
    "a field": ({"seccomp": {"profile_type": 1}}, ""),
    "the old field": ({"seccomp_profile_path": "runtime/default"}, ""),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_what_the_fields_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context, words = CONTEXTS[name]
    asked = part("app", PROCESS, request={"linux": {"security_context": context}})
    told = [one.text for one in loaded(monkeypatch, asked).findings if "seccomp field" in one.text]
    assert bool(told) is bool(words)
    assert all(words in one for one in told)


READERS: Final = {
    ("containerd", ""): Runtime.RUNC,
    ("containerd", "/usr/bin/crun"): Runtime.CRUN,
    ("cri-o", ""): Runtime.CRUN,
    ("cri-o", "runc"): Runtime.RUNC,
}


@pytest.mark.parametrize("case", READERS, ids=str)
def test_who_compiles_a_profile(case: tuple[str, str]) -> None:
    name, program = case
    found = replace(Found("", "", (), settled=True), runtime=name)
    reader = running_pods._reader(Details(options={"BinaryName": program}), found)
    assert reader.runtime.name is READERS[case]
