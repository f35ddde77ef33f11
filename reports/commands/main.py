"""What ``syscall-conformance`` does, which is no test run: it parses, calls and writes.

Every command answers with an exit status and what it has to say, which is written at the very
end: a reader who has had enough changes no status.
"""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from probes import interruption
from probes.errors import ExitStatus, SuiteError
from probes.filters.prover import TooComplexError
from probes.text import shown
from probes.version import DISTRIBUTION, VERSION
from reports.commands import output
from reports.commands.answer import carry_out

PROGRAM = DISTRIBUTION

_COMMANDS = (
    *("run", "gate", "node", "observe", "guest", "report", "compare", "merge"),
    *("waivers", "export", "rules", "explain", "diff", "audit", "with-audit", "completion"),
)
"""In the order of the program's help; each is a module of ``reports.commands``."""

_MODULES = {"node": "whole_node"}
"""The modules that are not called as their commands are."""

_COMPLETING = "_ARGCOMPLETE"
_LINE = "COMP_LINE"
"""Variables of a shell that wants a command line completed."""


def run(words: Sequence[str]) -> int:
    """Runs the command.

    Args:
        words: those after the program's name.

    Returns:
        The exit status. ``SystemExit`` with it comes for ``--help`` and a faulty command line.
    """
    if not words and {_COMPLETING, _LINE} <= os.environ.keys():
        _complete(os.environ[_LINE].split()[1:])
    options = _parser(words).parse_args(words)
    try:
        with interruption.orderly():
            answer = carry_out(options)
        for one in answer.further:
            output.write(one.said, one.name)
        output.write(answer.said, answer.file, is_lines=answer.is_lines)
    except SuiteError as error:
        return _refused(f"{options.command}: {error}", error.exit_status)
    except TooComplexError as error:
        return _refused(f"{options.command}: there is no proof: {error}", ExitStatus.BROKEN)
    except KeyboardInterrupt:
        return _refused("interrupted", ExitStatus.INTERRUPTED)
    except Exception:  # noqa: BLE001 - Python's own status for it, 1, means "different" here
        traceback.print_exc()
        return ExitStatus.INTERNAL_ERROR
    for note in answer.notes:
        _tell(f"note: {note}")
    return answer.status


def _complete(words: Sequence[str]) -> None:
    """Tells a shell how a command line may go on, and ends this process with 0.

    Args:
        words: those of the command line, as far as it is written. The command itself is given none:
            one that is told to do something must not end so.
    """
    from argcomplete import autocomplete  # noqa: PLC0415 - takes long, and nothing else needs it

    autocomplete(_parser(words))


def _refused(sentence: str, status: ExitStatus) -> ExitStatus:
    _tell(f"{PROGRAM} {sentence}")
    return status


def _tell(sentence: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{sentence}\n")


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence and exit as a faulty input does."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - argparse's own many keywords
        """Takes what argparse takes; options may not be cut short."""
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def error(self, message: str) -> NoReturn:
        """Refuses the command line."""
        self.exit(ExitStatus.USAGE, f"{self.prog}: {shown(message)} (see {self.prog} --help)\n")


_DESCRIPTION = """\
Judges whether seccomp restrictions hold on this kernel, or those of a container image, and reads
filters, records and workloads for that."""


def _parser(words: Sequence[str]) -> _Parser:
    """What parses the words; of the commands only the one that is called, if one is."""
    parser = _Parser(prog=PROGRAM, description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in words[:1] if words and words[0] in _COMMANDS else _COMMANDS:
        module = _MODULES.get(command, command.replace("-", "_"))
        importlib.import_module(f"reports.commands.{module}").add(commands)
    return parser
