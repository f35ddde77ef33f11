"""Text from outside, in a form that a line, a terminal or a page can hold."""

import difflib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final

OWN_WORDS: Final = "its own words"
"""What stands in a sentence before the words of a program that refuses."""


def shown(text: Path | str) -> str:
    """The text as a sentence can hold it: escaped where it would break the line or the terminal."""
    text = str(text)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def visible(text: str) -> str:
    r"""Shows the characters that would act on a reader's screen instead of letting them act.

    Control, format (bidirectional controls among them), surrogate, private and unassigned
    characters and separators other than the space become ``\u202e`` and the like.
    """
    if text.isprintable():  # the same categories, looked up at once
        return text
    return "".join(character if _is_plain(character) else _escape(character) for character in text)


def did_you_mean(
    word: str, known: Iterable[str], otherwise: str = "", *, alike: float = 0.6, quote: str = ""
) -> str:
    """A question that proposes the known word most similar to an unknown one.

    Args:
        word: what was written; its case does not matter.
        known: the words that mean something.
        otherwise: what is said where none of them is similar.
        alike: how similar one must be, from 0 to 1.
        quote: the mark before and after the word that is proposed.
    """
    names = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=alike)
    return f"did you mean {quote}{shown(names[near[0]])}{quote}?" if near else otherwise


def in_brackets(said: str) -> str:
    """The text in brackets, after a blank; "" for an empty text."""
    return f" ({said})" if said else ""


def counted(number: int, noun: str) -> str:
    """A number of things as people read it: ``1 call``, ``1,204 calls``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def spelled(number: int) -> str:
    """A number in decimal; in hexadecimal where it carries high bits, as those of x32 do."""
    return str(number) if number <= _HIGHEST_IN_DECIMAL else f"{number:#x}"


_HIGHEST_IN_DECIMAL: Final = 0xFFFF


def _is_plain(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in {"C", "Z"}


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - 4 digits
