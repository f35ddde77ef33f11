"""Audit rules: read as auditctl lists them, and which of them keep a SECCOMP record away."""

import contextlib
import os
from collections.abc import Iterator, Sequence

import pytest

from probes.audit.control import audit_rules
from probes.audit.netlink import NetlinkCollector
from probes.audit.rules import AuditRule, RuleField, read_rule
from probes.tests.support.audit_settings import Machine, changing
from probes.tests.support.emitter import Emitter

pytestmark = pytest.mark.root("changes audit rules")

RULES = (
    "always,exclude -F msgtype=1999",
    "never,exclude -F msgtype>1990 -F uid!=65534",
    "always,exclude -F exe=/bin/nothing -F gid<=7",
    "always,exclude -F auid!=-1 -F msgtype=1998",
    "always,exclude -F subj_user=x_u -F pid>=3 -F msgtype!=SECCOMP",
    "never,exclude -F uid<9 -F auid=5 -F msgtype=SYSCALL",
)


@pytest.fixture(scope="module")
def alone() -> Iterator[Machine]:
    with changing() as found:
        yield found


@pytest.fixture
def machine(alone: Machine) -> Iterator[Machine]:
    yield alone
    alone.reset()


def test_rules_are_spelled_as_auditctl_does(machine: Machine) -> None:
    for rule in RULES:
        machine.add(*rule.split())

    listed = machine.control("-l").splitlines()
    found = audit_rules()

    assert found is not None
    spelled = [f"-a {one}".replace("msgtype=1300", "msgtype=SYSCALL") for one in found]
    assert spelled == listed
    assert len(found) == len(RULES)


UID = os.getuid()
EMITTER = "{emitter}"
"""What stands in a rule for the path of the program whose records are looked for."""


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("always,exclude -F msgtype=SECCOMP", True),
        ("never,exclude -F msgtype=SECCOMP", True),
        ("always,exclude -F msgtype>=1326", True),
        ("always,exclude -F msgtype>1325 -F msgtype<1327", True),
        (f"always,exclude -F uid={UID} -F msgtype!=1300", True),
        (f"always,exclude -F exe={EMITTER}", True),
        ("always,exclude -F msgtype=1327", False),
        ("always,exclude -F msgtype!=SECCOMP", False),
        ("never,task", False),
        ("never,exit -S all", False),
        ("never,user -F uid=0", False),
    ],
)
def test_which_rules_keep_a_record_away(
    rule: str, *, kept: bool, machine: Machine, emitter: Emitter
) -> None:
    """Whatever does so, the kernel does so, too, whether it audits or not."""
    words = rule.replace(EMITTER, str(emitter.path)).split()
    with contextlib.closing(NetlinkCollector()) as collector:
        for switch in (0, 1):
            machine.enable(switch)
            machine.add(*words)
            rules = audit_rules()
            emitter.emit("ruled")
            machine.remove(*words)
            emitter.emit("free")
            batch = collector.read_until("free", 5.0)

            assert ("ruled" not in comms(batch.records)) is kept
            assert "free" in comms(batch.records)
            assert rules is not None
            assert any(one.excludes_seccomp for one in rules) is kept


def comms(records: Sequence[object]) -> list[str]:
    return [getattr(one, "comm", "") for one in records]


def test_a_rule_about_some_says_whose(machine: Machine) -> None:
    machine.add("always,exclude", "-F", "msgtype=SECCOMP", "-F", "uid=65533")
    machine.add("always,exclude", "-F", "msgtype=SECCOMP")

    found = audit_rules()

    assert found is not None
    assert [" ".join(map(str, one.whose)) for one in found] == ["-F uid=65533", ""]


def test_a_listing_that_is_cut_is_no_rule() -> None:
    with pytest.raises(OSError, match="unpack_from"):
        read_rule(b"\0" * 100)


def test_an_unknown_field_fits_nobody_s_message_type() -> None:
    """A kernel may learn new ones; a rule with one of them may exclude, and says so."""
    rule = AuditRule(5, 2, (RuleField(300, 0x40000000, 7),))

    assert rule.excludes_seccomp
    assert str(rule) == "always,exclude -F 300=7"


def test_whoever_may_not_ask_is_told_nothing() -> None:
    pid = os.fork()
    if not pid:
        os.setuid(65534)
        os._exit(0 if audit_rules() is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
