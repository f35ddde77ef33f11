"""The target ``oci:FILE`` as its readers see it: one reading is judged, the others are held to it.

Where nobody said who reads the file, every engine may. What they agree about is judged; a
documented call about which they do not agree is left undecided, with what each would do.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from probes.arch import Arch
from probes.errors import BadInputError
from probes.filters.bpf import Program
from probes.filters.comparison import StackComparison, compare
from probes.filters.prover import TooComplexError
from probes.finding import Finding, Weight, advice
from probes.targets import library
from probes.targets.oci import compile_request, compiler, needs, operator, rule_lines
from probes.targets.oci import installed as oci_installed
from probes.targets.oci import profile as oci_profile
from probes.targets.oci.compiler import Compiled
from probes.targets.oci.operator import Deployed
from probes.targets.oci.profile import Source, UnclearError, UnconfinedError
from probes.targets.oci.reader import AskedReaders, Engine, Reader, Release, Runtime, newest
from probes.targets.oci.resolve import listed
from probes.targets.stack import LOG_FLAG, FilterStack
from probes.text import shown


def readers(
    asked: AskedReaders,
    installed: Callable[[Engine | Runtime], Release | None],
    *,
    is_bundle: bool,
    is_of_operator: bool = False,
) -> tuple[Reader, ...]:
    """Everybody who may read a file, the one whose reading is judged first.

    Args:
        asked: who was said to.
        installed: tells the release of a program that is installed.
        is_bundle: whether the file is a bundle's configuration.
        is_of_operator: whether it is for the nodes of a Kubernetes cluster.
    """

    def known(name: Engine | Release | Runtime) -> Release:
        return name if isinstance(name, Release) else installed(name) or newest(name)

    def usual(engine: Release) -> tuple[Runtime, ...]:
        """The runtimes of an engine, the usual one first; of a named engine only that one."""
        crun = engine.name is Engine.PODMAN or engine.has("crun")
        only_runc = installed(Runtime.RUNC) is not None and installed(Runtime.CRUN) is None
        order = (Runtime.CRUN, Runtime.RUNC) if crun and not only_runc else tuple(Runtime)
        is_open = asked.engine is None or engine.name is Engine.BUNDLE
        return order if is_open else order[:1]

    if is_bundle:
        engines: Iterable[Engine | Release] = (Engine.BUNDLE,)
    elif asked.engine is not None:
        engines = (asked.engine,)
    else:
        engines = (Engine.CONTAINERD, Engine.CRI_O) if is_of_operator else tuple(Engine)
    return tuple(
        Reader(engine, known(runtime))
        for engine in map(known, engines)
        for runtime in (usual(engine) if asked.runtime is None else (asked.runtime,))
    )


@dataclass(frozen=True, slots=True)
class ProfiledContainer:
    """The container that a profile is for.

    Attributes:
        native: the native ABI of the machine.
        capabilities: its bounding set.
        kernel: version and major revision of its kernel.
    """

    native: Arch
    capabilities: frozenset[str]
    kernel: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """What a policy documents, as far as readers are asked about it.

    Attributes:
        calls: the documented calls.
        arches: the ABIs to look at.
        others: every call that it leaves alone on them.
        everything: whether every other call counts as well, as it does where filters are compared.
    """

    calls: tuple[str, ...]
    arches: tuple[Arch, ...]
    others: tuple[str, ...] = ()
    everything: bool = False


def load(
    paths: Sequence[Path],
    container: ProfiledContainer,
    asked: AskedReaders,
    document: Callable[[], Document],
    installed: Callable[[Engine | Runtime], Release | None] = oci_installed.installed,
) -> FilterStack:
    """Reads a file as everybody does who may read it; what the first of them makes of it is judged.

    Args:
        paths: a profile, a bundle's ``config.json``, or a SeccompProfile of Kubernetes' Security
            Profiles Operator; of the last the files with its base profiles follow.
        container: the container that it is for.
        asked: who was said to read it.
        document: what is documented; only asked for where readers differ.
        installed: tells the release of a program that is installed.

    Raises:
        BadInputError: no reader takes the file, or nobody can say what one makes of it.
    """
    deployed = _deployed(paths)
    source = deployed.sources[0]
    if source.is_bundle and asked.engine not in {None, Engine.BUNDLE}:
        raise BadInputError(
            f"{source.path}: this is a bundle's configuration, which its runtime reads and no "
            f"engine does; leave --engine out, and say by --runtime which runtime reads it"
        )
    known: dict[object, Compiled] = {}
    readings = [
        _reading(source, reader, container, known)
        for reader in readers(
            asked,
            installed,
            is_bundle=source.is_bundle,
            is_of_operator=source.is_of_operator,
        )
    ]
    first = next((one for one in readings if one.compiled is not None), None)
    if first is None or first.compiled is None:
        refusals = [one.refusal for one in readings if one.refusal is not None]
        raise refusals[0]
    where = compile_request.version()
    programs = first.compiled.programs
    return FilterStack(
        f"{source.path} ({first.reader.words}, libseccomp {where})",
        programs,
        container.native,
        (
            *_disagreements(first, readings, document),
            *_by_release(first, deployed, container, document),
            *advice(_introduction(source.path, first.reader, asked, where, installed)),
            *advice(_refusals(readings)),
            *advice(_needs(source.path, readings, container.native)),
            *advice((*deployed.findings, *first.compiled.findings)),
        ),
        logged=(LOG_FLAG in first.compiled.flags,) * len(programs),
        written=tuple(rule_lines.of_profile(path, oci_profile.read_bytes(path)) for path in paths),
        library=library.here(container.native),
    )


def _deployed(paths: Sequence[Path]) -> Deployed:
    """The file that is read, where Kubernetes' operator makes it of others, too."""
    deployed = operator.open_files(paths)
    if deployed is not None:
        return deployed
    if len(paths) > 1:
        raise BadInputError(
            f"{shown(paths[0])}: only a SeccompProfile of Kubernetes' Security Profiles Operator "
            f"has base profiles; name one file"
        )
    return Deployed((oci_profile.load(paths[0]),), ("",), ())


def _by_release(
    first: "_Reading",
    deployed: Deployed,
    container: ProfiledContainer,
    document: Callable[[], Document],
) -> Iterator[Finding]:
    """A finding about the calls about which releases of the operator do not agree."""
    for source, way in zip(deployed.sources[1:], deployed.ways[1:], strict=True):
        other = _reading(source, first.reader, container, {})
        if other.refusal is not None:
            yield Finding(
                f"with {way} no container would start: {other.refusal}", Weight.LIMITS, "releases"
            )
            continue
        if other.meaning == first.meaning:
            continue
        asked = document()
        compared = _compared(first.meaning, other.meaning, asked)
        sentences = "; ".join(
            f"{start} {way}" for start in _sentences(deployed.ways[0], compared.documented)
        )
        if sentences:
            yield Finding(
                f"releases of the operator do not agree: {sentences}; have the rules of the base "
                f"profile in the profile itself",
                Weight.LIMITS,
                "releases",
                tuple(compared.documented),
            )
        elif compared.elsewhere:
            told = f": {listed(compared.others)}" if compared.others else ""
            yield Finding(
                f"releases of the operator do not agree about calls that no policy names{told}",
                Weight.LIMITS if asked.everything else Weight.ADVICE,
                "releases",
            )


@dataclass(frozen=True, slots=True)
class _Meaning:
    """A program, and whether the kernel records all that it does but ALLOW."""

    program: Program
    is_logged: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one reader makes of the file: a filter, none at all, or a refusal."""

    reader: Reader
    compiled: Compiled | None
    refusal: BadInputError | None = None

    @property
    def is_unconfined(self) -> bool:
        return isinstance(self.refusal, UnconfinedError)

    @property
    def meaning(self) -> _Meaning | None:
        if self.compiled is None:
            return None
        return _Meaning(self.compiled.programs[0], LOG_FLAG in self.compiled.flags)


def _reading(
    source: Source, reader: Reader, container: ProfiledContainer, known: dict[object, Compiled]
) -> _Reading:
    """Reads a file as one reader does, and compiles it unless that was done for another one."""
    try:
        profile = oci_profile.decode(source, reader.dialect)
        resolved = compiler.resolve(
            profile, container.native, container.capabilities, container.kernel, reader
        )
        key = (replace(resolved, reader=compiler.NEWEST, findings=()), reader.traits)
        if key not in known:
            known[key] = compiler.compile(resolved)
        return _Reading(reader, known[key])
    except (UnclearError, compile_request.EndlessError):
        raise
    except BadInputError as error:
        return _Reading(reader, None, error)


def _introduction(
    path: str,
    reader: Reader,
    asked: AskedReaders,
    library: str,
    installed: Callable[[Engine | Runtime], Release | None],
) -> Iterator[str]:
    """A finding about who reads the file in the verdicts, and how that was settled."""
    told = []
    for release, said in ((reader.engine, asked.engine), (reader.runtime, asked.runtime)):
        if release.name is Engine.BUNDLE:
            continue
        how = "as asked for"
        if not isinstance(said, Release):
            how = "installed here" if release == installed(release.name) else "the newest known"
        told.append(f"{release} ({how})")
    yield (
        f"{path} is judged as {' and '.join(told)} would read it, compiled by libseccomp {library};"
        f" --engine and --runtime name others"
    )


def _needs(path: str, readings: Sequence[_Reading], native: Arch) -> Iterator[str]:
    """Findings about runtimes that start no container with the file, though they take it."""
    told: dict[Release, FilterStack] = {}
    for one in readings:
        if one.compiled is not None:
            stack = FilterStack(path, one.compiled.programs, native)
            told.setdefault(one.reader.runtime, stack)
    for runtime, stack in told.items():
        for sentence in needs.sentences(stack, runtime):
            yield f"{path}: {sentence}"


def _refusals(readings: Sequence[_Reading]) -> Iterator[str]:
    """Findings about readers that start no container with the file."""
    refusing: dict[str, list[Reader]] = {}
    for one in readings:
        if one.compiled is None and not one.is_unconfined:
            refusing.setdefault(str(one.refusal), []).append(one.reader)
    for refusal, found in refusing.items():
        yield f"no container starts with it under {_names(found, readings)}: {refusal}"


def _disagreements(
    first: _Reading, readings: Sequence[_Reading], document: Callable[[], Document]
) -> Iterator[Finding]:
    """A finding about the documented calls about which readers do not agree."""
    groups: dict[_Meaning | None, list[Reader]] = {}
    for one in readings:
        if one.meaning is not None or one.is_unconfined:
            groups.setdefault(one.meaning, []).append(one.reader)
    if len(groups) == 1:
        return
    asked = document()
    compared = {
        meaning: _compared(first.meaning, meaning, asked)
        for meaning in groups
        if meaning != first.meaning
    }
    found = {first.meaning: {}, **{one: compared[one].documented for one in compared}}
    calls = {call for differences in found.values() for call in differences}
    if not calls:
        elsewhere = [
            reader
            for meaning, one in compared.items()
            for reader in groups[meaning]
            if one.elsewhere and reader.runtime == first.reader.runtime
        ]
        names = _names(elsewhere, readings)
        if elsewhere and asked.everything:
            yield Finding(
                f"readers of the profile do not agree about calls or ABIs that no policy names, "
                f"where {names} would not do the same: say by --engine who reads it",
                Weight.LIMITS,
                "readers",
            )
        elif left_open := _left_open(elsewhere, groups, compared):
            yield Finding(
                f"readers of the profile do not agree about {listed(left_open)}, which the policy "
                f"leaves alone: {names} would not do the same; say by --engine who reads it",
                calls=left_open,
            )
        elif elsewhere:
            yield Finding(
                f"about calls or ABIs that nobody asks for here, {names} would not do the same; "
                f"explain with --engine shows what"
            )
        return
    views = [(one, found[meaning]) for meaning, theirs in groups.items() for one in theirs]
    agreeing = _names([one for one, differences in views if not differences], readings)
    told: dict[str, list[Reader]] = {}
    for meaning, differences in found.items():
        for sentence in _sentences(agreeing, differences):
            told.setdefault(sentence, []).extend(groups[meaning])
    sentences = "; ".join(f"{start} {_names(theirs, readings)}" for start, theirs in told.items())
    yield Finding(
        f"readers of the profile do not agree: {sentences}: say by {_deciding(views)} who reads it",
        Weight.LIMITS,
        "readers",
        tuple(call for call in asked.calls if call in calls),
    )


def _left_open(
    readers: Sequence[Reader],
    groups: Mapping[_Meaning | None, Sequence[Reader]],
    compared: Mapping[_Meaning | None, "_Compared"],
) -> tuple[str, ...]:
    """The calls that no policy names and about which some readers differ from the first."""
    found = {
        call: None
        for meaning, one in compared.items()
        if any(reader in readers for reader in groups[meaning])
        for call in one.others
    }
    return tuple(found)


def _deciding(views: Iterable[tuple[Reader, Mapping[str, "_Difference"]]]) -> str:
    """The options that settle what is made of the documented calls."""
    every = list(views)

    def settles(part: Callable[[Reader], Release]) -> bool:
        return all(one == other for a, one in every for b, other in every if part(a) == part(b))

    if settles(lambda reader: reader.runtime):
        return "--runtime"
    return "--engine" if settles(lambda reader: reader.engine) else "--engine and --runtime"


@dataclass(frozen=True, slots=True)
class _Difference:
    """What two readers do about a call, where that is not the same.

    Attributes:
        ours: what the first does.
        theirs: what the second does.
        arches: the ABIs on which they differ, where these are not all.
    """

    ours: str
    theirs: str
    arches: str


_UNCOMPARED: Final = _Difference("one thing", "maybe another, which is too complex to prove,", "")
_UNCONFINED: Final = _Difference("a filter", "none at all", "")
_LOGGED: Final = _Difference(
    "one answer", f"the same with another part in records ({LOG_FLAG})", ""
)


@dataclass(frozen=True, slots=True)
class _Compared:
    """In what two readers' filters differ.

    Attributes:
        documented: the documented calls about which they do.
        others: those of the other calls about which they do.
        elsewhere: whether they do about anything at all.
    """

    documented: Mapping[str, _Difference]
    others: tuple[str, ...] = ()
    elsewhere: bool = True


def _compared(ours: _Meaning | None, theirs: _Meaning | None, document: Document) -> _Compared:
    """Compares what two readers make of a file."""
    if ours is None or theirs is None:
        return _Compared(dict.fromkeys(document.calls, _UNCONFINED))
    big_endian = document.arches[0].big_endian
    try:
        comparison = compare([ours.program], [theirs.program], big_endian=big_endian)
    except TooComplexError:
        return _Compared(dict.fromkeys(document.calls, _UNCOMPARED))
    found = {}
    for call in document.calls:
        difference = _difference(comparison, call, document.arches)
        if difference is None and ours.is_logged != theirs.is_logged:
            difference = _LOGGED
        if difference is not None:
            found[call] = difference
    others = tuple(one for one in document.others if _difference(comparison, one, document.arches))
    return _Compared(found, others, bool(comparison.differing))


def _difference(
    comparison: StackComparison, call: str, arches: Sequence[Arch]
) -> _Difference | None:
    having = [one for one in arches if one.number(call) is not None]
    where = [one for one in having if _indices(comparison, one, call)]
    if not where:
        return None
    sides: tuple[dict[str, None], dict[str, None]] = {}, {}
    for one in where:
        for index in _indices(comparison, one, call):
            pair = comparison.pairs[index]
            sides[0][str(pair.left)] = None
            sides[1][str(pair.right)] = None
    named = "" if where == having else f" on {', '.join(one.name for one in where)}"
    return _Difference(" or ".join(sides[0]), " or ".join(sides[1]), named)


def _indices(comparison: StackComparison, one: Arch, call: str) -> list[int]:
    number = one.number(call)
    if number is None:
        return []
    return sorted(comparison.analysis.returns(one.audit_arch, number) & comparison.differing)


def _sentences(agreeing: str, found: Mapping[str, _Difference]) -> Iterator[str]:
    """What is told of the calls that differ alike; the other readers are to follow."""
    by_difference: dict[_Difference, list[str]] = {}
    for call, difference in found.items():
        by_difference.setdefault(difference, []).append(call)
    for each, calls in by_difference.items():
        yield (
            f"{listed(calls)}{each.arches} get {each.ours} from {agreeing} and {each.theirs} from"
        )


def _names(chosen: Sequence[Reader], readings: Iterable[_Reading]) -> str:
    """Readers for a sentence: an engine by itself where all its runtimes are among them."""
    by_engine: dict[Release, list[Reader]] = {}
    for one in readings:
        by_engine.setdefault(one.reader.engine, []).append(one.reader)
    return ", ".join(
        name
        for engine, every in by_engine.items()
        if (ours := [one for one in every if one in chosen])
        for name in (_named(engine, every) if ours == every else map(str, ours))
    )


def _named(engine: Release, every: Sequence[Reader]) -> tuple[str, ...]:
    if engine.name is Engine.BUNDLE:
        return ("an OCI bundle",) if len(every) > 1 else (str(every[0]),)
    return (str(engine),)
