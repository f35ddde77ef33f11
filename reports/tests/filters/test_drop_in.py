"""Drop-ins as text: each call with its answer, once. ``cases/tests`` asks real systemds."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from probes import arch as abis
from probes.action import Profile
from probes.documents import policy
from probes.documents.policy import DocumentedCall, Policy
from probes.errors import BadInputError
from probes.files import DEFAULT_POLICY
from probes.filters.conditions import Condition, Operator
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")

every_profile = pytest.mark.parametrize("profile", list(Profile))


def made(profile: Profile, documented: Policy = SHIPPED, machine: str = "x86_64") -> str:
    request = ExportRequest(documented, profile, abis.offered_by(machine))
    text = allowlist.export(request, ExportFormat.SYSTEMD)
    assert isinstance(text, str)
    return text


def settings(text: str) -> list[tuple[str, str]]:
    """What systemd reads: options with their values, in their order, in one section."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "[Service]"
    return [(name, value) for name, _, value in (line.partition("=") for line in lines[1:])]


def words(text: str, option: str, sign: str) -> list[str]:
    """The words that an option is set to with a sign before them."""
    values = [value for name, value in settings(text) if name == option]
    return [
        word
        for value in values
        if value and value.startswith("~") == bool(sign)
        for word in value.removeprefix("~").split()
    ]


def a_policy(*calls: DocumentedCall) -> Policy:
    return replace(SHIPPED, calls=calls)


def a_call(name: str, *errno: str) -> DocumentedCall:
    return DocumentedCall(name, SHIPPED.families[0], "does", "for a test", errno=errno)


@pytest.mark.parametrize(("profile", "answer"), [(Profile.KILL, "kill"), (Profile.ERRNO, "EPERM")])
def test_every_documented_call_has_its_answer_and_every_other_is_allowed(
    profile: Profile, answer: str
) -> None:
    text = made(profile)
    denied = words(text, "SystemCallFilter", "~")
    assert sorted(denied) == sorted(f"{name}:{answer}" for name in SHIPPED.names)
    allowed = words(text, "SystemCallFilter", "")
    assert set(allowed) == {name for abi in X86 for name in abi.numbers} - set(SHIPPED.names)
    assert max(Counter(allowed).values()) == 1
    assert ("SystemCallErrorNumber", "ENOSYS") in settings(text)


def test_the_log_profile_records_all_but_what_is_allowed() -> None:
    text = made(Profile.LOG)
    everything = {name for abi in X86 for name in abi.numbers}
    assert set(words(text, "SystemCallLog", "~")) == everything - set(SHIPPED.names)
    assert words(text, "SystemCallLog", "") == []
    assert "SystemCallFilter" not in dict(settings(text))


@every_profile
def test_what_the_unit_says_itself_is_forgotten_first(profile: Profile) -> None:
    """An empty assignment resets a list (systemd.exec(5)); without it lists would be joined."""
    seen = set()
    for name, value in settings(made(profile)):
        if name not in seen and name != "SystemCallErrorNumber":
            assert value == "", name
        seen.add(name)
    assert dict(settings(made(profile)))["SystemCallArchitectures"] == "x86-64 x32 x86"


@every_profile
def test_lines_are_short_and_comments_are_comments(profile: Profile) -> None:
    lines = made(profile).splitlines()
    assert max(len(line) for line in lines if not line.startswith("# Policy")) <= 100
    assert all(re.match(r"#|\[Service\]$|SystemCall[A-Za-z]+=", line) for line in lines)
    request = ExportRequest(SHIPPED, profile, tuple(X86))
    told = " ".join(" ".join(line.lstrip("# ") for line in lines).split())
    assert all(note in told for note in allowlist.notes(request, ExportFormat.SYSTEMD))


def test_an_errno_of_a_call_s_own_is_its_answer() -> None:
    """What answers as the rest does is merely taken off the list: 252 refuses it as an entry."""
    text = made(Profile.ERRNO, a_policy(a_call("clone3", "ENOSYS"), a_call("mount", "EACCES")))
    assert words(text, "SystemCallFilter", "~") == ["mount:EACCES", "clone3"]
    assert {"clone3", "mount"}.isdisjoint(words(text, "SystemCallFilter", ""))
    text = made(Profile.KILL, a_policy(a_call("clone3", "ENOSYS")))
    assert words(text, "SystemCallFilter", "~") == ["clone3:kill"]


def test_of_two_names_of_an_errno_the_usual_one_is_taken() -> None:
    text = made(Profile.ERRNO, a_policy(a_call("mount", "EWOULDBLOCK")))
    assert words(text, "SystemCallFilter", "~") == ["mount:EAGAIN"]


def test_conditions_on_arguments_are_refused() -> None:
    conditional = replace(a_call("socket"), args=(Condition(0, Operator.EQ, 38),))
    with pytest.raises(BadInputError, match=r"systemd does not look at arguments, .* of socket:"):
        made(Profile.ERRNO, a_policy(a_call("mount"), conditional))


@pytest.mark.parametrize("machine", dict.fromkeys(one.machine for one in abis.ARCHES.values()))
def test_every_abi_has_systemd_s_name(machine: str) -> None:
    named = dict(settings(made(Profile.KILL, machine=machine)))["SystemCallArchitectures"].split()
    known = [one for one in abis.offered_by(machine) if one.scmp]
    assert len(set(named)) == len(named) == len(known)
