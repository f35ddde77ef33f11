"""The compliance page: one static, self-contained file for people who decide and who audit.

It needs no script and fetches nothing. The same run always gives the same bytes.
"""

from reports.html.accepted_section import accepted
from reports.html.changes_section import changes
from reports.html.controls_section import controls
from reports.html.document import document, file
from reports.html.evidence import evidence
from reports.html.front import banner, contents, digests, environment, identity
from reports.html.gaps_section import gaps
from reports.html.markup import element, text
from reports.html.matrices import calls_matrix, others_matrix
from reports.html.survey_section import survey
from reports.html.trouble import failures, undecided
from reports.html.view import section, view
from reports.html.waivers_section import waivers
from reports.results import Run

_CONTENTS = (
    ("survey", "Containers and services"),
    ("identity", "What was tested"),
    ("environment", "Where"),
    ("changes", "Changes"),
    ("calls", "Documented calls"),
    ("others", "Other claims"),
    ("failures", "Failures"),
    ("gaps", "Gaps"),
    ("accepted", "Accepted of runtimes"),
    ("waivers", "Waivers"),
    ("controls", "Controls"),
    ("evidence", "Evidence"),
    ("undecided", "Not assessed"),
    ("method", "Method and limits"),
    ("glossary", "Glossary"),
    ("digests", "Digests"),
)


def render(run: Run) -> str:
    """The whole page as text; write it as UTF-8.

    Args:
        run: the run that the page is about.
    """
    shown = view(run)
    return document(
        f"{shown.summary.ruling.verdict}: {run.policy.title}",
        str(run.suite),
        element("a", text("Skip to the verdict"), href="#verdict", class_="skip"),
        element(
            "header",
            element("p", text("System call restrictions: compliance report"), class_="kicker"),
            element("h1", text(run.policy.title)),
        ),
        element(
            "main",
            banner(shown),
            contents(_contents(run)),
            survey(shown),
            element("div", identity(shown), environment(shown), class_="pair"),
            changes(shown),
            calls_matrix(shown),
            others_matrix(shown),
            failures(shown),
            gaps(shown),
            accepted(shown),
            waivers(shown),
            controls(shown),
            evidence(shown),
            undecided(shown),
            section("method", "Method and limits", file("method.html")),
            section("glossary", "Glossary", file("glossary.html")),
            digests(shown),
        ),
        element("footer", text(f"Rendered by {run.suite.name} from results.json.")),
    )


def _contents(run: Run) -> tuple[tuple[str, str], ...]:
    """The sections of the page, without those that have nothing to say of the run."""
    absent = {
        "survey": run.target.survey is None,
        "accepted": not run.accept,
    }
    return tuple(one for one in _CONTENTS if not absent.get(one[0], False))
