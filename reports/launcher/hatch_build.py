"""Puts what starts the suite beside the suite's own folders, in a wheel.

Hatchling's ``sources`` can say so of folders that stand beside each other only: of two that lie in
each other the outer one counts for both. Its ``force-include`` would copy the package into an
editable installation, too, where it has to be the checkout's own.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "syscall_conformance"


class LauncherHook(BuildHookInterface[Any]):
    """Adds it to a wheel that is not an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Names the files, before the wheel is written.

        Args:
            version: the kind of wheel: ``standard`` or ``editable``.
            build_data: what hatchling builds by.
        """
        if version != "standard":
            return
        folder = Path(__file__).parent / _PACKAGE
        for path in sorted(folder.glob("*.py")):
            build_data["force_include"][str(path)] = f"{_PACKAGE}/{path.name}"
