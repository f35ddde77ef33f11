"""The two seccomp fields of a pod: read, merged as the kubelet does, and passed on as they are."""

from itertools import product
from pathlib import Path

import pytest

from probes.cri import seccomp
from probes.cri.seccomp import (
    RUNTIME_DEFAULT,
    UNCONFINED,
    PodFields,
    ProfileType,
    SeccompField,
    Sent,
    localhost,
)
from probes.errors import BadInputError

FILE = localhost(Path("/p.json"))
FIELDS = (None, RUNTIME_DEFAULT, UNCONFINED, FILE)

# kubernetes 1.31, pkg/kubelet/kuberuntime/helpers_linux_test.go and security_context.go, by hand:
# the pod's field, the container's, seccompDefault, and what the container gets.
BY_HAND = {
    (None, None, False): UNCONFINED,
    (None, None, True): RUNTIME_DEFAULT,
    (RUNTIME_DEFAULT, None, False): RUNTIME_DEFAULT,
    (UNCONFINED, None, True): UNCONFINED,
    (FILE, None, False): FILE,
    (RUNTIME_DEFAULT, FILE, False): FILE,
    (FILE, RUNTIME_DEFAULT, False): RUNTIME_DEFAULT,
    (RUNTIME_DEFAULT, UNCONFINED, True): UNCONFINED,
    (None, FILE, True): FILE,
}


@pytest.mark.parametrize(("said", "gets"), BY_HAND.items(), ids=str)
def test_what_the_kubelet_sends(
    said: tuple[SeccompField | None, SeccompField | None, bool], gets: SeccompField
) -> None:
    pod, container, is_default = said
    sent = seccomp.as_kubelet(PodFields(pod, container, is_default))
    assert sent == Sent(RUNTIME_DEFAULT, gets)


@pytest.mark.parametrize(("pod", "container"), [*product(FIELDS, FIELDS)], ids=str)
def test_where_a_bare_client_would_differ_it_is_said(
    pod: SeccompField | None, container: SeccompField | None
) -> None:
    fields = PodFields(pod, container)
    assert seccomp.as_bare_client(fields) == Sent(pod, container)
    told = seccomp.differences(fields)
    assert bool(told) is (container is None)
    if container is None and pod is RUNTIME_DEFAULT:
        assert "sends RuntimeDefault; a client of CRI" in told
        assert "RuntimeDefault there, and for the container no field" in told


GIVEN = {
    "RuntimeDefault": RUNTIME_DEFAULT,
    "Unconfined": UNCONFINED,
    "Localhost=/p.json": FILE,
    "Localhost=/a=b": localhost(Path("/a=b")),
}


@pytest.mark.parametrize(("text", "field"), GIVEN.items(), ids=GIVEN)
def test_a_field_is_read(text: str, field: SeccompField) -> None:
    assert seccomp.read("pod-seccomp", text) == field
    assert str(field) == text


NONSENSE = {
    "runtimeDefault": r"no such profile \(did you mean RuntimeDefault\?\)",
    "": "no such profile",
    "Localhost": "Localhost takes a file, and no other does",
    "Localhost=": "Localhost takes a file",
    "Unconfined=/x": "Localhost takes a file",
    "Unconfined=": "Localhost takes a file",
}


@pytest.mark.parametrize(("text", "words"), NONSENSE.items(), ids=NONSENSE)
def test_what_is_no_field(text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=rf"^--runtime-arg --pod-seccomp={text}: {words}"):
        seccomp.read("pod-seccomp", text)


def test_numbers_are_those_of_cri() -> None:
    from cri_api.v1.api_pb2 import SecurityProfile  # noqa: PLC0415 - the oracle

    for kind in ProfileType:
        assert SeccompField(kind).number == SecurityProfile.ProfileType.Value(kind.value)


def test_what_a_runtime_repeats() -> None:
    """As containerd has it in JSON: what is 0 or empty is left out."""
    assert SeccompField.from_cri({}) == RUNTIME_DEFAULT
    assert SeccompField.from_cri({"profile_type": 1}) == UNCONFINED
    assert SeccompField.from_cri({"profile_type": 2, "localhost_ref": "/p.json"}) == FILE
    with pytest.raises(ValueError, match="9"):
        SeccompField.from_cri({"profile_type": 9})
