"""What the pages of commands share: their frame, their tables, and the words for numbers. Pure."""

from collections.abc import Sequence
from typing import Final

from probes.finding import Finding
from probes.version import DISTRIBUTION, VERSION
from reports.html.document import document
from reports.html.markup import NOTHING, Markup, element, text
from reports.html.view import paragraph
from reports.pages.number_map import Look, sample

STYLE: Final = "commands.css"
"""The file beside the pages' own style that only these pages need."""


def page(kicker: str, title: str, banner: Markup, *parts: Markup) -> str:
    """A page of a command as text; write it as UTF-8.

    Args:
        kicker: the line above the title, which says what sort of page it is.
        title: the page's title.
        banner: what a reader is to see first.
        parts: the sections.
    """
    return document(
        title,
        f"{DISTRIBUTION} {VERSION}",
        element("a", text("Skip to the answer"), href="#answer", class_="skip"),
        element(
            "header",
            element("p", text(kicker), class_="kicker"),
            element("h1", text(title)),
        ),
        element("main", banner, *parts),
        element("footer", text(f"Rendered by {DISTRIBUTION} {VERSION}.")),
        style=STYLE,
    )


def banner(sign: str, word: str, sentences: Sequence[str], style: str) -> Markup:
    """The answer of a command, in its colour.

    Args:
        sign: a sign for it.
        word: the answer in a word.
        sentences: what it means; the first is the larger one.
        style: the class of its colour.
    """
    shown = element("span", text(sign), class_="sign", aria_hidden="true")
    first, *others = sentences
    return element(
        "section",
        element(
            "div",
            element("h2", shown, text(word), id="answer-title"),
            paragraph(first, "lead"),
            *(paragraph(one, "status") for one in others),
        ),
        id="answer",
        class_=f"banner {style}",
        aria_labelledby="answer-title",
    )


def swatch(look: Look) -> Markup:
    """An action as a square in its colour and in words."""
    return element("span", sample(look), text(look.words), class_="swatch")


def findings(found: Sequence[Finding]) -> Markup:
    """What is to be said of a target besides."""
    if not found:
        return NOTHING
    items = (element("li", paragraph(one.line, "sentence")) for one in found)
    return element("ul", *items, class_="lines")
