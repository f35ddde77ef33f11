"""The matrix of what runtimes refuse by themselves: page, record and a fresh run say the same."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.guest.choice import default_cache
from probes.releases.prober import ABIS
from probes.releases.roots import SUITES
from probes.releases.starters import STARTERS
from probes.tests.support import releases
from reports.benchmarks import release_bench, release_matrix
from reports.benchmarks.release_bench import PAGE, RECORD, Case, differences
from reports.benchmarks.release_matrix import Row, upstream

POLICY = policy.load(DEFAULT_POLICY, arch.all_names())
ROWS, CALLS, KERNEL = release_matrix.load(RECORD.read_text(encoding="utf-8"))


def test_the_page_is_the_records() -> None:
    assert PAGE.read_text(encoding="utf-8") == release_matrix.page(ROWS, CALLS, KERNEL)


def test_the_record_has_every_runtime_of_every_release_and_every_call() -> None:
    expected = {*itertools.product(SUITES, (one.name for one in STARTERS))}
    assert {(row.suite, row.runtime) for row in ROWS} == expected
    assert len(ROWS) == len(expected)
    assert POLICY.names == CALLS
    for row in ROWS:
        assert {abi for abi, _ in row.answers} == set(ABIS)
        assert {call for abi, call in row.answers if abi == "x86_64"} == set(CALLS)


def test_the_record_is_written_as_it_is_read() -> None:
    text = release_matrix.dump(ROWS, CALLS, KERNEL)
    assert text == RECORD.read_text(encoding="utf-8")
    assert release_matrix.load(text) == (ROWS, CALLS, KERNEL)


@pytest.mark.root("makes namespaces and control groups")
@pytest.mark.containers
@pytest.mark.slow
@pytest.mark.parametrize(
    "suite", [pytest.param(one, marks=releases.unless_asked_for(one)) for one in SUITES]
)
def test_a_fresh_run_says_the_same(suite: str) -> None:
    """A release moves on: then ``tox -e releases`` makes the page anew."""
    fresh = list(release_bench.defaults(suite, default_cache()))
    assert not moved([row for row in ROWS if row.suite == suite], fresh)


def moved(kept: Sequence[Row], fresh: Sequence[Row]) -> list[str]:
    """What the record no longer says rightly."""
    by_name = {row.runtime: row for row in kept}
    return [
        f"{row.runtime} {row.version}: {call} on {abi}: {answer}, where"
        f" {by_name[row.runtime].version} has {by_name[row.runtime].answer(abi, call)}"
        for row in fresh
        for (abi, call), answer in row.answers.items()
        if by_name[row.runtime].answer(abi, call) != answer
    ]


def row(runtime: str, version: str, answers: Mapping[tuple[str, str], str]) -> Row:
    return Row("sid", runtime, f"{runtime} run", {runtime: version}, answers)


OLD = row("docker", "20.10.24+dfsg1-1", {("x86_64", "bpf"): "EPERM", ("i386", "bpf"): "EPERM"})
NEW = row("docker", "5:28.5.2-1", {("x86_64", "bpf"): "runs", ("i386", "bpf"): "EPERM"})
OPEN = row("runc", "1.3.6+ds1-1", {("x86_64", "bpf"): "runs", ("i386", "bpf"): "runs"})


def test_a_changed_answer_is_told() -> None:
    assert not moved([OLD], [OLD])
    assert moved([OLD], [NEW]) == ["docker 28.5.2: bpf on x86_64: runs, where 20.10.24 has EPERM"]


def test_the_page_names_what_changed_and_what_has_no_filter() -> None:
    lines = release_matrix.page((OLD, NEW, OPEN), ("bpf",), "6.18").splitlines()
    assert "| `bpf` | EPERM → **runs**, i386 EPERM (28.5.2) |" in lines
    assert "- docker 20.10.24 → 28.5.2: EPERM → **runs**, i386 EPERM for `bpf`" in lines
    assert "- `runc run` (1.3.6)" in lines
    assert "| `docker run` | sid | docker 5:28.5.2-1 | 0 of 1 | - | 1 of 1 |  |" in lines
    assert "Nothing." in release_matrix.page((OLD, OLD), ("bpf",), "6.18").splitlines()


@pytest.mark.parametrize(
    ("version", "bare"),
    [
        ("20.10.24+dfsg1-1+deb12u1+b6", "20.10.24"),
        ("1.6.20~ds1-1+deb12u3", "1.6.20"),
        ("1:2.3-4", "2.3"),
        ("0.12.0-1~deb13u1", "0.12.0"),
        ("7", "7"),
    ],
)
def test_a_version_without_debians_part(version: str, bare: str) -> None:
    assert upstream(version) == bare


def case(name: str) -> Case:
    return next(one for one in release_bench.cases(POLICY) if one.name == name)


@pytest.mark.parametrize(
    ("name", "said", "outcome"),
    [
        ("kill", "SIGSYS", "passed"),
        ("errno", "EPERM", "passed"),
        ("log", "runs", "passed"),
        ("default", "EPERM", "passed"),
        ("default", "runs", "failed"),
        ("default", "ENOSYS", "failed"),
    ],
)
def test_two_witnesses_that_agree(name: str, said: str, outcome: str) -> None:
    answers = {("x86_64", "bpf"): said}
    cells = {("x86_64", "bpf"): {"outcome": outcome, "observed": "..."}}
    assert not list(differences(case(name), answers, cells))
    # Each witness alone may err: that is told, and never swallowed.
    for other in {"SIGSYS", "EPERM", "runs", "ENOSYS", "returns"} - {said}:
        found = list(differences(case(name), {("x86_64", "bpf"): other}, cells))
        is_as_bad = name == "default" and outcome == "failed" and other != "EPERM"
        assert bool(found) is not is_as_bad, other
    for other in {"passed", "failed", "cannot_tell", "broken"} - {outcome}:
        changed = {("x86_64", "bpf"): {"outcome": other, "observed": "..."}}
        (sentence,) = differences(case(name), answers, changed)
        assert other in sentence
    (sentence,) = differences(case(name), answers, {})
    assert sentence == "bpf on x86_64: the suite does not say"


def test_a_rule_that_is_dropped_is_expected_to_be() -> None:
    weaker = case(f"errno without {release_bench.DROPPED}")
    assert weaker.profile is Profile.ERRNO
    assert weaker.expected(release_bench.DROPPED) == "runs"
    assert weaker.expected("bpf") == "EPERM"
    key = ("x86_64", release_bench.DROPPED)
    failed = {key: {"outcome": "failed", "observed": "..."}}
    assert not list(differences(weaker, {key: "runs"}, failed))
    (sentence,) = differences(weaker, {key: "EPERM"}, {key: {"outcome": "passed", "observed": ""}})
    assert sentence.endswith("the C program says EPERM, and runs was expected")
    assert case("errno").expected(release_bench.DROPPED) == "EPERM"
    assert replace(weaker, policy=None).expected("bpf") == ""
