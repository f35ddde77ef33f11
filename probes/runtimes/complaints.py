"""What a runtime says when it refuses: which lines are the error, and what they mean. Pure.

A runtime's output has more than its error: warnings, notes, what it does meanwhile. And an error
has more than its reason: images, paths and names that a user chose, which may be any word.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

_LEVEL: Final = re.compile(
    r"""\blevel=["']?(?:warn|warning|info|debug|trace)\b|^(?:WARN|INFO|DEBU|TRAC)\[\d+\]"""
    r"""|["']level["']\s*:\s*["'](?:warn|warning|info|debug|trace)["']|^(?:WARN|WARNING|Warning):"""
)
"""A line that is no error: of Go's logrus, in its three ways of writing, and of docker itself."""

_ERROR: Final = re.compile(
    r"""^(?:\w[\w.-]*: )?error\b|\blevel=["']?(?:error|fatal|panic)\b|^(?:ERRO|FATA|PANI)\[\d+\]"""
    r"""|["']level["']\s*:\s*["'](?:error|fatal|panic)["']""",
    re.IGNORECASE,
)
"""A line that says of itself that it is one."""

_ADVICE: Final = ("See '", "Run '", "Usage:")
"""How docker and podman begin the lines by which they point to their help."""

_PATH: Final = re.compile(r"(?<![\w:/.])/(?!sys/fs/cgroup|proc/|dev/)[^\s:\"'`,;]+")
"""A path, but one of those of the kernel, whose names mean what they say."""

_SHORTEST: Final = 3
"""The least length of a user's word that is looked for; shorter ones stand in too many others."""

# What a runtime says, in lower case, and what is to be done about it.
_HINTS: Final[Sequence[tuple[tuple[str, ...], str]]] = (
    (
        ("permission denied while trying to connect", "docker.sock: connect: permission denied"),
        "its daemon refuses this user: run the suite as root",
    ),
    (
        (
            *("unknown flag", "unknown option", "unknown shorthand flag", "unrecognized option"),
            "flag provided but not defined",
        ),
        "it does not know an option: check --runtime-arg",
    ),
    (
        ("cannot connect to", "error during connect", "is the docker daemon running"),
        "its daemon cannot be reached: start it, or say where it is (DOCKER_HOST)",
    ),
    (
        ("failed to dial", "containerd.sock: connect: "),
        "its daemon cannot be reached: start it, or say where it is (--runtime-endpoint)",
    ),
    (
        (
            "unable to find image",
            "no such image",
            "image not known",
            "pull access denied",
            "manifest unknown",
            "did not resolve to an alias",
            "invalid reference format",
            "initializing source docker://",
            'ctr: image "',
        ),
        "there is no such image: check its name, or build, load or pull it first",
    ),
)
"""Each of these is the whole reason, whatever else is said; the first that fits counts."""

_REASONS: Final[Sequence[tuple[str, str]]] = (
    (
        r"c(?:ontrol )?groups?",
        "it has trouble with control groups, which depends on this machine's set-up",
    ),
    (
        r"[ru]limits?",
        "it may not set a resource limit: give lower ones (--runtime-arg=--ulimit=nofile=1024)",
    ),
    (r"seccomp", "it refuses the seccomp profile"),
    (
        r"networks?|netavark|slirp4netns|pasta|\bcni\b|netns",
        "it cannot give the container its network: leave --network out, for it changes no filter",
    ),
)
"""Words in an error, each with what it means.

An error is told from the outside to the inside, so the last such word names the reason.
"""


def errors(raw: bytes) -> list[str]:
    """The lines of an output that may say what went wrong: all but warnings and advice."""
    said = [line.strip() for line in raw.decode(errors="replace").splitlines()]
    lines = [line for line in said if line and not _LEVEL.search(line)]
    return [line for line in lines if not line.startswith(_ADVICE)]


def cause(lines: Sequence[str], command: Sequence[str]) -> str:
    """What an error means, and what is to be done; "" where that is not known.

    Args:
        lines: the error's.
        command: the command that was refused: its words are a user's, and mean nothing.
    """
    everything = "\n".join(lines).lower()
    for signs, meaning in _HINTS:
        if any(sign in everything for sign in signs):
            return meaning
    # What is an error by its own word, with what follows it.
    first = next((place for place, line in enumerate(lines) if _ERROR.search(line)), 0)
    text = "\n".join(lines[first:]).lower()
    text = _PATH.sub(" ", _without(text, command))
    found = [
        (match.end(), meaning) for word, meaning in _REASONS for match in re.finditer(word, text)
    ]
    return max(found)[1] if found else ""


def _without(text: str, command: Sequence[str]) -> str:
    for word in sorted(set(_chosen(command)), key=len, reverse=True):
        if any(re.fullmatch(reason, word) for reason, _ in _REASONS):
            continue  # by itself it may well be the runtime's
        text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", " ", text)
    return text


def _chosen(command: Sequence[str]) -> Iterator[str]:
    """What a user may have chosen of a command: its words, and the values in them."""
    for word in command:
        pieces = [word, *re.split(r"[=,]", word)[1:]]
        for piece in (piece.lower() for piece in pieces):
            if not piece.startswith("-") and len(piece) >= _SHORTEST:
                yield piece
                yield piece.rpartition("/")[2].partition(":")[0]
