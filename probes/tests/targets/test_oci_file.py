"""What readers do not agree about is left undecided; what they agree about is judged."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from probes.action import Action, FilterReturn
from probes.arch import ARCHES, Arch
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import SeccompData, statement
from probes.finding import Finding, Weight, undecided
from probes.targets.oci.capability import DOCKER_CAPABILITIES
from probes.targets.oci.reader import AskedReaders, Engine, Release, Runtime
from probes.targets.oci_file import Document, ProfiledContainer, load
from probes.targets.stack import FilterStack

X86: Final = tuple(one for one in ARCHES.values() if one.machine == "x86_64")
CALLS: Final = ("acct", "mount", "bpf", "keyctl")
RELEASES: Final[Mapping[str, Release]] = {
    one.name: one
    for one in (
        Release(Engine.DOCKER, (20, 10, 24)),
        Release(Engine.PODMAN, (4, 3, 1)),
        Release(Engine.CONTAINERD, (1, 6, 20)),
        Release(Engine.CRI_O, (1, 30, 0)),
        Release(Runtime.RUNC, (1, 1, 5)),
        Release(Runtime.CRUN, (1, 8, 1)),
    )
}
RUNC: Final = AskedReaders(runtime=Runtime.RUNC)
CRUN: Final = AskedReaders(runtime=Runtime.CRUN)

Json = Mapping[str, Any]


def rule(*names: str, action: str = "ERRNO", **members: object) -> Json:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **members}


def allowing(*rules: Json, **members: object) -> Json:
    """A profile that denies what its rules say."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **members}


def bundle(profile: Json | None, **annotations: object) -> Json:
    linux = {} if profile is None else {"seccomp": profile}
    named = {f"run.oci.seccomp{key}": value for key, value in annotations.items()}
    return {"ociVersion": "1.0.2", "linux": linux, "annotations": named}


def read(  # noqa: PLR0913 - what a reading depends on; most tests give but one of them
    directory: Path,
    content: Json | str,
    asked: AskedReaders | None = None,
    arches: Sequence[Arch] = X86[:1],
    calls: tuple[str, ...] = CALLS,
    *,
    others: tuple[str, ...] = (),
    everything: bool = False,
) -> FilterStack:
    path = directory / "profile.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    container = ProfiledContainer(X86[0], DOCKER_CAPABILITIES, (6, 1))
    document = Document(calls, tuple(arches), others, everything)
    return load([path], container, asked or AskedReaders(), lambda: document, RELEASES.get)


def limit(found: FilterStack) -> Finding:
    (one,) = [one for one in found.findings if one.weight is not Weight.ADVICE]
    assert one.weight is Weight.LIMITS
    assert one.about == "readers"
    return one


def is_decided(found: FilterStack) -> bool:
    return all(one.weight is Weight.ADVICE for one in found.findings)


def answer(found: FilterStack, call: str, arch: Arch = X86[0]) -> str:
    """What the judged filter does to a call."""
    number = arch.number(call)
    assert number is not None
    (program,) = found.programs
    value = bpf.simulate(program, SeccompData(number, arch.audit_arch))
    return str(FilterReturn.decode(value))


UNDECIDED: Mapping[str, tuple[Json, tuple[str, ...], str]] = {
    "a rule for some capabilities": (
        allowing(rule("mount", "bpf", includes={"caps": ["CAP_SYS_ADMIN"]}), rule("acct")),
        ("mount", "bpf"),
        (
            "mount, bpf get ALLOW from docker 20.10.24, podman 4.3.1, cri-o 1.30.0 and ERRNO(EPERM)"
            " from containerd 1.6.20, an OCI bundle: say by --engine"
        ),
    ),
    "a rule but for some capabilities": (
        allowing(rule("keyctl", excludes={"caps": ["CAP_CHOWN"]})),
        ("keyctl",),
        "keyctl get ALLOW from docker",
    ),
    "a rule for another machine": (
        allowing(rule("acct", includes={"arches": ["s390x"]})),
        ("acct",),
        "ERRNO(EPERM) from containerd 1.6.20",
    ),
    "a rule for a later kernel": (
        allowing(rule("acct", includes={"minKernel": "99.0"}), rule("bpf")),
        ("acct",),
        "acct get ALLOW from docker 20.10.24 and ERRNO(EPERM) from podman 4.3.1",
    ),
    "the old name": (
        allowing({"name": "acct", "action": "SCMP_ACT_ERRNO"}, rule("bpf")),
        ("acct",),
        "ALLOW from containerd 1.6.20, runc 1.1.5 (OCI bundle): say",
    ),
    "an errno by name": (
        allowing(rule("acct", errno="ENOSYS"), rule("mount", errno="EPERM")),
        ("acct",),
        "ERRNO(ENOSYS) from podman 4.3.1, cri-o 1.30.0: say",
    ),
    "the errno of the default action": (
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "syscalls": [rule("acct", action="LOG")],
        },
        ("mount", "bpf", "keyctl"),
        "ERRNO(EPERM) from docker 20.10.24 and ERRNO(ENOSYS) from podman 4.3.1",
    ),
    "capitals in keys": (
        {"defaultAction": "SCMP_ACT_ALLOW", "Syscalls": [rule("acct")]},
        ("acct",),
        "runc 1.1.5 (OCI bundle) and ALLOW from crun 1.8.1 (OCI bundle): say",
    ),
    "a condition for some capabilities": (
        allowing(
            rule("keyctl", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 5}]),
            rule("keyctl", includes={"caps": ["CAP_SYS_ADMIN"]}),
        ),
        ("keyctl",),
        "keyctl get ALLOW from docker",
    ),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_a_call_about_which_readers_do_not_agree_is_undecided(name: str, tmp_path: Path) -> None:
    content, calls, words = UNDECIDED[name]
    one = limit(read(tmp_path, content))
    assert sorted(one.calls) == sorted(calls)
    assert words in one.text


@pytest.mark.parametrize("name", UNDECIDED)
@pytest.mark.parametrize("engine", Engine)
def test_a_named_reader_decides(name: str, engine: Engine, tmp_path: Path) -> None:
    asked = AskedReaders(engine, Runtime.RUNC)
    assert is_decided(read(tmp_path, UNDECIDED[name][0], asked))


DECIDED: Mapping[str, Json] = {
    "a plain profile": allowing(rule("acct"), architectures=["SCMP_ARCH_X86_64"]),
    "a rule for a capability that containers have": allowing(
        rule("acct", includes={"caps": ["CAP_CHOWN"]})
    ),
    "a rule for a kernel that this is": allowing(rule("acct", includes={"minKernel": "4.8"})),
    "a condition on a call that nobody documents": allowing(
        rule("sysfs", includes={"caps": ["CAP_SYS_ADMIN"]}), rule("acct")
    ),
    "sub-architectures, where only the native one is asked for": allowing(
        rule("acct"),
        archMap=[{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    ),
    "a comment": allowing(rule("acct", comment="no accounting")),
    "default errno as it is anyway": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [rule("read", action="ALLOW")],
    },
}


@pytest.mark.parametrize("name", DECIDED)
def test_a_profile_about_which_readers_agree_is_decided(name: str, tmp_path: Path) -> None:
    found = read(tmp_path, DECIDED[name])
    assert is_decided(found)
    assert answer(found, "acct") == "ERRNO(EPERM)"


def test_that_readers_differ_elsewhere_is_advice(tmp_path: Path) -> None:
    told = "about calls or ABIs that nobody asks for here, containerd 1.6.20"
    for name, differs in (
        ("a condition on a call that nobody documents", True),
        ("sub-architectures, where only the native one is asked for", True),
        ("a plain profile", False),
        ("default errno as it is anyway", False),
    ):
        found = "".join(map(str, read(tmp_path, DECIDED[name]).findings))
        assert (told in found) is differs, name


def test_a_call_that_is_left_alone_by_some_readers_only_is_undecided(tmp_path: Path) -> None:
    """It limits no verdict on documented calls."""
    content = DECIDED["a condition on a call that nobody documents"]
    found = read(tmp_path, content, others=("getpid", "sysfs"))
    assert is_decided(found)
    assert undecided(found.findings, "getpid") == ""
    assert "do not agree about sysfs, which the policy leaves alone: containerd" in undecided(
        found.findings, "sysfs"
    )
    named = read(tmp_path, content, AskedReaders(Engine.DOCKER), others=("getpid", "sysfs"))
    assert undecided(named.findings, "sysfs") == ""


def test_that_readers_differ_elsewhere_is_a_limit_where_all_is_asked(tmp_path: Path) -> None:
    for name, differs in (
        ("a condition on a call that nobody documents", True),
        ("sub-architectures, where only the native one is asked for", True),
        ("a plain profile", False),
        ("default errno as it is anyway", False),
    ):
        found = read(tmp_path, DECIDED[name], everything=True)
        assert is_decided(found) is not differs, name
        if differs:
            assert "where containerd 1.6.20" in limit(found).text
            assert limit(found).calls == ()
        named = read(tmp_path, DECIDED[name], AskedReaders(Engine.DOCKER), everything=True)
        assert is_decided(named), name


def test_sub_architectures_that_only_some_readers_know(tmp_path: Path) -> None:
    content = DECIDED["sub-architectures, where only the native one is asked for"]
    one = limit(read(tmp_path, content, arches=X86))
    assert set(one.calls) == set(CALLS)
    assert "acct on i386 get ERRNO(EPERM) from docker" in one.text
    assert "KILL_THREAD from containerd" in one.text


def test_who_reads_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, allowing(rule("acct")))
    assert found.description.startswith(f"{tmp_path}/profile.json (docker@20.10.24, runc@1.1.5, ")
    assert "libseccomp " in found.description
    told = "".join(map(str, found.findings))
    assert "as docker 20.10.24 (installed here) and runc 1.1.5 (installed here)" in told
    asked = AskedReaders(Release(Engine.CRI_O, (1, 36)), Release(Runtime.CRUN, (1, 28)))
    found = read(tmp_path, allowing(rule("acct")), asked)
    assert "(cri-o@1.36, crun@1.28, " in found.description
    assert "as cri-o 1.36 (as asked for) and crun 1.28 (as asked for)" in str(found.findings[0])


def test_a_reader_that_refuses_starts_no_container(tmp_path: Path) -> None:
    both = {"name": "acct", "names": ["mount"], "action": "SCMP_ACT_ERRNO"}
    found = read(tmp_path, allowing(both))
    assert is_decided(found)
    assert "(containerd@1.6.20, runc@1.1.5" in found.description
    assert answer(found, "acct") == "ALLOW"
    told = "no container starts with it under docker 20.10.24, podman 4.3.1, cri-o 1.30.0: "
    assert any(str(one).startswith(told) for one in found.findings)
    with pytest.raises(BadInputError, match="has both name and names"):
        read(tmp_path, allowing(both), AskedReaders(Engine.DOCKER))


def test_what_every_reader_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="'SCMP_ACT_NONE', which is no action"):
        read(tmp_path, {"defaultAction": "SCMP_ACT_NONE"})


@pytest.mark.parametrize(
    ("asked", "starts"),
    [
        (AskedReaders(Release(Engine.DOCKER, (28, 0)), Release(Runtime.RUNC, (1, 3, 6))), True),
        (AskedReaders(Release(Engine.DOCKER, (28, 0)), Release(Runtime.RUNC, (1, 1, 5))), False),
        (AskedReaders(Engine.BUNDLE, Runtime.RUNC), False),
        (AskedReaders(Engine.BUNDLE, Runtime.CRUN), True),
    ],
)
def test_flags_by_release(asked: AskedReaders, tmp_path: Path, *, starts: bool) -> None:
    content = allowing(rule("acct"), flags=["SECCOMP_FILTER_FLAG_LOG"])
    if starts:
        assert read(tmp_path, content, asked).logged == (True,)
        return
    with pytest.raises(BadInputError, match=r"runc 1\.1\.5 does not know the flag"):
        read(tmp_path, content, asked)


def test_a_flag_that_some_readers_drop(tmp_path: Path) -> None:
    content = allowing(rule("acct"), flags=["SECCOMP_FILTER_FLAG_LOG"])
    assert read(tmp_path, content, AskedReaders(Engine.DOCKER)).logged == (False,)
    one = limit(read(tmp_path, content))
    assert set(one.calls) == set(CALLS)
    assert "SECCOMP_FILTER_FLAG_LOG" in one.text


def test_a_listener_that_an_old_docker_drops(tmp_path: Path) -> None:
    content = allowing(rule("acct", action="NOTIFY"), listenerPath="/run/agent.sock")
    with pytest.raises(BadInputError, match="without which runc starts no container"):
        read(tmp_path, content, AskedReaders(Engine.DOCKER))
    found = read(tmp_path, content, AskedReaders(Release(Engine.DOCKER, (28, 0))))
    assert answer(found, "acct") == str(FilterReturn(Action.USER_NOTIF))


LATER: Final = SeccompData(1000, X86[0].audit_arch)


@pytest.mark.parametrize(
    ("runtime", "stub"),
    [
        (Release(Runtime.RUNC, (1, 1, 5)), False),
        (Release(Runtime.RUNC, (1, 1, 14)), False),
        (Release(Runtime.RUNC, (1, 1, 15)), True),
        (Release(Runtime.RUNC, (1, 3, 6)), True),
        (Release(Runtime.CRUN, (1, 28)), False),
    ],
)
def test_the_part_for_newer_calls_without_architectures(
    runtime: Release, tmp_path: Path, *, stub: bool
) -> None:
    content = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [rule("read", "mount", action="ALLOW")],
    }
    for named, has in (([], stub), (["SCMP_ARCH_X86_64"], runtime.name is Runtime.RUNC)):
        asked = AskedReaders(Engine.DOCKER, runtime)
        found = read(tmp_path, {**content, "architectures": named}, asked)
        value = FilterReturn.decode(bpf.simulate(found.programs[0], LATER))
        assert value == FilterReturn(Action.ERRNO, 38 if has else 1)


def test_a_documented_call_that_is_newer_than_the_profile(tmp_path: Path) -> None:
    """Runc's part answers for it, and crun has none."""
    content = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule("read", "mount", action="ALLOW")],
    }
    one = limit(read(tmp_path, content, calls=("bpf",)))
    assert "bpf get ERRNO(ENOSYS) from docker 20.10.24 (runc 1.1.5)" in one.text
    assert "say by --runtime who" in one.text
    assert is_decided(read(tmp_path, content, CRUN, calls=("bpf",)))


RAW: Final = base64.b64encode(
    bpf.to_bytes((statement(bpf.RET_K, FilterReturn(Action.LOG).value),))
).decode()


def test_a_program_that_crun_takes_from_an_annotation(tmp_path: Path) -> None:
    content = bundle(allowing(rule("acct")), _bpf_data=RAW)
    assert answer(read(tmp_path, content, CRUN), "acct") == "LOG"
    assert answer(read(tmp_path, content, RUNC), "acct") == "ERRNO(EPERM)"
    one = limit(read(tmp_path, content))
    assert set(one.calls) == set(CALLS)
    assert "say by --runtime who reads it" in one.text


def test_a_program_instead_of_a_profile(tmp_path: Path) -> None:
    """Runc starts such a container without any filter."""
    content = bundle(None, _bpf_data=RAW)
    one = limit(read(tmp_path, content))
    assert set(one.calls) == set(CALLS)
    assert "none at all from runc 1.1.5 (OCI bundle)" in one.text
    assert is_decided(read(tmp_path, content, CRUN))
    with pytest.raises(BadInputError, match="nothing confines a container of this bundle"):
        read(tmp_path, content, RUNC)


@pytest.mark.parametrize(
    ("encoded", "words"),
    [("%%%", "is not base64"), ("", "the kernel would refuse"), (5, "must be text")],
)
def test_an_annotation_that_crun_refuses(encoded: object, words: str, tmp_path: Path) -> None:
    content = bundle(allowing(rule("acct")), _bpf_data=encoded)
    with pytest.raises(BadInputError, match=words):
        read(tmp_path, content, CRUN)
    assert is_decided(read(tmp_path, content))


@pytest.mark.parametrize(("value", "refused"), [("1", True), ("0", False)])
def test_crun_may_be_told_to_know_every_call(value: str, tmp_path: Path, *, refused: bool) -> None:
    content = bundle(allowing(rule("acct", "nonsense")), _fail_unknown_syscall=value)
    if refused:
        with pytest.raises(BadInputError, match="names nonsense, which libseccomp does not know"):
            read(tmp_path, content, CRUN)
    else:
        assert answer(read(tmp_path, content, CRUN), "acct") == "ERRNO(EPERM)"
    found = read(tmp_path, content)
    assert is_decided(found)
    assert any("under crun 1.8.1 (OCI bundle):" in str(one) for one in found.findings) is refused


def test_a_bundle_is_read_by_no_engine(tmp_path: Path) -> None:
    content = bundle(allowing(rule("acct")))
    with pytest.raises(BadInputError, match="which its runtime reads and no engine does"):
        read(tmp_path, content, AskedReaders(Engine.CONTAINERD))
    assert is_decided(read(tmp_path, content, AskedReaders(Engine.BUNDLE)))


def doubled(key: str) -> str:
    """A profile of one rule in which a key is there twice, with two values."""
    first, second = {
        "comment": ('"one"', '"two"'),
        "names": ('["acct"]', '["mount"]'),
        "action": ('"SCMP_ACT_ERRNO"', '"SCMP_ACT_LOG"'),
        "includes": ("{}", '{"caps": ["CAP_SYS_ADMIN"]}'),
        "errnoRet": ("1", "2"),
    }[key]
    members = {"names": '["acct"]', "action": '"SCMP_ACT_ERRNO"', key: first}
    written = ", ".join(f'"{name}": {value}' for name, value in members.items())
    return f'{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{{written}, "{key}": {second}}}]}}'


def test_a_doubled_comment_is_advice(tmp_path: Path) -> None:
    found = read(tmp_path, doubled("comment"))
    assert is_decided(found)
    assert answer(found, "acct") == "ERRNO(EPERM)"
    assert "syscalls[0].comment is there more than once" in "".join(map(str, found.findings))


@pytest.mark.parametrize("key", ["names", "action", "includes", "errnoRet"])
def test_a_doubled_key_with_an_effect_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=rf"syscalls\[0\].{key} is there twice"):
        read(tmp_path, doubled(key))


def test_a_doubled_key_that_a_reader_does_not_know(tmp_path: Path) -> None:
    found = read(tmp_path, doubled("includes"), AskedReaders(Engine.CONTAINERD))
    assert answer(found, "acct") == "ERRNO(EPERM)"


def test_an_old_runc_takes_no_rule_with_the_default_action(tmp_path: Path) -> None:
    content = allowing(rule("acct", action="ALLOW"), rule("nonsense", action="ALLOW"))
    with pytest.raises(BadInputError, match=r"runc 1\.0\.1 refuses that"):
        read(tmp_path, content, AskedReaders(Engine.BUNDLE, Release(Runtime.RUNC, (1, 0, 1))))
    unknown = allowing(rule("nonsense", action="ALLOW"))
    assert is_decided(
        read(tmp_path, unknown, AskedReaders(Engine.BUNDLE, Release(Runtime.RUNC, (1, 0, 1))))
    )


def test_crun_refuses_an_errno_without_use(tmp_path: Path) -> None:
    content = allowing(rule("acct", action="LOG", errnoRet=5))
    with pytest.raises(BadInputError, match=r"crun 1\.8\.1 refuses that"):
        read(tmp_path, content, AskedReaders(Engine.PODMAN))
    assert answer(read(tmp_path, content, AskedReaders(Engine.DOCKER)), "acct") == "LOG"
