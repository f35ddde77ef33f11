"""Patterns of waivers: for names of calls and ABIs, and for versions. Pure.

Several names stand side by side, and in each ``*`` stands for anything and ``?`` for one sign.
Other signs stand for themselves, for conditions of calls have brackets in their names.
"""

import re
from functools import lru_cache
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

APART: Final = "|"
"""What stands between names that a pattern is for."""

_FEWEST_LETTERS: Final = 3
_WILD: Final = re.compile(r"[*?]")
_RELEASE: Final = re.compile(r"[0-9]+(\.[0-9]+)*")


def alternatives(pattern: str) -> tuple[str, ...]:
    """The names that stand side by side, each of which may have wildcards."""
    return tuple(pattern.split(APART))


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern is for a name."""
    return pattern == name or _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    escaped = (re.escape(one) for one in alternatives(pattern))
    return re.compile("|".join(escaped).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def is_wild(name: str) -> bool:
    """Whether a name has a wildcard."""
    return _WILD.search(name) is not None


def is_for_nearly_anything(name: str) -> bool:
    """Whether a name has a wildcard and hardly a sign besides."""
    return is_wild(name) and len(_WILD.sub("", name)) < _FEWEST_LETTERS


def in_range(versions: str, version: str) -> bool:
    """Whether a version is in a range, by the numbers at its beginning.

    Args:
        versions: a range as ``is_range`` takes it.
        version: a version such as ``6.18.44-cloud`` or ``1.1.5+ds1``; "" for one that is not known,
            which is in no range.
    """
    found = _RELEASE.match(version)
    return found is not None and SpecifierSet(versions).contains(Version(found[0]))


def is_range(text: str) -> bool:
    """Whether a text is a range of versions, such as ``>=6.1, <6.12``."""
    try:
        return bool(SpecifierSet(text))
    except InvalidSpecifier:
        return False
