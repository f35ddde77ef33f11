"""Capabilities by name, against the kernel's header and the kernel itself."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import BadInputError
from probes.targets.oci.capability import (
    CAPABILITIES,
    DOCKER_CAPABILITIES,
    PODMAN_CAPABILITIES,
    capability_set,
)
from probes.tests.support.oracles import require


def test_the_names_are_the_kernel_headers() -> None:
    header = require("/usr/include/linux/capability.h", "linux-libc-dev")
    text = Path(header).read_text(encoding="utf-8")
    numbers = {
        int(number): name for name, number in re.findall(r"#define (CAP_\w+)\s+(\d+)\s*\n", text)
    }
    assert tuple(numbers[place] for place in range(len(numbers))) == CAPABILITIES


def test_this_kernel_has_no_more_than_are_known() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    assert last < len(CAPABILITIES)


def test_podmans_are_what_debian_ships() -> None:
    path = require("/usr/share/containers/containers.conf", "golang-github-containers-common")
    text = Path(path).read_text(encoding="utf-8")
    # Newer releases only say in a comment what is built in.
    found = re.search(r"^#?default_capabilities = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert {f"CAP_{name}" for name in re.findall(r'"(\w+)"', found[1])} == PODMAN_CAPABILITIES


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CAP_SYS_ADMIN", {"CAP_SYS_ADMIN"}),
        ("sys_admin", {"CAP_SYS_ADMIN"}),
        ("Cap_Bpf,kill", {"CAP_BPF", "CAP_KILL"}),
        ("docker", DOCKER_CAPABILITIES),
        ("podman,CAP_BPF", PODMAN_CAPABILITIES | {"CAP_BPF"}),
        ("none", set()),
        ("none,chown", {"CAP_CHOWN"}),
        ("ALL", set(CAPABILITIES)),
    ],
)
def test_lists(text: str, names: set[str]) -> None:
    assert capability_set(text) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown capability ''"),
        ("chown,", "unknown capability ''"),
        ("sysadmin", r"'sysadmin' \(did you mean CAP_SYS_ADMIN\?\)"),
        ("CAP_CAP_CHOWN", "unknown capability"),
        ("chown, kill", "unknown capability ' kill'"),
        ("a\nb", r"unknown capability 'a\\nb'"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        capability_set(text)


@pytest.mark.slow
@given(text=st.text(max_size=30))
def test_any_text_is_a_set_or_refused(text: str) -> None:
    try:
        assert capability_set(text) <= set(CAPABILITIES)
    except BadInputError as error:
        assert str(error).isprintable()  # noqa: PT017 - either is right
