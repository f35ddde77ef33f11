"""A picture of an ABI's numbers: a square for each, in the colour and letter of its action. Pure.

Colour never says anything alone: every square has the action's letter, and what it stands for as
a title that a pointer shows; the page says the same in words below.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from probes.action import Action, FilterReturn
from probes.arch import X32_SYSCALL_BIT, Arch
from reports.html.markup import NOTHING, Markup, element, join, text

COLUMNS: Final = 32
"""Squares in a row: a row begins with a number that ends in 0x00, 0x20, 0x40 and so on."""

_SIDE: Final = 10
_INSET: Final = 0.5
_MARGIN: Final = 34
_MOST_EMPTY_ROWS: Final = 1
"""More rows without a known number than this are left out of the picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """How squares of one kind look.

    Attributes:
        style: the class of its colour.
        letter: what stands in the square; may be "".
        words: what it means.
    """

    style: str
    letter: str
    words: str


@dataclass(frozen=True, slots=True)
class Square:
    """What is shown of a number.

    Attributes:
        look: its colour and letter.
        title: the whole of it, in words.
    """

    look: Look
    title: str


DEPENDS: Final = Look("a-depends", "*", "depends on the arguments")
"""The look of a number that gets one thing or another."""

SAME: Final = Look("a-same", "", "the same on both sides")
"""The look of a number about which two filters do not differ."""

_LETTERS: Final = {
    Action.ALLOW: "",
    Action.LOG: "L",
    Action.TRACE: "t",
    Action.USER_NOTIF: "U",
    Action.TRAP: "T",
    Action.KILL_THREAD: "k",
    Action.KILL_PROCESS: "K",
}
_ERRNO_LETTERS: Final = {"ERRNO(EPERM)": "E", "ERRNO(ENOSYS)": "N", "ERRNO(EACCES)": "A"}


def look_of(returns: FilterReturn) -> Look:
    """How an action looks."""
    words = str(returns)
    if returns.action is Action.ERRNO:
        letter = _ERRNO_LETTERS.get(words, "e")
        return Look(
            f"a-errno a-errno-{letter.lower() if letter != 'e' else 'other'}", letter, words
        )
    style = f"a-{returns.action.name.lower().replace('_', '-')}"
    return Look(style, _LETTERS[returns.action], words)


def legend(looks: Iterable[Look], *, documented: bool) -> Markup:
    """What the squares of some pictures mean.

    Args:
        looks: those that are in the pictures.
        documented: whether documented calls are marked there.
    """
    items = [_sample(look) for look in dict.fromkeys(looks)]
    plain = Look("a-allow", "", "")
    if documented:
        items.append(_sample(plain, "documented", "a documented call has a frame"))
    items.append(_sample(plain, "nameless", "a number that no table knows is small"))
    return element("ul", *items, class_="map-legend")


def _sample(look: Look, style: str = "", words: str = "") -> Markup:
    return element("li", sample(look, style), text(f" {words or look.words}"))


def sample(look: Look, style: str = "") -> Markup:
    """A square by itself, for a line of text.

    Args:
        look: its colour and letter.
        style: the class of what is special about it.
    """
    return element(
        "svg",
        _square(0, 0, Square(look, ""), style),
        viewBox=f"-1 -1 {_SIDE + 2} {_SIDE + 2}",
        aria_hidden="true",
        class_="map-sample",
    )


def picture(
    arch: Arch,
    title: str,
    square_of: Callable[[int], Square],
    documented: Collection[int] = (),
    quiet: Look | None = None,
) -> Markup:
    """The picture of an ABI's numbers.

    Args:
        arch: the ABI.
        title: what the picture is called, for those who do not see it.
        square_of: what is shown of a number.
        documented: the numbers that have a frame.
        quiet: the look of numbers that say nothing; rows of nothing else are left out.
    """
    base = X32_SYSCALL_BIT if arch.name == "x32" else 0
    known = {number - base for number in arch.numbers.values()}
    parts: list[Markup] = []
    y = 0.0
    last = None
    for row in _rows(known):
        numbers = range(row * COLUMNS + base, (row + 1) * COLUMNS + base)
        squares = [square_of(number) for number in numbers]
        if all(square.look == quiet for square in squares):
            continue
        if row != (0 if last is None else last + 1):
            parts.append(_label(y, "⋮"))
            y += _SIDE
        last = row
        first = row * COLUMNS
        parts.append(_label(y, f"+{first:#x}" if base else f"{first:#x}"))
        for column, square in enumerate(squares):
            styles = [
                *(["nameless"] if first + column not in known else []),
                *(["documented"] if first + column + base in documented else []),
            ]
            parts.append(_square(_MARGIN + column * _SIDE, y, square, " ".join(styles)))
        y += _SIDE
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_MARGIN + COLUMNS * _SIDE + 1} {y + 1:g}",
        role="img",
        aria_label=title,
        class_="map",
    )


def _rows(known: Collection[int]) -> Iterator[int]:
    """The rows of the picture: those with a known number, and single ones between them."""
    last = None
    for row in sorted({number // COLUMNS for number in known}):
        if last is not None and row - last - 1 <= _MOST_EMPTY_ROWS:
            yield from range(last + 1, row)
        yield row
        last = row


def _label(y: float, words: str) -> Markup:
    return element(
        "text", text(words), x=f"{_MARGIN - 4}", y=f"{y + 7.5:g}", text_anchor="end", class_="row"
    )


def _square(x: float, y: float, square: Square, styles: str) -> Markup:
    small = 2.5 if "nameless" in styles else _INSET
    side = _SIDE - 2 * small
    box = element(
        "rect",
        x=f"{x + small:g}",
        y=f"{y + small:g}",
        width=f"{side:g}",
        height=f"{side:g}",
        rx="1",
    )
    letter = NOTHING
    if square.look.letter and "nameless" not in styles:
        letter = element(
            "text",
            text(square.look.letter),
            x=f"{x + _SIDE / 2:g}",
            y=f"{y + 7.6:g}",
            text_anchor="middle",
        )
    told = element("title", text(square.title)) if square.title else NOTHING
    classes = " ".join(filter(None, (square.look.style, styles)))
    return element("g", join(told, box, letter), class_=classes)
