"""The command ``audit`` on this machine, whose settings are changed under it."""

from collections.abc import Iterator

import pytest

from probes.errors import ExitStatus
from probes.tests.support.audit_settings import Machine, changing
from reports.commands.main import run as main
from reports.tests.support.examined import FLAGGED, PROMISED, QUICK, told

pytestmark = pytest.mark.root("changes what the kernel records")


@pytest.fixture(scope="module")
def alone() -> Iterator[Machine]:
    with changing() as found:
        yield found


@pytest.fixture
def machine(alone: Machine) -> Iterator[Machine]:
    yield alone
    alone.reset()


@pytest.mark.parametrize(
    ("word", "seen", "broken"),
    [
        # No sentinel either, so that nothing shows that a denial is silent.
        ("log", {"LOG": "cannot tell", "ERRNO": "cannot tell"}, {"log", "errno"}),
        ("kill_process", {"KILL_PROCESS": "no record"}, {"kill"}),
        ("errno", {FLAGGED: "no record"}, set()),
    ],
)
def test_a_word_is_missing(
    word: str, seen: dict[str, str], broken: set[str], machine: Machine
) -> None:
    machine.log(word)

    found = told(*QUICK)

    assert found.seen == {**PROMISED, **seen}
    assert {name for name, kept in found.kept.items() if not kept} == broken
    if broken:
        assert found.status == ExitStatus.CANNOT_TELL
        assert f"actions_logged lacks {word}: sysctl -w" in found.limits[word]
    else:
        assert found.status == ExitStatus.CONFORMANT
        assert any(
            "actions_logged lacks errno: sysctl -w" in one for one in found.document["notes"]
        )


def test_a_rule_excludes_records(machine: Machine) -> None:
    machine.add("always,exclude", "-F", "msgtype=SECCOMP")
    machine.add("never,exit", "-S", "getppid", "-F", "pid=1")

    found = told(*QUICK)

    assert found.status == ExitStatus.CANNOT_TELL
    assert set(found.seen.values()) == {"cannot tell"}
    mend = "auditctl -d always,exclude -F msgtype=SECCOMP"
    assert mend in found.limits["audit rule"]
    assert mend in found.collector("netlink")["reason"]
    assert any("1 other audit rule(s) decide nothing" in one for one in found.document["notes"])


def test_a_rule_about_some_other_process_takes_nothing(machine: Machine) -> None:
    machine.add("always,exclude", "-F", "msgtype=SECCOMP", "-F", "uid=65533")

    found = told(*QUICK)

    assert (found.status, found.seen) == (ExitStatus.CONFORMANT, PROMISED)
    assert "of some processes (-F uid=65533)" in found.limits["audit rule"]


def test_a_rate_limit_is_told(machine: Machine) -> None:
    machine.control("-r", "5000")

    found = told("--audit-source=netlink")

    assert "exceeds 5000 audit records a second" in found.limits["rate limit"]


def test_the_text_says_what_mends_it(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.log("kill_process")

    status = main(["audit", "--audit-source=netlink"])
    text = capsys.readouterr().out

    assert status == ExitStatus.CANNOT_TELL
    joined = " ".join(text.split())
    assert joined.startswith("CANNOT TELL: on Linux")
    assert "KILL_PROCESS (kill) leaves no record" in joined
    assert "In the way of records: kernel.seccomp.actions_logged lacks kill_process" in joined
