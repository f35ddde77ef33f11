"""Each rule finds every documented call in others' readers of records, and nothing else."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from probes.arch import ARCHES
from probes.filters.conditions import Condition, Operator
from probes.tests.support.auditbeat_log import libaudit_names
from probes.tests.support.headers import X32
from reports.filters import record_rules
from reports.filters.record_rules import Documented, RuleFormat, notes, rule
from reports.tests import benchmark_rules
from reports.tests.support.rule_finders import (
    EVERYWHERE,
    FINDERS,
    POLICY,
    Finder,
    expected,
    key_of,
    package,
    said,
    texts,
)

pytestmark = pytest.mark.slow

each_finder = pytest.mark.parametrize(
    ("form", "finder"), FINDERS, ids=[finder.__name__ for _, finder in FINDERS]
)


@each_finder
def test_a_rule_finds_every_documented_call_and_no_other(
    form: RuleFormat, finder: Finder, tmp_path: Path
) -> None:
    found = finder(said(form), tmp_path)

    assert sorted(found) == sorted(expected())
    print(f"{form}: {len(found)} found, {len(texts()) - len(found)} left alone")  # noqa: T201


@each_finder
def test_a_rule_of_a_smaller_policy_misses_the_call(
    form: RuleFormat, finder: Finder, tmp_path: Path
) -> None:
    """Else the comparison above could not fail."""
    rest = tuple(call for call in POLICY.calls if call.name != "acct")

    found = finder(rule(replace(POLICY, calls=rest), EVERYWHERE, form), tmp_path)

    missed = {key_of(text) for text in set(expected()) - set(found)}
    accts = {(f"{one.audit_arch:x}", str(one.number("acct"))) for one in EVERYWHERE}
    assert missed
    assert missed <= accts
    assert set(found) < set(expected())


@each_finder
def test_a_rule_of_one_more_call_finds_it(form: RuleFormat, finder: Finder, tmp_path: Path) -> None:
    more = replace(POLICY, calls=(*POLICY.calls, replace(POLICY.calls[0], name="read")))

    found = finder(rule(more, EVERYWHERE, form), tmp_path)

    extra = {key_of(text) for text in set(found) - set(expected())}
    assert extra == {("c000003e", "0"), ("c000003e", str(X32)), ("40000003", "3")}


@each_finder
def test_a_rule_of_x32_alone_finds_nothing_of_x86_64(
    form: RuleFormat, finder: Finder, tmp_path: Path
) -> None:
    """Both have one architecture token, and the same names."""
    found = finder(rule(POLICY, (ARCHES["x32"],), form), tmp_path)

    of_x32 = [
        text for text in expected() if key_of(text)[0] == "c000003e" and int(key_of(text)[1]) >= X32
    ]
    assert sorted(found) == sorted(of_x32)


def test_hits_and_misses_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = tuple(call for call in POLICY.calls if call.name != "acct")
    smaller = rule(replace(POLICY, calls=rest), EVERYWHERE, RuleFormat.OSQUERY)
    of_acct = len([text for text in expected() if is_acct(text)])
    only = [(form, finder) for form, finder in FINDERS if form is RuleFormat.OSQUERY][:1]
    monkeypatch.setattr(benchmark_rules, "FINDERS", only)

    ended = [benchmark_rules.main()]
    monkeypatch.setattr(benchmark_rules, "said", lambda _: smaller)
    ended.append(benchmark_rules.main())

    count, wanted = len(texts()), len(expected())
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ended == [0, 1]
    assert [row[1:] for row in rows if row and row[0] == "osquery"] == [
        [str(one) for one in (count, wanted, wanted, 0, 0)],
        [str(one) for one in (count, wanted, wanted - of_acct, of_acct, 0)],
    ]


def is_acct(text: str) -> bool:
    return key_of(text) in {(f"{one.audit_arch:x}", str(one.number("acct"))) for one in EVERYWHERE}


def test_a_token_of_digits_is_no_number_in_sigma() -> None:
    """As a number i386's would be compared with the 40000003 of a decimal field."""
    detection = package("yaml").safe_load(said(RuleFormat.SIGMA))["detection"]
    tokens = [one["arch"] for one in detection.values() if isinstance(one, dict) and "arch" in one]

    assert "40000003" in tokens
    assert all(isinstance(token, str) for token in tokens)


def test_every_format_has_a_finder() -> None:
    assert {form for form, _ in FINDERS} == set(RuleFormat)


@pytest.mark.parametrize("machine", ["x86_64", "i386", "aarch64", "arm", "ppc", "s390x", "s390"])
def test_libaudits_names_of_all_calls_are_known(machine: str) -> None:
    """Not only of those that the shipped policy documents."""
    one = ARCHES[machine]
    calls = {number: (one, name) for name, number in one.numbers.items()}
    spelled = set(record_rules._auditbeat_calls(Documented(one.audit_arch, calls)))
    known = libaudit_names(machine)

    assert {known[str(number)] for number in calls if str(number) in known} <= spelled


def test_a_rule_of_some_abis_names_no_other() -> None:
    text = rule(POLICY, (ARCHES["i386"],), RuleFormat.SIGMA)

    assert "40000003" in text
    assert "c000003e" not in text


def test_equal_policies_give_equal_rules() -> None:
    for form in RuleFormat:
        assert said(form) == said(form)


def test_a_policy_about_arguments_is_told() -> None:
    conditional = replace(POLICY.calls[0], args=(Condition(0, Operator.EQ, 38),))

    assert notes(POLICY) == ()
    (note,) = notes(replace(POLICY, calls=(conditional,)))
    assert note.startswith("records have no arguments")
    assert conditional.name in note


def test_the_shell_reads_the_commands_as_they_are_written() -> None:
    for form in (RuleFormat.AUSEARCH, RuleFormat.JOURNAL):
        line = said(form)
        assert line.count("\n") == 1
        assert len(line) < os.sysconf("SC_ARG_MAX")
        assert shlex.split(line)
