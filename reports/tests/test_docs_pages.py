"""What the pages say can be followed: links, paths, commands, and README's promises."""

import ast
import contextlib
import io
import re
import shlex
import struct
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from probes.files import SUITE
from probes.runtimes.arguments import CRI_WORDS
from reports.commands import main
from reports.tests.support import markdown
from reports.tests.support.job import POLICY
from reports.tests.test_docs_reference import modules, parsers, variables

PAGES: Final = markdown.pages()
README: Final = SUITE / "README.md"
CONTRIBUTING: Final = SUITE / "CONTRIBUTING.md"
PICTURE: Final = SUITE / "docs/compliance.png"
MOST_BYTES: Final = 150_000

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(SUITE)))


def dead_links(page: Path, text: str) -> list[str]:
    """The links of a page, with a text like this, that lead nowhere in the repository."""
    return [
        where
        for section in markdown.sections(text)
        for where, _ in section.links
        if not where.startswith("https://") and not _leads_somewhere(page, text, where)
    ]


def _leads_somewhere(page: Path, text: str, where: str) -> bool:
    path, _, anchor = where.partition("#")
    there = page.parent / path if path else page
    if not there.exists() or not there.resolve().is_relative_to(SUITE):
        return False
    if not anchor:
        return True
    return anchor in markdown.anchors(there.read_text(encoding="utf-8") if path else text)


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "link", ["docs/nothing.md", "docs/targets.md#nothing", "#nothing", "../../elsewhere"]
)
def test_a_link_that_leads_nowhere_is_red(link: str) -> None:
    assert dead_links(README, f"{README.read_text()}\n[there]({link})\n") == [link]


_TOP: Final = ("cases/", "probes/", "reports/", "docs/", ".ci/", "findings/")


def dead_paths(text: str) -> list[str]:
    """Paths of the repository's that a page names and that are not there."""
    named = [code for section in markdown.sections(text) for code in section.codes]
    found = [code.partition("::")[0].rstrip("/") for code in named if code.startswith(_TOP)]
    return [path for path in found if " " not in path and not _is_there(path)]


def _is_there(path: str) -> bool:
    # What a run makes is not in a checkout that has not run yet.
    return path.startswith("reports/out") or (SUITE / path).exists()


@each_page
def test_every_path_is_there(page: Path) -> None:
    assert dead_paths(page.read_text(encoding="utf-8")) == []


def test_a_path_that_is_not_there_is_red() -> None:
    assert dead_paths("Read `probes/nothing.py` and `cases/`.") == ["probes/nothing.py"]


def commands(text: str) -> Iterator[list[str]]:
    """The commands in a page's code blocks, each as its words."""
    for section in markdown.sections(text):
        for block in section.blocks:
            for line in block.replace("\\\n", " ").splitlines():
                command = line.strip().removeprefix("$ ")
                for part in re.split(r" && |; ", command):
                    if re.match(r"(?:\w+=\S+ )*(?:syscall-conformance|pytest) ", part):
                        yield shlex.split(part, comments=True)


def complaint(words: Sequence[str], config: pytest.Config) -> str:
    """What a program would say against its words; "" where it takes them."""
    words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "pytest":
        return _of_pytest(words[1:], config)
    said = io.StringIO()
    given = [word.strip("[]") for word in words[1:]]
    try:
        with contextlib.redirect_stderr(said):
            main._parser(given).parse_args(given)
    except SystemExit as refused:
        return said.getvalue() if refused.code else ""
    return ""


def _of_pytest(words: Sequence[str], config: pytest.Config) -> str:
    known = {name for one in config._parser.optparser._actions for name in one.option_strings}
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in known:
            return f"pytest has no {name}"
        if re.match(r"-[a-z]", name) and name[:2] not in known:
            return f"pytest has no {name[:2]}"
        path, _, test = word.partition("::")
        if test and not _has_test(path, test):
            return f"there is no {word}"
    return ""


def _has_test(path: str, test: str) -> bool:
    if not (SUITE / path).exists():
        return False
    tree = ast.parse((SUITE / path).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return test.partition("[")[0] in names


@each_page
def test_every_command_is_understood(page: Path, pytestconfig: pytest.Config) -> None:
    found = list(commands(page.read_text(encoding="utf-8")))
    assert [said for words in found if (said := complaint(words, pytestconfig))] == []


@pytest.mark.parametrize(
    "command",
    [
        "syscall-conformance gate alpine --nonsense --profile kill",
        "syscall-conformance gate alpine",
        "syscall-conformance nonsense",
        "pytest -n auto --nonsense=1",
        "pytest 'cases/test_kill.py::test_nonsense[x86_64-acct]'",
        "pytest 'cases/test_nonsense.py::test_terminates[x86_64-acct]'",
        "VARIABLE=1 pytest --nonsense probes",
    ],
)
def test_a_command_that_is_not_understood_is_red(command: str, pytestconfig: pytest.Config) -> None:
    (words,) = commands(f"Text.\n\n    {command}\n")
    assert complaint(words, pytestconfig)


_OTHERS: Final = frozenset(
    {
        *("--build-arg", "--cap-add", "--cidfile", "--entrypoint", "--name", "--network"),
        *("--pid-file", "--restart", "--rm"),
        *("--allow", "--oci-seccomp", "--quiet", "--seccomp-bpf-binary", "--seccomp-error-action"),
        *("--seccomp_log", "--seccomp_policy", "--security"),
        *("--disable_audit", "--logger_event_type"),
    }
)
"""Options of container engines, sandboxes and osquery, of which pages speak as well."""


def strange_options(text: str, known: frozenset[str]) -> list[str]:
    """Options that a page names in its sentences and tables, and that no program has."""
    named = [code for section in markdown.sections(text) for code in section.codes]
    found = [re.match(r"--[a-z][\w-]*", code) for code in named]
    return [match[0] for match in found if match and match[0] not in known]


def known_options(config: pytest.Config) -> frozenset[str]:
    """Every option of pytest, of the suite's commands, and of others of which pages speak."""
    actions = list(config._parser.optparser._actions)
    for parser in parsers().values():
        actions += parser._actions
    of_pods = {f"--{word}" for word in CRI_WORDS}
    named = {name for one in actions for name in one.option_strings}
    return _OTHERS | named | of_pods | {"--version"}


@each_page
def test_every_option_in_a_sentence_is_one(page: Path, pytestconfig: pytest.Config) -> None:
    known = known_options(pytestconfig)
    assert strange_options(page.read_text(encoding="utf-8"), known) == []


def test_an_option_that_is_none_is_red(pytestconfig: pytest.Config) -> None:
    known = known_options(pytestconfig)
    assert strange_options("Say `--nonsense=1` or `--help`.", known) == ["--nonsense"]


def test_readme_begins_with_its_two_commands() -> None:
    blocks = [one for section in markdown.sections(README.read_text()) for one in section.blocks]
    assert blocks[:2] == [
        ". .ci/setup && pytest -n auto\n",
        "sh .ci/oracles && pytest -n auto --dist worksteal probes reports cases/tests\n",
    ]
    script = (SUITE / ".ci/run").read_text()
    for block in blocks[:2]:
        assert block.partition(" && ")[2].strip() in script


def test_readme_counts_the_calls_of_the_policy() -> None:
    calls = {one["name"] for one in tomllib.loads(POLICY.read_text())["call"]}
    assert f"covers {len(calls)} calls" in README.read_text()


def listed_pages(text: str) -> set[str]:
    """The pages of the documentation to which README, or CONTRIBUTING, leads."""
    links = [where for section in markdown.sections(text) for where, _ in section.links]
    return {where.partition("#")[0] for where in links if where.endswith(".md")}


def test_every_page_is_reached_from_readme_or_contributing() -> None:
    there = {str(path.relative_to(SUITE)) for path in (SUITE / "docs").glob("*.md")}
    led_to = listed_pages(README.read_text()) | listed_pages(CONTRIBUTING.read_text())
    assert there <= led_to


def sandboxes(text: str) -> set[str]:
    """The pages to which the page about targets leads as those of sandboxes."""
    return {where for where, _ in markdown.section(text, "Sandboxes").links}


def test_every_page_of_a_sandbox_is_reached_from_the_page_about_targets() -> None:
    text = (SUITE / "docs/targets.md").read_text(encoding="utf-8")
    there = {f"sandboxes/{path.name}" for path in (SUITE / "docs/sandboxes").iterdir()}
    assert sandboxes(text) == there
    for row in markdown.section(text, "Sandboxes").tables[0]:
        assert sandboxes(markdown.without(text, row)) < there


def test_a_page_that_is_not_listed_is_red() -> None:
    text = README.read_text()
    row = markdown.section(text, "Reference").tables[0][0]
    assert listed_pages(markdown.without(text, row)) < listed_pages(text)


def chunks(png: bytes) -> list[str]:
    """The kinds of a PNG file's parts, in order."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        found.append(kind.decode("ascii"))
        place += length + 12
    return found


def test_the_picture_is_small_and_says_nothing_but_what_is_seen() -> None:
    data = PICTURE.read_bytes()
    assert len(data) < MOST_BYTES
    assert set(chunks(data)) <= {"IHDR", "PLTE", "IDAT", "IEND", "sRGB", "gAMA", "pHYs", "sBIT"}


def test_readme_shows_one_picture_with_words_for_who_cannot_see_it() -> None:
    shown = [
        words
        for section in markdown.sections(README.read_text())
        for where, words in section.links
        if where == "docs/compliance.png"
    ]
    assert len(shown) == 1
    assert len(shown[0]) > 40


def rooms(paths: Sequence[Path]) -> set[str]:
    """The folders of modules, without those of tests."""
    return {f"{path.parent}/" for path in paths if "tests" not in path.parts}


def mapped(text: str) -> set[str]:
    """The folders of CONTRIBUTING's map."""
    return {row.key for row in markdown.section(text, "The map").tables[0]}


def test_the_map_has_every_room_and_no_other() -> None:
    assert mapped(CONTRIBUTING.read_text()) == rooms(modules())


def test_another_room_makes_the_map_red() -> None:
    more = [*modules(), Path("probes/nonsense/thing.py")]
    assert mapped(CONTRIBUTING.read_text()) != rooms(more)


def test_a_room_that_is_gone_makes_the_map_red() -> None:
    text = CONTRIBUTING.read_text()
    for row in markdown.section(text, "The map").tables[0]:
        assert mapped(markdown.without(text, row)) != rooms(modules())


@pytest.mark.slow
def test_contributing_lists_the_variables_of_the_tests() -> None:
    section = markdown.section(CONTRIBUTING.read_text(), "Environment variables of the tests")
    rows = {row.key for row in section.tables[0]}
    product = variables()
    assert rows == {name for name in variables(of_tests=True) if name not in product}
