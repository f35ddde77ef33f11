"""The compliance page: one static, self-contained file for people who decide and who audit.

It is complete without its script and fetches nothing. The same run always gives the same bytes.
"""

from reports.html.accepted_section import accepted
from reports.html.changes_section import changes
from reports.html.controls_section import controls
from reports.html.document import document, file
from reports.html.evidence import evidence
from reports.html.front import banner, contents, digests, environment, identity
from reports.html.gaps_section import gaps
from reports.html.markup import Markup, around, element, text
from reports.html.matrices import calls_matrix, others_matrix
from reports.html.picture import picture
from reports.html.survey_section import survey
from reports.html.trouble import failures, undecided
from reports.html.view import View, section, view
from reports.html.waivers_section import waivers
from reports.results import Run

_TITLES = {
    "picture": "At a glance",
    "survey": "Containers and services",
    "identity": "What was tested",
    "environment": "Where",
    "changes": "Changes",
    "calls": "Documented calls",
    "others": "Other claims",
    "failures": "Failures",
    "gaps": "Gaps",
    "accepted": "Accepted of runtimes",
    "waivers": "Waivers",
    "controls": "Controls",
    "evidence": "Evidence",
    "undecided": "Not assessed",
    "method": "Method and limits",
    "glossary": "Glossary",
    "digests": "Digests",
}
"""The sections in the order of reading, as the contents name them."""


def render(run: Run) -> str:
    """The whole page as text; write it as UTF-8.

    Args:
        run: the run that the page is about.
    """
    shown = view(run)
    sections = _sections(shown)
    told = tuple((name, title) for name, title in _TITLES.items() if sections[name])
    pair = element("div", sections.pop("identity"), sections.pop("environment"), class_="pair")
    glance, machine = sections.pop("picture"), sections.pop("survey")
    return document(
        f"{shown.summary.ruling.verdict}: {run.policy.title}",
        str(run.suite),
        element("a", text("Skip to the verdict"), href="#verdict", class_="skip"),
        element(
            "header",
            element("p", text("System call restrictions: compliance report"), class_="kicker"),
            element("h1", text(run.policy.title)),
        ),
        *around(
            "main",
            banner(shown),
            glance,
            contents(told),
            machine,
            pair,
            *sections.values(),
        ),
        element("footer", text(f"Rendered by {run.suite.name} from results.json.")),
    )


def _sections(shown: View) -> dict[str, Markup]:
    """Every section by its name, in the order of reading; nothing for one with nothing to say."""
    return {
        "picture": picture(shown),
        "survey": survey(shown),
        "identity": identity(shown),
        "environment": environment(shown),
        "changes": changes(shown),
        "calls": calls_matrix(shown),
        "others": others_matrix(shown),
        "failures": failures(shown),
        "gaps": gaps(shown),
        "accepted": accepted(shown),
        "waivers": waivers(shown),
        "controls": controls(shown),
        "evidence": evidence(shown),
        "undecided": undecided(shown),
        "method": section("method", "Method and limits", file("method.html")),
        "glossary": section("glossary", "Glossary", file("glossary.html")),
        "digests": digests(shown),
    }
