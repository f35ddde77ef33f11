"""A profile under which its runtime cannot start a container is told, before one is started."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from probes.action import Action
from probes.arch import ARCHES
from probes.benchmarks import runtime_calls
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import jump, statement
from probes.runtimes import container
from probes.targets import given_profile, started_container
from probes.targets.oci import needs
from probes.targets.oci.reader import AskedReaders, Engine, Release, Runtime, spelled, version_of
from probes.targets.oci_file import Document, ProfiledContainer, load
from probes.targets.stack import FilterStack
from probes.tests.support.machine import Machine, bundle, need, static_root

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="measured on x86_64")

NATIVE: Final = ARCHES["x86_64"]
RUNC: Final = Release(Runtime.RUNC, (1, 1, 5))
CRUN: Final = Release(Runtime.CRUN, (1, 8, 1))

Json = Mapping[str, Any]


def stack(returns: int, *refused: str) -> FilterStack:
    """A filter that refuses some calls in one way."""
    tests = [
        one
        for call in refused
        for one in (
            jump(bpf.JEQ, NATIVE.numbers[call], 0, 1),
            statement(bpf.RET_K, returns),
        )
    ]
    allow = statement(bpf.RET_K, Action.ALLOW.value)
    return FilterStack("made", ((statement(bpf.LD_ABS, bpf.OFFSET_NR), *tests, allow),), NATIVE)


EPERM: Final = Action.ERRNO.value | 1
ENOSYS: Final = Action.ERRNO.value | 38
EIO: Final = Action.ERRNO.value | 5
KILL: Final = Action.KILL_PROCESS.value


def surely(returns: int, call: str, release: Release, *, no_new_privs: bool = False) -> bool:
    found = needs.lacking(stack(returns, call), release, no_new_privs=no_new_privs)
    assert found is not None
    calls = [one for calls in found.surely.values() for one in calls]
    assert calls in ([], [call])
    return bool(calls)


def test_every_release_was_measured_with_and_without_no_new_privs() -> None:
    rows = [(one.runtime, one.version, one.no_new_privs) for one in needs.measured()]
    assert len(set(rows)) == len(rows)
    assert {(one, version, not sealed) for one, version, sealed in rows} == set(rows)
    assert {one for one, _, _ in rows} == set(Runtime)
    assert (Runtime.RUNC, (1, 3, 6), False) in rows


@pytest.mark.parametrize("one", needs.measured(), ids=lambda one: f"{one.runtime}-{one.version}")
def test_what_is_needed_was_made(one: needs.Needs) -> None:
    """And whatever is fatal with an errno is fatal where it kills."""
    dies = one.needed["kill"] | one.full["kill"] | one.sometimes
    assert "execve" in one.needed["kill"]
    assert "write" in one.made or one.runtime is Runtime.CRUN
    for way in ("kill", "eperm", "enosys"):
        assert not one.needed[way] & one.full[way]
        assert one.needed[way] | one.full[way] <= set(one.made) & dies
    assert set(one.made) <= set(NATIVE.numbers)


@pytest.mark.parametrize(
    ("returns", "call", "release", "sealed", "is_fatal"),
    [
        (EPERM, "fstatfs", RUNC, False, True),
        (EIO, "fstatfs", RUNC, False, True),
        (ENOSYS, "fstatfs", RUNC, True, True),
        (EPERM, "setgroups", RUNC, False, True),
        (EPERM, "setgroups", RUNC, True, False),
        (KILL, "getpid", RUNC, False, True),
        (EPERM, "getpid", RUNC, False, False),
        (Action.TRAP.value, "getpid", RUNC, False, True),
        (Action.LOG.value, "fstatfs", RUNC, False, False),
        (Action.ERRNO.value, "fstatfs", RUNC, False, False),
        (KILL, "acct", RUNC, False, False),
        (KILL, "close", CRUN, True, True),
        (EPERM, "close", CRUN, True, False),
        (EPERM, "setresuid", CRUN, False, True),
        (KILL, "openat2", Release(Runtime.RUNC, (1, 3, 6)), False, True),
        (KILL, "openat2", RUNC, False, False),
    ],
)
def test_what_is_fatal(
    returns: int,
    call: str,
    release: Release,
    sealed: bool,  # noqa: FBT001 - likewise
    is_fatal: bool,  # noqa: FBT001 - likewise
) -> None:
    assert surely(returns, call, release, no_new_privs=sealed) == is_fatal


def test_the_nearest_earlier_release_stands_in() -> None:
    later = Release(Runtime.RUNC, (1, 2, 0))
    found = needs.lacking(stack(EPERM, "fstatfs"), later, no_new_privs=False)
    assert found is not None
    assert found.needs.version < later.version
    assert not needs.is_exact(found, later, needs.MACHINE)
    assert needs.is_exact(found, Release(later.name, found.needs.version), needs.MACHINE)
    assert not needs.is_exact(found, Release(later.name, found.needs.version), "aarch64")
    assert "measured with runc 1.1." in needs.words(found)
    earlier = Release(Runtime.RUNC, (1, 0, 0))
    assert needs.lacking(stack(EPERM, "fstatfs"), earlier, no_new_privs=False) is None
    assert not list(needs.sentences(stack(EPERM, "fstatfs"), earlier))


def test_what_stops_some_starts_is_said_besides() -> None:
    found = needs.lacking(stack(EPERM, "fstatfs", "futex"), RUNC, no_new_privs=False)
    assert found is not None
    assert "ERRNO(EPERM), at times futex, too (measured" in needs.words(found)
    alone = needs.lacking(stack(EPERM, "futex"), RUNC, no_new_privs=False)
    assert alone
    assert not alone.is_fatal


def test_a_call_that_is_refused_for_some_arguments_is_not_counted() -> None:
    program = (
        statement(bpf.LD_ABS, bpf.OFFSET_NR),
        jump(bpf.JEQ, NATIVE.numbers["write"], 0, 3),
        statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
        jump(bpf.JEQ, 9999, 0, 1),
        statement(bpf.RET_K, EPERM),
        statement(bpf.RET_K, Action.ALLOW.value),
    )
    found = needs.lacking(FilterStack("made", (program,), NATIVE), RUNC, no_new_privs=False)
    assert found is not None
    assert not found


def allowing(*names: str, action: str = "ERRNO") -> Json:
    return {
        "defaultAction": f"SCMP_ACT_{action}",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_ALLOW"}],
    }


# The calls of a static program.
MINIMAL: Final = (
    *("read", "write", "exit_group", "brk", "arch_prctl", "rseq", "set_robust_list"),
    *("set_tid_address", "prlimit64", "mprotect", "execve"),
)


def all_but(*names: str) -> Json:
    return allowing(*(name for name in sorted(NATIVE.numbers) if name not in names))


def told(directory: Path, profile: Json, runtime: Release) -> str:
    path = directory / "profile.json"
    path.write_text(json.dumps(profile))
    found = load(
        [path],
        ProfiledContainer(NATIVE, frozenset(), (6, 1)),
        AskedReaders(Release(Engine.CONTAINERD, (1, 6, 20)), runtime),
        lambda: Document(("acct",), (NATIVE,)),
    )
    return "\n".join(one.line for one in found.findings)


def test_a_profile_says_which_runtimes_it_stops(tmp_path: Path) -> None:
    minimal = told(tmp_path, allowing(*MINIMAL), RUNC)
    assert (
        "runc 1.1.5 starts no container with it: once its filter is on it needs capget" in minimal
    )
    assert "fstat, fstatfs, getcwd" in minimal
    assert "measured with runc 1.1.5: Debian bookworm" in minimal
    assert "once its filter is on" not in told(tmp_path, all_but("acct"), RUNC)


def test_a_profile_says_that_no_new_privs_decides(tmp_path: Path) -> None:
    found = told(tmp_path, all_but("setresuid"), CRUN)
    assert "starts containers with it only where they have no_new_privs" in found
    assert "it needs setresuid, which the profile answers with ERRNO(EPERM)" in found


# Before a container is made.


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), "int main(void) { return 7; }")


@pytest.mark.containers
@pytest.mark.parametrize("runtime", ["runc", "crun", "docker", "podman"])
def test_a_container_that_cannot_start_is_not_made(
    runtime: str, machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(runtime)
    wanted = machine.wanted(runtime, root, allowing("read", "write"))
    makers = dict(container._MAKERS)

    def made(*given: Any) -> Any:  # noqa: ANN401 - as the makers have it
        found = makers[runtime](*given)

        def start() -> None:
            raise AssertionError("it is started")

        monkeypatch.setattr(found, "start", start)
        return found

    monkeypatch.setattr(container, "_MAKERS", {**makers, runtime: made})
    with pytest.raises(
        given_profile.RefusedError, match=r"once its filter is on it needs .*execve"
    ):
        started_container.load(wanted)


@pytest.mark.containers
def test_what_is_only_likely_is_told_when_the_runtime_refuses(
    machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another release was measured the container is tried, and the calls are named then."""
    need("docker")
    monkeypatch.setattr(needs, "is_exact", lambda *_: False)
    with pytest.raises(BadInputError, match="once its filter is on it needs") as caught:
        started_container.load(machine.wanted("docker", root, allowing("read", "write")))
    assert "its own words" in str(caught.value) or "ended before it ran" in str(caught.value)
    assert not isinstance(caught.value, given_profile.RefusedError)


@pytest.mark.slow
@pytest.mark.containers
@pytest.mark.parametrize("release", [RUNC, CRUN], ids=["runc", "crun"])
@pytest.mark.parametrize("sealed", [False, True])
def test_the_table_is_what_the_installed_runtime_does(
    release: Release,
    sealed: bool,  # noqa: FBT001 - a column
    machine: Machine,
    root: Path,
) -> None:
    """What is fatal stops a container, and with all else that is made refused one starts."""
    runtime = str(release.name)
    need(runtime)
    wanted = machine.wanted(runtime, root, None)
    version = version_of(container.make(wanted).version())
    found = needs.nearest(Release(release.name, version), no_new_privs=sealed)
    assert found is not None
    if found.version != version:
        pytest.skip(f"{runtime} {spelled(version)} was not measured")

    def starts(refused: Collection[str]) -> bool:
        place = machine.folder / os.urandom(4).hex()
        place.mkdir()
        configuration = json.loads((bundle(place, root) / "config.json").read_text())
        configuration["process"]["noNewPrivileges"] = sealed
        configuration["linux"]["seccomp"] = all_but(*refused)
        (place / "config.json").write_text(json.dumps(configuration))
        held = type(wanted)(wanted.program, str(place))
        try:
            container.hold(held)
        except BadInputError:
            return False
        return True

    survived = set(found.made) - found.needed["eperm"] - found.full["eperm"] - found.sometimes
    assert starts(survived)
    for call in sorted(found.needed["eperm"])[:4]:
        assert not starts({call}), call


# The generator reads strace rightly.


def test_calls_count_from_the_filter_to_the_program() -> None:
    log = """\
39<runc> seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL) = -1 EFAULT (Bad address)
39<runc> keyctl(KEYCTL_JOIN_SESSION_KEYRING, "x") = 1
51<runc:[2:INIT]> openat(AT_FDCWD, "/", O_RDONLY) = 3
52<runc:[2:INIT]> futex(0x1, FUTEX_WAIT <unfinished ...>
51<runc:[2:INIT]> prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {len=387, filter=0xc0} <unfinished ...>
52<runc:[2:INIT]> <... futex resumed>) = 0
51<runc:[2:INIT]> <... prctl resumed>) = 0
39<runc> read(3, "", 1) = 0
51<runc:[2:INIT]> fstatfs(7, {f_type=PROC_SUPER_MAGIC}) = 0
52<runc:[2:INIT]> epoll_pwait(4, [], 128, 0, NULL, 0) = 0
51<runc:[2:INIT]> execve("/program", ["/program"], 0xc0 /* 1 var */ <unfinished ...>
51<program> exit_group(42) = ?
"""
    assert runtime_calls.after_the_filter(log) == {"fstatfs", "epoll_pwait", "execve"}
    alone = log.replace("runc:[2:INIT]", "crun")
    assert runtime_calls.after_the_filter(alone) == {"fstatfs", "execve"}


def entries() -> Iterator[str]:
    yield from needs._FILE.read_text(encoding="utf-8").split("[[runtime]]")[1:]


def test_the_table_is_as_the_generator_writes_it() -> None:
    """Made by hand it would not be: order, breaks and all are the generator's."""
    for text, row in zip(entries(), needs.measured(), strict=True):
        measured = runtime_calls.Measured(
            row.made,
            {way: tuple(sorted(calls)) for way, calls in row.needed.items()},
            {way: tuple(sorted(calls)) for way, calls in row.full.items()},
            tuple(sorted(row.sometimes)),
        )
        written = runtime_calls._toml(
            str(row.runtime),
            spelled(row.version),
            sealed=row.no_new_privs,
            source=row.source,
            measured=measured,
        )
        assert written.strip() == f"[[runtime]]{text}".strip()
