"""HTML from small pure functions; what is not yet ``Markup`` has to pass ``text`` first.

The type checker thereby finds a text from outside that nobody escaped.
"""

import html
import re
from functools import lru_cache
from typing import NewType

from probes.text import visible

Markup = NewType("Markup", str)
"""A piece of well-formed HTML."""

NOTHING = Markup("")


@lru_cache(maxsize=1 << 16)
def text(words: str) -> Markup:
    """Any text as HTML: markup in it is shown, and so are characters that act on a screen."""
    return Markup(html.escape(visible(words), quote=True))


def join(*pieces: Markup, by: str = "") -> Markup:
    """The pieces one after the other.

    Args:
        pieces: what to put together.
        by: a plain text to put between them.
    """
    return Markup(html.escape(by).join(pieces))


def element(name: str, /, *children: Markup, **attributes: str | None) -> Markup:
    """An element with a closing tag.

    Args:
        name: the tag.
        children: what it holds.
        attributes: their values, escaped here. A trailing underscore is dropped (``class_``),
            others become hyphens (``aria_label``); None leaves the attribute out.
    """
    return Markup(f"<{name}{_attributes(attributes)}>{''.join(children)}</{name}>")


def around(name: str, /, *children: Markup) -> tuple[Markup, ...]:
    """The pieces of an element that nobody joined yet, for one that holds most of a page.

    Args:
        name: the tag.
        children: what it holds.
    """
    return (Markup(f"<{name}>"), *children, Markup(f"</{name}>"))


def void(name: str, /, **attributes: str | None) -> Markup:
    """An element that HTML never closes, such as ``meta``."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def _attributes(attributes: dict[str, str | None]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"'
        for name, value in attributes.items()
        if value is not None
    )


def code(words: str) -> Markup:
    """A name, a digest or a number, set as code."""
    return element("code", text(words))


def identifier(*parts: str) -> str:
    """A readable ``id`` from any texts; different texts may give the same one."""
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "_", part) for part in parts if part)
