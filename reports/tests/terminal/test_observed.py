"""What an observation says to people and machines."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from probes.action import Profile
from probes.documents import waivers
from probes.errors import BadInputError, ExitStatus
from probes.observe import grants
from probes.observe.contacts import Contact, Work
from probes.observe.findings import findings
from probes.observe.observation import refuse_old_kernel
from probes.observe.own_filters import InstalledFilters
from probes.observe.spools import SpooledFile
from probes.observe.supervisor import ObservationEnd
from probes.observe.tally import TallyKey, TallyRow
from probes.observe.watch import Kind
from probes.tests.support import observing
from reports.terminal.observed import ObservationReport, document, lines, to_json
from reports.tests.support.observations import (
    FILTER,
    FSOPEN,
    ROWS,
    SETSID,
    UNKNOWN,
    reported,
    row,
)

COMMAND = [sys.executable, "-m", "syscall_conformance"]


def _text(report: ObservationReport, width: int = 200) -> str:
    return "\n".join(lines(report, width))


def test_people_are_told_what_each_profile_would_do() -> None:
    said = _text(reported(ROWS))
    assert said.startswith(
        "FAIL: 0x270f, mount, setsid: 3 calls that the platform does not allow, made 8 times\n"
        "the command ended with exit status 0 after 1.50 s\n"
    )
    assert (
        "kill: each of 2 processes would be ended by SIGSYS at its first such call, with an audit "
        "record: /bin/tool (worker) at mount, /bin/tool at 0x270f, /usr/bin/setsid at setsid\n"
    ) in said
    assert "errno: 8 calls would be refused with EPERM, and no record written\n" in said
    assert "log: 8 calls would run, and leave an audit record each\n" in said
    assert said.endswith("    has the power of mount")
    assert "    mount(0x7, 0x2, 0x3, 0x4, 0x5)\n" in said
    assert "    setsid()\n" in said
    assert "    0x270f(0x100000007, 0x2, 0x3, 0x4, 0x5, 0x6)\n" in said


def test_lines_are_as_wide_as_the_terminal() -> None:
    sentences = [
        line for line in lines(reported(ROWS), 60) if line.startswith(("kill", "note", "  "))
    ]
    assert max(map(len, (line for line in sentences if not line.startswith("    ")))) <= 60


def test_the_order_does_not_depend_on_the_run() -> None:
    keys = list(ROWS)
    texts = set()
    for seed in range(10):
        random.Random(seed).shuffle(keys)  # noqa: S311 - no secret
        report = reported({key: ROWS[key] for key in keys})
        texts.add((to_json(report), _text(report)))
    assert len(texts) == 1


def test_the_document_holds_what_was_seen() -> None:
    data = document(reported(ROWS))
    assert json.loads(to_json(reported(ROWS))) == data
    assert [one["call"] for one in data["calls"]] == [
        "mount",
        "setsid",
        "0x270f",
        "fsopen",
        "seccomp",
    ]
    setsid = data["calls"][1]
    assert setsid["calls_by_process"] == [
        {"calls": 1, "processes": 1},
        {"calls": 2, "processes": 1},
    ]
    assert setsid["under"] == {"kill": "killed", "errno": "refused", "log": "logged"}
    assert setsid["first_seconds"] == 0.003
    assert data["calls"][3]["under"] == {"kill": "allowed", "errno": "allowed", "log": "allowed"}
    assert data["exit_status"] == 1


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(observing.validator().schema)


@pytest.mark.parametrize("ending", list(ObservationEnd))
@pytest.mark.parametrize("status", [0, 9 << 8, 11, 64])
@pytest.mark.parametrize("hidden", [None, {}, {"x86_64": {"mount": "ERRNO(EPERM)"}}])
def test_the_document_obeys_its_schema(
    ending: ObservationEnd, status: int, hidden: Mapping[str, Mapping[str, str]] | None
) -> None:
    report = reported(ROWS, status=status, ending=ending, granted=lambda *_: "by A")
    seen = replace(report.observation, hidden=hidden)
    for one in (report, replace(report, observation=seen), replace(report, findings=())):
        observing.validator().validate(json.loads(to_json(one)))


def _objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    if isinstance(value, dict):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from _objects(inner, (*path, key))


LATER = {"contacts", "own_filters", "limits", "would", "sentence", "ended", "last_seconds"}
"""Names that documents of earlier versions do not have."""

FREE = {("under",), ("granted",), ("would",)}
"""Objects whose names are profiles, of which some may be missing."""


def test_the_schema_is_strict() -> None:
    """No name may be missing, and none may be more."""
    text = to_json(reported(ROWS, granted=lambda *_: "by A"))
    check = observing.validator()
    paths = list(_objects(json.loads(text)))
    assert len(paths) > 20
    for path in paths:
        at = json.loads(text)
        place = reduce(getitem, path, at)
        for name in [] if path == ("hidden",) or path[-1:] in FREE else list(place):
            left = place.pop(name)
            of_earlier = name in LATER and (path == () or name == "last_seconds")
            assert check.is_valid(at) == of_earlier, (path, name)
            place[name] = left
        assert check.is_valid(at)
        if path != ("hidden",):
            place["more"] = 1
            assert not check.is_valid(at), path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", "syscall-conformance/observation/2"),
        ("started", "yesterday"),
        ("seconds", -1),
        ("ending", "well"),
        ("workload", {"exit_status": 1, "signal": "SIGSYS"}),
        ("exit_status", 7),
        ("profiles", []),
        ("profiles", ["none"]),
        ("command", "tool"),
        ("hidden", {"x86_64": ["mount"]}),
        ("no_new_privs", 0),
    ],
)
def test_the_schema_refuses_nonsense(name: str, value: object) -> None:
    data = json.loads(to_json(reported(ROWS)))
    assert not observing.validator().is_valid(data | {name: value})


def test_names_from_outside_cannot_act_on_the_terminal() -> None:
    evil = TallyKey(Kind.DOCUMENTED, "x86_64", 112, "setsid", "\u202eevil", "/opt/\x1b[2J")
    said = _text(reported({evil: row(0, 1)}))
    assert "\x1b" not in said
    assert "\u202e" not in said


@pytest.mark.parametrize(
    ("rows", "status", "ending", "expected", "word"),
    [
        ({}, 0, ObservationEnd.ITSELF, ExitStatus.CONFORMANT, "PASS"),
        ({FSOPEN: ROWS[FSOPEN]}, 0, ObservationEnd.ITSELF, ExitStatus.CONFORMANT, "PASS"),
        ({}, 1 << 8, ObservationEnd.ITSELF, ExitStatus.CANNOT_TELL, "CANNOT TELL"),
        ({}, 11, ObservationEnd.ITSELF, ExitStatus.CANNOT_TELL, "CANNOT TELL"),
        ({}, 15, ObservationEnd.DEADLINE, ExitStatus.CONFORMANT, "PASS"),
        ({}, 2, ObservationEnd.INTERRUPTED, ExitStatus.INTERRUPTED, "CANNOT TELL"),
        (
            {UNKNOWN: ROWS[UNKNOWN]},
            2,
            ObservationEnd.INTERRUPTED,
            ExitStatus.NOT_CONFORMANT,
            "FAIL",
        ),
    ],
)
def test_the_exit_status_says_what_was_seen(
    rows: dict[TallyKey, TallyRow],
    status: int,
    ending: ObservationEnd,
    expected: ExitStatus,
    word: str,
) -> None:
    report = reported(rows, status=status, ending=ending)
    assert report.status is expected
    assert _text(report).startswith(f"{word}: ")


def _limited(report: ObservationReport, **changes: Any) -> ObservationReport:  # noqa: ANN401 - fields of an observation
    return replace(report, observation=replace(report.observation, **changes))


CONTACT = Contact(
    executable="/usr/bin/docker",
    where="/run/docker.sock",
    listener="/usr/sbin/dockerd",
    daemon="Docker's daemon",
    starts="containers",
    image=True,
    work=Work.STARTS,
)
LIMITS: Mapping[str, Mapping[str, Any]] = {
    "starts containers: what runs there is not seen here: observe the image": {
        "contacts": (CONTACT,)
    },
    "which started processes meanwhile": {"contacts": (replace(CONTACT, work=Work.STARTED),)},
    "which has ended since": {"contacts": (replace(CONTACT, work=Work.ENDED),)},
    "is not known whether work is started": {"contacts": (replace(CONTACT, work=Work.UNKNOWN),)},
    "more others than the 1 that are named": {
        "contacts": (replace(CONTACT, work=Work.NONE),),
        "contacts_left_out": True,
    },
    "to whom /bin/x connected could not be read": {"contacts_unread": ("/bin/x",)},
    "/etc/cron.d/x was left meanwhile": {"jobs": (SpooledFile("/etc/cron.d/x", "cron or at"),)},
    "by /bin/x, and what they answer is not seen here: on x86_64 ERRNO(EPERM) to acct": {
        "confinements": (InstalledFilters("/bin/x", {"x86_64": {"acct": "ERRNO(EPERM)"}}),)
    },
    "could not be found out": {"confinements": (InstalledFilters("/bin/x", None),)},
    "twice a filter with a listener was refused": {"listeners_refused": 2},
    "the observer is itself under filters": {"under_filters": True},
    "io_uring was set up by /bin/tool": {
        "rows": {
            TallyKey(Kind.SIBLING, "x86_64", 425, "io_uring_setup", "x", "/bin/tool"): row(0, 1)
        }
    },
}


@pytest.mark.parametrize("said", LIMITS)
def test_what_was_not_seen_keeps_it_open(said: str) -> None:
    report = _limited(reported({}), **LIMITS[said])
    report = replace(report, findings=findings(report.observation, report.profiles, lambda *_: ""))
    assert report.status is ExitStatus.CANNOT_TELL
    assert _text(report, 1000).startswith("CANNOT TELL: ")
    assert said in _text(report, 1000)
    data = json.loads(to_json(report))
    observing.validator().validate(data)
    (limit,) = data["limits"]
    assert said in limit["text"]
    assert limit["text"] in data["notes"]
    # What was seen outweighs what was not, and what was interrupted stays so.
    seen = _limited(reported({SETSID: ROWS[SETSID]}), **LIMITS[said])
    assert seen.status is ExitStatus.NOT_CONFORMANT
    stopped = _limited(reported({}, ending=ObservationEnd.INTERRUPTED), **LIMITS[said])
    assert stopped.status is ExitStatus.INTERRUPTED


def test_what_hides_nothing_limits_nothing() -> None:
    report = _limited(
        reported({FILTER: ROWS[FILTER]}),
        contacts=(replace(CONTACT, work=Work.NONE),),
        confinements=(InstalledFilters("/bin/x", {}),),
    )
    assert report.status is ExitStatus.CONFORMANT
    assert "it was not seen to start a process" in _text(report)
    assert "filters of" not in _text(report)
    assert document(report)["limits"] == []


def test_what_most_programs_do_is_one_line() -> None:
    rows = {
        TallyKey(Kind.SIBLING, "x86_64", number, name, comm, f"/bin/{comm}"): row(
            0, 3, gives=("ustat",)
        )
        for number, name in ((137, "statfs"), (138, "fstatfs"))
        for comm in ("ls", "df")
    }
    folded = (
        "As most programs do, 2 programs made calls that are allowed and have the power of ustat: "
        "fstatfs, statfs, 12 times in all"
    )
    assert _text(reported(rows)).splitlines()[2:] == ["", folded]
    clone = TallyKey(Kind.SIBLING, "x86_64", 56, "clone", "x", "/bin/x")
    said = _text(reported(rows | ROWS | {clone: row(0, 1, gives=("unshare",))}))
    assert folded in said
    assert "has the power of unshare" in said
    assert "fsopen" in said
    assert len(document(reported(rows))["calls"]) == 4


def test_a_granted_call_stopsnobody() -> None:
    def some(call: str, abi: str, profile: Profile) -> str:
        return f"by A for {call} on {abi}" if profile is not Profile.KILL else ""

    report = reported({SETSID: ROWS[SETSID]}, granted=some)
    assert report.status is ExitStatus.NOT_CONFORMANT
    assert report.findings[0].under == {
        Profile.KILL: "killed",
        Profile.ERRNO: "granted",
        Profile.LOG: "granted",
    }
    assert "granted (under errno, log): by A for setsid on x86_64" in _text(report)
    report = reported({SETSID: ROWS[SETSID]}, granted=lambda *_: "by B")
    assert report.status is ExitStatus.CONFORMANT
    assert _text(report).startswith(
        "PASS: of the 60 calls of container-restrictions only granted ones were seen, 3 times\n"
    )


WAIVERS = """
format = 1
[[waiver]]
call = "setsid"
arch = "x86_64"
target = "command:*tool"
reason = "old"
owner = "O"
approver = "P"
created = 2025-01-01
expires = 2025-12-31
[[waiver]]
call = "setsid"
arch = "x86_64"
target = "command:*tool"
reason = "it detaches"
owner = "O"
approver = "Q"
created = 2026-01-31
expires = 2026-01-31
"""


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (("", ""), ExitStatus.CONFORMANT),
        (("command:*tool", "command:other"), ExitStatus.NOT_CONFORMANT),
        (("command:*tool", "docker:*"), ExitStatus.NOT_CONFORMANT),
        (("x86_64", "i386"), ExitStatus.NOT_CONFORMANT),
        (("= 2026-01-31", "= 2026-02-01"), ExitStatus.NOT_CONFORMANT),
        (
            ('"O"\napprover = "Q"', '"O"\nprofile = "kill"\napprover = "Q"'),
            ExitStatus.NOT_CONFORMANT,
        ),
        (('"O"\napprover = "Q"', '"O"\nclaim = "runs"\napprover = "Q"'), ExitStatus.NOT_CONFORMANT),
    ],
)
def test_a_valid_waiver_grants_its_call(
    tmp_path: Path, change: tuple[str, str], status: ExitStatus
) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text(WAIVERS.replace(*change))
    loaded = waivers.load(file)
    today = datetime(2026, 1, 31, tzinfo=UTC).date()
    word = "command:/bin/tool"
    report = reported({SETSID: ROWS[SETSID]}, granted=grants.grants(loaded, word, today))
    assert report.status is status
    if status is ExitStatus.CONFORMANT:
        assert "granted: until 2026-01-31 by Q: it detaches" in _text(report)
        assert grants.not_valid(loaded, word, today, report.findings) == (
            "the waiver of setsid on x86_64 grants nothing: it expired on 2025-12-31",
        )


def test_an_old_kernel_is_refused_in_a_sentence() -> None:
    for release in ("5.5.0", "5.10.0-30-amd64", "6.18.44", "10.0"):
        refuse_old_kernel(release)
    for release in ("5.4.0-1", "4.19.1"):
        with pytest.raises(BadInputError, match=r"it takes 5\.5 or newer"):
            refuse_old_kernel(release)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--", "true"], 0, "PASS: none of the 60 calls of container-restrictions was seen\n"),
        (["true"], 0, "PASS"),
        (
            ["--", "setsid", "-w", "true"],
            1,
            "FAIL: setsid: a call that the platform does not allow",
        ),
        (["--", "false"], 6, "CANNOT TELL"),
        (["--", "no-such-command"], 4, "no-such-command: cannot be executed (No such file"),
        (["--", "/etc"], 4, "/etc: cannot be executed (Permission denied)"),
        (["--"], 4, "name the command after --"),
        ([], 4, "name the command after --"),
        (["--timeout", "0", "true"], 4, "--timeout 0: give a number of seconds above 0"),
        (["--timeout", "inf", "true"], 4, "--timeout inf: give a number of seconds above 0"),
        (["--timeout", "nan", "true"], 4, "--timeout nan: give a number of seconds above 0"),
        (["--profile", "kil", "true"], 4, "unknown profile 'kil' (did you mean kill?)"),
        (["--json", "/nowhere/x", "true"], 4, "--json /nowhere/x: /nowhere is no directory"),
        (["--policy", "/nowhere", "true"], 4, "/nowhere"),
    ],
)
def test_the_command_exits_with_a_sentence(words: list[str], status: int, said: str) -> None:
    done = subprocess.run(
        [*COMMAND, "observe", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_goes_where_it_was_sent(tmp_path: Path) -> None:
    words = ["observe", "-o", str(tmp_path / "text"), "--json", str(tmp_path / "json")]
    run = [
        *COMMAND,
        *words,
        "--profile",
        "log",
        "--",
        "sh",
        "-c",
        "echo said; setsid true; echo >&2",
    ]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "said\n", "\n")
    assert "log: 1 call would run" in (tmp_path / "text").read_text()
    data = observing.load(tmp_path / "json")
    assert data["profiles"] == ["log"]
    assert data["command"] == ["sh", "-c", "echo said; setsid true; echo >&2"]
    assert data["calls"][0]["sites"][0]["at"].startswith("libc.so.6+0x")
