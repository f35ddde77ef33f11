"""The compliance page: well-formed, complete, deterministic, and safe to open."""

import hashlib
import html
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import pytest
from hypothesis import given, settings

from probes.cell import Claim, Evidence, EvidenceKind, Outcome
from reports import results
from reports.html.compliance import render
from reports.html.evidence import number_ranges
from reports.html.view import MEANINGS
from reports.summary import reason, visible
from reports.tests import samples
from reports.tests.strategies import RUNS

VOID = {"meta", "br", "hr", "img", "link", "input"}
TAGS_WITHOUT_ATTRIBUTES_FROM_OUTSIDE = {"script", "img", "iframe", "object", "embed", "form"}
STYLE = resources.files("reports.html").joinpath("style.css").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("name", samples.all_kinds())
def test_sample_is_well_formed_and_complete(name: str) -> None:
    """Every sample renders; its verdict and all its trouble are in it."""
    run = samples.all_kinds()[name]
    page = render(run)
    checker = check(page)
    ruling = results.summarize(run).ruling
    assert f"{ruling.verdict}: {run.policy.title}" in checker.text
    assert ruling.sentence in checker.text
    trouble = {Outcome.FAILED, Outcome.BROKEN, Outcome.CANNOT_TELL}
    for cell in run.cells:
        if cell.outcome is Outcome.FAILED:
            assert html.escape(cell.sentence) in page
        elif cell.outcome in trouble:
            assert html.escape(reason(cell)) in page
    assert len(page.encode()) < 2_000_000


def test_what_proofs_cover_has_rows() -> None:
    """Besides the calls: every other call, number and architecture."""
    text = check(render(samples.proved())).text
    for scope in ("every other call", "every unknown number", "every other architecture"):
        assert f"is proved: {scope}" in text


@given(RUNS)
@settings(deadline=None)
def test_any_run_renders_safely(run: results.Run) -> None:
    """No text from outside becomes markup, an id that is taken, or a character that acts."""
    page = render(run)
    checker = check(page)
    assert checker.tags["style"] == 1
    assert all(
        address.startswith(("https://www.cve.org/", "https://attack.mitre.org/"))
        for address in checker.addresses
    )
    assert page.replace("\n", "").isprintable()
    for cell in run.cells:
        if cell.outcome is Outcome.FAILED:
            assert visible(cell.sentence) in checker.text


def test_markup_from_outside_is_shown_and_not_obeyed() -> None:
    """A name, a comm or an exe can be anything."""
    nasty = "<img src=x onerror=alert(1)>\u202e"
    cell = next(samples.documented())
    bad = replace(
        cell,
        key=replace(cell.key, arch=nasty, variant=nasty),
        outcome=Outcome.FAILED,
        sentence=nasty,
        expected=nasty,
        observed=nasty,
        evidence=(Evidence(EvidenceKind.RECORDED, nasty, nasty),),
    )
    run = samples.run([bad])
    run = replace(
        run,
        target=results.Target(nasty, nasty),
        policy=replace(run.policy, title=nasty, name=nasty),
        environments=(replace(run.environment, kernel=nasty, arches=(nasty,)),),
    )
    page = render(run)
    check(page)
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;\\u202e" in page


def test_two_renders_are_the_same_bytes() -> None:
    """Also of a record that went to the disk and back, and of cells in another order."""
    run = samples.failing()
    shuffled = replace(run, cells=tuple(reversed(run.cells)))
    assert render(run) == render(run) == render(shuffled)


def test_page_names_the_digest_of_its_record() -> None:
    """A reader can tie the page to the file."""
    run = samples.passing()
    assert hashlib.sha256(results.to_json(run).encode()).hexdigest() in render(run)


def test_page_is_self_contained() -> None:
    """Nothing is fetched: no address in the style, no link, and a policy that forbids it."""
    page = render(samples.passing())
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "</" not in STYLE
    assert "<link" not in page
    assert "default-src &#x27;none&#x27;" in page


def test_matrix_has_a_sign_for_every_cell() -> None:
    """60 calls by 6 claims by 3 ABIs, each linked to the evidence of just that cell."""
    run = samples.failing()
    page = render(run)
    matrix = page[page.index('id="calls"') : page.index('id="others"')]
    signs = re.findall(
        r'<td class="o-([a-z-]+)[^"]*"><a href="#(cell-[^"]+)"><span aria-hidden="true">(.)</span>'
        r'<span class="hidden">([a-z ]+)</span></a></td>',
        matrix,
    )
    assert len(signs) == 60 * 6 * 3
    assert len({target for _, target, _, _ in signs}) == len(signs)
    words = Counter(word for _, _, _, word in signs)
    planned = {cell.key for cell in samples.documented()}
    wanted = Counter(
        cell.outcome.value.replace("_", " ") for cell in run.cells if cell.key in planned
    )
    assert words == wanted
    assert all(style == word.replace(" ", "-") for style, _, _, word in signs)


def test_second_matrix_counts() -> None:
    """The rest of an ABI is one count, and its exceptions are told in full."""
    page = render(samples.failing())
    others = page[page.index('id="others"') : page.index('id="evidence"')]
    assert others.count("329 of 330") == 3
    assert others.count("330 of 330") == 6
    for place in ("call17 (17) on x86_64", "call17 (0x40000011) on x32", "call17 (117) on i386"):
        assert f"{place}: expected ALLOW" in page
    assert "call16 (16)" not in page


def test_number_ranges() -> None:
    """Neighbours become a range, x32's numbers stay recognizable."""
    cells = [
        replace(cell, key=replace(cell.key, number=number))
        for cell, number in zip(
            samples.documented(), [5, 1, 2, 3, 0x40000000, 0x40000001, None], strict=False
        )
    ]
    assert number_ranges(cells) == f"1-3, 5, 0x40000000-0x40000001, {cells[-1].key.syscall}"


def test_every_claim_is_explained() -> None:
    """A claim without a meaning would end the report."""
    assert set(MEANINGS) == set(Claim)


def test_rendering_needs_nothing_but_the_record() -> None:
    """A page rendered from the file is the page that the run wrote."""
    run = samples.unprivileged()
    again = results.from_json(json.loads(results.to_json(run)))
    assert render(again) == render(run)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio as WCAG 2.2 defines it."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


PALETTES = [
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
]


def test_contrast_formula() -> None:
    """The formula gives what WCAG says about black and white."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark", "print"])
def test_contrast_is_enough(palette: dict[str, str]) -> None:
    """Every text reaches the 4.5 to 1 of WCAG AA on every ground that it stands on."""
    grounds = {"page", "surface"}
    pairs = {(text, ground) for text in ("text", "muted", "link") for ground in grounds}
    for outcome in Outcome:
        name = outcome.value.replace("_", "-")
        pairs |= {(name, f"{name}-back"), ("text", f"{name}-back")}
    for text, ground in sorted(pairs):
        assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
