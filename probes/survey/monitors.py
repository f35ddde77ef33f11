"""The processes by which engines watch over their containers; below such a one is a container.

A path of a control group does not always tell: containerd names groups as its client likes, a group
may be below a parent of the user's own, and bubblewrap makes none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.survey.seen_processes import PROC, Listing, SeenProcess, argument


@dataclass(frozen=True, slots=True)
class Monitor:
    """A process that watches over a container.

    Attributes:
        engine: what made the container.
        id: the container's id. A shim of containerd's is one pod's, whose first container it is.
        process: the monitor itself.
        bundle: the folder with the container's ``config.json``, as this process can open it; None
            where the monitor does not tell.
        name: the container's name; "" where the monitor does not tell.
    """

    engine: str
    id: str
    process: SeenProcess
    bundle: Path | None = None
    name: str = ""


def above(listing: Listing, process: SeenProcess) -> Monitor | None:
    """The monitor of the container that a process is in; None where there is none.

    Of several the nearest counts; bubblewrap is there twice, of which the outer one watches.
    """
    found: Monitor | None = None
    for one in listing.ancestors(process):
        monitor = monitor_of(one)
        if found is not None and (monitor is None or monitor.engine != found.engine):
            return found
        if monitor is not None and monitor.engine != _TWICE:
            return monitor
        found = monitor
    return found


_TWICE: Final = "bwrap"


def monitor_of(process: SeenProcess) -> Monitor | None:
    """What a process watches over; None where it is no monitor."""
    program = process.program
    if program.startswith("containerd-shim"):
        return _shim(process)
    if " " in program or program.startswith("["):
        program = program.removeprefix("[").partition(" ")[0]
    made = _MAKERS.get(program)
    return None if made is None else made(process)


def _shim(process: SeenProcess) -> Monitor | None:
    identity = argument(process.words, "-id", "--id")
    space = argument(process.words, "-namespace", "--namespace")
    if not identity:
        return None
    engine = "docker" if space == "moby" else "containerd"
    return Monitor(engine, identity, process, PROC / str(process.pid) / "cwd")


def _conmon(process: SeenProcess) -> Monitor | None:
    identity = argument(process.words, "-c", "--cid")
    if not identity:
        return None
    folder = argument(process.words, "-b", "--bundle")
    bundle = PROC / str(process.pid) / "root" / folder.lstrip("/") if folder else None
    of_cri_o = "crio" in argument(process.words, "--exit-dir")
    name = argument(process.words, "-n", "--name")
    return Monitor("cri-o" if of_cri_o else "podman", identity, process, bundle, name)


def _bubblewrap(process: SeenProcess) -> Monitor:
    return Monitor("bwrap", str(process.pid), process)


def _lxc_monitor(process: SeenProcess) -> Monitor | None:
    # It writes over its command line: [lxc monitor] /var/lib/lxc NAME
    title = " ".join(process.words)
    if not title.startswith("[lxc monitor]"):
        return None
    return Monitor("lxc", title.split()[-1], process)


def _lxc_start(process: SeenProcess) -> Monitor | None:
    name = argument(process.words, "-n", "--name")
    return Monitor("lxc", name, process) if name else None


def _nspawn(process: SeenProcess) -> Monitor:
    name = argument(process.words, "-M", "--machine")
    folder = argument(process.words, "-D", "--directory").rstrip("/")
    return Monitor("nspawn", name or folder.rpartition("/")[2] or str(process.pid), process)


def _in_front(process: SeenProcess) -> Monitor | None:
    """A runtime that stays in front of a container that it runs."""
    if "run" not in process.words:
        return None
    return Monitor(process.program, process.words[-1], process)


_MAKERS: Final[Mapping[str, Callable[[SeenProcess], Monitor | None]]] = {
    "conmon": _conmon,
    "bwrap": _bubblewrap,
    "lxc": _lxc_monitor,
    "lxc-start": _lxc_start,
    "systemd-nspawn": _nspawn,
    "runc": _in_front,
    "crun": _in_front,
}
