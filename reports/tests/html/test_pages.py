"""The pages in a real browser: readable, whole, for everybody, and safe whatever they are given.

To look at one oneself: ``python -m reports.benchmarks.browser PAGE FOLDER``.
"""

import dataclasses
import json
import re
import subprocess
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from probes.cell import Outcome
from probes.tests.support import oracles
from reports import results
from reports.benchmarks.browser import BrowserPage
from reports.causes.mending import mend_cell
from reports.html.compliance import render
from reports.pages import fleet_page
from reports.results import Run
from reports.results.fleet import Gathering
from reports.summary import documented
from reports.tests.support import job, samples
from reports.tests.support.pages import accuse

WIDTHS = (360, 1400)
SCHEMES = ("light", "dark")
KINDS = ("compared", "empty", "expired", "lost", "merged", "surveyed", "unprivileged", "waived")
"""The samples that have, together, everything that a page can have."""
FEW = 5
"""How many documented calls a page has that is looked at with everything unfolded."""

UNFOLD = "for (const fold of document.querySelectorAll('details')) fold.open = true"
SCRIPTS = "script, img, foreignObject, iframe, object, embed, form, link, base, video, audio"


def few(run: Run) -> Run:
    """The run, with so few documented calls that a browser can judge everything unfolded."""
    failed = {cell.key.syscall for cell in run.cells if cell.outcome is Outcome.FAILED}
    kept = sorted(run.policy.calls, key=lambda call: call.name not in failed)[:FEW]
    names = {call.name for call in kept}
    left = {call.name for call in run.policy.calls} - names
    return replace(
        run,
        policy=replace(run.policy, calls=tuple(kept)),
        cells=tuple(cell for cell in run.cells if cell.key.syscall not in left),
    )


def written(run: Run, folder: Path) -> Path:
    """The page of a run as a file."""
    path = folder / "compliance.html"
    path.write_text(render(run), encoding="utf-8")
    return path


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", KINDS)
def test_axe_finds_nothing(name: str, scheme: str, page: BrowserPage, tmp_path: Path) -> None:
    """No violation on any kind of page, everything unfolded, in both colour schemes."""
    page.look(scheme=scheme)
    page.open(written(few(samples.all_kinds()[name]), tmp_path))
    page.evaluate(UNFOLD)
    assert accuse(page) == []


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_the_page_of_a_fleet(
    width: int, page: BrowserPage, tmp_path: Path
) -> None:
    """With machines that differ and one that is missing; nothing sticks out."""
    fleet = Gathering()
    for name in ("passing", "failing", "unprivileged", "merged"):
        run = few(samples.all_kinds()[name])
        fleet.take_record(run, results.record_digest(run))
    path = tmp_path / "fleet.html"
    path.write_text(fleet_page.render(fleet.fleet(), ["node-7"]), encoding="utf-8")
    page.look(width=width)
    page.open(path)
    assert accuse(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_a_whole_page(width: int, page: BrowserPage, tmp_path: Path) -> None:
    """With 60 calls by 9 claims by 3 ABIs, as a reader opens it."""
    page.look(width=width)
    page.open(written(samples.proved(), tmp_path))
    assert accuse(page) == []


@pytest.mark.usefixtures("axe")
def test_axe_would_find_something(page: BrowserPage, tmp_path: Path) -> None:
    """The oracle sees a page on which the colours are too much alike."""
    path = written(few(samples.failing()), tmp_path)
    text = path.read_text(encoding="utf-8")
    # The policy of the page allows but its own style.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    path.write_text(text.replace("--muted: #565e67", "--muted: #aaaaaa"), encoding="utf-8")
    page.look()
    page.open(path)
    assert any(line.startswith("color-contrast") for line in accuse(page))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KINDS)
def test_nothing_sticks_out(name: str, width: int, page: BrowserPage, tmp_path: Path) -> None:
    """The page never scrolls sideways, folded or unfolded; tables that must do so in a box."""
    page.look(width=width)
    page.open(written(samples.all_kinds()[name], tmp_path))
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # What is cut off without a way to scroll there.
    cut = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(one => {
            if (one.closest('.scroll, .hidden, .skip, thead')) return false;
            const box = one.getBoundingClientRect();
            return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
        }).map(one => one.outerHTML.slice(0, 120))"""
    )
    assert cut == []


def test_large_matrix_is_readable(page: BrowserPage, tmp_path: Path) -> None:
    """60 calls by 9 claims by 3 ABIs side by side, no sign smaller than 24 pixels."""
    page.look(width=1400)
    page.open(written(samples.proved(), tmp_path))
    shape = page.evaluate(
        """(() => {
            const box = document.querySelector('#calls .scroll');
            const signs = [...box.querySelectorAll('td a')].map(a => a.getBoundingClientRect());
            const words = [...box.querySelectorAll('td a, tbody th a, thead span')];
            return {
                fits: box.scrollWidth <= box.clientWidth,
                signs: signs.length,
                narrowest: Math.min(...signs.map(sign => sign.width)),
                lowest: Math.min(...signs.map(sign => sign.height)),
                smallest: Math.min(...words.map(one => parseFloat(getComputedStyle(one).fontSize))),
            };
        })()"""
    )
    assert shape["signs"] == 60 * 6 * 3 + 3 * 60 * 3 + 3 * 60 - 3 * 10
    assert shape["fits"]
    assert shape["narrowest"] >= 24
    assert shape["lowest"] >= 24
    assert shape["smallest"] >= 12


def test_matrix_keeps_its_head_and_its_names(page: BrowserPage, tmp_path: Path) -> None:
    """However far a reader scrolls, the call's name and the column's claim stay in sight."""
    page.look(width=360, height=800)
    page.open(written(samples.proved(), tmp_path))
    seen = page.evaluate(
        """(() => {
            const box = document.querySelector('#calls .scroll');
            box.scrollIntoView();
            box.scrollLeft = box.scrollWidth;
            box.scrollTop = 900;
            const frame = box.getBoundingClientRect();
            const head = box.querySelector('thead').getBoundingClientRect();
            const name = [...box.querySelectorAll('tbody th[scope=row]')]
                .map(one => one.getBoundingClientRect()).find(one => one.top > head.bottom);
            return {
                scrolled: box.scrollLeft > 200 && box.scrollTop > 500,
                head: Math.abs(head.top - frame.top) < 2,
                name: Math.abs(name.left - frame.left) < 2,
                share: name.width / frame.width,
            };
        })()"""
    )
    assert seen["scrolled"]
    assert seen["head"]
    assert seen["name"]
    assert seen["share"] < 0.6


@pytest.mark.parametrize("allowed", [True, False], ids=["scripts", "no scripts"])
def test_sign_leads_to_its_evidence(page: BrowserPage, tmp_path: Path, *, allowed: bool) -> None:
    """A click on a sign unfolds the evidence and shows it, also where no script may run."""
    page.look()
    page.scripts(allowed=allowed)
    page.open(written(samples.failing(), tmp_path))
    spot = page.evaluate(
        """(() => {
            const sign = document.querySelector('#calls td.o-failed a');
            sign.scrollIntoView({block: 'center'});
            const box = sign.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2, sign.hash];
        })()"""
    )
    x, y, target = spot
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    page.until("location.hash !== ''")
    shown = page.evaluate(
        """(() => {
            const entry = document.querySelector(location.hash);
            const box = entry.getBoundingClientRect();
            return {hash: location.hash, open: entry.closest('details').open,
                    inside: box.top >= 0 && box.top < innerHeight, text: entry.innerText};
        })()"""
    )
    assert (shown["hash"], shown["open"], shown["inside"]) == (target, True, True)
    assert "failed" in shown["text"]


def test_box_shows_only_what_did_not_pass(page: BrowserPage, tmp_path: Path) -> None:
    """By style alone; the families and calls that passed are folded away."""
    page.look()
    page.scripts(allowed=False)
    page.open(written(samples.failing(), tmp_path))
    rows = (
        "[...document.querySelectorAll('#calls tbody th[scope=row]')]"
        ".filter(one => one.checkVisibility()).map(one => one.innerText)"
    )
    assert len(page.evaluate(rows)) == 60
    page.evaluate("document.querySelector('#notable').click()")
    assert page.evaluate(rows) == ["bpf", "acct"]


def test_page_is_used_by_keyboard(page: BrowserPage, tmp_path: Path) -> None:
    """The first stop skips to the verdict; a table can be skipped, and scrolled with arrows."""
    page.look(width=360, height=800)
    page.open(written(samples.passing(), tmp_path))
    _press(page, "Tab", 9)
    first = page.evaluate(
        "[document.activeElement.className, document.activeElement.getBoundingClientRect().left]"
    )
    assert first[0] == "skip"
    assert first[1] >= 0
    _press(page, "Enter", 13)
    assert page.evaluate("location.hash") == "#verdict"
    page.evaluate("document.querySelector('#calls .scroll').focus()")
    _press(page, "ArrowRight", 39)
    page.until("document.querySelector('#calls .scroll').scrollLeft > 0")
    outline = page.evaluate(
        "getComputedStyle(document.querySelector('#calls .scroll')).outlineStyle"
    )
    assert outline == "solid"


def _press(page: BrowserPage, key: str, code: int) -> None:
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        page.send(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **(text if kind == "keyDown" else {}),
        )


def test_print_holds_everything_that_matters(page: BrowserPage, tmp_path: Path) -> None:
    """On paper nothing is folded: every failure with its advice, and the evidence of every cell."""
    run = samples.failing()
    page.look(scheme="dark")
    page.open(written(run, tmp_path))
    pdf = tmp_path / "page.pdf"
    pdf.write_bytes(page.pdf())
    tool = oracles.require("pdftotext", "poppler-utils")
    text = subprocess.run([tool, "-raw", pdf, "-"], check=True, stdout=subprocess.PIPE).stdout
    told = "".join(text.decode().split())
    assert "FAIL" in told
    for cell in documented(run):
        if cell.outcome is Outcome.FAILED:
            assert "".join(cell.observed.split()) in told
    failed = next(cell for cell in run.cells if cell.outcome is Outcome.FAILED)
    assert "".join(mend_cell(failed).split()) in told
    assert "pytest--profile=kill-k'test_terminates[x86_64-acct]'" in told
    record = next(
        piece.text for cell in documented(run) for piece in cell.evidence if "audit(" in piece.text
    )
    assert "".join(record.split()) in told
    info = subprocess.run(
        [oracles.require("pdfinfo", "poppler-utils"), pdf], check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    assert "A4" in info


HIT = "<img src=x onerror=\"document.title='hit';window.hit=1;alert(1)\">"
HOSTILE = (
    HIT,
    f"\"'></td></style></title></script><script>{HIT}window.hit=1</script>",
    "<svg onload=window.hit=1>\u202eabc\u2066\u200f\x00\x1b[31m\udfff\ud800\U000e0041",
    "javascript:window.hit=1//" + "\u0300" * 50 + "W" * 3000,
    "&lt;img src=x onerror=window.hit=1&gt; {{7*7}} ${7*7} ]]> <!-- --!>",
)
_VALIDATED = {"capabilities", "sha256"}


def poisoned(value: Any, poison: str) -> Any:  # noqa: ANN401 - any part of a record
    """A record in which every text from outside has something nasty in it."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return f"{value}{poison}"
    if isinstance(value, tuple):
        return tuple(poisoned(item, poison) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: poisoned(getattr(value, field.name), poison)
            for field in dataclasses.fields(value)
            if field.name not in _VALIDATED
        }
        return replace(value, **changes)
    return value


def hostile_run(poison: str) -> Run:
    """A run with everything that a record can have, every text poisoned."""
    whole = few(samples.compared())
    waived = samples.waived()
    unprivileged = samples.unprivileged()
    lost = [cell for cell in few(unprivileged).cells if cell.outcome is Outcome.CANNOT_TELL]
    keys = {cell.key for cell in lost}
    mixed = (*(cell for cell in whole.cells if cell.key not in keys), *lost)
    run = replace(whole, cells=mixed, waivers=waived.waivers, planned=len(mixed))
    made: Run = poisoned(run, poison)
    return made


@pytest.mark.parametrize("poison", HOSTILE, ids=["img", "script", "controls", "long", "entities"])
def test_hostile_texts_do_nothing(poison: str, page: BrowserPage, tmp_path: Path) -> None:
    """No script runs, no element comes of a text, nothing is fetched, nothing breaks out."""
    run = hostile_run(poison)
    read_back = results.from_json(json.loads(results.to_json(run)))
    assert render(read_back) == render(run)
    path = written(run, tmp_path)
    for width in WIDTHS:
        page.look(width=width)
        page.open(path)
        page.evaluate(UNFOLD)
        page.frames()
        assert page.evaluate("typeof window.hit") == "undefined"
        assert page.evaluate(f"document.querySelectorAll('{SCRIPTS}').length") == 0
        # The shapes of the bars have titles of their own.
        strange = "body style, body title:not(svg.bar > rect > title)"
        assert page.evaluate(f"document.querySelectorAll('{strange}').length") == 0
        assert page.evaluate("document.querySelectorAll('svg:not(.bar)').length") == 0
        attributes = page.evaluate(
            "[...new Set([...document.querySelectorAll('*')].flatMap(one =>"
            " one.getAttributeNames()))].filter(name => name.startsWith('on') || name == 'style'"
            " || name == 'src')"
        )
        assert attributes == []
        links = page.evaluate("[...document.links].map(link => link.protocol)")
        assert set(links) <= {"file:", "https:"}
        assert page.told("Page.javascriptDialogOpening") == []
        assert page.told("Log.entryAdded") == []
        fetched = [one["request"]["url"] for one in page.told("Network.requestWillBeSent")]
        assert fetched == [path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        text = page.evaluate("document.body.textContent")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\\x00\\x1b\\ufffd]", text)


def test_pytests_page_has_verdict_and_matrix_and_obeys_nothing(
    page: BrowserPage, tmp_path: Path
) -> None:
    """Above its rows; each sign links to evidence that the other page has; texts stay texts."""
    policy = tmp_path / "policy.toml"
    text = samples.POLICY_FILE.read_text(encoding="utf-8")
    for key in ("title", "description", "why"):
        text = re.sub(rf'(?m)^{key} = "', f'{key} = "{HIT.replace(chr(34), chr(39))} ', text)
    policy.write_text(text, encoding="utf-8")
    folder = tmp_path / "the reports"
    options = ("-p", "no:xdist", "--arch=x86_64", "-k", "acct or controls", f"--policy={policy}")
    ended = job.run(folder, *options)
    assert ended.status in {0, 6}, ended.output
    page.look()
    page.open(folder / "pytest.html")
    page.until("document.querySelectorAll('#results-table tbody').length > 0")
    assert page.evaluate("document.title") != "hit"
    assert page.evaluate("typeof window.hit") == "undefined"
    # Its own template has images, without a source.
    assert page.evaluate("document.querySelectorAll('img[src=x], [onerror], svg').length") == 0
    order = page.evaluate(
        """(() => {
            const place = one => document.querySelector(one).getBoundingClientRect().top;
            return [place('.verdict'), place('.calls'), place('#results-table')];
        })()"""
    )
    assert order == sorted(order)
    links = page.evaluate("[...document.querySelectorAll('.calls td a')].map(a => a.href)")
    assert len(links) == len([c for c in ended.cells if c["syscall"] == "acct"])
    rows = page.evaluate("document.querySelectorAll('#results-table .col-testId').length")
    assert rows == len(ended.test_cases)
    told = page.evaluate("document.querySelector('#results-table').textContent")
    assert "acct (163) on x86_64" in told
    address, _, anchor = links[0].partition("#")
    page.open(Path(unquote(urlsplit(address).path)))
    told = page.evaluate(f"document.getElementById('{anchor}').textContent")
    assert "KILL terminates x86_64 163" in told
    assert "compliance.html" in page.evaluate("location.href")


def test_title_says_the_verdict(page: BrowserPage, tmp_path: Path) -> None:
    page.open(written(samples.passing(), tmp_path))
    assert page.evaluate("document.title") == "PASS: Container restrictions"
