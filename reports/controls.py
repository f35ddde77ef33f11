"""What a run says about the controls of security frameworks. The mapping is ``controls.toml``.

A control's state is derived from the cells of the claims that speak to it, and claims no more than
they carry: a run of the suite's own filter says nothing about a container's, and a part of the job
nothing about the whole.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any, Final

from probes.action import Profile
from probes.cell import FORGIVEN, Cell, Claim, Outcome
from probes.errors import SuiteError
from probes.text import visible
from reports.results import Ruling, Run, Verdict, summarize
from reports.summary import cells_text

FORMAT: Final = 1
"""The version of the file's format that this module reads."""

DEPLOYED: Final = frozenset(
    {"pid", "unit", "node", "ambient", "runc", "crun", "docker", "podman", "bwrap"}
)
"""The kinds of target whose filter is in force where the suite did not put it."""

_NO_PROFILE: Final = "none"
"""The profile of cells that belong to none, which the controls of the instrument are."""

_TOKEN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")


class Strength(StrEnum):
    """How directly a claim speaks to a control."""

    PRIMARY = "primary"
    SUPPORTING = "supporting"


class State(StrEnum):
    """The state of a control by the claims of a run."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_ASSESSED = "not assessed"


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a framework, and the claims that speak to it.

    Attributes:
        id: as the framework writes it.
        token: the same as an identifier that is its own in all frameworks.
        framework: the framework's name.
        edition: the versions in which it has this id.
        title: what it is about.
        why: what the claims have to do with it.
        not_shown: what they do not show.
        source: where it is published.
        primary: the claims that speak to it directly.
        supporting: the claims that add to it.
        profiles: the profiles under which they do.
        deployed: whether only a filter counts that is in force where the suite did not put it.
        technique: the ATT&CK technique of the only calls that count; None where all do.
    """

    id: str
    token: str
    framework: str
    edition: str
    title: str
    why: str
    not_shown: str
    source: str
    primary: tuple[Claim, ...]
    supporting: tuple[Claim, ...]
    profiles: tuple[str, ...]
    deployed: bool
    technique: str | None = None

    @property
    def claims(self) -> dict[Claim, Strength]:
        """Every claim that speaks to it, and how directly."""
        return {
            **dict.fromkeys(self.primary, Strength.PRIMARY),
            **dict.fromkeys(self.supporting, Strength.SUPPORTING),
        }


@dataclass(frozen=True, slots=True)
class ClaimEvidence:
    """What a run says about one claim, as far as it speaks to a control.

    Attributes:
        claim: the claim.
        strength: how directly it speaks to the control.
        counts: how many cells came to which outcome, without those that none came to.
    """

    claim: Claim
    strength: Strength
    counts: Mapping[Outcome, int]


@dataclass(frozen=True, slots=True)
class Assessment:
    """A control, and what a run says about it.

    Attributes:
        control: the control.
        state: what the claims say.
        sentence: why, in one sentence for people.
        evidence: what they rest on, primary claims first; without claims that have no cell.
    """

    control: Control
    state: State
    sentence: str
    evidence: tuple[ClaimEvidence, ...]


class ControlsError(SuiteError):
    """``controls.toml`` is not what it must be: a fault of the suite."""


def assess(run: Run) -> tuple[Assessment, ...]:
    """What a run says about every control, in the order of the file."""
    cells = Counter(
        (cell.key.claim, cell.key.profile, cell.key.syscall, cell.outcome) for cell in run.cells
    )
    ruling = summarize(run).ruling
    return tuple(_assess(run, ruling, control, cells) for control in load())


_Tally = Counter[tuple[Claim, str, str, Outcome]]


def _assess(run: Run, ruling: Ruling, control: Control, cells: _Tally) -> Assessment:
    calls = _calls(run, control.technique)
    evidence = tuple(
        ClaimEvidence(claim, strength, counts)
        for claim, strength in control.claims.items()
        if (counts := _counts(cells, claim, control.profiles, calls))
    )
    state, sentence = _state(run, ruling, control, evidence)
    return Assessment(control, state, sentence, evidence)


def is_about(run: Run, control: Control) -> bool:
    """Whether the run tested a filter that the control is about."""
    return not control.deployed or run.target.kind in DEPLOYED


def _calls(run: Run, technique: str | None) -> frozenset[str] | None:
    """The calls that the policy maps to a technique; None for any call."""
    if technique is None:
        return None
    return frozenset(call.name for call in run.policy.calls if technique in call.attack)


def _counts(
    cells: _Tally, claim: Claim, profiles: Collection[str], calls: Collection[str] | None
) -> dict[Outcome, int]:
    counts: Counter[Outcome] = Counter()
    for (one, profile, call, outcome), count in cells.items():
        if one is claim and profile in profiles and (calls is None or call in calls):
            counts[outcome] += count
    return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}


def _state(
    run: Run, ruling: Ruling, control: Control, evidence: Sequence[ClaimEvidence]
) -> tuple[State, str]:
    """What the evidence says, and why; the first rule that applies decides."""
    total: Counter[Outcome] = Counter()
    for one in evidence:
        total.update(one.counts)
    # Where a cell failed, only a lost calibration makes a run a broken one: then none counts.
    if ruling.verdict is Verdict.BROKEN:
        return State.NOT_ASSESSED, f"the run is broken: {visible(ruling.sentence).rstrip('.')}"
    if not is_about(run, control):
        return State.NOT_ASSESSED, (
            "no container was seen under the filter of a target of the kind"
            f" {visible(run.target.kind)}: test one that is in force"
        )
    if failed := total[Outcome.FAILED]:
        return State.CONTRADICTED, f"{cells_text(failed)} of the claims about it failed"
    if lack := _lack(run, control, evidence, total):
        return State.NOT_ASSESSED, lack
    absent = total[Outcome.NOT_APPLICABLE]
    tail = f", and {absent:,} do not apply" if absent else ""
    passed = cells_text(total[Outcome.PASSED])
    return State.SUPPORTED, f"all {passed} of the claims about it passed{tail}"


def _lack(
    run: Run, control: Control, evidence: Sequence[ClaimEvidence], total: Counter[Outcome]
) -> str:
    """Why claims of which none failed do not support a control; "" where they do."""
    for outcome in sorted(FORGIVEN, reverse=True):
        if forgiven := total[outcome]:
            return f"{cells_text(forgiven)} of the claims about it failed, and that is {outcome}"
    if undecided := total[Outcome.CANNOT_TELL] + total[Outcome.BROKEN]:
        return f"{cells_text(undecided)} of the claims about it could not be told"
    if not any(
        one.strength is Strength.PRIMARY and one.counts.get(Outcome.PASSED) for one in evidence
    ):
        return f"no claim that it rests on was assessed ({', '.join(control.primary)})"
    if run.planned != len(run.cells) or not run.complete:
        return "not every cell that was planned was judged"
    if run.planned < run.selected_of:
        return "only a part of the job was selected"
    return ""


def speaking(run: Run, control: Control) -> tuple[Cell, ...]:
    """The cells of a run that speak to a control, in the order of the run."""
    calls = _calls(run, control.technique)
    return tuple(
        cell
        for cell in run.cells
        if cell.key.claim in control.claims
        and cell.key.profile in control.profiles
        and (calls is None or cell.key.syscall in calls)
    )


@cache
def load() -> tuple[Control, ...]:
    """The controls that ship with the suite, in the order of their file.

    Raises:
        ControlsError: the file is not what it must be.
    """
    return parse((resources.files("reports") / "controls.toml").read_text(encoding="utf-8"))


_TEXTS = ("id", "token", "framework", "edition", "title", "why", "not_shown", "source")
_LISTS = ("primary", "supporting", "profiles")
_TARGETS = {"filters": False, "deployed": True}


def parse(text: str) -> tuple[Control, ...]:
    """Reads controls from TOML.

    Raises:
        ControlsError: the text is not what it must be.
    """
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise ControlsError(f"controls.toml: this is not TOML ({error})") from error
    if set(document) != {"format", "control"} or document["format"] != FORMAT:
        raise ControlsError(f"controls.toml: must hold format = {FORMAT} and [[control]] tables")
    controls = tuple(
        _control(table, f"controls.toml: control {rank}")
        for rank, table in enumerate(document["control"], 1)
    )
    twice = [token for token, count in Counter(one.token for one in controls).items() if count > 1]
    if twice:
        raise ControlsError(f"controls.toml: the token {twice[0]!r} is that of two controls")
    return controls


def _control(table: Mapping[str, Any], place: str) -> Control:
    required = {*_TEXTS, *_LISTS, "targets"}
    if wrong := (required - set(table)) | (set(table) - required - {"technique"}):
        raise ControlsError(f"{place}: the key {min(wrong)!r} is missing or unknown")
    for name in (*_TEXTS, *(("technique",) if "technique" in table else ())):
        if not isinstance(table[name], str) or not table[name].strip():
            raise ControlsError(f"{place}: {name} must be text")
    for name in _LISTS:
        if not isinstance(table[name], list):
            raise ControlsError(f"{place}: {name} must be a list")
    if not _TOKEN.fullmatch(table["token"]):
        raise ControlsError(f"{place}: {table['token']!r} is no identifier")
    if table["targets"] not in _TARGETS:
        raise ControlsError(f"{place}: targets must be one of {', '.join(_TARGETS)}")
    primary, supporting = (_claims(table[name], place) for name in ("primary", "supporting"))
    if not primary or set(primary) & set(supporting):
        raise ControlsError(f"{place}: needs a primary claim, and each claim in one list only")
    if strange := set(table["profiles"]) - {*Profile, _NO_PROFILE}:
        raise ControlsError(f"{place}: {min(strange)!r} is no profile")
    return Control(
        **{name: table[name] for name in _TEXTS},
        primary=primary,
        supporting=supporting,
        profiles=tuple(table["profiles"]),
        deployed=_TARGETS[table["targets"]],
        technique=table.get("technique"),
    )


def _claims(words: Iterable[str], place: str) -> tuple[Claim, ...]:
    try:
        return tuple(map(Claim, words))
    except ValueError as error:
        raise ControlsError(f"{place}: {error}") from error
