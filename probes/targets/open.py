"""From the name of a target to the filters that it stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from probes import arch
from probes.action import Profile
from probes.arch import Arch
from probes.documents import policy
from probes.errors import BadInputError
from probes.finding import Finding
from probes.runtimes.known import RUNTIMES
from probes.runtimes.wanted import Start
from probes.targets import bpf_file, builtin
from probes.targets.name import BPF, BUILTIN, CRI, OCI, PID, POLICY, UNIT, TargetName, listed
from probes.targets.oci.reader import AskedReaders
from probes.targets.stack import FilterStack
from probes.text import shown


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The inputs that opening a target needs besides the word of ``--target``.

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
    asked: AskedReaders = field(default_factory=AskedReaders)
    arches: tuple[Arch, ...] = ()
    start: Start = field(default_factory=Start)
    everything: bool = False


def open_target(name: TargetName, where: Surroundings) -> FilterStack:
    """Opens a target.

    Raises:
        BadInputError: its file or process is not what it must be.
        InstrumentError: the filters cannot be read here.
    """
    return _OPENERS[name.kind](name.argument, where)


def _builtin(path: Path, where: Surroundings) -> FilterStack:
    documented = policy.load(path, arch.all_names())
    arches = arch.offered_by(where.native.machine)
    program = builtin.build(documented, arches, where.profile)
    description = f"the builtin filter of {documented.name} ({where.profile.value})"
    return FilterStack(description, (program,), where.native)


def _policy(rest: str, where: Surroundings) -> FilterStack:
    return _builtin(Path(rest), where)


def _listed(kind: str, rest: str) -> tuple[str, ...]:
    names = listed(rest)
    if not all(names):
        raise BadInputError(
            f"{kind}:{shown(rest)}: a file name between the commas is empty: fill it in"
        )
    return names


def _bpf(rest: str, where: Surroundings) -> FilterStack:
    names = _listed(BPF, rest)
    paths = [Path(name) for name in names]
    loaded = bpf_file.load(paths, big_endian=where.native.big_endian)
    findings = tuple(
        Finding(
            f"{shown(path)}: the snap is unrestricted, and snap-confine installs no filter for it"
        )
        for path in loaded.unrestricted
    )
    return FilterStack(
        shown(", ".join(names)),
        loaded.programs,
        where.native,
        findings,
        logged=loaded.logged,
        written=loaded.written,
    )


# What only one kind of target needs is imported with it: the main job, which an emulated processor
# starts within seconds, needs none of it.


def _oci(rest: str, where: Surroundings) -> FilterStack:
    from probes.targets import oci_file  # noqa: PLC0415 - see above

    def document() -> oci_file.Document:
        documented = policy.load(where.policy, arch.all_names())
        arches = where.arches or arch.offered_by(where.native.machine)
        others = {name: None for one in arches for name in sorted(one.numbers)}
        return oci_file.Document(
            documented.names,
            arches,
            tuple(name for name in others if name not in documented.names),
            where.everything,
        )

    return oci_file.load(
        [Path(name) for name in _listed(OCI, rest)],
        oci_file.ProfiledContainer(where.native, where.capabilities, where.kernel),
        where.asked,
        document,
    )


def _pid(rest: str, where: Surroundings) -> FilterStack:
    try:
        pid = int(rest) if rest.isascii() and rest.isdigit() else 0
    except ValueError:  # Python's limit on the digits of a number
        pid = 0
    if pid <= 0:
        raise BadInputError(f"pid:{shown(rest)}: a process id is a whole number above 0")
    from probes.targets import process  # noqa: PLC0415 - see above

    _refuse_other_machines(f"pid:{rest}", where)
    return process.load(pid)


def _unit(rest: str, where: Surroundings) -> FilterStack:
    from probes.targets import unit  # noqa: PLC0415 - see above

    _refuse_other_machines(f"unit:{shown(rest)}", where)
    return unit.load(rest)


def _container(runtime: str) -> Callable[[str, Surroundings], FilterStack]:
    def opened(rest: str, where: Surroundings) -> FilterStack:
        from probes.cri import selection  # noqa: PLC0415 - see above
        from probes.targets import started_container as containers  # noqa: PLC0415 - see above

        _refuse_other_machines(f"{runtime}:{shown(rest)}", where)
        if runtime == CRI and selection.is_selection(rest):
            return _running_pods(rest, where)
        return containers.load(where.start.wanted(runtime, rest))

    return opened


def _running_pods(rest: str, where: Surroundings) -> FilterStack:
    from probes.targets import running_pods  # noqa: PLC0415 - see above

    start = where.start
    if replace(start, endpoint="") != Start():
        raise BadInputError(
            f"{CRI}:{shown(rest)}: it runs already, so that no option says how it is started: leave"
            " --seccomp, --runtime-arg and --runtime-command out"
        )
    return running_pods.load(rest, start.endpoint, where.kernel)


def _refuse_other_machines(word: str, where: Surroundings) -> None:
    machine = arch.machine_here()
    if where.native.machine != machine:
        raise BadInputError(
            f"{word}: this machine is {machine}, so none of its processes has filters for "
            f"{where.native.name}: leave --arch out or name ABIs of {machine}"
        )


_OPENERS: Mapping[str, Callable[[str, Surroundings], FilterStack]] = MappingProxyType(
    {
        BUILTIN: lambda _argument, where: _builtin(where.policy, where),
        POLICY: _policy,
        BPF: _bpf,
        OCI: _oci,
        PID: _pid,
        UNIT: _unit,
        **{runtime: _container(runtime) for runtime in RUNTIMES},
    }
)
