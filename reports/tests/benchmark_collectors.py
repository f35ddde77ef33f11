"""The main job by each source of audit records, compared with netlink's cell for cell.

``python -m reports.tests.benchmark_collectors [WORD...]`` runs it as root by netlink, and then by
each of the others or by those that are named. Programs of Debian's are started for it (auditd,
laurel, systemd's journald); osquery and Auditbeat are played with real records of the kernel, as in
the tests. For ``kmsg``, which the kernel lets have few records, it is a selection.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from probes.tests.support import auditd_daemon, journald_daemon, laurel_plugin
from probes.tests.support.auditbeat_log import event_of
from probes.tests.support.emitter import lone_auditd
from probes.tests.support.osquery_log import ResultsLog, row_of
from probes.tests.support.record_replay import Write, replayed
from reports.tests.support import job

PATIENCE_SECONDS: Final = 900
MOST_REASONS: Final = 3
SMALLER: Final = ("--profile=kill", "--arch=x86_64", "-k", "is_reported and (acct or mount)")
"""The selection for a source that may have few records."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of records that is running.

    Attributes:
        words: the options of the run.
        before: what the command line begins with.
        variables: for the environment of the run.
    """

    words: Sequence[str]
    before: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


Starting = Callable[[Path], contextlib.AbstractContextManager[Source]]


@contextlib.contextmanager
def _by(*words: str) -> Iterator[Source]:
    yield Source(words)


def _auditd(log_format: str) -> Starting:
    @contextlib.contextmanager
    def started(folder: Path) -> Iterator[Source]:
        running = auditd_daemon.running(_program("auditd"), folder, log_format, megabytes=8)
        with running as daemon:
            yield Source([f"--audit-source=auditd:{daemon.log}"])

    return started


@contextlib.contextmanager
def _laurel(folder: Path) -> Iterator[Source]:
    configuration = laurel_plugin.configure(folder / "laurel")
    words = {"executable": _program("laurel"), "configuration": configuration}
    plugins = {"laurel.conf": laurel_plugin.PLUGIN.format(**words)}
    log = folder / "laurel/audit.log"
    with auditd_daemon.running(
        *(_program("auditd"), folder / "auditd", "RAW"), megabytes=8, plugins=plugins
    ):
        log.touch()
        yield Source([f"--audit-source=laurel:{log}"])


@contextlib.contextmanager
def _journal(folder: Path) -> Iterator[Source]:
    with journald_daemon.running(folder, _program("journalctl")) as daemon:
        path = f"{daemon.path}{os.pathsep}{os.environ['PATH']}"
        yield Source(["--audit-source=journal"], variables={"PATH": path})


def _played(word: str, writer: Callable[[Path], Write]) -> Starting:
    @contextlib.contextmanager
    def started(folder: Path) -> Iterator[Source]:
        path = folder / "collected.log"
        path.touch()
        with replayed(writer(path)):
            yield Source([f"--audit-source={word}:{path}"])

    return started


def _osquery(path: Path) -> Write:
    log = ResultsLog(path, batched=True)
    return lambda texts: log.write(map(row_of, texts))


def _auditbeat(path: Path) -> Write:
    def write(texts: list[str]) -> None:
        with path.open("a", encoding="utf-8") as log:
            log.writelines(f"{event_of(text)}\n" for text in texts)

    return write


@contextlib.contextmanager
def _descriptor(_folder: Path) -> Iterator[Source]:
    yield Source(
        ["--audit-fd=3"],
        before=[sys.executable, "-m", "syscall_conformance", "with-audit", "--"],
    )


@contextlib.contextmanager
def _kmsg(_folder: Path) -> Iterator[Source]:
    with lone_auditd():  # none may run, for it takes the records
        yield Source(["--audit-source=kmsg", *SMALLER])


SOURCES: Final[Mapping[str, Starting]] = {
    "netlink": lambda _folder: _by("--audit-source=netlink"),
    "auditd-raw": _auditd("RAW"),
    "auditd-enriched": _auditd("ENRICHED"),
    "laurel": _laurel,
    "journal": _journal,
    "osquery": _played("osquery", _osquery),
    "auditbeat": _played("auditbeat", _auditbeat),
    "descriptor": _descriptor,
    "kmsg": _kmsg,
}


_FEW: Final = frozenset({"kmsg"})
"""The sources by which a selection is judged."""


def _program(name: str) -> str:
    """The path of a program.

    Raises:
        SystemExit: it is not there.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """A run by one source.

    Attributes:
        cells: the cells whose verdict rests on records, by what identifies each.
        seconds: how long it took.
        status: its exit status.
        output: what it printed.
    """

    cells: Mapping[tuple[str, ...], Mapping[str, Any]]
    seconds: float
    status: int
    output: str


def _run(starting: Starting, folder: Path, options: Sequence[str]) -> Seen:
    with starting(folder) as source:
        reports = folder / "reports"
        words = [*source.before, *job.command(reports, *job.ALONE, *source.words, *options)]
        begun = time.monotonic()
        done = job.run_words(words, reports, variables=source.variables, patience=PATIENCE_SECONDS)
        seconds = time.monotonic() - begun
    found = done.cells if (reports / "results.json").exists() else []
    by_records = filter(_rests_on_records, found)
    return Seen({_identity(one): one for one in by_records}, seconds, done.status, done.output)


def _rests_on_records(cell: Mapping[str, Any]) -> bool:
    """Whether a cell's claim is about a record."""
    return cell["claim"] in _OF_RECORDS or (cell["profile"] == "log" and cell["claim"] in _LOGGED)


_OF_RECORDS: Final = {"is reported", "is silent", "is recorded"}
_LOGGED: Final = {"default action", "is inherited"}


def _identity(cell: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("claim", "profile", "arch", "syscall", "number", "variant")
    return tuple(str(cell[name]) for name in names)


def _told(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a cell says, but for the source's own words of the record."""
    kinds = Counter(piece["kind"] for piece in cell["evidence"])
    return (
        cell["outcome"],
        cell["cause"],
        cell["expected"],
        cell["observed"],
        sorted(kinds.items()),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The cells of a run beside those by netlink.

    Attributes:
        equal: how many say the same.
        untold: the reasons of those that cannot be told, each with how many there are.
        different: the others.
    """

    equal: int
    untold: Counter[str]
    different: tuple[tuple[str, ...], ...]


def compared(
    seen: Mapping[tuple[str, ...], Mapping[str, Any]],
    reference: Mapping[tuple[str, ...], Mapping[str, Any]],
    *,
    whole: bool = True,
) -> Comparison:
    """Holds the cells of a run against those by netlink.

    Args:
        seen: the cells of the run.
        reference: those by netlink.
        whole: whether the run should have every cell of the other.
    """
    equal, untold, different = 0, Counter[str](), []
    for key, cell in seen.items():
        other = reference.get(key)
        if other is not None and _told(cell) == _told(other):
            equal += 1
        elif cell["outcome"] == "cannot_tell":
            untold[cell["reason"]] += 1
        else:
            different.append(key)
    different += reference.keys() - seen.keys() if whole else ()
    return Comparison(equal, untold, tuple(different))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each source; 1 where a cell differs, 0 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.tests.benchmark_collectors", description=__doc__.split("\n")[0]
    )
    parser.add_argument("words", metavar="WORD", nargs="*", help=", ".join(SOURCES))
    parser.add_argument("--option", action="append", default=[], help="of the run, such as -kacct")
    given = parser.parse_args(arguments)
    if unknown := [word for word in given.words if word not in SOURCES]:
        parser.error(f"no such source: {unknown[0]}; there are {', '.join(SOURCES)}")
    wanted = [word for word in SOURCES if not given.words or word in given.words]
    with tempfile.TemporaryDirectory(prefix="collectors-") as name:
        return _compare_all(wanted, given.option, Path(name))


def _compare_all(wanted: Sequence[str], options: Sequence[str], folder: Path) -> int:
    """Runs and prints; the exit status.

    Args:
        wanted: the sources.
        options: further ones of each run.
        folder: for everything that is written.
    """
    reference = _run(SOURCES["netlink"], _made(folder / "reference"), options)
    heads = ("source", "cells", "equal", "cannot tell", "different", "seconds")
    _say(_LINE.format(*heads))
    worst = 0
    for word in wanted:
        seen = _run(SOURCES[word], _made(folder / word), options)
        found = compared(seen.cells, reference.cells, whole=word not in _FEW)
        _say("\n".join(_lines(word, seen, found)))
        worst |= bool(found.different) or not seen.cells
    return worst


_LINE: Final = "{:16}{:>7}{:>7}{:>13}{:>11}{:>9}"


def _lines(word: str, seen: Seen, found: Comparison) -> Iterator[str]:
    counts = (len(seen.cells), found.equal, found.untold.total(), len(found.different))
    yield _LINE.format(word, *counts, f"{seen.seconds:.1f}")
    for reason, count in found.untold.most_common(MOST_REASONS):
        yield f"    {count} x {reason}"
    for key in found.different[:MOST_REASONS]:
        said = seen.cells[key]["sentence"] if key in seen.cells else "missing"
        yield f"    {' '.join(key)}: {said}"
    if not seen.cells:
        yield from seen.output.splitlines()[-MOST_REASONS:]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
