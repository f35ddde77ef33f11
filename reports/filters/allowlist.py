"""A policy's filter in the forms that others load: OCI profile, program, C, unit of systemd. Pure.

Sources: the OCI runtime-spec (config-linux.md, seccomp), whose form docker, podman, cri-o and
containerd read alike; the SeccompProfile v1beta1 of the Security Profiles Operator;
``include/uapi/linux/filter.h`` for C.
"""

import json
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.documents.policy import Policy
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bdd import TooLargeError
from probes.filters.conditions import AnyOf, Outside, Restriction, Where
from probes.targets import builtin
from probes.text import visible
from reports.filters import drop_in
from reports.filters.argument_rules import OciRule, Rules, as_oci, rules
from reports.filters.drop_in import DropIn


class ExportFormat(StrEnum):
    """The forms of an exported filter."""

    OCI = "oci"
    BPF = "bpf"
    C = "c"
    SPO = "spo"
    SYSTEMD = "systemd"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The filter that is exported: of which policy, under which profile, for which ABIs.

    Attributes:
        policy: what the filter restricts.
        profile: what it does about a call that is not allowed.
        arches: the ABIs that it knows, all of one machine.
    """

    policy: Policy
    profile: Profile
    arches: tuple[Arch, ...]


def export(request: ExportRequest, form: ExportFormat) -> str | bytes:
    """The filter in one of the forms; equal requests give equal bytes.

    Raises:
        BadInputError: the form cannot express the request.
    """
    if form is ExportFormat.BPF:
        return bpf.to_bytes(_program(request), big_endian=request.arches[0].big_endian)
    if form is ExportFormat.C:
        return c_header(request)
    if not _in_profiles(request.arches):
        names = ", ".join(arch.name for arch in request.arches)
        raise BadInputError(
            f"--format {form}: libseccomp, and so a profile, has no {names}: name others by --arch "
            f"or take --format bpf"
        )
    if form is ExportFormat.SYSTEMD:
        return drop_in.render(_drop_in(request))
    return oci_json(request) if form is ExportFormat.OCI else spo_yaml(request)


def notes(request: ExportRequest, form: ExportFormat) -> tuple[str, ...]:
    """Where the form falls short of the policy, a sentence each."""
    if form in {ExportFormat.BPF, ExportFormat.C}:
        return ()
    if form is ExportFormat.SYSTEMD:
        return (*drop_in.notes(_drop_in(request)), *_lacking(request), *_carried(request))
    returns = request.profile.returns
    foreign = FilterReturn(Action.KILL_THREAD)
    found = [f"libseccomp answers {foreign}, not {returns}, to architectures that are not named"]
    if not returns.action.reaches_kernel:
        found.append(
            f"runc, unlike crun, answers ERRNO(ENOSYS), not {returns}, to numbers above the "
            f"highest one that the profile names and its libseccomp knows"
        )
    return (*found, *_lacking(request), *_carried(request), *_stricter(request))


def _lacking(request: ExportRequest) -> Iterator[str]:
    """The ABIs that no profile can name."""
    lacking = [arch.name for arch in request.arches if not arch.scmp]
    if lacking:
        yield (
            f"libseccomp has no {', '.join(lacking)}: the profile does not name it, and what "
            f"enters by it gets {FilterReturn(Action.KILL_THREAD)}"
        )


def _carried(request: ExportRequest) -> Iterator[str]:
    """The calls that stay open for what they carry."""
    return _multiplexed(restricted_names(request.policy), _in_profiles(request.arches))


def _drop_in(request: ExportRequest) -> DropIn:
    arches = _in_profiles(request.arches)
    allowed = allowed_names(request.policy.names, arches)
    return DropIn(request.policy, request.profile, arches, allowed, _headline(request))


def _in_profiles(arches: Sequence[Arch]) -> tuple[Arch, ...]:
    """The ABIs that a profile can name."""
    return tuple(arch for arch in arches if arch.scmp)


def _program(request: ExportRequest) -> bpf.Program:
    return builtin.build(request.policy, request.arches, request.profile)


_SUBCALLS: Final = {
    "ipc": "msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget",
    "socketcall": (
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom "
        "recvmmsg recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketpair"
    ),
}
"""What a call carries for others; libseccomp opens it for each that is allowed (syscalls.c)."""


def _multiplexed(documented: Collection[str], arches: Sequence[Arch]) -> Iterator[str]:
    listed = set(allowed_names(documented, arches))
    for carrier, subcalls in _SUBCALLS.items():
        where = [arch.name for arch in arches if arch.number(carrier) is not None]
        opened = [name for name in subcalls.split() if name in listed]
        if carrier in documented and where and opened:
            yield (
                f"the policy restricts {carrier}, but on {', '.join(where)} libseccomp opens it "
                f"for what it carries and the policy allows ({', '.join(opened)}): only a raw "
                f"program (--format bpf) keeps it shut"
            )


def allowed_names(documented: Collection[str], arches: Sequence[Arch]) -> tuple[str, ...]:
    """Every call that some of the ABIs has and that the policy does not document, by name.

    A name stands for the call on every ABI. Runtimes skip the names that their libseccomp does
    not know yet, so none is left out for the sake of an older one.
    """
    return tuple(sorted({name for arch in arches for name in arch.numbers} - set(documented)))


def oci_profile(request: ExportRequest) -> dict[str, object]:
    """The profile as the runtime-spec's ``linux.seccomp`` has it."""
    allowed = allowed_names(request.policy.names, _in_profiles(request.arches))
    head: dict[str, object] = {"defaultAction": request.profile.returns.action.scmp}
    if request.profile.returns.action is Action.ERRNO:
        head["defaultErrnoRet"] = request.profile.returns.data
    return head | {
        # Not Docker's archMap: containerd and runc read this form only, everybody else both.
        "architectures": [arch.scmp for arch in _in_profiles(request.arches)],
        "syscalls": [
            {"names": list(allowed), "action": Action.ALLOW.scmp},
            *map(_rule_as_oci, argument_rules_of(request)),
        ],
    }


@dataclass(frozen=True, slots=True)
class CallRules:
    """The rules for one call for which its arguments decide, or that has an errno of its own.

    Attributes:
        name: the call.
        returns: what they answer.
        found: for which arguments.
    """

    name: str
    returns: FilterReturn
    found: Rules


def argument_rules_of(request: ExportRequest) -> tuple[tuple[CallRules, OciRule], ...]:
    """Every rule of a profile besides the one for what is allowed always.

    Raises:
        BadInputError: a profile cannot say what the policy does.
    """
    return tuple((one, rule) for one in _call_rules(request) for rule in one.found.rules)


def _rule_as_oci(pair: tuple[CallRules, OciRule]) -> dict[str, object]:
    one, rule = pair
    said: dict[str, object] = {"names": [one.name], "action": one.returns.action.scmp}
    if one.returns.action is Action.ERRNO:
        said["errnoRet"] = one.returns.data
    return said | ({"args": as_oci(rule)} if rule else {})


def _call_rules(request: ExportRequest) -> Iterator[CallRules]:
    special = (call.name for call in request.policy.calls if call.args or call.errno)
    for name in dict.fromkeys(special):
        named = _in_profiles(request.arches)
        where = [arch for arch in named if arch.number(name) is not None]
        for returns, sets in _answers(request, name, where).items():
            if returns == request.profile.returns or not sets:
                continue
            try:
                found = rules(sets)
            except TooLargeError:
                found = None
            if found is None:
                names = ", ".join(arch.name for arch in where)
                raise BadInputError(
                    f"{request.policy.path}: no profile can say what the policy restricts of "
                    f"{name} on {names} together: export fewer ABIs at once (--arch), or a raw "
                    f"program (--format bpf)"
                )
            if found.rules:
                yield CallRules(name, returns, found)


def _answers(
    request: ExportRequest, name: str, where: Sequence[Arch]
) -> dict[FilterReturn, dict[Arch, Where]]:
    """What a filter answers to a call, and for which arguments on each ABI."""
    entries = request.policy.entries(name)
    found: dict[FilterReturn, dict[Arch, Where]] = {}
    for arch in where:
        by_answer: dict[FilterReturn, list[Restriction]] = {}
        for call in entries:
            answer = call.returns(request.profile, arch)[0]
            by_answer.setdefault(answer, []).append(call.restriction(arch))
        every = Outside(tuple(call.restriction(arch) for call in entries))
        found.setdefault(FilterReturn(Action.ALLOW), {})[arch] = every
        for answer, restrictions in by_answer.items():
            alone = restrictions[0] if len(restrictions) == 1 else AnyOf(tuple(restrictions))
            found.setdefault(answer, {})[arch] = alone
    if not entries[0].args:
        found.pop(FilterReturn(Action.ALLOW), None)
    return found


def _stricter(request: ExportRequest) -> Iterator[str]:
    """Where a profile refuses more than the policy asks for."""
    for one in _call_rules(request):
        if one.found.stricter and one.returns.action is Action.ALLOW:
            yield (
                f"on {', '.join(one.found.stricter)} libseccomp compares 32 bits of each argument: "
                f"{one.name} is refused there also with bits above which the policy allows"
            )


def restricted_names(policy: Policy) -> tuple[str, ...]:
    """The calls that a policy restricts whatever the arguments."""
    return tuple(name for name in policy.names if not policy.entries(name)[0].args)


def oci_json(request: ExportRequest) -> str:
    """The profile as a file for docker, podman and Kubernetes."""
    return json.dumps(oci_profile(request), indent=2) + "\n"


_SPO_LACKS: Final = frozenset({"SCMP_ARCH_LOONGARCH64"})
"""What SeccompProfile's enumeration of architectures has not got."""


def spo_yaml(request: ExportRequest) -> str:
    """The profile as a SeccompProfile for the Security Profiles Operator.

    Raises:
        BadInputError: the operator does not know an architecture.
    """
    for arch in request.arches:
        if arch.scmp in _SPO_LACKS:
            raise BadInputError(
                f"--format spo: the Security Profiles Operator has no {arch.name}: leave it out "
                f"of --arch or take another format"
            )
    # SeccompProfile has no defaultErrnoRet; without one, runtimes answer EPERM, the profile's own.
    arches = _in_profiles(request.arches)
    names = allowed_names(request.policy.names, arches)
    return "\n".join(
        (
            *(f"# {line}" for line in _headline(request)),
            "apiVersion: security-profiles-operator.x-k8s.io/v1beta1",
            "kind: SeccompProfile",
            "metadata:",
            f"  name: {_label(request)}",
            "spec:",
            f"  defaultAction: {request.profile.returns.action.scmp}",
            "  architectures:",
            *(f"    - {arch.scmp}" for arch in arches),
            "  syscalls:",
            f"    - action: {Action.ALLOW.scmp}",
            "      names:",
            *(f"        - {json.dumps(name)}" for name in names),
            *(line for pair in argument_rules_of(request) for line in _rule_as_yaml(*pair)),
            "",
        )
    )


def _rule_as_yaml(one: CallRules, rule: OciRule) -> Iterator[str]:
    """A rule of a SeccompProfile: since release 0.8.1 its errno is a number, as in runtimes."""
    yield f"    - action: {one.returns.action.scmp}"
    yield "      names:"
    yield f"        - {json.dumps(one.name)}"
    if one.returns.action is Action.ERRNO:
        yield f"      errnoRet: {one.returns.data}"
    if rule:
        yield "      args:"
    for said in as_oci(rule):
        first, *others = said.items()
        yield f"        - {first[0]}: {first[1]}"
        yield from (f"          {key}: {value}" for key, value in others)


_LONGEST_LABEL: Final = 63


def _label(request: ExportRequest) -> str:
    """A name that Kubernetes takes: lower-case letters, digits and inner hyphens."""
    stem = re.sub("[^a-z0-9]+", "-", request.policy.name.lower()).strip("-") or "policy"
    ending = f"-{request.profile.value}"
    return json.dumps(stem[: _LONGEST_LABEL - len(ending)].rstrip("-") + ending)


def _headline(request: ExportRequest) -> tuple[str, ...]:
    """Where an exported file comes from, for its readers."""
    return (
        "Made by syscall-conformance: do not edit, export it again.",
        visible(f"Policy {request.policy.name}, SHA-256 {request.policy.sha256}"),
        f"Profile {request.profile.value}; {', '.join(arch.name for arch in request.arches)}",
    )


def c_header(request: ExportRequest) -> str:
    """The program as a C11 header, with the meaning of each instruction beside it."""
    program = _program(request)
    name = _identifier(request)
    mnemonics = bpf.disassemble(program).splitlines()
    titles = _block_titles(request.arches)
    lines = []
    for instruction, mnemonic in zip(program, mnemonics, strict=True):
        if instruction.code == bpf.JEQ and instruction.k in titles:
            lines.append(f"    /* {titles[instruction.k]} */")
        jumps = f"{instruction.jt}, {instruction.jf}"
        item = f"{{{instruction.code:#04x}, {jumps}, {instruction.k:#010x}}}"
        lines.append(f"    {item + ',':<30} /* {mnemonic}{_meaning(instruction)} */")
    about = [
        *_headline(request),
        "",
        *textwrap.wrap(
            f"Install it with seccomp(2) or prctl(2): {name} is the filter of a struct "
            f"sock_fprog, {name.upper()}_LENGTH its len. Jump targets are instruction numbers.",
            90,
        ),
    ]
    guard = f"{name.upper()}_H"
    return "\n".join(
        (
            "/*",
            *(f" * {_uncommented(line)}".rstrip() for line in about),
            " */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <linux/filter.h>",
            "",
            f"#define {name.upper()}_LENGTH {len(program)}",
            "",
            f"static const struct sock_filter {name}[{name.upper()}_LENGTH] = {{",
            *lines,
            "};",
            "",
            "#endif",
            "",
        )
    )


def _identifier(request: ExportRequest) -> str:
    stem = re.sub("[^a-z0-9]+", "_", request.policy.name.lower()).strip("_") or "policy"
    # A digit may not come first.
    return f"{'policy_' if stem[0].isdigit() else ''}{stem}_{request.profile.value}_filter"


def _block_titles(arches: Sequence[Arch]) -> dict[int, str]:
    """What the block of each token is about."""
    names: dict[int, list[str]] = {}
    for arch in arches:
        names.setdefault(arch.audit_arch, []).append(arch.name)
    return {token: f"{', '.join(here)}: architecture {token:#x}" for token, here in names.items()}


def _meaning(instruction: bpf.Instruction) -> str:
    if instruction.code == bpf.RET_K:
        return f": {FilterReturn.decode(instruction.k)}"
    if instruction.code == bpf.LD_ABS:
        words = {bpf.OFFSET_ARCH: "the architecture", bpf.OFFSET_NR: "the number"}
        index = (instruction.k - bpf.OFFSET_ARGS) // _REGISTER_BYTES
        return f": {words.get(instruction.k, f'half of argument {index}')}"
    return ""


_REGISTER_BYTES: Final = 8


def _uncommented(text: str) -> str:
    """The text without what would begin or end a comment."""
    return text.replace("*/", "* /").replace("/*", "/ *")
