"""What runtimes of several releases refuse by themselves: the record and its page. Pure.

``release_bench`` makes the record; ``docs/defaults.json`` and ``docs/defaults.md`` are kept.
"""

import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from probes.releases.prober import ABIS, RUNS, SIGSYS, Answers

SCHEMA: Final = 1

_NATIVE: Final = next(iter(ABIS))

_SIGNS: Final[Mapping[str, str]] = MappingProxyType(
    {RUNS: "**runs**", "EPERM": "EPERM", "ENOSYS": "ENOSYS", SIGSYS: "SIGSYS", "": "-"}
)


@dataclass(frozen=True, slots=True)
class Row:
    """What a runtime of a release does with the documented calls where nobody names a profile.

    Attributes:
        suite: the release of Debian.
        runtime: what the matrix calls the runtime.
        command: how people start it so.
        versions: those of the packages that matter, by name, the runtime's own first.
        answers: what became of each call.
    """

    suite: str
    runtime: str
    command: str
    versions: Mapping[str, str]
    answers: Answers

    def answer(self, abi: str, call: str) -> str:
        """What became of a call; "" where the ABI has none of that name."""
        return self.answers.get((abi, call), "")

    def count(self, abi: str, answer: str) -> int:
        """How many calls of an ABI got an answer."""
        return sum(one == answer for (its, _), one in self.answers.items() if its == abi)

    @property
    def version(self) -> str:
        """The runtime's own, without Debian's."""
        return upstream(next(iter(self.versions.values()), ""))


def upstream(version: str) -> str:
    """The version that a package's authors gave it: without Debian's epoch and revision."""
    bare = version.partition(":")[2] or version
    return bare.rpartition("-")[0].partition("+")[0].partition("~")[0] or bare


def dump(rows: Sequence[Row], calls: Sequence[str], kernel: str) -> str:
    """The record as JSON, in which a change of one answer is a change of one line."""
    plain = {
        "schema": SCHEMA,
        "kernel": kernel,
        "calls": list(calls),
        "rows": [
            {
                "suite": row.suite,
                "runtime": row.runtime,
                "command": row.command,
                "versions": dict(row.versions),
                "answers": {abi: dict(_grouped(row, abi)) for abi in ABIS},
            }
            for row in rows
        ],
    }
    return json.dumps(plain, indent=1) + "\n"


def _grouped(row: Row, abi: str) -> Iterator[tuple[str, str]]:
    """The calls of an ABI by what became of them, in one line each."""
    found: dict[str, list[str]] = {}
    for (its, call), answer in sorted(row.answers.items()):
        if its == abi:
            found.setdefault(answer, []).append(call)
    for answer, names in sorted(found.items()):
        yield answer, " ".join(names)


def load(text: str) -> tuple[tuple[Row, ...], tuple[str, ...], str]:
    """The record's rows, its calls, and the kernel that was asked."""
    plain: Mapping[str, Any] = json.loads(text)
    rows = tuple(
        Row(
            one["suite"],
            one["runtime"],
            one["command"],
            one["versions"],
            {
                (abi, call): answer
                for abi, groups in one["answers"].items()
                for answer, calls in groups.items()
                for call in calls.split()
            },
        )
        for one in plain["rows"]
    )
    return rows, tuple(plain["calls"]), str(plain["kernel"])


def without_own(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows in which every call runs: nothing is refused unless a profile is named."""
    return tuple(row for row in rows if set(row.answers.values()) <= {RUNS})


_HEAD: Final = """\
# What runtimes refuse by themselves

What becomes of the {calls} calls of the policy in a sandbox for which nobody named a profile:
refused with an error (EPERM, ENOSYS), ended by a signal (SIGSYS), or let through to the kernel
(**runs**). Asked were the packages of Debian {suites}, on Linux {kernel}, by a
[C program](../probes/releases/prober.c) that shares nothing with the suite: it makes a call under a
tracer, which hears of it only if every filter lets it through, and no call is carried out.
[defaults.json](defaults.json) has the same for programs.

    {command}

makes both anew, and has the suite judge each runtime of each release by its own profiles, by one
that lets a call through, and by the default: its verdict and the program's answer must agree on
every number. A default that lets a call through may mean it, for many calls need a capability that
a container has not. The policy asks for more: that no filter lets them through.
"""

COMMAND: Final = "tox -e releases"


def page(rows: Sequence[Row], calls: Sequence[str], kernel: str) -> str:
    """The page.

    Args:
        rows: the record's rows.
        calls: the documented calls.
        kernel: the release of the kernel that was asked.
    """
    own = [row for row in rows if row not in without_own(rows)]
    head = _HEAD.format(
        calls=len(calls),
        suites=_listed(list(dict.fromkeys(row.suite for row in rows))),
        kernel=kernel,
        command=COMMAND,
    )
    return "\n".join(
        (
            head,
            "## At a glance",
            "",
            *_summary(own),
            "",
            *_open_ones(without_own(rows)),
            "",
            "## The calls",
            "",
            "By x86_64's own entry; where x32 or i386 differs, its answer stands behind it. An",
            "arrow leads to what a later release answers, with the first version that does.",
            "",
            *_grid(own, calls),
            "",
            "## What changed between the releases",
            "",
            *_changes(own, calls),
            "",
        )
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    head = ("started by", "release", "packages", *(f"refused ({abi})" for abi in ABIS), "how")
    lines = []
    for row in rows:
        refused = [_refused(row, abi) for abi in ABIS]
        how = [
            f"{answer} {count}"
            for answer in sorted(set(row.answers.values()) - {RUNS})
            if (count := row.count(_NATIVE, answer))
        ]
        packages = ", ".join(f"{name} {version}" for name, version in row.versions.items())
        lines.append((f"`{row.command}`", row.suite, packages, *refused, ", ".join(how)))
    yield from _table(head, lines)


def _refused(row: Row, abi: str) -> str:
    total = sum(its == abi for its, _ in row.answers)
    return f"{total - row.count(abi, RUNS)} of {total}" if total else "-"


def _open_ones(rows: Sequence[Row]) -> Iterator[str]:
    """What has no filter unless it is told to."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.command, []).append(row.version)
    if found:
        yield "No filter at all, so every call runs, unless a profile is named:"
        yield ""
        for command, versions in found.items():
            yield f"- `{command}` ({', '.join(versions)})"


def _grid(rows: Sequence[Row], calls: Sequence[str]) -> Iterator[str]:
    """A line for each call, a column for each runtime."""
    found = _by_runtime(rows)
    lines = [
        (f"`{call}`", *(_course(releases, call) for releases in found.values()))
        for call in sorted(calls)
    ]
    yield from _table(("call", *found), lines)


def _by_runtime(rows: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.runtime, []).append(row)
    return found


def _course(releases: Sequence[Row], call: str) -> str:
    """What a runtime answers, and where a later release answers otherwise."""
    words = [_cell(releases[0], call)]
    for before, after in itertools.pairwise(releases):
        if _cell(before, call) != _cell(after, call):
            words.append(f"→ {_cell(after, call)} ({after.version})")
    return " ".join(words)


def _cell(row: Row, call: str) -> str:
    native = row.answer(_NATIVE, call)
    others = [
        f"{abi} {_SIGNS.get(answer, answer)}"
        for abi in list(ABIS)[1:]
        if (answer := row.answer(abi, call)) and answer != native
    ]
    return ", ".join((_SIGNS.get(native, native), *others))


def _changes(rows: Sequence[Row], calls: Sequence[str]) -> Iterator[str]:
    """Where the same runtime answers otherwise in a later release."""
    said = False
    for runtime, releases in _by_runtime(rows).items():
        for before, after in itertools.pairwise(releases):
            moved: dict[tuple[str, str], list[str]] = {}
            for call in calls:
                pair = (_cell(before, call), _cell(after, call))
                if pair[0] != pair[1]:
                    moved.setdefault(pair, []).append(call)
            for (old, new), names in sorted(moved.items()):
                said = True
                listed = ", ".join(f"`{name}`" for name in names)
                versions = f"{runtime} {before.version} → {after.version}"
                yield from textwrap.wrap(
                    f"- {versions}: {old} → {new} for {listed}", 100, subsequent_indent="  "
                )
    if not said:
        yield "Nothing."
