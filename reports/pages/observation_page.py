"""The page of ``observe``: what a workload did, when, and what each profile would do. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from probes.action import Profile
from probes.cell import Outcome
from probes.errors import ExitStatus
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import digest, facts, labelled, paragraph, section, sheet
from reports.pages import frame
from reports.results.observed import ObservedCall, ObservedWorkload
from reports.summary import gathered

_KICKER: Final = "System call restrictions: a workload observed"
_LOOKS: Final = {
    ExitStatus.CONFORMANT: ("✓", "PASS", "o-passed"),
    ExitStatus.NOT_CONFORMANT: ("✗", "FAIL", "o-failed"),
    ExitStatus.INTERRUPTED: ("?", "INTERRUPTED", "o-cannot-tell"),
    ExitStatus.CANNOT_TELL: ("?", "CANNOT TELL", "o-cannot-tell"),
}
_EFFECTS: Final = {
    "killed": ("✗", Outcome.FAILED),
    "refused": ("⊘", Outcome.BROKEN),
    "logged": ("✎", Outcome.CANNOT_TELL),
    "allowed": ("✓", Outcome.PASSED),
    "granted": ("~", Outcome.WAIVED),
}
"""How an effect looks: its sign, and the outcome whose colour it has."""

_KINDS: Final = {
    "documented": ("k-documented", "a documented call"),
    "unknown": ("k-unknown", "a number that no table knows"),
    "sibling": ("k-sibling", "allowed, with the power of documented calls"),
    "confining": ("k-confining", "installs a filter"),
}
_WIDTH: Final = 1000
_LEAST: Final = 4.0
_HEIGHT: Final = 20
_SHOWN: Final = 3
"""Argument lists and places of a call that are shown."""


def render(found: ObservedWorkload) -> str:
    """The whole page as text; write it as UTF-8."""
    refused = [one for one in found.calls if not one.is_allowed]
    allowed = [one for one in found.calls if one.is_allowed]
    return frame.page(
        _KICKER,
        " ".join(found.command) or found.image,
        _banner(found),
        _profiles(found),
        _timeline(found),
        _by_program("refused", "Not allowed, by program", refused, found.profiles),
        _by_program("allowed", "Allowed, with the power of documented calls", allowed, ()),
        _notes(found),
        _where(found),
    )


def _banner(found: ObservedWorkload) -> Markup:
    sign, word, style = _LOOKS.get(found.exit_status, ("?", "CANNOT TELL", "o-cannot-tell"))
    said = found.sentence or f"Exit status {found.exit_status.value}"
    ended = found.ended or f"the command ran for {found.seconds:.2f} s"
    lines = [f"{said}.", f"{_capital(ended)}."]
    return frame.banner(
        sign, word, [*lines, f"Exit status of the observer: {found.exit_status.value}"], style
    )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _profiles(found: ObservedWorkload) -> Markup:
    """What each profile would do, in a sentence and by call."""
    rows = [(profile.upper(), text(_capital(said))) for profile, said in found.would.items()]
    told = facts(rows) if rows else NOTHING
    refused = [one for one in found.calls if not one.is_allowed]
    if not refused:
        return section("profiles", "What each profile would do", told) if rows else NOTHING
    calls = gathered(refused, lambda one: (one.call, one.abi))
    head = ("Call", "Times", *(profile.upper() for profile in found.profiles))
    table = sheet(
        "effects-table",
        "",
        head,
        (
            (
                join(code(call), text(f" {abi}")),
                text(f"{sum(one.count for one in members):,}"),
                *(_effects(members, profile) for profile in found.profiles),
            )
            for (call, abi), members in calls.items()
        ),
    )
    return section("profiles", "What each profile would do", told, table)


def _effects(calls: Sequence[ObservedCall], profile: Profile) -> Markup:
    words = dict.fromkeys(one.under[profile] for one in calls if profile in one.under)
    return join(*(effect(word) for word in words), by=" ")


def effect(word: str) -> Markup:
    """What becomes of a call, as a sign and a word in its colour."""
    sign, like = _EFFECTS[word]
    return labelled(sign, word, like)


def _timeline(found: ObservedWorkload) -> Markup:
    """When each program made which calls, a lane a program."""
    if not found.calls:
        return NOTHING
    programs = gathered(found.calls, _program)
    kinds = dict.fromkeys(one.kind for one in found.calls)
    legend = element("ul", *map(_legend, kinds), class_="map-legend")
    lead = paragraph(
        f"From the start to the end after {found.seconds:.2f} s; a bar reaches from the first such"
        " call to the last."
    )
    rows = (
        (
            code(program),
            join(*(_lane(one, found.seconds) for one in sorted(members, key=_when))),
        )
        for program, members in sorted(programs.items(), key=lambda item: min(map(_when, item[1])))
    )
    return section(
        "timeline", "When", lead, legend, sheet("lanes-table", "", ("Program", "Calls"), rows)
    )


def _when(one: ObservedCall) -> tuple[float, str, str]:
    return one.first, one.call, one.abi


def _program(one: ObservedCall) -> str:
    name = one.executable.rpartition("/")[2]
    return one.executable if one.comm in {name[:15], "?"} else f"{one.executable} ({one.comm})"


def _legend(kind: str) -> Markup:
    style, words = _KINDS[kind]
    box = element("rect", x="1", y="1", width="10", height="10", class_=style)
    sample = element("svg", box, viewBox="0 0 12 12", aria_hidden="true", class_="map-sample")
    return element("li", sample, text(f" {words}"))


def _lane(one: ObservedCall, seconds: float) -> Markup:
    """A call's share of the time, with its name and times in words."""
    style, words = _KINDS[one.kind]
    last = one.first if one.last is None else max(one.first, one.last)
    whole = max(seconds, last) or 1.0
    start = one.first / whole * _WIDTH
    wide = max((last - one.first) / whole * _WIDTH, _LEAST)
    label = _span(one)
    picture = element(
        "svg",
        element("rect", x="0", y="9", width=f"{_WIDTH}", height="2", class_="bed"),
        element(
            "rect",
            element("title", text(f"{one.call}: {label}")),
            x=f"{min(start, _WIDTH - wide):.1f}",
            y="3",
            width=f"{wide:.1f}",
            height="14",
            class_=style,
        ),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{one.call} on {one.abi}, {words}: {label}",
        class_="lane",
    )
    name = join(code(one.call), text(f" {one.abi}, {label}"))
    return element("div", element("div", name, class_="small"), picture)


def _span(one: ObservedCall) -> str:
    times = "once" if one.count == 1 else f"{one.count:,} times"
    if one.last is None or one.last <= one.first or one.count == 1:
        return f"{times}, first after {one.first:.3f} s"
    return f"{times}, from {one.first:.3f} s to {one.last:.3f} s"


def _by_program(
    name: str, title: str, calls: Sequence[ObservedCall], profiles: Sequence[Profile]
) -> Markup:
    """The calls of each program: a table a program."""
    if not calls:
        return NOTHING
    head = ("Call", "Times", "Arguments and place", "What happens" if profiles else "Gives")
    tables = (
        sheet(
            f"{name}-{rank}",
            program,
            head,
            (_row(one, profiles) for one in members),
        )
        for rank, (program, members) in enumerate(gathered(calls, _program).items())
    )
    return section(name, title, *tables)


def _row(one: ObservedCall, profiles: Sequence[Profile]) -> Sequence[Markup]:
    processes = "1 process" if one.processes == 1 else f"{one.processes:,} processes"
    last = join(*_happens(one, profiles)) if profiles else text(", ".join(one.gives) or "a filter")
    return (
        join(code(one.call), text(f" {one.abi}")),
        text(f"{one.count:,} by {processes}"),
        _details(one),
        last,
    )


def _happens(one: ObservedCall, profiles: Sequence[Profile]) -> Iterator[Markup]:
    for profile in profiles:
        if profile in one.under:
            said = one.granted.get(profile, "")
            words = text(f" {profile.upper()}{f': {said}' if said else ''}")
            yield element("div", effect(one.under[profile]), words)


def _details(one: ObservedCall) -> Markup:
    lines = [
        element("li", code(f"{one.call}({', '.join(values)})"), text(f" {count:,}×"))  # noqa: RUF001
        for values, count in one.arguments[:_SHOWN]
    ]
    lines += [element("li", text("from "), code(place)) for place, _ in one.sites[:_SHOWN]]
    further = max(len(one.arguments), len(one.sites)) - _SHOWN
    if further > 0:
        lines.append(element("li", text(f"and {further:,} more in the file")))
    return element("ul", *lines, class_="plain")


def _notes(found: ObservedWorkload) -> Markup:
    if not found.notes:
        return NOTHING
    items = (element("li", paragraph(_capital(note), "sentence")) for note in found.notes)
    return section("notes", "What could not be seen", element("ul", *items, class_="lines"))


def _where(found: ObservedWorkload) -> Markup:
    policy = join(
        text(f"{found.policy} ({found.documented:,} calls) "), digest(found.policy_sha256)
    )
    rows = [
        *([("Image", code(found.image))] if found.image else []),
        *([("Command", code(" ".join(found.command)))] if found.command else []),
        ("Policy", policy),
        ("Kernel", text(found.kernel)),
        ("Started", text(found.started.replace("T", " ").replace("+00:00", " UTC"))),
    ]
    return section("where", "What was observed", facts(rows))
