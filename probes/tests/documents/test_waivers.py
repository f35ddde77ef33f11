"""Waivers: the file, what it covers, and what comes of each."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.arch import ARCHES, all_names
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents import waivers
from probes.documents.waivers import FAULTS, Surroundings, Waiver, WaiverScope, WaiverState
from probes.errors import BadInputError

FILE = """\
format = 1

[[waiver]]
call = "acct"
arch = "x86_64"
target = "oci:*"
profile = "errno"
claim = "is silent"
reason = "r"
owner = "o"
approver = "a"
created = 2026-01-31
expires = 2026-04-30
"""
DAY = date(2026, 2, 1)
WAIVER = Waiver(
    call="acct",
    arch="x86_64",
    target="*",
    reason="r",
    owner="o",
    approver="a",
    created=date(2026, 1, 1),
    expires=date(2026, 12, 31),
)


def cell(
    outcome: Outcome = Outcome.FAILED,
    claim: Claim = Claim.DENIES,
    syscall: str = "acct",
    arch: str = "x86_64",
    profile: str = "errno",
) -> Cell:
    """A cell of which only the key and the outcome matter."""
    return Cell(CellKey(claim, profile, arch, syscall, 163), outcome, None, "s", "e", "o")


def scope(*planned: Cell, target: str = "builtin", today: date = DAY) -> WaiverScope:
    """What a run says that planned these cells."""
    return WaiverScope(target, today, [one.key for one in planned], all_names(), ARCHES)


def outcome_of(waiver: Waiver, cells: list[Cell], asked: WaiverScope) -> waivers.JudgedWaiver:
    """What comes of one waiver in a run of these cells."""
    done = waivers.waive(cells, [waiver], asked.target, asked.today)
    return waivers.judge([waiver], asked, done)[0]


# The file


def test_a_file_is_read(tmp_path: Path) -> None:
    """Every key arrives."""
    path = tmp_path / "waivers.toml"
    path.write_text(FILE)
    assert waivers.load(path) == (
        Waiver(
            call="acct",
            arch="x86_64",
            target="oci:*",
            reason="r",
            owner="o",
            approver="a",
            created=date(2026, 1, 31),
            expires=date(2026, 4, 30),
            profile="errno",
            claim=Claim.IS_SILENT,
        ),
    )


@pytest.mark.parametrize("claim", ["leaves the rest alone", "default action"])
def test_what_is_about_no_documented_call_may_be_waived_for_all(claim: str, tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(FILE.replace('"acct"', '"*"').replace("is silent", claim))
    assert waivers.load(path)[0].call == "*"
    path.write_text(FILE.replace('"acct"', '"*"').replace('claim = "is silent"\n', ""))
    with pytest.raises(BadInputError, match="nearly whatever fails"):
        waivers.load(path)


def test_a_file_may_hold_no_waiver(tmp_path: Path) -> None:
    """That is how it begins and ends."""
    path = tmp_path / "waivers.toml"
    path.write_text("format = 1\n")
    assert waivers.load(path) == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", "'format' is not 1"),
        ("format = 1", "", "lacks the key 'format'"),
        ("[[waiver]]", "[[waivers]]", "unknown key 'waivers'; did you mean 'waiver'?"),
        ("[[waiver]]", "[waiver]", "'waiver' must be a list"),
        ('owner = "o"\n', "", "line 3: the waiver lacks the key 'owner'"),
        ('owner = "o"', "owner = 1", "line 3: the waiver: 'owner' must be text"),
        ('owner = "o"', 'owner = " "', "line 3: the waiver: 'owner' is empty"),
        ('owner = "o"', 'ownr = "o"', "unknown key 'ownr'; did you mean 'owner'?"),
        ("expires = 2026-04-30\n", "", "lacks the key 'expires' (a date)"),
        ("2026-04-30", '"2026-04-30"', "'expires' must be a date, but is text"),
        ("2026-04-30", "2026-04-30T00:00:00Z", "'expires' must be a date, but is"),
        ("2026-04-30", "2026-02-30", "this is not TOML"),
        ("2026-04-30", "2026-01-30", "before it was created on 2026-01-31"),
        ('"errno"', '"erno"', "unknown profile 'erno'; did you mean 'errno'?"),
        ('"is silent"', '"is silnt"', "unknown claim 'is silnt'; did you mean 'is silent'?"),
        ('"is silent"', '"controls"', "which nobody can waive"),
        ('"acct"', "[]", "'call' is an empty list"),
        ('"acct"', "[1]", "'call', entry 1, must be text"),
        ('"acct"', '["acct", "acct"]', "repeats 'acct'"),
        ('"acct"', '"*"', "'call' is '*', which would waive nearly whatever fails"),
        ('"acct"', '["acct", "?s*"]', "'call' is '?s*', which would waive"),
        ("2026-04-30", '""', "'expires' is empty; fill in the last day, such as 2026-04-30"),
        ('owner = "o"', 'owner = "o"\nkernel = "6.1"', "'kernel' is '6.1'; write a range"),
        ('owner = "o"', 'owner = "o"\nkernel = ""', "'kernel' is empty; fill it in"),
    ],
)
def test_a_faulty_file_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    """In one sentence that names the file, the line and the key."""
    path = tmp_path / "waivers.toml"
    assert old in FILE
    path.write_text(FILE.replace(old, new))
    with pytest.raises(BadInputError) as caught:
        waivers.load(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(BadInputError, match="the TOML file of the waivers cannot be read"):
        waivers.load(tmp_path / "waivers.toml")


# What a waiver covers


def test_a_failure_is_waived_with_all_that_an_auditor_asks() -> None:
    """Until when, who accepted it, whose it is, and why."""
    (waived,) = waivers.waive([cell()], [WAIVER], "builtin", DAY)
    assert waived.outcome is Outcome.WAIVED
    assert waived.waiver == 0
    assert waived.sentence == "s; waived until 2026-12-31 by a (owner o): r"
    assert waived.reason == waived.sentence  # of a cell whose reason nobody kept apart
    bare = replace(waived, outcome=Outcome.FAILED, sentence="s", reason="", waiver=None)
    assert bare == cell()


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.FAILED}))
def test_nothing_but_a_failure_is_waived(outcome: Outcome) -> None:
    """Nobody can accept what nobody knows."""
    assert waivers.waive([cell(outcome)], [WAIVER], "builtin", DAY) == [cell(outcome)]


def test_a_control_is_never_waived() -> None:
    """It vouches for all the rest."""
    control = cell(claim=Claim.CONTROLS)
    assert waivers.waive([control], [WAIVER], "builtin", DAY) == [control]


@pytest.mark.parametrize(
    "change",
    [
        {"call": "bpf"},
        {"arch": "i386"},
        {"arch": "x86_6"},
        {"call": "acc|t"},
        {"call": "ac*x"},
        {"call": "acc??"},
        {"kernel": "<6"},
        {"runtime": ">=1"},
        {"profile": "kill"},
        {"claim": Claim.IS_SILENT},
        {"target": "oci:*"},
        {"created": DAY + timedelta(days=1)},
        {"expires": DAY - timedelta(days=1)},
    ],
)
def test_a_waiver_covers_no_more_than_it_says(change: dict[str, Any]) -> None:
    """Not another call, ABI, profile, claim, target, day or version."""
    waiver = replace(WAIVER, **change)
    here = Surroundings(kernel="6.12.3-cloud")
    assert waivers.waive([cell()], [waiver], "builtin", DAY, here) == [cell()]


@pytest.mark.parametrize(
    "change",
    [
        {"call": "bpf|acct"},
        {"call": "ac*"},
        {"call": "a?ct"},
        {"arch": "*"},
        {"arch": "i386|x86*"},
        {"kernel": ">=6.1, <6.13"},
        {"kernel": ">=6", "runtime": ">=1.1,<1.2", "libseccomp": "<2.6"},
    ],
)
def test_a_waiver_covers_what_its_patterns_and_ranges_say(change: dict[str, Any]) -> None:
    here = Surroundings("6.12.3-cloud", "1.1.5+ds1", "2.5.4")
    waiver = replace(WAIVER, **change)
    (done,) = waivers.waive([cell()], [waiver], "builtin", DAY, here)
    assert done.outcome is Outcome.WAIVED


def test_brackets_of_conditions_are_no_pattern() -> None:
    label = "socket[0==38]"
    waiver = replace(WAIVER, call=label)
    (done, other) = waivers.waive([cell(syscall=label), cell(syscall="socket0")], [waiver], "", DAY)
    assert (done.outcome, other.outcome) == (Outcome.WAIVED, Outcome.FAILED)


def test_what_a_waiver_is_not_limited_to_does_not_make_it_needless() -> None:
    """Elsewhere, and where the version is not known, it is out of scope, and no fault."""
    waiver = replace(WAIVER, kernel="<6.12")
    for kernel in ("6.18.44", ""):
        asked = replace(scope(cell()), here=Surroundings(kernel=kernel))
        done = waivers.waive([cell(Outcome.PASSED)], [waiver], "builtin", DAY, asked.here)
        (judged,) = waivers.judge([waiver], asked, done)
        assert judged.state is WaiverState.OUT_OF_SCOPE
        assert "is limited to kernel <6.12" in judged.sentence
    asked = replace(scope(cell()), here=Surroundings(kernel="6.1.0"))
    (judged,) = waivers.judge([waiver], asked, [cell(Outcome.PASSED)])
    assert judged.state is WaiverState.UNUSED


@pytest.mark.parametrize(
    ("change", "name"), [({"call": "acct|bpf"}, "bpf"), ({"arch": "x86_64|i386"}, "i386")]
)
def test_a_name_that_nothing_needs_is_a_fault(change: dict[str, Any], name: str) -> None:
    waiver = replace(WAIVER, **change)
    other = cell(Outcome.PASSED, syscall="bpf" if "call" in change else "acct")
    other = replace(other, key=replace(other.key, arch="i386" if "arch" in change else "x86_64"))
    judged = outcome_of(waiver, [cell(), other], scope(cell(), other))
    assert judged.state is WaiverState.UNUSED
    assert f"covers nothing for {name}: take that out of it" in judged.sentence
    unsure = replace(other, outcome=Outcome.CANNOT_TELL)
    assert outcome_of(waiver, [cell(), unsure], scope(cell(), unsure)).state is WaiverState.ACTIVE


def test_each_name_has_to_mean_something() -> None:
    strange = outcome_of(replace(WAIVER, call="acct|acctt"), [cell()], scope(cell()))
    assert strange.state is WaiverState.UNKNOWN
    assert "(acctt)" in strange.sentence
    strange = outcome_of(replace(WAIVER, arch="x86*|sparc*"), [cell()], scope(cell()))
    assert strange.state is WaiverState.UNKNOWN


def test_lists_are_read(tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    ranges = 'kernel = ">=6.1, <6.12"\nlibseccomp = "<2.6"\n'
    given = FILE.replace('"acct"', '["acct", "msg*"]').replace('"x86_64"', '["*"]')
    path.write_text(given + ranges)
    (waiver,) = waivers.load(path)
    assert (waiver.call, waiver.arch) == ("acct|msg*", "*")
    assert (waiver.kernel, waiver.runtime, waiver.libseccomp) == (">=6.1, <6.12", None, "<2.6")
    assert str(waiver) == (
        "acct, msg* on * (is silent, errno, kernel >=6.1, <6.12, libseccomp <2.6)"
    )


@pytest.mark.parametrize("change", [{"created": DAY}, {"expires": DAY}, {"profile": "errno"}])
def test_a_waiver_holds_on_its_first_and_its_last_day(change: dict[str, Any]) -> None:
    """Both days belong to it."""
    waiver = replace(WAIVER, **change)
    assert waivers.waive([cell()], [waiver], "builtin", DAY)[0].outcome is Outcome.WAIVED


@given(
    st.lists(
        st.builds(
            cell,
            outcome=st.sampled_from(Outcome),
            claim=st.sampled_from(Claim),
            syscall=st.sampled_from(["acct", "bpf"]),
            profile=st.sampled_from(["kill", "errno"]),
        ),
        unique_by=lambda one: one.key,
    ),
    st.lists(
        st.builds(
            replace,
            st.just(WAIVER),
            call=st.sampled_from(["acct", "bpf"]),
            claim=st.sampled_from([None, Claim.DENIES, Claim.IS_PROVED]),
            expires=st.dates(DAY - timedelta(days=2), DAY + timedelta(days=2)),
        ),
        max_size=4,
    ),
)
def test_books_balance(cells: list[Cell], named: list[Waiver]) -> None:
    """Every waived failure is credited to exactly one valid waiver, and nothing else changes."""
    done = waivers.waive(cells, named, "builtin", DAY)
    judged = waivers.judge(named, scope(*cells), done)
    changed = [new for old, new in zip(cells, done, strict=True) if new != old]
    assert all(new.outcome is Outcome.WAIVED for new in changed)
    assert sum(one.waived for one in judged) == len(changed)
    for new in changed:
        assert new.waiver is not None
        assert named[new.waiver].names(new.key)
        assert judged[new.waiver].state is WaiverState.ACTIVE
    assert {one.waived > 0 for one in judged if one.state is not WaiverState.ACTIVE} <= {False}


# What comes of it


@pytest.mark.parametrize(
    ("change", "outcome", "state", "words"),
    [
        ({}, Outcome.FAILED, WaiverState.ACTIVE, "covers 1 failure until 2026-12-31"),
        ({}, Outcome.PASSED, WaiverState.UNUSED, "did not fail: remove it"),
        ({}, Outcome.NOT_APPLICABLE, WaiverState.UNUSED, "did not fail: remove it"),
        ({}, Outcome.CANNOT_TELL, WaiverState.OUT_OF_SCOPE, "cannot be judged: 1 of its 1"),
        ({}, Outcome.BROKEN, WaiverState.OUT_OF_SCOPE, "cannot be judged"),
        ({"expires": date(2026, 1, 31)}, Outcome.FAILED, WaiverState.EXPIRED, "on 2026-01-31"),
        ({"created": date(2026, 3, 1)}, Outcome.FAILED, WaiverState.NOT_YET_VALID, "2026-03-01"),
        ({"call": "accct"}, Outcome.FAILED, WaiverState.UNKNOWN, "did you mean 'acct'?"),
        ({"arch": "x86-64"}, Outcome.FAILED, WaiverState.UNKNOWN, "did you mean 'x86_64'?"),
        ({"call": "read"}, Outcome.FAILED, WaiverState.UNKNOWN, "names no cell"),
        ({"arch": "aarch64"}, Outcome.FAILED, WaiverState.OUT_OF_SCOPE, "judge: aarch64"),
        ({"profile": "log"}, Outcome.FAILED, WaiverState.OUT_OF_SCOPE, "judge: log"),
        ({"claim": Claim.RUNS}, Outcome.FAILED, WaiverState.OUT_OF_SCOPE, "judge: runs"),
        ({"target": "oci:*"}, Outcome.FAILED, WaiverState.OUT_OF_SCOPE, "other targets: oci:*"),
    ],
)
def test_state(change: dict[str, Any], outcome: Outcome, state: WaiverState, words: str) -> None:
    """Each state, with its reason in the sentence."""
    waiver = replace(WAIVER, **change)
    judged = outcome_of(waiver, [cell(outcome)], scope(cell()))
    assert (judged.state, judged.waived) == (state, int(state is WaiverState.ACTIVE))
    assert words in judged.sentence
    assert judged.sentence.startswith(f"the waiver of {waiver.call} on {waiver.arch}")
    assert judged.days_left == (waiver.expires - DAY).days


def test_what_was_not_selected_makes_no_waiver_unused() -> None:
    """A run of a part of the tests must not ask for the removal of what another part needs."""
    other = cell(claim=Claim.IS_SILENT)
    judged = outcome_of(WAIVER, [cell(Outcome.PASSED)], scope(cell(), other))
    assert judged.state is WaiverState.OUT_OF_SCOPE
    assert outcome_of(WAIVER, [], scope(cell())).state is WaiverState.OUT_OF_SCOPE


def test_a_waiver_that_another_makes_needless_is_unused() -> None:
    """The first in the file takes the failure."""
    done = waivers.waive([cell()], [WAIVER, WAIVER], "builtin", DAY)
    first, second = waivers.judge([WAIVER, WAIVER], scope(cell()), done)
    assert (first.state, second.state) == (WaiverState.ACTIVE, WaiverState.UNUSED)
    assert "an earlier one" in second.sentence


def test_faults_are_those_that_the_user_must_mend() -> None:
    """What concerns another run, target or day is none."""
    assert set(FAULTS) == {WaiverState.EXPIRED, WaiverState.UNUSED, WaiverState.UNKNOWN}
