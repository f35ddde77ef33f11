"""The page of ``explain``: what filters do, as a map of each ABI's numbers, and in words. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from probes.documents.policy import Policy
from probes.targets.stack import FilterStack
from reports.filters import call_groups, overview, places, way
from reports.filters.call_groups import Groups
from reports.filters.documents import Asked
from reports.filters.explanation import (
    DEPENDS,
    CallOutcome,
    ExplainedCall,
    StackExplanation,
    answers,
    returns_at,
)
from reports.filters.overview import Section
from reports.filters.places import Place
from reports.html.markup import NOTHING, Markup, code, element, join, text, void
from reports.html.view import paragraph, section, sheet
from reports.pages import frame, number_map, way_section
from reports.pages.number_map import Look, Square, look_of

_KICKER: Final = "System call filters: what they do"
_WIDTH: Final = 10_000
"""Longer than any line: a page breaks its lines itself."""

Names = Sequence[str]


def render(
    asked: Asked, description: str, policy: Policy, stacks: Sequence[StackExplanation]
) -> str:
    """The whole page as text; write it as UTF-8.

    Args:
        asked: what was asked for.
        description: what a sentence calls the target.
        policy: whose calls are told of by name.
        stacks: each stack of filters of the target.
    """
    names = [call.name for call in policy.calls]
    parts = [
        part
        for rank, one in enumerate(stacks)
        for part in _stack(one, names, asked, rank if len(stacks) > 1 else None)
    ]
    return frame.page(_KICKER, description, _banner(asked, stacks, names), *parts)


def _banner(asked: Asked, stacks: Sequence[StackExplanation], names: Names) -> Markup:
    count = "one stack of filters" if len(stacks) == 1 else f"{len(stacks):,} stacks of filters"
    if asked.number is not None:
        word = f"{asked.number:#x}" if isinstance(asked.number, int) else asked.number
        said = [said for one in stacks for said in _call_sentences(one)]
    else:
        word = count if len(stacks) > 1 else _filters(stacks[0].stack)
        said = [said for one in stacks for said in _documented_sentences(one, names)]
    told = list(dict.fromkeys(said)) or ["None of the calls that the policy documents is here."]
    return frame.banner("i", word, told, "neutral")


def _filters(stack: FilterStack) -> str:
    lengths = [len(program) for program in stack.programs]
    if not lengths:
        return "no filter"
    if len(lengths) == 1:
        return f"one filter of {lengths[0]:,} instructions"
    return f"{len(lengths)} filters of {', '.join(f'{one:,}' for one in lengths)} instructions"


def _call_sentences(one: StackExplanation) -> Iterator[str]:
    for call in one.calls:
        may = list(dict.fromkeys(str(outcome.returns) for outcome in call.outcomes))
        words = may[0] if len(may) == 1 else f"{' or '.join(may)}, which {DEPENDS}"
        yield f"{places.number_text(call.place, call.number)} on {call.place.title}: {words}."


def _documented_sentences(one: StackExplanation, names: Names) -> Iterator[str]:
    """What becomes of the documented calls, a sentence for ABIs where it is the same."""
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for part in one.sections:
        got = Counter(_word(returns) for returns in answers(part, names).values())
        if got:
            alike.setdefault(tuple(got.most_common()), []).append(part.place.title)
    for counts, titles in alike.items():
        whole = sum(count for _, count in counts)
        told = ", ".join(_counted(word, count) for word, count in counts)
        yield f"On {', '.join(titles)}, of {whole:,} documented calls: {told}."


def _counted(word: str, count: int) -> str:
    if word == DEPENDS:
        return f"{count:,} one thing or another by {'its' if count == 1 else 'their'} arguments"
    return f"{count:,} {'gets' if count == 1 else 'get'} {word}"


def _word(returns: object) -> str:
    return DEPENDS if returns is None else str(returns)


def _stack(one: StackExplanation, names: Names, asked: Asked, rank: int | None) -> Iterator[Markup]:
    """The sections about a stack of filters.

    Args:
        one: the stack.
        names: the documented calls.
        asked: what was asked for.
        rank: its rank among several, counted from 0; None for the only one.
    """
    mark = "" if rank is None else f"-{rank + 1}"
    of = "" if rank is None else f", stack {rank + 1}: {one.stack.description}"
    if one.stack.findings or one.doubts:
        yield section(
            f"findings{mark}", f"Findings{of}", frame.findings(one.stack.findings), _doubts(one)
        )
    for place, call in enumerate(one.calls):
        yield _way(one.stack, call, f"way{mark}-{place}", of)
    if one.sections:
        yield section(f"map{mark}", f"Every number{of}", *_maps(one, names))
        yield section(f"answers{mark}", f"Documented calls{of}", _answers(one, names, mark))
        yield section(f"numbers{mark}", f"In words{of}", *_numbers(one, mark))
    if asked.groups is not None:
        title = f"systemd's groups ({asked.groups.source}){of}"
        yield section(f"groups{mark}", title, *_groups(one, asked.groups, mark))
    if asked.disassemble:
        yield section(f"disassembly{mark}", f"Every instruction{of}", *_disassembly(one.stack))


def _groups(one: StackExplanation, groups: Groups, mark: str) -> Iterator[Markup]:
    """What becomes of systemd's groups of calls, and in which of them the asked call is."""
    names = dict.fromkeys(
        call.place.arch.name_of(call.number) for call in one.calls if call.place.arch
    )
    for name in names:
        if name is not None:
            yield paragraph(f"{call_groups.call_line(groups, name)}.")
    for rank, part in enumerate(one.sections):
        found = call_groups.by_group(groups, part)
        if found:
            rows = (
                (code(group), text(call_groups.answer_words(by_answer)))
                for group, by_answer in found.items()
            )
            yield sheet(
                f"groups-{rank}{mark}", part.place.title, ("Group", "What its calls get"), rows
            )


def _disassembly(stack: FilterStack) -> Iterator[Markup]:
    for rank, program in enumerate(stack.programs, 1):
        lines = way.annotated(program, big_endian=stack.big_endian)
        items = (element("li", code(line.strip())) for line in lines)
        title = f"Filter {rank} of {len(stack.programs)}: {len(program):,} instructions"
        listed = element("ul", *items, class_="plain small")
        yield element("details", element("summary", text(title)), listed, class_="printed")


def _doubts(one: StackExplanation) -> Markup:
    if not one.doubts:
        return NOTHING
    lead = paragraph("There is no proof: what is shown as possible need not be.")
    return join(lead, element("ul", *(element("li", text(words)) for words in one.doubts)))


def _answers(one: StackExplanation, names: Names, mark: str) -> Markup:
    """What the documented calls get: each answer once, with its calls and ABIs."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    looks: dict[str, Look] = {}
    for part in one.sections:
        by_word: dict[str, list[str]] = {}
        for name, returns in answers(part, names).items():
            word = _word(returns)
            by_word.setdefault(word, []).append(name)
            looks[word] = number_map.DEPENDS if returns is None else look_of(returns)
        for word, calls in by_word.items():
            alike.setdefault((word, tuple(sorted(calls))), []).append(part.place.title)
    rows = (
        (
            frame.swatch(looks[word]),
            text(f"{', '.join(titles)} ({len(calls):,})"),
            join(*map(code, calls), by=", "),
        )
        for (word, calls), titles in alike.items()
    )
    return sheet(f"answers-table{mark}", "", ("What they get", "On", "Calls"), rows)


def _maps(one: StackExplanation, names: Names) -> Iterator[Markup]:
    shown = [part for part in one.sections if part.place.arch is not None]
    looks = [look for part in one.sections for look in _looks(part)]
    yield number_map.legend(looks, documented=True)
    figures = [figure for part in shown if (figure := _figure(part, names))]
    yield element("div", *figures, class_="maps alone" if len(figures) == 1 else "maps")
    rest = [part for part in one.sections if part.place.arch is None]
    for part in rest:
        yield paragraph(f"{part.place.heading}: {_rest_words(part)}.")


def _looks(part: Section) -> Iterator[Look]:
    yield from (look_of(returns) for returns, _ in part.groups)
    if part.dependent:
        yield number_map.DEPENDS


def _rest_words(part: Section) -> str:
    words = [
        f"{returns} for {overview.group_text(part.place, numbers)}"
        for returns, numbers in part.groups
    ]
    if part.dependent:
        words.append("some by their arguments")
    return "; ".join(words)


def _figure(part: Section, names: Names) -> Markup:
    place = part.place
    if place.arch is None:
        return NOTHING
    documented = {number for name in names if (number := place.arch.number(name)) is not None}
    title = f"what each number of {place.title} gets"
    shown = number_map.picture(place.arch, title, partial(_square, part), documented)
    return figure(place, shown, f"{_counts(part)}.")


def figure(place: Place, picture: Markup, told: str) -> Markup:
    """The picture of an ABI's numbers with its caption.

    Args:
        place: the ABI.
        picture: the picture.
        told: what the caption says besides.
    """
    caption = element(
        "figcaption",
        element("strong", text(place.title)),
        text(f" {told}"),
        void("br"),
        element("small", text(place.remark)),
    )
    return element("figure", caption, picture)


def _counts(part: Section) -> str:
    """How many of the calls that a table knows get what."""
    counts = [(str(returns), len(numbers.named)) for returns, numbers in part.groups]
    counts.append(("by arguments", sum(len(numbers.named) for numbers, _ in part.dependent)))
    told = [f"{count:,} {word}" for word, count in counts if count]
    above = part.place.shares()[-1][1]
    return f"{', '.join(told)}; numbers above them: {_word(returns_at(part, above))}"


def _square(part: Section, number: int) -> Square:
    returns = returns_at(part, number)
    look = number_map.DEPENDS if returns is None else look_of(returns)
    return Square(look, f"{places.number_text(part.place, number)}: {look.words}")


def _numbers(one: StackExplanation, mark: str) -> Iterator[Markup]:
    """What every number gets, in words: a table a place."""
    head = ("What they get", "Numbers")
    for rank, part in enumerate(one.sections):
        rows = [
            (frame.swatch(look_of(returns)), text(overview.group_text(part.place, numbers)))
            for returns, numbers in part.groups
        ]
        for numbers, found in part.dependent:
            told = overview.outcome_texts(found, exact=not one.doubts)
            lines = (element("li", text(words)) for words in told)
            rows.append(
                (
                    frame.swatch(number_map.DEPENDS),
                    join(
                        text(overview.group_text(part.place, numbers)),
                        element("ul", *lines, class_="plain small"),
                    ),
                )
            )
        yield sheet(f"numbers-{rank}{mark}", part.place.heading, head, rows)


def _way(stack: FilterStack, call: ExplainedCall, anchor: str, of: str) -> Markup:
    """The way of a call through the filters, for each thing that it may get."""
    name = places.number_text(call.place, call.number)
    parts = [
        part
        for rank, outcome in enumerate(call.outcomes)
        for part in _outcome(stack, outcome, f"{anchor}-{rank}")
    ]
    return section(anchor, f"{name} on {call.place.title}{of}", *parts)


def _outcome(stack: FilterStack, outcome: CallOutcome, anchor: str) -> Iterator[Markup]:
    swatch = frame.swatch(look_of(outcome.returns))
    yield element("h3", swatch)
    yield element("p", text(outcome.words))
    yield element("p", text("The way of "), code(way.arguments_text(outcome.example)), text(":"))
    yield way_section.way(stack, outcome.example, anchor)
