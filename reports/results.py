"""``results.json``: the record of a run that every report is rendered from.

``results.schema.json`` beside this module publishes the file's shape. Reading checks the same
rules again, so that a report is never rendered from a damaged file or from somebody else's.
"""

import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from probes.cell import Cause, Cell, CellKey, Claim, Evidence, EvidenceKind, Outcome
from probes.errors import BadInputError, ExitStatus, InstrumentError

SCHEMA = "syscall-conformance/results/1"
"""What ``schema`` says in a file of this version."""

MAX_NUMBER = 0xFFFFFFFF
"""The highest system call number that seccomp can see (``seccomp_data.nr``, seen unsigned)."""

_SCHEMA_FAMILY = SCHEMA.rpartition("/")[0]
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TIME_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_SHA256_PATTERN = r"[0-9a-f]{64}"
_CAPABILITIES_PATTERN = r"[0-9a-f]{16}"


class Verdict(StrEnum):
    """What a whole run came to."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCOMPLETE = "INCOMPLETE"
    BROKEN = "BROKEN"


class Ruling(NamedTuple):
    """The verdict on a run, the exit status that goes with it, and one sentence for people."""

    verdict: Verdict
    exit_status: ExitStatus
    sentence: str


@dataclass(frozen=True, slots=True)
class Suite:
    """What made the record.

    Attributes:
        name: the name of the distribution package.
        version: its version.
    """

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class DocumentedCall:
    """A call that the policy documents, with what a reader of a report should know about it.

    Attributes:
        name: the call's name.
        family: what it is grouped under.
        description: what the call does.
        why: why it is restricted.
        cves: identifiers of vulnerabilities that went through it.
        attack: identifiers of MITRE ATT&CK techniques that use it.
        obsolete: whether today's kernels have given it up.
    """

    name: str
    family: str
    description: str
    why: str
    cves: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    obsolete: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy that was asked for.

    Attributes:
        name: its short name.
        title: its title, for people.
        sha256: the digest of the policy file, 64 lowercase hexadecimal digits.
        calls: what it documents, in its own order.
        families: the order in which a report lists the families of the calls.
    """

    name: str
    title: str
    sha256: str
    calls: tuple[DocumentedCall, ...]
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What was put to the test.

    Attributes:
        kind: the sort of target, as in ``--target``.
        description: which one it was.
    """

    kind: str
    description: str


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Where audit records came from.

    Attributes:
        source: ``netlink``, ``auditd:FILE`` or ``none``.
        reason: why this one was used, or why there was none.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Environment:
    """What the verdicts depend on besides the target: the kernel and the suite's own process.

    Attributes:
        kernel: its release and version, as uname(2) says them.
        machine: as uname(2) says it.
        capabilities: ``CapEff`` of proc_pid_status(5), 16 lowercase hexadecimal digits.
        uid: the effective user id.
        no_new_privs: ``NoNewPrivs`` of proc_pid_status(5).
        seccomp: ``Seccomp`` of proc_pid_status(5); None where the kernel does not say.
        seccomp_filters: ``Seccomp_filters`` of it; None where the kernel does not say.
        actions_logged: the words of ``/proc/sys/kernel/seccomp/actions_logged``.
        audit: where audit records came from.
        arches: the ABIs that were asked, in the order in which reports list them.
        shut: the ABIs that this machine may have and by which its kernel cannot be entered, each
            with what happened instead.
    """

    kernel: str
    machine: str
    capabilities: str
    uid: int
    no_new_privs: bool
    seccomp: int | None
    seccomp_filters: int | None
    actions_logged: tuple[str, ...]
    audit: AuditSource
    arches: tuple[str, ...]
    shut: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A run: what was asked of what, where, when, and every cell that was judged.

    Attributes:
        suite: what made the record.
        policy: what must hold.
        target: what was put to the test.
        environment: where.
        profiles: the profiles that were asked, in the order in which reports list them.
        started: when, aware, in UTC.
        finished: when, aware, in UTC.
        planned: how many cells were to be judged.
        selected_of: how many the whole job has; more where the user selected a part of its tests.
        cells: those that were, in any order.
    """

    suite: Suite
    policy: Policy
    target: Target
    environment: Environment
    profiles: tuple[str, ...]
    started: datetime
    finished: datetime
    planned: int
    selected_of: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many cells came to which outcome, and what the run came to.

    Attributes:
        planned: how many cells were to be judged.
        selected_of: how many the whole job has.
        counts: how many came to each outcome; every outcome has an entry.
        ruling: the verdict on the run.
    """

    planned: int
    selected_of: int
    counts: dict[Outcome, int]
    ruling: Ruling

    @property
    def judged(self) -> int:
        """How many cells have an outcome, whatever it is."""
        return sum(self.counts.values())


def sort_key(key: CellKey) -> tuple[Claim, str, str, str, int, str]:
    """The order of ``CellKey``, which alone cannot compare a number with the lack of one."""
    number = -1 if key.number is None else key.number
    return (key.claim, key.profile, key.arch, key.syscall, number, key.variant)


def in_order(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells in the order in which every record and report lists them."""
    return tuple(sorted(cells, key=lambda cell: sort_key(cell.key)))


def count_outcomes(cells: Iterable[Cell]) -> dict[Outcome, int]:
    """How many cells came to each outcome; every outcome has an entry."""
    counts = Counter(cell.outcome for cell in cells)
    return {outcome: counts[outcome] for outcome in Outcome}


def missing(planned: Iterable[CellKey], judged: Iterable[Cell]) -> tuple[Cell, ...]:
    """Gives every planned cell that nobody judged the outcome *broken*.

    Args:
        planned: the keys of the cells that were to be judged.
        judged: the cells that were.

    Returns:
        The broken cells, in order.

    Raises:
        InstrumentError: a cell was planned or judged twice, or judged without being planned.
    """
    plan = _unique(planned, "planned")
    done = _unique((cell.key for cell in judged), "judged")
    if strangers := sorted(done - plan, key=sort_key):
        raise InstrumentError(
            f"{describe(strangers[0])} was judged but never planned"
            f" ({len(strangers)} such): please report this as a bug of the suite"
        )
    return tuple(_never_reported(key) for key in sorted(plan - done, key=sort_key))


def describe(key: CellKey) -> str:
    """A cell's key as people say it: ``terminates (kill): acct (163) on x86_64``."""
    number = "no number" if key.number is None else str(key.number)
    variant = f", {key.variant}" if key.variant else ""
    return f"{key.claim} ({key.profile}): {key.syscall} ({number}) on {key.arch}{variant}"


def _unique(keys: Iterable[CellKey], verb: str) -> set[CellKey]:
    seen: set[CellKey] = set()
    for key in keys:
        if key in seen:
            raise InstrumentError(
                f"{describe(key)} was {verb} twice: please report this as a bug of the suite"
            )
        seen.add(key)
    return seen


def _never_reported(key: CellKey) -> Cell:
    number = "" if key.number is None else f" ({key.number})"
    return Cell(
        key=key,
        outcome=Outcome.BROKEN,
        cause=Cause.INSTRUMENT,
        sentence=(
            f"{key.syscall}{number} on {key.arch}: the test never reported, because its worker"
            " died or the run ended first: run it again"
        ),
        expected="a verdict",
        observed="none",
    )


def verdict(cells: Iterable[Cell], planned: int) -> Ruling:
    """Rules on a run; the first rule that applies decides.

    1. A control did not pass, or cells passed or failed on an ABI on which no control was
       judged: BROKEN, because nothing then vouches for the instrument. What was proved rests on
       an analysis instead, and needs none.
    2. A cell failed: FAIL.
    3. A cell is broken, or the number of judged cells is not the planned one: BROKEN.
    4. A cell could not be told: INCOMPLETE.
    5. No cell but controls passed: INCOMPLETE, because nothing was assessed.
    6. Otherwise PASS.

    Args:
        cells: every judged cell.
        planned: how many were to be judged.
    """
    every = tuple(cells)
    counts = count_outcomes(cell for cell in every if cell.key.claim is not Claim.CONTROLS)
    return (
        _calibration(every)
        or _failure(counts)
        or _breakage(counts, planned, len(every))
        or _gap(counts)
        or _conformance(counts, observed=any(map(_is_observed_pass, every)))
    )


def _is_observed_pass(cell: Cell) -> bool:
    unobserved = {Claim.CONTROLS, Claim.IS_PROVED}
    return cell.outcome is Outcome.PASSED and cell.key.claim not in unobserved


def _calibration(cells: Sequence[Cell]) -> Ruling | None:
    controls = [cell for cell in cells if cell.key.claim is Claim.CONTROLS]
    off = sum(cell.outcome is not Outcome.PASSED for cell in controls)
    calibrated = {cell.key.arch for cell in controls}
    decided = {Outcome.PASSED, Outcome.FAILED}
    observed = [cell for cell in cells if cell.key.claim is not Claim.IS_PROVED]
    uncalibrated = sorted(
        {cell.key.arch for cell in observed if cell.outcome in decided} - calibrated
    )
    if off:
        sentence = (
            f"The instrument is out of calibration: {off:,} of {_count(len(controls), 'control')}"
            " did not pass, so no verdict of this run counts."
        )
    elif uncalibrated:
        sentence = (
            f"The instrument was not calibrated on {', '.join(uncalibrated)}: no control was run"
            " there, so no verdict of this run counts."
        )
    else:
        return None
    return Ruling(Verdict.BROKEN, ExitStatus.BROKEN, sentence)


def _failure(counts: dict[Outcome, int]) -> Ruling | None:
    failed = counts[Outcome.FAILED]
    if not failed:
        return None
    decided = failed + counts[Outcome.PASSED]
    undecided = counts[Outcome.BROKEN] + counts[Outcome.CANNOT_TELL]
    tail = f"; {undecided:,} more could not be decided" if undecided else ""
    return Ruling(
        Verdict.FAIL,
        ExitStatus.NOT_CONFORMANT,
        f"The restrictions do not hold as documented: {failed:,} of"
        f" {_count(decided, 'decided cell')} failed{tail}.",
    )


def _breakage(counts: dict[Outcome, int], planned: int, judged: int) -> Ruling | None:
    if broken := counts[Outcome.BROKEN]:
        sentence = f"The instrument failed on {_count(broken, 'cell')}, so there is no verdict."
    elif planned != judged:
        sentence = (
            f"{_count(planned, 'cell')} {_were(planned)} planned but {judged:,}"
            f" {_were(judged)} judged, so there is no verdict."
        )
    else:
        return None
    return Ruling(Verdict.BROKEN, ExitStatus.BROKEN, sentence)


def _gap(counts: dict[Outcome, int]) -> Ruling | None:
    unknown = counts[Outcome.CANNOT_TELL]
    if not unknown:
        return None
    return Ruling(
        Verdict.INCOMPLETE,
        ExitStatus.CANNOT_TELL,
        f"{_count(unknown, 'cell')} could not be assessed here;"
        f" {_count(counts[Outcome.PASSED], 'cell')} passed and none failed.",
    )


def _conformance(counts: dict[Outcome, int], *, observed: bool) -> Ruling:
    passed = counts[Outcome.PASSED]
    if not passed:
        return Ruling(
            Verdict.INCOMPLETE, ExitStatus.NOTHING_ASSESSED, "No restriction was assessed."
        )
    waived = counts[Outcome.WAIVED]
    tail = f"; {waived:,} {'is' if waived == 1 else 'are'} waived" if waived else ""
    if not observed:
        tail += ", all by analysis: nothing was observed on a kernel"
    return Ruling(
        Verdict.PASS,
        ExitStatus.CONFORMANT,
        f"The restrictions hold as documented: {_count(passed, 'cell')} passed and none"
        f" failed{tail}.",
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def summarize(run: Run) -> Summary:
    """Counts a run's cells and rules on it."""
    ruling = verdict(run.cells, run.planned)
    if run.planned < run.selected_of:
        part = (
            f" Only {run.planned:,} of the job's {_count(run.selected_of, 'cell')} were selected."
        )
        ruling = ruling._replace(sentence=ruling.sentence + part)
    return Summary(run.planned, run.selected_of, count_outcomes(run.cells), ruling)


def to_json(run: Run) -> str:
    """The canonical text of ``results.json``: the same run always gives the same bytes."""
    record = {
        "schema": SCHEMA,
        "suite": {"name": run.suite.name, "version": run.suite.version},
        "policy": _policy_to_json(run.policy),
        "target": {"kind": run.target.kind, "description": run.target.description},
        "environment": _environment_to_json(run.environment),
        "profiles": list(run.profiles),
        "started": time_text(run.started),
        "finished": time_text(run.finished),
        "summary": _summary_to_json(summarize(run)),
        "cells": [cell_to_json(cell) for cell in in_order(run.cells)],
    }
    # Plain ASCII: a name from outside can neither break the encoding nor reorder the text.
    return json.dumps(record, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def time_text(moment: datetime) -> str:
    """A moment in UTC as ISO 8601 to the second: ``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).strftime(_TIME)


def cell_to_json(cell: Cell) -> dict[str, object]:
    """A cell as plain data, as ``results.json`` holds it and as workers send it."""
    return {
        "claim": cell.key.claim.value,
        "profile": cell.key.profile,
        "arch": cell.key.arch,
        "syscall": cell.key.syscall,
        "number": cell.key.number,
        "variant": cell.key.variant,
        "outcome": cell.outcome.value,
        "cause": None if cell.cause is None else cell.cause.value,
        "sentence": cell.sentence,
        "expected": cell.expected,
        "observed": cell.observed,
        "evidence": [
            {"kind": piece.kind.value, "source": piece.source, "text": piece.text}
            for piece in cell.evidence
        ],
    }


def _policy_to_json(policy: Policy) -> dict[str, object]:
    return {
        "name": policy.name,
        "title": policy.title,
        "sha256": policy.sha256,
        "families": list(policy.families),
        "calls": [
            {
                "name": call.name,
                "family": call.family,
                "description": call.description,
                "why": call.why,
                "cves": list(call.cves),
                "attack": list(call.attack),
                "obsolete": call.obsolete,
            }
            for call in policy.calls
        ],
    }


def _environment_to_json(environment: Environment) -> dict[str, object]:
    return {
        "kernel": environment.kernel,
        "machine": environment.machine,
        "capabilities": environment.capabilities,
        "uid": environment.uid,
        "no_new_privs": environment.no_new_privs,
        "seccomp": environment.seccomp,
        "seccomp_filters": environment.seccomp_filters,
        "actions_logged": list(environment.actions_logged),
        "audit": {"source": environment.audit.source, "reason": environment.audit.reason},
        "arches": list(environment.arches),
        "shut": [{"arch": arch, "reason": reason} for arch, reason in environment.shut],
    }


def _summary_to_json(summary: Summary) -> dict[str, object]:
    counts = {outcome.value: count for outcome, count in summary.counts.items()}
    return {
        "planned": summary.planned,
        "selected_of": summary.selected_of,
        **counts,
        "verdict": summary.ruling.verdict.value,
        "exit_status": summary.ruling.exit_status.value,
        "sentence": summary.ruling.sentence,
    }


def write(run: Run, path: Path) -> None:
    """Writes ``results.json``, as ``write_text`` does.

    Raises:
        BadInputError: the file cannot be written.
    """
    write_text(to_json(run), path)


def write_text(text: str, path: Path) -> None:
    """Writes a report so that a reader finds the old file or the whole new one, never a part.

    The folder is made where it is missing.

    Raises:
        BadInputError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot write the report ({error.strerror or error}): name another folder"
        ) from error


def check_folder(folder: Path) -> None:
    """Makes the folder for reports where it is missing, and tries to write a file to it.

    Raises:
        BadInputError: it cannot be made or written to.
    """
    trial = folder / f".{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise BadInputError(
            f"{folder}: cannot write reports there ({error.strerror or error}): name another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut; fsync(2) asks for this second step."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: Path) -> Run:
    """Reads a ``results.json`` and checks all of it.

    Raises:
        BadInputError: the file cannot be read, is damaged, or is not one of ours.
    """
    try:
        return _run_from_json(_parse(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{path}: cannot read it ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not a results.json, for it is not UTF-8 text") from error
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def _parse(text: str) -> object:
    try:
        parsed: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"line {error.lineno}: damaged or not a results.json, for it is not JSON"
            f" ({error.msg}): take a complete copy"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"not a results.json ({error})") from error
    return parsed


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def _run_from_json(value: object) -> Run:
    _check_schema(value)
    record = _Reader(value, "").only(
        "schema",
        "suite",
        "policy",
        "target",
        "environment",
        "profiles",
        "started",
        "finished",
        "summary",
        "cells",
    )
    suite = record.child("suite").only("name", "version")
    target = record.child("target").only("kind", "description")
    summary = record.child("summary").only(
        "planned", "selected_of", *Outcome, "verdict", "exit_status", "sentence"
    )
    run = Run(
        suite=Suite(suite.text("name"), suite.text("version")),
        policy=_policy_from_json(record.child("policy")),
        target=Target(target.text("kind"), target.text("description")),
        environment=_environment_from_json(record.child("environment")),
        profiles=record.texts("profiles"),
        started=record.time("started"),
        finished=record.time("finished"),
        planned=summary.number("planned"),
        selected_of=summary.number("selected_of"),
        cells=tuple(_cell_from_reader(reader) for reader in record.children("cells")),
    )
    _check_cells(run)
    _check_summary(run, summary)
    return run


def _check_schema(value: object) -> None:
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema == SCHEMA:
        return
    if isinstance(schema, str) and schema.startswith(f"{_SCHEMA_FAMILY}/"):
        raise BadInputError(
            f"schema: {schema!a} is not one that this version reads ({SCHEMA}): use the version"
            " of the suite that wrote the file"
        )
    raise BadInputError(f"not a results.json, for its schema is not {SCHEMA}")


def _check_cells(run: Run) -> None:
    calls = Counter(call.name for call in run.policy.calls)
    for name, count in calls.items():
        if count > 1:
            raise BadInputError(f"policy.calls: {name!a} stands there {count} times")
    keys = Counter(cell.key for cell in run.cells)
    for key, count in keys.items():
        if count > 1:
            raise BadInputError(f"cells: {describe(key)!a} stands there {count} times")


def _check_summary(run: Run, written: "_Reader") -> None:
    # The sentence may be worded anew in a later version; counts and verdict may not change.
    counted = summarize(run)
    said = {
        **{outcome.value: written.number(outcome.value) for outcome in Outcome},
        "verdict": written.member("verdict", Verdict).value,
        "exit_status": written.number("exit_status"),
    }
    written.text("sentence")
    computed = _summary_to_json(counted)
    for name, value in said.items():
        if computed[name] != value:
            raise BadInputError(
                f"summary.{name}: says {value} where the cells say {computed[name]}:"
                " the file was changed or is damaged"
            )


def _policy_from_json(reader: "_Reader") -> Policy:
    reader.only("name", "title", "sha256", "families", "calls")
    return Policy(
        name=reader.text("name"),
        title=reader.text("title"),
        sha256=reader.pattern("sha256", _SHA256_PATTERN),
        calls=tuple(_call_from_json(call) for call in reader.children("calls")),
        families=reader.texts("families"),
    )


def _call_from_json(reader: "_Reader") -> DocumentedCall:
    reader.only("name", "family", "description", "why", "cves", "attack", "obsolete")
    return DocumentedCall(
        name=reader.text("name"),
        family=reader.text("family"),
        description=reader.text("description"),
        why=reader.text("why"),
        cves=reader.texts("cves"),
        attack=reader.texts("attack"),
        obsolete=reader.flag("obsolete"),
    )


def _environment_from_json(reader: "_Reader") -> Environment:
    reader.only(
        "kernel",
        "machine",
        "capabilities",
        "uid",
        "no_new_privs",
        "seccomp",
        "seccomp_filters",
        "actions_logged",
        "audit",
        "arches",
        "shut",
    )
    audit = reader.child("audit").only("source", "reason")
    return Environment(
        kernel=reader.text("kernel"),
        machine=reader.text("machine"),
        capabilities=reader.pattern("capabilities", _CAPABILITIES_PATTERN),
        uid=reader.number("uid"),
        no_new_privs=reader.flag("no_new_privs"),
        seccomp=reader.number_or_none("seccomp"),
        seccomp_filters=reader.number_or_none("seccomp_filters"),
        actions_logged=reader.texts("actions_logged"),
        audit=AuditSource(audit.text("source"), audit.text("reason")),
        arches=reader.texts("arches"),
        shut=tuple(_shut_from_json(one) for one in reader.children("shut")),
    )


def _shut_from_json(reader: "_Reader") -> tuple[str, str]:
    reader.only("arch", "reason")
    return reader.text("arch"), reader.text("reason")


def cell_from_json(value: object) -> Cell:
    """Takes plain data back into a cell.

    Raises:
        BadInputError: the data is not what ``cell_to_json`` makes.
    """
    return _cell_from_reader(_Reader(value, "cell"))


def _cell_from_reader(reader: "_Reader") -> Cell:
    reader.only(
        "claim",
        "profile",
        "arch",
        "syscall",
        "number",
        "variant",
        "outcome",
        "cause",
        "sentence",
        "expected",
        "observed",
        "evidence",
    )
    return Cell(
        key=CellKey(
            claim=reader.member("claim", Claim),
            profile=reader.text("profile"),
            arch=reader.text("arch"),
            syscall=reader.text("syscall"),
            number=reader.number_or_none("number", MAX_NUMBER),
            variant=reader.text("variant"),
        ),
        outcome=reader.member("outcome", Outcome),
        cause=reader.member_or_none("cause", Cause),
        sentence=reader.text("sentence"),
        expected=reader.text("expected"),
        observed=reader.text("observed"),
        evidence=tuple(_evidence_from_json(piece) for piece in reader.children("evidence")),
    )


def _evidence_from_json(reader: "_Reader") -> Evidence:
    reader.only("kind", "source", "text")
    return Evidence(
        kind=reader.member("kind", EvidenceKind),
        source=reader.text("source"),
        text=reader.text("text"),
    )


_Word = TypeVar("_Word", bound=StrEnum)


class _Reader:
    """A JSON object that knows where it stands, so that a refusal can say it."""

    def __init__(self, value: object, where: str) -> None:
        """Takes the object.

        Args:
            value: what should be an object.
            where: its place in the file, ``cells[3].evidence[0]``; "" for the whole.
        """
        if not isinstance(value, dict):
            raise BadInputError(f"{where or 'the file'}: must be an object")
        self._object: dict[str, object] = value
        self._where = where

    def only(self, *names: str) -> "_Reader":
        """Refuses a missing key and one that does not belong here."""
        for name in names:
            if name not in self._object:
                raise BadInputError(f"{self._place(name)}: is missing")
        for name in self._object:
            if name not in names:
                raise BadInputError(f"{self._place(ascii(name))}: is not a known key")
        return self

    def text(self, name: str) -> str:
        value = self._object[name]
        if not isinstance(value, str):
            raise self._refuse(name, "must be a string")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        items = self._items(name)
        texts = tuple(item for item in items if isinstance(item, str))
        if len(texts) != len(items):
            raise self._refuse(name, "must hold strings only")
        return texts

    def pattern(self, name: str, pattern: str) -> str:
        value = self.text(name)
        if not re.fullmatch(pattern, value):
            raise self._refuse(name, f"must look like {pattern}")
        return value

    def time(self, name: str) -> datetime:
        value = self.pattern(name, _TIME_PATTERN)
        try:
            return datetime.strptime(value, _TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise self._refuse(name, "is no moment of the calendar") from error

    def flag(self, name: str) -> bool:
        value = self._object[name]
        if not isinstance(value, bool):
            raise self._refuse(name, "must be true or false")
        return value

    def number(self, name: str, most: int | None = None) -> int:
        value = self._object[name]
        # JSON's true is an int to Python.
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refuse(name, "must be a whole number")
        if value < 0 or (most is not None and value > most):
            raise self._refuse(name, "is out of range")
        return value

    def number_or_none(self, name: str, most: int | None = None) -> int | None:
        return None if self._object[name] is None else self.number(name, most)

    def member(self, name: str, words: type[_Word]) -> _Word:
        value = self.text(name)
        try:
            return words(value)
        except ValueError as error:
            known = ", ".join(words)
            raise self._refuse(name, f"{value!a} is none of {known}") from error

    def member_or_none(self, name: str, words: type[_Word]) -> _Word | None:
        return None if self._object[name] is None else self.member(name, words)

    def child(self, name: str) -> "_Reader":
        return _Reader(self._object[name], self._place(name))

    def children(self, name: str) -> tuple["_Reader", ...]:
        place = self._place(name)
        return tuple(
            _Reader(item, f"{place}[{index}]") for index, item in enumerate(self._items(name))
        )

    def _items(self, name: str) -> Collection[object]:
        value = self._object[name]
        if not isinstance(value, list):
            raise self._refuse(name, "must be a list")
        return value

    def _place(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def _refuse(self, name: str, what: str) -> BadInputError:
        return BadInputError(f"{self._place(name)}: {what}")
