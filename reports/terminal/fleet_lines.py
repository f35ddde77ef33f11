"""What a fleet came to, as lines: verdicts, claims, and which nodes differ. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from probes.cell import Outcome
from probes.judging import claims
from probes.text import visible
from reports.results import Verdict
from reports.results import fleet as fleets
from reports.results.fleet import Difference, Division, Fleet, FleetNode
from reports.summary import OUTCOME_WORDS, cells_text
from reports.terminal.lines import MOST_LINES, clipped, cut, name_line, table, wrapped

_MOST_HEAD_LINES: Final = 3
_GOOD: Final = frozenset({Outcome.PASSED, Outcome.NOT_APPLICABLE})


def lines(fleet: Fleet, width: int, *, verbose: bool = False) -> list[str]:
    """The fleet for people.

    Args:
        fleet: the fleet.
        width: how long a line may be.
        verbose: whether every claim and every node that differs is told.
    """
    head = _head(fleet, width)
    if verbose:
        return [
            *head,
            *_claims(fleet, width, verbose=True),
            *_nodes(fleet, width),
            *_divided(fleet, width),
        ]
    told = [*head, *_short(fleet, width), *_claims(fleet, width, verbose=False)]
    if len(told) <= MOST_LINES:
        return told
    left = len(told) - MOST_LINES + 1
    return [*told[: MOST_LINES - 1], cut(f"and {left:,} more lines: -v and --html tell all", width)]


def _head(fleet: Fleet, width: int) -> list[str]:
    differing = sum(1 for _ in fleet.differing())
    divided = sum(len(one.cells) for one in fleet.divided())
    verdicts = Counter(node.verdict for node, _ in fleet.nodes)
    told = ", ".join(f"{verdicts[one]:,} {one}" for one in Verdict if verdicts[one])
    differ = "differs" if differing == 1 else "differ"
    lines = [
        f"{len(fleet.nodes):,} nodes, {len(fleet.cells):,} cells: {told}",
        f"{differing:,} of them {differ} from the majority",
    ]
    if divided:
        lines.append(f"for {cells_text(divided)} there is no majority")
    if len(fleet.kinds) > 1:
        lines.append(f"of several kinds, each compared with its own: {kinds_text(fleet)}")
    return [part for line in lines for part in clipped(line, width, _MOST_HEAD_LINES)]


def _claims(fleet: Fleet, width: int, *, verbose: bool) -> list[str]:
    """A table of how often each claim came to which outcome, over all nodes of a kind."""
    lines: list[str] = []
    for kind in fleet.kinds:
        counts = claim_counts(fleet, kind)
        shown = {
            title: known
            for title, known in counts.items()
            if verbose or not {one for one in known if known[one]} <= _GOOD
        }
        if not shown:
            continue
        words = [
            one for one in OUTCOME_WORDS if verbose or any(known[one] for known in shown.values())
        ]
        title = "claim" if len(fleet.kinds) == 1 else f"claim of {kind}"
        rows = [(name, *(f"{known[one]:,}" for one in words)) for name, known in shown.items()]
        head = (title, *(OUTCOME_WORDS[one] for one in words))
        lines += ["", *table([head, *rows], width, range(1, len(head)))]
    return lines


def _short(fleet: Fleet, width: int) -> list[str]:
    """What nodes differ in and what there is no majority about, each once."""
    alike: dict[tuple[str, str], list[str]] = {}
    for node, pattern, cells in fleet.differing():
        for one in fleet.differences(node, pattern, cells):
            names = ", ".join(fleets.name_of(cell.key) for cell in one.cells)
            said = f"{_words(one)}: {names}"
            alike.setdefault((said, one.sentence), []).append(node.name)
    found = [""] if alike else []
    for (said, sentence), nodes in alike.items():
        found.append(cut(f"{_machines(nodes)}: {said}", width))
        if sentence:
            found.append(cut(f"    {sentence}", width))
    for division in fleet.divided():
        found += _division(division, width)
    return found


def _machines(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


def _words(one: Difference) -> str:
    title = claims.of(one.claim).title(one.profile)
    return f"{title}: {_word(one.mine)}; most: {_word(one.most)}"


def _divided(fleet: Fleet, width: int) -> list[str]:
    divided = fleet.divided()
    lines = ["", "no majority:"] if divided else []
    return [*lines, *(line for one in divided for line in _division(one, width))]


def _division(one: Division, width: int) -> list[str]:
    """Cells about which nodes disagree, and who says what."""
    title = claims.of(one.claim).title(one.profile)
    camps = "; ".join(f"{_word(outcome)} on {_machines(names)}" for outcome, names in one.camps)
    said = f"no majority: {title}: {camps}: "
    return [name_line(said, [fleets.name_of(cell.key) for cell in one.cells], width)]


def _nodes(fleet: Fleet, width: int) -> list[str]:
    return [
        line
        for node, pattern, cells in fleet.differing()
        for line in ("", *_node(node, fleet.differences(node, pattern, cells), len(cells), width))
    ]


def kinds_text(fleet: Fleet) -> str:
    """How many machines judged which kind of target: ``8 builtin, 4 docker``."""
    kinds = Counter(node.kind for node, _ in fleet.nodes)
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))


def claim_counts(fleet: Fleet, kind: str) -> dict[str, Counter[Outcome]]:
    """How often each claim came to which outcome, over all nodes of a kind of target."""
    found: dict[str, Counter[Outcome]] = {}
    for cell, counts in zip(fleet.cells, fleet.counts(kind), strict=True):
        title = claims.of(cell.key.claim).title(cell.key.profile)
        known = found.setdefault(title, Counter())
        known.update({outcome: count for outcome, count in counts.items() if count})
    return {title: known for title, known in found.items() if known}


def _node(node: FleetNode, differences: Sequence[Difference], cells: int, width: int) -> list[str]:
    """In what a node differs, by claim and what the two came to, each with one sentence."""
    lines = [
        visible(
            f"{node.name} ({node.machine} {node.kernel}): {node.verdict}, differs in"
            f" {cells_text(cells)}"
        )
    ]
    for one in differences:
        names = [fleets.name_of(cell.key) for cell in one.cells]
        lines.append(name_line(f"  {_words(one)}: ", names, width))
        if one.sentence:
            lines += wrapped(one.sentence, width, indent="    ")
    return lines


def _word(outcome: Outcome | None) -> str:
    return "not judged" if outcome is None else OUTCOME_WORDS[outcome]
