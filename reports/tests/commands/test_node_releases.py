"""The command ``node`` where systemd is the first process, with units of its own and LXC."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from probes import arch
from probes.cell import Outcome
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.releases import machine
from probes.releases.machine import ENVIRONMENT, V2, ReleaseMachine
from probes.survey import seen_processes, taken
from probes.survey.question import SurveyQuestion
from probes.survey.seen_processes import Listing
from probes.survey.taken import Taken
from probes.tests.support.emitter import wait_for
from probes.tests.support.releases import root_of
from probes.workload import OwnerKind, WorkloadRow, WorkloadState

SHIPPED = policy.load(DEFAULT_POLICY, arch.all_names())
DROPPED = "acct"
PACKAGES = ("lxc", "systemd", "dbus")
SECONDS = 60

pytestmark = [
    pytest.mark.root("starts systemd in namespaces"),
    pytest.mark.containers(machine="x86_64"),
]

CONTAINER = """\
lxc.uts.name = box
lxc.rootfs.path = dir:/
lxc.net.0.type = none
lxc.apparmor.profile = unconfined
lxc.mount.auto = proc:mixed sys:ro
"""


def unit(*names: str) -> str:
    """A service that may make every known call but these."""
    filters = f"SystemCallFilter=@known\nSystemCallFilter=~{' '.join(names)}\n" if names else ""
    more = "SystemCallErrorNumber=EPERM\nSystemCallArchitectures=native\n" if names else ""
    return f"[Service]\nExecStart=/bin/sleep 1000\n{filters}{more}"


UNITS = {
    "good": unit(*SHIPPED.names),
    "open": unit(*(name for name in SHIPPED.names if name != DROPPED)),
    "plain": unit(),
}


def started(made: ReleaseMachine) -> None:
    """Starts the units and a container."""
    wait_for(
        lambda: (
            made.tried("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}
        ),
        "systemd does not come up",
        SECONDS,
    )
    for name, text in UNITS.items():
        (made.folder / name).write_text(text)
        made.run("cp", str(made.folder / name), f"/run/systemd/system/{name}.service")
    made.run("systemctl", "daemon-reload")
    made.run("systemctl", "start", *UNITS)
    (made.folder / "box").write_text(CONTAINER)
    words = ("lxc-execute", "-n", "box", "-f", str(made.folder / "box"), "-d", "--")
    made.run(*words, "/bin/sleep", "1000")


def listing(made: ReleaseMachine) -> Listing:
    """What runs on the machine, of all that /proc shows here."""
    seen = seen_processes.listing()
    inside = {
        pid: one
        for pid, one in seen.processes.items()
        if any(up.pid == made.pid for up in (one, *seen.ancestors(one)))
    }
    return replace(seen, processes=inside)


@pytest.fixture(scope="module", params=["trixie", "sid"])
def found(request: pytest.FixtureRequest) -> Iterator[Taken]:
    root = root_of(request.param, *PACKAGES)
    init = ("/lib/systemd/systemd", "--unit=basic.target")
    environment = {**ENVIRONMENT, "container": "other"}
    with machine.started(root, cgroups=V2, init=init, environment=environment) as made:
        started(made)
        wait_for(
            lambda: "lxc.payload.box" in _groups(made), "LXC's container is not there", SECONDS
        )
        question = SurveyQuestion(
            required=frozenset({OwnerKind.CONTAINER, OwnerKind.SERVICE}),
            exclude=("service:systemd-*", "service:dbus.*"),
            namespace_alone=True,
        )
        yield taken.take(SHIPPED, question, listing(made))


def _groups(made: ReleaseMachine) -> str:
    return " ".join(one.cgroup for one in listing(made).processes.values() if one.name == "sleep")


def rows(found: Taken) -> dict[str, WorkloadRow]:
    survey = found.survey(lambda cells: cells)
    return {one.title: one for one in survey.workloads if one.required}


def test_units_and_containers_are_told_apart(found: Taken) -> None:
    told = rows(found)
    assert {title: row.state for title, row in told.items()} == {
        "service:good.service": WorkloadState.HOLDS,
        "service:open.service": WorkloadState.FAILS,
        "service:plain.service": WorkloadState.NONE,
        "lxc:box": WorkloadState.NONE,
    }
    assert told["service:open.service"].sentence.endswith(f"does not refuse: {DROPPED} (x86_64)")
    assert {row.engine for row in told.values()} == {"systemd", "lxc"}
    # LXC's own first process is in the container, its monitor is not.
    assert told["lxc:box"].processes == 2


def test_what_fails_is_what_is_open(found: Taken) -> None:
    failed = {cell.key.syscall for cell in found.cells if cell.outcome is Outcome.FAILED}
    assert failed == {DROPPED, "service:plain.service", "lxc:box"}
