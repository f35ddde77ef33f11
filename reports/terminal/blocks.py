"""What is amiss, in blocks of a few lines: faults by cause, and open questions by reason. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from probes.cell import Cell, Claim, Outcome
from probes.judging.claims import About, is_about
from probes.judging.kinds import Subject
from probes.text import visible
from reports.causes.grouping import FaultGroup, causes
from reports.causes.looks import LOOKS
from reports.causes.mending import mend
from reports.causes.words import Places, short, told
from reports.reproduce import Again
from reports.results import Run
from reports.summary import OUTCOME_WORDS, Group, by_reason, cells_text, release_of
from reports.terminal.lines import INDENT, UNCUT, clipped, columns, cut

_MOST_FINDING_LINES: Final = 8
_OPEN: Final = (Outcome.BROKEN, Outcome.CANNOT_TELL)


@dataclass(frozen=True, slots=True)
class Block:
    """A headline, which is shown first, and detail, which is shown while there is room.

    Attributes:
        headline: one line.
        detail: more lines, the most useful first.
        cells: how many cells it is about.
    """

    headline: str
    detail: tuple[str, ...]
    cells: int


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be said.

    Attributes:
        width: columns of a line; commands alone may go beyond it.
        names: how many calls a block names at most; None for all.
        lines: how many lines a reason or an advice may take.
    """

    width: int
    names: int | None
    lines: int


def of_faults(run: Run, room: Room, again: Again | None) -> list[Block]:
    """What is not as documented and accepted by nobody: a block a cause, the gravest first.

    Args:
        run: the run.
        room: how much may be said.
        again: how to repeat a part of the run; None where nobody here can.
    """
    places = Places(run)
    groups = [group for group in causes(run) if group.outcome is Outcome.FAILED]
    return [_fault(run, places, group, room, again) for group in groups]


def _fault(run: Run, places: Places, group: FaultGroup, room: Room, again: Again | None) -> Block:
    said = (*told(group), f"mend: {mend(group)}")
    width = room.width - len(INDENT)
    detail = [line for one in said for line in clipped(one, width, room.lines, INDENT)]
    if again is not None:
        detail.append(f"{INDENT}again: {again.command(group.cells[0].key)}")
    headline = _headline(_title(run, group), places, group, room)
    return Block(headline, tuple(detail), len(group.cells))


def _title(run: Run, group: FaultGroup) -> str:
    word = f"{LOOKS[group.kind].sign} {group.kind.value.upper()}"
    return f"{word} ({group.profile}{_kernels(run, group)}): {short(group)}"


def _headline(title: str, places: Places, group: FaultGroup, room: Room) -> str:
    """The title with as many of the names as there is room for, and their ABIs."""
    if not group.names:
        return cut(title, room.width)
    if group.subject is Subject.UNKNOWN_NUMBER and room.names is not None:
        return cut(f"{title} ({places.where(group.fates)})", room.width)
    if room.names is None:
        named = places.named(group.fates)
        return visible(f"{title}: {named}" if named else title)
    for most in range(room.names, 0, -1):
        line = visible(f"{title}: {places.named(group.fates, most)}")
        if columns(line) <= room.width:
            return line
    return cut(f"{title} ({places.where(group.fates)})", room.width)


def _kernels(run: Run, group: FaultGroup) -> str:
    """Of several kernels, which one it is about; "" where there is one, or more are."""
    seen = group.environments
    if len(run.environments) == 1 or len(seen) > 1:
        return ""
    return f", Linux {release_of(run.environments[seen[0]])}"


def of_open_questions(run: Run, room: Room) -> dict[Outcome, list[Block]]:
    """What has no verdict: the blocks of each outcome that leaves that open, the gravest first."""
    every = {outcome: _reasons(run, outcome, room) for outcome in _OPEN}
    return {outcome: blocks for outcome, blocks in every.items() if blocks}


def _reasons(run: Run, outcome: Outcome, room: Room) -> list[Block]:
    groups = by_reason(cell for cell in run.cells if cell.outcome is outcome)
    word = OUTCOME_WORDS[outcome].upper()
    return [
        Block(
            cut(f"{word} {_affected(group.cells)}", room.width),
            tuple(_why(group, room)),
            len(group.cells),
        )
        for group in groups
    ]


def _why(group: Group, room: Room) -> list[str]:
    # What a finding says about the whole target is not cut short.
    is_finding = any(is_about(cell.key, About.FINDING) for cell in group.cells)
    most = max(room.lines, _MOST_FINDING_LINES) if is_finding else room.lines
    reason = group.cells[0].sentence if len(group.cells) == 1 else group.title
    return clipped(reason, room.width - len(INDENT), most, indent=INDENT)


def _affected(cells: Sequence[Cell]) -> str:
    claims = {cell.key.claim for cell in cells}
    return f"{cells_text(len(cells))} ({', '.join(claim for claim in Claim if claim in claims)}):"


def fitted(blocks: Sequence[Block], room: int, width: int) -> list[str]:
    """Headlines first, then as many details as fit; what does not fit is counted.

    Args:
        blocks: the blocks.
        room: how many lines there may be.
        width: columns.
    """
    if not blocks:
        return []
    if room <= 1 < len(blocks):
        more = f" (and {len(blocks) - 1:,} more: see the report, or -v)"
        return [cut(blocks[0].headline, width - len(more)) + more]
    shown = list(blocks) if len(blocks) <= room else list(blocks[: room - 1])
    left = blocks[len(shown) :]
    spare = room - len(shown) - bool(left)
    lines: list[str] = []
    for block in shown:
        lines.append(block.headline)
        # Half an advice helps nobody; a reason that is cut short says where it goes on.
        detail = block.detail[:spare]
        spare -= len(detail)
        lines += detail
    if left:
        cells = sum(block.cells for block in left)
        rest = f"and {cells_text(cells)} in {len(left):,} more groups: see the report, or -v"
        lines.append(cut(rest, width))
    return lines


def lines_of(blocks: Iterable[Block], width: int) -> list[str]:
    """All lines of all blocks, none of them cut short.

    Args:
        blocks: the blocks.
        width: columns.
    """
    return [
        line
        for block in blocks
        for line in (*clipped(block.headline, width, most=UNCUT), *block.detail)
    ]
