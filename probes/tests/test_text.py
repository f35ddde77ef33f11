"""Text from outside, as lines, terminals and pages can hold it."""

import ast

import pytest

from probes.files import SUITE
from probes.text import counted, did_you_mean, in_brackets, visible

KNOWN = ("kill", "errno", "log", "CAP_SYS_ADMIN")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("killl", "kill"),
        ("KILL", "kill"),
        ("ERNO", "errno"),
        ("cap_sys_admim", "CAP_SYS_ADMIN"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_a_similar_word_is_proposed(word: str, meant: str) -> None:
    assert did_you_mean(word, KNOWN) == (f"did you mean {meant}?" if meant else "")


def test_what_is_said_where_nothing_is_similar() -> None:
    assert did_you_mean("zebra", KNOWN, "check its spelling") == "check its spelling"
    assert did_you_mean("klog", KNOWN) == "did you mean log?"
    assert not did_you_mean("klog", KNOWN, alike=0.9)


def test_a_proposal_breaks_no_line() -> None:
    assert did_you_mean("ab", ["a\nb"], quote="'") == "did you mean 'a\\nb'?"


def test_what_is_said_by_the_way() -> None:
    assert f"x{in_brackets('y')}" == "x (y)"
    assert not in_brackets("")


def test_one_function_proposes_words() -> None:
    """Whoever imports difflib compares words, or whole texts, by himself."""
    import_it = {
        path.relative_to(SUITE).as_posix()
        for folder in ("cases", "probes", "reports")
        for path in (SUITE / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(one.name == "difflib" for one in node.names)
    }

    assert import_it == {"probes/text.py"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünï ✓", "plain ünï ✓"),
        ("\u202etxt", "\\u202etxt"),
        ("a\nb\tc", "a\\u000ab\\u0009c"),
        ("\x1b[31m\udcff", "\\u001b[31m\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_characters_that_act_are_shown(raw: str, shown: str) -> None:
    """Controls, bidirectional ones among them, become readable."""
    assert visible(raw) == shown


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 calls"), (1, "1 call"), (2, "2 calls"), (1_234_567, "1,234,567 calls")],
)
def test_numbers_of_things_are_written_one_way(number: int, said: str) -> None:
    assert counted(number, "call") == said
