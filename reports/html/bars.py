"""Bars that show shares of a whole, with the same in words below. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from probes.cell import Outcome
from reports.html.markup import Markup, element, text
from reports.html.view import GLYPHS, labelled, outcome_class
from reports.summary import OUTCOME_WORDS

_WIDTH: Final = 1000
_HEIGHT: Final = 24
_LEAST: Final = 3.0
"""The width of a share that would else not be seen."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a bar.

    Attributes:
        style: the class of its colour.
        words: what it is.
        count: how much it is.
    """

    style: str
    words: str
    count: int


def bar(title: str, shares: Sequence[Share]) -> Markup:
    """A bar of shares, from left to right; those of nothing are left out.

    Args:
        title: what the bar is called, for those who do not see it.
        shares: its parts.
    """
    shown = [share for share in shares if share.count]
    whole = sum(share.count for share in shown) or 1
    widths = [max(share.count * _WIDTH / whole, _LEAST) for share in shown]
    scale = _WIDTH / sum(widths) if widths else 1.0
    parts = []
    x = 0.0
    for share, wide in zip(shown, widths, strict=True):
        box = element(
            "rect",
            element("title", text(f"{share.count:,} {share.words}")),
            x=f"{x:.1f}",
            y="0",
            width=f"{wide * scale:.1f}",
            height=f"{_HEIGHT}",
            class_=share.style,
        )
        parts.append(box)
        x += wide * scale
    told = ", ".join(f"{share.count:,} {share.words}" for share in shown) or "nothing"
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}: {told}",
        class_="bar",
    )


def outcomes(title: str, counts: Mapping[Outcome, int]) -> Markup:
    """How many cells came to what, as a bar and in words."""
    shares = [
        Share(outcome_class(outcome), word, counts[outcome])
        for outcome, word in OUTCOME_WORDS.items()
    ]
    legend = [
        element("li", labelled(GLYPHS[one], f"{counts[one]:,} {word}", one))
        for one, word in OUTCOME_WORDS.items()
        if counts[one]
    ]
    return element(
        "figure",
        element("figcaption", text(title)),
        bar(title, shares),
        element("ul", *legend, class_="legend plain"),
        class_="shares",
    )
