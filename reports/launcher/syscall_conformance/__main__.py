# PYTHON_ARGCOMPLETE_OK
"""The command ``syscall-conformance``: puts the suite's own folders first, and runs what it says.

Other packages have modules called ``cases``, ``probes`` and ``reports``, too, and so may the folder
or the ``PYTHONPATH`` that surrounds the user. So nothing is imported here but what every Python has
loaded, until the suite's folder comes before all others.
"""

import os
import sys

_OWN = ("cases", "probes", "reports")
_NODE = "--node"
"""What pytest-xdist starts on another machine: see ``probes.main_job``."""


def _root() -> str:
    """The folder that has the suite's own: below this package if installed, else the checkout."""
    here = os.path.dirname(os.path.realpath(__file__))
    installed = os.path.join(here, "suite")
    if os.path.isdir(installed):
        return installed
    return os.path.dirname(os.path.dirname(os.path.dirname(here)))


def main() -> int:
    """Runs the command with this process' words.

    Returns:
        The exit status. ``SystemExit`` with it comes for ``--help`` and a faulty command line.
    """
    sys.path.insert(0, _root())
    # A .pth file or a sitecustomize may have imported somebody else's.
    for name in [name for name in sys.modules if name.partition(".")[0] in _OWN]:
        del sys.modules[name]
    from probes import isolation  # noqa: PLC0415 - it could be somebody else's before

    if sys.argv[1:2] == [_NODE]:
        isolation.become_node(sys.argv[2:])
    isolation.ensure()
    from reports.commands import main as command_line  # noqa: PLC0415 - likewise

    return command_line.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
