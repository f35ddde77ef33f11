"""The options of a run: what pytest is told of them, and what it makes of the command line."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from probes import deviation
from probes.audit import source
from probes.audit.source import BEST, RecordSource, SourceKind
from probes.deviation import KnownDeviation
from probes.errors import BadInputError
from probes.files import SUITE
from probes.run import values
from probes.run.options import ACCEPT, NODE_NAME, REPORT_DIR, RUN
from probes.run.values import RunOptions
from probes.targets.words import (
    OPTIONS,
    RUNTIME_ARG,
    RUNTIME_COMMAND,
    RUNTIME_ENDPOINT,
    SECCOMP,
    ContainerOptions,
    start,
)
from probes.text import shown

_PATH_OPTIONS: Final = ("--policy", "--report-dir", "--waivers", "--baseline", f"--{SECCOMP}")


def add(parser: pytest.Parser) -> None:
    """Tells pytest of the suite's options; README.md describes them for users."""
    group = parser.getgroup("syscall-conformance")
    for option in RUN:
        group.addoption(option.word, **option.keywords())


def read(config: pytest.Config) -> RunOptions:
    """The options, taken apart.

    Raises:
        BadInputError: one means nothing, or they contradict each other.
    """
    return values.read(
        path(config, "policy"),
        profile=config.getoption("profile"),
        arch=config.getoption("arch"),
        target=config.getoption("target"),
        audit_source=_audit_source(config),
        container=ContainerOptions(*(config.getoption(option.name) for option in OPTIONS)),
        start=start(
            Path(path(config, SECCOMP)) if config.getoption(SECCOMP) else None,
            config.getoption(RUNTIME_ARG.replace("-", "_")),
            config.getoption(RUNTIME_COMMAND.replace("-", "_")),
            config.getoption(RUNTIME_ENDPOINT.replace("-", "_")),
        ),
    )


def given(config: pytest.Config) -> list[str]:
    """The options that say what is judged and how, as whoever started the run gave them."""
    return [
        word
        for option in RUN
        if option.name not in _OF_ONE_RUN
        and (value := config.getoption(option.attribute)) != option.keywords().get("default")
        for word in option.given(value)
    ]


_OF_ONE_RUN: Final = frozenset(
    {REPORT_DIR, NODE_NAME, "waivers", "baseline", "audit-fd", "node-silence", "anonymous"}
)
"""The options that say nothing about what is judged, or that another run cannot have."""


def _audit_source(config: pytest.Config) -> RecordSource:
    """Where records come from.

    Raises:
        BadInputError: the options contradict each other, or several processes would read one
            descriptor, and take records from each other.
    """
    wanted = source.read(config.getoption("audit_source"))
    descriptor: str = config.getoption("audit_fd")
    if descriptor:
        if wanted != BEST:
            raise BadInputError(
                f"--audit-fd {descriptor}: --audit-source {wanted} names another source: leave one"
                " of them out"
            )
        wanted = source.read(f"{SourceKind.DESCRIPTOR}:{descriptor}")
    if wanted.kind is SourceKind.KMSG and config.getoption("dist", "no") != "no":
        raise BadInputError(
            f"--audit-source {wanted}: the kernel's log takes few records a second, and one process"
            " alone can keep to that: leave -n out"
        )
    workers = config.getoption("dist", "no") != "no" or hasattr(config, "workerinput")
    if wanted.kind is SourceKind.DESCRIPTOR and workers:
        raise BadInputError(
            f"--audit-source {wanted}: workers would take records from each other, so one process"
            " must read the descriptor: leave -n out"
        )
    return wanted


def accepted(config: pytest.Config) -> tuple[KnownDeviation, ...]:
    """What the command line accepts of runtimes.

    Raises:
        BadInputError: a name is not known.
    """
    words: str = config.getoption(ACCEPT)
    try:
        return deviation.named(words.split(",") if words else ())
    except BadInputError as error:
        raise BadInputError(f"--{ACCEPT}: {error}") from error


def node_name(config: pytest.Config) -> str:
    """What reports shall call this machine; "" for its own name.

    Raises:
        BadInputError: it is no name, or there are other machines that have names of their own.
    """
    word: str = config.getoption(NODE_NAME.replace("-", "_"))
    if word and config.getoption("dist", "no") == "each":
        raise BadInputError(
            f"--{NODE_NAME} {shown(word)}: with --dist each there are several machines, and every"
            " one goes by its own name: leave the option out"
        )
    return values.node_name(word)


def path(config: pytest.Config, option: str) -> str:
    """A path as the user meant it: relative to where pytest was started, with ~ for home."""
    return str(config.invocation_params.dir / Path(config.getoption(option)).expanduser())


def path_or_none(config: pytest.Config, option: str) -> Path | None:
    """The path that an option names; None where it is not given."""
    return Path(path(config, option)) if config.getoption(option) else None


def check_blanks(config: pytest.Config) -> None:
    """Refuses a path after a blank, where pytest could take it for the path of tests.

    Before a plug-in's options are known pytest looks for its configuration in every existing path
    on its command line (``determine_setup()`` in ``_pytest/config/findpaths.py``). So it depended
    on whether a folder is there already, and differed between xdist's workers and their controller.

    Raises:
        BadInputError: a path outside of this checkout was given like that, and no path of tests.
    """
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return
    for option, value in pairwise(map(str, config.invocation_params.args)):
        place = (config.invocation_params.dir / value).resolve()
        if option in _PATH_OPTIONS and SUITE not in (place, *place.parents):
            raise BadInputError(
                f"{option} {value}: pytest could take the path after the blank for one of tests;"
                f" write {option}={value}"
            )
