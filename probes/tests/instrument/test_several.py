"""Processes that belong together are read until none of them comes or goes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from probes.errors import BadInputError
from probes.instrument import control_groups, harvest
from probes.instrument.control_groups import ControlGroup
from probes.instrument.several import filters_of_all


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Two processes that hold still."""
    with subprocess.Popen(["sleep", "100"]) as one, subprocess.Popen(["sleep", "100"]) as other:
        yield [one.pid, other.pid]
        one.kill()
        other.kill()


def test_what_holds_still_is_read_once(pids: list[int]) -> None:
    found = filters_of_all(lambda: pids)
    assert [one.pid for one in found.processes] == pids
    assert found.settled


def test_one_that_comes_meanwhile_is_read_as_well(pids: list[int]) -> None:
    lists = chain([pids[:1], pids], repeat(pids))
    found = filters_of_all(lambda: next(lists))
    assert [one.pid for one in found.processes] == pids
    assert found.settled


def test_where_they_keep_changing_that_is_told(pids: list[int]) -> None:
    lists = chain.from_iterable(repeat([pids[:1], pids]))
    found = filters_of_all(lambda: next(lists))
    assert not found.settled


def test_one_that_has_ended_confines_nobody(pids: list[int]) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert [one.pid for one in filters_of_all(lambda: [ended.pid, *pids]).processes] == pids
    assert filters_of_all(list).processes == ()


def test_one_that_lives_and_cannot_be_read_is_told() -> None:
    with pytest.raises(BadInputError, match="this very process"):
        filters_of_all(lambda: [os.getpid()])


def test_one_that_starts_another_program_is_read_after_that(
    pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refusals = harvest.filters_of, iter([True])

    def refuses_once(pid: int) -> harvest.Harvest:
        if next(refusals, False):
            raise BadInputError("it started another program")
        return real(pid)

    monkeypatch.setattr(harvest, "filters_of", refuses_once)
    assert len(filters_of_all(lambda: pids).processes) == 2


def test_a_process_lives_as_long_as_any_of_its_threads() -> None:
    program = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while (harvest._status(process.pid) or {})["State"][0] != "Z":
            pass
        assert harvest.is_alive(process.pid)
        assert [one.pid for one in filters_of_all(lambda: [process.pid]).processes] == [process.pid]
        process.kill()
    assert not harvest.is_alive(process.pid)


# Control groups.


def test_the_groups_of_this_process_are_those_that_the_kernel_shows() -> None:
    with Path("/proc/self/cgroup").open(encoding="utf-8") as file:
        shown = [line.rstrip("\n").split(":", 2)[1:] for line in file]
    assert [[one.hierarchy, one.path] for one in control_groups.groups_of(os.getpid())] == shown


def test_members_are_found_by_their_groups(pids: list[int]) -> None:
    own = control_groups.groups_of(os.getpid())
    found = control_groups.members(lambda group: group in own)
    assert found == sorted(found)
    assert {os.getpid(), *pids} <= set(found)
    assert control_groups.members(lambda _group: False) == []


def test_one_that_has_ended_has_no_group(pids: list[int]) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert control_groups.groups_of(ended.pid) == ()
    assert ended.pid not in dict(control_groups.processes())
    assert set(pids) <= dict(control_groups.processes()).keys()


@pytest.mark.parametrize(
    ("path", "outer", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a/b", "/a/", True),
        ("/a/b", "/a/b", True),
        ("/a/bc", "/a/b", False),
        ("/a", "/a/b", False),
        ("/x/a", "/a", False),
    ],
)
def test_a_group_is_within_itself_and_what_is_around_it(
    path: str, outer: str, *, expected: bool
) -> None:
    assert ControlGroup("", path).is_within(outer) == expected
