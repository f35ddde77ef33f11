"""The documentation as its tests read it: sections, tables, links and code of Markdown pages."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from probes.files import SUITE

_PARSER: Final = MarkdownIt("commonmark").enable("table")
_SKIPPED: Final = frozenset({"node_modules", ".venv", ".git", ".tox", ".pytest_cache", "out"})
_TEXT: Final = frozenset({"text", "code_inline"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        cells: the text of each cell, without marks.
        codes: the code spans of each cell.
        line: the number of its line, counted from 0.
    """

    cells: tuple[str, ...]
    codes: tuple[tuple[str, ...], ...]
    line: int

    @property
    def key(self) -> str:
        """What the row is about."""
        return self.cells[0]

    @property
    def words(self) -> frozenset[str]:
        """What the row says of its key: everything that stands there by itself, a cell or code."""
        return frozenset((*self.cells[1:], *(code for codes in self.codes[1:] for code in codes)))


@dataclass(slots=True)
class Section:
    """What stands below a heading, up to the next one.

    Attributes:
        title: the text of the heading; "" for what stands before the first one.
        anchor: what a link calls it.
        tables: the rows of each table, without its head.
        links: where links and pictures lead, with what they are called.
        blocks: the text of code blocks.
        codes: the code spans in text.
    """

    title: str
    anchor: str
    tables: list[list[Row]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)


def pages(root: Path = SUITE) -> list[Path]:
    """Every Markdown page of the repository."""
    return sorted(
        path for path in root.rglob("*.md") if _SKIPPED.isdisjoint(path.relative_to(root).parts)
    )


def sections(text: str) -> list[Section]:
    """The sections of a page."""
    found = [Section("", "")]
    seen: Counter[str] = Counter()
    tokens = _PARSER.parse(text)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            title = _text(tokens[place + 1])
            anchor = _anchor(title)
            found.append(Section(title, f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor))
            seen[anchor] += 1
        elif token.type == "tbody_open":
            found[-1].tables.append(list(_rows(tokens[place:])))
        elif token.type in {"fence", "code_block"}:
            found[-1].blocks.append(token.content)
        elif token.type == "inline":
            found[-1].links += _links(token.children or ())
            found[-1].codes += _codes(token)
    return found


def section(text: str, title: str) -> Section:
    """The section of that title."""
    (found,) = (one for one in sections(text) if one.title == title)
    return found


def without(text: str, row: Row) -> str:
    """A page without a row."""
    lines = text.splitlines(keepends=True)
    return "".join((*lines[: row.line], *lines[row.line + 1 :]))


def with_row(text: str, after: Row, *cells: str) -> str:
    """A page with another row after one."""
    lines = text.splitlines(keepends=True)
    made = f"| {' | '.join(cells)} |\n"
    return "".join((*lines[: after.line + 1], made, *lines[after.line + 1 :]))


def _rows(tokens: Sequence[Token]) -> Iterator[Row]:
    """The rows of the table whose body begins these tokens."""
    cells: list[str] = []
    codes: list[tuple[str, ...]] = []
    line = 0
    for place, token in enumerate(tokens):
        if token.type == "tbody_close":
            return
        if token.type == "td_open":
            cells.append(_text(tokens[place + 1]))
            codes.append(tuple(_codes(tokens[place + 1])))
        elif token.type == "tr_open":
            cells, codes = [], []
            assert token.map
            line = token.map[0]
        elif token.type == "tr_close":
            yield Row(tuple(cells), tuple(codes), line)


def _text(inline: Token) -> str:
    return "".join(
        child.content if child.type in _TEXT else " " if child.type == "softbreak" else ""
        for child in inline.children or ()
    )


def _codes(inline: Token) -> list[str]:
    return [child.content for child in inline.children or () if child.type == "code_inline"]


def _links(children: Sequence[Token]) -> Iterator[tuple[str, str]]:
    for place, child in enumerate(children):
        if child.type == "link_open":
            inside = "".join(one.content for one in children[place + 1 :][:1])
            yield str(child.attrs["href"]), inside
        elif child.type == "image":
            yield str(child.attrs["src"]), child.content


def _anchor(title: str) -> str:
    """What GitHub makes of a heading's text."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def anchors(text: str) -> frozenset[str]:
    """What can be linked to on a page."""
    return frozenset(one.anchor for one in sections(text) if one.anchor)


@dataclass(frozen=True, slots=True)
class Fact:
    """What the code says about something that a table lists.

    Attributes:
        says: what must stand in its row, each by itself in a cell or as code.
        choices: what the second cell must have as code, and nothing else; None if that is free.
    """

    says: frozenset[str] = frozenset()
    choices: frozenset[str] | None = None


def complaints(rows: Sequence[Row], known: Mapping[str, Fact]) -> list[str]:
    """Where a table differs from what the code lists, either way."""
    keys = Counter(row.key for row in rows)
    found = [f"{key}: stands there {count} times" for key, count in keys.items() if count > 1]
    found += [f"{key}: is not documented" for key in known if key not in keys]
    found += [f"{key}: is documented, and not in the code" for key in keys if key not in known]
    for row in rows:
        fact = known.get(row.key, Fact())
        found += [f"{row.key}: does not say {word!r}" for word in fact.says - row.words]
        if fact.choices is not None and fact.choices != frozenset(row.codes[1]):
            found.append(f"{row.key}: names {row.codes[1]} in place of {sorted(fact.choices)}")
    return found
