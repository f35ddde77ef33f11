"""The documents besides records that have a page, and what makes each. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from probes.errors import ExitStatus
from reports.pages import comparison_page, fleet_page, observation_page
from reports.results import comparison, fleet, observed


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """A document's page and its exit status.

    Attributes:
        page: the page as text.
        status: the exit status of the command that wrote the document.
    """

    page: str
    status: ExitStatus


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """A kind of document that has a page.

    Attributes:
        name: what a sentence calls it.
        file: the name under which its page is written.
        command: the command that writes such documents.
        recognizes: whether a JSON document says that it is one.
        render: makes the page, or refuses a document that is damaged.
    """

    name: str
    file: str
    command: str
    recognizes: Callable[[object], bool]
    render: Callable[[object], DocumentPage]


def _of_fleet(document: object) -> DocumentPage:
    found = fleet.from_json(document)
    return DocumentPage(fleet_page.render(found), found.status)


def _of_comparison(document: object) -> DocumentPage:
    found = comparison.from_json(document)
    return DocumentPage(comparison_page.render(found), found.exit_status)


def _of_observation(document: object) -> DocumentPage:
    found = observed.from_json(document)
    return DocumentPage(observation_page.render(found), found.exit_status)


KINDS: Final[Mapping[str, DocumentKind]] = {
    one.name: one
    for one in (
        DocumentKind("fleet", "fleet.html", "merge", fleet.is_fleet, _of_fleet),
        DocumentKind(
            *("comparison", "comparison.html", "compare"),
            comparison.is_comparison,
            _of_comparison,
        ),
        DocumentKind(
            *("observation", "observation.html", "observe"),
            observed.is_observation,
            _of_observation,
        ),
    )
}
"""The kinds by name."""


def kind_of(document: object) -> DocumentKind | None:
    """The kind of a document; None for anything else, such as a record."""
    return next((one for one in KINDS.values() if one.recognizes(document)), None)
