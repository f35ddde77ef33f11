"""Text from outside, in a form that a line, a terminal or a page can hold."""

import unicodedata
from pathlib import Path


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


def _is_plain(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in {"C", "Z"}


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - 4 digits
