"""The targets ``cri:pod=...``, ``cri:container=...`` and ``cri:label=...``: pods that run already.

Every process of every container is judged by what the kernel shows of it. A container that has
ended, as an init container has, shows nothing any more: there the profile is compiled that its
runtime says to have given it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from probes.cri import running, selection
from probes.cri import seccomp as fields
from probes.cri.messages import Details
from probes.cri.running import Found, Part
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.comparison import compare
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight, advice
from probes.targets import sandbox_kernel
from probes.targets.oci import compiler
from probes.targets.oci import profile as oci_profile
from probes.targets.oci.installed import installed
from probes.targets.oci.profile import UnconfinedError
from probes.targets.oci.reader import Engine, Reader, Release, Runtime, newest
from probes.targets.stack import LOG_FLAG, FilterStack, Origin
from probes.targets.threads import (
    alike,
    named,
    native,
    programs_of,
    together,
    told_apart,
)
from probes.text import shown

KIND: Final = "cri"

_Confinement = tuple[tuple[bytes, ...], tuple[bool, ...]]


def load(text: str, endpoint: str, kernel: tuple[int, int]) -> FilterStack:
    """Reads the filters of pods that run; they go on unchanged.

    Args:
        text: which are meant, such as ``pod=NAMESPACE/NAME``.
        endpoint: the runtime's socket; "" for the usual one.
        kernel: version and major revision of the kernel, for profiles of containers that have
            ended.

    Raises:
        BadInputError: there is no such pod, or it ends meanwhile, or this user may not read it.
        InstrumentError: something takes too long, or this kernel does not tell.
    """
    found = running.find(selection.read(text), endpoint)
    subject = f"{KIND}:{shown(text)}"
    ended = [_ended(one, found, kernel) for one in found.parts if not one.processes]
    stacks = list(_stacks(found.parts, [one for one in ended if one.confinement is not None]))
    if not stacks:
        raise BadInputError(
            f"{subject}: no container of it runs, nor says which profile it had: judge it while it"
            " runs"
        )
    whole = together(_description(subject, found), stacks, _findings(found, ended, stacks))
    version = f"{found.version} ({found.runtime})"
    return replace(whole, origin=Origin(KIND, version, shown(text), "", None))


def _description(subject: str, found: Found) -> str:
    pods = dict.fromkeys(one.pod for one in found.parts)
    return f"{named('pod', list(pods))} ({subject})"


@dataclass(frozen=True, slots=True)
class _Ended:
    """A container that shows no filters, for it does not run.

    Attributes:
        part: the container.
        confinement: what its profile compiles to; None where that cannot be told.
        why: what is to be said of it.
    """

    part: Part
    confinement: _Confinement | None
    why: str


def _stacks(parts: Sequence[Part], ended: Sequence[_Ended]) -> Iterator[FilterStack]:
    """What confines the containers' processes: each stack of filters once."""
    groups: dict[_Confinement, dict[str, list[str]]] = {}
    first: dict[_Confinement, _Confinement] = {}
    for part in parts:
        for process in part.processes:
            for which, threads in alike(process.threads).items():
                whole = len(threads) == len(process.threads)
                more = "" if whole else f", {named('thread', [str(one.tid) for one in threads])}"
                if which not in first:
                    first[which] = _same(which, groups)
                names = groups.setdefault(first[which], {}).setdefault(part.words, [])
                names.append(f"{process.pid} ({process.comm}{more})")
    for one in ended:
        if one.confinement is not None:
            which = _same(one.confinement, groups)
            groups.setdefault(which, {}).setdefault(one.part.words, [])
    for (raw, logged), containers in groups.items():
        words = "; ".join(
            f"{named('process', processes)} of the {container}"
            if processes
            else f"the {container}, which does not run"
            for container, processes in containers.items()
        )
        yield FilterStack(words, programs_of(raw), native(), logged=logged)


def _same(found: _Confinement, groups: Iterable[_Confinement]) -> _Confinement:
    """A confinement among others that is proved to do the same as one; it itself where none is.

    Releases of a runtime write the same rules in different ways, and runc even two containers of
    one profile: it puts the architectures of its own part in any order.
    """
    raw, logged = found
    for one in groups:
        read, flags = one
        alike = flags == logged and len(read) == len(raw) > 0
        if one == found or (alike and _do_the_same(read, raw)):
            return one
    return found


def _do_the_same(left: Sequence[bytes], right: Sequence[bytes]) -> bool:
    """Whether two stacks of filters are proved to do the same."""
    try:
        found = compare(programs_of(left), programs_of(right), big_endian=native().big_endian)
    except TooComplexError:  # then they are judged one by one
        return False
    return not found.differing


def _ended(part: Part, found: Found, kernel: tuple[int, int]) -> _Ended:
    """What a container had that does not run, as far as its runtime tells."""
    try:
        given = running.seccomp_of(part.details)
    except LookupError:
        return _Ended(part, None, "does not run, and its runtime does not say which profile it had")
    if given is None:
        return _Ended(part, ((), ()), "does not run, and had no profile")
    reader = _reader(part.details, found)
    try:
        made = _compiled(given, reader, kernel)
    except UnconfinedError:
        return _Ended(part, ((), ()), "does not run, and its profile is none")
    except BadInputError as error:
        return _Ended(part, None, f"does not run, and its profile cannot be compiled: {error}")
    return _Ended(
        part,
        made,
        "does not run: it is judged by the profile that its runtime gave it, compiled as"
        f" {reader.runtime} does, for the kernel shows the filters of processes alone",
    )


def _compiled(given: object, reader: Reader, kernel: tuple[int, int]) -> _Confinement:
    """The program of a profile as the OCI runtime got it.

    Raises:
        BadInputError: it cannot be compiled here.
        UnconfinedError: it is none.
    """
    source = oci_profile.parsed(json.dumps(given).encode(), "its profile")
    profile = oci_profile.decode(source, reader.dialect)
    resolved = compiler.resolve(profile, native(), frozenset(), kernel, reader)
    made = compiler.compile(resolved)
    (program,) = made.programs
    raw = bpf.to_bytes(program, big_endian=native().big_endian)
    return (raw,), ((True,) if LOG_FLAG in made.flags else (False,))


def _reader(details: Details, found: Found) -> Reader:
    """Who compiled a container's profile: the OCI runtime that the pod's runtime calls."""
    program = str(details.options.get("BinaryName", ""))
    is_crun = "crun" in program if program else "cri-o" in found.runtime.lower()
    runtime = Runtime.CRUN if is_crun else Runtime.RUNC
    return Reader(Release(Engine.BUNDLE), installed(runtime) or newest(runtime))


def _findings(
    found: Found, ended: Sequence[_Ended], stacks: Sequence[FilterStack]
) -> Iterator[Finding]:
    for one in ended:
        text = f"the {one.part.words} {one.why}"
        if one.confinement is None:
            about = f"the container {shown(one.part.name)} of {one.part.pod}"
            yield Finding(f"{text}: judge it while it runs", Weight.LIMITS, about)
        else:
            yield Finding(text)
    if not found.settled:
        yield Finding(
            "the containers and their processes kept changing while they were read, so that some"
            " may not be judged: run the suite again",
            Weight.LIMITS,
            "processes that come and go",
        )
    yield from _of_sandboxes(found)
    yield from advice(_of_fields(found.parts))
    yield from advice(told_apart(stacks))


def _of_sandboxes(found: Found) -> Iterator[Finding]:
    """Processes that run a sandbox with a kernel of its own."""
    kinds: dict[str, list[str]] = {}
    for part in found.parts:
        for process in part.processes:
            if kind := sandbox_kernel.of_process(process.pid):
                kinds.setdefault(kind, []).append(part.words)
    for kind, those in kinds.items():
        yield Finding(
            f"{kind} is the sandbox of {', '.join(dict.fromkeys(those))}: its own filter is there"
            " to protect the host, and is not what confines the programs in it: judge these from"
            " inside, with --target=ambient",
            Weight.LIMITS,
            f"the programs in {kind}",
            everything=True,
        )


def _of_fields(parts: Sequence[Part]) -> Iterator[str]:
    """What the seccomp fields say with which the containers were made."""
    for part in parts:
        if part.is_pause or part.details.request is None:
            continue
        context = _context(part.details.request)
        if context.get("privileged"):
            yield (
                f"the {part.words} is privileged: its runtime gives it no filter, whatever its"
                " seccomp field says"
            )
        elif "seccomp" not in context and not _old_field(context):
            pod = _sent_for(part.sandbox)
            yield (
                f"the {part.words} was made without a seccomp field, by a client of CRI that does"
                f" not merge: the pod's field ({fields.in_words(pod)}) is for the pause container"
                " alone; the kubelet merges, and leaves no field out"
            )


def _context(request: object) -> dict[str, object]:
    """The security context of a request, as a runtime repeats it; empty where it has none."""
    found = request
    for key in ("linux", "security_context"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _old_field(context: dict[str, object]) -> bool:
    """Whether the field of clients before Kubernetes 1.19 is there, which is a text."""
    return bool(context.get("seccomp_profile_path"))


def _sent_for(sandbox: Details) -> fields.SeccompField | None:
    written = _context(sandbox.request).get("seccomp")
    if not isinstance(written, dict):
        return None
    try:
        return fields.SeccompField.from_cri(written)
    except ValueError:  # of a newer CRI
        return None
