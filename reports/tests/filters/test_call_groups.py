"""systemd's groups: the table against real systemds, and what filters do with each group."""

import subprocess

import pytest

from probes import arch as abis
from probes.action import Profile
from probes.documents import policy
from probes.errors import BadInputError
from probes.files import DEFAULT_POLICY
from probes.runtimes import systemd
from probes.targets import builtin
from probes.targets.stack import FilterStack
from probes.tests.support.oracles import require
from probes.tests.support.releases import root_of
from reports.filters import call_groups, overview, places

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")
NATIVE = X86[0]

OBSOLETE = {
    *("_sysctl", "afs_syscall", "create_module", "get_kernel_syms", "getpmsg", "nfsservctl"),
    *("putpmsg", "query_module", "security", "tuxcall", "uselib", "vserver"),
}

LISTED = """\
@default
    # What always is permitted
    @sandbox
    getpid

@mount
    # Mounting
    mount
    umount2

@sandbox
    seccomp
    @default

# Ungrouped System Calls (known but not included in any of the groups except @known):
#   syslog
"""


def test_a_group_has_the_calls_of_the_groups_in_it() -> None:
    found = call_groups.parse(LISTED, "a list")
    assert found.members == {
        "@default": {"getpid", "seccomp"},
        "@mount": {"mount", "umount2"},
        "@sandbox": {"getpid", "seccomp"},
    }
    assert found.having("seccomp") == ("@default", "@sandbox")
    assert found.having("syslog") == ()


def test_what_lists_no_group_is_refused() -> None:
    with pytest.raises(BadInputError, match="a list: it lists no group of calls"):
        call_groups.parse("# nothing\n", "a list")


def test_the_table_is_what_the_installed_release_lists() -> None:
    require("systemd-analyze", "systemd")
    told = systemd.groups_of_calls()
    assert told is not None
    if told.release != "252":
        pytest.skip(f"the table has 252, and here is {told.release}")
    assert call_groups.known(252).members == call_groups.parse(told.text, "").members


@pytest.mark.root("uses the root of a release")
@pytest.mark.containers
@pytest.mark.parametrize(("suite", "release"), [("bookworm", 252), ("trixie", 257), ("sid", 262)])
def test_the_table_is_what_a_release_lists(suite: str, release: int) -> None:
    root = root_of(suite, "systemd", "libseccomp2", "python3")
    words = ("chroot", str(root.path), "systemd-analyze", "--no-pager")
    told = [
        subprocess.run([*words, word], capture_output=True, text=True, check=True).stdout
        for word in ("--version", "syscall-filter")
    ]
    if not told[0].startswith(f"systemd {release} "):
        pytest.skip(f"the table has {release}, and {suite} has now {told[0].splitlines()[0]}")
    assert call_groups.known(release).members == call_groups.parse(told[1], "").members


def test_the_newest_release_is_taken_where_none_is_named() -> None:
    assert call_groups.known().source.startswith("systemd 262 of Debian sid")
    assert call_groups.known(256).source.endswith("; the groups of 256 itself are not known")
    assert call_groups.known(256).members == call_groups.known(252).members
    with pytest.raises(BadInputError, match="the oldest release whose groups are known is 252"):
        call_groups.known(251)


def test_surprises_of_the_releases() -> None:
    """What was not expected, and what a unit's author would meet."""
    old, new = call_groups.known(252), call_groups.known(262)
    assert "@sandbox" not in old.members
    assert new.members["@sandbox"] < new.members["@default"]
    assert "@default" in old.having("uretprobe")
    assert old.having("uprobe") == ()
    assert {"fchroot", "uprobe", "listns"} <= new.members["@known"]
    assert all(new.having(name) == ("@known",) for name in ("fchroot", "uprobe", "listns"))
    # systemd-analyze shows all but one in @known, most of them by @obsolete in it; yet to a unit's
    # allow list systemd adds only what stands in @known by itself, and these get ENOSYS.
    old_ones = {"nfsservctl"} | (new.members["@obsolete"] & set(SHIPPED.names))
    assert old_ones - {"sysfs", "ustat"} == OBSOLETE
    assert new.having("nfsservctl") == ("@privileged",)


@pytest.mark.parametrize(
    ("word", "expected"), [("systemd", None), ("systemd@252", 252), ("systemd@0", 0)]
)
def test_a_release_may_be_named(word: str, expected: int | None) -> None:
    asked = call_groups.asked(word)
    assert asked is not None
    assert asked.release == expected


@pytest.mark.parametrize("word", ["", "252", "systemd@", "systemd@1.2", "docker", "systemd@-1"])
def test_what_names_no_groups_is_refused(word: str) -> None:
    with pytest.raises(BadInputError, match="write systemd, a release as in systemd@252, or none"):
        call_groups.asked(word)


def test_none_is_none() -> None:
    assert call_groups.asked("none") is None


def lines_of(profile: Profile, listed: call_groups.Groups) -> list[str]:
    program = builtin.build(SHIPPED, X86, profile)
    stack = FilterStack("ours", (program,), NATIVE)
    analysis = overview.analyze(stack)
    where = places.places(analysis, NATIVE, (NATIVE,))
    return call_groups.overview_lines(listed, analysis, where, 200)


@pytest.mark.parametrize(
    ("profile", "answer"),
    [(Profile.KILL, "KILL_PROCESS"), (Profile.ERRNO, "ERRNO(EPERM)"), (Profile.LOG, "LOG")],
)
def test_groups_are_told_whole_and_in_part(profile: Profile, answer: str) -> None:
    text = "\n".join(lines_of(profile, call_groups.known(252)))
    assert "systemd's groups on x86_64 (systemd 252 of Debian 12" in text
    assert f"{answer} whole: @keyring, @module, @obsolete, @pkey, @raw-io, @reboot, @swap" in text
    assert f"in part @clock: ALLOW for 2 of 4; {answer} for clock_settime, settimeofday" in text
    assert f"in part @mount: ALLOW for 8 of 11; {answer} for mount, pivot_root, umount2" in text


def test_each_group_that_the_abi_has_calls_of_is_told_once() -> None:
    listed = call_groups.known(262)
    text = " ".join(" ".join(lines_of(Profile.ERRNO, listed)).split())
    told = text.replace(":", " ").replace(",", " ").split()
    assert {word for word in told if word.startswith("@")} == set(listed.members)
    assert all(told.count(name) == 1 for name in listed.members)


def test_a_call_without_a_group_is_told_so() -> None:
    listed = call_groups.parse(LISTED, "a list")
    assert call_groups.call_line(listed, "mount") == "mount is in systemd's groups @mount (a list)"
    assert call_groups.call_line(listed, "acct") == "acct is in no group of systemd's (a list)"
