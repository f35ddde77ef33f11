"""Alerts of a run: one a cause, in the line of the user's file that is to blame."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from probes.action import Action, FilterReturn
from probes.cell import Cause, Cell, CellKey, Claim, Outcome
from probes.targets.oci import rule_lines
from probes.written import Lines, WrittenProfile
from reports.causes.blame import Part, blamed
from reports.formats import annotations, codequality, sarif
from reports.formats.alerts import alerts
from reports.results import Run
from reports.tests.support import format_oracles, samples
from reports.tests.support.format_samples import NASTY, trimmed

PROFILE = """\
{
  "defaultAction": "SCMP_ACT_ERRNO",
  "architectures": [
    "SCMP_ARCH_X86_64"
  ],
  "syscalls": [
    {
      "names": ["read", "write", "openat"],
      "action": "SCMP_ACT_ALLOW"
    },
    {
      "names": [
        "acct",
        "bpf",
        "close",
        "mount"
      ],
      "action": "SCMP_ACT_ALLOW",
      "includes": {"caps": ["CAP_SYS_ADMIN"]}
    },
    {"names": ["mount", "getpid"], "action": "SCMP_ACT_KILL_PROCESS"}
  ]
}
"""

ALLOWED = FilterReturn(Action.ALLOW)
REFUSED = FilterReturn(Action.ERRNO, 1)
KILLED = FilterReturn(Action.KILL_PROCESS)
KILLED_THREAD = FilterReturn(Action.KILL_THREAD)

DENIES = (Claim.DENIES, "errno")
OTHER = (Claim.LEAVES_THE_REST_ALONE, "errno")


def cell(
    claim: tuple[Claim, str], call: str, returned: FilterReturn | None, arch: str = "x86_64"
) -> Cell:
    """A cell that failed."""
    key = CellKey(claim[0], claim[1], arch, call, 7)
    sentence = f"{call} (7) on {arch}: it fails"
    return Cell(
        *(key, Outcome.FAILED, Cause.FILTER, sentence, "EPERM", "something else"),
        reason="it fails",
        returned=returned,
    )


@cache
def profile(text: str = PROFILE, path: str = "deploy/seccomp.json") -> WrittenProfile:
    return rule_lines.of_profile(Path(path), text.encode())


def run_of(*cells: Cell, written: Sequence[WrittenProfile] | None = None) -> Run:
    """A run in which only these cells fail."""
    files = (profile(),) if written is None else tuple(written)
    whole = trimmed(samples.passing())
    target = replace(whole.target, kind="docker", written=files)
    every = (*whole.cells, *cells)
    keys = {one.key for one in cells}
    kept = tuple(one for one in every if one.key not in keys or one in cells)
    return replace(whole, target=target, cells=kept, planned=len(kept), selected_of=len(kept))


@pytest.mark.parametrize(
    ("failed", "part", "first", "last"),
    [
        # The line of its name in the rule that allows it, not of the one that refuses it.
        (cell(DENIES, "mount", ALLOWED), Part.RULE, 16, 16),
        (cell(DENIES, "mount", KILLED), Part.RULE, 21, 21),
        (cell(DENIES, "bpf", ALLOWED), Part.RULE, 14, 14),
        # Under conditions it has another name.
        (cell(DENIES, "bpf[0==1]", ALLOWED), Part.RULE, 14, 14),
        # Where nobody says what the filter did, whichever rule names it.
        (cell(DENIES, "acct", None), Part.RULE, 13, 13),
        # What no rule names is decided by the default action,
        (cell((Claim.TERMINATES, "kill"), "setns", REFUSED), Part.DEFAULT, 2, 2),
        # unless that does something else: then by the architectures.
        (cell(DENIES, "setns", KILLED_THREAD, "x32"), Part.ARCHITECTURES, 3, 5),
        # A call that is blocked belongs into the list that always counts.
        (cell(OTHER, "fork", REFUSED), Part.ALLOWED, 7, 10),
        (cell(OTHER, "getpid", KILLED), Part.RULE, 21, 21),
        (cell(OTHER, "fork", KILLED_THREAD, "x32"), Part.ARCHITECTURES, 3, 5),
        (
            cell((Claim.DEFAULT_ACTION, "kill"), "unknown", REFUSED),
            *(Part.DEFAULT, 2, 2),
        ),
    ],
)
def test_what_is_to_blame(failed: Cell, part: Part, first: int, last: int) -> None:
    (one,) = blamed(run_of(failed))
    assert (one.part, one.spot.path, one.spot.lines) == (
        *(part, "deploy/seccomp.json"),
        Lines(first, last),
    )


def test_a_cause_is_one_result_for_every_abi_and_claim() -> None:
    """Six cells: two calls, three ABIs; they stand in two lines next to each other."""
    cells = [
        cell(claim, call, ALLOWED, arch)
        for call in ("acct", "bpf")
        for arch in ("x86_64", "x32", "i386")
        for claim in (DENIES, (Claim.IS_SILENT, "errno"))
    ]
    (one,) = alerts(run_of(*cells))
    assert len(one.cells) == len(cells)
    assert one.spot.lines == Lines(13, 14)
    assert [(spot.words, spot.lines) for spot in one.related] == [
        ("acct", Lines(13, 13)),
        ("bpf", Lines(14, 14)),
    ]
    assert "acct, bpf (x86_64, x32, i386)" in one.message
    (result,) = _results(run_of(*cells))
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "deploy/seccomp.json", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 13, "endLine": 14},
    }
    assert (result["kind"], result["level"]) == ("fail", "error")
    assert len(result["properties"]["cells"]) == len(cells)


def test_a_rule_that_always_counts_is_to_blame_before_one_under_conditions() -> None:
    """The other one may not count for the container that was judged."""
    always = '{"names": ["acct"], "action": "SCMP_ACT_ALLOW"}'
    text = PROFILE.replace("  ]\n}", f"  ,{always}]\n}}")
    (one,) = blamed(run_of(cell(DENIES, "acct", ALLOWED), written=[profile(text)]))
    assert one.spot.lines == Lines(22, 22)


def test_a_blocked_call_belongs_into_the_longest_list() -> None:
    longer = '{"names": ["a", "b", "c", "d"], "action": "SCMP_ACT_ALLOW"}'
    text = PROFILE.replace("  ]\n}", f"  ,{longer}]\n}}")
    (one,) = blamed(run_of(cell(OTHER, "fork", REFUSED), written=[profile(text)]))
    assert (one.part, one.spot.lines) == (Part.ALLOWED, Lines(22, 22))


def test_what_follows_from_a_cause_is_told_once() -> None:
    """What becomes of a call in a child, where the cause is to be mended in two rules."""
    text = PROFILE.replace('"openat"', '"openat", "setns"')
    child = cell((Claim.IS_INHERITED, "errno"), "acct", ALLOWED)
    child = replace(child, key=replace(child.key, variant="fork"))
    calls = [cell(DENIES, "acct", ALLOWED), cell(DENIES, "setns", ALLOWED)]
    found = alerts(run_of(*calls, child, written=[profile(text)]))
    assert len(found) == 2
    assert sorted(len(one.cells) for one in found) == [1, 2]


def test_a_known_filter_that_failed_is_a_result() -> None:
    """The run fails by it alone where the kernel does something else for an action."""
    key = CellKey(Claim.CONTROLS, "none", "x86_64", "getpid", 39, "KILL_PROCESS")
    control = Cell(key, Outcome.FAILED, Cause.NOT_IMPLEMENTED, "it ends a thread", "a", "b")
    (one,) = alerts(run_of(control))
    assert (one.rule, one.cells) == ("controls", (control,))


def test_calls_apart_are_one_result_at_the_first() -> None:
    (one,) = alerts(run_of(cell(DENIES, "acct", ALLOWED), cell(DENIES, "mount", ALLOWED)))
    assert one.spot.lines == Lines(13, 13)
    assert [spot.lines for spot in one.related] == [Lines(13, 13), Lines(16, 16)]


def test_a_cause_in_two_rules_is_a_result_for_each() -> None:
    """Each is to be mended, and what follows is told once."""
    text = PROFILE.replace('"openat"', '"openat", "setns"')
    run = run_of(
        cell(DENIES, "acct", ALLOWED),
        cell(DENIES, "setns", ALLOWED),
        written=[profile(text)],
    )
    found = alerts(run)
    assert sorted(one.spot.lines.first for one in found if one.spot.lines) == [8, 13]
    assert sum(len(one.cells) for one in found) == 2
    assert len({one.fingerprint for one in found}) == 2


def test_without_a_file_the_policy_is_the_place() -> None:
    """At the table of the call; code scanning takes no result without a place."""
    run = run_of(cell(DENIES, "mount", ALLOWED), written=[])
    calls = tuple(replace(call, line=40 + 8 * rank) for rank, call in enumerate(run.policy.calls))
    known = replace(run, policy=replace(run.policy, path="deploy/policy.toml", calls=calls))
    (one,) = alerts(known)
    line = next(call.line for call in calls if call.name == "mount")
    assert line is not None
    assert (one.spot.path, one.spot.lines) == ("deploy/policy.toml", Lines(line, line))
    (older,) = alerts(run)
    assert older.spot.path == f"cases/policies/{run.policy.name}.toml"
    assert older.spot.lines is None


def test_a_file_without_lines_is_the_place_all_the_same() -> None:
    program = rule_lines.of_program(Path("deploy/filter.bpf"), b"\0" * 8)
    (one,) = alerts(run_of(cell(DENIES, "mount", ALLOWED), written=[program]))
    assert (one.spot.path, one.spot.lines) == ("deploy/filter.bpf", None)
    (result,) = _results(run_of(cell(DENIES, "mount", ALLOWED), written=[program]))
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_why_no_lines_are_named_is_said_in_the_log() -> None:
    file = replace(profile(), untold="it was eaten", rules=(), default=None)
    (run,) = json.loads(sarif.render(run_of(written=[file])))["runs"]
    notes = [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]
    assert "deploy/seccomp.json: no lines are named, for it was eaten" in notes


def _results(run: Run) -> list[dict[str, Any]]:
    (found,) = json.loads(sarif.render(run))["runs"]
    results: list[dict[str, Any]] = found["results"]
    return results


# What an alert is known by.


def prints(run: Run) -> set[str]:
    return {one.fingerprint for one in alerts(run)}


SAME: dict[str, Callable[[Run], Run]] = {
    "lines that moved": lambda run: replace(
        run, target=replace(run.target, written=(profile("\n\n\n" + PROFILE),))
    ),
    "other words": lambda run: replace(
        run,
        cells=tuple(
            replace(one, sentence="other", reason="other", observed="other") for one in run.cells
        ),
    ),
    "another call for the same cause": lambda run: replace(
        run, cells=(*run.cells, cell(DENIES, "acct", ALLOWED, "i386"))
    ),
    "another order": lambda run: replace(run, cells=run.cells[::-1]),
    "a later version of the profile": lambda run: replace(
        run, target=replace(run.target, written=(replace(profile(), sha256="1" * 64),))
    ),
}


@pytest.mark.parametrize("change", SAME)
def test_an_alert_is_the_same_one_after(change: str) -> None:
    run = run_of(cell(DENIES, "mount", ALLOWED), cell(OTHER, "fork", REFUSED))
    assert prints(SAME[change](run)) == prints(run)


OTHERWISE: dict[str, Run] = {
    "another file": run_of(
        cell(DENIES, "mount", ALLOWED), written=[profile(PROFILE, "deploy/other.json")]
    ),
    "another action": run_of(cell(DENIES, "mount", KILLED)),
    "another profile": run_of(cell((Claim.TERMINATES, "kill"), "mount", ALLOWED)),
    "another part": run_of(cell(DENIES, "setns", FilterReturn(Action.ERRNO, 5))),
}


@pytest.mark.parametrize("change", OTHERWISE)
def test_an_alert_is_another_one_with(change: str) -> None:
    assert prints(OTHERWISE[change]).isdisjoint(prints(run_of(cell(DENIES, "mount", ALLOWED))))


# Annotations.


def test_no_annotation_of_a_run_that_passed() -> None:
    assert annotations.render(run_of()) == ""
    assert annotations.render(trimmed(samples.waived())) == ""
    assert json.loads(codequality.render(run_of())) == []


def test_what_is_accepted_is_no_annotation() -> None:
    waived = replace(cell(DENIES, "bpf", ALLOWED), outcome=Outcome.WAIVED)
    run = run_of(waived, cell(DENIES, "mount", ALLOWED))
    assert len(alerts(run)) == 2
    (line,) = annotations.render(run).splitlines()
    assert "mount (x86_64)" in line
    first, second = _results(run)
    assert ("suppressions" in first, "suppressions" in second) == (False, True)


def test_a_deviation_that_is_accepted_is_suppressed_by_its_name() -> None:
    accepted = replace(
        cell((Claim.DEFAULT_ACTION, "errno"), "unknown", FilterReturn(Action.ERRNO, 38)),
        outcome=Outcome.ACCEPTED,
        deviations=("runc-enosys-stub",),
    )
    run = run_of(accepted)
    (result,) = _results(run)
    (suppression,) = result["suppressions"]
    assert suppression["status"] == "accepted"
    assert suppression["justification"].endswith(": runc-enosys-stub")
    assert annotations.render(run) == ""
    assert [one["severity"] for one in json.loads(codequality.render(run))] == ["info"]
    assert format_oracles.sarif_schema(sarif.render(run)) == []


def test_at_most_ten_and_the_rest_is_counted() -> None:
    """Each errno is a cause of its own."""
    errnos = [
        cell(DENIES, f"call{number}", FilterReturn(Action.ERRNO, number)) for number in range(2, 15)
    ]
    run = run_of(*errnos)
    lines = annotations.render(run).splitlines()
    assert len(alerts(run)) == 13
    assert len(lines) == 10
    assert "4 more causes" in lines[-1]
    assert len(annotations.render(run_of(*errnos[:10])).splitlines()) == 10
    assert "more causes" not in annotations.render(run_of(*errnos[:10]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NASTY, "::set-output name=x::y", "a,b:c%d%0Ae\r\n::error::f"])
def test_names_of_files_and_calls_make_no_command(name: str) -> None:
    """What the toolkit writes of the same texts is the same, and it is one line."""
    failed = cell(DENIES, name or "empty", ALLOWED)
    text = annotations.render(run_of(failed, written=[profile(path=name or "empty")]))
    assert text.count("\n") == 1
    assert text.startswith("::error title=")
    assert text.split("::", 2)[1].count("file=") == 1
    assert format_oracles.annotations(text) == []


def test_a_run_without_a_verdict_is_an_error_without_a_place() -> None:
    for run in (samples.broken(), samples.empty(), samples.interrupted()):
        first = annotations.render(run).splitlines()[0]
        assert first.startswith("::error::")
        assert any(one["severity"] == "blocker" for one in json.loads(codequality.render(run)))


def test_severities_of_code_quality() -> None:
    run = run_of(cell(DENIES, "mount", ALLOWED), cell(OTHER, "fork", REFUSED))
    found = {one["check_name"]: one["severity"] for one in json.loads(codequality.render(run))}
    assert found == {
        "syscall-conformance/gets-through": "critical",
        "syscall-conformance/blocked-too-much": "major",
    }
    waived = json.loads(codequality.render(samples.waived()))
    assert {one["severity"] for one in waived} == {"info"}
