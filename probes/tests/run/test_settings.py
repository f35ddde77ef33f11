"""The options: what each word comes to, and the one sentence for every word that means nothing."""

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from probes import arch
from probes.action import Action, Profile
from probes.arch import Arch
from probes.audit.source import BEST
from probes.cell import Claim
from probes.documents import policy
from probes.errors import BadInputError, ExitStatus, InstrumentError
from probes.files import SUITE
from probes.filters import bpf
from probes.finding import Weight
from probes.instrument import abis as kernel_abis
from probes.instrument.calls import Zygote
from probes.run import settings, values
from probes.run.settings import Settings
from probes.run.values import RunOptions
from probes.runtimes.wanted import Start
from probes.targets import builtin
from probes.targets.words import ContainerOptions, start

POLICY = str(SUITE / "cases" / "policies" / "container-restrictions.toml")
KERNEL = arch.offered_by(os.uname().machine)
NATIVE = KERNEL[0]
FOREIGN = next(one for one in arch.ARCHES.values() if one not in KERNEL)


@pytest.fixture(scope="module")
def prober() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.fixture(scope="module")
def entered(prober: Zygote) -> tuple[Arch, ...]:
    """The ABIs by which this kernel can be entered."""
    return tuple(one for one, trouble in kernel_abis.entered(prober, KERNEL) if not trouble)


@pytest.fixture(scope="module")
def whole() -> Settings:
    """What a run without options does."""
    return settings.resolve(values.read(POLICY))


Given = Callable[[], RunOptions]


def asked(**words: Any) -> Given:  # noqa: ANN401 - those of values.read
    """The options of a command line, to be taken apart later."""
    return partial(values.read, words.pop("policy", POLICY), **words)


BAD_WORDS = [
    (asked(profile="killl"), "--profile", "did you mean kill?"),
    (asked(profile="KILL"), "--profile", "did you mean kill?"),
    (asked(profile="kill,"), "--profile", "unknown profile ''"),
    (asked(profile=","), "--profile", "kill, errno, log"),
    (asked(profile="kill, log"), "--profile", "' log'"),
    (asked(profile="kill;log"), "--profile", "separated by commas"),
    (asked(profile="none"), "--profile", "kill, errno, log"),
    (asked(arch="amd64"), "--arch", "did you mean x86_64?"),
    (asked(arch="X86_64"), "--arch", "did you mean x86_64?"),
    (asked(arch="sparc"), "--arch", "riscv64"),
    (asked(arch=f"{NATIVE},"), "--arch", "unknown architecture ''"),
    (asked(arch=FOREIGN.name), "--arch", f"cannot be entered as {FOREIGN}"),
    (asked(arch=f"{NATIVE},{FOREIGN}"), "--arch", f"it can as {NATIVE}"),
    (asked(target="builtins"), "--target", "builtins"),
    (asked(target=""), "--target", "builtin"),
    (asked(target="BUILTIN"), "--target", "builtin"),
    (asked(policy="/nonexistent/policy.toml"), "policy", "/nonexistent/policy.toml"),
    (asked(policy="/"), "policy", "/"),
    (asked(policy="/dev/null"), "policy", "/dev/null"),
]


@pytest.mark.parametrize(
    ("given", "option", "hint"), BAD_WORDS, ids=[f"{o}-{h}" for _, o, h in BAD_WORDS]
)
def test_a_bad_word_is_refused_in_one_sentence(given: Given, option: str, hint: str) -> None:
    with pytest.raises(BadInputError) as caught:
        settings.resolve(given())

    sentence = str(caught.value)
    assert option in sentence
    assert hint in sentence
    assert len(sentence.splitlines()) == 1
    assert caught.value.exit_status is ExitStatus.USAGE


def test_the_defaults_are_everything(whole: Settings, entered: tuple[Arch, ...]) -> None:
    assert whole.profiles == tuple(Profile)
    assert whole.arches == whole.offered == entered
    assert whole.native == NATIVE
    assert set(whole.shut) == {one.name for one in KERNEL if one not in entered}
    assert all(whole.shut.values())
    assert len(whole.policy.calls) == 60
    assert whole.target.kind == "builtin"
    assert whole.audit_source == BEST


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "profiles"),
    [
        ("log,kill", (Profile.KILL, Profile.LOG)),
        ("kill,log", (Profile.KILL, Profile.LOG)),
        ("errno,errno", (Profile.ERRNO,)),
        ("log,errno,kill,log", tuple(Profile)),
    ],
)
def test_profiles_come_in_one_order_and_once(text: str, profiles: tuple[Profile, ...]) -> None:
    resolved = settings.resolve(values.read(POLICY, profile=text))

    assert resolved.profiles == profiles
    assert {case.profile for case in resolved.cases} - {None} == set(profiles)


def test_abis_come_in_one_order_and_once(whole: Settings, entered: tuple[Arch, ...]) -> None:
    backwards = ",".join(one.name for one in (*reversed(entered), entered[0]))

    resolved = settings.resolve(values.read(POLICY, arch=backwards))

    assert resolved.arches == entered
    assert resolved.cases == whole.cases


def test_fewer_abis_are_judged_under_the_same_filter(
    whole: Settings, entered: tuple[Arch, ...]
) -> None:
    """It is made for the kernel, whose other ways in stand open whatever is asked for."""
    one = settings.resolve(values.read(POLICY, arch=entered[-1].name))

    assert one.arches == (entered[-1],)
    assert one.offered == entered
    for profile in Profile:
        assert one.target.programs(profile) == whole.target.programs(profile)


def test_a_planned_case_is_found_again(whole: Settings) -> None:
    found = [
        whole.case(case.claim, [value for _, value in case.parameters]) for case in whole.cases
    ]

    assert found == list(whole.cases)
    with pytest.raises(LookupError, match="no case was planned"):
        whole.case(Claim.DENIES, (NATIVE.name, "getpid"))


def test_a_machine_that_no_table_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="vax"))

    with pytest.raises(BadInputError, match="'vax'"):
        settings.resolve(values.read(POLICY))


def test_a_kernel_that_cannot_be_entered_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own ABI always can: then the instrument is at fault, and says so."""

    def shut(*_: object) -> Iterator[tuple[Arch, str]]:
        yield from ((one, "the call did not come back") for one in KERNEL)

    monkeypatch.setattr(kernel_abis, "entered", shut)

    with pytest.raises(InstrumentError, match="the call did not come back"):
        settings.resolve(values.read(POLICY))


# Targets that are not the suite's own.


def exported(folder: Path, arches: tuple[Arch, ...] = KERNEL[:1]) -> Path:
    """A raw program that names these ABIs."""
    program = builtin.build(policy.load(Path(POLICY), arch.all_names()), arches, Profile.ERRNO)
    path = folder / "filter.bpf"
    path.write_bytes(bpf.to_bytes(program, big_endian=arches[0].big_endian))
    return path


def proved(resolved: Settings) -> list[str]:
    """The ABIs that are judged by proof, in order."""
    cases = [case for case in resolved.cases if case.claim is Claim.IS_PROVED]
    return list(dict.fromkeys(case.cells[0].arch for case in cases))


BAD_TARGETS = [
    (
        asked(start=Start(Path("p.json"))),
        "--seccomp",
        "starts no container",
    ),
    (
        partial(
            values.read, POLICY, target="pid:1", profile="kill", start=Start(arguments=("-x",))
        ),
        "--runtime-arg",
        "docker:...",
    ),
    (
        asked(target="docker:x"),
        "--target",
        "--profile=kill or --profile=errno",
    ),
    (asked(target="docker:", profile="kill"), "--target", "docker:IMAGE"),
    (
        asked(target="dokcer:x", profile="kill"),
        "--target",
        "did you mean docker?",
    ),
    (
        asked(target="oci:x.json"),
        "--target",
        "--profile=kill or --profile=errno",
    ),
    (asked(target="pid:1", profile="kill,log"), "--target", "name it"),
    (
        asked(target="ocj:x.json", profile="kill"),
        "--target",
        "did you mean oci?",
    ),
    (asked(target="oci:", profile="kill"), "--target", "oci:FILE"),
    (
        asked(target="oci:/no/x.json", profile="kill"),
        "--target",
        "/no/x.json",
    ),
    (
        asked(target="bpf:/dev/null", profile="kill"),
        "--target",
        "/dev/null",
    ),
    (
        asked(target="bpf:a,,b", profile="kill"),
        "--target",
        "between the commas",
    ),
    (asked(target="pid:x", profile="kill"), "--target", "whole number"),
    (
        asked(target="pid:4194305", profile="kill"),
        "--target",
        "no process 4194305",
    ),
    (asked(container=ContainerOptions(cap="all")), "--cap", "--target=oci:FILE"),
    (
        partial(
            values.read,
            POLICY,
            target="pid:1",
            profile="kill",
            container=ContainerOptions(kernel="6.1"),
        ),
        "--kernel",
        "oci:FILE",
    ),
    (
        asked(container=ContainerOptions(engine="podman")),
        "--engine",
        "name a profile",
    ),
    (
        asked(container=ContainerOptions(runtime="crun")),
        "--runtime",
        "name a profile",
    ),
    *(
        (
            partial(values.read, POLICY, target="oci:/x.json", profile="kill", container=container),
            option,
            hint,
        )
        for container, option, hint in [
            (ContainerOptions(cap="sys_admim"), "--cap", "did you mean CAP_SYS_ADMIN?"),
            (ContainerOptions(cap=","), "--cap", "capabilities(7)"),
            (ContainerOptions(kernel="six"), "--kernel", "6.1"),
            (ContainerOptions(engine="Podman"), "--engine", "did you mean podman?"),
            (ContainerOptions(engine="lxc"), "--engine", "podman, containerd, cri-o or bundle"),
            (ContainerOptions(runtime="rune"), "--runtime", "did you mean runc?"),
            (ContainerOptions(runtime="x"), "--runtime", "runc or crun"),
        ]
    ),
]


@pytest.mark.parametrize(
    ("given", "option", "hint"), BAD_TARGETS, ids=[f"{o}-{h}" for _, o, h in BAD_TARGETS]
)
def test_a_bad_target_is_refused_in_one_sentence(given: Given, option: str, hint: str) -> None:
    test_a_bad_word_is_refused_in_one_sentence(given, option, hint)


def test_the_words_of_a_runtime_s_command() -> None:
    assert start(None, ["-x"], "podman --log-level 'a b'").command == (
        "podman",
        "--log-level",
        "a b",
    )
    with pytest.raises(BadInputError, match=r"--runtime-command .*no closing quotation"):
        start(None, [], "podman 'a")


def test_a_raw_program_is_judged_as_it_is(tmp_path: Path, entered: tuple[Arch, ...]) -> None:
    path = exported(tmp_path, KERNEL)

    resolved = settings.resolve(values.read(POLICY, target=f"bpf:{path}", profile="errno"))

    assert resolved.target.kind == "bpf"
    assert str(path) in resolved.target.description
    assert resolved.profiles == (Profile.ERRNO,)
    assert resolved.arches == entered
    (identity,) = resolved.target.identities[Profile.ERRNO]
    said = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == identity.sha256
    assert identity.instructions == path.stat().st_size // 8
    assert set(proved(resolved)) == {one.name for one in KERNEL} | {"any"}


def test_workers_judge_what_the_controller_opened(tmp_path: Path) -> None:
    """Although the file is another one, or gone, by the time they start."""
    path = exported(tmp_path)
    words = values.read(POLICY, target=f"bpf:{path}", profile="errno", arch=NATIVE.name)
    first = settings.resolve(words)
    path.unlink()

    second = settings.resolve(words, first.handed)

    assert second.target == first.target
    assert second.cases == first.cases
    with pytest.raises(BadInputError):
        settings.resolve(words)


def test_the_builtin_target_is_handed_on_as_well(whole: Settings) -> None:
    assert settings.resolve(values.read(POLICY), whole.handed) == whole


def test_filters_for_another_machine_are_judged_by_proof_alone(tmp_path: Path) -> None:
    path = exported(tmp_path, arch.offered_by(FOREIGN.machine))
    target, names = f"bpf:{path}", [one.name for one in arch.offered_by(FOREIGN.machine)]

    with pytest.raises(BadInputError, match=f"filters are for {', '.join(names)}, .*--arch"):
        settings.resolve(values.read(POLICY, target=target, profile="errno"))
    resolved = settings.resolve(
        values.read(POLICY, target=target, profile="errno", arch=",".join(names))
    )

    assert resolved.arches == ()
    assert resolved.native == NATIVE
    assert {case.claim for case in resolved.cases} == {Claim.IS_PROVED}
    assert proved(resolved) == [*names, "any"]


def test_filters_are_not_judged_for_a_machine_that_they_do_not_name(tmp_path: Path) -> None:
    words = values.read(
        POLICY, target=f"bpf:{exported(tmp_path)}", profile="errno", arch=FOREIGN.name
    )

    with pytest.raises(BadInputError, match=f"--arch={FOREIGN}"):
        settings.resolve(words)


def test_filters_that_name_no_architecture_are_proved_for_each_of_the_machine(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deny.bpf"
    deny = (bpf.statement(bpf.RET_K, Profile.ERRNO.returns.value),)
    path.write_bytes(bpf.to_bytes(deny, big_endian=NATIVE.big_endian))

    resolved = settings.resolve(values.read(POLICY, target=f"bpf:{path}", profile="errno"))

    assert proved(resolved) == [*(one.name for one in KERNEL), "any"]


@pytest.mark.skipif(NATIVE.name != "x86_64", reason="takes a kernel of several ABIs")
def test_an_abi_that_the_filters_treat_like_any_other_is_proved_when_asked_for(
    tmp_path: Path,
) -> None:
    """They name x86_64 only; that is no reason to prove nothing of i386."""
    path = exported(tmp_path)

    resolved = settings.resolve(
        values.read(POLICY, target=f"bpf:{path}", profile="errno", arch="i386")
    )

    assert proved(resolved) == ["i386", "any"]


@pytest.mark.skipif(NATIVE.name != "x86_64", reason="takes a kernel of several ABIs")
def test_what_arch_leaves_out_is_known(tmp_path: Path) -> None:
    target = f"bpf:{exported(tmp_path, KERNEL)}"

    resolved = settings.resolve(values.read(POLICY, target=target, profile="errno", arch="x86_64"))
    everything = settings.resolve(values.read(POLICY, target=target, profile="errno"))

    assert [one.name for one in resolved.left_out] == ["x32", "i386"]
    assert everything.left_out == ()
    (case,) = (case for case in resolved.cases if case.cells[0].arch == "any")
    assert [one.name for one in case.beside] == ["x86_64"]


def test_an_architecture_that_nobody_can_judge_is_a_finding_with_weight(tmp_path: Path) -> None:
    """Of SPARC's numbers below 100, which are let through, no table says what they do."""
    path = exported(tmp_path)
    sparc = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, 0x2, 0, 4),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JGE, 100, 1, 0),
        bpf.statement(bpf.RET_K, Action.ALLOW.value),
        bpf.statement(bpf.RET_K, Profile.ERRNO.returns.value),
    )
    path.write_bytes(bpf.to_bytes(sparc, big_endian=NATIVE.big_endian) + path.read_bytes())

    words = values.read(POLICY, target=f"bpf:{path}", profile="errno", arch=NATIVE.name)
    resolved = settings.resolve(words)

    (finding,) = resolved.target.findings
    assert (finding.weight, finding.about) == (Weight.LIMITS, "architecture 0x2")
    (case,) = (case for case in resolved.cases if case.claim is Claim.IS_ALL_JUDGED)
    assert case.arch == NATIVE
    assert settings.resolve(words, resolved.handed).cases == resolved.cases


@pytest.mark.slow
def test_too_many_architectures_to_tell_apart_are_a_finding_with_weight(tmp_path: Path) -> None:
    """One byte of the token is compared, so that 2^24 of them are named."""
    path = exported(tmp_path)
    byte = (
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.statement(bpf.AND, 0xFF),
        bpf.jump(bpf.JEQ, 0x08, 0, 1),
        bpf.statement(bpf.RET_K, Action.ALLOW.value),
    )
    path.write_bytes(bpf.to_bytes(byte, big_endian=NATIVE.big_endian) + path.read_bytes())

    words = values.read(POLICY, target=f"bpf:{path}", profile="errno", arch=NATIVE.name)
    (finding,) = settings.resolve(words).target.findings

    assert (finding.weight, finding.about) == (Weight.LIMITS, "architectures")
    assert "whole tokens" in finding.text
