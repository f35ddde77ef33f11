"""What holds for every page: well formed, whole on every screen, and safe."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

from probes.files import SUITE
from reports.benchmarks.browser import BrowserPage

VOID: Final = {"meta", "br", "hr", "img", "link", "input"}
TAGS_WITHOUT_ATTRIBUTES_FROM_OUTSIDE: Final = {"script", "img", "iframe", "object", "embed", "form"}

AXE: Final = SUITE / ".oracles/node_modules/axe-core/axe.min.js"
WIDTHS: Final = (360, 1600)
FORBIDDEN: Final = (
    "script, img, iframe, object, embed, form, link, base, video, audio, foreignObject"
)

_PICTURE: Final = re.compile(r"<svg.*?</svg>")
_TITLE: Final = re.compile(r"<title>[^<]*</title>")


class Checker(HTMLParser):
    """Reads a page as a browser would begin to, and notes what is wrong with it."""

    def __init__(self, page: str) -> None:
        """Reads the page."""
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.references: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.words: list[str] = []
        self.feed(page)
        self.close()
        self.faults += [f"{tag} never closes" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag and what it refers to."""
        self.tags[tag] += 1
        values = {name: value or "" for name, value in attrs}
        if len(values) != len(attrs):
            self.faults.append(f"{tag} has an attribute twice")
        self.attributes |= set(values)
        if "id" in values:
            self.ids[values["id"]] += 1
        address = values.get("href", "")
        if address.startswith("#"):
            self.references.add(address[1:])
        elif address:
            self.addresses.add(address)
        self.references |= set(values.get("aria-labelledby", "").split())
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Notes a tag that closes what is not open."""
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{tag} closes out of order")

    def handle_data(self, data: str) -> None:
        """Keeps the text."""
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """All text of the page."""
        return "".join(self.words)


def check(page: str) -> Checker:
    """Asserts what holds for every page."""
    checker = Checker(page)
    assert checker.faults == []
    assert [name for name, count in checker.ids.items() if count > 1] == []
    assert checker.references <= set(checker.ids)
    assert not checker.tags.keys() & TAGS_WITHOUT_ATTRIBUTES_FROM_OUTSIDE
    assert not any(name.startswith("on") or name in {"src", "style"} for name in checker.attributes)
    assert checker.tags["h1"] == checker.tags["title"] == checker.tags["main"] == 1
    return checker


def checked(page: str) -> Checker:
    """Asserts what holds for every page; titles of shapes in a picture are no titles of it."""
    checker = check(_PICTURE.sub(lambda found: _TITLE.sub("", found[0]), page))
    assert checker.tags["style"] == 1
    assert page.replace("\n", "").isprintable()
    return checker


def accuse(page: BrowserPage) -> list[str]:
    """What axe-core holds against a page, one line each."""
    page.evaluate(AXE.read_text(encoding="utf-8") + "; 0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def faults(page: BrowserPage, path: Path, width: int) -> list[str]:
    """What is wrong with a page as it is seen: what sticks out, runs, or is fetched."""
    page.look(width=width)
    page.open(path)
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.frames()
    found = []
    if page.evaluate("document.documentElement.scrollWidth") != width:
        found.append("it scrolls sideways")
    found += page.evaluate(
        """[...document.querySelectorAll('main *')].filter(one => {
            if (one.closest('.scroll, .hidden, .skip, thead')) return false;
            const box = one.getBoundingClientRect();
            return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
        }).map(one => 'sticks out: ' + one.outerHTML.slice(0, 120))"""
    )
    if page.evaluate(f"document.querySelectorAll('{FORBIDDEN}').length"):
        found.append("it has elements that no page has")
    if page.evaluate("typeof window.hit") != "undefined":
        found.append("a script ran")
    attributes = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames())"
        ".filter(name => name.startsWith('on') || name == 'style' || name == 'src')"
    )
    found += [f"attribute {name}" for name in attributes]
    found += [str(one) for one in page.told("Page.javascriptDialogOpening")]
    found += [str(one) for one in page.told("Log.entryAdded")]
    fetched = [one["request"]["url"] for one in page.told("Network.requestWillBeSent")]
    return found + [f"fetched {one}" for one in fetched if one != path.as_uri()]
