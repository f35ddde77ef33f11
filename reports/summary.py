"""What a run came to, in groups and counts, and the closing lines on the terminal.

The page uses the same groups and counts, so that the two never disagree.
"""

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents.waivers import WaiverState
from probes.gap import Gap, GapState
from probes.text import visible
from reports.results import (
    ChangeKind,
    Environment,
    Run,
    count_kinds,
    describe,
    gaps_in_order,
    in_order,
    summarize,
    time_text,
)

MOST_LINES = 20
"""The closing summary never has more lines than this."""

OUTCOME_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.BROKEN: "broken",
    Outcome.CANNOT_TELL: "cannot tell",
    Outcome.NOT_APPLICABLE: "not applicable",
    Outcome.WAIVED: "waived",
}
"""The outcomes as people say them, in the order in which a count line lists them."""

OTHER_CLAIMS = frozenset(
    {
        Claim.CONTROLS,
        Claim.ENDS_EVERY_THREAD,
        Claim.LEAVES_THE_REST_ALONE,
        Claim.DEFAULT_ACTION,
        Claim.IS_INHERITED,
        Claim.IS_ALL_JUDGED,
    }
)
"""The claims that are not made anew about every documented call."""

DECIDED = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.WAIVED})
"""The outcomes that say whether the claim holds."""

GAPS_WORST_FIRST = (GapState.OPEN, GapState.UNKNOWN, GapState.CLOSED)
"""The states of a gap in the order in which a reader wants to know about them."""

UNDECIDED = frozenset({Outcome.CANNOT_TELL, Outcome.BROKEN})
"""The outcomes that leave open whether the claim holds."""

_LEAST_WIDTH = 40
_MOST_PROFILE_LINES = 5
_MOST_PATH_LINES = 2
_INDENT = "  "

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that belong together in a report.

    Attributes:
        title: what they have in common, in a few words.
        cells: at least one, in order.
    """

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many documented calls were judged under one profile on one ABI.

    Attributes:
        profile: the profile.
        arch: the ABI.
        judged: calls of which at least one claim was decided, for every stack of filters.
        undecided: calls that exist there, of which none was.
        not_applicable: calls that the ABI does not have.
    """

    profile: str
    arch: str
    judged: int
    undecided: int
    not_applicable: int


def reason(cell: Cell) -> str:
    """Why the cell came to its outcome: its sentence without the words that only name the cell.

    ``acct (163) on x86_64: no rule for it`` becomes ``no rule for it``, so that cells with one
    reason can stand together. What was observed is reason enough where a verdict is lacking and
    the sentence ends with it.
    """
    if cell.outcome in UNDECIDED and cell.sentence.endswith(f": {cell.observed}"):
        return cell.observed
    opening, colon, rest = cell.sentence.partition(": ")
    return rest if colon and rest and _names_cell(opening, cell.key) else cell.sentence


def _names_cell(words: str, key: CellKey) -> bool:
    return re.match(rf"{re.escape(key.syscall)}(?!\w)", words) is not None


def documented(run: Run) -> tuple[Cell, ...]:
    """The cells by which every documented call is judged, in order."""
    calls = {call.name for call in run.policy.calls}
    return in_order(
        cell
        for cell in run.cells
        if cell.key.claim not in OTHER_CLAIMS and cell.key.syscall in calls
    )


def not_all_judged(run: Run) -> tuple[Cell, ...]:
    """What the target names and nobody judged, or what is confined otherwise there, in order."""
    return in_order(cell for cell in run.cells if cell.key.claim is Claim.IS_ALL_JUDGED)


def ordered_arches(run: Run, cells: Iterable[Cell]) -> tuple[str, ...]:
    """The ABIs of the cells, in the order of the environment; others after them, by name."""
    return _ordered(run.environment.arches, {cell.key.arch for cell in cells})


def ordered_places(run: Run, cells: Sequence[Cell]) -> tuple[str, ...]:
    """The ABIs of the cells, each with its stacks of filters, in the order of the environment."""
    stacks = gathered(cells, lambda cell: cell.key.arch)
    return tuple(
        name
        for arch in ordered_arches(run, cells)
        for name in dict.fromkeys(
            place_name(cell.key) for cell in sorted(stacks[arch], key=lambda cell: cell.key.stack)
        )
    )


def ordered_profiles(run: Run, cells: Iterable[Cell]) -> tuple[str, ...]:
    """The profiles of the cells, in the order of the run; others after them, by name."""
    return _ordered(run.profiles, {cell.key.profile for cell in cells})


def _ordered(known: Sequence[str], seen: set[str]) -> tuple[str, ...]:
    first = tuple(word for word in dict.fromkeys(known) if word in seen)
    return first + tuple(sorted(seen - set(first)))


def gathered(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """The items by key, keys and items in the order in which they come."""
    groups: defaultdict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def by_place(run: Run, cells: Iterable[Cell]) -> tuple[Group, ...]:
    """Cells by claim, profile, ABI and stack, in the order in which the run lists them."""
    every = in_order(cells)
    places = gathered(
        every, lambda cell: (cell.key.claim, cell.key.profile, cell.key.arch, cell.key.stack)
    )
    profiles, arches = ordered_profiles(run, every), ordered_arches(run, every)
    stacks = sorted({cell.key.stack for cell in every})
    return tuple(
        _group(claim_title(claim, profile), places[claim, profile, arch, stack])
        for claim in Claim
        for profile in profiles
        for arch in arches
        for stack in stacks
        if (claim, profile, arch, stack) in places
    )


def _group(title: str, cells: Sequence[Cell]) -> Group:
    return Group(f"{title} {place_name(cells[0].key)}", tuple(cells))


def place_name(key: CellKey) -> str:
    """Where a cell was judged: the ABI, and the stack where it is not the target's first one."""
    return f"{key.arch} ({key.part})" if key.part else key.arch


def claim_title(claim: Claim, profile: str) -> str:
    """A claim with its profile; the controls have none."""
    return claim if claim is Claim.CONTROLS else f"{claim} ({profile})"


def by_reason(cells: Iterable[Cell]) -> tuple[Group, ...]:
    """Cells by their cause and the reason that their sentences give, the largest group first."""
    groups = gathered(in_order(cells), lambda cell: (cell.cause, reason(cell)))
    return tuple(
        Group(why, tuple(members))
        for (_, why), members in sorted(groups.items(), key=lambda item: -len(item[1]))
    )


def gravest_state(gaps: Iterable[Gap]) -> GapState:
    """Open where it is open anywhere, closed only where it is closed everywhere."""
    return min((gap.state for gap in gaps), key=GAPS_WORST_FIRST.index)


def gaps_by_state(run: Run) -> dict[GapState, list[tuple[Gap, ...]]]:
    """The gaps call by call, under the gravest state of each; calls in the order of families."""
    arches = {arch: place for place, arch in enumerate(run.environment.arches)}
    families = {family: place for place, family in enumerate(run.policy.families)}
    ordered = sorted(gaps_in_order(run.gaps), key=lambda gap: arches.get(gap.arch, len(arches)))
    ordered.sort(key=lambda gap: (families.get(gap.family, len(families)), gap.family, gap.syscall))
    calls = gathered(ordered, lambda gap: (gap.family, gap.syscall)).values()
    states = gathered(map(tuple, calls), gravest_state)
    return {state: states.get(state, []) for state in GAPS_WORST_FIRST}


def names(cells: Iterable[Cell]) -> tuple[str, ...]:
    """What the cells are about, each once: the call, with the variant where there is one."""
    return tuple(
        dict.fromkeys(
            " ".join(filter(None, (_call_name(cell), cell.key.variant))) for cell in cells
        )
    )


def _call_name(cell: Cell) -> str:
    # "unknown" names every number that no table knows: only the number tells them apart.
    if cell.key.syscall == "unknown" and cell.key.number is not None:
        return f"number {cell.key.number}"
    return cell.key.syscall


def coverage(run: Run) -> tuple[Coverage, ...]:
    """How many documented calls were judged on the kernel, by profile and ABI.

    A proof does not make a call a judged one: it says nothing about what a kernel does.
    """
    cells = [cell for cell in documented(run) if cell.key.claim is not Claim.IS_PROVED]
    places = gathered(cells, lambda cell: (cell.key.profile, cell.key.arch))
    return tuple(
        _cover(profile, arch, places[profile, arch])
        for profile in ordered_profiles(run, cells)
        for arch in ordered_arches(run, cells)
        if (profile, arch) in places
    )


def _cover(profile: str, arch: str, cells: Iterable[Cell]) -> Coverage:
    calls = gathered(cells, lambda cell: cell.key.syscall)
    stacks = [gathered(members, lambda cell: cell.key.stack).values() for members in calls.values()]
    outcomes = [[{cell.outcome for cell in same} for same in members] for members in stacks]
    judged = sum(all(seen & DECIDED for seen in members) for members in outcomes)
    absent = sum(all(seen == {Outcome.NOT_APPLICABLE} for seen in members) for members in outcomes)
    return Coverage(profile, arch, judged, len(outcomes) - judged - absent, absent)


def terminal_lines(run: Run, written: Sequence[Path], width: int = 100) -> list[str]:
    """The closing summary: at most ``MOST_LINES`` lines, failures first, the verdict near the end.

    Args:
        run: the run.
        written: the reports that were written.
        width: columns; only the paths of reports may go beyond it.
    """
    width = max(width, _LEAST_WIDTH)
    closing = _closing_lines(run, written, width)
    return _trouble_lines(run, MOST_LINES - len(closing), width) + closing


def _closing_lines(run: Run, written: Sequence[Path], width: int) -> list[str]:
    summary = summarize(run)
    outcomes = ", ".join(
        f"{summary.counts[outcome]:,} {word}" for outcome, word in OUTCOME_WORDS.items()
    )
    ruling = summary.ruling
    extra = [
        _cut(line, width)
        for line in (kernel_line(run), waiver_line(run), baseline_line(run))
        if line
    ]
    return [
        *_wrapped(f"planned {summary.planned:,}: {outcomes}", width, most=2),
        *_profile_lines(run, width, _MOST_PROFILE_LINES - len(extra)),
        *_proof_lines(run, width),
        *_gap_lines(run, width),
        *_wrapped(f"audit records: {audit_text(run)}", width, most=2),
        *extra,
        *_wrapped(
            f"{ruling.verdict} (exit status {ruling.exit_status.value}): {ruling.sentence}",
            width,
            most=3,
        ),
        *_path_lines(written),
    ]


def audit_text(run: Run) -> str:
    """Where audit records came from; of several kernels that differ, from where on which."""
    every = [where.audit for where in run.environments]
    if len(set(every)) == 1:
        return f"{every[0].source} ({every[0].reason})"
    return "; ".join(
        f"{audit.source} on {release_of(where)} ({audit.reason})"
        for where, audit in zip(run.environments, every, strict=True)
    )


def release_of(where: Environment) -> str:
    """A kernel's release, without the version behind it: ``6.1.0-49-s390x``."""
    return where.kernel.partition(" ")[0]


def kernel_line(run: Run) -> str:
    """The kernels that cells were judged on; "" where there is but one."""
    if len(run.environments) == 1:
        return ""
    named = (f"{release_of(where)} ({where.machine})" for where in run.environments)
    return f"kernels: {', '.join(named)}"


def waiver_line(run: Run) -> str:
    """How many waivers came to each state, and which is the next to expire; "" for no waiver."""
    if not run.waivers:
        return ""
    counts = Counter(judged.state for judged in run.waivers)
    told = ", ".join(f"{counts[state]:,} {state}" for state in WaiverState if counts[state])
    active = [judged for judged in run.waivers if judged.state is WaiverState.ACTIVE]
    if not active:
        return f"waivers: {told}"
    first = min(active, key=lambda judged: judged.days_left)
    days = "day" if first.days_left == 1 else "days"
    return f"waivers: {told}; the next expires in {first.days_left:,} {days} ({first.waiver})"


def baseline_line(run: Run) -> str:
    """What has changed since the baseline, the first that got worse by name; "" without one."""
    if run.baseline is None:
        return ""
    counts = count_kinds(run.baseline.changes)
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    worse = [c.key for c in run.baseline.changes if c.kind is ChangeKind.WORSE]
    first = f"; worse: {describe(worse[0])}" if worse else ""
    more = f" and {len(worse) - 1:,} more" if len(worse) > 1 else ""
    return f"since {time_text(run.baseline.started)}: {told or 'no change'}{first}{more}"


def _profile_lines(run: Run, width: int, most: int) -> list[str]:
    profiles = gathered(coverage(run), lambda place: place.profile)
    lines = [
        line
        for profile, places in profiles.items()
        for line in _wrapped(f"{profile}: {_coverage_text(places)}", width, most=2)
    ]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{_INDENT}and more: see the report"]


def _proof_lines(run: Run, width: int) -> list[str]:
    """How many proofs succeeded, by ABI; none where nothing was to be proved."""
    cells = [
        cell
        for cell in run.cells
        if cell.key.claim is Claim.IS_PROVED and cell.outcome is not Outcome.NOT_APPLICABLE
    ]
    places = gathered(cells, lambda cell: cell.key.arch)
    counts = ", ".join(
        f"{arch} {sum(cell.outcome is Outcome.PASSED for cell in places[arch])} of"
        f" {len(places[arch])}"
        for arch in ordered_arches(run, cells)
    )
    return _wrapped(f"proved for all arguments: {counts}", width, most=2) if counts else []


def _gap_lines(run: Run, width: int) -> list[str]:
    """How many calls beside the policy open a way round it; nothing where none was looked at."""
    if not run.gaps and not run.unreviewed:
        return []
    calls = {
        state: [members[0].syscall for members in groups]
        for state, groups in gaps_by_state(run).items()
    }
    opened = calls[GapState.OPEN]
    counts = ", ".join(f"{len(names)} {state}" for state, names in calls.items() if names)
    title = f"gaps of the document: {counts or 'none is known'}"
    lines = [name_line(f"{title}: ", opened, width) if opened else _cut(title, width)]
    if run.unreviewed:
        lines.append(name_line("gaps of the document: not known for ", run.unreviewed, width))
    return lines


def _coverage_text(places: Sequence[Coverage]) -> str:
    return ", ".join(
        f"{place.arch} {place.judged}{' calls' if index == 0 else ''}{_remainder(place)}"
        for index, place in enumerate(places)
    )


def _remainder(place: Coverage) -> str:
    rest = [
        f"{number} {word}"
        for number, word in (
            (place.undecided, "undecided"),
            (place.not_applicable, "not applicable"),
        )
        if number
    ]
    return f" ({', '.join(rest)})" if rest else ""


def _path_lines(written: Sequence[Path]) -> list[str]:
    folders = gathered(written, lambda path: path.parent)
    lines = [
        visible(f"reports in {folder}: {', '.join(path.name for path in paths)}")
        for folder, paths in folders.items()
    ]
    if len(lines) <= _MOST_PATH_LINES:
        return lines
    others = sum(map(len, list(folders.values())[_MOST_PATH_LINES - 1 :]))
    return [*lines[: _MOST_PATH_LINES - 1], f"and {others} more reports elsewhere"]


def _trouble_lines(run: Run, room: int, width: int) -> list[str]:
    """Failures, broken cells and open questions, in this order, in ``room`` lines or fewer."""
    open_questions = [
        blocks
        for outcome in (Outcome.BROKEN, Outcome.CANNOT_TELL)
        if (blocks := _reason_blocks(run, outcome, width))
    ]
    # Each kind of trouble keeps at least two lines: a headline and its reason.
    kept = 2 * len(open_questions)
    lines = _fitted(_failed_blocks(run, room - kept, width), room - kept, width)
    for blocks in open_questions:
        kept -= 2
        lines += _fitted(blocks, room - kept - len(lines), width)
    return lines


@dataclass(frozen=True, slots=True)
class _Block:
    """A headline, which is shown first, and detail, which is shown while there is room."""

    headline: str
    detail: tuple[str, ...]
    cells: int


def _failed_blocks(run: Run, room: int, width: int) -> list[_Block]:
    """Failures by claim and ABI, or by claim alone where that would take too much room."""
    groups = by_place(run, (cell for cell in run.cells if cell.outcome is Outcome.FAILED))
    alike = gathered(groups, lambda group: (_claim_of(group), names(group.cells)))
    blocks = [
        _failed_block(f"{_arches(same)}{_kernels(run, same)}: ", same, width)
        for same in alike.values()
    ]
    if len(blocks) <= room:
        return blocks
    claims = gathered(groups, _claim_of)
    return [
        _failed_block(f"on {_arches(same)}{_kernels(run, same)}, {_cells(same)}: ", same, width)
        for same in claims.values()
    ]


def _failed_block(where: str, groups: Sequence[Group], width: int) -> _Block:
    cells = [cell for group in groups for cell in group.cells]
    sentence = _wrapped(cells[0].sentence, width - len(_INDENT), most=2, indent=_INDENT)
    title = f"FAILED {_claim_of(groups[0])} {where}"
    return _Block(name_line(title, names(cells), width), tuple(sentence), len(cells))


def _claim_of(group: Group) -> str:
    return claim_title(group.cells[0].key.claim, group.cells[0].key.profile)


def _arches(groups: Iterable[Group]) -> str:
    return ", ".join(dict.fromkeys(place_name(group.cells[0].key) for group in groups))


def _kernels(run: Run, groups: Iterable[Group]) -> str:
    """Of several kernels, which one has the cells; "" where there is one, or more have them."""
    places = {cell.environment for group in groups for cell in group.cells}
    if len(run.environments) == 1 or len(places) > 1:
        return ""
    return f" on {release_of(run.environments[places.pop()])}"


def _cells(groups: Iterable[Group]) -> str:
    return cells_text(sum(len(group.cells) for group in groups))


def cells_text(count: int) -> str:
    """So many cells."""
    return "1 cell" if count == 1 else f"{count:,} cells"


def _reason_blocks(run: Run, outcome: Outcome, width: int) -> list[_Block]:
    groups = by_reason(cell for cell in run.cells if cell.outcome is outcome)
    return [
        _Block(
            _cut(f"{OUTCOME_WORDS[outcome].upper()} {_affected(group.cells)}", width),
            tuple(
                _wrapped(
                    _whole_reason(group), width - len(_INDENT), _most_lines(group), indent=_INDENT
                )
            ),
            len(group.cells),
        )
        for group in groups
    ]


_MOST_FINDING_LINES = 8


def _most_lines(group: Group) -> int:
    """How long a reason may be: what a finding says about the whole target is not cut short."""
    is_finding = any(cell.key.claim is Claim.IS_ALL_JUDGED for cell in group.cells)
    return _MOST_FINDING_LINES if is_finding else 2


def _whole_reason(group: Group) -> str:
    return group.cells[0].sentence if len(group.cells) == 1 else group.title


def _affected(cells: Sequence[Cell]) -> str:
    claims = {cell.key.claim for cell in cells}
    return f"{cells_text(len(cells))} ({', '.join(claim for claim in Claim if claim in claims)}):"


def _fitted(blocks: Sequence[_Block], room: int, width: int) -> list[str]:
    """Headlines first, then as many details as fit; what does not fit is counted."""
    if not blocks:
        return []
    shown = list(blocks) if len(blocks) <= room else list(blocks[: room - 1])
    left = blocks[len(shown) :]
    spare = room - len(shown) - bool(left)
    lines: list[str] = []
    for block in shown:
        lines.append(block.headline)
        detail = block.detail[:spare]
        spare -= len(detail)
        lines += detail
    if left:
        cells = sum(block.cells for block in left)
        rest = f"and {cells_text(cells)} in {len(left):,} more groups: see the report"
        lines.append(_cut(rest, width))
    return lines


def name_line(title: str, items: Sequence[str], width: int) -> str:
    """The title and as many of the names as fit: ``acct, bpf and 12 more``."""
    # No more names than this fit: each takes a letter and a comma at the least.
    for count in range(min(len(items), width // 2), 0, -1):
        rest = f" and {len(items) - count:,} more" if count < len(items) else ""
        line = visible(f"{title}{', '.join(items[:count])}{rest}")
        if len(line) <= width or count == 1:
            return _cut(line, width)
    return _cut(title, width)


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text, whole, in lines of the width, each after the indent."""
    lines = textwrap.wrap(visible(text), max(width - len(indent), _LEAST_WIDTH))
    return [indent + line for line in lines]


def _wrapped(text: str, width: int, most: int, indent: str = "") -> list[str]:
    """The text in lines of the width; what goes beyond ``most`` lines is cut with an ellipsis."""
    lines = textwrap.wrap(
        visible(text), width, subsequent_indent=_INDENT, max_lines=most, placeholder=" …"
    )
    return [indent + line for line in lines]


def _cut(text: str, width: int) -> str:
    shown = visible(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"
