"""A profile that means different things to different readers, as users run it."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.errors import ExitStatus
from reports.commands.main import run as main
from reports.filters import allowlist
from reports.tests.support import job
from reports.tests.support.job import ALONE, POLICY

on_x86_64 = pytest.mark.skipif(not job.on_x86_64, reason="these are the ABIs of an x86_64 kernel")

SENSITIVE: Final = ["mount", "umount2", "bpf"]
PLAIN: Final = ("--profile=errno", "--arch=x86_64", "--audit-source=none", *ALONE)
CHOSEN: Final = ("-k", "denies and (mount or bpf)")

Json = dict[str, Any]


def exported() -> Json:
    """The errno profile as it is exported for engines."""
    documented = policy.load(POLICY, arch.all_names())
    request = allowlist.ExportRequest(documented, Profile.ERRNO, arch.offered_by("x86_64"))
    found: Json = json.loads(allowlist.oci_json(request))
    return found


def allowing(**circumstances: object) -> Json:
    """That profile, with three calls allowed in some circumstances."""
    found = exported()
    extra = {"names": SENSITIVE, "action": "SCMP_ACT_ALLOW", **circumstances}
    return {**found, "syscalls": [*found["syscalls"], extra]}


def for_administrators() -> Json:
    found = allowing(includes={"caps": ["CAP_SYS_ADMIN"]})
    del found["architectures"]
    native = {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
    return {**found, "archMap": [native]}


def in_the_old_form() -> Json:
    rules = [{"name": name, "action": "SCMP_ACT_ERRNO", "args": []} for name in SENSITIVE]
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


def for_a_later_kernel() -> Json:
    return allowing(includes={"minKernel": "99.0"}, comment="once it has been hardened")


def with_another_errno() -> Json:
    return {**exported(), "defaultErrnoRet": 38}


def with_an_annotation() -> Json:
    rule = {"names": SENSITIVE, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    return {
        "ociVersion": "1.0.2",
        "annotations": {"run.oci.seccomp_bpf_data": "BgAAAAAA/38="},  # return ALLOW
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}},
    }


MADE: Final[Mapping[str, Callable[[], Json]]] = {
    "administrators": for_administrators,
    "old": in_the_old_form,
    "kernel": for_a_later_kernel,
    "errno": with_another_errno,
    "annotation": with_an_annotation,
}
OPEN, HOLDS, FAILS = ExitStatus.CANNOT_TELL, ExitStatus.CONFORMANT, ExitStatus.NOT_CONFORMANT

JUDGED: Final = [
    ("administrators", (), OPEN),
    ("administrators", ("--engine=containerd",), FAILS),
    ("administrators", ("--engine=bundle", "--runtime=crun"), FAILS),
    ("administrators", ("--engine=docker",), HOLDS),
    ("administrators", ("--engine=docker", "--cap=all"), FAILS),
    ("administrators", ("--engine=cri-o@1.30",), HOLDS),
    ("old", (), OPEN),
    ("old", ("--engine=containerd@2.1",), FAILS),
    ("old", ("--engine=podman",), HOLDS),
    ("kernel", (), OPEN),
    ("kernel", ("--engine=podman",), FAILS),
    ("kernel", ("--engine=docker",), HOLDS),
    ("kernel", ("--engine=docker", "--kernel=99.1"), FAILS),
    ("errno", ("--engine=docker@20.10",), HOLDS),
    ("errno", ("--engine=docker@28.5.2",), FAILS),
    ("errno", ("--engine=containerd@1.5",), HOLDS),
    ("errno", ("--engine=containerd@1.6",), FAILS),
    ("errno", ("--engine=podman@3.2",), HOLDS),
    ("annotation", (), OPEN),
    ("annotation", ("--runtime=crun",), FAILS),
    ("annotation", ("--runtime=runc",), HOLDS),
]


@pytest.mark.slow
@on_x86_64
@pytest.mark.parametrize(("name", "words", "status"), JUDGED)
def test_the_reader_decides(
    name: str, words: tuple[str, ...], status: ExitStatus, tmp_path: Path
) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(MADE[name]()))
    ended = job.run(tmp_path / "reports", f"--target=oci:{path}", *words, *PLAIN, *CHOSEN)
    assert ended.status == status, ended.output
    cells = [one for one in ended.cells if one["claim"] == "denies"]
    assert {one["syscall"] for one in cells} == set(SENSITIVE)
    outcome = {OPEN: "cannot_tell", HOLDS: "passed", FAILS: "failed"}[status]
    assert {one["outcome"] for one in cells} == {outcome}


@pytest.mark.slow
@on_x86_64
def test_what_readers_would_do_is_told_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(for_a_later_kernel()))
    place = tmp_path / "reports"
    ended = job.run(place, f"--target=oci:{path}", *PLAIN, *CHOSEN)
    told = "readers of the profile do not agree"
    assert told in " ".join(ended.output.split())
    named = {one.name for one in place.iterdir() if told in one.read_text()}
    assert named >= {
        *("results.json", "compliance.html", "summary.md"),
        *("junit.xml", "pytest.html"),
    }
    for one in named:
        text = (place / one).read_text()
        assert "containerd" in text
        assert "podman" in text
    for word in ("ALLOW from podman", "--engine"):
        assert word in " ".join(ended.output.split())


@pytest.mark.slow
@on_x86_64
def test_the_record_has_the_releases(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(exported()))
    words = ("--engine=docker@28.5.2", "--runtime=crun@1.28")
    ended = job.run(tmp_path / "reports", f"--target=oci:{path}", *words, *PLAIN, *CHOSEN)
    assert ended.status == HOLDS, ended.output
    assert "(docker@28.5.2, crun@1.28, libseccomp " in json.dumps(ended.results["target"])


@pytest.mark.slow
@on_x86_64
def test_a_profile_about_which_all_agree_needs_no_reader(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(exported()))
    ended = job.run(tmp_path / "reports", f"--target=oci:{path}", *PLAIN, *CHOSEN)
    assert ended.status == HOLDS, ended.output


@pytest.mark.slow
@on_x86_64
def test_a_doubled_comment_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount", "umount2", "bpf"],'
        ' "action": "SCMP_ACT_ERRNO", "comment": "one", "comment": "two"}]}'
    )
    ended = job.run(tmp_path / "reports", f"--target=oci:{path}", *PLAIN, *CHOSEN)
    assert ended.status == HOLDS, ended.output


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(list(words))
    return status, " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@on_x86_64
@pytest.mark.parametrize(("words", "status"), [((), OPEN), (("--engine=docker",), HOLDS)])
def test_diff_with_itself(
    words: tuple[str, ...],
    status: ExitStatus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps(for_a_later_kernel()))
    shutil.copy(one, other)
    ended, out = said(capsys, "diff", f"oci:{one}", f"oci:{other}", *words)
    assert ended == status
    assert ("readers of the profile do not agree" in out) is (status == OPEN)


@pytest.mark.slow
@on_x86_64
def test_explain_says_who_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(for_a_later_kernel()))
    _, out = said(capsys, "explain", f"oci:{path}", "--arch=x86_64")
    assert "cannot tell: " in out
    assert "ALLOW from podman" in out
    _, out = said(capsys, "explain", f"oci:{path}", "--arch=x86_64", "--engine=podman@4.3.1")
    assert "cannot tell: " not in out
    assert "podman 4.3.1 (as asked for)" in out
    assert "podman 4.3.1 ignores the key 'minKernel'" in out
