"""The groups of processes, as /proc tells them, where those who name groups mean ill."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from probes.instrument import control_groups
from probes.instrument.control_groups import SYSTEMD, UNIFIED, ControlGroup
from probes.survey import seen_processes
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import unavailable

SEPARATORS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What str.splitlines takes for ends of lines besides a newline."""

FORGED = "0::/system.slice/forged.service"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0::/a\n", [(UNIFIED, "/a")]),
        ("3:cpu,cpuacct:/a\n1:name=systemd:/b:c\n", [("cpu,cpuacct", "/a"), (SYSTEMD, "/b:c")]),
        ("0::/a (deleted)\n", [(UNIFIED, "/a")]),
        ("0::/a (deleted) (deleted)\n", [(UNIFIED, "/a (deleted)")]),
        # Version 1 does not mark groups that were removed: this is a name.
        ("2:pids:/a (deleted)\n", [("pids", "/a (deleted)")]),
        ("", []),
        ("nonsense\n0:\n", []),
    ],
)
def test_the_file_of_a_process(text: str, expected: list[tuple[str, str]]) -> None:
    assert control_groups.parse(text) == tuple(ControlGroup(*one) for one in expected)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_name_is_no_line_of_its_own(separator: str) -> None:
    (found,) = control_groups.parse(f"0::/a{separator}{FORGED}\n")
    assert found.path == f"/a{separator}{FORGED}"


@pytest.fixture
def hierarchy() -> Path:
    """Where version 2 is mounted; ends the test where no group can be made there."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    if not (writable := [place for place in places if os.access(place, os.W_OK)]):
        unavailable("no hierarchy of version 2 can be written here")
    return Path(writable[0])


@pytest.fixture
def group(hierarchy: Path) -> Iterator[Path]:
    """A group in one whose name forges a line."""
    inner = f"\r{FORGED}".replace("/", f"{os.getpid()}/")
    places = [hierarchy / f"conformance-{os.getpid()}"]
    for part in inner.split("/"):
        places.append(places[-1] / part)
    with ExitStack() as stack:
        for place in places:
            place.mkdir()
            stack.callback(_remove, place)
        yield places[-1]


def _remove(group: Path) -> None:
    with suppress(FileNotFoundError):
        group.rmdir()


@pytest.fixture
def member(group: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the group."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            (group / "cgroup.procs").write_text(str(process.pid))
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.root("makes a control group")
def test_the_groups_of_a_process_are_not_forged_by_a_name(
    group: Path, hierarchy: Path, member: "subprocess.Popen[bytes]"
) -> None:
    (found,) = (one for one in control_groups.groups_of(member.pid) if one.hierarchy == UNIFIED)
    assert found.path.endswith(f"/{group.relative_to(hierarchy)}")
    assert "\r" in found.path
    seen = seen_processes.listing().processes[member.pid]
    assert not seen.cgroup.startswith("/system.slice")


@pytest.mark.root("makes a control group")
def test_a_zombie_of_a_group_that_was_removed_is_its_member(
    group: Path, hierarchy: Path, member: "subprocess.Popen[bytes]"
) -> None:
    member.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)
    file = Path(f"/proc/{member.pid}/cgroup")
    wait_for(lambda: "populated 0" in (group / "cgroup.events").read_text(), "it is not empty")
    group.rmdir()
    assert b" (deleted)\n" in file.read_bytes()
    name = str(group.relative_to(hierarchy))
    assert control_groups.members(lambda one: one.path.endswith(f"/{name}")) == [member.pid]
