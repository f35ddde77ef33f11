"""The program of an image, observed in a container that a real runtime makes.

The root file system has one static program and nothing else.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from probes.observe import launcher
from probes.observe.hiding import UNKNOWN
from probes.runtimes.known import OBSERVING
from probes.tests.support import observing
from probes.tests.support.machine import Machine, need, static_root
from probes.tests.support.oracles import require

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the launcher is for x86_64"),
]

COMMAND = [sys.executable, "-m", "syscall_conformance"]

_PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* children, exit status: each child makes setsid and three keyctl; then an unshare; or waits. */
int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("%s waits\n", argv[0]);
        fflush(stdout);
        alarm(60);
        for (;;)
            pause();
    }
    printf("%s %s %s\n", argv[0], argv[1], getenv("PATH") ? "with a path" : "without a path");
    fflush(stdout);
    for (int i = atoi(argv[1]); i > 0; i--)
        if (fork() == 0) {
            setsid();
            for (int j = 3; j > 0; j--)
                syscall(SYS_keyctl, 9999, 0, 0, 0, 0);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    unshare(CLONE_NEWUTS);
    return atoi(argv[2]);
}
"""

PROFILE: Mapping[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["unshare", "mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system for containers."""
    return static_root(tmp_path_factory.mktemp("observed"), _PROGRAM)


def _observe(
    machine: Machine, runtime: str, root: Path, *words: str, options: Sequence[str] = ()
) -> tuple[subprocess.CompletedProcess[str], Mapping[str, Any]]:
    wanted = machine.wanted(runtime, root)
    file = machine.folder / "report.json"
    file.unlink(missing_ok=True)
    command = [*COMMAND, "observe", "--json", str(file), "--image", wanted.subject]
    command += ["--runtime", runtime, "--runtime-command", shlex.join(wanted.program.words)]
    command += [f"--runtime-arg={one}" for one in wanted.arguments]
    if runtime in {"docker", "podman"}:
        command.append("--runtime-arg=--network=none")
    done = subprocess.run(
        [*command, *options, "--", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done, observing.load(file) if file.exists() else {}


def _counts(report: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
    return {one["call"]: (one["count"], one["processes"]) for one in report["calls"]}


every_runtime = pytest.mark.parametrize("runtime", OBSERVING)


@every_runtime
def test_an_image_is_observed_as_its_runtime_runs_it(
    machine: Machine, root: Path, runtime: str
) -> None:
    need(runtime)
    done, report = _observe(
        machine, runtime, root, "/program", "4", "9", options=["--seccomp=unconfined"]
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("/program 4 "), done.stderr
    assert report["workload"] == {"exit_status": 9, "signal": None}
    assert _counts(report) == {"setsid": (4, 4), "keyctl": (12, 4), "unshare": (1, 1)}
    assert {one["executable"] for one in report["calls"]} == {"/program"}
    assert report["hidden"] == {}
    assert report["no_new_privs"] is (runtime in {"docker", "podman"}) or runtime in {
        "runc",
        "crun",
    }
    assert _leftovers(machine, runtime) == ""


@every_runtime
def test_what_the_containers_own_profile_answers_is_said(
    machine: Machine, root: Path, runtime: str
) -> None:
    need(runtime)
    profile = machine.file(PROFILE)
    done, report = _observe(
        machine, runtime, root, "/program", "0", "0", options=[f"--seccomp={profile}"]
    )
    assert done.returncode == 6, done.stderr
    assert report["calls"] == []
    # libseccomp kills a process that makes a call of x32, and what looks like one.
    assert report["hidden"]["x86_64"].pop(UNKNOWN).startswith("KILL_")
    assert report["hidden"]["x86_64"] == {"mount": "ERRNO(EPERM)", "unshare": "ERRNO(EPERM)"}
    assert "own profile answers 2 documented calls and numbers that no table" in done.stderr


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_the_default_profile_leaves_much_unseen(machine: Machine, root: Path, runtime: str) -> None:
    need(runtime)
    done, report = _observe(machine, runtime, root, "/program", "1", "0")
    assert done.returncode == 1, done.stderr
    assert _counts(report)["setsid"] == (1, 1)
    hidden = {name for name, answer in report["hidden"]["x86_64"].items() if "some" not in answer}
    assert len(hidden) > 20
    assert {"_sysctl", "clock_settime"} <= hidden
    assert hidden.isdisjoint(_counts(report))
    assert ("keyctl" in hidden) is (runtime == "docker")  # podman's profile allows it


@every_runtime
def test_the_deadline_removes_the_container(machine: Machine, root: Path, runtime: str) -> None:
    need(runtime)
    begin = time.monotonic()
    options = ["--seccomp=unconfined", "--timeout=1"]
    done, report = _observe(machine, runtime, root, "/program", options=options)
    assert time.monotonic() - begin > 1
    assert done.returncode == 0, done.stderr
    assert report["ending"] == "deadline"
    assert _leftovers(machine, runtime) == ""


@every_runtime
def test_a_program_that_is_not_there_ends_as_in_a_shell(
    machine: Machine, root: Path, runtime: str
) -> None:
    need(runtime)
    options = ["--seccomp=unconfined"]
    done, report = _observe(machine, runtime, root, "nothing", options=options)
    assert done.returncode == 6, done.stderr
    assert report["workload"]["exit_status"] == 127


def test_a_profile_that_forbids_the_filter_is_a_sentence(machine: Machine, root: Path) -> None:
    need("runc")
    profile = machine.file(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["seccomp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        }
    )
    done, _ = _observe(machine, "runc", root, "/program", options=[f"--seccomp={profile}"])
    assert done.returncode == 4
    assert "the observer's filter was refused in the container (Function not impl" in done.stderr
    assert _leftovers(machine, "runc") == ""


def test_an_image_that_is_not_there_is_a_sentence(machine: Machine, root: Path) -> None:
    need("podman")
    wanted = machine.wanted("podman", root)
    command = [*COMMAND, "observe", "--runtime=podman", "--image=localhost/nothing:at-all"]
    command += ["--runtime-command", shlex.join(wanted.program.words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "its own words" in done.stderr


def test_a_daemon_that_cannot_be_reached_is_a_sentence() -> None:
    need("docker")
    command = [*COMMAND, "observe", "--image=alpine", "--runtime=docker"]
    away = os.environ | {"DOCKER_HOST": "unix:///nowhere.sock"}
    done = subprocess.run(
        command, env=away, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    # What went wrong first; that nothing can be removed then either goes without saying.
    assert done.stderr.startswith(
        "syscall-conformance observe: docker pull: its daemon cannot be reached: start it, or say"
    )


@pytest.mark.parametrize("runtime", ["docker", "podman"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--name=web1", ("/program", "1", "3")),
        ("--rm", ("/program", "1", "3")),
        ("--restart=always", ("/program", "1", "3")),
        ("--read-only", ("/program", "1", "3")),
        ("--detach", ("/program", "1", "3")),
        ("--entrypoint=/program", ("1", "3")),
        ("--env=PATH=/nowhere:/", ("program", "1", "3")),
    ],
)
def test_options_that_production_has(
    machine: Machine, root: Path, runtime: str, given: str, words: Sequence[str]
) -> None:
    need(runtime)
    taken = machine.wanted(runtime, root).subject
    machine.run(runtime, "create", "--name", "web1", "--network=none", taken, "/program")
    try:
        options = ["--seccomp=unconfined", f"--runtime-arg={given}"]
        done, report = _observe(machine, runtime, root, *words, options=options)
        assert machine.run(runtime, "ps", "-a", "--format", "{{.Names}}") == "web1"
    finally:
        machine.run(runtime, "rm", "web1")
    assert done.returncode == 1, done.stderr
    assert report["workload"] == {"exit_status": 3, "signal": None}
    assert _counts(report) == {"setsid": (1, 1), "keyctl": (3, 1), "unshare": (1, 1)}


@every_runtime
def test_an_option_that_is_in_the_way_is_refused(
    machine: Machine, root: Path, runtime: str
) -> None:
    need(runtime)
    done, _ = _observe(machine, runtime, root, "/program", options=["--runtime-arg=web1"])
    assert done.returncode == 4
    assert "--runtime-arg web1: this word is no option" in done.stderr
    assert _leftovers(machine, runtime) == ""


def test_two_profiles_are_refused(machine: Machine, root: Path) -> None:
    need("docker")
    options = ["--seccomp=unconfined", "--runtime-arg=--security-opt=seccomp=x.json"]
    done, _ = _observe(machine, "docker", root, "/program", options=options)
    assert done.returncode == 4
    assert "2 seccomp profiles are given (unconfined, x.json)" in done.stderr


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("given", ["-d", "--detach", "--pid-file=/nowhere/pid"])
def test_a_bundle_is_run_in_the_foreground(
    machine: Machine, root: Path, runtime: str, given: str
) -> None:
    need(runtime)
    options = ["--seccomp=unconfined", f"--runtime-arg={given}"]
    done, report = _observe(machine, runtime, root, "/program", "1", "3", options=options)
    assert done.returncode == 1, done.stderr
    assert report["workload"] == {"exit_status": 3, "signal": None}
    assert _leftovers(machine, runtime) == ""


def _leftovers(machine: Machine, runtime: str) -> str:
    words = {"docker": ["ps", "-aq"], "podman": ["ps", "-aq"]}.get(runtime, ["list", "-q"])
    return machine.run(runtime, *words)


def test_the_launcher_is_what_its_listing_says(tmp_path: Path) -> None:
    assembler, copier = require("as", "binutils"), require("objcopy", "binutils")
    lines = [re.sub(r"^[0-9a-f]+ +", "", line) for line in launcher.LISTING.splitlines()]
    source = ".intel_syntax noprefix\n" + "\n".join(lines) + "\n"
    (tmp_path / "l.s").write_text(source)
    subprocess.run([assembler, "-o", tmp_path / "l.o", tmp_path / "l.s"], check=True)
    extract: list[str | Path] = [
        copier,
        "-O",
        "binary",
        "-j",
        ".text",
        tmp_path / "l.o",
        tmp_path / "l.bin",
    ]
    subprocess.run(extract, check=True)
    made = launcher.program(b"\x06\0\0\0\0\0\xff\x7f", ["/bin/true"], "name")
    assert (tmp_path / "l.bin").read_bytes() in made
    assert made.endswith(b"name")
