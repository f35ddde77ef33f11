"""What the documentation lists is what the code has: nothing missing, and nothing else.

Every table that lists something is held to the code's own list of it, both ways. To hold another
one, add it to ``TABLES`` or ``COMMANDS``; that it can turn red is shown for every row of each.
"""

import argparse
import ast
import functools
import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from probes import deviation
from probes.action import Profile
from probes.audit import auditbeat, laurel, log_file, osquery, source, trail
from probes.cell import Cause, EvidenceKind, Outcome
from probes.errors import BadInputError, ExitStatus
from probes.files import SUITE
from probes.guest.machines import MACHINES
from probes.judging import claims as rows
from probes.runtimes.arguments import CRI_WORDS
from probes.targets import name
from probes.targets.oci import needs
from probes.targets.oci.reader import NEWEST, OLDEST, Engine, Runtime, spelled
from reports.causes.looks import LOOKS
from reports.commands import main
from reports.filters import allowlist, documents
from reports.filters.record_rules import RuleFormat
from reports.formats.catalogue import FORMATS
from reports.results import comparison, fleet, observed
from reports.summary import OUTCOME_WORDS
from reports.tests.support import job, markdown
from reports.tests.support.markdown import Fact, Row, complaints

Known = Mapping[str, Fact]

_SHARED: Final = "#options-of-"
"""Where a link leads that says that a command has the options of another section as well."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the documentation, and what the code itself lists.

    Attributes:
        page: the page, seen from the top of the repository.
        section: the title of its section.
        known: what the code lists.
        place: which of the section's tables it is, counted from 0.
    """

    page: str
    section: str
    known: Callable[[], Known]
    place: int = 0

    def text(self) -> str:
        """The page."""
        return (SUITE / self.page).read_text(encoding="utf-8")

    def rows(self, text: str) -> list[Row]:
        """The table's rows on a page like this one."""
        return markdown.section(text, self.section).tables[self.place]

    def complaints(self, text: str) -> list[str]:
        """Where a page like this one differs from the code."""
        return complaints(self.rows(text), self.known())

    def __str__(self) -> str:
        """Its name as a parameter."""
        return f"{self.page}#{self.section}-{self.place}"


def named(names: Iterable[str]) -> Known:
    """Names of which nothing else is said."""
    return {one: Fact() for one in names}


def said(words: Mapping[str, Iterable[str]]) -> Known:
    """Names with what their rows must say."""
    return {one: Fact(frozenset(facts)) for one, facts in words.items()}


def claims() -> Known:
    """The claims, with their profiles and meanings."""
    return said({claim: (profile_of(row), row.meaning) for claim, row in rows.ROWS.items()})


def profile_of(row: rows.Row) -> str:
    """The profile under which a claim is made; "all" for every one."""
    return str(row.profiles[0]) if len(row.profiles) == 1 else "all"


def terms(file: str, section: str = "") -> Mapping[str, str]:
    """The terms that a part of the compliance page explains, with their first sentences."""
    text = (SUITE / "reports/html" / file).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    heading = ""
    for element in ET.fromstring(f"<div>{text}</div>"):  # noqa: S314 - our own file
        if element.tag == "h3":
            heading = "".join(element.itertext())
        if element.tag == "dl" and heading == section:
            children = list(element)
            for term, meaning in zip(children[::2], children[1::2], strict=True):
                found["".join(term.itertext())] = "".join(meaning.itertext())
    return found


def outcomes() -> Known:
    """The outcomes, as the page's glossary explains them."""
    explained = terms("glossary.html", "Outcomes")
    return said(
        {OUTCOME_WORDS[one]: [explained[OUTCOME_WORDS[one].capitalize()]] for one in Outcome}
    )


def deviations() -> Known:
    """What runtimes do to every profile."""
    return said(
        {row.name: (row.by, *row.met_under, row.meaning) for row in deviation.ROWS.values()}
    )


def causes() -> Known:
    """The causes, as the page's glossary explains them."""
    explained = terms("glossary.html", "Causes")
    return said(
        {one: [explained["LSM" if one is Cause.LSM else one.value.capitalize()]] for one in Cause}
    )


def evidence() -> Known:
    """The kinds of evidence, as the page's method explains them."""
    explained = terms("method.html")
    return said(
        {
            kind: [f"{explained[kind.value.capitalize()].split('. ')[0].rstrip('.')}."]
            for kind in EvidenceKind
        }
    )


def statuses() -> Known:
    """The exit statuses, by their numbers."""
    return said({str(int(one)): [one.name.lower().replace("_", " ")] for one in ExitStatus})


def audit_sources() -> Known:
    """The sources of audit records: those that a refusal names, and the default."""
    with pytest.raises(BadInputError) as refused:
        source.read("nonsense")
    listed = re.search(r"it is (.*?), and without", str(refused.value))
    assert listed
    words = (*_listed(listed[1]), str(source.BEST))
    assert {word.partition(":")[0] for word in words} == set(source.SourceKind)
    return named(words)


def losses() -> Known:
    """The sources that can lose records, with the seconds for which they are waited for in vain.

    The first are those of a source that is silent, the second of one with others' events alone.
    """
    first, later = trail.RECORD_DEADLINE_SECONDS, trail.SILENT_SECONDS
    again = trail.MOST_OVERDUE - 1
    patience = max(first, osquery._LEAST_PATIENCE)
    slow = (patience, patience + again * max(later, osquery._LEAST_PATIENCE / log_file._LESS))
    assert osquery._LEAST_PATIENCE == auditbeat._LEAST_PATIENCE
    held_back = laurel.PENDING_SECONDS
    costs = {
        source.SourceKind.LAUREL: (
            first + held_back,
            first + held_back + again * (later * trail._FIRST_SHARE + held_back),
        ),
        source.SourceKind.OSQUERY: slow,
        source.SourceKind.AUDITBEAT: slow,
    }
    words = source.forms(source.SourceKind.NONE)
    return said(
        {
            word: [
                f"{seconds:g} s"
                for seconds in costs.get(
                    source.SourceKind(word.partition(":")[0]), (first, first + again * later)
                )
            ]
            for word in _listed(words)
        }
    )


def target_words() -> Known:
    """The targets: those that a refusal names, and what only a run can judge."""
    words = (*_listed(name.WORDS), name.AMBIENT)
    kinds = {name.BUILTIN, name.AMBIENT, *name._WITH_ARGUMENT}
    assert {word.partition(":")[0] for word in words} == kinds
    return named(words)


def _listed(sentence: str) -> list[str]:
    return re.split(r", | or ", sentence)


def releases(names: Iterable[Engine | Runtime]) -> Known:
    """Readers of profiles, with the releases between which they are known."""
    bounds = (OLDEST, NEWEST)
    return said({one: [spelled(each[one]) for each in bounds if one in each] for one in names})


def words_about_pods() -> Known:
    """What can be said about a pod that is started."""
    return named(f"--{word}{value and f'={value}'}" for word, value in CRI_WORDS.items())


def measured_runtimes() -> Known:
    """Runtimes with the releases whose calls after the filter were measured."""
    found = {
        one: sorted({row.version for row in needs.measured() if row.runtime is one})
        for one in Runtime
    }
    return said({one: [", ".join(map(spelled, versions))] for one, versions in found.items()})


def guests() -> Known:
    """The guests, with Debian's architectures."""
    return said({one.name: [one.userland] for one in MACHINES.values()})


_SCHEMAS: Final = {
    "explain": documents.EXPLANATION,
    "diff": documents.DIFFERENCE,
    "compare": comparison.SCHEMA,
    "observe": observed.SCHEMA,
    "merge": fleet.SCHEMA,
}


def forms_of_reports() -> Known:
    """The commands that have a page, with the files of their schemas."""
    asked = {"--format", "--html"}
    having = {name for name, one in parsers().items() if asked <= one._option_string_actions.keys()}
    assert having == _SCHEMAS.keys()
    files = {name: f"{word.split('/')[1]}.schema.json" for name, word in _SCHEMAS.items()}
    assert all((SUITE / "reports/results" / file).exists() for file in files.values())
    return said({name: [file] for name, file in files.items()})


@functools.cache
def files_of_a_run() -> Known:
    """What a run leaves in its folder."""
    with tempfile.TemporaryDirectory() as folder:
        job.run(Path(folder), *job.ALONE, *job.SMALL, "-k", "acct")
        return named(path.name for path in Path(folder).iterdir())


def told_by(command: str) -> list[str]:
    """The exit statuses that a command's help lists."""
    return re.findall(r"^ {2}(\d)  ", parsers()[command].description or "", re.MULTILINE)


_VARIABLE: Final = re.compile(
    r"(?:SYSCALL_CONFORMANCE|XDG|GITHUB|GITLAB|CI|JENKINS|BUILD)_[A-Z_]+|PYTHON[A-Z]+|PYTEST_[A-Z_]*"
)


@functools.cache
def variables(*, of_tests: bool = False) -> frozenset[str]:
    """The environment variables that the suite reads, or its tests do; all of Python's are one."""
    texts = [
        (SUITE / path).read_text(encoding="utf-8")
        for path in modules()
        if ("tests" in path.parts) is of_tests
    ]
    parsed = [ast.parse(text) for text in texts if "environ" in text or _VARIABLE.search(text)]
    found = {name for module in parsed for name in asked_for(module)}
    if of_tests:
        return frozenset(name for name in found if name.startswith("SYSCALL_CONFORMANCE_"))
    found |= {name for module in parsed for name in looking_like_one(module)}
    return frozenset(re.sub(r"^(PYTHON|PYTEST_).*", r"\1*", name) for name in found)


def asked_for(module: ast.Module) -> Iterator[str]:
    """The variables for which a module asks ``os.environ``, by themselves or by a constant."""
    constants = {
        ast.unparse(target): node.value
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get":
            asked = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            asked = node.slice
        else:
            continue
        named = constants.get(ast.unparse(asked), asked)
        if isinstance(named, ast.Constant) and isinstance(named.value, str):
            yield named.value


def looking_like_one(module: ast.Module) -> Iterator[str]:
    """The texts of a module that are names of variables, however it comes to read them."""
    for node in ast.walk(module):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and _VARIABLE.fullmatch(text):
            yield text


def modules() -> list[Path]:
    """Every module of the suite and its tests, seen from the top of the repository."""
    return [
        path.relative_to(SUITE)
        for folder in ("cases", "probes", "reports")
        for path in sorted((SUITE / folder).rglob("*.py"))
    ]


def parsers() -> Mapping[str, argparse.ArgumentParser]:
    """What parses the words of each command."""
    for action in main._parser(())._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    raise LookupError


def options(command: str) -> Known:
    """The options of a command."""
    actions = parsers()[command]._actions
    return {spelled_option(one): fact(one) for one in actions if "-h" not in one.option_strings}


def spelled_option(action: argparse.Action) -> str:
    """An option as the documentation writes it, such as ``--arch=NAMES``."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    name = action.option_strings[0]
    if action.nargs == 0:
        return name
    metavar = action.metavar or name.strip("-").upper()
    return f"{name}{'=' if name.startswith('--') else ' '}{metavar}"


def fact(action: argparse.Action) -> Fact:
    """What the row of an option must say: its default, and its choices."""
    choices = None if action.choices is None else frozenset(map(str, action.choices))
    return Fact(_default(action.default), choices)


def _default(value: object) -> frozenset[str]:
    if not value or isinstance(value, (bool, list)) or value is argparse.SUPPRESS:
        return frozenset()
    if isinstance(value, float):
        return frozenset({f"{value:g}"})
    return frozenset({str(value).removeprefix(f"{SUITE}/")})


def options_of_the_main_job(config: pytest.Config) -> Known:
    """The options that the suite gives pytest."""
    groups = config._parser.optparser._action_groups
    (ours,) = (one for one in groups if one.title == "syscall-conformance")
    return {spelled_option(one): fact(one) for one in ours._group_actions}


def option_rows(text: str, title: str) -> list[Row]:
    """The options that a section lists, with those of sections that it says it has as well."""
    by_anchor = {f"#{one.anchor}": one for one in markdown.sections(text)}
    own = markdown.section(text, title)
    linked = [by_anchor[where] for where, _ in own.links if where.startswith(_SHARED)]
    return [row for one in (own, *linked) for row in (one.tables[0] if one.tables else [])]


TABLES: Final = (
    Table("README.md", "syscall-conformance", lambda: named(Profile)),
    Table("docs/commands.md", "export", lambda: named(allowlist.ExportFormat), 1),
    Table("docs/commands.md", "rules", lambda: named(RuleFormat), 1),
    Table("docs/commands.md", "Environment variables", lambda: named(variables())),
    Table("docs/kubernetes.md", "A pod that is started", words_about_pods),
    Table("docs/machines.md", "Other kernels", guests),
    Table("docs/reports.md", "Formats", lambda: said({n: [f.file] for n, f in FORMATS.items()})),
    Table("docs/reports.md", "Forms of a report", forms_of_reports),
    Table("docs/reports.md", "Reports of a run", files_of_a_run),
    Table("docs/targets.md", "Profiles and their readers", lambda: releases(Engine)),
    Table("docs/targets.md", "Profiles and their readers", lambda: releases(Runtime), 1),
    Table("docs/targets.md", "Profiles and their readers", measured_runtimes, 2),
    Table("docs/targets.md", "Every target", target_words),
    Table("docs/verdicts.md", "Loss and silence", losses),
    Table("docs/targets.md", "What runtimes do to every profile", deviations),
    Table("docs/verdicts.md", "Audit records", audit_sources),
    Table("docs/verdicts.md", "Causes", causes),
    Table("docs/verdicts.md", "Claims", claims),
    Table("docs/verdicts.md", "Evidence", evidence),
    Table("docs/verdicts.md", "Exit status", statuses),
    Table("docs/verdicts.md", "Kinds", lambda: said({k: [one.sign] for k, one in LOOKS.items()})),
    Table("docs/verdicts.md", "Outcomes", outcomes),
    Table("docs/observe.md", "Will this workload survive?", lambda: named(told_by("observe"))),
)


COMMANDS_PAGE: Final = SUITE / "docs/commands.md"
MAIN_JOB: Final = "The main job"
COMMANDS: Final = (MAIN_JOB, *main._COMMANDS)


def known_options(command: str, config: pytest.Config) -> Known:
    """The options of a command, or of the main job."""
    return options_of_the_main_job(config) if command == MAIN_JOB else options(command)


each_table = pytest.mark.parametrize("table", TABLES, ids=str)
each_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.mark.slow
@each_table
def test_a_table_lists_what_the_code_has(table: Table) -> None:
    assert table.complaints(table.text()) == []


@pytest.mark.slow
@each_table
def test_a_row_that_is_missing_is_red(table: Table) -> None:
    text = table.text()
    for row in table.rows(text):
        assert table.complaints(markdown.without(text, row)) == [f"{row.key}: is not documented"]


@pytest.mark.slow
@each_table
def test_a_row_too_many_is_red(table: Table) -> None:
    text = table.text()
    last = table.rows(text)[-1]
    made = markdown.with_row(text, last, *("`nonsense`" for _ in last.cells))
    assert table.complaints(made) == ["nonsense: is documented, and not in the code"]


@pytest.mark.slow
@each_table
def test_a_row_that_says_something_else_is_red(table: Table) -> None:
    text = table.text()
    known = table.known()
    for row in table.rows(text):
        facts = known[row.key].says
        made = markdown.without(text, row)
        before = Row(row.cells, row.codes, row.line - 1)
        made = markdown.with_row(made, before, row.key, *("else" for _ in row.cells[1:]))
        assert len(table.complaints(made)) == len(facts)


@each_command
def test_the_options_of_a_command_are_those_of_its_parser(
    command: str, pytestconfig: pytest.Config
) -> None:
    rows = option_rows(COMMANDS_PAGE.read_text(), command)
    assert complaints(rows, known_options(command, pytestconfig)) == []


@pytest.mark.slow
@each_command
def test_an_option_that_is_missing_is_red(command: str, pytestconfig: pytest.Config) -> None:
    text = COMMANDS_PAGE.read_text()
    known = known_options(command, pytestconfig)
    for row in option_rows(text, command):
        rows = option_rows(markdown.without(text, row), command)
        assert complaints(rows, known) == [f"{row.key}: is not documented"]


@pytest.mark.slow
@each_command
def test_an_option_too_many_is_red(command: str, pytestconfig: pytest.Config) -> None:
    text = COMMANDS_PAGE.read_text()
    known = known_options(command, pytestconfig)
    last = option_rows(text, command)[-1]
    rows = option_rows(markdown.with_row(text, last, "`--nonsense`", "", ""), command)
    assert complaints(rows, known) == ["--nonsense: is documented, and not in the code"]


@each_command
def test_another_default_or_choice_is_red(command: str, pytestconfig: pytest.Config) -> None:
    text = COMMANDS_PAGE.read_text()
    known = known_options(command, pytestconfig)
    for row in option_rows(text, command):
        fact = known[row.key]
        changed = Row((row.key, "", ""), ((row.key,), ("`nonsense`",), ()), row.line)
        expected = len(fact.says) + (fact.choices is not None)
        assert len(complaints([changed], {row.key: fact})) == expected


def test_every_command_has_a_section_and_no_other_has() -> None:
    titles = [one.title for one in markdown.sections(COMMANDS_PAGE.read_text())]
    lower = [title for title in titles if title and title.islower()]
    assert sorted(lower) == sorted(parsers())


def test_a_variable_is_found_however_it_is_read() -> None:
    module = ast.parse(
        'A = "SYSCALL_CONFORMANCE_X"\nB: str = "W"\n'
        'os.environ.get("Y", "")\nos.environ["Z"]\nos.environ.get(B)'
    )
    assert sorted(looking_like_one(module)) == ["SYSCALL_CONFORMANCE_X"]
    assert sorted(asked_for(module)) == ["W", "Y", "Z"]


def test_a_cell_that_stands_twice_is_red() -> None:
    rows = [Row(("a", ""), ((), ()), 3)] * 2
    assert complaints(rows, named(["a"])) == ["a: stands there 2 times"]
