"""A record as JSON and back.

Reading checks what ``results.schema.json`` publishes, so that a report is never rendered from a
damaged file or from somebody else's; what is written obeys it by construction. Records of version
1 (``results-1.schema.json``) are read as well.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from sys import intern
from typing import Any, Final

from probes import deviation
from probes.action import FilterReturn
from probes.cell import (
    NOT_HOLDING,
    Cause,
    Cell,
    CellKey,
    Claim,
    Evidence,
    EvidenceKind,
    Gap,
    GapState,
    Outcome,
)
from probes.deviation import KnownDeviation
from probes.documents.waivers import JudgedWaiver, Surroundings, Waiver, WaiverState
from probes.errors import BadInputError
from probes.filters.conditions import ARGUMENTS, HIGHEST_VALUE, Condition, Operator
from reports.results import before_reasons, model, surveyed, written_files
from reports.results.fields import TIME_FORMAT, Fields, is_of
from reports.results.model import (
    MAX_NUMBER,
    AuditSource,
    Baseline,
    CallInfo,
    Change,
    ChangeKind,
    Environment,
    Image,
    PolicyInfo,
    Run,
    RuntimeInfo,
    Suite,
    TargetInfo,
    TargetProgram,
)
from reports.results.provenance import Pipeline, RunBy
from reports.results.ruling import Summary, Verdict, summarize

SCHEMA: Final = "syscall-conformance/results/2"
"""What ``schema`` says in a file of this version."""

OLD_SCHEMA: Final = "syscall-conformance/results/1"
"""What it says in a file of the version before, which is read and never written."""

CELLS: Final = "cells"
"""The key of the cells, which stands last."""

_MARGIN_OF_CELLS: Final = "\n  "
_CAPABILITIES_PATTERN = r"[0-9a-f]{16}"


def to_json(run: Run) -> str:
    """The canonical text of ``results.json``: the same run always gives the same bytes."""
    return "".join(json_pieces(run))


def json_pieces(run: Run) -> Iterator[str]:
    """The text of ``to_json`` in pieces, so that nobody needs a fleet's record in memory twice."""
    record = {
        **head_to_json(run),
        "finished": time_text(run.finished),
        "complete": run.complete,
        "summary": _summary_to_json(summarize(run)),
        "waivers": [waiver_to_json(judged) for judged in run.waivers],
        ACCEPT: [name.value for name in run.accept],
        "gaps": [_gap_to_json(gap) for gap in model.gaps_in_order(run.gaps)],
        _UNKNOWN_FOR: sorted(run.unreviewed),
        "baseline": None if run.baseline is None else _baseline_to_json(run.baseline),
        CELLS: [],
    }
    # Plain ASCII: a name from outside can neither break the encoding nor reorder the text.
    around = indented(record)
    if not run.cells:
        yield around + "\n"
        return
    yield around.removesuffix("]\n}")
    for index, cell in enumerate(model.in_order(run.cells)):
        yield f"{',' if index else ''}\n  {indented(cell_to_json(cell), _MARGIN_OF_CELLS)}"
    yield "\n ]\n}\n"


def indented(value: object, margin: str = "\n") -> str:
    """The text that ``json.dumps(value, indent=1)`` gives, in a fraction of its time.

    With an indent the library falls back to generators in Python, and a fleet's record has
    millions of values.
    """
    inner = margin + " "
    if isinstance(value, str):
        return json.encoder.encode_basestring_ascii(value)
    if isinstance(value, dict) and value:
        pairs = (
            f"{json.encoder.encode_basestring_ascii(name)}: {indented(one, inner)}"
            for name, one in value.items()
        )
        return f"{{{inner}{f',{inner}'.join(pairs)}{margin}}}"
    if isinstance(value, list) and value:
        return f"[{inner}{f',{inner}'.join(indented(one, inner) for one in value)}{margin}]"
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def head_to_json(run: Run) -> dict[str, object]:
    """What is known of a run before anything is judged, as plain data."""
    return {
        "schema": SCHEMA,
        "suite": {"name": run.suite.name, "version": run.suite.version},
        "policy": _policy_to_json(run.policy),
        "target": _target_to_json(run.target),
        "environments": [_environment_to_json(one) for one in run.environments],
        "run_by": _run_by_to_json(run.run_by),
        "profiles": list(run.profiles),
        "started": time_text(run.started),
    }


def time_text(moment: datetime) -> str:
    """A moment in UTC as ISO 8601 to the second: ``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).strftime(TIME_FORMAT)


def cell_to_json(cell: Cell) -> dict[str, object]:
    """A cell as plain data, as ``results.json`` holds it and as workers send it."""
    return {
        **key_to_json(cell.key),
        "environment": cell.environment,
        "outcome": cell.outcome.value,
        "cause": None if cell.cause is None else cell.cause.value,
        "sentence": cell.sentence,
        "expected": cell.expected,
        "observed": cell.observed,
        "reason": cell.reason,
        "waiver": cell.waiver,
        "evidence": _evidence_to_json(cell.evidence),
        **({"by_program": True} if cell.by_program else {}),
        **_returned_to_json(cell),
        # As texts and no more: execnet takes no enumeration, and a worker would end.
        **({_DEVIATIONS: [*map(str, cell.deviations)]} if cell.deviations else {}),
    }


def _returned_to_json(cell: Cell) -> dict[str, object]:
    """What the filter returned; of a claim that holds, or is open, nothing."""
    if cell.outcome not in NOT_HOLDING:
        return {}
    return {_RETURNED: None if cell.returned is None else str(cell.returned)}


_RETURNED: Final = "returned"


def key_to_json(key: CellKey) -> dict[str, object]:
    """What identifies a cell as plain data."""
    return {
        "claim": key.claim.value,
        "profile": key.profile,
        "arch": key.arch,
        "syscall": key.syscall,
        "number": key.number,
        "variant": key.variant,
        **_stack_to_json(key.stack),
    }


def _stack_to_json(stack: int) -> dict[str, object]:
    """Which stack of the target's filters; of the first one, which nearly all are of, nothing."""
    return {"stack": stack} if stack else {}


def _evidence_to_json(evidence: Collection[Evidence]) -> list[dict[str, str]]:
    return [
        {"kind": piece.kind.value, "source": piece.source, "text": piece.text} for piece in evidence
    ]


def _policy_to_json(policy: PolicyInfo) -> dict[str, object]:
    return {
        "name": policy.name,
        "title": policy.title,
        "sha256": policy.sha256,
        "families": list(policy.families),
        **({_PATH: policy.path} if policy.path else {}),
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
            | _conditions_to_json(call)
            | ({} if call.line is None else {_LINE: call.line})
            for call in policy.calls
        ],
    }


_PATH: Final = "path"
_LINE: Final = "line"
"""What only a policy has of which the file is known, and a call of it."""


def _conditions_to_json(call: CallInfo) -> dict[str, object]:
    """What only a call under conditions, or with errnos of its own, has."""
    args = [
        {"index": one.index, "op": one.operator, "value": one.value}
        | ({} if one.mask is None else {"mask": one.mask})
        for one in call.args
    ]
    return ({"args": args} if args else {}) | ({"errno": list(call.errno)} if call.errno else {})


_SURVEY: Final = "survey"
"""What only the target of a record of a whole machine has."""

_WRITTEN: Final = "written"
"""What only a target has that a user has written a file for."""


def _target_to_json(target: TargetInfo) -> dict[str, object]:
    image, runtime = target.image, target.runtime
    return {
        "kind": target.kind,
        "description": target.description,
        "findings": list(target.findings),
        "programs": [
            {
                "profile": program.profile,
                "sha256": program.sha256,
                "instructions": program.instructions,
                **_stack_to_json(program.stack),
            }
            for program in target.programs
        ],
        "image": image and {"reference": image.reference, "digest": image.digest},
        "runtime": runtime and {"name": runtime.name, "version": runtime.version},
        **({} if target.survey is None else {_SURVEY: surveyed.to_json(target.survey)}),
        **({_WRITTEN: list(map(written_files.to_json, target.written))} if target.written else {}),
    }


def _environment_to_json(environment: Environment) -> dict[str, object]:
    return {
        "host": environment.host,
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


def _run_by_to_json(run_by: RunBy) -> dict[str, object]:
    pipeline = run_by.pipeline
    return {
        "uid": run_by.uid,
        "user": run_by.user,
        "login": run_by.login,
        "pipeline": pipeline
        and {"system": pipeline.system, "actor": pipeline.actor, "job": pipeline.job},
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


def waiver_to_json(judged: JudgedWaiver) -> dict[str, object]:
    """A waiver and what came of it as plain data."""
    waiver = judged.waiver
    return {
        "call": waiver.call,
        "arch": waiver.arch,
        "target": waiver.target,
        "profile": waiver.profile,
        "claim": None if waiver.claim is None else waiver.claim.value,
        "reason": waiver.reason,
        "owner": waiver.owner,
        "approver": waiver.approver,
        "created": waiver.created.isoformat(),
        "expires": waiver.expires.isoformat(),
        **{name: versions for name, versions, _ in waiver.limits(Surroundings())},
        "state": judged.state.value,
        "days_left": judged.days_left,
        "waived": judged.waived,
        "sentence": judged.sentence,
    }


def _gap_to_json(gap: Gap) -> dict[str, object]:
    return {
        "family": gap.family,
        "syscall": gap.syscall,
        "arch": gap.arch,
        "number": gap.number,
        "profile": gap.profile,
        "documented": list(gap.documented),
        "state": gap.state.value,
        "sentence": gap.sentence,
        "reason": gap.reason,
        "evidence": _evidence_to_json(gap.evidence),
    }


def _baseline_to_json(baseline: Baseline) -> dict[str, object]:
    return {
        "sha256": baseline.sha256,
        "started": time_text(baseline.started),
        "changes": [
            {
                "kind": change.kind.value,
                **key_to_json(change.key),
                "before": None if change.before is None else change.before.value,
                "after": None if change.after is None else change.after.value,
                "sentence": change.sentence,
            }
            for change in baseline.changes
        ],
    }


def from_json(value: object) -> Run:
    """Takes the plain data of a record of any known version back into a run, and checks it all.

    Raises:
        BadInputError: it is not a record, or damaged.
    """
    return read(value)[0]


def read(value: object, cells: tuple[Cell, ...] = ()) -> tuple[Run, Summary]:
    """The run of a record of any known version and its summary; all of it is checked.

    Args:
        value: the plain data of the record.
        cells: cells that ``cell_from_json`` gave for the record, and that stand in front of those
            in ``value``.

    Raises:
        BadInputError: it is not a record, or damaged, or its version knows no such cells.
    """
    old = _is_old(value)
    if old and cells:
        raise BadInputError(f"{CELLS}: {OLD_SCHEMA} has others")
    record = Fields(value)
    newer = [key for key in _NEWER_KEYS if record.has(key) and not old]
    record.only(*(_OLD_KEYS if old else _KEYS), *newer)
    counted = [one for one in Outcome if one is not Outcome.ACCEPTED]
    summary = record.child("summary").only(
        *("planned", "selected_of", *counted, "verdict", "exit_status", "sentence"),
        optional=() if old else (Outcome.ACCEPTED,),
    )
    run = replace(
        _old_head_from_fields(record) if old else head_from_fields(record),
        finished=record.time("finished"),
        planned=summary.number("planned"),
        selected_of=summary.number("selected_of"),
        cells=cells + _cells_from_fields(record, old=old),
        complete=True,
    )
    if not old:
        run = replace(
            run,
            complete=record.flag("complete"),
            waivers=tuple(waiver_from_fields(one) for one in record.children("waivers")),
            gaps=tuple(_gap_from_fields(one) for one in record.children("gaps")),
            unreviewed=record.texts(_UNKNOWN_FOR) if _UNKNOWN_FOR in newer else (),
            baseline=_baseline_from_fields(record.child_or_none("baseline")),
            accept=accept_from_fields(record),
        )
    check(run)
    return run, _checked_summary(run, summary, old=old)


HEAD_KEYS: Final = (
    "schema",
    "suite",
    "policy",
    "target",
    "environments",
    "run_by",
    "profiles",
    "started",
)
"""The keys that ``head_to_json`` gives."""

_KEYS: Final = (
    *HEAD_KEYS,
    "finished",
    "complete",
    "summary",
    "waivers",
    "gaps",
    "baseline",
    CELLS,
)
_UNKNOWN_FOR: Final = "gaps_unknown_for"
ACCEPT: Final = "accept"
"""The key of what was accepted of runtimes."""
_NEWER_KEYS: Final = (_UNKNOWN_FOR, ACCEPT)
"""Keys that earlier records of the same schema have not got."""

_OLD_KEYS: Final = (
    "schema",
    "suite",
    "policy",
    "target",
    "environment",
    "profiles",
    "started",
    "finished",
    "summary",
    CELLS,
)


def _is_old(value: object) -> bool:
    if not is_of(value, SCHEMA):
        raise BadInputError(f"not a results.json, for its schema is not {SCHEMA}")
    fields = Fields(value)
    fields.check_schema(OLD_SCHEMA, SCHEMA)
    return fields.text("schema") == OLD_SCHEMA


def head_from_fields(record: Fields) -> Run:
    """Takes what ``head_to_json`` gives back into a run that has judged nothing yet.

    Raises:
        BadInputError: it is not what ``head_to_json`` gives.
    """
    environments = tuple(_environment_from_fields(one) for one in record.children("environments"))
    if not environments:
        raise record.refusal("environments", "must hold at least one")
    return _head(
        record,
        target=_target_from_fields(record.child("target")),
        environments=environments,
        run_by=_run_by_from_fields(record.child("run_by")),
    )


def _old_head_from_fields(record: Fields) -> Run:
    target = record.child("target").only("kind", "description")
    return _head(
        record,
        target=TargetInfo(target.text("kind"), target.text("description")),
        environments=(_old_environment_from_fields(record.child("environment")),),
        run_by=RunBy(),
    )


def _head(
    record: Fields, *, target: TargetInfo, environments: tuple[Environment, ...], run_by: RunBy
) -> Run:
    suite = record.child("suite").only("name", "version")
    started = record.time("started")
    return Run(
        suite=Suite(suite.text("name"), suite.text("version")),
        policy=_policy_from_fields(record.child("policy")),
        target=target,
        environments=environments,
        profiles=record.texts("profiles"),
        started=started,
        finished=started,
        planned=0,
        selected_of=0,
        cells=(),
        run_by=run_by,
        complete=False,
    )


def check(run: Run) -> None:
    """Refuses a run that contradicts itself in what no schema can say.

    Raises:
        BadInputError: it does.
    """
    calls = Counter(call.name for call in run.policy.calls)
    for name, count in calls.items():
        if count > 1:
            raise BadInputError(f"policy.calls: {name!a} stands there {count} times")
    keys = [(cell.key, cell.environment) for cell in run.cells]
    if len(set(keys)) < len(keys):
        ((key, _), count), *_ = Counter(keys).most_common(1)
        raise BadInputError(f"cells: {model.describe(key)!a} stands there {count} times")
    for cell in run.cells:
        if cell.environment >= len(run.environments):
            raise BadInputError(
                f"cells: {model.describe(cell.key)!a} was judged in environment"
                f" {cell.environment}, and there are {len(run.environments)}"
            )
        if cell.waiver is not None and (
            cell.waiver >= len(run.waivers) or cell.outcome is not Outcome.WAIVED
        ):
            raise BadInputError(
                f"cells: {model.describe(cell.key)!a} has the waiver {cell.waiver}, which it"
                " cannot have"
            )
        if cell.deviations and cell.outcome not in NOT_HOLDING:
            raise BadInputError(
                f"cells: {model.describe(cell.key)!a} has deviations, which only a failure has"
            )
        if cell.outcome is Outcome.ACCEPTED and not deviation.is_explained(cell, run.accept):
            raise BadInputError(
                f"cells: {model.describe(cell.key)!a} is accepted as what the record does not"
                " accept"
            )


def _checked_summary(run: Run, written: Fields, *, old: bool) -> Summary:
    # The sentence may be worded anew, and the rules of another version may be others.
    ruled = {
        "verdict": written.member("verdict", Verdict).value,
        "exit_status": written.number("exit_status"),
    }
    written.text("sentence")
    counts = {
        outcome.value: written.number(outcome.value) if written.has(outcome.value) else 0
        for outcome in Outcome
    }
    said = counts if old else counts | ruled
    summary = summarize(run)
    computed = _summary_to_json(summary)
    for name, value in said.items():
        if computed[name] != value:
            raise BadInputError(
                f"summary.{name}: says {value} where the cells say {computed[name]}:"
                " the file was changed or is damaged"
            )
    return summary


def _policy_from_fields(fields: Fields) -> PolicyInfo:
    fields.only("name", "title", "sha256", "families", "calls", optional=(_PATH,))
    return PolicyInfo(
        name=fields.text("name"),
        title=fields.text("title"),
        sha256=fields.digest("sha256"),
        calls=tuple(_call_from_fields(call) for call in fields.children("calls")),
        families=fields.texts("families"),
        path=fields.text(_PATH) if fields.has(_PATH) else "",
    )


def _call_from_fields(fields: Fields) -> CallInfo:
    optional = [name for name in ("args", "errno") if fields.has(name)]
    for name in optional:
        if not fields.items(name):
            raise fields.refusal(name, "must not be empty")
    required = ("name", "family", "description", "why", "cves", "attack", "obsolete")
    fields.only(*required, *optional, optional=(_LINE,))
    return CallInfo(
        name=fields.text("name"),
        family=fields.text("family"),
        description=fields.text("description"),
        why=fields.text("why"),
        cves=fields.texts("cves"),
        attack=fields.texts("attack"),
        obsolete=fields.flag("obsolete"),
        args=tuple(map(_condition_from_fields, fields.children("args")))
        if "args" in optional
        else (),
        errno=fields.texts("errno") if "errno" in optional else (),
        line=written_files.line_of(fields, _LINE) if fields.has(_LINE) else None,
    )


def _condition_from_fields(fields: Fields) -> Condition:
    masked = fields.has("mask")
    fields.only("index", "op", "value", *(["mask"] if masked else []))
    return Condition(
        index=fields.number("index", ARGUMENTS - 1),
        operator=fields.member("op", Operator),
        value=fields.number("value", HIGHEST_VALUE),
        mask=fields.number("mask", HIGHEST_VALUE) if masked else None,
    )


def _target_from_fields(fields: Fields) -> TargetInfo:
    fields.only(
        *("kind", "description", "findings", "programs", "image", "runtime"),
        optional=(_SURVEY, _WRITTEN),
    )
    image, runtime = fields.child_or_none("image"), fields.child_or_none("runtime")
    return TargetInfo(
        kind=fields.text("kind"),
        description=fields.text("description"),
        findings=fields.texts("findings"),
        programs=tuple(_program_from_fields(one) for one in fields.children("programs")),
        image=None if image is None else _image_from_fields(image),
        runtime=None if runtime is None else _runtime_from_fields(runtime),
        survey=surveyed.from_fields(fields.child(_SURVEY)) if fields.has(_SURVEY) else None,
        written=tuple(map(written_files.from_fields, fields.children(_WRITTEN)))
        if fields.has(_WRITTEN)
        else (),
    )


def _program_from_fields(fields: Fields) -> TargetProgram:
    fields.only("profile", "sha256", "instructions", optional=_OPTIONAL_KEYS)
    return TargetProgram(
        fields.text("profile"),
        fields.digest("sha256"),
        fields.number("instructions"),
        stack_from_fields(fields),
    )


def _image_from_fields(fields: Fields) -> Image:
    fields.only("reference", "digest")
    return Image(fields.text("reference"), fields.text_or_none("digest"))


def _runtime_from_fields(fields: Fields) -> RuntimeInfo:
    fields.only("name", "version")
    return RuntimeInfo(fields.text("name"), fields.text("version"))


_OLD_ENVIRONMENT_KEYS: Final = (
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


def _environment_from_fields(fields: Fields) -> Environment:
    fields.only("host", *_OLD_ENVIRONMENT_KEYS)
    return replace(_environment(fields), host=fields.text_or_none("host"))


def _old_environment_from_fields(fields: Fields) -> Environment:
    return _environment(fields.only(*_OLD_ENVIRONMENT_KEYS))


def _environment(fields: Fields) -> Environment:
    audit = fields.child("audit").only("source", "reason")
    return Environment(
        kernel=fields.text("kernel"),
        machine=fields.text("machine"),
        capabilities=fields.pattern("capabilities", _CAPABILITIES_PATTERN),
        uid=fields.number("uid"),
        no_new_privs=fields.flag("no_new_privs"),
        seccomp=fields.number_or_none("seccomp"),
        seccomp_filters=fields.number_or_none("seccomp_filters"),
        actions_logged=fields.texts("actions_logged"),
        audit=AuditSource(audit.text("source"), audit.text("reason")),
        arches=fields.texts("arches"),
        shut=tuple(_shut_from_fields(one) for one in fields.children("shut")),
    )


def _shut_from_fields(fields: Fields) -> tuple[str, str]:
    fields.only("arch", "reason")
    return fields.text("arch"), fields.text("reason")


def _run_by_from_fields(fields: Fields) -> RunBy:
    fields.only("uid", "user", "login", "pipeline")
    pipeline = fields.child_or_none("pipeline")
    return RunBy(
        uid=fields.number_or_none("uid"),
        user=fields.text_or_none("user"),
        login=fields.text_or_none("login"),
        pipeline=None if pipeline is None else _pipeline_from_fields(pipeline),
    )


def _pipeline_from_fields(fields: Fields) -> Pipeline:
    fields.only("system", "actor", "job")
    return Pipeline(fields.text("system"), fields.text_or_none("actor"), fields.text_or_none("job"))


_WAIVER_LIMITS: Final = ("kernel", "runtime", "libseccomp")
"""What only a waiver has that is limited to versions."""


def waiver_from_fields(fields: Fields) -> JudgedWaiver:
    """Takes what ``waiver_to_json`` gives back into a waiver.

    Raises:
        BadInputError: it is not what ``waiver_to_json`` gives.
    """
    fields.only(
        "call",
        "arch",
        "target",
        "profile",
        "claim",
        "reason",
        "owner",
        "approver",
        "created",
        "expires",
        "state",
        "days_left",
        "waived",
        "sentence",
        optional=_WAIVER_LIMITS,
    )
    return JudgedWaiver(
        waiver=Waiver(
            call=fields.text("call"),
            arch=fields.text("arch"),
            target=fields.text("target"),
            reason=fields.text("reason"),
            owner=fields.text("owner"),
            approver=fields.text("approver"),
            created=fields.day("created"),
            expires=fields.day("expires"),
            profile=fields.text_or_none("profile"),
            claim=fields.member_or_none("claim", Claim),
            **{name: fields.text(name) for name in _WAIVER_LIMITS if fields.has(name)},
        ),
        state=fields.member("state", WaiverState),
        days_left=fields.integer("days_left"),
        waived=fields.number("waived"),
        sentence=fields.text("sentence"),
    )


def accept_from_fields(fields: Fields) -> tuple[KnownDeviation, ...]:
    """What a run accepted of runtimes; nothing where an earlier version wrote the record.

    Raises:
        BadInputError: there are other words.
    """
    return _deviations_from_fields(fields, ACCEPT)


def _deviations_from_fields(fields: Fields, name: str) -> tuple[KnownDeviation, ...]:
    words = fields.texts(name) if fields.has(name) else ()
    strangers = [word for word in words if word not in set(KnownDeviation)]
    if strangers or len(set(words)) < len(words):
        raise fields.refusal(name, f"must hold some of {', '.join(KnownDeviation)}, each once")
    return tuple(map(KnownDeviation, words))


def _gap_from_fields(fields: Fields) -> Gap:
    fields.only(
        "family",
        "syscall",
        "arch",
        "number",
        "profile",
        "documented",
        "state",
        "sentence",
        "evidence",
        optional=("reason",),
    )
    syscall, sentence = fields.text("syscall"), fields.text("sentence")
    apart = fields.has("reason")
    return Gap(
        family=fields.text("family"),
        syscall=syscall,
        arch=fields.text("arch"),
        number=fields.number_or_none("number", MAX_NUMBER),
        profile=fields.text("profile"),
        documented=fields.texts("documented"),
        state=fields.member("state", GapState),
        sentence=sentence,
        evidence=_evidence_from_fields(fields),
        reason=fields.text("reason") if apart else before_reasons.of_gap(syscall, sentence),
    )


def _baseline_from_fields(fields: Fields | None) -> Baseline | None:
    if fields is None:
        return None
    fields.only("sha256", "started", "changes")
    return Baseline(
        sha256=fields.digest("sha256"),
        started=fields.time("started"),
        changes=tuple(_change_from_fields(one) for one in fields.children("changes")),
    )


def _change_from_fields(fields: Fields) -> Change:
    fields.only("kind", *_KEY_KEYS, "before", "after", "sentence", optional=_OPTIONAL_KEYS)
    return Change(
        kind=fields.member("kind", ChangeKind),
        key=key_from_fields(fields),
        before=fields.member_or_none("before", Outcome),
        after=fields.member_or_none("after", Outcome),
        sentence=fields.text("sentence"),
    )


def cell_from_json(value: object) -> Cell:
    """Takes plain data back into a cell.

    Raises:
        BadInputError: the data is not what ``cell_to_json`` makes.
    """
    return _plain_cell(value, _CELL_KEY_SET) or _cell_from_fields(Fields(value, "cell"))


_KEY_KEYS: Final = ("claim", "profile", "arch", "syscall", "number", "variant")
_OPTIONAL_KEYS: Final = ("stack",)
"""What stands only where a target has several stacks of filters."""
_DEVIATIONS: Final = "deviations"
_LATER_CELL_KEYS: Final = ("reason", "by_program", _RETURNED, _DEVIATIONS)
"""What earlier versions did not write; the second stands only where it is so, the third only
where the claim does not hold, the fourth only where runtimes do that to every profile."""
_OLD_CELL_KEYS: Final = (
    *_KEY_KEYS,
    "outcome",
    "cause",
    "sentence",
    "expected",
    "observed",
    "evidence",
)
_CELL_KEYS: Final = (*_OLD_CELL_KEYS, "environment", "waiver")
_OLD_CELL_KEY_SET: Final = frozenset(_OLD_CELL_KEYS)
_CELL_KEY_SET: Final = frozenset((*_CELL_KEYS, "reason"))
_NOT_HOLDING_KEY_SET: Final = _CELL_KEY_SET | {_RETURNED}


def _cells_from_fields(record: Fields, *, old: bool) -> tuple[Cell, ...]:
    keys = _OLD_CELL_KEY_SET if old else _CELL_KEY_SET
    read = _cell_from_old_fields if old else _cell_from_fields
    return tuple(
        _plain_cell(value, keys) or read(record.item(CELLS, index))
        for index, value in enumerate(record.items(CELLS))
    )


def _cell_from_fields(fields: Fields) -> Cell:
    cell = _cell(fields.only(*_CELL_KEYS, optional=(*_OPTIONAL_KEYS, *_LATER_CELL_KEYS)))
    environment, waiver = fields.number("environment"), fields.number_or_none("waiver")
    cell = replace(cell, environment=environment, waiver=waiver)
    cell = replace(cell, deviations=_deviations_from_fields(fields, _DEVIATIONS))
    if not fields.has("reason"):
        return before_reasons.completed(cell)
    by_program = fields.has("by_program") and fields.flag("by_program")
    cell = replace(cell, reason=fields.text("reason"), by_program=by_program)
    if not fields.has(_RETURNED):
        return before_reasons.with_returned(cell)
    if cell.outcome not in NOT_HOLDING:
        raise fields.refusal(_RETURNED, f"must not be there where the outcome is {cell.outcome}")
    return replace(cell, returned=_returned_from_fields(fields))


def _returned_from_fields(fields: Fields) -> FilterReturn | None:
    text = fields.text_or_none(_RETURNED)
    try:
        return None if text is None else _returned(text)
    except ValueError as error:
        raise fields.refusal(_RETURNED, str(error)) from error


@lru_cache(maxsize=1 << 8)
def _returned(text: str) -> FilterReturn:
    return FilterReturn.parse(text)


def _cell_from_old_fields(fields: Fields) -> Cell:
    return before_reasons.completed(_cell(fields.only(*_OLD_CELL_KEYS)))


def _cell(fields: Fields) -> Cell:
    return Cell(
        key=key_from_fields(fields),
        outcome=fields.member("outcome", Outcome),
        cause=fields.member_or_none("cause", Cause),
        sentence=fields.text("sentence"),
        expected=fields.text("expected"),
        observed=fields.text("observed"),
        evidence=_evidence_from_fields(fields),
    )


def key_from_fields(fields: Fields) -> CellKey:
    """Takes what ``key_to_json`` gives back into a key.

    Raises:
        BadInputError: it is not what ``key_to_json`` gives.
    """
    return CellKey(
        claim=fields.member("claim", Claim),
        profile=fields.text("profile"),
        arch=fields.text("arch"),
        syscall=fields.text("syscall"),
        number=fields.number_or_none("number", MAX_NUMBER),
        variant=fields.text("variant"),
        stack=stack_from_fields(fields),
    )


def stack_from_fields(fields: Fields) -> int:
    """Which stack of the target's filters something is about; the first where nothing is said.

    Raises:
        BadInputError: what is said is no number.
    """
    return fields.number("stack") if fields.has("stack") else 0


def _evidence_from_fields(fields: Fields) -> tuple[Evidence, ...]:
    return tuple(_piece_from_fields(piece) for piece in fields.children("evidence"))


def _piece_from_fields(fields: Fields) -> Evidence:
    fields.only("kind", "source", "text")
    return Evidence(
        kind=fields.member("kind", EvidenceKind),
        source=fields.text("source"),
        text=fields.text("text"),
    )


_CLAIMS: Final = {claim.value: claim for claim in Claim}
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
_CAUSES: Final[dict[str | None, Cause | None]] = {
    None: None,
    **{cause.value: cause for cause in Cause},
}
_KINDS: Final = {kind.value: kind for kind in EvidenceKind}
_PIECE_KEYS: Final = {"kind", "source", "text"}


def _plain_cell(value: Any, keys: AbstractSet[str]) -> Cell | None:  # noqa: ANN401 - any JSON
    """A cell without anything unusual, read several times as fast as by ``Fields``.

    What many cells say is kept in memory once. None where anything about a cell is odd: then
    ``Fields`` says what, or that it is right after all.
    """
    try:
        outcome, returned = _OUTCOMES[value["outcome"]], value.get(_RETURNED)
        told = keys is _CELL_KEY_SET and outcome in NOT_HOLDING and _RETURNED in value
        wanted = _NOT_HOLDING_KEY_SET if told else keys
        if value.keys() != wanted or {*map(type, _CELL_TEXTS(value))} != {str}:
            return None
        number = value["number"]
        key = CellKey(
            _CLAIMS[value["claim"]],
            intern(value["profile"]),
            intern(value["arch"]),
            intern(value["syscall"]),
            number,
            intern(value["variant"]),
        )
        if number is not None and not (type(number) is int and 0 <= number <= MAX_NUMBER):
            return None
        environment, waiver = value.get("environment", 0), value.get("waiver")
        evidence, reason = value["evidence"], value.get("reason")
        if (
            not isinstance(value.get("reason", ""), str)
            or type(environment) is not int
            or environment < 0
            or type(evidence) is not list
            or (waiver is not None and (type(waiver) is not int or waiver < 0))
        ):
            return None
        cell = Cell(
            key,
            outcome,
            _CAUSES[value["cause"]],
            value["sentence"],
            intern(value["expected"]),
            intern(value["observed"]),
            tuple(map(_plain_piece, evidence)),
            waiver,
            environment,
            intern(reason or ""),
            returned=None if returned is None else _returned(returned),
        )
        if reason is None:
            return before_reasons.completed(cell)
        return cell if told else before_reasons.with_returned(cell)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


_CELL_TEXTS: Final = itemgetter(
    "claim",
    "profile",
    "arch",
    "syscall",
    "variant",
    "outcome",
    "sentence",
    "expected",
    "observed",
)


def _plain_piece(piece: Any) -> Evidence:  # noqa: ANN401 - any JSON
    source, text = piece["source"], piece["text"]
    if piece.keys() != _PIECE_KEYS or type(source) is not str or type(text) is not str:
        raise TypeError
    return Evidence(_KINDS[piece["kind"]], intern(source), intern(text))
