"""From the name of a target to the filters that it stands for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.documents import policy
from probes.errors import BadInputError
from probes.filters.bpf import Program
from probes.finding import Finding
from probes.runtimes.wanted import RUNTIMES, Start
from probes.targets import Origin, bpf_file, builtin
from probes.targets.name import BPF, BUILTIN, OCI, PID, POLICY, TargetName
from probes.targets.oci.reader import Asked
from probes.targets.stack import Stack
from probes.text import shown


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a target depends on besides its word.

    Attributes:
        policy: the policy of the builtin filter.
        profile: the builtin filter's profile.
        native: the native ABI of the machine that the filters are for.
        capabilities: the container's bounding set, for OCI profiles.
        kernel: version and major revision of the kernel, for OCI profiles.
        asked: who reads OCI profiles.
        arches: the ABIs that were asked for; empty for all of the machine.
        start: how containers are started.
        everything: whether calls that no policy documents are asked about, too.
    """

    policy: Path
    profile: Profile
    native: Arch
    capabilities: frozenset[str]
    kernel: tuple[int, int]
    asked: Asked = field(default_factory=Asked)
    arches: tuple[Arch, ...] = ()
    start: Start = field(default_factory=Start)
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A target's filters.

    Attributes:
        description: what a sentence calls them.
        programs: the filters, the oldest first, each as ``bpf.check`` accepts it; none of what is
            not confined.
        native: the native ABI of the machine that they are for.
        findings: what is to be said of the filters besides what they return.
        origin: the container that they are from; None where they are from none.
        logged: for each of the programs, by its place, whether it is installed with
            SECCOMP_FILTER_FLAG_LOG; () where none is.
        first: what a sentence calls the part of the target that these filters confine; "" where
            they confine all of it.
        further: the other parts, each with the filters that confine it.
    """

    description: str
    programs: tuple[Program, ...]
    native: Arch
    findings: tuple[Finding, ...] = ()
    origin: Origin | None = None
    logged: tuple[bool, ...] = ()
    first: str = ""
    further: "tuple[Opened, ...]" = ()

    @property
    def members(self) -> "tuple[Opened, ...]":
        """Each part by itself; the findings stand with the first."""
        if not self.further:
            return (self,)
        return (replace(self, description=self.first, first="", further=()), *self.further)


def open_target(name: TargetName, where: Surroundings) -> Opened:
    """Opens a target.

    Raises:
        BadInputError: its file or process is not what it must be.
        InstrumentError: the filters cannot be read here.
    """
    return _OPENERS[name.kind](name.argument, where)


def _builtin(path: Path, where: Surroundings) -> Opened:
    documented = policy.load(path, arch.all_names())
    arches = arch.offered_by(where.native.machine)
    program = builtin.build(documented, arches, where.profile)
    description = f"the builtin filter of {documented.name} ({where.profile.value})"
    return Opened(description, (program,), where.native)


def _policy(rest: str, where: Surroundings) -> Opened:
    return _builtin(Path(rest), where)


def _bpf(rest: str, where: Surroundings) -> Opened:
    names = rest.split(",")
    if not all(names):
        raise BadInputError(
            f"bpf:{shown(rest)}: a file name between the commas is empty: fill it in"
        )
    paths = [Path(name) for name in names]
    programs = bpf_file.load(paths, big_endian=where.native.big_endian)
    return Opened(shown(", ".join(names)), programs, where.native)


# What only one kind of target needs is imported with it: the main job, which an emulated processor
# starts within seconds, needs none of it.


def _oci(rest: str, where: Surroundings) -> Opened:
    from probes.targets.oci import target  # noqa: PLC0415 - see above

    def document() -> target.Document:
        documented = policy.load(where.policy, arch.all_names())
        arches = where.arches or arch.offered_by(where.native.machine)
        others = {name: None for one in arches for name in sorted(one.numbers)}
        return target.Document(
            documented.names,
            arches,
            tuple(name for name in others if name not in documented.names),
            where.everything,
        )

    found = target.judged(
        Path(rest),
        target.Container(where.native, where.capabilities, where.kernel),
        where.asked,
        document,
    )
    return Opened(
        found.description,
        found.compiled.programs,
        where.native,
        found.findings,
        logged=(found.is_logged,) * len(found.compiled.programs),
    )


def _pid(rest: str, where: Surroundings) -> Opened:
    try:
        pid = int(rest) if rest.isascii() and rest.isdigit() else 0
    except ValueError:  # Python's limit on the digits of a number
        pid = 0
    if pid <= 0:
        raise BadInputError(f"pid:{shown(rest)}: a process id is a whole number above 0")
    from probes.targets import process  # noqa: PLC0415 - see above

    _refuse_other_machines(f"pid:{rest}", where)
    found = process.load(pid)
    return _stacked(Opened(found.description, (), where.native, found.findings), found.stacks)


def _container(runtime: str) -> Callable[[str, Surroundings], Opened]:
    def opened(rest: str, where: Surroundings) -> Opened:
        from probes.targets import container as containers  # noqa: PLC0415 - see above

        _refuse_other_machines(f"{runtime}:{shown(rest)}", where)
        found = containers.load(where.start.wanted(runtime, rest))
        whole = Opened(found.description, (), where.native, found.findings, found.origin)
        return _stacked(whole, found.stacks)

    return opened


def _stacked(whole: Opened, stacks: Sequence[Stack]) -> Opened:
    """A target with the filters of its parts."""
    first, *others = stacks
    return replace(
        whole,
        programs=first.programs,
        logged=first.logged,
        first=first.description if others else "",
        further=tuple(
            Opened(one.description, one.programs, whole.native, logged=one.logged) for one in others
        ),
    )


def _refuse_other_machines(word: str, where: Surroundings) -> None:
    machine = arch.machine_here()
    if where.native.machine != machine:
        raise BadInputError(
            f"{word}: this machine is {machine}, so none of its processes has filters for "
            f"{where.native.name}: leave --arch out or name ABIs of {machine}"
        )


_OPENERS: Mapping[str, Callable[[str, Surroundings], Opened]] = MappingProxyType(
    {
        BUILTIN: lambda _argument, where: _builtin(where.policy, where),
        POLICY: _policy,
        BPF: _bpf,
        OCI: _oci,
        PID: _pid,
        **{runtime: _container(runtime) for runtime in RUNTIMES},
    }
)
