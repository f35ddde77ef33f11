"""``syscall-conformance run``: the main job, from any folder, wherever the suite stands."""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from probes import main_job
from probes.audit import source
from probes.audit.source import BEST
from probes.errors import BadInputError, InstrumentError
from probes.files import CASES
from probes.run.options import REPORT_DIR, RUN
from probes.text import shown
from reports import judging
from reports.commands.answer import Answer, Subparsers, add_command

_RUN = f"""\
Judges on this machine's kernel what the policy documents: the main job. TEST is a test of it, such
as 'cases/test_kill.py::test_terminates[x86_64-acct]'; without one all of them run. Paths are
relative to the working directory, and so is {main_job.REPORTS}, where the reports go.

It judges alone: configuration files, plug-ins and modules of the working directory and of the
environment say nothing.

exit status:
  0  conformant: everything that was asked holds
  1  not conformant: at least one claim failed
  2  interrupted, or the tests could not be collected
  3  the suite itself failed, or the reports could not be written
  4  an option or a file is wrong; one sentence says which and why
  5  nothing was assessed
  6  cannot tell: nothing failed, but something could not be assessed here
  7  broken: the instrument failed, so no verdict counts"""


@dataclass(frozen=True, slots=True)
class _Pytests:
    """An option of pytest's, or of one of its plug-ins.

    Attributes:
        name: the option as pytest is given it.
        help: a phrase for the list of options.
        keywords: what ``add_argument`` takes besides.
        other: another spelling of it; "" for none.
    """

    name: str
    help: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    other: str = ""

    @property
    def attribute(self) -> str:
        """Where ``argparse`` puts its value."""
        return f"pytest_{self.name.strip('-').replace('-', '_')}"

    @property
    def is_long(self) -> bool:
        """Whether its value may stand behind an equals sign."""
        return self.name.startswith("--")

    def add(self, group: argparse._ArgumentGroup) -> None:
        """Adds it to a group of a parser's."""
        names = [name for name in (self.name, self.other) if name]
        keywords = {"default": argparse.SUPPRESS, "dest": self.attribute, **self.keywords}
        group.add_argument(*names, help=self.help, **keywords)

    def given(self, value: object) -> Iterator[str]:
        """The words that give it a value."""
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                yield self.name
            elif isinstance(one, int):
                yield from [self.name] * one
            else:
                # Joined, for a folder that is called as the value would be taken for one of tests.
                yield f"{self.name}{'=' if self.is_long else ''}{one}"


def _value(metavar: str, **more: str) -> Mapping[str, Any]:
    return {"metavar": metavar, **more}


_WORKERS: Final = _Pytests(
    "-n",
    "processes: a number, auto or logical; default: auto, or 0 where one process alone can read the"
    " audit records",
    _value("N"),
    "--numprocesses",
)
_DIST: Final = _Pytests(
    "--dist", "each: every node of --tx judges its own kernel", {"choices": ["each"]}
)
_NODES: Final = _Pytests(
    "--tx", "with --dist each: a node, such as ssh=HOST", _value("SPEC", action="append")
)
_PYTESTS: Final = (
    _Pytests("-k", "only tests whose names match, such as 'acct or mount'", _value("EXPRESSION")),
    _WORKERS,
    _Pytests("-x", "end after the first failure", {"action": "store_true"}, "--exitfirst"),
    _Pytests("--maxfail", "end after so many failures", _value("N")),
    _Pytests("-v", "a line for each test", {"action": "count"}, "--verbose"),
    _Pytests("-q", "say less", {"action": "count"}, "--quiet"),
    _Pytests("-r", "which outcomes are summed up, such as A for all", _value("LETTERS")),
    _Pytests("--tb", "how failures are shown, such as short, line or no", _value("STYLE")),
    _Pytests("--color", "whether in colour", {"choices": ["yes", "no", "auto"]}),
    _Pytests("--durations", "show the N slowest tests", _value("N")),
    _Pytests(
        "--collect-only", "list the tests, and judge nothing", {"action": "store_true"}, "--co"
    ),
    _DIST,
    _NODES,
    _Pytests("--junit-xml", "where pytest's XML goes; default: to the reports", _value("FILE")),
    _Pytests("--html", "where pytest-html's page goes; default: to the reports", _value("FILE")),
)
_NUMBER: Final = re.compile(r"auto|logical|\d{1,4}")


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(commands, "run", _run, words="run the main job", description=_RUN)
    one.add_argument("tests", nargs="*", metavar="TEST")
    for option in RUN:
        words = f"default: {main_job.report_folder()}" if option.name == REPORT_DIR else ""
        keywords = option.keywords() | {"default": argparse.SUPPRESS}
        one.add_argument(option.word, **(keywords | ({"help": words} if words else {})))
    group = one.add_argument_group("options of pytest's")
    for pytests in _PYTESTS:
        pytests.add(group)


def _run(options: argparse.Namespace) -> Answer:
    """Becomes the pytest that judges, so that whoever started this process meets that one.

    Raises:
        BadInputError: the command line contradicts itself, or names no test.
        InstrumentError: this user cannot start the interpreter.
    """
    interpreter, *words = judging.command(*_words(vars(options)))
    try:
        os.execve(interpreter, [interpreter, *words], judging.environment())  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise InstrumentError(
            f"{interpreter} cannot be started ({error.strerror}): see that this user may run it"
        ) from error


def _words(given: Mapping[str, Any]) -> list[str]:
    """The words for pytest."""
    chosen = {_WORKERS.attribute: _workers(given), **given}
    if _NODES.attribute in given:
        chosen[_NODES.attribute] = [main_job.node(one) for one in given[_NODES.attribute]]
    elsewhere = _DIST.attribute in given
    if elsewhere:
        del chosen[_WORKERS.attribute]
    words = [*_tests(given["tests"], elsewhere=elsewhere)]
    if REPORT_DIR.replace("-", "_") not in given:
        words.append(f"--{REPORT_DIR}={main_job.report_folder()}")
    for option in RUN:
        if option.attribute in chosen:
            words += option.given(chosen[option.attribute])
    for pytests in _PYTESTS:
        if pytests.attribute in chosen:
            words += pytests.given(chosen[pytests.attribute])
    return words


def _workers(given: Mapping[str, Any]) -> str:
    """How many processes judge.

    Raises:
        BadInputError: that is no number, or there are nodes; or the source of audit records is
            none.
    """
    wanted = given.get(_WORKERS.attribute)
    if wanted is None:
        wanted_source = source.read(given.get("audit_source", str(BEST)))
        alone = "audit_fd" in given or wanted_source.is_for_one_process
        return "0" if alone else "auto"
    if not _NUMBER.fullmatch(wanted):
        raise BadInputError(
            f"-n {shown(wanted)}: how many processes judge is a whole number, auto or logical"
        )
    if _DIST.attribute in given:
        raise BadInputError(f"-n {wanted}: with --dist each every node judges alone: leave -n out")
    return str(wanted)


def _tests(given: Sequence[str], *, elsewhere: bool) -> list[str]:
    """The tests by their paths.

    Args:
        given: as the user wrote them.
        elsewhere: whether nodes run them.

    Raises:
        BadInputError: one is none of the main job's, or nodes cannot be told of it.
    """
    if given and elsewhere:
        raise BadInputError(f"{shown(given[0])}: a node takes no test's name: select tests by -k")
    return [_test(one) for one in given] or [str(CASES)]


def _test(name: str) -> str:
    path, colons, rest = name.partition("::")
    place = CASES.parent / path
    if place != CASES and not (place.parent == CASES and place.is_file()):
        raise BadInputError(
            f"{shown(name)}: there is no such test of the main job: name one such as"
            " 'cases/test_kill.py::test_terminates[x86_64-acct]', or select by -k"
        )
    return f"{place}{colons}{rest}"
