"""The command ``syscall-conformance``: first it is alone with its modules, then it does its work.

Nothing else is imported before: with PYTHONPATH it could be a file of the working directory.
"""

import sys

from probes import isolation


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the words after the program's name; None for this process' own, which is started
            anew where its environment has it run others' modules.

    Returns:
        The exit status. ``SystemExit`` with it comes for ``--help`` and a faulty command line.
    """
    if arguments is None:
        isolation.ensure()
    from reports.commands import main as command_line  # noqa: PLC0415 - see above

    return command_line.run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
