"""JUnit XML, as Jenkins, GitLab and the test reporters of GitHub read it.

It keeps to the XSD of Jenkins' xUnit plug-in (junit-10), which knows properties of suites but not
of test cases: what the run is stands in the properties, the evidence of a cell in its output,
where Jenkins and GitLab show it. What could not be told is skipped, as pytest has it; one test
case more, about the whole run, keeps that from looking like success.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from probes.cell import Cell, Outcome
from probes.documents.waivers import FAULTS, JudgedWaiver
from probes.text import visible
from reports import results
from reports.causes.headline import headlines
from reports.formats.shared import Check, cell_name, checks, evidence_texts, facts
from reports.results import Run, Verdict

_TROUBLE = {
    Outcome.FAILED: "failure",
    Outcome.BROKEN: "error",
    Outcome.CANNOT_TELL: "skipped",
    Outcome.NOT_APPLICABLE: "skipped",
    Outcome.WAIVED: "skipped",
    Outcome.ACCEPTED: "skipped",
}


def render(run: Run) -> str:
    """The run as JUnit XML."""
    root = ET.Element("testsuites", name=visible(run.suite.name))
    waivers = [_waivers(run.waivers)] if run.waivers else []
    suites = [_whole(run), *waivers, *map(_suite, checks(run))]
    for number, suite in enumerate(suites):
        suite.set("id", str(number))
        suite.set("timestamp", f"{run.started:%Y-%m-%dT%H:%M:%S}")
        root.append(suite)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    ET.indent(root, " ")
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _whole(run: Run) -> ET.Element:
    """The verdict on the run, which is more than that no cell failed, and what the run is."""
    ruling = results.summarize(run).ruling
    tag = {Verdict.PASS: "", Verdict.FAIL: "failure"}.get(ruling.verdict, "error")
    suite = _element("testsuite", name="run", tests="1")
    suite.set("failures", str(int(tag == "failure")))
    suite.set("errors", str(int(tag == "error")))
    suite.set("skipped", "0")
    properties = ET.SubElement(suite, "properties")
    for name, value in facts(run).items():
        properties.append(_element("property", name=name, value=value))
    # The record knows how long the run took, not each cell; readers sum up what they find.
    seconds = f"{max(0, (run.finished - run.started).total_seconds()):.0f}"
    suite.set("time", seconds)
    case = _element("testcase", classname="run", name="verdict", time=seconds)
    if tag:
        told = [one.line for one in headlines(run)]
        message = f"{'; '.join(told)}. {ruling.sentence}"
        text = "\n".join((*told, ruling.sentence))
        case.append(_element(tag, text, type=ruling.verdict, message=message))
    suite.append(case)
    return suite


def _waivers(every: Sequence[JudgedWaiver]) -> ET.Element:
    """The waivers, of which those fail that make the run fail."""
    faults = sum(one.state in FAULTS for one in every)
    suite = _element("testsuite", name="waivers", tests=str(len(every)), errors="0", skipped="0")
    suite.set("failures", str(faults))
    for rank, one in enumerate(every, 1):
        case = _element("testcase", classname="waivers", name=f"{rank}: {one.waiver}", time="0")
        if one.state in FAULTS:
            case.append(_element("failure", one.sentence, type=one.state, message=one.sentence))
        case.append(_element("system-out", one.sentence))
        suite.append(case)
    return suite


def _suite(check: Check) -> ET.Element:
    counts = results.count_outcomes(check.cells)
    skipped = sum(counts[outcome] for outcome, tag in _TROUBLE.items() if tag == "skipped")
    suite = _element(
        "testsuite",
        name=check.title,
        tests=str(len(check.cells)),
        failures=str(counts[Outcome.FAILED]),
        errors=str(counts[Outcome.BROKEN]),
        skipped=str(skipped),
    )
    suite.extend(_case(check, cell) for cell in check.cells)
    return suite


def _case(check: Check, cell: Cell) -> ET.Element:
    # Jenkins takes the last point of a class for the end of its package.
    classname = check.name.replace(".", "_").replace("/", ".")
    case = _element("testcase", classname=classname, name=cell_name(cell), time="0")
    if cell.outcome in _TROUBLE:
        detail = f"expected: {cell.expected}\nobserved: {cell.observed}"
        case.append(
            _element(
                _TROUBLE[cell.outcome],
                detail,
                type=f"{cell.outcome}{f': {cell.cause}' if cell.cause else ''}",
                message=cell.sentence,
            )
        )
    lines = [cell.sentence, *evidence_texts(cell)]
    case.append(_element("system-out", "\n".join(map(visible, lines))))
    return case


def _element(tag: str, text: str = "", **attributes: str) -> ET.Element:
    """An element; ElementTree escapes, but passes characters that XML has no form for."""
    shown = {name: visible(value) for name, value in attributes.items()}
    element = ET.Element(tag, shown)
    if text:
        element.text = "\n".join(map(visible, text.split("\n")))
    return element
