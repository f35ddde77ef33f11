"""A C program makes the documented calls in a sandbox, and the product judges it meanwhile.

The program knows nothing of the suite: it says what it gets to see, by every ABI of x86_64.
"""

import contextlib
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from probes import arch
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, X32_SYSCALL_BIT, Arch
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.targets.name import read
from probes.targets.open import Surroundings, open_target
from probes.targets.stack import FilterStack
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require

ABIS: Final = (ARCHES["x86_64"], ARCHES["x32"], ARCHES["i386"])
NAME: Final = "answers"
SECONDS: Final = 60.0
"""How long a sandbox may take to start and to end; a second or two is usual."""

_END: Final = "end"
_ENDED: Final = {
    Action.KILL_PROCESS: "process",
    Action.KILL_THREAD: "thread",
    Action.TRAP: "trap",
}

Calls = Mapping[str, tuple[Arch, str]]
Answers = Mapping[str, str]


@cache
def calls() -> Calls:
    """Each documented call of each ABI, by the word that the program has for it."""
    names = sorted(policy.load(DEFAULT_POLICY, arch.all_names()).names)
    return {
        word(abi, abi.numbers[name]): (abi, name)
        for abi in ABIS
        for name in names
        if name in abi.numbers
    }


def word(abi: Arch, number: int) -> str:
    """The program's word for a call, which has the number without x32's bit.

    Args:
        abi: the call's ABI.
        number: its number there.
    """
    return f"{abi.name}:{number & ~X32_SYSCALL_BIT}"


def program(folder: Path, further: Sequence[str] = ()) -> Path:
    """Compiles the program; it needs no library where it runs.

    Args:
        folder: the folder for it.
        further: the words of calls that it makes besides the documented ones.
    """
    compiler = require("gcc", "gcc libc6-dev")
    source = Path(__file__).parents[1] / "data/answers.c"
    words = ",".join(f'"{word}"' for word in (*calls(), *further))
    made = folder / NAME
    options = ("-O1", "-static", "-pthread", f"-DCALLS={words}")
    subprocess.run([compiler, *options, "-o", made, source], check=True)
    return made


@dataclass(frozen=True, slots=True)
class Sandboxed:
    """A program in a sandbox that has made its calls and still runs.

    Attributes:
        pid: its process.
        answers: what came of each call.
    """

    pid: int
    answers: Answers

    def opened(self) -> FilterStack:
        """The filters that the product reads off it."""
        return opened(f"pid:{self.pid}")


def opened(word: str) -> FilterStack:
    """The filters of a target."""
    where = Surroundings(DEFAULT_POLICY, Profile.ERRNO, ABIS[0], frozenset(), (6, 1))
    return open_target(read(word), where)


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator[Sandboxed]:
    """Starts the program by a command, waits until it has made its calls, and ends it.

    Args:
        command: the sandbox's, with the program's path.
        folder: a folder for what is printed.
        environment: variables of the command.
    """
    log, errors = folder / "answers.log", folder / "errors.log"
    with log.open("wb") as output, errors.open("wb") as complaints:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            env={**os.environ, **(environment or {})},
        )
    try:
        wait_for(
            lambda: has_ended(log) or process.poll() is not None,
            f"{command}: no answer in {SECONDS:.0f} s",
            SECONDS,
        )
        printed = f"{log.read_text()[-300:]}{errors.read_text()[-1000:]}"
        assert has_ended(log), f"{command}: {printed}"
        (pid,) = (one for one in descendants(process.pid) if _name(one) == NAME)
        yield Sandboxed(pid, read_answers(log))
    finally:
        _end(process)


def has_ended(log: Path) -> bool:
    """Whether the program has made all of its calls.

    Args:
        log: the file that it prints to.
    """
    return log.exists() and f"\n{_END}\n" in log.read_text()


def read_answers(log: Path) -> Answers:
    """What came of each call, by the program's word for it.

    Args:
        log: the file that the program has printed to.
    """
    lines = log.read_text().partition(f"\n{_END}\n")[0].splitlines()
    return dict(line.split() for line in lines if len(line.split()) == 2)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the program, by which its sandbox ends as well; and what is left then."""
    everything = descendants(process.pid)
    ours = [one for one in everything if _name(one) == NAME]
    for pid in ours or everything:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        process.wait(SECONDS / 6)
    except subprocess.TimeoutExpired:
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(SECONDS)


def descendants(pid: int) -> list[int]:
    """The processes below one, and itself."""
    below: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            below[parent].append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += below[one]
    return found


def _name(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""


def unconfined(made: Path, folder: Path) -> Answers:
    """What the kernel itself says to each call."""
    with running(["unshare", "--uts", "--ipc", "--mount", str(made)], folder) as free:
        return free.answers


def returns(stack: FilterStack) -> Mapping[str, tuple[FilterReturn, ...]]:
    """What filters can return for each call, as the product has proved."""
    analysis = stack.analysis()
    return {
        word: tuple(
            sorted(
                map(FilterReturn.decode, analysis.returns(abi.audit_arch, abi.numbers[name])),
                key=str,
            )
        )
        for word, (abi, name) in calls().items()
    }


def disagreements(stack: FilterStack, seen: Answers, free: Answers) -> list[str]:
    """The calls of which the filters, as the product reads them, do not say what was seen.

    Args:
        stack: the filters.
        seen: the answers under them.
        free: the answers without any.
    """
    return [
        f"{calls()[word][1]} on {calls()[word][0]}: {' or '.join(map(str, possible))}, seen"
        f" {seen.get(word)}"
        for word, possible in returns(stack).items()
        if not any(_is_seen(one, seen.get(word), free[word]) for one in possible)
    ]


def _is_seen(returned: FilterReturn, seen: str | None, free: str) -> bool:
    if returned.action is Action.ERRNO:
        return seen == str(returned.data)
    # A supervisor that is asked lets these calls run, or it is nobody's verdict here.
    return seen == _ENDED.get(returned.action, free)


def rows(stack: FilterStack) -> set[tuple[str, str, str]]:
    """What the filters do with the documented calls, as rows of a page: ABI, answer, calls.

    The most frequent answer of an ABI has the number of its calls, every other their names.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for word, possible in returns(stack).items():
        abi, name = calls()[word]
        groups[abi.name, " or ".join(map(str, possible))].append(name)
    found = set()
    for (abi_name, answer), names in groups.items():
        others = [len(some) for (one, _), some in groups.items() if one == abi_name]
        usual = len(names) == max(others) and others.count(len(names)) == 1
        few = f"{len(names)}: {', '.join(names)}"
        all_of_them = f"all {len(names)}" if len(others) == 1 else f"the other {len(names)}"
        found.add((abi_name, answer, all_of_them if usual else few))
    return found
