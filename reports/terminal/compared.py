"""What a comparison of two records says, as lines: each reason once. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from probes.cell import CellKey, Outcome
from probes.judging import claims
from probes.text import visible
from reports.results import ChangeKind, time_text
from reports.results.comparison import KIND_ORDER, ChangeGroup, RecordComparison, RecordHead
from reports.summary import OUTCOME_WORDS, call_name, cells_text, gathered
from reports.terminal.lines import MOST_LINES, clipped, cut, name_line, wrapped

HEADINGS: Final = {
    ChangeKind.WORSE: "worse",
    ChangeKind.BETTER: "better",
    ChangeKind.OTHER: "neither better nor worse",
    ChangeKind.APPEARED: "appeared",
    ChangeKind.VANISHED: "vanished",
}
"""The words for what became of a cell."""

_NONE: Final = "not there"
_INDENT: Final = "    "


def lines(found: RecordComparison, width: int, *, verbose: bool = False) -> list[str]:
    """The comparison for people.

    Args:
        found: the comparison.
        width: how long a line may be.
        verbose: whether every group is told, with all its calls and the whole of its reason.
    """
    head = [
        *_headline("old", found.old, width, verbose=verbose),
        *_headline("new", found.new, width, verbose=verbose),
        *clipped(counts(found), width, len(KIND_ORDER)),
    ]
    if verbose:
        told = [line for kind in KIND_ORDER for line in _kind(found, kind, width)]
        return [*head, *told]
    room = MOST_LINES - len(head) - 1
    short = [_short(group, width) for group in found.groups]
    if sum(map(len, short)) <= room:
        return [*head, *(line for part in short for line in part)]
    shown: list[str] = []
    count = 0
    while count < len(short) and len(shown) + len(short[count]) <= room:
        shown += short[count]
        count += 1
    rest = found.groups[count:]
    left = cells_text(sum(len(group.cells) for group in rest))
    more = f"and {left} for {len(rest):,} more reasons: -v, --html and --json tell all"
    return [*head, *shown, cut(more, width)]


def counts(found: RecordComparison) -> str:
    """How many cells became what, in a line."""
    return ", ".join(f"{found.count(kind):,} {HEADINGS[kind]}" for kind in KIND_ORDER)


def _headline(name: str, head: RecordHead, width: int, *, verbose: bool) -> list[str]:
    said = f"{name}: {time_text(head.started)} {head.verdict}: {head.sentence}"
    return [visible(said)] if verbose else [cut(said, width)]


def _kind(found: RecordComparison, kind: ChangeKind, width: int) -> list[str]:
    """The groups of one kind, in full."""
    groups = [group for group in found.groups if group.kind is kind]
    if not groups:
        return []
    lines = ["", f"{HEADINGS[kind]}:"]
    for group in groups:
        lines.append(f"  {change_words(group)}")
        lines += wrapped(_titled(group), width, indent=_INDENT)
        lines += wrapped(group.reason, width, indent=_INDENT)
    return lines


def _short(group: ChangeGroup, width: int) -> list[str]:
    """A group in three lines: what changed, by which claims, and why."""
    is_told = group.kind in {ChangeKind.APPEARED, ChangeKind.VANISHED}  # by "not there"
    kind = "" if is_told else f"{HEADINGS[group.kind]}: "
    arches = ", ".join(arch_names(cell.key for cell in group.cells))
    lead = f"{kind}{change_words(group)} on {arches}: "
    return [
        name_line(lead, call_names(group), width),
        name_line(_INDENT, claim_titles(group), width),
        cut(f"{_INDENT}{group.reason}", width),
    ]


def change_words(group: ChangeGroup) -> str:
    """How many cells changed, and how: ``543 cells passed -> cannot tell``."""
    return f"{cells_text(len(group.cells))} {_word(group.before)} -> {_word(group.after)}"


def _word(outcome: Outcome | None) -> str:
    return _NONE if outcome is None else OUTCOME_WORDS[outcome]


def claim_titles(group: ChangeGroup) -> list[str]:
    """The claims of a group, each once with its profiles: ``is recorded (kill, log)``."""
    profiles = gathered((cell.key for cell in group.cells), lambda key: key.claim)
    return [
        f"{claim} ({', '.join(dict.fromkeys(key.profile for key in keys))})"
        for claim, keys in profiles.items()
    ]


def arch_names(keys: Iterable[CellKey]) -> list[str]:
    """The ABIs of cells, each once."""
    return list(dict.fromkeys(key.arch for key in keys))


def call_names(group: ChangeGroup) -> list[str]:
    """What the cells of a group are about, each once, by name."""
    return sorted({call_name(cell.key) for cell in group.cells})


def _titled(group: ChangeGroup) -> str:
    """The claims and ABIs with their calls; those with the same calls stand together."""
    by_place: dict[tuple[str, str], list[str]] = {}
    for cell in group.cells:
        title = claims.of(cell.key.claim).title(cell.key.profile)
        which = f" {cell.key.which}" if cell.key.which else ""
        by_place.setdefault((title, cell.key.arch), []).append(f"{call_name(cell.key)}{which}")
    alike: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for (title, arch), calls in by_place.items():
        alike.setdefault(tuple(calls), {}).setdefault(arch, []).append(title)
    return "; ".join(_spots(where, calls) for calls, where in alike.items())


def _spots(where: dict[str, list[str]], calls: Sequence[str]) -> str:
    titles: dict[tuple[str, ...], list[str]] = {}
    for arch, said in where.items():
        titles.setdefault(tuple(said), []).append(arch)
    spots = "; ".join(
        f"{', '.join(said)} on {', '.join(arches)}" for said, arches in titles.items()
    )
    return f"{spots}: {', '.join(calls)}"
