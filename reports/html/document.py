"""A page as a whole: one static, self-contained file that needs no script and fetches nothing."""

import base64
import hashlib
from importlib import resources

from reports.html.markup import Markup, around, element, text, void


def document(title: str, maker: str, *body: Markup, style: str = "") -> str:
    """A page as text; write it as UTF-8.

    Args:
        title: its title.
        maker: the program that made it.
        *body: what it shows.
        style: the file of a further style that it needs.
    """
    # Joined once: each element around a fleet's evidence would be another copy of it in memory.
    opened = '<!DOCTYPE html>\n<html lang="en">'
    return "".join((opened, _head(title, maker, style), *around("body", *body), "</html>\n"))


def _head(title: str, maker: str, further: str) -> Markup:
    style = file("style.css") + (file(further) if further else "")
    # Should anything from outside slip through the escaping, the browser still runs nothing.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=policy),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        void("meta", name="generator", content=maker),
        element("title", text(title)),
        element("style", Markup(style)),
    )


def file(name: str) -> Markup:
    """What stands in one of the files beside this module."""
    return Markup(resources.files("reports.html").joinpath(name).read_text(encoding="utf-8"))
