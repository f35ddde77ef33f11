"""The formats that a record can be rendered in. To add one, add a line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reports.formats import (
    annotations,
    codequality,
    hdf,
    intoto,
    junit,
    markdown,
    oscal,
    sarif,
    table,
)
from reports.html import compliance
from reports.results import Run


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """A format of reports.

    Attributes:
        name: its word on the command line.
        file: the file that holds it.
        words: what reads it, in a few words.
        render: makes it; the same run gives the same text.
    """

    name: str
    file: str
    words: str
    render: Callable[[Run], str]


# Not junit.xml, which is pytest's own and beside the record: it knows tests, their times and
# what went wrong around them, and cannot be made again.
_EVERY: Final = (
    ReportFormat("html", "compliance.html", "the page for auditors", compliance.render),
    ReportFormat("markdown", "summary.md", "step summaries, merge requests", markdown.render),
    ReportFormat("junit", "results.junit.xml", "Jenkins, GitLab, test reporters", junit.render),
    ReportFormat("sarif", "results.sarif", "GitHub code scanning (SARIF 2.1.0)", sarif.render),
    ReportFormat(
        "codequality", "results.codequality.json", "GitLab Code Quality", codequality.render
    ),
    ReportFormat(
        "github", "results.github.txt", "annotations of GitHub Actions", annotations.render
    ),
    ReportFormat("intoto", "results.intoto.json", "an in-toto Statement v1 to sign", intoto.render),
    ReportFormat("oscal", "results.oscal.json", "OSCAL 1.1.3 assessment results", oscal.render),
    ReportFormat("hdf", "results.hdf.json", "MITRE Heimdall (InSpec exec JSON)", hdf.render),
    ReportFormat("csv", "results.csv", "spreadsheets (RFC 4180)", table.render),
)

FORMATS: Final = {one.name: one for one in _EVERY}
"""Every format by its name, in the order of the help."""
