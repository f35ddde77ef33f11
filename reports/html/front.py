"""The head of the page: the verdict, what was tested, where, and the digests."""

from collections.abc import Iterator

from probes.cell import GapState, Outcome
from probes.workload import Survey, WorkloadState
from reports.html.causes_section import lead
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import (
    VERDICT_GLYPHS,
    VERDICT_LOOKS,
    View,
    digest,
    facts,
    kernel_anchor,
    moment,
    outcome_class,
    section,
)
from reports.results import SCHEMA, ChangeKind, Environment, Run, record_digest
from reports.summary import cells_text, gaps_by_state, gathered

_FIGURES = (
    ("Passed", Outcome.PASSED),
    ("Failed", Outcome.FAILED),
    ("Broken", Outcome.BROKEN),
    ("Cannot tell", Outcome.CANNOT_TELL),
    ("Not applicable", Outcome.NOT_APPLICABLE),
    ("Waived", Outcome.WAIVED),
    ("Accepted", Outcome.ACCEPTED),
)

_SECCOMP_MODES = {0: "0 (off)", 1: "1 (strict)", 2: "2 (filter)"}
"""The values of ``Seccomp`` in proc_pid_status(5)."""

_NOT_SAID = "not said by this kernel"


def banner(view: View) -> Markup:
    """The verdict, its sentence, and how much of what was planned was judged."""
    ruling = view.summary.ruling
    sign = element("span", text(VERDICT_GLYPHS[ruling.verdict]), class_="sign", aria_hidden="true")
    word = element("h2", sign, text(ruling.verdict), id="verdict-title")
    sentence = element("p", text(ruling.sentence), class_="status")
    status = element("p", text(f"Exit status {ruling.exit_status.value}"), class_="status")
    return element(
        "section",
        element("div", word, lead(view), sentence, status, _beside(view)),
        _figures(view),
        id="verdict",
        class_=f"banner {outcome_class(VERDICT_LOOKS[ruling.verdict])}",
        aria_labelledby="verdict-title",
    )


def _figures(view: View) -> Markup:
    counts = view.summary.counts
    rows = [("Planned", view.summary.planned)]
    if view.summary.planned < view.summary.selected_of:
        rows.append(("In the whole job", view.summary.selected_of))
    rows.append(("Judged", view.summary.judged))
    rows += [(name, counts[outcome]) for name, outcome in _FIGURES if counts[outcome]]
    return facts(((name, text(f"{number:,}")) for name, number in rows), class_="figures")


def _beside(view: View) -> Markup:
    """Links to what else a reader should know at once."""
    run = view.run
    lines = []
    if worse := _worse(run):
        lines.append(("changes", f"{cells_text(worse)} worse than in the earlier record"))
    if run.target.survey is not None:
        lines.append(("survey", _standing(run.target.survey)))
    if opened := len(gaps_by_state(run)[GapState.OPEN]):
        noun = "call that is" if opened == 1 else "calls that are"
        lines.append(("gaps", f"{opened:,} {noun} not documented open a way round"))
    if run.waivers:
        ends = min(judged.waiver.expires for judged in run.waivers)
        noun = "waiver" if len(run.waivers) == 1 else "waivers"
        lines.append(("waivers", f"{len(run.waivers):,} {noun}, the next to end on {ends}"))
    if len(run.environments) > 1:
        lines.append(("environment", f"{len(run.environments):,} kernels"))
    if not lines:
        return NOTHING
    links = (element("a", text(words), href=f"#{name}") for name, words in lines)
    return element("p", join(*links, by=" · "), class_="beside")


def _standing(survey: Survey) -> str:
    """How many of a machine's containers and services hold that have to."""
    required = [one for one in survey.workloads if one.required]
    held = sum(one.state is WorkloadState.HOLDS for one in required)
    return f"{held:,} of {len(required):,} containers and services that are required hold"


def _worse(run: Run) -> int:
    changes = () if run.baseline is None else run.baseline.changes
    return sum(change.kind is ChangeKind.WORSE for change in changes)


def identity(view: View) -> Markup:
    """What was tested against what, when, by whom, and with which version of the suite."""
    run = view.run
    seconds = int((run.finished - run.started).total_seconds())
    return section(
        "identity",
        "What was tested",
        facts(
            (
                ("Target", join(text(f"{run.target.description} "), code(run.target.kind))),
                *_image(run),
                *(_programs(run) if run.target.survey is None else _stacks(run.target.survey)),
                *(("Advice", text(words)) for words in run.target.findings),
                ("Policy", join(text(f"{run.policy.title} "), code(run.policy.name))),
                ("Policy digest", digest(f"sha256:{run.policy.sha256}")),
                ("Documented calls", text(str(len(run.policy.calls)))),
                ("Profiles", text(", ".join(p.upper() for p in run.profiles) or "none")),
                ("Started", moment(run.started)),
                (
                    "Finished" if run.complete else "Last judged",
                    join(moment(run.finished), text(f" ({seconds:,} s)")),
                ),
                ("Run by", text(_run_by(run))),
                ("Suite", text(str(run.suite))),
            )
        ),
    )


def _stacks(survey: Survey) -> Iterator[tuple[str, Markup]]:
    """Where the digests of a machine's many filters are."""
    count = f"{len(survey.stacks):,} distinct: "
    yield "Stacks of filters", join(text(count), element("a", text("digests"), href="#digests"))


def _image(run: Run) -> Iterator[tuple[str, Markup]]:
    target = run.target
    if target.image is not None:
        yield "Image", code(target.image.reference)
        known = target.image.digest
        yield "Image digest", digest(known) if known else text("not told by the runtime")
    if target.runtime is not None:
        yield "Runtime", text(str(target.runtime))


def _programs(run: Run) -> Iterator[tuple[str, Markup]]:
    """The filters' digests: one line for each that differs, with the profiles that it is for."""
    same = gathered(run.target.programs, lambda one: (one.sha256, one.instructions, one.stack))
    for (sha256, instructions, stack), programs in same.items():
        profiles = ", ".join(dict.fromkeys(one.profile.upper() for one in programs))
        part = f"; stack {stack + 1}" if stack else ""
        words = text(f" ({profiles}; {instructions:,} instructions{part})")
        yield "Filter digest", join(digest(f"sha256:{sha256}"), words)
    if not run.target.programs:
        yield "Filter digest", text("not to be had: the programs were not read")


def _run_by(run: Run) -> str:
    by = run.run_by
    user = by.user or (None if by.uid is None else f"user {by.uid}")
    words = [user] if user else []
    if by.login and by.login != by.user:
        words.append(f"logged in as {by.login}")
    if by.pipeline is not None:
        job = f" ({by.pipeline.job})" if by.pipeline.job else ""
        actor = f" for {by.pipeline.actor}" if by.pipeline.actor else ""
        words.append(f"{by.pipeline.system}{actor}{job}")
    return ", ".join(words) or "not told"


def environment(view: View) -> Markup:
    """The fingerprints of the kernels and of the processes that asked them."""
    places = view.run.environments
    if len(places) == 1:
        body = facts(_fingerprint(places[0]))
    else:
        cards = (
            element(
                "details",
                element(
                    "summary", element("strong", text(f"kernel {number} ")), text(_name(where))
                ),
                facts(_fingerprint(where)),
                id=kernel_anchor(number - 1),
            )
            for number, where in enumerate(places, 1)
        )
        body = join(*cards)
    return section("environment", "Where it was tested", body)


def _name(where: Environment) -> str:
    host = f", {where.host}" if where.host else ""
    return f"{where.kernel} ({where.machine}{host})"


def _fingerprint(where: Environment) -> Iterator[tuple[str, Markup]]:
    held = int(where.capabilities, 16).bit_count()
    capabilities = "1 capability" if held == 1 else f"{held} capabilities"
    mode = _NOT_SAID if where.seccomp is None else _SECCOMP_MODES.get(where.seccomp)
    filters = _NOT_SAID if where.seccomp_filters is None else str(where.seccomp_filters)
    yield "Kernel", text(where.kernel)
    yield "Machine", text(where.machine)
    if where.host:
        yield "Host", text(where.host)
    yield "ABIs", text(", ".join(where.arches) or "none")
    for arch, why in where.shut:
        yield "Not judged", text(f"{arch}: {why}")
    yield "Audit records", text(f"{where.audit.source}: {where.audit.reason}")
    yield "Actions logged", text(" ".join(where.actions_logged) or "none")
    yield "User id", text(str(where.uid))
    yield "Capabilities", join(code(where.capabilities), text(f" ({capabilities})"))
    yield "No new privileges", text("set" if where.no_new_privs else "not set")
    yield "Seccomp before the test", text(mode or str(where.seccomp))
    yield "Filters before the test", text(filters)


def digests(view: View) -> Markup:
    """The digests that tie the page to the files that it came from."""
    run = view.run
    image = run.target.image
    return section(
        "digests",
        "Digests",
        facts(
            (
                ("results.json", digest(f"sha256:{record_digest(run)}")),
                ("Policy file", digest(f"sha256:{run.policy.sha256}")),
                *_programs(run),
                *([("Image", digest(image.digest))] if image and image.digest else []),
                *(
                    [("Earlier record", digest(f"sha256:{run.baseline.sha256}"))]
                    if run.baseline
                    else []
                ),
                ("Format of results.json", code(SCHEMA)),
            )
        ),
    )


def contents(titles: tuple[tuple[str, str], ...]) -> Markup:
    """Links to the sections, by name and title."""
    links = (element("li", element("a", text(title), href=f"#{name}")) for name, title in titles)
    return element("nav", element("ul", *links), class_="contents", aria_label="Contents")
