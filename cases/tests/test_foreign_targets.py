"""The main job on filters that are not the suite's own, as users run it, with its exit status."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probes import arch
from probes.action import Profile
from probes.documents import policy
from probes.errors import ExitStatus
from probes.filters import bpf
from probes.targets import builtin
from reports.filters import allowlist
from reports.tests.support import job
from reports.tests.support.job import ALONE, CHECKOUT, POLICY, Job

DOCKERS = Path("/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json")
"""Docker's default profile, of the package golang-github-docker-docker-dev."""
PODMANS = Path("/usr/share/containers/seccomp.json")
"""That of containers-common, of the package golang-github-containers-common."""

as_root = pytest.mark.root("reads records, or a process")
on_x86_64 = pytest.mark.skipif(not job.on_x86_64, reason="these are the ABIs of an x86_64 kernel")


def errno_program() -> bytes:
    """The builtin filter of x86_64 as a raw program."""
    documented = policy.load(POLICY, arch.all_names())
    return bpf.to_bytes(builtin.build(documented, arch.offered_by("x86_64"), Profile.ERRNO))


def outcome(ended: Job, claim: str, syscall: str, on: str = "x86_64") -> str:
    (cell,) = [
        cell
        for cell in ended.cells
        if (cell["claim"], cell["syscall"], cell["arch"]) == (claim, syscall, on)
    ]
    return str(cell["outcome"])


@as_root
@on_x86_64
@pytest.mark.parametrize(
    ("path", "engine"), [(DOCKERS, "docker"), (PODMANS, "podman")], ids=["docker", "podman"]
)
def test_the_default_profile_of_an_engine(path: Path, engine: str, tmp_path: Path) -> None:
    """It is none of the document's profiles: it allows calls that the document blocks."""
    if not path.exists():
        pytest.skip(f"{path} is not there")
    options = (f"--engine={engine}", "--profile=errno", "-n", "2")
    ended = job.run(tmp_path / "reports", f"--target=oci:{path}", *options)
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    found = ended.outcomes()
    assert found["failed"] > 100
    assert found["passed"] > 1000
    assert not found.keys() & {"broken", "cannot_tell"}
    assert ended.results["target"]["kind"] == "oci"
    for claim in ("denies", "is silent", "is proved"):
        assert outcome(ended, claim, "acct") == "passed"
        assert outcome(ended, claim, "setsid") == "failed"
    assert set(ended.outcomes(claim="is inherited")) == {"passed"}
    kinds = {
        cell["outcome"]: {piece["kind"] for piece in cell["evidence"]}
        for cell in ended.cells
        if cell["claim"] == "is proved" and cell["syscall"] in {"acct", "setsid"}
    }
    assert kinds == {"passed": {"proved"}, "failed": {"proved", "observed"}}


@as_root
@on_x86_64
def test_a_raw_program_that_holds_passes(tmp_path: Path) -> None:
    file = tmp_path / "filter.bpf"
    file.write_bytes(errno_program())
    options = (f"--target=bpf:{file}", "--profile=errno", "--arch=x86_64", "-n", "2")
    ended = job.run(tmp_path / "reports", *options)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert set(ended.outcomes()) == {"passed"}


@pytest.mark.slow
@pytest.mark.skipif(not job.on_x86_64, reason="what it shows is that the machine is another one")
def test_a_program_for_another_machine_is_judged_by_proof(tmp_path: Path) -> None:
    file = tmp_path / "filter.bpf"
    documented = policy.load(POLICY, arch.all_names())
    program = builtin.build(documented, arch.offered_by("aarch64"), Profile.KILL)
    file.write_bytes(bpf.to_bytes(program))
    target = f"--target=bpf:{file}"

    unsaid = job.run(tmp_path / "unsaid", target, "--profile=kill", *ALONE)
    assert unsaid.status == ExitStatus.USAGE
    assert "these filters are for aarch64, arm" in unsaid.output
    ended = job.run(tmp_path / "reports", target, "--profile=kill", "--arch=aarch64", *ALONE)

    assert {cell["claim"] for cell in ended.cells} == {"is proved"}
    assert set(ended.outcomes()) == {"passed", "not_applicable"}
    assert ended.status == ExitStatus.CONFORMANT, ended.output


LOGGED = 2
"""SECCOMP_FILTER_FLAG_LOG of linux/seccomp.h."""

_CONFINED = """
import sys, time
from probes import arch
from probes.instrument import kernel
kernel.set_no_new_privs()
seccomp, flags = arch.get("x86_64").numbers["seccomp"], int(sys.argv[2])
kernel.install(kernel.Filter(open(sys.argv[1], "rb").read()), seccomp, flags)
print("confined", flush=True)
time.sleep(600)
"""


@contextmanager
def confined(file: Path, flags: int = 0) -> Iterator[int]:
    """A process under a filter, by its id."""
    words = [sys.executable, "-c", _CONFINED, str(file), str(flags)]
    process = subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "confined\n"
            yield process.pid
        finally:
            process.kill()


@as_root
@on_x86_64
def test_a_running_process(tmp_path: Path) -> None:
    """Read once: two workers cannot both be its tracer, and judge the same programs."""
    file = tmp_path / "filter.bpf"
    file.write_bytes(errno_program())
    with confined(file) as pid:
        ended = job.run(
            tmp_path / "reports",
            *(f"--target=pid:{pid}", "--profile=errno", "--arch=x86_64", "-n", "2"),
            *("-k", "acct or inherited"),
        )
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert str(pid) in json.dumps(ended.results["target"])
    assert outcome(ended, "denies", "acct") == "passed"


@as_root
@on_x86_64
@pytest.mark.parametrize("flags", [0, LOGGED])
def test_a_running_process_whose_filter_logs(flags: int, tmp_path: Path) -> None:
    """That its denials leave records is the filter's doing, although no action of it says so."""
    file = tmp_path / "filter.bpf"
    file.write_bytes(errno_program())
    with confined(file, flags) as pid:
        ended = job.run(
            tmp_path / "reports",
            *(f"--target=pid:{pid}", "--profile=errno", "--arch=x86_64", *ALONE),
            *("-k", "acct"),
        )
    assert outcome(ended, "denies", "acct") == "passed"
    assert outcome(ended, "is silent", "acct") == ("failed" if flags else "passed")


@as_root
@on_x86_64
@pytest.mark.parametrize("flags", [[], ["SECCOMP_FILTER_FLAG_LOG"]], ids=["silent", "logging"])
def test_a_profile_whose_flag_has_it_log(flags: list[str], tmp_path: Path) -> None:
    documented = policy.load(POLICY, arch.all_names())
    request = allowlist.ExportRequest(documented, Profile.ERRNO, arch.offered_by("x86_64"))
    file = tmp_path / "profile.json"
    profile = json.loads(allowlist.oci_json(request))
    file.write_text(json.dumps({**profile, "flags": flags}), encoding="utf-8")
    reader = ("--engine=bundle", "--runtime=crun")
    options = ("--profile=errno", "--arch=x86_64", *reader, *ALONE, "-k", "acct")
    ended = job.run(tmp_path / "reports", f"--target=oci:{file}", *options)
    assert outcome(ended, "denies", "acct") == "passed"
    assert outcome(ended, "is silent", "acct") == ("failed" if flags else "passed")
    assert any("FLAG_LOG" in one for one in ended.results["target"]["findings"]) == bool(flags)


BAD = [
    (("--target=oci:/no/such.json", "--profile=kill"), "/no/such.json"),
    (("--target=oci:/dev/null", "--profile=kill"), "not a regular file"),
    (("--target=bpf:{short}", "--profile=kill"), "no whole number of 8-byte"),
    (("--target=pid:0", "--profile=kill"), "whole number above 0"),
    (("--target=pid:4194305", "--profile=kill"), "no process 4194305"),
    (("--target=oci:{json}",), "name it, --profile=kill"),
    (("--target=bpf:{short}", "--profile=kill,log"), "judged against one profile"),
    (("--target=oci:{json}", "--profile=kill", "--cap=root"), "--cap root: unknown capability"),
    (("--target=oci:{json}", "--profile=kill", "--kernel=new"), "--kernel: 'new' is no kernel"),
    (
        ("--target=oci:{json}", "--profile=kill", "--engine=lxc"),
        "podman, containerd, cri-o or",
    ),
    (("--target=oci:{json}", "--profile=kill", "--engine=docker@x"), "that is no version"),
    (("--target=oci:{json}", "--profile=kill", "--runtime=kata"), "runc or crun"),
    (("--cap=all",), "only --target=oci:FILE depends on it"),
    (("--target=oci:{json}", "--profile=kill"), "line 1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "hint"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_sentence(words: tuple[str, ...], hint: str, tmp_path: Path) -> None:
    files = {"short": tmp_path / "short.bpf", "json": tmp_path / "profile.json"}
    files["short"].write_bytes(b"\x06\0\0\0\0\0\xff")
    files["json"].write_text("{", encoding="utf-8")
    ended = job.run(tmp_path / "reports", *(word.format(**files) for word in words), *ALONE)
    assert ended.status == ExitStatus.USAGE, ended.output
    assert "Traceback" not in ended.output
    (sentence,) = ended.errors
    assert hint in sentence
