"""What is in force is held against the profile: no false alarm, and every difference is told."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from probes.action import Action, FilterReturn
from probes.arch import ARCHES
from probes.filters import bpf
from probes.filters.bpf import Program, statement
from probes.finding import Finding, Weight
from probes.releases.machine import V2
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.wanted import GivenProfile, Wanted
from probes.targets import given_profile, started_container
from probes.targets.given_profile import Harvested
from probes.targets.oci import compile_request, compiler
from probes.targets.oci import profile as oci_profile
from probes.tests.support.emitter import wait_for
from probes.tests.support.machine import (
    PODMAN_PROFILE,
    START_SECONDS,
    Machine,
    bundle,
    need,
    static_root,
)
from probes.tests.support.releases import release_machine

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="profiles are x86_64's")

NATIVE: Final = ARCHES["x86_64"]
KERNEL: Final = compiler.kernel_version(os.uname().release)

Json = Mapping[str, Any]


def rule(action: str, *names: str, **more: object) -> Json:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


DENYING: Final[dict[str, Any]] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        rule("ERRNO", "acct", errnoRet=38),
        rule("KILL_PROCESS", "kcmp"),
        rule("LOG", "add_key"),
        rule("ERRNO", "keyctl", args=[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]),
    ],
}
ALLOWING: Final[dict[str, Any]] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "syscalls": [rule("ALLOW", *(name for name in sorted(NATIVE.numbers) if name != "acct"))],
}
PROFILES: Final[Mapping[str, Json]] = {"denying": DENYING, "allowing": ALLOWING}


def given(
    directory: Path, profile: Json, runtime: str = "runc", version: str = "1.1.5"
) -> GivenProfile:
    path = directory / "config.json"
    raw = json.dumps({"ociVersion": "1.0.2", "linux": {"seccomp": profile}}).encode()
    path.write_bytes(raw)
    return GivenProfile(path, raw, raw, "bundle", "", runtime, version)


def compiled(one: GivenProfile) -> Program:
    reader = given_profile.reader_of(one)
    assert reader is not None
    source = oci_profile.parsed(one.content, str(one.path))
    profile = oci_profile.decode(source, reader.dialect)
    resolved = compiler.resolve(profile, NATIVE, (), KERNEL, reader)
    (program,) = compiler.compile(resolved).programs
    return program


def findings(one: GivenProfile, *programs: Program, logged: tuple[bool, ...] = ()) -> list[Finding]:
    found = Harvested(programs, logged or (False,) * len(programs), 0, KERNEL, NATIVE)
    return list(given_profile.compared(one, found))


def limit(found: list[Finding]) -> str:
    (one,) = found
    assert one.weight is Weight.LIMITS
    assert one.about == given_profile.ABOUT
    return one.text


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_what_a_profile_compiles_to_is_no_difference(
    name: str, runtime: str, tmp_path: Path
) -> None:
    one = given(tmp_path, PROFILES[name], runtime)
    assert findings(one, compiled(one)) == []


# One mutant for each sort of difference.


def test_another_errno_is_told_with_cruns_habit(tmp_path: Path) -> None:
    other = {**DENYING, "syscalls": [rule("ERRNO", "acct", errnoRet=1), *DENYING["syscalls"][1:]]}
    kept = compiled(given(tmp_path, other, "crun", "1.28"))
    told = limit(findings(given(tmp_path, DENYING, "crun", "1.28"), kept))
    assert "acct on x86_64" in told
    assert "which the file says get ERRNO(ENOSYS), get ERRNO(EPERM)" in told
    assert "crun 1.28 most likely took a filter that it had kept for another profile" in told
    assert "The container is judged as it is, and the file is not" in told


def test_a_rule_that_is_missing_is_told(tmp_path: Path) -> None:
    less = compiled(given(tmp_path, {**DENYING, "syscalls": DENYING["syscalls"][1:]}))
    told = limit(findings(given(tmp_path, DENYING), less))
    assert "acct on x86_64" in told
    assert "get ERRNO(ENOSYS), get ALLOW" in told
    assert "most likely has another libseccomp" in told


def test_no_filter_where_the_file_has_one_is_told(tmp_path: Path) -> None:
    assert "get ERRNO(ENOSYS), get ALLOW" in limit(findings(given(tmp_path, DENYING)))


def test_a_filter_where_the_file_has_none_is_told(tmp_path: Path) -> None:
    nothing = given(tmp_path, {})
    assert findings(nothing) == []
    allows = (statement(bpf.RET_K, FilterReturn(Action.ALLOW).value),)
    assert "by the file nothing confines it" in limit(findings(nothing, allows))


def test_a_second_filter_is_told(tmp_path: Path) -> None:
    one = given(tmp_path, DENYING)
    denies = (statement(bpf.RET_K, FilterReturn(Action.ERRNO, 5).value),)
    assert "ERRNO(EIO)" in limit(findings(one, compiled(one), denies))


def test_a_filter_that_is_recorded_is_told(tmp_path: Path) -> None:
    one = given(tmp_path, DENYING)
    assert "recorded" in limit(findings(one, compiled(one), logged=(True,)))


def test_a_file_that_changes_is_told(tmp_path: Path) -> None:
    one = given(tmp_path, DENYING)
    one.path.write_text("{}")
    assert limit(findings(one)).endswith(
        "the file was changed meanwhile. The container is judged as it is, and the file is not"
    )


def test_another_library_is_named(tmp_path: Path) -> None:
    one = replace(given(tmp_path, DENYING), library="9.9.9")
    assert "runc 1.1.5 has libseccomp 9.9.9, and here is" in limit(findings(one))


def test_what_is_not_known_is_not_compared(tmp_path: Path) -> None:
    for one in (
        given(tmp_path, DENYING, "youki"),
        given(tmp_path, DENYING, version=""),
        given(tmp_path, {"defaultAction": "SCMP_ACT_NO"}),
    ):
        (found,) = findings(one)
        assert found.weight is Weight.ADVICE
        assert "was not compared" in found.text


def test_a_compile_that_does_not_end_is_no_matter_of_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before the runtime hangs in it, and not taken for something uncompared."""

    def endless(*_: object) -> None:
        raise compile_request.EndlessError("libseccomp did not compile the profile")

    monkeypatch.setattr(compiler, "compile", endless)
    one = given(tmp_path, DENYING)
    with pytest.raises(compile_request.EndlessError):
        list(given_profile.checked(one))
    with pytest.raises(compile_request.EndlessError):
        findings(one)


# A newer libseccomp has rules for more calls, and so runc a higher border.


def newer(program: Program, number: int, value: int) -> Program:
    """The program with another answer for a number of x86_64."""
    token = bpf.jump(bpf.JEQ, NATIVE.audit_arch, 0, 3)
    load = statement(bpf.LD_ABS, bpf.OFFSET_NR)
    answers = statement(bpf.RET_K, value)
    head = (statement(bpf.LD_ABS, bpf.OFFSET_ARCH), token, load, bpf.jump(bpf.JEQ, number, 0, 1))
    return (*head, answers, *program)


UNKNOWN: Final = max(number for name, number in NATIVE.numbers.items() if number < 1 << 20)


NEWEST_NAME: Final = next(name for name, number in NATIVE.numbers.items() if number == UNKNOWN)
KNOWN: Final = NATIVE.numbers["close_range"]
BORDERED: Final[dict[str, Any]] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 5,
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [
        rule("ERRNO", "acct", errnoRet=38),
        rule("ALLOW", "read", "close_range", NEWEST_NAME),
    ],
}
"""A profile whose newest call libseccomp does not know, and with an ENOSYS of its own."""


@pytest.mark.parametrize(
    ("number", "action", "is_told"),
    [
        (UNKNOWN, "ALLOW", False),
        (UNKNOWN, "LOG", True),
        (UNKNOWN - 1, "ALLOW", False),
        (UNKNOWN + 1, "ALLOW", True),
        (NATIVE.numbers["acct"], "ALLOW", True),
    ],
)
def test_what_a_newer_library_adds_is_no_difference(
    number: int,
    action: str,
    is_told: bool,  # noqa: FBT001 - a column
    tmp_path: Path,
) -> None:
    one = given(tmp_path, ALLOWING)
    program = newer(compiled(one), number, FilterReturn(Action[action]).value)
    assert bool(findings(one, program)) == is_told


@pytest.mark.parametrize(
    ("number", "action", "is_told"),
    [
        (NATIVE.numbers["acct"], "EPERM", True),  # it has a rule of its own
        (NATIVE.numbers["kexec_file_load"], "ENOSYS", True),
        (KNOWN + 1, "ALLOW", True),
        (KNOWN + 1, "the default", False),
        (UNKNOWN + 1, "the default", True),
    ],
)
def test_a_newer_library_moves_the_border_of_runcs_enosys_and_no_more(
    number: int,
    action: str,
    is_told: bool,  # noqa: FBT001 - a column
    tmp_path: Path,
) -> None:
    one = given(tmp_path, BORDERED)
    returns = {
        "ALLOW": FilterReturn(Action.ALLOW),
        "ENOSYS": FilterReturn(Action.ERRNO, 38),
        "EPERM": FilterReturn(Action.ERRNO, 1),
        "the default": FilterReturn(Action.ERRNO, 5),
    }[action]
    assert bool(findings(one, newer(compiled(one), number, returns.value))) == is_told


# Real runtimes.


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), "int main(void) { return 7; }")


def weighty(wanted: Wanted) -> list[str]:
    """What is told of a container's profile."""
    opened = started_container.load(wanted)
    found = opened.findings
    assert not [one.text for one in found if "was not compared" in one.text]
    # The file of the user's, not what the runtime has made of it.
    (file,) = opened.written
    assert Path(file.path) == (wanted.seccomp or Path(wanted.subject, "config.json"))
    assert file.sha256 == hashlib.sha256(Path(file.path).read_bytes()).hexdigest()
    assert (file.untold, bool(file.rules)) == ("", True)
    return [one.line for one in found if "what is in force" in one.text]


@pytest.mark.containers
@pytest.mark.parametrize("runtime", ["runc", "crun", "docker", "podman", "containerd"])
@pytest.mark.parametrize("name", [*PROFILES, "the usual one"])
def test_real_runtimes_raise_no_alarm(
    runtime: str, name: str, machine: Machine, root: Path
) -> None:
    need(runtime)
    if name == "the usual one":
        if runtime in {"runc", "crun", "containerd"}:
            pytest.skip("docker and podman pick the rules of that one")
        profile = Path(PODMAN_PROFILE).read_bytes()
    else:
        profile = json.dumps(PROFILES[name]).encode()
    assert weighty(machine.wanted(runtime, root, profile)) == []


RELEASES: Final[Mapping[str, tuple[str, ...]]] = {
    "trixie": ("runc", "crun"),
    "sid": ("runc", "crun"),
}


@pytest.fixture(scope="module", params=RELEASES)
def newer_runtime(
    request: pytest.FixtureRequest, root: Path
) -> Iterator[Callable[[str, Json], Wanted]]:
    with (
        release_machine(request.param, *RELEASES[request.param], cgroups=V2) as made,
        pytest.MonkeyPatch.context() as patched,
    ):
        # Where the suite puts the bundle that it starts.
        patched.setattr(tempfile, "tempdir", str(made.folder))
        there = shutil.copytree(root, made.folder / "root", symlinks=True)

        def wanted(runtime: str, profile: Json) -> Wanted:
            place = Path(tempfile.mkdtemp())
            bundle(place, there, profile)
            more = ("--cgroup-manager=disabled",) if runtime == "crun" else ()
            return Wanted(RuntimeCommand(runtime, made.words(runtime, *more)), str(place))

        yield wanted


@pytest.mark.root("mounts a root")
@pytest.mark.containers
@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("name", PROFILES)
def test_newer_runtimes_raise_no_alarm(
    runtime: str, name: str, newer_runtime: Callable[[str, Json], Wanted]
) -> None:
    assert weighty(newer_runtime(runtime, PROFILES[name])) == []


ENGINES: Final = ("docker.io", "docker-cli", "containerd", "runc", "podman", "crun")
_DOCKERD: Final = (
    *("dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false"),
    *("--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"),
    *("--exec-opt", "native.cgroupdriver=cgroupfs"),
)
_PODMAN: Final = (
    *("podman", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=crun"),
)
_LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--pids-limit=0")
"""To raise a limit takes CAP_SYS_RESOURCE, which this machine may lack."""


@pytest.fixture(scope="module")
def newer_engine(root: Path) -> Iterator[Callable[[str, Json], Wanted]]:
    with (
        release_machine("sid", *ENGINES) as made,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(tempfile, "tempdir", str(made.folder))
        log = made.daemon(*_DOCKERD)
        answers = ("docker", "version")
        wait_for(
            lambda: not made.tried(*answers).returncode,
            f"dockerd does not answer: {log}",
            START_SECONDS,
        )
        archive = made.folder / "root.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        programs = {"docker": ("docker",), "podman": _PODMAN, "containerd": ("ctr",)}
        for engine in ("docker", "podman"):
            made.run(*programs[engine], "import", str(archive), "judged:1")
        made.daemon("containerd")
        told = "containerd does not answer"
        wait_for(lambda: not made.tried("ctr", "version").returncode, told, START_SECONDS)
        there = shutil.copytree(root, made.folder / "root", symlinks=True)

        def wanted(runtime: str, profile: Json) -> Wanted:
            path = made.folder / f"{os.urandom(4).hex()}.json"
            path.write_text(json.dumps(profile))
            command = RuntimeCommand(runtime, made.words(*programs[runtime]))
            subject = str(there) if runtime == "containerd" else "judged:1"
            return Wanted(command, subject, path, _LIMITS if runtime == "podman" else ())

        yield wanted


@pytest.mark.root("mounts a root")
@pytest.mark.containers
@pytest.mark.parametrize("runtime", ["docker", "podman", "containerd"])
@pytest.mark.parametrize("name", PROFILES)
def test_newer_engines_raise_no_alarm(
    runtime: str, name: str, newer_engine: Callable[[str, Json], Wanted]
) -> None:
    assert weighty(newer_engine(runtime, PROFILES[name])) == []


@pytest.mark.root("mounts a root")
@pytest.mark.containers
def test_a_filter_that_crun_has_kept_is_told(
    newer_runtime: Callable[[str, Json], Wanted],
) -> None:
    one, two = ({**DENYING, "syscalls": [rule("ERRNO", "acct", errnoRet=code)]} for code in (5, 6))
    assert weighty(newer_runtime("crun", one)) == []
    (told,) = weighty(newer_runtime("crun", two))
    assert told.startswith("cannot tell: what is in force is not what ")
    assert "which the file says get ERRNO(ENXIO), get ERRNO(EIO)" in told
    assert "most likely took a filter that it had kept" in told
