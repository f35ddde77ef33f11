"""What systemd says of its units: systemctl(1) is asked, which prints properties in this form."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.errors import SuiteError
from probes.runtimes.command import RuntimeCommand

_SECONDS: Final = 20.0
_MANAGER: Final = "init.scope"
_BOOTED: Final = Path("/run/systemd/system")
"""Is there where systemd manages the machine (sd_booted(3))."""

_PROPERTIES: Final = (
    *("Id", "LoadState", "ActiveState", "SubState", "Result"),
    *("ControlGroup", "InvocationID"),
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as its manager sees it.

    Attributes:
        name: its name, of several the one in use.
        load: whether there is a file of it: ``loaded``, ``not-found``, ``masked``, ...
        active: ``active``, ``activating``, ``inactive``, ``failed``, ...
        sub: the same more exactly, such as ``running`` or ``exited``.
        result: how it ended, such as ``success`` or ``exit-code``.
        group: the path of its control group as the manager sees it; "" where it has none.
        invocation: what is another after each start.
    """

    name: str
    load: str
    active: str
    sub: str
    result: str
    group: str
    invocation: str


def manages() -> bool:
    """Whether systemd manages this machine and can be asked here."""
    return _BOOTED.is_dir() and shutil.which("systemctl") is not None


def unit(name: str) -> Unit:
    """Asks about a unit, which need not exist.

    Args:
        name: its whole name, such as ``cron.service``.

    Raises:
        BadInputError: systemd refuses to tell, or there is none.
        InstrumentError: it does not answer in time.
    """
    said = _systemctl("show", f"--property={','.join(_PROPERTIES)}", "--", name)
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return Unit(*(told.get(one, "") for one in _PROPERTIES))


_FILTERS: Final = ("SystemCallFilter", "SystemCallLog")


def filters_asked_for(name: str) -> tuple[str, ...]:
    """The options by which a unit's files ask for filters, whatever systemd makes of them.

    What systemd says of its units leaves out what it could not resolve.

    Args:
        name: the unit's whole name.
    """
    try:
        text = _systemctl("cat", "--", name)
    except SuiteError:  # it has no file, as init.scope
        return ()
    found: dict[str, bool] = {}
    for line in text.splitlines():
        option, equals, value = line.partition("=")
        if equals and option.strip() in _FILTERS:
            found[option.strip()] = bool(value.strip())  # an empty one takes back what was said
    return tuple(option for option, is_set in found.items() if is_set)


def root_group() -> str:
    """The path of the manager's own control group as it sees it, such as ``/init.scope``."""
    return unit(_MANAGER).group


@dataclass(frozen=True, slots=True)
class ListedGroups:
    """systemd's groups of calls, as the installed release lists them.

    Attributes:
        text: what systemd-analyze(1) prints about them.
        release: the release, such as ``252``.
    """

    text: str
    release: str


def groups_of_calls() -> ListedGroups | None:
    """Asks the installed systemd for its groups of calls; None where it is not, or does not say."""
    command = RuntimeCommand("systemd-analyze", ("systemd-analyze", "--no-pager"))
    try:
        text = command.run("syscall-filter", seconds=_SECONDS)
        version = command.run("--version", seconds=_SECONDS)
    except SuiteError:  # where it is not installed, the suite's own table serves
        return None
    release = re.match(r"systemd (\d+)", version)
    return ListedGroups(text, release[1]) if release else None


def _systemctl(*arguments: str) -> str:
    command = RuntimeCommand("systemctl", ("systemctl",))
    return command.run("--no-pager", *arguments, seconds=_SECONDS)
