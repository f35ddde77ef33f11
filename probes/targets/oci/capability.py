"""Capabilities by name: those that the kernel has, and those that containers get."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError
from probes.text import did_you_mean, in_brackets, shown

CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Every capability by number: linux/capability.h of Linux 5.9 and later."""

PODMAN_CAPABILITIES: Final = frozenset(
    {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)
"""What a container of Podman has by default: containers/common ``pkg/config/default.go``."""

DOCKER_CAPABILITIES: Final = PODMAN_CAPABILITIES | {"CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"}
"""What a container of Docker has by default: moby ``daemon/pkg/oci/caps/defaults.go``."""

_CAPABILITY_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "all": frozenset(CAPABILITIES),
        "docker": DOCKER_CAPABILITIES,
        "none": frozenset(),
        "podman": PODMAN_CAPABILITIES,
    }
)


def capability_set(text: str) -> frozenset[str]:
    """The capabilities that a comma-separated list names.

    Args:
        text: names with or without ``CAP_``, in capitals or not; ``docker`` and ``podman`` stand
            for their default sets, ``all`` and ``none`` for what they say.

    Raises:
        BadInputError: a word is no capability.
    """
    found: set[str] = set()
    for word in text.split(","):
        if word.lower() in _CAPABILITY_WORDS:
            found |= _CAPABILITY_WORDS[word.lower()]
            continue
        name = f"CAP_{word.upper().removeprefix('CAP_')}"
        if name not in CAPABILITIES:
            hint = in_brackets(did_you_mean(name, CAPABILITIES))
            raise BadInputError(
                f"unknown capability '{shown(word)}'{hint}: name some of capabilities(7), or one "
                f"of {', '.join(_CAPABILITY_WORDS)}, separated by commas"
            )
        found.add(name)
    return frozenset(found)
