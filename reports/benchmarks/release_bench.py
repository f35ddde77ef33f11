"""The bench of releases: starts each runtime of each release, asks it twice, and compares.

``python -m reports.benchmarks.release_bench [SUITE...]`` makes private roots of these releases
(bookworm, trixie and sid where none is named), starts every runtime in a machine of each, and asks
a C program and the suite what becomes of the documented calls: under the suite's own profiles,
under one that lets a call through, and under the runtime's default. They must agree on each number.
What was asked before, of the same packages by the same program, is not asked again.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.documents.policy import Policy
from probes.errors import InstrumentError, SuiteError
from probes.files import DEFAULT_POLICY, SUITE
from probes.guest import packages
from probes.guest.choice import default_cache
from probes.releases import prober, roots, starters
from probes.releases.prober import RUNS, SIGSYS, Answers
from probes.releases.roots import SUITES, Root
from probes.releases.starters import PreparedMachine, Starter
from reports.benchmarks import release_matrix
from reports.benchmarks.release_matrix import Row
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest

RECORD: Final = SUITE / "docs" / "defaults.json"
PAGE: Final = SUITE / "docs" / "defaults.md"

DROPPED: Final = "mount"
"""The call that a profile lets through which is otherwise as it should be."""

_EXPECTED: Final[Mapping[Profile, str]] = {
    Profile.KILL: SIGSYS,
    Profile.ERRNO: "EPERM",
    Profile.LOG: RUNS,
}
_TESTS: Final = "test_terminates or test_denies or test_runs"
_CLAIMS: Final = frozenset({"terminates", "denies", "runs"})
_JUDGE_SECONDS: Final = 300.0
_HOLD_SECONDS: Final = 30.0
_HELD_WORDS: Final = 3
_POLL_SECONDS: Final = 0.05
_LIBRARY: Final = ("libseccomp2",)
_LAUNCHER: Final = SUITE / "reports/launcher/syscall_conformance/__main__.py"


@dataclass(frozen=True, slots=True)
class Case:
    """A profile under which a runtime starts, and is judged.

    Attributes:
        name: what it is called.
        profile: the profile that it is judged against.
        policy: the policy that its filter is made of; None for the runtime's own default.
    """

    name: str
    profile: Profile
    policy: Policy | None

    def expected(self, call: str) -> str:
        """What must become of a documented call; "" where nobody knows beforehand."""
        if self.policy is None:
            return ""
        return RUNS if call not in self.policy.names else _EXPECTED[self.profile]


@dataclass(frozen=True, slots=True)
class Compared:
    """What two witnesses say about one runtime under one profile.

    Attributes:
        suite: the release.
        runtime: the runtime's name.
        case: the profile's name.
        answers: the C program's.
        status: the exit status of the suite's run; None where it was not asked.
        numbers: on how many numbers both were asked.
        differences: where they differ, or what was expected and is not so, in sentences.
    """

    suite: str
    runtime: str
    case: str
    answers: Answers
    status: int | None
    numbers: int
    differences: tuple[str, ...]


def cases(documented: Policy) -> tuple[Case, ...]:
    """The profiles of the bench."""
    fewer = tuple(call for call in documented.calls if call.name != DROPPED)
    weaker = replace(documented, calls=fewer)
    return (
        Case("default", Profile.ERRNO, None),
        *(Case(one.value, one, documented) for one in Profile),
        Case(f"errno without {DROPPED}", Profile.ERRNO, weaker),
    )


def answered(starter: Starter, case: Case, bench: PreparedMachine, documented: Policy) -> Answers:
    """What the C program says.

    Raises:
        SuiteError: the runtime does not start, or the program cannot tell.
    """
    said = starter.has(bench, _profile(bench, starter, case), prober.words(documented.names))
    return prober.read(said, documented.names)


def compared(
    root: Root, starter: Starter, case: Case, bench: PreparedMachine, documented: Policy
) -> Compared:
    """Asks a runtime both ways.

    Raises:
        SuiteError: it does not start, or a witness does not answer.
    """
    answers = answered(starter, case, bench, documented)
    status, cells = _judged(starter, case, bench, _profile(bench, starter, case))
    verdicts = {
        (cell["arch"], cell["syscall"]): cell
        for cell in cells
        if cell["claim"] in _CLAIMS and (cell["arch"], cell["syscall"]) in answers
    }
    return Compared(
        *(root.suite, starter.name, case.name, answers, status, len(verdicts)),
        tuple(differences(case, answers, verdicts)),
    )


def differences(
    case: Case, answers: Answers, verdicts: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[str]:
    """Where two witnesses differ, or what they say is not what must be. Pure.

    Args:
        case: the profile.
        answers: the C program's.
        verdicts: the suite's cells, by ABI and call.
    """
    for (abi, call), answer in answers.items():
        must = case.expected(call)
        if must not in {"", answer}:
            yield f"{call} on {abi}: the C program says {answer}, and {must} was expected"
        cell = verdicts.get((abi, call))
        if cell is None:
            yield f"{call} on {abi}: the suite does not say"
            continue
        holds = answer == _EXPECTED[case.profile]
        if cell["outcome"] != ("passed" if holds else "failed"):
            yield (
                f"{call} on {abi}: the C program says {answer}, the suite {cell['outcome']}:"
                f" {cell['observed']}"
            )


def _profile(bench: PreparedMachine, starter: Starter, case: Case) -> Path | None:
    """The file with a profile in the form that the runtime takes; None for its default."""
    if case.policy is None:
        return None
    form = ExportFormat(starter.form)
    request = ExportRequest(case.policy, case.profile, arch.offered_by(arch.machine_here()))
    made = allowlist.export(request, form)
    path = bench.machine.folder / f"{case.name.replace(' ', '-')}.{starter.form}"
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    return path


def _judged(
    starter: Starter, case: Case, bench: PreparedMachine, file: Path | None
) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """The exit status and the cells of the suite's run."""
    if starter.target:
        return _judged_inside(starter, case, bench, file)
    name = f"held-{secrets.token_hex(8)}"  # like no other process' of this machine
    starter.hold(bench, file, name)
    target = f"--target=pid:{_held(name)}"
    out = bench.machine.folder / name
    words = (sys.executable, str(_LAUNCHER), *_words(case, out), target)
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=_JUDGE_SECONDS, cwd="/"
    )
    return _result(done, out)


def _judged_inside(
    starter: Starter, case: Case, bench: PreparedMachine, file: Path | None
) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """The same by the release's own Python, beside the runtime."""
    given = () if file is None else (f"--seccomp={file}",)
    out = bench.machine.folder / f"out-{bench.name()}"
    done = bench.machine.tried(
        *("env", f"PYTHONPATH={packages_folder()}", "python3", str(_LAUNCHER)),
        *(*_words(case, out), f"--target={starter.target}:{starter.subject(bench)}", *given),
        seconds=_JUDGE_SECONDS,
    )
    return _result(done, out)


def packages_folder() -> Path:
    """The folder of the Python packages that the suite needs."""
    return Path(str(importlib.metadata.distribution("pytest").locate_file("")))


def _words(case: Case, out: Path) -> tuple[str, ...]:
    return (
        *("run", "-q", "-n", "0", "-k", _TESTS, "--audit-source=none"),
        *(f"--profile={case.profile.value}", f"--report-dir={out}"),
    )


def _result(
    done: subprocess.CompletedProcess[str], out: Path
) -> tuple[int, Sequence[Mapping[str, Any]]]:
    try:
        record = json.loads((out / "results.json").read_bytes())
    except OSError as error:
        said = (done.stderr or done.stdout).strip()
        raise InstrumentError(f"the suite ended with {done.returncode}: {said}") from error
    return done.returncode, record["cells"]


def _held(name: str) -> int:
    """The process that holds still under a name, by this pid namespace's number."""
    wanted = f"\0{prober.HOLD}\0{name}\0".encode()
    until = time.monotonic() + _HOLD_SECONDS
    while time.monotonic() < until:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                words = path.read_bytes()
                if words.endswith(wanted) and words.count(b"\0") == _HELD_WORDS:
                    return int(path.parent.name)
        time.sleep(_POLL_SECONDS)
    raise InstrumentError(f"the program {name} that holds still is nowhere to be seen")


# What was asked before.


def _key(root: Root, starter: Starter, case: Case, documented: Policy) -> str:
    sources = [(str(path), path.read_bytes().hex()) for path in _product()]
    made_of = (prober.source().hex(), packages.digest(sources), documented.sha256)
    return packages.digest(root.path.name, starter.name, case.name, *made_of)


@functools.cache
def _product() -> tuple[Path, ...]:
    """The files that an answer may depend on."""
    found = [path for room in ("cases", "probes") for path in (SUITE / room).rglob("*.py")]
    return tuple(sorted(path for path in found if "tests" not in path.parts))


def _kept(place: Path) -> Compared | None:
    try:
        plain = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return None
    answers = {(abi, call): answer for abi, call, answer in plain.pop("answers")}
    return Compared(answers=answers, **plain | {"differences": tuple(plain["differences"])})


def _keep(place: Path, made: Compared) -> None:
    plain = asdict(made) | {"answers": [(*key, one) for key, one in made.answers.items()]}
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(plain), encoding="utf-8")


def bench_of(
    suite: str, wanted: Callable[[Starter, Case], bool], cache: Path
) -> Iterator[Compared | str]:
    """What both witnesses say about the runtimes of a release, one after the other.

    Args:
        suite: the release.
        wanted: which runtimes and profiles.
        cache: the folder of all that can be fetched or made again.

    Yields:
        A comparison, or the sentence why there is none.
    """
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    root = roots.of_runtimes(suite, cache)
    with starters.benches(root, (SUITE, packages_folder())) as bench:
        for starter in starters.STARTERS:
            for case in cases(documented):
                if (case.policy is not None and not starter.form) or not wanted(starter, case):
                    continue
                place = cache / "releases" / f"{_key(root, starter, case, documented)}.json"
                found = _kept(place)
                try:
                    made = found or compared(root, starter, case, bench(starter.kind), documented)
                except SuiteError as error:
                    yield f"{suite} {starter.name} {case.name}: {error}"
                    continue
                if not made.differences:
                    _keep(place, made)
                yield made


def defaults(suite: str, cache: Path) -> Iterator[Row]:
    """What the matrix says of a release, by the C program alone.

    Args:
        suite: the release.
        cache: the folder of all that can be fetched or made again.

    Raises:
        SuiteError: a runtime does not start, or the program cannot tell.
    """
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    (case,) = (one for one in cases(documented) if one.policy is None)
    root = roots.of_runtimes(suite, cache)
    with starters.benches(root) as bench:
        for starter in starters.STARTERS:
            answers = answered(starter, case, bench(starter.kind), documented)
            yield row(root, starter, answers)


def row(root: Root, starter: Starter, answers: Answers) -> Row:
    """What the matrix says of a runtime's default."""
    versions = {name: root.version(name) for name in (*starter.packages, *_LIBRARY)}
    known = {name: version for name, version in versions.items() if version}
    return Row(root.suite, starter.name, starter.command, known, answers)


def main(words: Sequence[str]) -> int:
    """Runs the bench, and writes the matrix where all of it was asked.

    Args:
        words: the command line.

    Returns:
        0 where both witnesses agree on every number, else 1.
    """
    parser = argparse.ArgumentParser(prog="release_bench", description="The bench of releases.")
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="SUITE")
    parser.add_argument("--runtime", action="append", metavar="NAME", help="only this one")
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="ask the C program alone, about defaults alone: all that the matrix is made of",
    )
    parser.add_argument("--case", action="append", metavar="NAME", help="only this profile")
    options = parser.parse_args(words)
    cache = default_cache()
    if options.defaults:
        write([one for suite in options.suites for one in defaults(suite, cache)])
        return 0

    def wanted(starter: Starter, case: Case) -> bool:
        return not (
            (options.runtime and starter.name not in options.runtime)
            or (options.case and case.name not in options.case)
        )

    found = [one for suite in options.suites for one in _told(bench_of(suite, wanted, cache))]
    made = {suite: roots.of_runtimes(suite, cache) for suite in options.suites}
    rows = [
        row(made[one.suite], starter, one.answers)
        for one in found
        if isinstance(one, Compared) and one.case == "default"
        for starter in starters.STARTERS
        if starter.name == one.runtime
    ]
    expected = len(starters.STARTERS) * len(SUITES)
    if len(rows) == expected and {one.suite for one in rows} == set(SUITES):
        write(rows)
        sys.stdout.write(f"written: {RECORD}, {PAGE}\n")
    bad = [one for one in found if isinstance(one, str) or one.differences]
    numbers = sum(one.numbers for one in found if isinstance(one, Compared))
    sys.stdout.write(f"{len(found)} runs, {numbers} numbers, {len(bad)} runs with a difference\n")
    return 1 if bad else 0


def _told(found: Iterator[Compared | str]) -> Iterator[Compared | str]:
    for one in found:
        if isinstance(one, str):
            sys.stdout.write(f"{one}\n")
        else:
            sys.stdout.write(
                f"{one.suite} {one.runtime} {one.case}: {one.numbers} numbers, exit status"
                f" {one.status}, {len(one.differences)} differences\n"
            )
            sys.stdout.writelines(f"  {line}\n" for line in one.differences)
        sys.stdout.flush()
        yield one


def write(rows: Sequence[Row]) -> None:
    """Writes the record and its page."""
    calls = policy.load(DEFAULT_POLICY, arch.all_names()).names
    kernel = ".".join(os.uname().release.split(".")[:2])
    RECORD.write_text(release_matrix.dump(rows, calls, kernel), encoding="utf-8")
    PAGE.write_text(release_matrix.page(rows, calls, kernel), encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SuiteError as error:
        sys.exit(f"release_bench: {error}")
