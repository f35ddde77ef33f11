"""The options of a run, for whoever reads a command line: pytest's plug-in, and the commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from probes import deviation
from probes.audit.source import BEST, forms
from probes.files import DEFAULT_POLICY
from probes.targets.name import AMBIENT, BUILTIN, WORDS
from probes.targets.words import OPTIONS, RUNTIME_ARG, START_OPTIONS

ACCEPT: Final = "accept"
REPORT_DIR: Final = "report-dir"
NODE_NAME: Final = "node-name"
_NODE_SILENCE_SECONDS: Final = 300.0
_REPORTS: Final = "reports/out"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a run.

    Attributes:
        name: its name, without the dashes.
        help: a phrase for the list of options.
        metavar: what stands for its value there; "" for an option without one.
        default: its value if it is not given.
        many: whether it may be given several times.
    """

    name: str
    help: str
    metavar: str = ""
    default: str | float = ""
    many: bool = False

    @property
    def word(self) -> str:
        """The option as it is written."""
        return f"--{self.name}"

    @property
    def attribute(self) -> str:
        """Where ``argparse`` puts its value."""
        return self.name.replace("-", "_")

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments for ``add_argument`` and ``addoption``."""
        if not self.metavar:
            return {"action": "store_true", "help": self.help}
        taken: dict[str, Any] = {"metavar": self.metavar, "help": self.help}
        if self.many:
            return taken | {"action": "append", "default": []}
        kind = {"type": float} if isinstance(self.default, float) else {}
        return taken | {"default": self.default} | kind

    def given(self, value: object) -> Sequence[str]:
        """The words of a command line that give it a value.

        Args:
            value: what ``keywords`` made of such words.
        """
        if not self.metavar:
            return [self.word] if value else []
        values = value if isinstance(value, list) else [value]
        return [f"{self.word}={one}" for one in values]


RUN: Final = (
    Option("policy", "a policy (TOML)", "FILE", str(DEFAULT_POLICY)),
    Option("profile", "kill, errno, log, comma-separated", "NAMES"),
    Option(
        "target",
        f"{WORDS}, or {AMBIENT}; any but builtin with one --profile",
        "TARGET",
        BUILTIN,
    ),
    *(Option(one.name, f"of oci:FILE: {one.help}", one.metavar) for one in OPTIONS),
    *(
        Option(
            one.name,
            f"of a container that is started: {one.help}",
            one.metavar,
            many=one.name == RUNTIME_ARG,
        )
        for one in START_OPTIONS
    ),
    Option("arch", "ABIs to judge; default: all that run here", "NAMES"),
    Option(
        "audit-source",
        f"{forms()}; default: the best that works here",
        "SOURCE",
        str(BEST),
    ),
    Option(
        "audit-fd",
        "a descriptor of with-audit, for one process: without -n; as --audit-source=fd:N",
        "N",
    ),
    Option(REPORT_DIR, f"where the reports go; default: {_REPORTS}", "DIR", _REPORTS),
    Option(
        ACCEPT,
        f"what runtimes do to every profile and is accepted: {', '.join(deviation.ROWS)}",
        "NAMES",
    ),
    Option("waivers", "failures that are accepted for a time (TOML)", "FILE"),
    Option("baseline", "an earlier results.json: say what has changed since", "FILE"),
    Option(
        "node-silence",
        "with --dist each: how long a node may say nothing before it counts as lost;"
        f" default: {_NODE_SILENCE_SECONDS:.0f}",
        "SECONDS",
        _NODE_SILENCE_SECONDS,
    ),
    Option("anonymous", "leave user and host names out of the reports"),
    Option(
        NODE_NAME, "what reports call this machine, as its cluster does; default: its name", "NAME"
    ),
)
"""All of them, in the order of the list that users see."""
