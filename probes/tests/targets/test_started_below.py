"""What has filters below a process that has none."""

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probes.targets import started_below
from probes.targets.started_below import ConfinedProcess
from probes.tests.support import answers
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require

WAITS = "read x; true"
SOURCE = Path(__file__).parents[1] / "data/refusing.c"


def nested(script: str) -> str:
    """A shell's command that has another shell run a script, and waits for it."""
    return f"sh -c {shlex.quote(script)}; true"


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes a shell's command that runs a script under a filter, which refuses acct."""
    made = tmp_path_factory.mktemp("program") / "refusing"
    subprocess.run([require("gcc", "gcc libc6-dev"), "-o", made, SOURCE], check=True)
    return lambda script: f"{shlex.quote(str(made))} 163 1 -1 {nested(script)}"


@contextmanager
def shell(script: str) -> Iterator[int]:
    """A shell that runs a script until the context ends."""
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n" * 8)


def below(pid: int, count: int) -> list[ConfinedProcess]:
    found: list[ConfinedProcess] = []

    def there() -> bool:
        found[:] = started_below.nearest(pid)
        return len(found) == count and all(one.comm == "sh" for one in found)

    wait_for(there, f"{found} below {pid}", 60)
    return found


@pytest.mark.parametrize("depth", range(3))
def test_the_first_below_that_has_a_filter_is_found(
    depth: int, confined: Callable[[str], str]
) -> None:
    script = confined(WAITS)
    for _ in range(depth):
        script = nested(script)
    with shell(script) as pid:
        (one,) = below(pid, 1)
        assert "\nSeccomp:\t2\n" in Path(f"/proc/{one.pid}/status").read_text()


def test_what_a_confined_process_starts_is_not_named_as_well(
    confined: Callable[[str], str],
) -> None:
    with shell(confined(nested(WAITS))) as pid:
        (one,) = below(pid, 1)
        assert below(one.pid, 1) != [one]


def test_each_line_of_descent_has_its_own(confined: Callable[[str], str]) -> None:
    one = f"{{ {confined(WAITS)}; }} <&3 &"  # what runs beside the shell has no standard input
    with shell(f"exec 3<&0; {one} {one} wait") as pid:
        first, second = below(pid, 2)
        assert first.pid != second.pid


def test_nothing_is_found_below_what_starts_nothing() -> None:
    with shell(WAITS) as pid:
        assert started_below.nearest(pid) == []


def test_a_process_that_has_ended_has_nothing_below_it() -> None:
    with shell("true") as pid:
        pass
    assert started_below.nearest(pid) == []


@pytest.mark.root("reads filters off a process")
def test_the_finding_names_it(confined: Callable[[str], str]) -> None:
    with shell(confined(WAITS)) as pid:
        (one,) = below(pid, 1)
        (finding,) = answers.opened(f"pid:{pid}").findings
        assert f"but below it process {one.pid} (sh) has: where it is what starts" in finding.text
        assert finding.text.endswith(f"with pid:{one.pid}")
        (bare,) = answers.opened(f"pid:{one.pid}").findings or (None,)
        assert bare is None
