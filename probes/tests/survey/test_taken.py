"""Surveys of made-up machines: what each process has, and what the machine comes to."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import Arch
from probes.cell import Cell, Claim, Outcome
from probes.documents import policy
from probes.errors import BadInputError, InstrumentError
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.filters.bpf import Program
from probes.instrument import harvest, workers
from probes.instrument.harvest import Harvest, ThreadFilters
from probes.survey import question, seen_processes, taken
from probes.survey.confined import name_of
from probes.survey.question import SurveyQuestion
from probes.survey.seen_processes import Listing, SeenProcess
from probes.survey.taken import Taken
from probes.targets import builtin, sandbox_kernel
from probes.workload import OwnerKind, WorkloadRow, WorkloadState

SHIPPED = policy.load(DEFAULT_POLICY, arch.all_names())
HERE = arch.of_this_process()
NATIVE = HERE[0]
ALLOW = FilterReturn(Action.ALLOW).value
Programs = tuple[bytes, ...]
Threads = Sequence[Programs]

pytestmark = pytest.mark.slow


def raw(program: Program) -> bytes:
    return bpf.to_bytes(program, big_endian=NATIVE.big_endian)


def conforming(profile: Profile = Profile.ERRNO, arches: Sequence[Arch] = HERE) -> bytes:
    return raw(builtin.build(SHIPPED, arches, profile))


def answering(returns: FilterReturn) -> bytes:
    """A filter that answers one thing to every call."""
    return raw((bpf.statement(bpf.RET_K, returns.value),))


GOOD, KILLS = conforming(), conforming(Profile.KILL)
OPEN = raw((bpf.statement(bpf.RET_K, ALLOW),))
ASKS = answering(FilterReturn(Action.USER_NOTIF))


@dataclass(slots=True)
class Made:
    """A made-up machine.

    Attributes:
        harvests: what the threads of each process have, or why that cannot be seen.
        sandboxes: whose sandbox a process runs.
        gone: the processes that end while they are looked at.
        unsettled: those whose threads keep changing.
    """

    harvests: dict[int, Threads | Exception] = field(default_factory=dict)
    sandboxes: dict[int, str] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    unsettled: set[int] = field(default_factory=set)
    groups: dict[int, str] = field(default_factory=dict)

    def add(self, name: str, *members: Threads | Exception, group: str = "docker") -> list[int]:
        """Adds a container, or what else the group is, with its processes; their ids."""
        identity = (name * 64)[:64]
        path = {"docker": f"/docker/{identity}", "service": f"/system.slice/{name}.service"}
        pids = list(range(len(self.harvests) + 100, len(self.harvests) + 100 + len(members)))
        for pid, one in zip(pids, members, strict=True):
            self.harvests[pid] = one
            self.groups[pid] = path.get(group, group)
        return pids

    def filters_of(self, pid: int, _seconds: float) -> Harvest:
        """In place of ``harvest.filters_of``."""
        found = self.harvests[pid]
        if isinstance(found, Exception):
            raise found
        threads = tuple(
            ThreadFilters(pid + place, "a", programs, (False,) * len(programs))
            for place, programs in enumerate(found)
        )
        return Harvest(pid, "a", threads, pid not in self.unsettled)

    def listing(self) -> Listing:
        """What runs there."""
        first = SeenProcess(1, 0, "init", 1, "/init.scope", "pid:[1]")
        found = {
            pid: SeenProcess(pid, 1, "a", 1, group, "pid:[1]") for pid, group in self.groups.items()
        }
        return Listing({1: first, **found})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    machine = Made()
    monkeypatch.setattr(harvest, "filters_of", machine.filters_of)
    monkeypatch.setattr(seen_processes, "is_still", lambda one: one.pid not in machine.gone)
    monkeypatch.setattr(sandbox_kernel, "of_process", lambda pid: machine.sandboxes.get(pid, ""))
    return machine


def take(made: Made, profile: str = "refuse", **more: object) -> Taken:
    asked = SurveyQuestion(profile, namespace_alone=True, **more)  # type: ignore[arg-type]  # as it takes
    return taken.take(SHIPPED, asked, made.listing())


def rows(found: Taken) -> dict[str, WorkloadRow]:
    return {one.id[:1] if one.kind is OwnerKind.CONTAINER else one.id: one for one in listed(found)}


def listed(found: Taken) -> tuple[WorkloadRow, ...]:
    return found.survey(lambda cells: cells).workloads


def states(found: Taken) -> dict[str, WorkloadState]:
    return {name: row.state for name, row in rows(found).items()}


def outcomes(cells: Sequence[Cell]) -> set[Outcome]:
    return {cell.outcome for cell in cells} - {Outcome.NOT_APPLICABLE}


def test_equal_stacks_are_judged_once(made: Made) -> None:
    made.add("a", [(GOOD,)], [(GOOD,), (GOOD,)])
    made.add("b", [(GOOD,)])
    found = take(made)
    assert [one.name for one in found.stacks] == [name_of(((GOOD,), (False,)))]
    assert states(found) == {"a": WorkloadState.HOLDS, "b": WorkloadState.HOLDS}
    assert outcomes(found.cells) == {Outcome.PASSED}
    (stack,) = found.survey(lambda cells: cells).stacks
    assert stack.processes == 3


def test_as_many_filters_are_not_equal_ones(made: Made) -> None:
    """The kernel's count of a thread's filters is the same for all of these."""
    made.add("a", [(GOOD,)])
    made.add("b", [(OPEN,)])
    made.add("c", [(KILLS,)])
    found = take(made)
    assert states(found) == {
        "a": WorkloadState.HOLDS,
        "b": WorkloadState.FAILS,
        "c": WorkloadState.HOLDS,
    }
    assert len(found.stacks) == 3


def test_order_and_flags_make_another_stack() -> None:
    both = (False, False)
    names = {
        name_of(((GOOD, OPEN), both)),
        name_of(((OPEN, GOOD), both)),
        name_of(((GOOD, OPEN), (True, False))),
        name_of(((GOOD,), (False,))),
        name_of(((GOOD,), (True,))),
    }
    assert len(names) == 5


def test_one_open_thread_is_told(made: Made) -> None:
    made.add("a", [(GOOD,)], [(GOOD,), ()])
    made.add("b", [(GOOD,)], [()])
    found = take(made)
    assert states(found) == {"a": WorkloadState.FAILS, "b": WorkloadState.FAILS}
    failed = [cell for cell in found.cells if cell.outcome is Outcome.FAILED]
    assert {cell.key.claim for cell in failed} == {Claim.IS_ALL_JUDGED}
    assert "101 (a)" in rows(found)["a"].sentence


def test_one_open_process_among_stacks(made: Made) -> None:
    made.add("a", [(GOOD,)], [(OPEN,)])
    assert states(take(made)) == {"a": WorkloadState.FAILS}


def test_what_has_no_filter_and_what_nobody_sees(made: Made) -> None:
    made.add("a", [()], [()])
    made.add("b", BadInputError("process 102 is traced by another"))
    made.add("c", [(GOOD,)], InstrumentError("process 104 could not be read in time"))
    found = take(made)
    assert states(found) == {
        "a": WorkloadState.NONE,
        "b": WorkloadState.CANNOT_TELL,
        "c": WorkloadState.CANNOT_TELL,
    }
    assert outcomes(found.findings) == {Outcome.FAILED, Outcome.CANNOT_TELL}
    assert "is traced by another" in rows(found)["b"].sentence
    assert "no seccomp filter at all" in rows(found)["a"].sentence


def test_a_failure_outweighs_what_is_not_seen(made: Made) -> None:
    made.add("a", [(OPEN,)], BadInputError("not to be read"))
    made.add("b", [()], BadInputError("not to be read"))
    assert states(take(made)) == {"a": WorkloadState.FAILS, "b": WorkloadState.FAILS}


def test_what_ends_meanwhile_is_left_out(made: Made) -> None:
    gone = made.add("a", [(OPEN,)], BadInputError("ended"))
    made.gone.update(gone)
    made.add("b", [(GOOD,)])
    assert states(take(made)) == {"b": WorkloadState.HOLDS}


def test_threads_that_keep_changing(made: Made) -> None:
    made.unsettled.update(made.add("a", [(GOOD,)]))
    assert states(take(made)) == {"a": WorkloadState.CANNOT_TELL}


def test_a_sandbox_of_its_own_kernel(made: Made) -> None:
    (pid,) = made.add("a", [(GOOD,)])
    made.sandboxes[pid] = "gVisor"
    found = take(made)
    assert states(found) == {"a": WorkloadState.CANNOT_TELL}
    assert "--target=ambient" in rows(found)["a"].sentence


def test_any_refusal_counts_where_none_is_asked_for(made: Made) -> None:
    """Whichever profile a filter conforms to but that which records, and what refuses more."""
    made.add("a", [(conforming(Profile.KILL),)])
    made.add("b", [(conforming(Profile.LOG),)])
    made.add("c", [(answering(FilterReturn(Action.TRAP, 7)),)])
    made.add("d", [(answering(FilterReturn(Action.ERRNO, 38)),)])
    made.add("e", [(KILLS, GOOD)])
    found = take(made)
    expected = dict.fromkeys("acde", WorkloadState.HOLDS) | {"b": WorkloadState.FAILS}
    assert states(found) == expected
    assert states(take(made, "kill")) == {
        **dict.fromkeys("abcde", WorkloadState.FAILS),
        "a": WorkloadState.HOLDS,
        "e": WorkloadState.HOLDS,
    }


def test_what_a_supervisor_decides_cannot_be_told(made: Made) -> None:
    made.add("a", [(ASKS,)])
    found = take(made)
    assert states(found) == {"a": WorkloadState.CANNOT_TELL}
    assert "leave it to somebody else" in rows(found)["a"].sentence
    # Who lets something run for sure is open, whatever else is asked about.
    made.add("b", [(raw(_asks_about_one()),)])
    assert states(take(made))["b"] is WorkloadState.FAILS


def _asks_about_one() -> Program:
    parts = bpf.ranges_from({NATIVE.numbers["acct"]: FilterReturn(Action.USER_NOTIF).value}, ALLOW)
    return bpf.dispatch({NATIVE.audit_arch: parts}, ALLOW)


@pytest.mark.skipif(NATIVE.name != "x86_64", reason="looks at the ABIs of x86_64")
@pytest.mark.parametrize("profile", ["refuse", "errno"])
def test_an_abi_that_is_open_is_told(made: Made, profile: str) -> None:
    """A filter that lets whole ABIs through: every one of the machine counts."""
    refused = bpf.ranges_from({}, Profile.ERRNO.returns.value)
    made.add("a", [(raw(bpf.dispatch({NATIVE.audit_arch: refused}, ALLOW)),)])
    found = take(made, profile)
    assert states(found) == {"a": WorkloadState.FAILS}
    failed = {cell.key.arch for cell in found.cells if cell.outcome is Outcome.FAILED}
    assert failed >= ({"i386"} if profile == "refuse" else {"any"})
    assert profile != "refuse" or failed == {"i386"}
    # The sentence names the ABI, for the others hold.
    assert profile != "refuse" or "acct (i386), " in rows(found)["a"].sentence


def test_services_count_where_they_are_required(made: Made) -> None:
    made.add("web", [(OPEN,)], group="service")
    made.add("cron", [()], group="service")
    found = take(made)
    assert states(found) == {"web.service": WorkloadState.FAILS, "cron.service": WorkloadState.NONE}
    assert found.cells == ()
    found = take(made, required=frozenset({OwnerKind.SERVICE}))
    assert outcomes(found.cells) >= {Outcome.FAILED}
    assert {row.required for row in listed(found)} == {True}


def test_the_suites_own_container_is_not_judged(made: Made) -> None:
    made.add("a", [(GOOD,)])
    made.harvests[os.getpid()] = [()]
    made.groups[os.getpid()] = f"/docker/{'b' * 64}"
    found = take(made)
    assert states(found) == {"a": WorkloadState.HOLDS, "b": WorkloadState.EXCLUDED}
    assert outcomes(found.cells) == {Outcome.PASSED}


def test_patterns(made: Made) -> None:
    made.add("a", [(OPEN,)])
    made.add("b", [(GOOD,)])
    for include, exclude in (((), ("docker:a*",)), (("*:b*",), ())):
        found = take(made, include=include, exclude=exclude)
        assert states(found) == {"a": WorkloadState.EXCLUDED, "b": WorkloadState.HOLDS}
        assert outcomes(found.cells) == {Outcome.PASSED}


def test_other_processes_only_where_they_are_required(made: Made) -> None:
    made.add("x", [()], group="/user.slice/session-1.scope")
    made.harvests[1] = [()]
    assert states(take(made)) == {}
    found = take(made, required=frozenset(OwnerKind))
    assert states(found) == dict.fromkeys(
        ("/user.slice/session-1.scope", "/init.scope"), WorkloadState.NONE
    )


def test_one_failure_of_each_stack_is_tried_on_the_kernel(made: Made) -> None:
    made.add("a", [(OPEN,)])
    made.add("b", [(GOOD, OPEN)])
    (of_open,) = (one for one in take(made).stacks if one.confinement[0] == (OPEN,))
    tried = [cell for cell in of_open.cells if "so it is on this kernel" in cell.sentence]
    failed = [cell for cell in of_open.cells if cell.outcome is Outcome.FAILED]
    assert len(tried) == 1 < len(failed)
    assert all(f"filters {of_open.name}" in cell.sentence for cell in failed)


def test_waivers_are_heard(made: Made) -> None:
    made.add("a", [(OPEN,)])

    def excused(cells: object) -> list[Cell]:
        assert isinstance(cells, Sequence)
        return [_waived(cell) for cell in cells]

    (row,) = take(made).survey(excused).workloads
    assert row.state is WorkloadState.WAIVED
    assert row.sentence.startswith("what fails is waived: ")


def _waived(cell: Cell) -> Cell:
    fields: Mapping[str, object] = {name: getattr(cell, name) for name in Cell.__dataclass_fields__}
    if cell.outcome is not Outcome.FAILED:
        return cell
    return Cell(**{**fields, "outcome": Outcome.WAIVED})  # type: ignore[arg-type]  # as they were


@pytest.mark.parametrize("given", [("containers", {OwnerKind.CONTAINER}), ("all", set(OwnerKind))])
def test_words_of_require(given: tuple[str, set[OwnerKind]]) -> None:

    assert question.required(given[0]) == given[1]


def test_a_pid_namespace_of_ones_own_is_a_limit(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.add("a", [(GOOD,)])
    for sees, expected in (
        (True, {Outcome.PASSED}),
        (False, {Outcome.PASSED, Outcome.CANNOT_TELL}),
    ):
        monkeypatch.setattr(seen_processes, "sees_the_machine", lambda sees=sees: sees)
        found = taken.take(SHIPPED, SurveyQuestion(), made.listing())
        assert outcomes(found.cells) == expected


def test_a_process_that_judges_and_dies_is_an_error() -> None:

    def work(share: int) -> int:
        if share:
            os._exit(3)
        return share

    with pytest.raises(InstrumentError, match="ended before its work"):
        workers.spread(work, [0, 1])
    assert workers.spread(abs, [-1, -2, -3]) == [1, 2, 3]
    assert workers.spread(abs, [-1]) == [1]
    with pytest.raises(ZeroDivisionError):
        workers.spread((1).__truediv__, [1, 0])
