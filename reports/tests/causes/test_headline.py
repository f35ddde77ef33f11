"""The first lines of verdicts: their words, and their numbers against a count of their own."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from probes.action import FilterReturn
from probes.cell import Cell, Claim, Outcome
from probes.judging.kinds import FAULTS, Kind
from reports import results
from reports.causes import headline, looks
from reports.causes.looks import LOOKS
from reports.results import Run
from reports.tests.support import samples
from reports.tests.support.strategies import RUNS

EVERYWHERE = "(x86_64, x32, i386)"
BUILTIN = "the suite's own filter, and no platform; profiles kill, errno, log"


def lines(run: Run) -> list[str]:
    """The first lines of a run's verdict."""
    return [one.line for one in headline.headlines(run)]


def kinds_of(run: Run) -> list[Kind]:
    """The kinds of the first lines."""
    return [one.kind for one in headline.headlines(run)]


def changed(
    run: Run,
    claim: Claim,
    calls: Iterable[str],
    outcome: Outcome,
    returned: FilterReturn | None = None,
) -> Run:
    """The run with another outcome of a claim about some calls."""
    names = set(calls)

    def one(cell: Cell) -> Cell:
        here = cell.key.claim is claim and cell.key.syscall in names
        judged = here and cell.outcome is not Outcome.NOT_APPLICABLE
        return replace(cell, outcome=outcome, returned=returned) if judged else cell

    return replace(run, cells=tuple(map(one, run.cells)))


def failed(run: Run, claim: Claim, calls: Iterable[str], returned: str | None) -> Run:
    """The run with a claim that does not hold about some calls, and what the filter returned."""
    value = None if returned is None else FilterReturn.parse(returned)
    return changed(run, claim, calls, Outcome.FAILED, value)


def test_all_as_documented() -> None:
    run = samples.passing()
    assert lines(run) == [
        f"kill: 60 of 60 documented calls are refused as documented {EVERYWHERE}",
        f"errno: 60 of 60 documented calls are refused as documented {EVERYWHERE}",
        f"log: 60 of 60 documented calls run and are recorded {EVERYWHERE}",
    ]
    assert set(kinds_of(run)) == {Kind.AS_DOCUMENTED}


def test_what_was_tested_is_named() -> None:
    """A run of the suite's own filter says that it is no platform's."""
    assert headline.banner(samples.passing()) == f"{BUILTIN}; Linux 6.12.0, x86_64"
    others = replace(samples.passing().target, kind="docker", description="a\ncontainer")
    run = replace(samples.passing(), target=others, profiles=("kill",))
    assert headline.banner(run) == "a\\u000acontainer; profile kill; Linux 6.12.0, x86_64"


def test_calls_that_get_through_are_named_with_their_abis() -> None:
    assert lines(samples.failing())[0] == (
        "kill: 58 of 60 documented calls are refused, 2 get through: acct, bpf (x86_64, x32)"
    )


def test_one_profile_needs_no_name() -> None:
    run = samples.passing()
    cells = [cell for cell in run.cells if cell.key.profile in {"kill", "none"}]
    alone = replace(run, cells=tuple(cells), profiles=("kill",))
    assert lines(alone) == [f"60 of 60 documented calls are refused as documented {EVERYWHERE}"]


def test_many_names_are_counted_unless_all_are_asked_for() -> None:
    calls = [call.name for call in samples.policy().calls][:12]
    run = failed(samples.passing(), Claim.TERMINATES, calls, "ALLOW")
    assert lines(run)[0].endswith(f"{EVERYWHERE} and 4 more")
    whole = headline.headlines(run, None)[0].line
    assert all(call in whole for call in calls)
    assert "more" not in whole


def test_refusals_that_are_others_are_named_by_how() -> None:
    """A reader sees that nothing is open, and what to change."""
    calls = [call.name for call in samples.policy().calls]
    run = failed(samples.passing(), Claim.TERMINATES, calls, "ERRNO(EPERM)")
    assert lines(run)[0] == (
        "kill: 60 of 60 documented calls are refused, but by EPERM instead of KILL_PROCESS"
    )
    assert kinds_of(run)[0] is Kind.REFUSED_OTHERWISE
    some = failed(samples.passing(), Claim.DENIES, ["acct", "bpf"], "ERRNO(ENOSYS)")
    assert lines(some)[1] == (
        "errno: 60 of 60 documented calls are refused, 2 of them by ENOSYS instead of EPERM: "
        "acct, bpf"
    )
    both = failed(some, Claim.DENIES, ["mount"], "ALLOW")
    assert lines(both)[1] == (
        "errno: 59 of 60 documented calls are refused, 2 of them by ENOSYS instead of EPERM: "
        f"acct, bpf; 1 gets through: mount {EVERYWHERE}"
    )


@pytest.mark.parametrize(
    ("claim", "returned", "said"),
    [
        (Claim.TERMINATES, "KILL_THREAD", "1 of them by KILL_THREAD instead of KILL_PROCESS: acct"),
        (Claim.TERMINATES, "TRAP", "1 of them by TRAP instead of KILL_PROCESS: acct"),
        (Claim.IS_REPORTED, None, "1 of them leaves no record: acct"),
        (Claim.IS_REPORTED, "KILL_THREAD", "1 of them has a record that says KILL_THREAD: acct"),
        (Claim.IS_SILENT, "ERRNO(EPERM)", "1 of them leaves a record: acct"),
        (Claim.TERMINATES, "LOG", f"1 gets through, recorded: acct {EVERYWHERE}"),
        (
            Claim.TERMINATES,
            "USER_NOTIF",
            f"1 is left to a supervisor or a tracer: acct {EVERYWHERE}",
        ),
        (Claim.RUNS, "ERRNO(EPERM)", "1 is answered by EPERM instead of LOG: acct"),
        (Claim.IS_RECORDED, None, f"1 runs and leaves no record: acct {EVERYWHERE}"),
    ],
)
def test_every_manner_has_words(claim: Claim, returned: str | None, said: str) -> None:
    told = lines(failed(samples.passing(), claim, ["acct"], returned))
    assert sum(one.endswith(f", {said}") for one in told) == 1, told


def test_an_errno_of_the_policys_own_is_what_is_wanted() -> None:
    run = failed(samples.passing(), Claim.DENIES, ["acct"], "ERRNO(EPERM)")
    calls = [
        replace(call, errno=("ENOSYS", "EACCES")) if call.name == "acct" else call
        for call in run.policy.calls
    ]
    run = replace(run, policy=replace(run.policy, calls=tuple(calls)))
    assert lines(run)[1].endswith("1 of them by EPERM instead of ENOSYS or EACCES: acct")


def test_no_filter_at_all() -> None:
    assert lines(samples.hopeless())[0] == (
        f"kill: none of 60 documented calls is refused, all 60 get through {EVERYWHERE}; "
        f"numbers that no table knows get through {EVERYWHERE}"
    )


def test_what_is_blocked_too_much_is_counted() -> None:
    run = samples.passing()
    others = sorted(
        {c.key.syscall for c in run.cells if c.key.claim is Claim.LEAVES_THE_REST_ALONE}
    )[:66]
    run = failed(run, Claim.LEAVES_THE_REST_ALONE, others, "ERRNO(EPERM)")
    said = "66 calls that the document does not name are refused too"
    assert lines(run)[0].endswith(f"{EVERYWHERE}; {said}")
    assert set(kinds_of(run)) == {Kind.BLOCKED_TOO_MUCH}
    one = failed(samples.passing(), Claim.LEAVES_THE_REST_ALONE, others[:1], "LOG")
    assert lines(one)[0].endswith(
        f"; 1 call that the document does not name is recorded too: {others[0]}"
    )


def test_records_that_cannot_be_read_leave_the_rest_told() -> None:
    refused = f"60 of 60 documented calls are refused {EVERYWHERE}"
    run = f"60 of 60 documented calls run {EVERYWHERE}"
    assert lines(samples.unprivileged()) == [
        f"kill: {refused}; whether they are recorded could not be told",
        f"errno: {refused}; whether that leaves no record could not be told",
        f"log: {run}; whether they are recorded could not be told",
    ]
    assert set(kinds_of(samples.unprivileged())) == {Kind.NOT_JUDGED}


def test_calls_that_could_not_be_judged_are_not_refused() -> None:
    calls = [call.name for call in samples.policy().calls]
    run = samples.passing()
    some = changed(run, Claim.TERMINATES, calls[:2], Outcome.CANNOT_TELL)
    assert lines(some)[0] == (
        "kill: 58 of 60 documented calls are refused; 2 could not be judged: "
        f"{calls[0]}, {calls[1]} {EVERYWHERE}"
    )
    every = changed(run, Claim.TERMINATES, calls, Outcome.BROKEN)
    assert lines(every)[0] == f"kill: none of 60 documented calls could be judged {EVERYWHERE}"


def test_a_run_that_says_nothing_praises_nothing() -> None:
    """Whatever passed there: the line says why it does not count."""
    for run in (samples.broken(), samples.lost()):
        assert kinds_of(run) == [Kind.NOT_JUDGED]
        assert lines(run)[0].startswith("The instrument is out of calibration: ")
    assert lines(samples.empty()) == ["nothing was judged"]
    assert lines(samples.interrupted())[-1].startswith("the run ended before its time")
    assert lines(samples.expired())[-1] == "1 waiver is at fault"
    assert kinds_of(samples.expired())[-1] is not Kind.AS_DOCUMENTED


def test_what_was_not_selected_is_counted() -> None:
    run = samples.passing()
    cells = [c for c in run.cells if c.key.claim is Claim.CONTROLS or c.key.syscall == "acct"]
    assert lines(replace(run, cells=tuple(cells)))[0] == (
        f"kill: 1 of 1 documented call is refused as documented {EVERYWHERE}; "
        "59 more were not selected"
    )


def test_what_is_accepted_is_counted_apart() -> None:
    told = headline.headlines(samples.waived())
    assert told[0].line == (
        "kill: 58 of 60 documented calls are refused; "
        "waived: 2 documented calls get through: acct, bpf (x86_64, x32)"
    )
    assert told[0].accepted
    assert not told[2].accepted


def test_kernels_that_differ_have_a_line_each() -> None:
    """The worst comes first, and those that came to the same stand together."""
    told = lines(samples.merged())
    assert told[0].startswith("kill, Linux 5.10.0-35-amd64 (x86_64): 58 of 60 ")
    assert told[1].startswith("kill, Linux 6.12.0 (x86_64), 6.1.0-40-amd64 (x86_64): 60 of 60 ")
    assert told[-1].startswith("log, each of 3 kernels: 60 of 60 ")


def test_an_abi_that_only_an_analysis_covers_is_called_so() -> None:
    assert "(x86_64, x32, i386; by analysis aarch64)" in lines(samples.proved())[0]


def test_numbers_that_no_table_knows_have_their_clause() -> None:
    run = samples.passing()
    unknown = failed(run, Claim.DEFAULT_ACTION, ["unknown"], "ERRNO(ENOSYS)")
    assert lines(unknown)[0].endswith("; numbers that no table knows are answered by ENOSYS")
    through = failed(run, Claim.DEFAULT_ACTION, ["unknown"], "ALLOW")
    assert lines(through)[0].endswith(f"; numbers that no table knows get through {EVERYWHERE}")


def test_a_child_has_a_clause_only_where_it_differs() -> None:
    """What follows from the call itself is not said twice."""
    run = samples.passing()
    sample = next(c.key.syscall for c in run.cells if c.key.claim is Claim.IS_INHERITED)
    ways = failed(run, Claim.IS_INHERITED, [sample], "ALLOW")
    assert "; documented calls in processes that come of others (execve, " in lines(ways)[0]
    both = failed(ways, Claim.TERMINATES, [sample], "ALLOW")
    assert "processes that come" not in lines(both)[0]


@given(RUNS)
def test_the_lines_are_lines(run: Run) -> None:
    """Nothing from outside acts on a terminal, and every run has one."""
    told = lines(run)
    assert told
    assert all(line and line.isprintable() for line in [*told, headline.banner(run)])


@given(RUNS)
def test_a_failure_is_never_praised(run: Run) -> None:
    """Where a claim about the target failed, a line is of a kind that is a fault."""
    if results.why_none_counts(run.cells):
        return
    about = [cell for cell in run.cells if cell.key.claim is not Claim.CONTROLS]
    faults = any(cell.outcome is Outcome.FAILED for cell in about)
    assert faults == any(kind in FAULTS for kind in kinds_of(run))


@given(RUNS)
def test_the_order_of_cells_is_none_of_the_lines_business(run: Run) -> None:
    turned = replace(run, cells=tuple(reversed(run.cells)))
    assert lines(turned) == lines(run)


# The numbers, counted by a few lines that know nothing of kinds


def counted(record: dict[str, Any], profile: str) -> tuple[int, int, int]:
    """How many documented calls exist, and get through; how many others are refused."""
    act = {"kill": "terminates", "errno": "denies"}[profile]
    cells = [cell for cell in record["cells"] if cell["profile"] == profile]
    acts = [cell for cell in cells if cell["claim"] == act and cell["outcome"] != "not_applicable"]
    through = [cell for cell in acts if "reached the kernel" in cell["observed"]]
    rest = [cell for cell in cells if cell["claim"] == "leaves the rest alone"]
    blocked = {cell["syscall"] for cell in rest if cell["outcome"] in {"failed", "waived"}}
    return (
        len({cell["syscall"] for cell in acts}),
        len({cell["syscall"] for cell in through}),
        len(blocked),
    )


@pytest.mark.parametrize("name", ["passing", "failing", "hopeless", "unprivileged", "waived"])
def test_the_numbers_are_those_of_the_record(name: str) -> None:
    run = samples.all_kinds()[name]
    record = json.loads(results.to_json(run))
    for profile, line in zip(("kill", "errno"), lines(run)[:2], strict=True):
        existing, through, blocked = counted(record, profile)
        refused = existing - through
        assert f"{refused or 'none'} of {existing} documented calls" in line
        got = re.search(r"(\d+) (?:documented calls )?gets? through[:( ]", line)
        assert int(got[1] if got else 0) == through
        too_much = re.search(r"(\d+) calls? that the document does not name", line)
        assert int(too_much[1] if too_much else 0) == blocked


def test_a_line_has_the_colour_of_its_sign_and_no_other() -> None:
    """Whoever sees no colour has the sign and the word."""
    assert [looks.colours(f"{look.sign} words") for look in LOOKS.values() if look.colour] == [
        (look.colour,) for look in LOOKS.values() if look.colour
    ]
    assert looks.colours("words ✗ words") == looks.colours("✗") == looks.colours("") == ()


def test_of_twelve_nodes_the_one_that_differs_comes_first() -> None:
    """And is named; the others are counted."""
    good, bad = samples.passing(), samples.failing()

    def node(run: Run, number: int) -> Run:
        where = replace(run.environment, host=f"node{number}")
        return replace(run, environments=(where,))

    joined = results.join([*(node(good, number) for number in range(11)), node(bad, 11)])
    told = [one for one in lines(joined) if one.startswith("kill, ")]
    through = "58 of 60 documented calls are refused, 2 get through: acct, bpf (x86_64, x32)"
    held = f"60 of 60 documented calls are refused as documented {EVERYWHERE}"
    assert told == [
        f"kill, node11: {through}",
        f"kill, node0, node1, node2 and 8 more: {held}",
    ]
    assert headline.banner(joined) == f"{BUILTIN}; Linux 6.12.0 (x86_64) on 12 machines"
