"""How the kinds of what became of calls look: one word, one sign and one colour for each. Pure.

The sign and the word say everything, so that nobody needs the colour.
"""

from dataclasses import dataclass
from typing import Final

from probes.judging.kinds import Kind


@dataclass(frozen=True, slots=True)
class Look:
    """The look of a kind.

    Attributes:
        sign: one character.
        style: the class of a page's style.
        colour: the colour on a terminal, as pytest and ANSI name it; "" for the usual one.
    """

    sign: str
    style: str
    colour: str


LOOKS: Final = {
    Kind.AS_DOCUMENTED: Look("✓", "k-as-documented", "green"),
    Kind.REFUSED_OTHERWISE: Look("≠", "k-refused-otherwise", "yellow"),
    Kind.GETS_THROUGH: Look("✗", "k-gets-through", "red"),
    Kind.BLOCKED_TOO_MUCH: Look("⊘", "k-blocked-too-much", "purple"),
    Kind.NOT_JUDGED: Look("?", "k-not-judged", "cyan"),
    Kind.NOT_APPLICABLE: Look("–", "k-not-applicable", ""),  # noqa: RUF001 - an en dash is meant
}
"""The look of every kind."""


_COLOURS: Final = {look.sign: look.colour for look in LOOKS.values() if look.colour}


_VERDICTS: Final = {
    "PASS": "green",
    "FAIL": "red",
    "BROKEN": "red",
    "INCOMPLETE": "yellow",
    "CANNOT TELL": "cyan",
}
"""The colours of the words with which a line tells a verdict."""


def colours(line: str) -> tuple[str, ...]:
    """The colours of a line of a terminal.

    Of the kind with whose sign it begins, also behind a verdict; else of the verdict, if any.
    """
    word = next((one for one in _VERDICTS if line.startswith((f"{one}: ", f"{one} "))), "")
    sign, blank, _ = line.removeprefix(f"{word}: ").partition(" ")
    if blank and sign in _COLOURS:
        return (_COLOURS[sign],)
    return (_VERDICTS[word],) if word else ()
