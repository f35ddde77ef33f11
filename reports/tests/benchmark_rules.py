"""What each rule for others' readers finds among records of every call: hits and misses.

``python -m reports.tests.benchmark_rules``. The records are those of the rules' tests: of every
documented call on x86's three ABIs under each profile, some of other ABIs, and of harmless calls,
100 of each ABI. It takes the programs and packages that those tests take.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from probes import arch
from probes.action import Profile
from probes.tests.support.headers import X32
from probes.tests.support.osquery_log import fields_of
from reports.tests.support.rule_finders import FINDERS, expected, key_of, said, texts

_PROFILES: Final = {
    "0x80000000": Profile.KILL,
    "0x0": Profile.KILL,
    "0x7ffc0000": Profile.LOG,
    "0x50000": Profile.ERRNO,
}
_HARMLESS: Final = "harmless calls"


def group_of(text: str, documented: frozenset[str]) -> tuple[str, str]:
    """What a record is of: an ABI and a profile, or a call that nobody documents."""
    token, number = key_of(text)
    name = arch.TOKENS[int(token, 16)].lower()
    if name == "x86_64" and int(number) >= X32:
        name = "x32"
    return name, _PROFILES[fields_of(text)["code"]].value if text in documented else _HARMLESS


def table(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of a table, its first column to the left."""
    widths = [max(len(f"{row[place]}") for row in rows) for place in range(len(rows[0]))]
    for first, *others in rows:
        cells = (f"{one:>{width}}" for one, width in zip(others, widths[1:], strict=True))
        yield "  ".join((f"{first:<{widths[0]}}", *cells)).rstrip()


def main() -> int:
    """Prints both tables; 1 where a rule misses a record, or finds another one."""
    every, wanted = Counter(texts()), Counter(expected())
    totals: list[Sequence[object]] = [
        ("reader", "records", "documented", "hit", "missed", "false"),
    ]
    found_by = dict[str, Counter[str]]()
    for form, finder in FINDERS:
        with tempfile.TemporaryDirectory() as folder:
            found = Counter(finder(said(form), Path(folder)))
        reader = finder.__name__.removeprefix("by_").replace("_", " ")
        found_by[reader] = found
        hit, missed, false = (
            (wanted & found).total(),
            (wanted - found).total(),
            (found - wanted).total(),
        )
        totals.append((reader, every.total(), wanted.total(), hit, missed, false))
    documented = frozenset(wanted)
    groups = sorted({group_of(text, documented) for text in every})
    by_group: list[Sequence[object]] = [("found of", "records", *found_by)]
    for group in groups:
        inside = Counter(
            {text: count for text, count in every.items() if group_of(text, documented) == group}
        )
        hits = ((inside & found).total() for found in found_by.values())
        by_group.append((", ".join(group), inside.total(), *hits))
    sys.stdout.write("\n".join((*table(totals), "", *table(by_group), "")))
    return int(any(found != wanted for found in found_by.values()))


if __name__ == "__main__":
    sys.exit(main())
