"""The section about a whole machine: its containers and services, and what confines each."""

from collections.abc import Sequence
from typing import Final

from probes.cell import Outcome
from probes.workload import Survey, WorkloadRow, WorkloadState
from reports.html.markup import NOTHING, Markup, code, element, join, text
from reports.html.view import GLYPHS, View, labelled, paragraph, section, sheet

_LOOKS: Final = {
    WorkloadState.NONE: ("no filter", Outcome.FAILED),
    WorkloadState.FAILS: ("does not hold", Outcome.FAILED),
    WorkloadState.CANNOT_TELL: ("cannot tell", Outcome.CANNOT_TELL),
    WorkloadState.WAIVED: ("waived", Outcome.WAIVED),
    WorkloadState.HOLDS: ("holds", Outcome.PASSED),
    WorkloadState.EXCLUDED: ("not looked at", Outcome.NOT_APPLICABLE),
}
"""The words for a state, and the outcome that it looks like."""

_HEAD: Final = ("Container or service", "State", "Processes", "Filters", "Why")
_STACKS_HEAD: Final = ("Stack of filters", "State", "Processes")


def survey(view: View) -> Markup:
    """What a machine's containers and services came to; nothing of any other target."""
    found = view.run.target.survey
    if found is None:
        return NOTHING
    required = [one for one in found.workloads if one.required]
    others = [one for one in found.workloads if not one.required]
    return section(
        "survey",
        f"Containers and services ({len(found.workloads):,})",
        paragraph(
            "Each process of these was looked at. The verdict depends on those that are required;"
            " the others are told of. Those with the same stack of filters, byte for byte, share"
            " its verdicts."
        ),
        _table("required", "Required", required),
        _table("others", "Not required", others),
        _stacks(found),
        paragraph(
            f"Besides: {found.others:,} other processes, {found.kernel_threads:,} threads of the"
            f" kernel, {found.zombies:,} processes that had ended."
        ),
    )


def _table(name: str, title: str, workloads: Sequence[WorkloadRow]) -> Markup:
    if not workloads:
        return paragraph(f"{title}: none.", class_="none")
    caption = f"{title} ({len(workloads):,})"
    return sheet(f"survey-{name}", caption, _HEAD, map(_row, workloads))


def _row(one: WorkloadRow) -> Sequence[Markup]:
    known = [
        ("image", one.image),
        ("pod", one.pod),
        ("in", one.inside),
    ]
    more = ", ".join(f"{word} {value}" for word, value in known if value)
    return (
        join(code(one.title), element("p", text(more), class_="small") if more else NOTHING),
        _state(one.state),
        text(f"{one.processes:,}"),
        join(*map(code, one.stacks), by=" ") if one.stacks else text("none seen"),
        text(one.sentence),
    )


def _state(state: WorkloadState) -> Markup:
    words, like = _LOOKS[state]
    return labelled(GLYPHS[like], words, like)


def _stacks(found: Survey) -> Markup:
    if not found.stacks:
        return NOTHING
    rows = (
        (
            join(code(one.name), text(f" ({_programs(one.logged)})")),
            _state(one.state),
            text(f"{one.processes:,}"),
        )
        for one in found.stacks
    )
    return sheet("survey-stacks", f"Stacks of filters ({len(found.stacks):,})", _STACKS_HEAD, rows)


def _programs(logged: Sequence[bool]) -> str:
    """How many programs a stack has, and how many of them log."""
    count = "1 program" if len(logged) == 1 else f"{len(logged):,} programs"
    flags = sum(logged)
    return f"{count}, {flags:,} with SECCOMP_FILTER_FLAG_LOG" if flags else count
