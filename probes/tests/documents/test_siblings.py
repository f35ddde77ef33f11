"""The table of siblings: whom it knows, and whether they do what it says of them."""

import re
import subprocess
from dataclasses import replace

import pytest

from probes import arch
from probes.action import Profile
from probes.arch import ARCHES
from probes.documents import policy, siblings
from probes.files import SUITE
from probes.tests.support import oracles

SHIPPED = SUITE / "cases" / "policies" / "container-restrictions.toml"
POLICY = policy.load(SHIPPED, arch.all_names())
X86 = tuple(ARCHES[name] for name in ("x86_64", "x32", "i386"))
KILL, ERRNO, LOG = Profile.KILL, Profile.ERRNO, Profile.LOG


def test_names_are_the_kernels() -> None:
    """Each sibling is a call of some table and stands for known calls; ``how`` ends a sentence."""
    known = arch.all_names()
    for one in siblings.siblings():
        assert {one.name, *one.gives} <= known, one
        assert one.name not in one.gives
        assert one.gives or one.always
        assert bool(one.operation) <= bool(one.arguments)
        assert re.fullmatch(r"[a-z].*[^.]", one.how)
    pairs = [(one.label, given) for one in siblings.siblings() for given in one.gives]
    assert len(pairs) == len(set(pairs))


def test_routes_lead_to_known_calls() -> None:
    assert all(set(route.gives) <= arch.all_names() for route in siblings.routes())
    assert all(re.fullmatch(r"[a-z].*[^.]", route.how) for route in siblings.routes())


# Families, by a program that does what they do.

NO_SUCH_CALL = 38
"""ENOSYS of asm-generic/errno.h: an older kernel has not got the call."""


needs_root = pytest.mark.root("changes owners and users, by numbers of x86_64", machine="x86_64")


@pytest.fixture(scope="module")
def deeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bool]]:
    """Whether each call of a family did what the others do while they were refused."""
    compiler = oracles.require("gcc", "gcc")
    folder = tmp_path_factory.mktemp("gaps")
    program = folder / "gaps"
    source = SUITE / "probes/tests/data/gaps.c"
    subprocess.run([compiler, "-O1", "-o", str(program), str(source)], check=True)
    command = [str(program), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, dict[str, bool]] = {}
    for family, name, did, error in map(str.split, done.stdout.splitlines()):
        if int(error) != NO_SUCH_CALL:
            found.setdefault(family, {})[name] = did == "1"
    return found


@needs_root
def test_each_member_of_a_family_does_what_the_others_do(deeds: dict[str, dict[str, bool]]) -> None:
    """What a call did with the others refused, the table says of it."""
    assert {"mode", "owner", "rename", "signal", "process", "open", "user"} <= deeds.keys()
    assert all(all(members.values()) for members in deeds.values()), deeds
    given: dict[str, set[str]] = {}
    for one in siblings.siblings():
        given.setdefault(one.name, set()).update(one.gives)
    for members in deeds.values():
        for name in members:
            assert members.keys() - {name} <= given[name], name


@needs_root
def test_the_program_tries_every_member_of_a_family_that_it_knows(
    deeds: dict[str, dict[str, bool]],
) -> None:
    """A call that joins a family of the table has to be shown to belong there."""
    here = X86[0].numbers.keys() - {"fchroot"}
    tried = {frozenset(members) for members in deeds.values()}
    for row in siblings._data()["family"]:
        members = row["calls"].keys() & here
        near = [each for each in tried if len(each & members) > 1]
        assert not near or any(members <= each for each in near), row["does"]


def test_what_nobody_reviewed_is_said() -> None:
    """Of the shipped calls each is known, of an own policy's some are not; never silence."""
    assert siblings.unknown_for(POLICY) == ()
    names = ("timer_create", "chmod", "acct", "set_tid_address", "listen")
    own = replace(POLICY, calls=tuple(replace(POLICY.calls[0], name=name) for name in names))
    assert siblings.unknown_for(own) == ("timer_create", "set_tid_address")


def test_a_call_that_stands_alone_has_no_sibling() -> None:
    """The table does not contradict itself, and says why."""
    alone = siblings._data()["alone"]
    assert alone.keys() <= arch.all_names()
    assert all(re.fullmatch(r"[a-z].*[^.]", why) for why in alone.values())
    assert not alone.keys() & {name for one in siblings.siblings() for name in one.gives}


def test_daily_calls_are_marked() -> None:
    """So that a report can tell statfs from what few programs make."""
    daily = {one.name for one in siblings.siblings() if one.everyday}
    assert {"statfs", "fstatfs", "statfs64"} <= daily
    assert not daily & {"fsopen", "mount", "ptrace", "fchroot", "fchmodat2"}


def test_label_of_a_plain_call_is_its_name() -> None:
    ipc = next(one for one in siblings.siblings() if one.name == "ipc")
    assert ipc.label == "ipc MSGRCV"
    assert replace(ipc, operation="").label == "ipc"
