"""Which processes belong to a container: by the names of control groups, and by pid namespaces."""

import pytest

from probes.cri import membership
from probes.cri.membership import Whereabouts

ONE, OTHER = "1" * 64, "2" * 64
HOST, OWN = "pid:[1]", "pid:[2]"

# As kubelet and runtimes name them: cgroupfs and systemd, containerd and CRI-O.
NAMES = {
    "cgroupfs": ("kubepods", "besteffort", "pod0f", ONE),
    "containerd with systemd": ("kubepods.slice", f"cri-containerd-{ONE}.scope"),
    "CRI-O with systemd": ("kubepods.slice", f"crio-{ONE}.scope"),
    "CRI-O with cgroupfs": ("kubepods", f"crio-{ONE}"),
    "ctr": ("default", ONE),
    "below": ("kubepods", ONE, "init.scope"),
    "seen from another namespace": ("..", "..", ONE),
    "Kata Containers": (f"kata_{ONE}",),
}
STRANGE = {
    "another": ("kubepods", OTHER),
    "CRI-O's monitor": (f"crio-conmon-{ONE}.scope",),
    "only the beginning": (ONE[:63],),
    "more than the id": (f"{ONE}2",),
    "the pod": ("kubepods", "pod0f"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_process_of_the_container(names: tuple[str, ...]) -> None:
    found = {7: Whereabouts(frozenset(names), HOST)}
    assert membership.members((ONE,), found, (HOST,)) == {ONE: (7,)}


@pytest.mark.parametrize("names", STRANGE.values(), ids=STRANGE)
def test_a_process_of_none(names: tuple[str, ...]) -> None:
    found = {7: Whereabouts(frozenset(names), HOST)}
    assert membership.members((ONE,), found, (HOST,)) == {ONE: ()}


def test_whoever_is_in_the_pid_namespace_belongs_to_it() -> None:
    found = {
        9: Whereabouts(frozenset({"elsewhere"}), OWN),
        7: Whereabouts(frozenset({ONE}), OWN),
        5: Whereabouts(frozenset({OTHER}), OWN),
        3: Whereabouts(frozenset({"elsewhere"}), HOST),
        2: Whereabouts(frozenset({"elsewhere"}), ""),
    }
    assert membership.members((ONE, OTHER), found, (HOST,)) == {ONE: (7, 9), OTHER: (5,)}
    # Of a namespace that others use, too, only the control group tells.
    assert membership.members((ONE, OTHER), found, (HOST, OWN)) == {ONE: (7,), OTHER: (5,)}
