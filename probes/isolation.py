"""Starts Python with the suite's own modules alone, whatever the environment of its user.

Python takes modules, options and more from its environment and from the working directory, where a
file of any name may stand: one called ``shlex.py`` would be run in place of the standard library's.
A verdict must depend on none of that. Nothing is imported here that is not loaded in every Python,
for before a process is alone any module may be somebody else's.
"""

import os
import sys

_OWN = ("cases", "probes", "reports")
_NEEDED = ("pytest", "xdist", "pytest_html", "rich", "system_calls")
"""The packages that the suite imports; whoever has these has their dependencies too."""

_KEPT = ("PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONUTF8")
"""Python's variables that choose no modules, except the first, without which it may not start."""

_OTHERS = ("PYTHON", "PYTEST_", "_ARGCOMPLETE")
"""The prefixes of variables that would change what Python or pytest does."""

_CHOOSING = ("PYTHONPATH", "PYTHONUSERBASE", "PYTHONPLATLIBDIR", "PYTHONWARNINGS", "PYTHONOPTIMIZE")
"""Variables by which Python runs other modules, or runs them otherwise."""

# The suite's folder comes first, for others have packages of these names, too. It has nothing but
# them that can be imported. Whatever else Python does not find by itself comes last.
_START = f"""\
import os, sys
from importlib.util import find_spec
root, places = sys.argv[1], sys.argv[2].split(os.pathsep)
sys.argv = ["syscall-conformance", *sys.argv[3:]]
sys.path.insert(0, root)
for name in [name for name in sys.modules if name.partition(".")[0] in {_OWN!r}]:
    del sys.modules[name]
if any(find_spec(name) is None for name in {_NEEDED!r}):
    sys.path += places
"""

_MAIN = """\
from reports.commands import main
sys.exit(main.run(sys.argv[1:]))
"""


def python(program: str, *words: str) -> list[str]:
    """The command line of a Python that imports the suite's own modules and no others of the user.

    Its environment has to be ``environment()``, too, for the sake of the processes that it starts.

    Args:
        program: the program; ``sys`` is imported there.
        *words: its arguments.
    """
    places = [place for place in sys.path if os.path.isabs(place) and place != _here()]
    return [
        *(sys.executable, "-P", *(() if _is_of_a_user() else ("-s",))),
        *("-c", _START + program, root(), os.pathsep.join(places), *words),
    ]


def environment() -> dict[str, str]:
    """This process' environment variables without those that change what Python or pytest does."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not name.startswith(_OTHERS)
    }
    # pytest's workers are Pythons, too, that are not started here.
    return kept | {"PYTHONSAFEPATH": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def ensure() -> None:
    """Executes this process' command again, isolated, if it may have loaded modules of others.

    Its environment stays: a workload that it starts has a right to it.
    """
    if sys.flags.safe_path and sys.flags.ignore_environment:
        return
    chosen = any(name in os.environ for name in _CHOOSING)
    from_here = not sys.flags.safe_path and _first_of_others() in {"", _here()}  # by -c or -m
    if not (chosen or from_here) or "PYTHONHOME" in os.environ:
        return
    interpreter, *words = python(_MAIN, *sys.argv[1:])
    try:
        os.execv(interpreter, [interpreter, "-E", *words])  # noqa: S606 - no shell is wanted
    except (OSError, ValueError):
        return  # this user cannot reach the interpreter that was started for it


def become_node(words: list[str]) -> None:
    """Becomes an interpreter that runs an xdist node's program in the suite's folder.

    Args:
        words: ``-c`` and the program, as execnet starts an interpreter.
    """
    interpreter, *others = python(words[-1])
    os.chdir(root())
    os.execve(interpreter, [interpreter, *others], environment())  # noqa: S606 - no shell is wanted


def root() -> str:
    """The folder that has the suite's packages."""
    return os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def _first_of_others() -> str | None:
    """The first entry of Python's module path that is not the suite's folder."""
    return next(iter(sys.path[1:] if sys.path[:1] == [root()] else sys.path), None)


def _here() -> str:
    """The working directory; "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _is_of_a_user() -> bool:
    """Whether a package that the suite needs is installed in this user's own site-packages."""
    site = sys.modules.get("site")
    base = getattr(site, "USER_SITE", None) if site is not None else None
    if not base or not getattr(site, "ENABLE_USER_SITE", False):
        return False
    names = ("syscall_conformance", *_NEEDED)
    return any(os.path.exists(os.path.join(base, name)) for name in names)
