"""Policies with conditions and errnos, in whole runs: right filters pass, and each wrong one fails.

Each wrong filter turns those cells red that it breaks, and no other.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes import arch as abis
from probes.action import Action, FilterReturn, Profile
from probes.documents import policy
from probes.filters import bpf
from probes.filters.argument_code import decision
from probes.filters.bpf import Program
from probes.filters.conditions import Comparison, Condition, Operator, Restriction
from probes.targets import builtin
from probes.tests.support import confined
from reports.commands.main import run as main
from reports.filters.allowlist import ExportFormat, ExportRequest, export
from reports.tests.support import job

pytestmark = pytest.mark.skipif(not job.on_x86_64, reason="x86_64's numbers")

HEAD = """\
format = 1
name = "priorities"
title = "Priorities"
source = "an own list"
families = ["all"]
"""
CALL = """
[[call]]
name = "{name}"
family = "all"
description = "x"
why = "y"
"""
USER = '{ index = 0, op = "SCMP_CMP_EQ", value = 2 }'
PRIORITIES = f"{HEAD}{CALL.format(name='getpriority')}args = [{USER}]\n"
LABEL = "getpriority[0==2]"
NUMBER = 140
X86_64 = abis.ARCHES["x86_64"]
ALLOW = FilterReturn(Action.ALLOW)
ONE_ABI = (*job.ALONE, "--arch=x86_64")
WHOLE = 0xFFFFFFFFFFFFFFFF


@pytest.fixture
def document(tmp_path: Path) -> Path:
    made = tmp_path / "which.toml"
    made.write_text(PRIORITIES)
    return made


def filter_of(
    document: Path, profile: Profile, comparisons: tuple[Comparison, ...], answer: FilterReturn
) -> Program:
    """The builtin filter, but for what it makes of getpriority: an answer under conditions."""
    loaded = policy.load(document, abis.all_names())
    allowed = builtin.allowed_numbers(loaded, (X86_64,))[X86_64.audit_arch]
    code = decision([(Restriction(comparisons), answer.value)], big_endian=False)
    parts = bpf.ranges_from(
        dict.fromkeys(allowed, ALLOW.value), profile.returns.value, {NUMBER: code}
    )
    return bpf.dispatch({X86_64.audit_arch: parts}, profile.returns.value)


def judged(tmp_path: Path, document: Path, program: Program, profile: Profile) -> job.Job:
    file = tmp_path / "filter.bpf"
    file.write_bytes(bpf.to_bytes(program))
    return job.run(
        tmp_path / "out",
        *ONE_ABI,
        f"--policy={document}",
        f"--profile={profile.value}",
        f"--target=bpf:{file}",
    )


def failed(done: job.Job) -> set[tuple[str, str]]:
    return {(cell["claim"], cell["syscall"]) for cell in done.cells if cell["outcome"] != "passed"}


@pytest.mark.slow
def test_a_policy_with_a_condition_holds_of_its_own_filter(document: Path, tmp_path: Path) -> None:
    done = job.run(tmp_path / "out", *job.ALONE, f"--policy={document}", "--audit-source=none")
    assert not [cell for cell in done.cells if cell["outcome"] in {"failed", "broken"}], done.output
    claims = {cell["claim"] for cell in done.cells if cell["syscall"] == LABEL}
    assert claims >= {"terminates", "denies", "runs", "is proved", "is inherited"}
    # And the call with other arguments is one of the rest.
    rest = [cell for cell in done.cells if cell["claim"] == "leaves the rest alone"]
    assert {cell["arch"] for cell in rest if cell["syscall"] == "getpriority"} >= {"x86_64", "i386"}
    assert done.results["policy"]["calls"][0] | {"why": ""} == {
        "name": LABEL,
        "family": "all",
        "description": "x",
        "why": "",
        "cves": [],
        "attack": [],
        "obsolete": False,
        "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}],
        "line": 7,
    }


RIGHT = Comparison(0, Operator.EQ, 0xFFFFFFFF, 2)
PROVED = ("is proved", LABEL)
REST = {("leaves the rest alone", "getpriority"), ("is proved", "every other call")}
INHERITED = ("is inherited", LABEL)
WRONG: Mapping[str, tuple[tuple[Comparison, ...], set[tuple[str, str]]]] = {
    "right": ((RIGHT,), set()),
    # The call with zeros above is refused, so that what a process inherits is, too.
    "64 bits": ((Comparison(0, Operator.EQ, WHOLE, 2),), {("denies", LABEL), PROVED}),
    "48 bits": ((Comparison(0, Operator.EQ, WHOLE >> 16, 2),), {("denies", LABEL), PROVED}),
    "another value": (
        (Comparison(0, Operator.EQ, 0xFFFFFFFF, 3),),
        {("denies", LABEL), ("is silent", LABEL), PROVED, INHERITED, *REST},
    ),
    "another argument": (
        (Comparison(1, Operator.EQ, 0xFFFFFFFF, 2),),
        {
            ("denies", LABEL),
            ("is silent", LABEL),
            PROVED,
            INHERITED,
            ("is proved", "every other call"),
        },
    ),
    "all arguments": ((), REST),
    "too many": ((Comparison(0, Operator.GE, 0xFFFFFFFF, 2),), REST),
    "one more condition": (
        (RIGHT, Comparison(1, Operator.EQ, 0xFFFFFFFF, 0)),
        {("denies", LABEL), ("is silent", LABEL), PROVED, INHERITED},
    ),
    "16 bits": ((Comparison(0, Operator.EQ, 0xFFFF, 2),), {("is proved", "every other call")}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("comparisons", "broken"), WRONG.values(), ids=WRONG)
def test_each_wrong_filter_fails_where_it_is_wrong(
    document: Path,
    tmp_path: Path,
    comparisons: tuple[Comparison, ...],
    broken: set[tuple[str, str]],
) -> None:
    program = filter_of(document, Profile.ERRNO, comparisons, Profile.ERRNO.returns)
    done = judged(tmp_path, document, program, Profile.ERRNO)
    assert failed(done) == broken, done.output
    assert done.status == bool(broken)


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [(38, 0), (97, 0), (1, 1), (22, 1)], ids=str)
def test_a_call_may_have_errnos_of_its_own(tmp_path: Path, answer: int, status: int) -> None:
    document = tmp_path / "which.toml"
    document.write_text(f'{PRIORITIES}errno = ["ENOSYS", "EAFNOSUPPORT"]\n')
    answered = FilterReturn(Action.ERRNO, answer)
    done = judged(
        tmp_path, document, filter_of(document, Profile.ERRNO, (RIGHT,), answered), Profile.ERRNO
    )
    assert done.status == status, done.output
    wrong = {("denies", LABEL), PROVED, INHERITED} if status else set()
    assert failed(done) == wrong, done.output
    (cell,) = (one for one in done.cells if (one["claim"], one["syscall"]) == ("denies", LABEL))
    assert cell["expected"] == "ERRNO(ENOSYS) or ERRNO(EAFNOSUPPORT)"
    assert done.results["policy"]["calls"][0]["errno"] == ["ENOSYS", "EAFNOSUPPORT"]


@pytest.mark.slow
def test_an_errno_of_its_own_needs_no_condition(tmp_path: Path) -> None:
    document = tmp_path / "which.toml"
    document.write_text(f'{HEAD}{CALL.format(name="clone3")}errno = ["ENOSYS"]\n')
    own = job.run(tmp_path / "own", *ONE_ABI, f"--policy={document}", "--profile=errno")
    assert own.status == 0, own.output
    # Under the other profiles nobody answers an errno.
    kill = job.run(tmp_path / "kill", *ONE_ABI, f"--policy={document}", "--profile=kill")
    assert kill.status == 0, kill.output
    denies = job.run(
        tmp_path / "eperm",
        *ONE_ABI,
        f"--policy={document}",
        "--profile=errno",
        f"--target=bpf:{without_errnos(document)}",
    )
    assert denies.status == 1
    assert ("denies", "clone3") in failed(denies)


def without_errnos(document: Path) -> Path:
    plain = document.with_name("plain.toml")
    plain.write_text(re.sub("errno = .*\n", "", document.read_text()))
    request = ExportRequest(policy.load(plain, abis.all_names()), Profile.ERRNO, (X86_64,))
    file = document.with_name("plain.bpf")
    raw = export(request, ExportFormat.BPF)
    assert isinstance(raw, bytes)
    file.write_bytes(raw)
    return file


@pytest.mark.slow
def test_the_exported_profile_holds_what_the_policy_says(document: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    loaded = policy.load(document, abis.all_names())
    said = export(ExportRequest(loaded, Profile.ERRNO, (X86_64,)), ExportFormat.OCI)
    assert isinstance(said, str)
    file = tmp_path / "exported.json"
    file.write_text(said)
    done = job.run(
        tmp_path / "out",
        *ONE_ABI,
        f"--policy={document}",
        "--profile=errno",
        f"--target=oci:{file}",
        "--runtime=crun",
    )
    about = [cell for cell in done.cells if cell["syscall"] in {LABEL, "getpriority"}]
    assert len(about) > 5
    assert {cell["outcome"] for cell in about} == {"passed"}, done.output
    assert not [text for text in done.results["target"]["findings"] if "getpriority" in text]


def profile_of(path: Path, *rules: Mapping[str, object], default: str = "ALLOW") -> Path:
    head: dict[str, object] = {"defaultAction": f"SCMP_ACT_{default}"}
    path.write_text(
        json.dumps(head | {"architectures": ["SCMP_ARCH_X86_64"], "syscalls": list(rules)})
    )
    return path


def rule(action: str, name: str, *args: tuple[int, str, int]) -> dict[str, object]:
    return {
        "names": [name],
        "action": f"SCMP_ACT_{action}",
        "args": [
            {"index": index, "op": f"SCMP_CMP_{operator}", "value": value}
            for index, operator, value in args
        ],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "index", "value", "told_of", "mask"),
    [
        ("getpriority", 0, 2, "0x100000002", "0xffffffff"),
        ("socket", 0, 38, "0x100000026", "0xffffffff"),
        ("chmod", 1, 0o4755, "0x109ed", "0xffff"),  # a umode_t has 16 bits
    ],
)
def test_a_denial_by_bits_that_the_kernel_ignores_is_told(  # noqa: PLR0913 - one row is one case
    document: Path, tmp_path: Path, *, name: str, index: int, value: int, told_of: str, mask: str
) -> None:
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    file = profile_of(tmp_path / "denies.json", rule("ERRNO", name, (index, "EQ", value)))
    done = job.run(
        tmp_path / "out",
        *ONE_ABI,
        f"--policy={document}",
        "--profile=errno",
        f"--target=oci:{file}",
        "-k",
        "controls",
    )
    (told,) = (one for one in done.results["target"]["findings"] if one.startswith(name))
    assert "evade" in told
    assert f"args[{index}]" in told
    assert f"{told_of} gets ALLOW" in told
    assert f"a mask of {mask} mends it" in told


def test_an_allowance_that_refuses_honest_callers_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    file = profile_of(
        tmp_path / "allows.json",
        rule("ALLOW", "getpriority", (0, "EQ", 0)),
        rule("ALLOW", "ptrace", (0, "EQ", 0)),  # a long: nothing is cut
        default="ERRNO",
    )
    assert main(["explain", f"oci:{file}", "--arch", "x86_64"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "getpriority on x86_64: the filter compares more of args[0]" in told
    assert "honest callers are refused" in told
    assert "ptrace on x86_64: the filter" not in told


@pytest.mark.slow
def test_a_test_of_a_condition_can_be_selected(document: Path, tmp_path: Path) -> None:
    done = job.run(
        tmp_path / "out",
        *ONE_ABI,
        f"--policy={document}",
        "--profile=errno",
        "-k",
        "test_denies[x86_64-getpriority[0.eq.2]]",
    )
    assert done.status == 0, done.output
    assert "1 passed" in done.output


@pytest.mark.slow
def test_conditions_of_one_call_are_judged_apart(tmp_path: Path) -> None:
    document = tmp_path / "clone.toml"
    flag = '{{ index = 0, op = "SCMP_CMP_MASKED_EQ", value = {0}, mask = {0} }}'
    text = HEAD
    for bit in ("0x10000000", "0x20000"):
        text += f"{CALL.format(name='clone')}args = [{flag.format(bit)}]\n"
    document.write_text(text)
    # A filter that knows the first only.
    first = tmp_path / "first.toml"
    first.write_text(HEAD + CALL.format(name="clone") + f"args = [{flag.format('0x10000000')}]\n")
    raw = export(
        ExportRequest(policy.load(first, abis.all_names()), Profile.LOG, (X86_64,)),
        ExportFormat.BPF,
    )
    assert isinstance(raw, bytes)
    file = tmp_path / "first.bpf"
    file.write_bytes(raw)
    done = job.run(
        tmp_path / "out",
        *ONE_ABI,
        f"--policy={document}",
        "--profile=log",
        "--audit-source=none",
        f"--target=bpf:{file}",
        "-k",
        "runs or proved",
    )
    second = "clone[0&0x20000==0x20000]"
    wrong = {one for one in failed(done) if one[0] != "controls"}
    # LOG is below the witness: what is let through without a record is seen by the proof.
    assert wrong == {("is proved", second)}, done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mask", "status"), [(0xFFFFFFFF, 0), (WHOLE, 1)], ids=["the low half", "64 bits"]
)
def test_from_inside_bits_that_the_kernel_ignores_count_too(
    document: Path, tmp_path: Path, mask: int, status: int
) -> None:
    """There is no proof in a confined process, but each call is made with such bits as well."""
    program = filter_of(
        document, Profile.ERRNO, (Comparison(0, Operator.EQ, mask, 2),), Profile.ERRNO.returns
    )
    words = job.command(
        tmp_path / "out",
        *ONE_ABI,
        f"--policy={document}",
        "--profile=errno",
        "--target=ambient",
        "--audit-source=none",
        "-k",
        "controls or denies or alone",
    )
    with job.undisturbed():
        done = confined.under([bpf.to_bytes(program)], *words)
    assert done.returncode == status, done.stdout.decode() + done.stderr.decode()
    ended = job.Job(done.returncode, "", tmp_path / "out")
    assert failed(ended) == ({("denies", LABEL)} if status else set())


def test_labels_are_those_of_the_policy(document: Path) -> None:
    (call,) = policy.load(document, abis.all_names()).calls
    assert call.label == LABEL
    assert call.args == (Condition(0, Operator.EQ, 2),)
