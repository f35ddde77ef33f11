"""The loader of policies, and the shipped policy that it is there for."""

import dataclasses
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import system_calls
from hypothesis import given
from hypothesis import strategies as st

from probes.deviation import KnownDeviation
from probes.documents.policy import DocumentedCall, Policy, load
from probes.errors import BadInputError, ExitStatus
from probes.files import SUITE

SHIPPED = SUITE / "cases" / "policies" / "container-restrictions.toml"

# The names as the document "Container restrictions" prints them, in its order.
PUBLISHED = """
    ACCT ADD_KEY AFS_SYSCALL BPF CLOCK_SETTIME CREATE_MODULE DELETE_MODULE FANOTIFY_INIT
    FINIT_MODULE GETPMSG GET_KERNEL_SYMS GET_MEMPOLICY INIT_MODULE IOPERM IOPL KCMP
    KEXEC_FILE_LOAD KEXEC_LOAD KEYCTL LOOKUP_DCOOKIE MBIND MIGRATE_PAGES MSGRCV MOUNT MOVE_PAGES
    NAME_TO_HANDLE_AT NFSSERVCTL OPEN_BY_HANDLE_AT PERF_EVENT_OPEN PIVOT_ROOT PKEY_ALLOC PKEY_FREE
    PKEY_MPROTECT PROCESS_VM_READV PROCESS_VM_WRITEV PUTPMSG QUERY_MODULE QUOTACTL REBOOT
    REQUEST_KEY SECURITY SETDOMAINNAME SETHOSTNAME SETNS SETSID SETTIMEOFDAY SET_MEMPOLICY SWAPOFF
    SWAPON SYSFS SYSLOG TUXCALL UMOUNT2 UNSHARE USELIB USERFAULTFD USTAT VHANGUP VSERVER _SYSCTL
"""
DOCUMENTED = tuple(PUBLISHED.lower().split())

LISTED = frozenset(system_calls.syscalls().names())
"""What the package system-calls lists: the calls that kernels implement, on any architecture."""
KNOWN = LISTED | set(DOCUMENTED)


def refusal(path: Path) -> str:
    """The sentence that refuses a file, without the file's name that it must begin with."""
    with pytest.raises(BadInputError) as caught:
        load(path, KNOWN)
    assert caught.value.exit_status is ExitStatus.USAGE
    return checked(caught.value, path)


def checked(error: BadInputError, path: Path) -> str:
    """What a refusal says of a file, once it is seen to be one line that names the file."""
    sentence = str(error)
    assert sentence.isprintable()
    assert sentence.startswith((f"{path}: ", f"{path}, "))
    return sentence[len(f"{path}: ") :]


def assert_is_what_toml_says(policy: Policy, data: bytes) -> None:
    """Compares every field, so that nothing in the file is dropped or turned into another."""
    written = tomllib.loads(data.decode())
    assert written.pop("format") == 1
    expected = []
    for call in written.pop("call"):
        optional = {"cves": (), "attack": (), "obsolete": False, "since": None}
        stated = {key: tuple(v) if isinstance(v, list) else v for key, v in call.items()}
        args = tuple(map(as_written, stated.pop("args", ())))
        expected.append(optional | {"errno": ()} | stated | {"args": args})
    fields = dataclasses.asdict(policy)
    assert list(fields.pop("calls")) == expected
    assert fields.pop("sha256") == hashlib.sha256(data).hexdigest()
    del fields["path"]
    text = data.decode().split("\n")
    lines = fields.pop("lines")
    assert len(lines) in {0, len(expected)}
    assert all(text[line - 1].lstrip().startswith("[[") for line in lines)
    lists = {name: list(fields[name]) for name in ("families", "accept")}
    assert fields | lists == {"accept": []} | written


def as_written(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields of a condition; OCI's own form of a mask is the other way round."""
    if "valueTwo" in entry:
        entry = entry | {"mask": entry["value"], "value": entry["valueTwo"]}
    return {
        "index": entry["index"],
        "operator": entry["op"],
        "value": entry["value"],
        "mask": entry.get("mask"),
    }


# --- The shipped policy ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Policy:
    return load(SHIPPED, KNOWN)


def test_shipped_documents_the_sixty_calls_in_order(shipped: Policy) -> None:
    assert len(DOCUMENTED) == 60
    assert shipped.names == DOCUMENTED


def test_shipped_loads_whole(shipped: Policy) -> None:
    assert shipped.path == str(SHIPPED)
    assert_is_what_toml_says(shipped, SHIPPED.read_bytes())


def test_shipped_describes_each_call_on_its_own(shipped: Policy) -> None:
    assert len({call.description for call in shipped.calls}) == 60
    for call in shipped.calls:
        for sentence in (call.description, call.why):
            assert sentence[0].isupper(), call.name
            assert sentence.endswith("."), call.name
            assert sentence.isprintable(), call.name


def test_shipped_uses_each_family_and_few(shipped: Policy) -> None:
    assert {call.family for call in shipped.calls} == set(shipped.families)
    assert len(shipped.families) <= 14


def test_shipped_calls_obsolete_what_kernels_do_not_implement(shipped: Policy) -> None:
    # lookup_dcookie is still listed, but went with the profiler that used it.
    obsolete = {call.name for call in shipped.calls if call.obsolete}
    assert obsolete == set(DOCUMENTED) - LISTED | {"lookup_dcookie"}


def test_shipped_dates_every_call_that_mainline_ever_had(shipped: Policy) -> None:
    undated = {call.name for call in shipped.calls if call.since is None}
    # The manual page unimplemented(2) names these among the calls that were never there.
    assert undated == {"afs_syscall", "getpmsg", "putpmsg", "security", "tuxcall", "vserver"}


def test_a_call_is_found_by_name(shipped: Policy) -> None:
    assert shipped.call("_sysctl") is shipped.calls[-1]
    with pytest.raises(KeyError, match="getpid"):
        shipped.call("getpid")


# --- What a policy may look like ------------------------------------------------------------------

SMALL = """\
format = 1
name = "small"
title = "A small policy"
source = "Written for a test."
families = ["keyrings", "time"]

[[call]]
name = "keyctl"
family = "keyrings"
description = "Manages keys."
why = "Keys are secrets."
cves = ["CVE-2016-0728"]
attack = ["T1611", "T1547.006"]
obsolete = false
since = "2.6.10"

[[call]]
name = "settimeofday"
family = "time"
description = "Sets the clock."
why = "There is but one clock."
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A path at which no file is as yet."""
    return tmp_path / "policy.toml"


def test_what_is_accepted_of_runtimes(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    given = 'accept = ["bad-arch-kill-thread", "runc-enosys-stub"]'
    path.write_text(SMALL.replace("format = 1\n", f"format = 1\n{given}\n"))
    accepted = (KnownDeviation.RUNC_ENOSYS_STUB, KnownDeviation.BAD_ARCH_KILL_THREAD)
    assert load(path, KNOWN).accept == accepted
    path.write_text(SMALL.replace("format = 1\n", 'format = 1\naccept = ["runc"]\n'))
    assert refusal(path).startswith("'accept': runc is no known deviation of a runtime:")


def test_optional_keys_may_be_left_out(written: Path) -> None:
    written.write_text(SMALL)
    policy = load(written, KNOWN)
    assert policy.calls[1] == DocumentedCall(
        name="settimeofday",
        family="time",
        description="Sets the clock.",
        why="There is but one clock.",
        cves=(),
        attack=(),
        obsolete=False,
        since=None,
    )
    assert_is_what_toml_says(policy, SMALL.encode())


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_the_digest_is_that_of_the_bytes(written: Path, ending: str) -> None:
    data = SMALL.replace("\n", ending).encode()
    written.write_bytes(data)
    assert load(written, KNOWN).sha256 == hashlib.sha256(data).hexdigest()


def test_only_the_names_passed_in_are_known(written: Path) -> None:
    written.write_text(SMALL)
    with pytest.raises(BadInputError, match="'settimeofday' is in no architecture's"):
        load(written, {"keyctl"})


# --- Refusals: the file ---------------------------------------------------------------------------


def test_refuses_a_missing_file(written: Path) -> None:
    assert refusal(written) == (
        "the TOML file of the policy cannot be read from there (No such file or directory); check"
        " the path and its permissions"
    )


def test_refuses_a_path_through_a_file(written: Path) -> None:
    written.write_text(SMALL)
    assert "cannot be read from there (Not a directory)" in refusal(written / "more")


def test_refuses_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "this is not a regular file; name the TOML file of the policy"


def test_refuses_a_pipe_without_waiting_for_a_writer(written: Path) -> None:
    os.mkfifo(written)
    assert refusal(written) == "this is not a regular file; name the TOML file of the policy"


@pytest.fixture
def unreadable(written: Path) -> Iterator[Path]:
    """A file that this process may not read; root lends its user id away for that."""
    written.write_text(SMALL)
    written.chmod(0)
    user = os.geteuid()
    if os.access(written, os.R_OK):
        os.seteuid(65534)
    yield written
    os.seteuid(user)
    written.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_refuses_a_file_without_permission(unreadable: Path) -> None:
    assert "cannot be read from there (Permission denied)" in refusal(unreadable)


def test_refuses_what_is_not_utf8(written: Path) -> None:
    written.write_bytes(SMALL.replace("Manages", "Ma\xf1ages").encode("latin-1"))
    assert refusal(written) == "line 10 is not UTF-8 (byte 0xf1); save the file as UTF-8"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (SMALL.replace('"keyctl"', '"keyctl'), "(at line 8, column 15)"),
        (SMALL.replace("obsolete = false", "obsolete = no"), "(at line 14, column 12)"),
        (SMALL.replace('since = "2', 'why = "2'), "(at line 15, column 15)"),
        ("\ufeff" + SMALL, "(at line 1, column 1)"),
        ("format = " + "9" * 5000, "4300 digits"),
    ],
)
def test_refuses_what_is_not_toml(written: Path, text: str, part: str) -> None:
    written.write_text(text)
    sentence = refusal(written)
    assert sentence.startswith("this is not TOML (")
    assert part in sentence


def test_refuses_bottomless_nesting(written: Path) -> None:
    written.write_text("format = " + "[" * 100_000)
    assert refusal(written) == "this is not a policy (its values are nested too deeply)"


def test_an_odd_file_name_does_not_break_the_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        load(tmp_path / "one\ntwo\x1b[2J", KNOWN)
    assert str(caught.value).isprintable()
    assert r"one\ntwo\x1b[2J: the TOML file of the policy cannot be read" in str(caught.value)


# --- Refusals: its contents -----------------------------------------------------------------------

SECOND = SMALL[SMALL.rindex("[[call]]") :]
OTHER_FORMAT = (
    "'format' is not 1, the only one that this suite reads; "
    "use the suite that the policy was written for, or rewrite the policy"
)
NO_CALL = "the policy documents no call; add a [[call]] table"
NO_FAMILY = "line 7: the call 'keyctl' has the family '{}', which 'families' does not list; {}"

WRONG = {
    "other format": ("format = 1", "format = 2", OTHER_FORMAT),
    "other format, other keys": ("format = 1", "format = 2\nrules = 3", OTHER_FORMAT),
    "number too long to print": ("format = 1", "format = 0x1" + "0" * 5000, OTHER_FORMAT),
    "format is true": (
        "format = 1",
        "format = true",
        "the policy: 'format' must be a whole number, but is true or false",
    ),
    "no format": (
        "format = 1\n",
        "",
        "the policy lacks the key 'format' (a whole number); add it above the first [[call]]",
    ),
    "no families": (
        'families = ["keyrings", "time"]\n',
        "",
        "the policy lacks the key 'families' (a list); add it above the first [[call]]",
    ),
    "family twice": (
        '"time"]',
        '"time", "keyrings"]',
        "the policy: 'families', entry 3, repeats 'keyrings'; remove it",
    ),
    "unknown key": (
        "title =",
        "titel =",
        "the policy has the unknown key 'titel'; did you mean 'title'?",
    ),
    "unknown key unlike any": (
        "title =",
        '"\\u0007" =',
        r"the policy has the unknown key '\x07'; check its spelling",
    ),
    "unknown table": (
        "[[call]]",
        "[profiles]\n[[call]]",
        "the policy has the unknown key 'profiles'; check its spelling",
    ),
    "empty title": (
        '"A small policy"',
        '" "',
        "the policy: 'title' is empty; fill it in",
    ),
    "no call": (SMALL[SMALL.index("[[call]]") :], "", NO_CALL),
    "empty list of calls": (SMALL[SMALL.index("[[call]]") :], "call = []", NO_CALL),
    "one table of calls": (
        SMALL[SMALL.index("[[call]]") :],
        "[call]\n",
        "the policy: 'call' must be a list, but is a table",
    ),
    "calls by name": (
        SMALL[SMALL.index("[[call]]") :],
        'call = ["keyctl"]',
        "the policy: 'call', entry 1, must be a table, but is text in quotation marks",
    ),
    "unknown key of a call": (
        "cves =",
        "cve =",
        "line 7: the call 'keyctl' has the unknown key 'cve'; did you mean 'cves'?",
    ),
    "call without a name": (
        'name = "settimeofday"\n',
        "",
        (
            "line 17: the call lacks the key 'name' (text in quotation marks); "
            "add it to this [[call]] table"
        ),
    ),
    "call without a reason": (
        'why = "There is but one clock."\n',
        "",
        (
            "line 17: the call 'settimeofday' lacks the key 'why' (text in quotation marks); "
            "add it to this [[call]] table"
        ),
    ),
    "empty name": (
        '"keyctl"',
        '""',
        "line 7: the call: 'name' is empty; fill it in",
    ),
    "name is a number": (
        '"keyctl"',
        "250",
        "line 7: the call: 'name' must be text in quotation marks, but is a whole number",
    ),
    "empty description": (
        '"Manages keys."',
        '""',
        "line 7: the call 'keyctl': 'description' is empty; fill it in",
    ),
    "obsolete is a number": (
        "obsolete = false",
        "obsolete = 0",
        "line 7: the call 'keyctl': 'obsolete' must be true or false, but is a whole number",
    ),
    "obsolete is a date": (
        "obsolete = false",
        "obsolete = 2024-01-01",
        "line 7: the call 'keyctl': 'obsolete' must be true or false, but is a date",
    ),
    "since is no text": (
        'since = "2.6.10"',
        "since = 2.6",
        (
            "line 7: the call 'keyctl': 'since' must be text in quotation marks, "
            "but is a number with a fraction"
        ),
    ),
    "since is no release": (
        '"2.6.10"',
        '"v2.6"',
        "line 7: the call 'keyctl': 'since' is 'v2.6'; write it like 2.6.10 or 5.2",
    ),
    "one CVE without a list": (
        '["CVE-2016-0728"]',
        '"CVE-2016-0728"',
        "line 7: the call 'keyctl': 'cves' must be a list, but is text in quotation marks",
    ),
    "list in a list": (
        '["CVE-2016-0728"]',
        '[["CVE-2016-0728"]]',
        (
            "line 7: the call 'keyctl': 'cves', entry 1, must be text in quotation marks, "
            "but is a list"
        ),
    ),
    "CVE too short": (
        "CVE-2016-0728",
        "CVE-2016-728",
        (
            "line 7: the call 'keyctl': 'cves', entry 1, is 'CVE-2016-728'; "
            "write it like CVE-2022-0185"
        ),
    ),
    "CVE with a line after it": (
        "CVE-2016-0728",
        "CVE-2016-0728\\n",
        (
            r"line 7: the call 'keyctl': 'cves', entry 1, is 'CVE-2016-0728\n'; "
            "write it like CVE-2022-0185"
        ),
    ),
    "CVE twice": (
        '["CVE-2016-0728"]',
        '["CVE-2016-0728", "CVE-2016-0728"]',
        "line 7: the call 'keyctl': 'cves', entry 2, repeats 'CVE-2016-0728'; remove it",
    ),
    "technique too short": (
        "T1547.006",
        "T1547.6",
        (
            "line 7: the call 'keyctl': 'attack', entry 2, is 'T1547.6'; "
            "write it like T1611 or T1547.006"
        ),
    ),
    "capitals": (
        '"keyctl"',
        '"KEYCTL"',
        "line 7: the call 'KEYCTL' has capitals, but the kernel spells it lower-case: 'keyctl'",
    ),
    "unknown call": (
        '"keyctl"',
        '"keyctrl"',
        (
            "line 7: the call 'keyctrl' is in no architecture's system call table; "
            "did you mean 'keyctl'?"
        ),
    ),
    "unknown call with capitals": (
        '"keyctl"',
        '"SYSCTL"',
        (
            "line 7: the call 'SYSCTL' is in no architecture's system call table; "
            "did you mean '_sysctl'?"
        ),
    ),
    "unknown call unlike any": (
        '"keyctl"',
        '"xyzzyxyzzy"',
        (
            "line 7: the call 'xyzzyxyzzy' is in no architecture's system call table; "
            "check its spelling"
        ),
    ),
    "unknown family": (
        'family = "keyrings"',
        'family = "keyring"',
        NO_FAMILY.format("keyring", "did you mean 'keyrings'?"),
    ),
    "unknown family unlike any": (
        'family = "keyrings"',
        'family = "mounts"',
        NO_FAMILY.format("mounts", "check its spelling"),
    ),
    "line break in a name": (
        '"keyctl"',
        '"key\\nctl"',
        (
            r"line 7: the call 'key\nctl' is in no architecture's system call table; "
            "did you mean 'keyctl'?"
        ),
    ),
    "line break in a family": (
        'family = "keyrings"',
        'family = "key\\nrings"',
        NO_FAMILY.format(r"key\nrings", "did you mean 'keyrings'?"),
    ),
    "line break in the family meant": (
        '["keyrings", "time"]',
        '["key\\nrings", "time"]',
        NO_FAMILY.format("keyrings", r"did you mean 'key\nrings'?"),
    ),
    "line break in a repeated family": (
        '["keyrings", "time"]',
        '["key\\nrings", "key\\nrings"]',
        r"the policy: 'families', entry 2, repeats 'key\nrings'; remove it",
    ),
    "duplicate call": (
        '"settimeofday"',
        '"keyctl"',
        "the call 'keyctl' is documented twice, in line 7 and in line 17; remove one of the two",
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG.values(), ids=WRONG)
def test_refuses_wrong_contents(written: Path, old: str, new: str, sentence: str) -> None:
    assert old in SMALL
    written.write_text(SMALL.replace(old, new, 1))
    assert refusal(written) == sentence


@pytest.mark.parametrize(
    "header", ["[[call]]", " [[ call ]]  # again", "[['call']]", '[["call"]]', "\t[[call]]\r"]
)
def test_lines_are_found_however_a_header_is_written(written: Path, header: str) -> None:
    written.write_bytes((SMALL + SECOND.replace("[[call]]", header)).encode())
    assert "in line 17 and in line 22;" in refusal(written)


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace('"Manages keys."', '"""\n[[call]]\n"""') + SECOND,
        SMALL.replace("[[call]]", r'[["c\u0061ll"]]') + SECOND.replace("[[call]]", "[[call]]"),
    ],
)
def test_no_line_is_claimed_where_the_headers_are_unclear(written: Path, text: str) -> None:
    written.write_text(text)
    assert "in call number 2 and in call number 3;" in refusal(written)


# --- Conditions on arguments, and errnos of a call's own ------------------------------------------


def with_args(args: str) -> str:
    """A small policy with a second call under conditions, which stands in line 23."""
    second = f'name = "socket"\nfamily = "time"\ndescription = "x"\nwhy = "y"\nargs = {args}\n'
    return f"{SMALL}\n[[call]]\n{second}"


EQ = '{ index = 0, op = "SCMP_CMP_EQ", value = 38 }'
MASKED = 'op = "SCMP_CMP_MASKED_EQ"'


def test_conditions_and_errnos_are_read(written: Path) -> None:
    both = f"[{EQ}, {{ index = 1, {MASKED}, value = 2, mask = 0xf }}]"
    written.write_text(f'{with_args(both)}errno = ["EAFNOSUPPORT", "EPERM"]\n')
    call = load(written, KNOWN).calls[-1]
    assert call.label == "socket[0==38,1&0xf==0x2]"
    assert call.errno == ("EAFNOSUPPORT", "EPERM")


@pytest.mark.parametrize("form", ["value = 4, mask = 6", "value = 6, valueTwo = 4"])
def test_masks_may_be_written_as_oci_has_them(written: Path, form: str) -> None:
    written.write_text(with_args(f"[{{ index = 0, {MASKED}, {form} }}]"))
    (condition,) = load(written, KNOWN).calls[-1].args
    assert (condition.mask, condition.value) == (6, 4)


def test_one_call_may_have_several_conditions(written: Path) -> None:
    other = with_args('[{ index = 0, op = "SCMP_CMP_EQ", value = 40 }]').removeprefix(SMALL)
    written.write_text(with_args(f"[{EQ}]") + other)
    policy = load(written, KNOWN)
    assert [call.label for call in policy.calls[-2:]] == ["socket[0==38]", "socket[0==40]"]
    assert policy.names[-1] == "socket"
    assert policy.call("socket[0==40]") is policy.calls[-1]


WRONG_CONDITIONS = {
    "empty": ("[]", "'args' is an empty list; fill it in or leave it out"),
    "no list": ("38", "'args' must be a list, but is a whole number"),
    "no table": ("[38]", "'args', entry 1, must be a table, but is a whole number"),
    "a key is missing": (
        '[{ index = 0, op = "SCMP_CMP_EQ" }]',
        "'args', entry 1, lacks the key 'value' (a whole number); add it to this entry",
    ),
    "an unknown key": (
        '[{ index = 0, op = "SCMP_CMP_EQ", value = 1, valuetwo = 2 }]',
        "'args', entry 1, has the unknown key 'valuetwo'; did you mean 'valueTwo'?",
    ),
    "an unknown op": (
        '[{ index = 0, op = "SCMP_CMP_MASKEDEQ", value = 1 }]',
        (
            "'args', entry 1, has the unknown op 'SCMP_CMP_MASKEDEQ'; did you mean "
            "'SCMP_CMP_MASKED_EQ'?"
        ),
    ),
    "no such argument": (
        '[{ index = 6, op = "SCMP_CMP_EQ", value = 1 }]',
        "'args', entry 1, has the index 6, but a call has the arguments 0 to 5",
    ),
    "a negative value": (
        '[{ index = 0, op = "SCMP_CMP_EQ", value = -1 }]',
        (
            "'args', entry 1, has 'value' = -1, which is not from 0 to 2^64-1; write a "
            "negative number "
            "as the kernel's register has it: 0xffffffff for an int of -1"
        ),
    ),
    "a mask without masking": (
        '[{ index = 0, op = "SCMP_CMP_EQ", value = 1, mask = 1 }]',
        (
            "'args', entry 1, has the key 'mask', which only SCMP_CMP_MASKED_EQ takes; remove "
            "it, or "
            "change 'op'"
        ),
    ),
    "masking without a mask": (
        f"[{{ index = 0, {MASKED}, value = 1 }}]",
        (
            "'args', entry 1, needs either 'mask' (the bits of the argument that must be as in "
            "'value')"
            " or 'valueTwo' (as OCI has it: 'value' is then the mask); give one of the two"
        ),
    ),
    "bits beyond the mask": (
        f"[{{ index = 0, {MASKED}, value = 3, mask = 1 }}]",
        (
            "'args', entry 1, asks for 0x3 under the mask 0x1, which has not all of these "
            "bits, so that"
            " no argument meets it; correct one of the two"
        ),
    ),
    "bits that the kernel does not read": (
        '[{ index = 0, op = "SCMP_CMP_EQ", value = 0x100000026 }]',
        (
            "'args', entry 1, has the value 0x100000026, but the kernel reads only the low 32 "
            "bits of "
            "argument 0; write 0x26 if those are meant"
        ),
    ),
    "met by none": (
        f'[{EQ}, {{ index = 0, op = "SCMP_CMP_EQ", value = 40 }}]',
        "no arguments meet 'args', for all of it must hold; mend it",
    ),
    "met by all": (
        '[{ index = 0, op = "SCMP_CMP_GE", value = 0 }]',
        "all arguments meet 'args'; leave it out",
    ),
}


@pytest.mark.parametrize(("args", "sentence"), WRONG_CONDITIONS.values(), ids=WRONG_CONDITIONS)
def test_refuses_wrong_conditions(written: Path, args: str, sentence: str) -> None:
    written.write_text(with_args(args))
    assert refusal(written) == f"line 23: the call 'socket': {sentence}"


def test_refuses_what_contradicts_itself(written: Path) -> None:
    again = with_args(f"[{EQ}]").removeprefix(SMALL)
    written.write_text(with_args(f"[{EQ}]") + again)
    assert "the call 'socket[0==38]' is documented twice, in line 23 and in line 30" in refusal(
        written
    )
    written.write_text(with_args(f"[{EQ}]") + re.sub("args = .*\n", "", again))
    assert refusal(written) == (
        "the call 'socket' is documented with conditions and without any, in line 23 and in "
        "line 30; keep the one or the other"
    )
    wider = with_args('[{ index = 0, op = "SCMP_CMP_GE", value = 30 }]').removeprefix(SMALL)
    written.write_text(f'{with_args(f"[{EQ}]")}errno = ["ENOSYS"]\n{wider}')
    assert refusal(written) == (
        "'socket[0==38]' in line 23 and 'socket[0>=30]' in line 31 have arguments in common, but "
        "not 'errno'; let them list the same errnos in the same order"
    )


def test_refuses_errnos_that_are_none(written: Path) -> None:
    written.write_text(SMALL + '\nerrno = ["EPREM"]\n')
    assert refusal(written) == (
        "line 17: the call 'settimeofday': 'errno' names EPREM, which is no errno; did you "
        "mean 'EPERM'?"
    )
    written.write_text(SMALL + "\nerrno = []\n")
    assert "'errno' is an empty list" in refusal(written)
    written.write_text(SMALL + '\nerrno = ["ENOSYS", "ENOSYS"]\n')
    assert "'errno', entry 2, repeats 'ENOSYS'; remove it" in refusal(written)


# --- Whatever the file ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policy") / "any.toml"


def assert_loads_whole_or_refuses(path: Path, data: bytes) -> None:
    """Lets through no other exception than the refusal."""
    path.write_bytes(data)
    try:
        policy = load(path, KNOWN)
    except BadInputError as error:
        checked(error, path)
    else:
        assert_is_what_toml_says(policy, data)


@pytest.mark.slow
@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_load_or_are_refused(scratch: Path, data: bytes) -> None:
    assert_loads_whole_or_refuses(scratch, data)


VALUES = st.sampled_from(
    (
        *("1", "-0.5", "inf", "0x" + "f" * 5000, "true", "2024-01-01", "07:32:00"),
        *('""', '"x"', "'CVE-2022-0185'", '"\\u0000"', '"""\n"""'),
        *("[]", "[1]", '["T1611"]', "[[[]]]", "{}", "{ a = 1 }", '["ENOSYS"]', '["EGG"]'),
        '[{ index = 0, op = "SCMP_CMP_EQ", value = 2 }]',
        '[{ index = 1, op = "SCMP_CMP_MASKED_EQ", value = 2, mask = 6 }]',
        '[{ index = 2, op = "SCMP_CMP_MASKED_EQ", value = 6, valueTwo = 4 }]',
        '[{ index = 9, op = "EQ", value = -2, mask = 0 }]',
    )
)
KEYS = st.sampled_from(
    (
        *("format", "name", "title", "source", "families", "call", "family", "description", "why"),
        *(
            "cves",
            "attack",
            "obsolete",
            "since",
            "args",
            "errno",
            "[call]",
            "[[call]]",
            "call.x",
            "x",
            '""',
        ),
        '"\\n"',
    )
)
LINES = st.builds("{} = {}".format, KEYS, VALUES) | KEYS


@given(lines=st.lists(LINES | st.sampled_from(SMALL.splitlines())))
def test_any_lines_load_or_are_refused(scratch: Path, lines: list[str]) -> None:
    assert_loads_whole_or_refuses(scratch, "\n".join(lines).encode())


@st.composite
def mutations(draw: st.DrawFn, original: str) -> str:
    """The original with up to three lines deleted, doubled, exchanged or given another value."""
    lines = original.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        here = draw(st.integers(0, len(lines) - 1))
        there = draw(st.integers(0, len(lines) - 1))
        key = lines[here].partition(" = ")[0]
        match draw(st.sampled_from(["delete", "double", "exchange", "value", "key", "insert"])):
            case "delete":
                del lines[here]
            case "double":
                lines.insert(there, lines[here])
            case "exchange":
                lines[here], lines[there] = lines[there], lines[here]
            case "value":
                lines[here] = f"{key} = {draw(VALUES)}"
            case "key":
                lines[here] = lines[here].replace(key, draw(KEYS), 1)
            case "insert":
                lines.insert(here, draw(LINES))
    return "\n".join(lines)


@given(text=mutations(SMALL))
def test_any_change_of_a_small_policy_loads_or_is_refused(scratch: Path, text: str) -> None:
    assert_loads_whole_or_refuses(scratch, text.encode())


@pytest.mark.slow
@given(text=mutations(SHIPPED.read_text()))
def test_any_change_of_the_shipped_policy_loads_or_is_refused(scratch: Path, text: str) -> None:
    assert_loads_whole_or_refuses(scratch, text.encode())
