"""The alerts of a run, for whatever shows them at a place in a user's files: one a cause. Pure.

SARIF, annotations and Code Quality differ in their syntax only. An alert is known in later runs by
its fingerprint, which neither lines nor sentences enter.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from probes.cell import NOT_HOLDING, Cell, Outcome
from probes.documents.waivers import FAULTS as WAIVER_FAULTS
from probes.documents.waivers import JudgedWaiver
from probes.judging import claims
from probes.judging.claims import About, is_about
from probes.judging.kinds import Kind, Subject
from probes.text import visible
from reports import results
from reports.causes.blame import Blame, Part, Spot, blamed, policy_path
from reports.causes.mending import mend
from reports.causes.words import Places, noun, predicate, told
from reports.formats.shared import slug
from reports.results import Run, in_order
from reports.summary import gathered, not_all_judged

CONTROLS: Final = "controls"
WAIVER: Final = "waiver"

_MOST_NAMES: Final = 20
"""So many calls a message names; all of them are among an alert's cells."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A cause of failures at its place.

    Attributes:
        rule: what kind of cause it is, as an identifier.
        title: what is wrong, in a few words.
        message: what is wrong, why, and what mends it.
        spot: where it is to be mended.
        related: where else something about it stands.
        fingerprint: 32 hexadecimal digits that are the same in every run.
        cells: the cells that fail by it; none of a waiver that is at fault.
        waiver: the waiver at fault; None of every other alert.
    """

    rule: str
    title: str
    message: str
    spot: Spot
    related: tuple[Spot, ...]
    fingerprint: str
    cells: tuple[Cell, ...] = ()
    waiver: JudgedWaiver | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether all of it is accepted for a time."""
        return bool(self.cells) and all(cell.outcome is not Outcome.FAILED for cell in self.cells)


def alerts(run: Run) -> tuple[Alert, ...]:
    """Every alert of a run: the gravest first, what is accepted last.

    Args:
        run: the run.
    """
    places = Places(run)
    found = [
        *map(_of_waiver, (one for one in run.waivers if one.state in WAIVER_FAULTS)),
        *_of_controls(run),
        *(_of_cause(places, one) for one in blamed(run)),
    ]
    home = Spot("the policy", policy_path(run), None)
    placed = [replace(one, spot=home) if not one.spot.path else one for one in found]
    return tuple(_told_apart(sorted(placed, key=lambda one: one.is_accepted)))


def undecided(run: Run) -> str:
    """Why a run has no verdict: its ruling, and what its target names and nobody judged."""
    left = (one for one in not_all_judged(run) if one.outcome is Outcome.CANNOT_TELL)
    sentences = (results.summarize(run).ruling.sentence, *(f"{one.sentence}." for one in left))
    return visible(" ".join(sentences))


def _told_apart(found: Iterable[Alert]) -> Iterator[Alert]:
    """The alerts, each with a fingerprint of its own."""
    seen: Counter[str] = Counter()
    for one in found:
        seen[one.fingerprint] += 1
        rank = seen[one.fingerprint]
        yield one if rank == 1 else replace(one, fingerprint=_digest(one.fingerprint, str(rank)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def _of_cause(places: Places, one: Blame) -> Alert:
    group = one.group
    title = f"{noun(group)} {predicate(group)}"
    named = places.named(group.fates, _MOST_NAMES) if group.names else ""
    where = f": {named}" if named else f" ({places.where(group.fates)})"
    if group.subject is Subject.OTHER_ARCHITECTURE:  # whose one fate has no ABI's name
        where = ""
    parts = tuple(f"{said}." for said in told(group))
    sentences = (f"{title[:1].upper()}{title[1:]}{where}.", _because(one), *parts, mend(group))
    return Alert(
        rule=slug(group.kind),
        title=visible(title),
        message=visible(" ".join(filter(None, sentences))),
        spot=one.spot,
        related=one.related,
        fingerprint=_digest(
            *(group.profile, group.subject, group.kind, group.manner, group.wanted),
            *(str(group.returned or ""), one.part, one.action, one.spot.path),
        ),
        cells=group.cells,
    )


def _because(one: Blame) -> str:
    """Why it is so, as the file has it."""
    them = "it" if len(one.group.names) == 1 else "them"
    action = f" {one.action}" if one.action else ""
    return {
        Part.RULE: f"This rule names {them} with{action or ' no action'}.",
        Part.DEFAULT: f"No rule does that: see the default action{action}.",
        Part.ALLOWED: f"No rule names {them}: to allow {them}, write {them} here.",
        Part.ARCHITECTURES: "Neither a rule nor the default action does that: see whether these"
        " architectures include the ABI.",
        Part.FILE: "",
        Part.POLICY: "",
    }[one.part]


def _of_controls(run: Run) -> Iterator[Alert]:
    """What failed without a platform's fault: a known filter that has another effect."""
    failed = [
        cell
        for cell in in_order(run.cells)
        if cell.outcome in NOT_HOLDING and is_about(cell.key, About.CONTROL)
    ]
    for (claim, variant), cells in gathered(
        failed, lambda cell: (cell.key.claim, cell.key.variant)
    ).items():
        yield Alert(
            rule=CONTROLS,
            title=f"a filter that is known has another effect: {visible(variant)}",
            message=f"{visible(cells[0].sentence)} {claims.of(claim).meaning}",
            spot=Spot("", "", None),
            related=(),
            fingerprint=_digest(claim, variant),
            cells=tuple(cells),
        )


def _of_waiver(one: JudgedWaiver) -> Alert:
    """A waiver that makes the run fail."""
    waiver = one.waiver
    parts = (waiver.call, waiver.arch, waiver.target, waiver.profile or "", waiver.claim or "")
    return Alert(
        rule=WAIVER,
        title=f"a waiver is at fault: {visible(waiver.call)}",
        message=visible(one.sentence) or "-",
        spot=Spot("", "", None),
        related=(),
        fingerprint=_digest(*parts),
        waiver=one,
    )


RULES: Final = {
    slug(Kind.GETS_THROUGH): (
        "GetsThrough",
        "A call that the policy restricts gets through the filter.",
        "8.0",
    ),
    slug(Kind.REFUSED_OTHERWISE): (
        "RefusedOtherwise",
        "A call is refused, but not in the way that the profile says.",
        "5.0",
    ),
    slug(Kind.BLOCKED_TOO_MUCH): (
        "BlockedTooMuch",
        "A call that the policy does not restrict is refused, too.",
        "4.0",
    ),
    CONTROLS: (
        "KnownFilter",
        "A filter whose effect is known has another one on this kernel.",
        "8.0",
    ),
    WAIVER: ("WaiverAtFault", "A waiver has expired, names nothing, or is not needed.", "5.0"),
}
"""Of each rule its name, its meaning, and how severe it is, CVSS-like, from 0 to 10."""
