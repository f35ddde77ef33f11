"""The head of the page: the verdict, what was tested, where, and the digests."""

import hashlib

from probes.cell import Outcome
from reports.html.markup import Markup, code, element, join, text
from reports.html.view import View, facts, outcome_class, section
from reports.results import SCHEMA, Verdict, time_text, to_json
from reports.summary import DECIDED

_VERDICT_GLYPHS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.INCOMPLETE: "?",
    Verdict.BROKEN: "!",
}

_VERDICT_LOOKS = {
    Verdict.PASS: Outcome.PASSED,
    Verdict.FAIL: Outcome.FAILED,
    Verdict.INCOMPLETE: Outcome.CANNOT_TELL,
    Verdict.BROKEN: Outcome.BROKEN,
}

_FIGURES = (
    ("Passed", Outcome.PASSED),
    ("Failed", Outcome.FAILED),
    ("Broken", Outcome.BROKEN),
    ("Cannot tell", Outcome.CANNOT_TELL),
    ("Not applicable", Outcome.NOT_APPLICABLE),
    ("Waived", Outcome.WAIVED),
)

_SECCOMP_MODES = {0: "0 (off)", 1: "1 (strict)", 2: "2 (filter)"}
"""The values of ``Seccomp`` in proc_pid_status(5)."""

_NOT_SAID = "not said by this kernel"


def banner(view: View) -> Markup:
    """The verdict, its sentence, and how much of what was planned was decided."""
    ruling = view.summary.ruling
    sign = element("span", text(_VERDICT_GLYPHS[ruling.verdict]), class_="sign", aria_hidden="true")
    word = element("h2", sign, text(ruling.verdict), id="verdict-title")
    sentence = element("p", text(ruling.sentence), class_="lead")
    status = element("p", text(f"Exit status {ruling.exit_status.value}"), class_="status")
    return element(
        "section",
        element("div", word, sentence, status),
        _figures(view),
        id="verdict",
        class_=f"banner {outcome_class(_VERDICT_LOOKS[ruling.verdict])}",
        aria_labelledby="verdict-title",
    )


def _figures(view: View) -> Markup:
    counts = view.summary.counts
    decided = sum(counts[outcome] for outcome in DECIDED)
    rows = [("Planned cells", view.summary.planned)]
    if view.summary.planned < view.summary.selected_of:
        rows.append(("The whole job", view.summary.selected_of))
    rows.append(("Decided", decided))
    rows += [(name, counts[outcome]) for name, outcome in _FIGURES]
    return facts(((name, text(f"{number:,}")) for name, number in rows), class_="figures")


def identity(view: View) -> Markup:
    """What was tested against what, when, and with which version of the suite."""
    run = view.run
    seconds = int((run.finished - run.started).total_seconds())
    return section(
        "identity",
        "What was tested",
        facts(
            (
                ("Policy", join(text(f"{run.policy.title} "), code(run.policy.name))),
                ("Policy digest", _sha256(run.policy.sha256)),
                ("Documented calls", text(str(len(run.policy.calls)))),
                ("Target", join(text(f"{run.target.description} "), code(run.target.kind))),
                ("Profiles", text(", ".join(p.upper() for p in run.profiles) or "none")),
                ("Started", _moment(time_text(run.started))),
                ("Finished", join(_moment(time_text(run.finished)), text(f" ({seconds:,} s)"))),
                ("Suite", text(f"{run.suite.name} {run.suite.version}")),
            )
        ),
    )


def environment(view: View) -> Markup:
    """The fingerprint of the kernel and of the process that asked it."""
    where = view.run.environment
    held = int(where.capabilities, 16).bit_count()
    capabilities = "1 capability" if held == 1 else f"{held} capabilities"
    mode = _NOT_SAID if where.seccomp is None else _SECCOMP_MODES.get(where.seccomp)
    filters = _NOT_SAID if where.seccomp_filters is None else str(where.seccomp_filters)
    return section(
        "environment",
        "Where it was tested",
        facts(
            (
                ("Kernel", text(where.kernel)),
                ("Machine", text(where.machine)),
                ("ABIs", text(", ".join(where.arches) or "none")),
                *(("Not judged", text(f"{arch}: {why}")) for arch, why in where.shut),
                ("Audit records", text(f"{where.audit.source}: {where.audit.reason}")),
                ("Actions logged", text(" ".join(where.actions_logged) or "none")),
                ("User id", text(str(where.uid))),
                ("Capabilities", join(code(where.capabilities), text(f" ({capabilities})"))),
                ("No new privileges", text("set" if where.no_new_privs else "not set")),
                ("Seccomp before the test", text(mode or str(where.seccomp))),
                ("Filters before the test", text(filters)),
            )
        ),
    )


def digests(view: View) -> Markup:
    """The digests that tie the page to the files that it came from."""
    record = hashlib.sha256(to_json(view.run).encode("ascii")).hexdigest()
    return section(
        "digests",
        "Digests",
        facts(
            (
                ("Policy file, SHA-256", _sha256(view.run.policy.sha256)),
                ("results.json, SHA-256", _sha256(record)),
                ("Format of results.json", code(SCHEMA)),
            )
        ),
    )


def contents(titles: tuple[tuple[str, str], ...]) -> Markup:
    """Links to the sections, by name and title."""
    links = (element("li", element("a", text(title), href=f"#{name}")) for name, title in titles)
    return element("nav", element("ul", *links), class_="contents", aria_label="Contents")


def _sha256(digest: str) -> Markup:
    return element("code", text(digest), class_="digest")


def _moment(moment: str) -> Markup:
    return element("time", text(moment.replace("T", " ").replace("Z", " UTC")), datetime=moment)
