"""The two seccomp fields of a pod, and what becomes of them. Pure.

A pod has one for all of it, and each container may have its own. CRI knows no such inheritance:
its field of the sandbox is for the pause container alone, and a container whose field is left out
has no filter, unless the runtime is configured otherwise. It is the kubelet that merges.

Sources: kubernetes ``pkg/kubelet/kuberuntime/helpers.go`` (getSeccompProfile) and
``kuberuntime_sandbox.go``; containerd ``pkg/cri/server/container_create_linux.go``. The tests
hold containerd to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from probes.errors import BadInputError
from probes.text import did_you_mean, in_brackets, shown


class ProfileType(StrEnum):
    """The sort of a seccomp profile, as Kubernetes writes it."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    UNCONFINED = "Unconfined"
    LOCALHOST = "Localhost"


_BY_NUMBER: Final = (ProfileType.RUNTIME_DEFAULT, ProfileType.UNCONFINED, ProfileType.LOCALHOST)
"""The types by their numbers in CRI's SecurityProfile.ProfileType."""


@dataclass(frozen=True, slots=True)
class SeccompField:
    """The value of a seccomp field.

    Attributes:
        type: its sort.
        file: the profile of a Localhost one, by its absolute path; "" of any other.
    """

    type: ProfileType
    file: str = ""

    @property
    def number(self) -> int:
        """The type, as CRI has it."""
        return _BY_NUMBER.index(self.type)

    def __str__(self) -> str:
        """The field as the option takes it."""
        return f"{self.type}={self.file}" if self.file else str(self.type)

    @classmethod
    def from_cri(cls, written: Mapping[str, Any]) -> Self:
        """The field as a runtime repeats it in JSON, where what is 0 or empty is left out.

        Raises:
            ValueError: it is of a type that is not known.
        """
        number = written.get("profile_type", written.get("profileType", 0))
        if number not in range(len(_BY_NUMBER)):
            raise ValueError(number)
        return cls(_BY_NUMBER[number], str(written.get("localhost_ref", "")))


RUNTIME_DEFAULT: Final = SeccompField(ProfileType.RUNTIME_DEFAULT)
UNCONFINED: Final = SeccompField(ProfileType.UNCONFINED)


def localhost(file: Path) -> SeccompField:
    """The field that names a profile's file."""
    return SeccompField(ProfileType.LOCALHOST, str(file.absolute()))


def read(option: str, text: str) -> SeccompField:
    """Reads a field as the option takes it.

    Args:
        option: the option, for a sentence.
        text: ``RuntimeDefault``, ``Unconfined`` or ``Localhost=FILE``.

    Raises:
        BadInputError: it is none of these.
    """
    word, sign, file = text.partition("=")
    kinds = [one.value for one in ProfileType]
    if word not in kinds:
        hint = in_brackets(did_you_mean(word, kinds))
        raise BadInputError(
            f"--runtime-arg --{option}={shown(text)}: no such profile{hint}: it is"
            " RuntimeDefault, Unconfined or Localhost=FILE"
        )
    if (word == ProfileType.LOCALHOST) is not bool(file) or bool(sign) is not bool(file):
        raise BadInputError(
            f"--runtime-arg --{option}={shown(text)}: Localhost takes a file, and no other does:"
            " write Localhost=FILE, or leave = out"
        )
    return localhost(Path(file)) if file else SeccompField(ProfileType(word))


@dataclass(frozen=True, slots=True)
class PodFields:
    """What is said about a pod; None for a field that is left out.

    Attributes:
        pod: ``spec.securityContext.seccompProfile``.
        container: that of the container.
        is_default: whether the kubelet runs with ``seccompDefault``.
    """

    pod: SeccompField | None = None
    container: SeccompField | None = None
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client of CRI sends; None for a field that it leaves out.

    Attributes:
        sandbox: the field of the sandbox, which is for the pause container.
        container: the field of the container.
    """

    sandbox: SeccompField | None
    container: SeccompField | None


def as_kubelet(fields: PodFields) -> Sent:
    """What the kubelet sends: it leaves no field out.

    The container's own field counts, then the pod's, then ``seccompDefault``; the pause container
    gets the runtime's default whatever is said.
    """
    fallback = RUNTIME_DEFAULT if fields.is_default else UNCONFINED
    return Sent(RUNTIME_DEFAULT, fields.container or fields.pod or fallback)


def as_bare_client(fields: PodFields) -> Sent:
    """What a client sends that passes both fields on as they are."""
    return Sent(fields.pod, fields.container)


def in_words(field: SeccompField | None) -> str:
    """What a field comes to, in a sentence."""
    if field is None:
        return "no field, which most runtimes take for Unconfined"
    return str(field)


def differences(fields: PodFields) -> str:
    """What a bare client would get that the kubelet would not; "" where that is the same."""
    kubelet, bare = as_kubelet(fields), as_bare_client(fields)
    if bare.container == kubelet.container:
        return ""
    return (
        f"the kubelet merges the pod's seccomp field into the container's and sends"
        f" {in_words(kubelet.container)}; a client of CRI that sends the fields as they are would"
        f" confine the pause container alone: {in_words(bare.sandbox)} there, and for the container"
        f" {in_words(bare.container)}"
    )
