"""A record that is missing: the filter, kernel.seccomp.actions_logged or an audit rule.

The kernel's own settings belong to the whole machine. So the records are real, and a collector of
the tests' own leaves out what a kernel would not have written that was told otherwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.audit.collector import Batch, Collector, why_unlogged
from probes.audit.netlink import NetlinkCollector
from probes.audit.record import SeccompRecord
from probes.audit.trail import AuditTrail
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.documents import policy
from probes.errors import ExitStatus
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.instrument.calls import Zygote
from probes.judging.examiner import Examiner
from probes.judging.needed_calls import Way
from probes.judging.plan import Case
from probes.tests.support.oracles import require
from probes.tests.support.stacks import target_of
from reports.tests.support import job

pytestmark = pytest.mark.root("reads the kernel's audit records")

NATIVE = arch.of_this_process()[0]
ACCT = NATIVE.numbers["acct"]
KILL = FilterReturn(Action.KILL_PROCESS)

Withheld = Callable[[SeccompRecord], bool]


@dataclass
class Withholding:
    """Reads for another collector, and withholds records in some of its batches."""

    inner: Collector
    withheld: Withheld
    batches: range
    read: int = 0
    most_cases: int = 1

    @property
    def name(self) -> str:
        """The other's."""
        return self.inner.name

    def read_until(self, sentinel: str, deadline: float) -> Batch:
        """What the other has read, without what is withheld."""
        batch = self.inner.read_until(sentinel, deadline)
        self.read += 1
        if self.read - 1 not in self.batches:
            return batch
        records = tuple(one for one in batch.records if not self.withheld(one))
        return replace(batch, records=records)

    def close(self) -> None:
        """Closes the other."""
        self.inner.close()


def kills(record: SeccompRecord) -> bool:
    """What actions_logged without kill_process keeps from being written."""
    return record.code == KILL.value


def nobodys(record: SeccompRecord) -> bool:
    """What ``auditctl -a never,exclude -F uid=65534`` keeps from being written."""
    return " uid=65534 " in record.raw


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    with Zygote() as made:
        yield made


def judged(
    zygote: Zygote, case: Case, returns: FilterReturn, withheld: Withheld, batches: range
) -> Cell:
    """The verdict on a filter with one rule, while records are withheld in some batches."""
    allow = FilterReturn(Action.ALLOW).value
    parts = bpf.ranges({ACCT}, returns.value, allow)
    program = bpf.dispatch({NATIVE.audit_arch: parts}, allow)
    target = target_of("test", "the filter", dict.fromkeys(Profile, (program,)), NATIVE)
    documented = policy.load(DEFAULT_POLICY, arch.all_names())
    with job.undisturbed():
        collector = Withholding(NetlinkCollector(), withheld, batches)
        try:
            trail = AuditTrail(collector, "")
            examiner = Examiner(zygote, target, documented, (NATIVE,), trail)
            (cell,) = examiner.examine([case])
        finally:
            collector.close()
    return cell


def case_of(claim: Claim, profile: Profile, variant: str = "") -> Case:
    key = CellKey(claim, profile.value, NATIVE.name, "acct", ACCT, variant)
    return Case(claim, NATIVE, (key,), profile)


REPORTED = case_of(Claim.IS_REPORTED, Profile.KILL)
SET_USER = case_of(Claim.IS_INHERITED, Profile.LOG, Way.SETUID)
ALWAYS = range(100)


@pytest.mark.parametrize(
    ("case", "withheld", "action"),
    [(REPORTED, kills, "KILL_PROCESS"), (SET_USER, nobodys, "LOG")],
    ids=["kills", "nobody's"],
)
def test_what_the_kernel_does_not_write_is_no_fault_of_the_filter(
    case: Case, withheld: Withheld, action: str, zygote: Zygote
) -> None:
    returns = (case.profile or Profile.KILL).returns

    cell = judged(zygote, case, returns, withheld, ALWAYS)

    assert (cell.outcome, cell.cause) == (Outcome.CANNOT_TELL, Cause.KERNEL_CONFIGURATION)
    assert f"a known filter's {action} left no record either" in cell.sentence
    assert "auditctl -l" in cell.sentence


@pytest.mark.parametrize(("case", "withheld"), [(REPORTED, kills), (SET_USER, nobodys)])
def test_what_it_writes_again_is_judged_again(
    case: Case, withheld: Withheld, zygote: Zygote
) -> None:
    returns = (case.profile or Profile.KILL).returns

    cell = judged(zygote, case, returns, withheld, range(1))

    assert cell.outcome is Outcome.PASSED, cell.sentence


def test_a_filter_that_leaves_no_record_fails_where_known_ones_leave_some(zygote: Zygote) -> None:
    """Else the check could not fail."""
    cell = judged(zygote, REPORTED, FilterReturn(Action.ALLOW), kills, range(0))

    assert (cell.outcome, cell.cause) == (Outcome.FAILED, Cause.FILTER)
    assert "it left no audit record" in cell.sentence


def test_a_filter_without_records_is_not_blamed_in_the_dark(zygote: Zygote) -> None:
    """It deserves blame, but nobody can know."""
    cell = judged(zygote, REPORTED, FilterReturn(Action.ALLOW), kills, ALWAYS)

    assert cell.outcome is Outcome.CANNOT_TELL


# By the setting of the machine, as the files show it.


def test_the_sentence_is_the_command_that_mends_it(tmp_path: Path) -> None:
    folder = tmp_path / "proc/sys/kernel/seccomp"
    folder.mkdir(parents=True)
    (folder / "actions_logged").write_text("kill_thread log\n", encoding="ascii")

    said = why_unlogged(["kill_process"], tmp_path)

    assert said == (
        "kernel.seccomp.actions_logged lacks kill_process: "
        "sysctl -w kernel.seccomp.actions_logged='kill_process kill_thread log'"
    )
    assert why_unlogged(["log"], tmp_path) == ""
    assert why_unlogged(["log"], tmp_path / "nowhere") == ""


PLUGIN = """\
from dataclasses import replace
from probes.audit.netlink import NetlinkCollector

read_until = NetlinkCollector.read_until


def without_kills(self, sentinel, deadline):
    batch = read_until(self, sentinel, deadline)
    records = tuple(one for one in batch.records if one.code != 0x80000000)
    return replace(batch, records=records)


NetlinkCollector.read_until = without_kills
"""


@pytest.mark.parametrize(
    ("options", "status", "outcomes"),
    [
        (("--profile=errno", "-k", "acct"), ExitStatus.CONFORMANT, {"denies": {"passed": 1}}),
        (
            ("--profile=kill", "-k", "acct and not proved"),
            ExitStatus.CANNOT_TELL,
            {"terminates": {"passed": 1}, "is reported": {"cannot_tell": 1}},
        ),
    ],
    ids=["errno", "kill"],
)
def test_without_kill_process_the_rest_is_judged(
    options: tuple[str, ...],
    status: ExitStatus,
    outcomes: dict[str, dict[str, int]],
    tmp_path: Path,
) -> None:
    """The file is another one in a mount namespace of its own, and the collector keeps to it."""
    require("unshare", "util-linux mount")
    plugin = tmp_path / "without_kills.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    logged = tmp_path / "actions_logged"
    logged.write_text("kill_thread trap errno user_notif trace log\n", encoding="ascii")
    mount = f'mount --bind {logged} /proc/sys/kernel/seccomp/actions_logged && exec "$@"'
    by = ("unshare", "--mount", "sh", "-c", mount, "-")
    words = job.command(tmp_path, "-p", "no:xdist", "--arch=x86_64", *options, plugin=plugin)

    ended = job.run_words([*by, *words], tmp_path)

    assert ended.status == status, ended.output
    for claim, wanted in outcomes.items():
        assert ended.outcomes(claim=claim) == wanted, ended.output
    assert {cell["outcome"] for cell in ended.cells if cell["claim"] == "controls"} == {"passed"}
    said = "kernel.seccomp.actions_logged lacks kill_process: sysctl -w"
    assert said in " ".join(ended.output.split())
    untold = [cell["sentence"] for cell in ended.cells if cell["outcome"] == "cannot_tell"]
    assert all(said in sentence for sentence in untold)
