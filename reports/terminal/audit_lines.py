"""What an examination of a machine's audit says, as lines for people and as JSON."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from probes.doctor.examination import CanaryKind, Examination, ExaminedCollector, Seen, State
from probes.finding import Weight, weighty
from probes.text import visible
from reports.terminal.lines import MOST_LINES, shortened

SCHEMA: Final = "syscall-conformance/audit/1"
"""What ``schema`` says in a document of this version; see ``results/audit.schema.json``."""

_INDENT: Final = "  "


def lines(found: Examination, width: int, *, verbose: bool = True) -> list[str]:
    """The examination for people.

    Args:
        found: the examination.
        width: how long a line may be.
        verbose: whether all is told, in more than ``MOST_LINES`` lines if need be.
    """
    head = [*_wrapped(_headline(found), width), "", *_table(found)]
    collectors = ["", *(line for one in found.collectors for line in _collector(one, width))]
    limits = [one.text for one in weighty(found.findings)]
    limits += [
        f"the call under {name} did not go as it should ({why}): run this outside of what confines "
        "this process"
        for name, why in found.faults.items()
    ]
    others = [one.text for one in found.findings if one.weight is Weight.ADVICE]
    in_the_way = _section("In the way of records:", limits, width)
    good = _section("Good to know:", others, width)
    said = [*head, *collectors, *in_the_way, *good]
    if not verbose and len(said) > MOST_LINES:
        # What is in the way is to be mended, and comes before who sees what.
        said = shortened([*head, *in_the_way, *collectors, *good])
    return [visible(line) for line in said]


def _section(head: str, texts: Sequence[str], width: int) -> list[str]:
    if not texts:
        return []
    return ["", head, *(line for text in texts for line in _wrapped(text, width, _INDENT))]


def headline(found: Examination) -> str:
    """The result in one line."""
    return visible(_headline(found))


def _headline(found: Examination) -> str:
    """The result in one sentence."""
    if not found.unkept:
        names = _listed([one.value for one in found.profiles])
        by = _listed([one.source for one in found.collectors if one.state is State.WORKS])
        promises = "promises" if len(found.profiles) == 1 else "promise"
        return f"PASS: on {found.kernel} records are as {names} {promises}, and seen by {by}"
    parts = [_unkept(found, one) for one in found.canaries if _is_unkept(found, one)]
    return f"CANNOT TELL: on {found.kernel} {'; '.join(parts)}"


def _is_unkept(found: Examination, canary: CanaryKind) -> bool:
    return canary.promised not in {Seen.UNKNOWN, found.seen(canary)}


def _unkept(found: Examination, canary: CanaryKind) -> str:
    """What is wrong with the record of a canary."""
    seen = found.seen(canary)
    if seen is Seen.UNKNOWN:
        return f"nothing shows whether {canary.name} ({canary.profile}) leaves a record"
    does = "leaves a record" if seen is Seen.RECORDED else "leaves no record"
    return f"{canary.name} ({canary.profile}) {does}"


def _table(found: Examination) -> list[str]:
    """What became of each canary."""
    rows = [("profile", "action", "record", "seen by")]
    for one in found.canaries:
        by = ", ".join(name.partition(":")[0] for name in found.seen_by(one)) or "nobody"
        rows.append((one.profile.value, one.name, found.seen(one).value, by))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        _INDENT.join([*(row[n].ljust(widths[n]) for n in range(3)), row[3]]).rstrip()
        for row in rows
    ]


def _collector(one: ExaminedCollector, width: int) -> list[str]:
    """What became of a collector."""
    text = f"{one.source}: {one.state}"
    if one.reason:
        text += f"{', but' if one.state is State.WORKS else ':'} {one.reason}"
    return _wrapped(text, width)


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + _INDENT,
        # Paths and commands have hyphens, too.
        break_on_hyphens=False,
        break_long_words=False,
    )


def document(found: Examination) -> Mapping[str, Any]:
    """The examination as plain data."""
    return {
        "schema": SCHEMA,
        "kernel": found.kernel,
        "exit_status": int(found.status),
        "profiles": [
            {"name": one.value, "kept": found.is_kept(one), "actions": list(_actions(found, one))}
            for one in found.profiles
        ],
        "collectors": [
            {
                "source": one.source,
                "state": one.state.value,
                "reason": one.reason,
                "seen": {name: seen.value for name, seen in one.seen.items()},
            }
            for one in found.collectors
        ],
        "limits": [{"about": one.about, "text": one.text} for one in weighty(found.findings)],
        "faults": dict(found.faults),
        "notes": [one.text for one in found.findings if one.weight is Weight.ADVICE],
    }


def _actions(found: Examination, profile: object) -> Iterator[Mapping[str, Any]]:
    """The canaries of a profile."""
    for one in found.canaries:
        if one.profile is profile:
            yield {
                "action": one.name,
                "promised": None if one.promised is Seen.UNKNOWN else one.promised.value,
                "seen": found.seen(one).value,
                "seen_by": list(found.seen_by(one)),
            }


def to_json(found: Examination) -> str:
    """The document as text."""
    return json.dumps(document(found), indent=2, ensure_ascii=True) + "\n"
