"""The closing lines of a run on the terminal: failures first, the verdict near the end. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.cell import Cell, Claim, GapState, Outcome
from probes.documents.waivers import WaiverState
from probes.judging import claims
from probes.judging.claims import About, is_about
from reports.results import ChangeKind, Run, count_kinds, describe, summarize, time_text
from reports.summary import (
    OUTCOME_WORDS,
    Coverage,
    Group,
    audit_text,
    by_place,
    by_reason,
    cells_text,
    coverage,
    gaps_by_state,
    gathered,
    names,
    ordered_arches,
    place_name,
    release_of,
)
from reports.terminal import accepted
from reports.terminal.lines import INDENT, LEAST_WIDTH, clipped, cut, name_line, report_lines

MOST_LINES: Final = 20
"""There are never more closing lines than this."""

_MOST_PROFILE_LINES: Final = 5
_MOST_PATH_LINES: Final = 2


def lines(run: Run, written: Sequence[Path], width: int = 100) -> list[str]:
    """The closing summary: at most ``MOST_LINES`` lines, failures first, the verdict near the end.

    Args:
        run: the run.
        written: the reports that were written.
        width: columns; only the paths of reports may go beyond it.
    """
    width = max(width, LEAST_WIDTH)
    closing = _closing_lines(run, written, width)
    return _trouble_lines(run, MOST_LINES - len(closing), width) + closing


def _closing_lines(run: Run, written: Sequence[Path], width: int) -> list[str]:
    summary = summarize(run)
    outcomes = ", ".join(
        f"{summary.counts[outcome]:,} {word}" for outcome, word in OUTCOME_WORDS.items()
    )
    told = (_kernel_line(run), *accepted.lines(run), _waiver_line(run), _baseline_line(run))
    extra = [cut(line, width) for line in told if line]
    return [
        *clipped(f"planned {summary.planned:,}: {outcomes}", width, most=2),
        *_profile_lines(run, width, _MOST_PROFILE_LINES - len(extra)),
        *_proof_lines(run, width),
        *_gap_lines(run, width),
        *clipped(f"audit records: {audit_text(run)}", width, most=2),
        *extra,
        *clipped(
            summary.ruling.line,
            width,
            most=3,
        ),
        *_path_lines(written),
    ]


def _kernel_line(run: Run) -> str:
    """The kernels that cells were judged on; "" where there is but one."""
    if len(run.environments) == 1:
        return ""
    named = (f"{release_of(where)} ({where.machine})" for where in run.environments)
    return f"kernels: {', '.join(named)}"


def _waiver_line(run: Run) -> str:
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


def _baseline_line(run: Run) -> str:
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
        for line in clipped(f"{profile}: {_coverage_text(places)}", width, most=2)
    ]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{INDENT}and more: see the report"]


def _proof_lines(run: Run, width: int) -> list[str]:
    """How many proofs succeeded, by ABI; none where nothing was to be proved."""
    cells = [
        cell
        for cell in run.cells
        if is_about(cell.key, About.PROOF) and cell.outcome is not Outcome.NOT_APPLICABLE
    ]
    places = gathered(cells, lambda cell: cell.key.arch)
    counts = ", ".join(
        f"{arch} {sum(cell.outcome is Outcome.PASSED for cell in places[arch])} of"
        f" {len(places[arch])}"
        for arch in ordered_arches(run, cells)
    )
    return clipped(f"proved for all arguments: {counts}", width, most=2) if counts else []


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
    lines = [name_line(f"{title}: ", opened, width) if opened else cut(title, width)]
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
    every = report_lines(written)
    if len(every) <= _MOST_PATH_LINES:
        return every
    named = list(dict.fromkeys(path.parent for path in written))[: _MOST_PATH_LINES - 1]
    others = sum(path.parent not in named for path in written)
    return [*every[: _MOST_PATH_LINES - 1], f"and {others} more reports elsewhere"]


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
    sentence = clipped(cells[0].sentence, width - len(INDENT), most=2, indent=INDENT)
    title = f"FAILED {_claim_of(groups[0])} {where}"
    return _Block(name_line(title, names(cells), width), tuple(sentence), len(cells))


def _claim_of(group: Group) -> str:
    return claims.of(group.cells[0].key.claim).title(group.cells[0].key.profile)


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


def _reason_blocks(run: Run, outcome: Outcome, width: int) -> list[_Block]:
    groups = by_reason(cell for cell in run.cells if cell.outcome is outcome)
    return [
        _Block(
            cut(f"{OUTCOME_WORDS[outcome].upper()} {_affected(group.cells)}", width),
            tuple(
                clipped(
                    _whole_reason(group), width - len(INDENT), _most_lines(group), indent=INDENT
                )
            ),
            len(group.cells),
        )
        for group in groups
    ]


_MOST_FINDING_LINES = 8


def _most_lines(group: Group) -> int:
    """How long a reason may be: what a finding says about the whole target is not cut short."""
    is_finding = any(is_about(cell.key, About.FINDING) for cell in group.cells)
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
        lines.append(cut(rest, width))
    return lines
