"""A policy's filter as a drop-in for a unit of systemd (systemd.exec(5), systemd.unit(5)). Pure.

systemd makes several programs of what is written: one for each ABI of the machine, and one that
kills what enters by an ABI that SystemCallArchitectures= leaves out. Seen of 252, 257 and 262:

* to what no list names an allow list of 252 answers SystemCallErrorNumber=, later ones ENOSYS where
  their @known does not have it by itself: the calls of @obsolete, which is in it, get ENOSYS, too.
  So the errno of the rest is ENOSYS here, which is the same in all of them, and each restricted
  call stands there with its own answer.
* 252 does not start a unit of whose list an entry answers what the rest gets (228/SECCOMP): such
  a call is taken off the list of what is allowed.
* @default is always allowed, so that leaving a call of it out does not restrict it; naming it does.
* ``log`` has an option of its own, SystemCallLog=, whose ``~`` records all but what follows.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from probes.action import Action, Profile, errno_name, errno_number
from probes.arch import Arch
from probes.documents.policy import Policy
from probes.errors import BadInputError

_WIDTH: Final = 100

_REST: Final = "ENOSYS"
"""The errno of all that is neither allowed nor restricted by name."""

_ARCHITECTURES: Final = {
    "SCMP_ARCH_X86_64": "x86-64",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_X86": "x86",
    "SCMP_ARCH_AARCH64": "arm64",
    "SCMP_ARCH_ARM": "arm",
    "SCMP_ARCH_PPC64LE": "ppc64-le",
    "SCMP_ARCH_PPC64": "ppc64",
    "SCMP_ARCH_PPC": "ppc",
    "SCMP_ARCH_S390X": "s390x",
    "SCMP_ARCH_S390": "s390",
    "SCMP_ARCH_RISCV64": "riscv64",
    "SCMP_ARCH_LOONGARCH64": "loongarch64",
    "SCMP_ARCH_MIPSEL64": "mips64-le",
    "SCMP_ARCH_MIPSEL": "mips-le",
    "SCMP_ARCH_MIPSEL64N32": "mips64-le-n32",
}
"""What systemd calls the architectures of libseccomp."""


@dataclass(frozen=True, slots=True)
class DropIn:
    """What a drop-in is made of.

    Attributes:
        policy: what is restricted.
        profile: what is done about it.
        arches: the ABIs that stay open, each of which libseccomp knows.
        allowed: the calls that are not restricted.
        headline: where the file comes from, a line each.
    """

    policy: Policy
    profile: Profile
    arches: tuple[Arch, ...]
    allowed: tuple[str, ...]
    headline: tuple[str, ...]


_HOW_TO: Final = (
    "A drop-in for a unit of systemd: put it into /etc/systemd/system/UNIT.d/ as a file whose name"
    " ends with .conf, and say systemctl daemon-reload and systemctl restart UNIT. The section is"
    " that of a service; a socket's, a mount's and a swap's is called after them."
)


def notes(one: DropIn) -> tuple[str, ...]:
    """What systemd cannot say, or says otherwise than the policy, a sentence each."""
    returns = one.profile.returns
    foreign = (
        f"to what enters by an ABI that is not named systemd answers KILL_THREAD, not {returns};"
        " where every ABI of the machine is named, it has no rule about others, by which no process"
        " there can enter"
    )
    unfiltered = "a command that the unit starts with + (ExecStart=+...) gets no filter at all"
    if one.profile is Profile.LOG:
        own = (
            "what else the unit has, such as a SystemCallFilter= of its own, stays in force, and"
            " may keep a call from running"
        )
        unknown = "calls that systemd's libseccomp does not know yet are recorded, too"
    else:
        own = "it takes the place of the unit's own SystemCallFilter=, also of a stricter one"
        unknown = (
            "calls that systemd or its libseccomp does not know yet, and numbers of no call, get"
            f" ERRNO({_REST}), not {returns}, so that programs fall back to older calls"
        )
    return (foreign, unknown, own, unfiltered)


def render(one: DropIn) -> str:
    """The file.

    Raises:
        BadInputError: systemd cannot express the policy.
    """
    _refuse_what_systemd_lacks(one)
    lines = [*one.headline, "", *_wrapped(_HOW_TO), ""]
    for note in notes(one):
        lines += _wrapped(f"- {note}", "  ")
    options = _log(one) if one.profile is Profile.LOG else _filter(one)
    return "\n".join(
        (
            *(f"# {line}".rstrip() for line in lines),
            "[Service]",
            *options,
            # An empty one makes systemd forget what the unit says itself.
            "SystemCallArchitectures=",
            f"SystemCallArchitectures={' '.join(_ARCHITECTURES[arch.scmp] for arch in one.arches)}",
            "",
        )
    )


def _filter(one: DropIn) -> Iterator[str]:
    yield "SystemCallFilter="
    yield from _assigned("SystemCallFilter=", one.allowed)
    answers = {name: _answer(one, name) for name in sorted(one.policy.names)}
    rest = [name for name, answer in answers.items() if answer == _REST]
    yield from _assigned(
        "SystemCallFilter=~", [f"{name}:{said}" for name, said in answers.items() if said != _REST]
    )
    yield from _assigned("SystemCallFilter=~", rest)
    yield f"SystemCallErrorNumber={_REST}"


def _log(one: DropIn) -> Iterator[str]:
    yield "SystemCallLog="
    yield from _assigned("SystemCallLog=~", one.allowed)


def _answer(one: DropIn, name: str) -> str:
    """What systemd is to do about a restricted call, as systemd writes it."""
    if one.profile.returns.action is Action.KILL_PROCESS:
        return "kill"
    own = one.policy.entries(name)[0].errno
    # Of several names for a number systemd need not know every one.
    number = errno_number(own[0], one.arches[0].machine) if own else one.profile.returns.data
    return errno_name(number)


def _assigned(option: str, words: Sequence[str]) -> Iterator[str]:
    """The option, set to some words, on as many lines as they take; none for no word.

    systemd adds what a later line says to what an earlier one did.
    """
    for line in textwrap.wrap(
        " ".join(words), _WIDTH - len(option), break_long_words=False, break_on_hyphens=False
    ):
        yield f"{option}{line}"


def _wrapped(text: str, hang: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH - 2, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    )


def _refuse_what_systemd_lacks(one: DropIn) -> None:
    for arch in one.arches:
        if arch.scmp not in _ARCHITECTURES:
            raise BadInputError(
                f"--format systemd: systemd has no {arch.name}: leave it out of --arch"
            )
    by_arguments = sorted({call.name for call in one.policy.calls if call.args})
    if by_arguments:
        raise BadInputError(
            f"{one.policy.path}: systemd does not look at arguments, on which depends what is"
            f" restricted of {', '.join(by_arguments)}: take another format, or restrict these"
            " calls whatever the arguments"
        )
