"""What befalls a log in the course of a run makes no verdict wrong, and costs one deadline.

The records are the kernel's own, of a filter with planted mistakes; between them and the log stands
a program of the tests, or a real laurel, that writes them as the real program does.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from probes.audit import collector, laurel, log_file, osquery, trail
from probes.audit.source import SourceKind
from probes.instrument.calls import Zygote
from probes.tests.support import planted, small_disk
from probes.tests.support.emitter import needs_root
from probes.tests.support.fault_matrix import Matrix
from probes.tests.support.fed_sources import SOURCES, Source
from probes.tests.support.oracles import require
from probes.tests.support.record_replay import replayed
from probes.tests.support.source_faults import (
    LOG_FAULTS,
    RECORD_FAULTS,
    among_those_of_an_earlier_boot,
    as_they_are,
    half_of_each_is_lost,
    in_another_order,
    in_two_pieces,
    lost_with_another_machines_in_their_place,
    lost_with_yesterdays_in_their_place,
    rotated,
    twice,
)
from reports.tests.support import job

pytestmark = [needs_root, pytest.mark.slow]

DEADLINE = 0.6
HARMLESS = (as_they_are, in_another_order, twice, in_two_pieces, among_those_of_an_earlier_boot)
"""What loses nothing must not cost a verdict either."""
NONSENSE = {
    # Each of its records is a whole, or of this boot for sure.
    *((in_two_pieces, SourceKind.KMSG), (half_of_each_is_lost, SourceKind.KMSG)),
    *((lost_with_yesterdays_in_their_place, SourceKind.KMSG),),
    # These name no machine, for they have one machine's records.
    *(
        (lost_with_another_machines_in_their_place, kind)
        for kind in (SourceKind.JOURNAL, SourceKind.OSQUERY, SourceKind.AUDITBEAT, SourceKind.KMSG)
    ),
}
LOGS = (SourceKind.AUDITD, SourceKind.LAUREL, SourceKind.OSQUERY, SourceKind.AUDITBEAT)


@pytest.fixture(autouse=True)
def deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shorter by a factor of ten or so: none of them is what is tested."""
    monkeypatch.setattr(trail, "RECORD_DEADLINE_SECONDS", DEADLINE)
    monkeypatch.setattr(trail, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(collector, "_GRACE", 0.1)
    monkeypatch.setattr(log_file, "_ROTATION_DEADLINE", 0.1)
    monkeypatch.setattr(laurel, "PENDING_SECONDS", 0.3)
    monkeypatch.setattr(osquery, "_SETTLING", 0.03)


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    """What became of the cells, for each fault and each collector."""
    made = Matrix()
    yield made
    made.show()


@contextlib.contextmanager
def fed_source(kind: SourceKind, folder: Path) -> Iterator[Source]:
    """A source of the kind, which gets the kernel's records."""
    folder.mkdir()
    with (
        job.undisturbed(),
        contextlib.closing(SOURCES[kind](folder / "collected.log")) as source,
        replayed(source.write, 0.01),
    ):
        yield source


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("befall", LOG_FAULTS, ids=lambda befall: befall.__name__)
def test_what_becomes_of_a_log(
    kind: SourceKind,
    befall: Callable[[Source], None],
    zygote: Zygote,
    matrix: Matrix,
    tmp_path: Path,
) -> None:
    for moment in planted.MOMENTS:
        with fed_source(kind, tmp_path / moment.value) as fed:

            def fault(fed: Source = fed) -> None:
                time.sleep(0.03)  # the record of the call is written by then
                befall(fed)

            judged = planted.judged(zygote, fed.opened, fault=fault, at=planted.MOMENTS[moment])

        matrix.note(befall.__name__, kind, judged)
        assert planted.errors(judged.cells) == []
        assert judged.waited < 2 * DEADLINE + 1


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("seconds", [0.2, 60], ids=["for a while", "for good"])
def test_a_full_disk(
    kind: SourceKind, seconds: float, zygote: Zygote, matrix: Matrix, tmp_path: Path
) -> None:
    with (
        small_disk.mounted(tmp_path / "disk", "1m") as disk,
        fed_source(kind, disk / "log") as fed,
        contextlib.ExitStack() as later,
    ):

        def fault() -> None:
            ballast = small_disk.fill(fed.log)
            timer = threading.Timer(seconds, partial(ballast.unlink, missing_ok=True))
            timer.start()
            later.callback(timer.join)
            later.callback(timer.cancel)

        judged = planted.judged(
            zygote, fed.opened, fault=fault, at=planted.MOMENTS[planted.Moment.NEEDED]
        )

    matrix.note("disk full for a while" if seconds < 1 else "disk full", kind, judged)
    assert planted.errors(judged.cells) == []
    assert judged.waited < 2 * DEADLINE + 1


READER = """
import sys
from pathlib import Path
from probes.audit import trail
from probes.audit.auditd import AuditdCollector
from probes.audit.osquery import OsqueryCollector
from probes.instrument.calls import Zygote
from probes.tests.support import planted

trail.RECORD_DEADLINE_SECONDS, trail.SILENT_SECONDS = 1.5, 0.2
kinds = {"auditd": AuditdCollector, "osquery": lambda path: OsqueryCollector(path, patience=1)}


def fault():
    print("now", flush=True)
    input()


with Zygote() as zygote:
    judged = planted.judged(
        zygote,
        lambda: kinds[sys.argv[1]](Path(sys.argv[2])),
        fault=fault,
        at=planted.MOMENTS[planted.Moment(sys.argv[3])],
    )
print(planted.errors(judged.cells), judged.waited < 5)
print(*(cell.sentence for cell in judged.cells.values()))
"""


@pytest.mark.parametrize("kind", [SourceKind.AUDITD, SourceKind.OSQUERY])
@pytest.mark.parametrize("moment", planted.MOMENTS)
def test_a_log_that_may_be_read_no_longer(
    kind: SourceKind, moment: planted.Moment, tmp_path: Path
) -> None:
    """By a reader without privileges, after a rotation."""
    require("setpriv", "util-linux")
    with fed_source(kind, tmp_path / "fed") as fed:
        os.chown(fed.log, job.NOBODY, job.NOBODY)
        fed.log.chmod(0o644)
        reader = subprocess.Popen(
            [
                *("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
                *(sys.executable, "-c", READER, str(kind), str(fed.log), str(moment)),
            ],
            cwd=job.CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with reader:
            assert reader.stdout
            assert reader.stdin
            assert reader.stdout.readline() == "now\n"
            rotated(fed)
            fed.log.touch()
            os.chown(fed.log, job.NOBODY, job.NOBODY)
            fed.log.chmod(0o600)
            reader.stdin.write("\n")
            reader.stdin.flush()
            said = reader.stdout.read()

    assert said.startswith("[] True\n"), said
    assert "the new one cannot be read (Permission denied)" in said


@pytest.mark.parametrize(
    ("befall", "kind"),
    [
        pytest.param(befall, kind, id=f"{befall.__name__}-{kind}")
        for befall in RECORD_FAULTS
        for kind in SOURCES
        if (befall, kind) not in NONSENSE
    ],
)
def test_what_becomes_of_records(
    befall: Callable[[Source], None],
    kind: SourceKind,
    zygote: Zygote,
    matrix: Matrix,
    tmp_path: Path,
) -> None:
    with fed_source(kind, tmp_path / "fed") as fed:
        judged = planted.judged(zygote, fed.opened, begin=lambda: befall(fed))

    matrix.note(befall.__name__, kind, judged)
    assert planted.errors(judged.cells) == []
    if befall in HARMLESS:
        assert {name: cell.outcome for name, cell in judged.cells.items()} == planted.EXPECTED
