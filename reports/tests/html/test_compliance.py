"""The compliance page: well-formed, complete, deterministic, and safe to open."""

import hashlib
import html
import json
import re
from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import given, settings

from probes.cell import Claim, Evidence, EvidenceKind, Outcome
from probes.judging.claims import ROWS
from probes.judging.kinds import Kind
from probes.text import spelled, visible
from reports import results
from reports.causes.looks import LOOKS
from reports.controls import load as load_controls
from reports.html.compliance import render
from reports.html.evidence import number_ranges
from reports.html.view import view
from reports.tests.support import samples
from reports.tests.support.pages import checked
from reports.tests.support.strategies import RUNS

STYLE = resources.files("reports.html").joinpath("style.css").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", samples.all_kinds())
def test_sample_is_well_formed_and_complete(name: str) -> None:
    """Every sample renders; its verdict and all its trouble are in it."""
    run = samples.all_kinds()[name]
    page = render(run)
    checker = checked(page)
    ruling = results.summarize(run).ruling
    assert f"{ruling.verdict}: {run.policy.title}" in checker.text
    assert ruling.sentence in checker.text
    trouble = {Outcome.FAILED, Outcome.BROKEN, Outcome.CANNOT_TELL}
    for cell in run.cells:
        if cell.outcome in trouble:
            # Of several alike the reason stands once, with a capital.
            assert html.escape(cell.why[1:]) in page
    assert len(page.encode()) < 2_000_000


@pytest.mark.slow
def test_what_proofs_cover_has_rows() -> None:
    """Besides the calls: every other call, number and architecture."""
    text = checked(render(samples.proved())).text
    for scope in ("every other call", "every unknown number", "every other architecture"):
        assert f"is proved: {scope}" in text


@pytest.mark.slow
@given(RUNS)
@settings(deadline=None)
def test_any_run_renders_safely(run: results.Run) -> None:
    """No text from outside becomes markup, an id that is taken, or a character that acts."""
    page = render(run)
    checker = checked(page)
    assert checker.tags["style"] == 1
    assert all(
        address.startswith(("https://www.cve.org/", "https://attack.mitre.org/"))
        for address in checker.addresses
    )
    assert page.replace("\n", "").isprintable()
    for cell in run.cells:
        if cell.outcome is Outcome.FAILED:
            assert visible(cell.why[1:]) in checker.text


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
        target=results.TargetInfo(nasty, nasty),
        policy=replace(run.policy, title=nasty, name=nasty),
        environments=(replace(run.environment, kernel=nasty, arches=(nasty,)),),
    )
    page = render(run)
    checked(page)
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;\\u202e" in page


@pytest.mark.slow
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


def part(page: str, name: str, until: str) -> str:
    """The page from one section to another."""
    return page[page.index(f'id="{name}"') : page.index(f'id="{until}"')]


def entries(page: str) -> dict[str, str]:
    """What the page tells under each anchor of its evidence."""
    return dict(re.findall(r'<li class="cell" id="(e[0-9]+)">(.*?)</div></li>', page))


@pytest.mark.slow
def test_matrix_has_a_sign_for_every_cell() -> None:
    """60 calls by 6 claims by 3 ABIs, each linked to an entry that tells of just that cell."""
    run = samples.failing()
    page = render(run)
    told = entries(page)
    sign = r'<td class="o-([a-z-]+)[^"]*"><a href="#(e[0-9]+)" aria-label="([a-z ]+)">(.)</a></td>'
    columns = [
        (profile, claim, arch)
        for profile, claims in samples._CLAIMS.items()
        for claim in claims
        for arch in samples.ARCHES
    ]
    planned = {cell.key: cell for cell in run.cells}
    seen = 0
    for row in re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", part(page, "calls", "others")):
        name = re.search(r"<a href=\"#c[0-9]+\">([a-z0-9_]+)</a>", row)
        assert name is not None
        signs = re.findall(sign, row)
        assert len(signs) == len(columns)
        for (style, anchor, word, _), (profile, claim, arch) in zip(signs, columns, strict=True):
            (cell,) = (
                cell
                for key, cell in planned.items()
                if (key.syscall, key.profile, key.claim, key.arch)
                == (name[1], profile, claim, arch)
            )
            assert word == cell.outcome.value.replace("_", " ")
            assert style == word.replace(" ", "-")
            assert f"{profile.upper()} {claim}" in told[anchor]
            assert word in told[anchor]
            number = cell.key.number
            assert (arch if number is None else f"{arch} <code>") in told[anchor]
            assert number is None or f"<code>{spelled(number)}</code>" in told[anchor]
            seen += 1
    assert seen == 60 * 6 * 3


def test_every_piece_of_evidence_is_told() -> None:
    """Of each cell of a documented call; cells are told together only where all is the same."""
    run = samples.failing()
    told = entries(render(run))
    shown = view(run)
    for cell in shown.documented:
        entry = told[shown.anchor(cell)]
        for piece in cell.evidence:
            assert html.escape(piece.text) in entry
            assert f"<b>{piece.kind}</b> {piece.source}" in entry


@pytest.mark.slow
def test_merged_record_says_on_which_kernel() -> None:
    """A sign counts the kernels that differ, and every entry says on which ones it was seen."""
    run = samples.merged()
    page = render(run)
    matrix = part(page, "calls", "others")
    assert matrix.count('aria-label="failed 1/3"') == 12
    assert "✗<small> 1/3</small>" in matrix
    shown = view(run)
    told = entries(page)
    failed = next(cell for cell in shown.documented if cell.outcome is Outcome.FAILED)
    assert 'href="#k3">kernel 3</a> (5.10.0-35-amd64 #1)' in told[shown.anchor(failed)]
    good = next(
        cell
        for cell in shown.documented
        if cell.key == failed.key and cell.outcome is Outcome.PASSED
    )
    assert ">kernels 1-2</a>" in told[shown.anchor(good)]
    assert page.count("on every kernel") > 100
    assert "node-b" in part(page, "environment", "calls")
    others = part(page, "evidence", "undecided")
    assert "call16" not in others
    assert re.search(r"17</code> on <a href=\"#environment\">kernels 1-2</a>", others)


def test_failure_says_how_to_mend_and_to_reproduce() -> None:
    """Expected, observed, cause, why it matters, CVE and ATT&CK, what to do, and one line."""
    failures = part(render(samples.failing()), "failures", "gaps")
    for words in (
        "Why it matters. </strong>",
        "https://www.cve.org/CVERecord?id=CVE-2021-3490",
        "https://attack.mitre.org/techniques/T1068/",
        "<dt>Expected</dt><dd>KILL_PROCESS</dd>",
        "<dt>Cause</dt><dd>filter</dd>",
        "How to mend. </strong>Have the filter answer KILL_PROCESS",
        html.escape("pytest --profile=kill -k 'test_terminates[x86_64-bpf]'"),
    ):
        assert words in failures


@pytest.mark.slow
def test_changes_and_gaps_and_identity() -> None:
    """What got worse is told first; a call that is open anywhere counts as open."""
    page = render(samples.compared())
    changes = part(page, "changes", "calls")
    assert changes.index("Worse (15)") < changes.index("Better (1)") < changes.index("Gone (1)")
    assert "15 cells worse than in the earlier record" in page
    gaps = part(page, "gaps", "controls")
    assert "Gaps of the document (1 open)" in gaps
    opened = gaps[gaps.index("Open (1)") : gaps.index("Unknown (1)")]
    assert "fsopen" in opened
    assert "mounts and namespaces" in opened
    assert opened.index("open</span>") < opened.index("closed</span>")
    assert "/proc/PID/mem" in gaps
    nothing = part(render(samples.passing()), "gaps", "controls")
    assert "No call beside the document was looked at." in nothing
    assert "open)" not in nothing
    identity = part(page, "identity", "environment")
    for words in ("sha256:cccc", "sha256:aaaa", "KILL; 31 instructions", "runc 1.1.5", "fooctl"):
        assert words in identity
    assert "root, logged in as ada, GitLab CI/CD for ada (https://ci.example/7)" in identity


@pytest.mark.slow
def test_waivers_are_told_with_the_days_left() -> None:
    """One that made the run fail stands first and says why."""
    waived = part(render(samples.waived()), "waivers", "controls")
    assert "59 (until 2026-03-31)" in waived
    assert "storage team; approved by security board" in waived
    assert "out of scope" in waived
    expired = part(render(samples.expired()), "waivers", "controls")
    assert "✗</span> expired" in expired
    assert "<strong>-3</strong>" in expired


def test_controls_are_told_with_what_is_not_shown() -> None:
    """Every control of the mapping has a row."""
    page = part(render(samples.passing()), "controls", "evidence")
    for one in load_controls():
        assert f"<strong>{html.escape(one.id)}</strong>" in page
        assert html.escape(one.not_shown) in page
    assert "supported</span>" in page


def test_sections_stand_in_the_order_of_reading() -> None:
    page = render(samples.compared())
    order = (
        "verdict picture identity environment changes calls others failures gaps controls evidence"
        " undecided method glossary digests"
    )
    found = re.findall(r'<section id="([a-z]+)"', page)
    assert found == order.split()


def test_nothing_empty_is_shown() -> None:
    """No section without content, no link to one, and no figure of nothing."""
    page = render(samples.passing())
    for name in ("changes", "failures", "waivers", "accepted"):
        assert f'id="{name}"' not in page
        assert f'href="#{name}"' not in page
    assert "<dt>Failed</dt><dd>0</dd>" not in page
    assert "<dt>Failed</dt><dd>15</dd>" in render(samples.failing())


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
    assert list(ROWS) == list(Claim)
    assert all(row.meaning.endswith(".") for row in ROWS.values())


@pytest.mark.slow
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


def test_every_cause_stands_once_above_the_cells() -> None:
    """With the kind's sign, word and colour, all its calls, and what mends it."""
    failures = part(render(samples.failing()), "failures", "gaps")
    causes, _, cells = failures.partition("Cell by cell")
    assert cells
    assert causes.count("KILL 2 calls<") == 1
    assert "acct, bpf (x86_64, x32)" in causes
    assert causes.count(f'class="badge {LOOKS[Kind.GETS_THROUGH].style}"') >= 1
    assert "Take them out of the rules that allow them" in causes
    assert "Cell by cell" not in render(samples.passing())


def test_every_kind_has_a_style() -> None:
    styles = [one.style for one in LOOKS.values()]
    assert len({one.sign for one in LOOKS.values()}) == len(LOOKS) == len(set(styles)) == len(Kind)
    assert all(f".{style} {{" in STYLE for style in styles)
