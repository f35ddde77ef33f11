"""What a verdict says is shown as it is: readers take no sentence apart."""

import ast
from pathlib import Path

import pytest

from probes.files import SUITE

TEXTS = {"sentence", "observed", "expected", "reason", "why"}
TAKING_APART = {
    "endswith",
    "find",
    "index",
    "partition",
    "removeprefix",
    "removesuffix",
    "rfind",
    "rindex",
    "rpartition",
    "rsplit",
    "split",
    "splitlines",
    "startswith",
}
MATCHING = {"findall", "finditer", "fullmatch", "match", "search", "split", "sub"}
ALLOWED = {"reports/results/before_reasons.py"}
"""Records of earlier versions have their reasons in sentences only."""


def is_text(node: ast.AST) -> bool:
    """Whether an expression is a text of a verdict, or made of one."""
    return any(isinstance(one, ast.Attribute) and one.attr in TEXTS for one in ast.walk(node))


def taken_apart(source: str) -> list[int]:
    """The lines in which a text of a verdict is cut, searched or matched."""
    tree = ast.parse(source)
    named = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and is_text(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def holds(node: ast.AST) -> bool:
        return is_text(node) or (isinstance(node, ast.Name) and node.id in named)

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            cut = node.func.attr in TAKING_APART and holds(node.func.value)
            matched = node.func.attr in MATCHING and any(map(holds, node.args))
            if cut or matched:
                found.append(node.lineno)
        elif isinstance(node, ast.Subscript):
            # The first letter may become a capital.
            if isinstance(node.value, ast.Attribute) and node.value.attr in TEXTS:
                first = isinstance(node.slice, ast.Slice) and ast.unparse(node.slice) in {
                    ":1",
                    "1:",
                }
                if not first:
                    found.append(node.lineno)
        elif isinstance(node, ast.Compare) and any(
            isinstance(operator, ast.In | ast.NotIn) for operator in node.ops
        ):
            asked = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
            if asked and any(map(holds, node.comparators)):
                found.append(node.lineno)
    return sorted(found)


def readers() -> list[Path]:
    """The modules that show verdicts."""
    return [
        path
        for folder in ("reports", "cases")
        for path in sorted((SUITE / folder).rglob("*.py"))
        if "tests" not in path.parts
    ]


@pytest.mark.parametrize("path", readers(), ids=lambda path: str(path.relative_to(SUITE)))
def test_no_text_of_a_verdict_is_taken_apart(path: Path) -> None:
    found = taken_apart(path.read_text(encoding="utf-8"))
    assert bool(found) is (str(path.relative_to(SUITE)) in ALLOWED), found


@pytest.mark.parametrize(
    "mutant",
    [
        'opening, _, rest = gap.sentence.partition(": ")',
        'told = cell.observed.startswith("the program returns ")',
        "words = cell.why.split()",
        're.match("acct", cell.sentence)',
        "import re\nre.sub(pattern, '', first.reason)",
        "sentence = cell.sentence\nrest = sentence.removeprefix(name)",
        'bad = "no rule" in cell.reason',
        "short = cell.sentence[10:]",
    ],
)
def test_whoever_takes_one_apart_is_found(mutant: str) -> None:
    assert taken_apart(mutant)


@pytest.mark.parametrize(
    "fine",
    [
        "same = cell.expected in cell.sentence",
        "words = capital(cell.why)",
        "first = one.sentence[:1].upper() + one.sentence[1:]",
        'line = f"{cell.sentence}: {name}"',
    ],
)
def test_showing_one_is_fine(fine: str) -> None:
    assert not taken_apart(fine)
