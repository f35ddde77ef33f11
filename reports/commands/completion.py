"""``syscall-conformance completion``: what a shell needs to complete its command lines."""

import argparse

from argcomplete.shell_integration import shellcode

from probes.errors import ExitStatus
from probes.version import DISTRIBUTION
from reports.commands.answer import Answer, Subparsers, add_command

_COMPLETION = f"""\
Writes what a shell needs to complete commands and options by the tab key. For this session:

  bash  eval "$({DISTRIBUTION} completion bash)"
  zsh   autoload -U compinit && compinit && eval "$({DISTRIBUTION} completion zsh)"
  fish  {DISTRIBUTION} completion fish | source

For all of them: put that line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish."""

_SHELLS = ("bash", "zsh", "fish")


def add(commands: Subparsers) -> None:
    """Adds the command."""
    one = add_command(
        commands,
        "completion",
        _completion,
        words="let a shell complete command lines",
        description=_COMPLETION,
    )
    one.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


def _completion(options: argparse.Namespace) -> Answer:
    return Answer(ExitStatus.CONFORMANT, shellcode([DISTRIBUTION], shell=options.shell))
