"""Measures which calls a runtime makes once its filter is on, and which of them it needs.

    python -m probes.benchmarks.runtime_calls bookworm trixie sid >runtime-calls.toml

starts each release's runtimes on machines of their own, and prints what stands in
``probes/targets/oci/``. strace(1) names the calls; then a container is started without each of them
in turn, killed or with an errno, a few times, for Go's scheduler does not make the same calls each
time. A call counts as needed where no start succeeded. A plain bundle and a full one are tried,
with no_new_privs and without.
"""

import contextlib
import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from probes import arch
from probes.guest.choice import default_cache
from probes.releases import machine, roots
from probes.releases.machine import ReleaseMachine

RUNTIMES: Final = ("runc", "crun")
_STATUS: Final = 42
_PROGRAM: Final = """\
void _start(void)
{
	__asm__ volatile("syscall" :: "a"(231), "D"(42));
	__builtin_unreachable();
}
"""
_OWN: Final = frozenset({"exit_group"})
"""What the container's program calls, besides which there is nothing of its own."""

_TRACES: Final = 6
_TRIES: Final = 4
_SECONDS: Final = 20.0

_ANSWERS: Final[Mapping[str, Mapping[str, object]]] = {
    "kill": {"action": "SCMP_ACT_KILL_PROCESS"},
    "eperm": {"action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    "enosys": {"action": "SCMP_ACT_ERRNO", "errnoRet": 38},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a runtime needs once its filter is on.

    Attributes:
        made: the calls that it makes.
        needed: by what they answer, those without which no container of either bundle starts.
        full: likewise, but without which only a container of the full bundle does not start.
        sometimes: those without which some starts fail.
    """

    made: tuple[str, ...]
    needed: Mapping[str, tuple[str, ...]]
    full: Mapping[str, tuple[str, ...]]
    sometimes: tuple[str, ...]


def main() -> None:
    """Measures the releases that the words name, and prints the table."""
    native = arch.get("x86_64")
    print(_HEAD)  # noqa: T201 - its output
    for suite in sys.argv[1:]:
        root = roots.build(suite, (*RUNTIMES, "strace"), default_cache())
        with machine.started(root) as made:
            program = _program(made.folder)
            for name in RUNTIMES:
                version = _version(made, name)
                for sealed in (False, True):
                    bench = _Bench(made, name, program, sealed)
                    told = _entry(bench.measured(native.numbers), suite, root.version(name))
                    print(_toml(name, version, sealed=sealed, **told), flush=True)  # noqa: T201


def _version(made: ReleaseMachine, name: str) -> str:
    found = re.search(r"\d+(?:\.\d+)+", made.run(name, "--version"))
    if found is None:
        raise AssertionError(f"{name} says no version")
    return found[0]


def _program(folder: Path) -> Path:
    source, place = folder / "program.c", folder / "rootfs" / "program"
    for part in ("proc", "dev", "sys"):
        (folder / "rootfs" / part).mkdir(parents=True)
    source.write_text(_PROGRAM)
    subprocess.run(["gcc", "-static", "-nostdlib", "-o", place, source], check=True)  # noqa: S607
    return place


@dataclass(slots=True)
class _Bench:
    """A runtime on a machine.

    Attributes:
        machine: the machine.
        name: the runtime.
        program: what its containers run.
        sealed: whether they get no_new_privs.
        count: how many were started.
        sometimes: calls without which some starts failed.
    """

    machine: ReleaseMachine
    name: str
    program: Path
    sealed: bool
    count: int = 0
    sometimes: set[str] = field(default_factory=set)

    def measured(self, numbers: Collection[str]) -> Measured:
        """What the runtime makes and needs."""
        everything = {"names": sorted(numbers), "action": "SCMP_ACT_ALLOW"}
        deny = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [everything]}
        traced = [self._traced(deny) for _ in range(_TRACES)]
        made = sorted({name for names in traced for name in names if name in numbers} - _OWN)
        full = {word: self._needed(made, word, full=True) for word in _ANSWERS}
        both = {word: self._needed(full[word], word, full=False) for word in _ANSWERS}
        only = {word: tuple(one for one in full[word] if one not in both[word]) for word in full}
        return Measured(tuple(made), both, only, tuple(sorted(self.sometimes)))

    def _needed(self, calls: Collection[str], word: str, *, full: bool) -> tuple[str, ...]:
        found = []
        for call in calls:
            rule = {"names": [call], **_ANSWERS[word]}
            profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
            started = [self._starts(profile, full=full) for _ in range(_TRIES)]
            if not any(started):
                found.append(call)
            elif not all(started):
                self.sometimes.add(call)
        return tuple(found)

    def _starts(self, profile: Mapping[str, Any], *, full: bool) -> bool:
        with self._bundle(profile, full=full) as (bundle, name):
            try:
                ended = subprocess.run(
                    self._words("run", "--bundle", str(bundle), name),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return False
            return ended.returncode == _STATUS

    def _words(self, *words: str) -> tuple[str, ...]:
        more = ("--cgroup-manager=disabled",) if self.name == "crun" else ()
        return self.machine.words(self.name, *more, *words)

    def _traced(self, profile: Mapping[str, Any]) -> set[str]:
        with self._bundle(profile, full=True) as (bundle, name):
            log = bundle / "trace"
            more = ("--cgroup-manager=disabled",) if self.name == "crun" else ()
            words = ("strace", "-f", "-Y", "-o", str(log), self.name, *more)
            self.machine.tried(*words, "run", "--bundle", str(bundle), name, seconds=_SECONDS)
            return after_the_filter(log.read_text(errors="replace"))

    @contextlib.contextmanager
    def _bundle(self, profile: Mapping[str, Any], *, full: bool) -> Iterator[tuple[Path, str]]:
        self.count += 1
        name = f"one-{self.name}-{int(self.sealed)}-{self.count}"
        place = self.machine.folder / name
        place.mkdir()
        configuration = _configuration(profile, sealed=self.sealed, full=full)
        (place / "config.json").write_text(json.dumps(configuration))
        try:
            yield place, name
        finally:
            self.machine.tried(*self._tail("delete", "--force", name))

    def _tail(self, *words: str) -> tuple[str, ...]:
        more = ("--cgroup-manager=disabled",) if self.name == "crun" else ()
        return (self.name, *more, *words)


# A call that only ends after the filter was installed was never shown to it.
_BEGUN: Final = re.compile(r"(\d+)<(.*?)> +(\w+)\(")


_INSTALLS: Final = re.compile(
    r"(?:seccomp|prctl)\(.*\{len=\d+, filter=.*(?:= 0|<unfinished \.\.\.>)$"
)


def after_the_filter(log: str) -> set[str]:
    """The calls of an output of ``strace -f -Y`` that the confined process makes.

    Args:
        log: the output.
    """
    found: set[str] = set()
    confined, name = "", ""
    for line in log.splitlines():
        match = _BEGUN.match(line)
        if not match:
            continue
        thread, comm, call = match.groups()
        if _INSTALLS.search(line):
            confined, name = thread, comm
            found.clear()
        elif thread == confined or (comm == name and name.startswith("runc:[")):
            found.add(call)
            if call == "execve":
                break
    return found


_SPACES: Final = ("pid", "mount", "ipc", "uts", "network")
_CAPABILITIES: Final = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW"),
    *("CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE"),
    *("CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"),
)


def _configuration(profile: Mapping[str, Any], *, sealed: bool, full: bool) -> dict[str, Any]:
    """A bundle's configuration: the least that works, or what Docker gives."""
    process: dict[str, Any] = {
        "args": ["/program"],
        "cwd": "/",
        "user": {"uid": 0, "gid": 0},
        "noNewPrivileges": sealed,
    }
    linux: dict[str, Any] = {
        "namespaces": [{"type": space} for space in _SPACES],
        "seccomp": {**profile, "architectures": ["SCMP_ARCH_X86_64"]},
    }
    if full:
        sets = ("bounding", "effective", "permitted")
        process["capabilities"] = {one: list(_CAPABILITIES) for one in sets}
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
        process["user"] = {"uid": 0, "gid": 0, "additionalGids": [0, 10]}
        linux["maskedPaths"] = ["/proc/kcore", "/proc/keys"]
        linux["readonlyPaths"] = ["/proc/bus", "/proc/sys"]
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": "../rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": linux,
    }


def _entry(measured: Measured, suite: str, package: str) -> dict[str, Any]:
    today = dt.datetime.now(tz=dt.UTC).date()
    kernel = re.match(r"[\d.]+", os.uname().release)
    source = f"Debian {suite}, {package}, Linux {kernel and kernel[0]}, {today}"
    return {"source": source, "measured": measured}


def _toml(name: str, version: str, *, sealed: bool, source: str, measured: Measured) -> str:
    lines = [
        "[[runtime]]",
        f"name = {json.dumps(name)}",
        f"version = {json.dumps(version)}",
        f"no_new_privs = {json.dumps(sealed)}",
        f"source = {json.dumps(source)}",
        f"made = {_listed(measured.made)}",
    ]
    for word in _ANSWERS:
        lines.append(f"{word} = {_listed(measured.needed[word])}")
        lines.append(f"{word}_in_full = {_listed(measured.full[word])}")
    lines.append(f"sometimes = {_listed(measured.sometimes)}")
    return "\n".join((*lines, ""))


def _listed(names: Collection[str]) -> str:
    text = json.dumps(list(names))
    return text if len(text) < _WIDE else "[\n" + _wrapped(names) + "]"


_WIDE: Final = 80


def _wrapped(names: Collection[str]) -> str:
    lines, line = [], "   "
    for name in names:
        word = f" {json.dumps(name)},"
        if len(line) + len(word) > _WIDE:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join((*lines, line, ""))


_HEAD: Final = """\
# The calls that a runtime makes once its filter is on, as python -m probes.benchmarks.runtime_calls
# has measured them on x86_64. made: all that strace saw in some start. kill, eperm, enosys: those
# without which no container starts where the filter kills, or answers EPERM or ENOSYS; in_full:
# only where the container has capabilities, limits, groups and masked paths, as engines give them.
# sometimes: those without which some starts failed and others did not.
"""


if __name__ == "__main__":
    main()
