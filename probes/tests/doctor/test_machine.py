"""What the doctor finds in a machine's settings: each finding alone, and gone with its cause."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from probes.action import Profile
from probes.audit.control import AuditStatus
from probes.audit.rules import AuditRule, RuleField
from probes.doctor import machine
from probes.doctor.examination import CANARIES
from probes.doctor.machine import AskedKernel
from probes.finding import Finding, Weight

QUIET = AuditStatus(enabled=1, failure=1, pid=0, rate_limit=0, backlog_limit=64, lost=3, backlog=0)
KERNEL = AskedKernel(QUIET, QUIET, ())
EQUAL = 0x40000000
ALL = "kill_process kill_thread trap errno user_notif trace log"


@dataclass(frozen=True, slots=True)
class Place:
    """A machine, by its files and what its kernel says.

    Attributes:
        root: the folder of its files.
        asked: what the kernel said.
    """

    root: Path
    asked: AskedKernel = KERNEL

    def file(self, name: str, text: str) -> None:
        """Writes a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def namespace(self, own: str) -> None:
        """Has this process in a network namespace, and the kernel in another one."""
        for process, target in (("self", own), ("1", own), ("2", "net:[1]")):
            link = self.root / "proc" / process / "ns/net"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        self.file("proc/2/comm", "kthreadd\n")

    def findings(self, *profiles: Profile) -> tuple[Finding, ...]:
        """What is found about these profiles, or all."""
        kinds = [one for one in CANARIES if one.profile in (profiles or tuple(Profile))]
        return machine.findings(kinds, self.asked, self.root)


@pytest.fixture
def sound(tmp_path: Path) -> Place:
    """A machine of which nothing is to be said."""
    place = Place(tmp_path)
    place.file("proc/cmdline", "ro quiet\n")
    place.file("proc/kallsyms", "0 T audit_log_start\n0 T audit_seccomp\n")
    place.file("proc/sys/kernel/seccomp/actions_logged", f"{ALL}\n")
    place.namespace("net:[1]")
    return place


def test_nothing_is_found_where_nothing_is_wrong(sound: Place) -> None:
    assert sound.findings() == ()


def unbuilt(place: Place) -> Place:
    place.file("proc/kallsyms", "0 T audit_log_start\n")
    return place


def switched_off(place: Place) -> Place:
    place.file("proc/cmdline", "ro audit=0 quiet\n")
    return place


def elsewhere(place: Place) -> Place:
    place.namespace("net:[2]")
    return place


def without(*words: str) -> Callable[[Place], Place]:
    def change(place: Place) -> Place:
        left = [word for word in ALL.split() if word not in words]
        place.file("proc/sys/kernel/seccomp/actions_logged", " ".join(left))
        return place

    return change


def ruled(*rules: AuditRule) -> Callable[[Place], Place]:
    return lambda place: replace(place, asked=replace(place.asked, rules=rules))


def status(**fields: int) -> Callable[[Place], Place]:
    """Another status at the end than at the start."""
    return lambda place: replace(place, asked=replace(place.asked, after=replace(QUIET, **fields)))


def taken(program: str, state: str) -> Callable[[Place], Place]:
    def change(place: Place) -> Place:
        place.file("proc/7/comm", f"{program}\n")
        place.file("proc/7/stat", f"7 ({program}) {state} 1 7\n")
        return status(pid=7)(place)

    return change


def unasked(place: Place) -> Place:
    return replace(place, asked=AskedKernel(None, None, None))


def told_journald(place: Place) -> Place:
    place.file("etc/systemd/journald.conf", "[Journal]\nAudit=no\n")
    return place


EXCLUDE = AuditRule(5, 2, (RuleField(12, EQUAL, 1326),))
WATCH = AuditRule(4, 0, (RuleField(1, EQUAL, 0),))

LIMITS: dict[str, tuple[Callable[[Place], Place], str, str]] = {
    "kernel": (unbuilt, "why_not_built", "built without CONFIG_AUDITSYSCALL"),
    "command line": (switched_off, "why_switched_off", "booted with audit=0; boot it without"),
    "network namespace": (elsewhere, "why_elsewhere", "with the host's network"),
    "kill_process": (
        without("kill_process"),
        "why_unlogged",
        "lacks kill_process: sysctl -w kernel.seccomp.actions_logged='kill_process kill_thread",
    ),
    "log": (without("log"), "why_unlogged", "lacks log: sysctl -w kernel.seccomp.actions_logged="),
    "audit rule": (
        ruled(EXCLUDE),
        "why_excluded",
        "auditctl -d always,exclude -F msgtype=SECCOMP",
    ),
    "lost records": (status(lost=5), "why_lost", "lost 2 audit record(s): raise backlog_limit"),
    "rate limit": (status(rate_limit=50), "", "exceeds 50 audit records a second"),
    "stopped program": (taken("auditd", "T"), "", "auditd (process 7) takes the kernel's records "),
}
"""What stands in the way, how it comes to be, the function that says so, and what it says."""

ADVICE: dict[str, tuple[Callable[[Place], Place], str]] = {
    "a word that only a flag needs": (without("errno"), "lacks errno: sysctl -w"),
    "other rules": (ruled(WATCH), "1 other audit rule(s) decide nothing about these records"),
    "a program": (taken("osqueryd", "S"), "osqueryd (process 7) takes the kernel's records"),
    "off": (status(enabled=0), "auditing is switched off"),
    "locked": (status(enabled=2), "the audit rules are locked"),
    "unasked": (unasked, "may not ask the kernel for its audit status and rules"),
    "journald": (told_journald, "Audit=no in /etc/systemd/journald.conf"),
}


@pytest.mark.parametrize("about", LIMITS)
def test_what_stands_in_the_way_is_found(about: str, sound: Place) -> None:
    change, _, said = LIMITS[about]

    found = change(sound).findings()

    assert [(one.about, one.weight) for one in found] == [(about, Weight.LIMITS)]
    assert said in found[0].text


@pytest.mark.parametrize("which", ADVICE)
def test_what_is_good_to_know_is_told(which: str, sound: Place) -> None:
    change, said = ADVICE[which]

    found = change(sound).findings()

    assert [one.weight for one in found] == [Weight.ADVICE]
    assert said in found[0].text


@pytest.mark.parametrize("about", [about for about, (_, name, _) in LIMITS.items() if name])
def test_what_the_verdicts_do_not_know_the_doctor_does_not(
    about: str, sound: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sentences are those of the collectors: without their function a finding is gone."""
    change, name, _ = LIMITS[about]
    place = change(sound)
    assert place.findings()

    monkeypatch.setattr(machine, name, lambda *_: "")

    assert place.findings() == ()


@pytest.mark.parametrize(
    ("profile", "word"),
    [(Profile.ERRNO, "log"), (Profile.LOG, "kill_process"), (Profile.KILL, "log")],
)
def test_a_word_of_another_profile_is_of_no_concern(
    profile: Profile, word: str, sound: Place
) -> None:
    assert without(word)(sound).findings(profile) == ()


def test_everything_at_once_is_told_at_once(sound: Place) -> None:
    place = sound
    for change, _, _ in LIMITS.values():
        place = change(place)
    place = replace(
        place,
        asked=AskedKernel(QUIET, replace(QUIET, pid=7, lost=5, rate_limit=50), (EXCLUDE,)),
    )
    without("kill_process", "log")(place)

    assert {one.about for one in place.findings()} == LIMITS.keys()
