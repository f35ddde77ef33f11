"""Two records side by side, and what differs, as a document of its own.

``comparison.schema.json`` publishes its shape. Cells that changed alike for one reason stand
together: a reason is often that of hundreds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from probes.cell import Cause, CellKey, Outcome
from probes.errors import ExitStatus
from probes.judging.claims import About, is_about
from probes.version import DISTRIBUTION
from reports.results.changes import RANKS, changed_cells
from reports.results.codec import indented, key_from_fields, key_to_json, time_text
from reports.results.fields import Fields, is_of
from reports.results.model import DECIDED, ChangeKind, Run, sort_key
from reports.results.ruling import Verdict, summarize

SCHEMA: Final = f"{DISTRIBUTION}/comparison/1"
"""What ``schema`` says in a document of this version."""


@dataclass(frozen=True, slots=True)
class RecordHead:
    """What a comparison says of one of its records.

    Attributes:
        sha256: the digest of its file.
        started: when the run started, aware, in UTC.
        verdict: what the run came to.
        sentence: the same in one sentence.
        policy: the name of the policy.
        policy_sha256: the digest of the policy file.
        target: the sort of target, and which one it was.
        kernels: machine and kernel of each of its environments.
        user: who ran the suite, as the kernel's number; None where that is not told.
        complete: whether the run came to its end.
        counts: how many cells came to which outcome.
    """

    sha256: str
    started: datetime
    verdict: Verdict
    sentence: str
    policy: str
    policy_sha256: str
    target: tuple[str, str]
    kernels: tuple[str, ...]
    user: int | None
    complete: bool
    counts: Mapping[Outcome, int]


class ChangedCell(NamedTuple):
    """A cell that changed, and which of its record's kernels it is of, counted from 0."""

    key: CellKey
    environment: int


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Cells that changed alike for one reason.

    Attributes:
        kind: how they changed.
        before: their outcome in the earlier record; None where it does not have them.
        after: their outcome in the later record; None where it does not have them.
        cause: the kind of reason for what they came to.
        reason: the reason in words, without a call's name where that is possible.
        cells: which they are, at least one, in order.
    """

    kind: ChangeKind
    before: Outcome | None
    after: Outcome | None
    cause: Cause | None
    reason: str
    cells: tuple[ChangedCell, ...]


@dataclass(frozen=True, slots=True)
class RecordComparison:
    """What two records say differently.

    Attributes:
        old: the earlier one.
        new: the later one.
        exit_status: NOT_CONFORMANT where something is worse, CANNOT_TELL where the later record
            is not complete or lacks what the earlier one had decided, else CONFORMANT.
        groups: what changed, the worst first.
    """

    old: RecordHead
    new: RecordHead
    exit_status: ExitStatus
    groups: tuple[ChangeGroup, ...]

    def count(self, kind: ChangeKind) -> int:
        """How many cells changed so."""
        return sum(len(one.cells) for one in self.groups if one.kind is kind)

    @property
    def unlike(self) -> tuple[str, ...]:
        """Why the two records may not be comparable, in sentences."""
        pairs = {
            "policies": (self.old.policy_sha256, self.new.policy_sha256),
            "targets": (" ".join(self.old.target), " ".join(self.new.target)),
            "kernels": (", ".join(self.old.kernels), ", ".join(self.new.kernels)),
        }
        return tuple(
            f"the {what} differ: {before} and {after}"
            for what, (before, after) in pairs.items()
            if before != after
        )


KIND_ORDER: Final = (
    ChangeKind.WORSE,
    ChangeKind.BETTER,
    ChangeKind.OTHER,
    ChangeKind.APPEARED,
    ChangeKind.VANISHED,
)
"""The order in which a reader is told of changes."""


def compare(old: Run, old_digest: str, new: Run, new_digest: str) -> RecordComparison:
    """Compares two records.

    Args:
        old: the earlier one.
        old_digest: the SHA-256 of its file.
        new: the later one.
        new_digest: the SHA-256 of its file.
    """
    together: dict[_Alike, list[ChangedCell]] = {}
    for change, cell in changed_cells(old, new):
        alike = _Alike(change.kind, change.before, change.after, cell.cause, cell.why)
        together.setdefault(alike, []).append(ChangedCell(change.key, cell.environment))
    groups = sorted(
        (ChangeGroup(*alike, tuple(cells)) for alike, cells in together.items()), key=_weight
    )
    heads = (_head(old, old_digest), _head(new, new_digest))
    return RecordComparison(*heads, _status(groups, new), tuple(groups))


class _Alike(NamedTuple):
    """What cells of one group have in common."""

    kind: ChangeKind
    before: Outcome | None
    after: Outcome | None
    cause: Cause | None
    reason: str


def _weight(group: ChangeGroup) -> tuple[object, ...]:
    """The order of groups: the worst, then the largest first."""
    rank = 0 if group.after is None else -RANKS[group.after]
    return KIND_ORDER.index(group.kind), rank, -len(group.cells), sort_key(group.cells[0].key)


def _head(run: Run, digest: str) -> RecordHead:
    summary = summarize(run)
    return RecordHead(
        sha256=digest,
        started=run.started,
        verdict=summary.ruling.verdict,
        sentence=summary.ruling.sentence,
        policy=run.policy.name,
        policy_sha256=run.policy.sha256,
        target=(run.target.kind, run.target.description),
        kernels=tuple(f"{one.machine} {one.kernel}" for one in run.environments),
        user=run.run_by.uid,
        complete=run.complete,
        counts=summary.counts,
    )


def _status(groups: Sequence[ChangeGroup], new: Run) -> ExitStatus:
    if any(_is_worse(group) for group in groups):
        return ExitStatus.NOT_CONFORMANT
    lost = any(one.kind is ChangeKind.VANISHED and one.before in DECIDED for one in groups)
    return ExitStatus.CANNOT_TELL if lost or not new.complete else ExitStatus.CONFORMANT


def _is_worse(group: ChangeGroup) -> bool:
    if group.kind is not ChangeKind.APPEARED:
        return group.kind is ChangeKind.WORSE
    # A cell about a part that nobody judged is there only where there is such a part.
    return group.after is Outcome.FAILED or any(
        is_about(cell.key, About.FINDING) for cell in group.cells
    )


def to_json(found: RecordComparison) -> str:
    """The text of the document: the same records always give the same bytes."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "old": _head_to_json(found.old),
        "new": _head_to_json(found.new),
        "exit_status": int(found.exit_status),
        "counts": {kind.value: found.count(kind) for kind in KIND_ORDER},
        "groups": [
            {
                "kind": group.kind.value,
                "before": None if group.before is None else group.before.value,
                "after": None if group.after is None else group.after.value,
                "cause": None if group.cause is None else group.cause.value,
                "reason": group.reason,
                "cells": [
                    {**key_to_json(cell.key), "environment": cell.environment}
                    for cell in group.cells
                ],
            }
            for group in found.groups
        ],
    }
    return indented(document) + "\n"


def _head_to_json(head: RecordHead) -> dict[str, object]:
    return {
        "sha256": head.sha256,
        "started": time_text(head.started),
        "verdict": head.verdict.value,
        "sentence": head.sentence,
        "policy": {"name": head.policy, "sha256": head.policy_sha256},
        "target": {"kind": head.target[0], "description": head.target[1]},
        "kernels": list(head.kernels),
        "user": head.user,
        "complete": head.complete,
        "counts": {outcome.value: head.counts[outcome] for outcome in Outcome},
    }


def is_comparison(document: object) -> bool:
    """Whether a JSON document says that it is a comparison of records, of whatever version."""
    return is_of(document, SCHEMA)


def from_json(value: object) -> RecordComparison:
    """Takes the plain data of a document back into a comparison, and checks it.

    Raises:
        BadInputError: it is none, or damaged.
    """
    fields = Fields(value)
    fields.check_schema(SCHEMA)
    fields.only("schema", "old", "new", "exit_status", "counts", "groups")
    found = RecordComparison(
        old=_head_from_fields(fields.child("old")),
        new=_head_from_fields(fields.child("new")),
        exit_status=ExitStatus(fields.number("exit_status", max(ExitStatus))),
        groups=tuple(_group_from_fields(one) for one in fields.children("groups")),
    )
    counts = fields.child("counts").only(*ChangeKind)
    if any(counts.number(kind) != found.count(kind) for kind in ChangeKind):
        raise fields.refusal("counts", "they are not those of the groups: the file was changed")
    return found


def _head_from_fields(fields: Fields) -> RecordHead:
    fields.only(
        *("sha256", "started", "verdict", "sentence", "policy", "target"),
        *("kernels", "user", "complete", "counts"),
    )
    policy = fields.child("policy").only("name", "sha256")
    target = fields.child("target").only("kind", "description")
    counts = fields.child("counts").only(*Outcome)
    return RecordHead(
        sha256=fields.digest("sha256"),
        started=fields.time("started"),
        verdict=fields.member("verdict", Verdict),
        sentence=fields.text("sentence"),
        policy=policy.text("name"),
        policy_sha256=policy.digest("sha256"),
        target=(target.text("kind"), target.text("description")),
        kernels=fields.texts("kernels"),
        user=fields.number_or_none("user"),
        complete=fields.flag("complete"),
        counts={outcome: counts.number(outcome) for outcome in Outcome},
    )


def _group_from_fields(fields: Fields) -> ChangeGroup:
    fields.only("kind", "before", "after", "cause", "reason", "cells")
    cells = tuple(
        ChangedCell(key_from_fields(one), one.number("environment"))
        for one in fields.children("cells")
    )
    if not cells:
        raise fields.refusal("cells", "is empty")
    return ChangeGroup(
        kind=fields.member("kind", ChangeKind),
        before=fields.member_or_none("before", Outcome),
        after=fields.member_or_none("after", Outcome),
        cause=fields.member_or_none("cause", Cause),
        reason=fields.text("reason"),
        cells=cells,
    )
