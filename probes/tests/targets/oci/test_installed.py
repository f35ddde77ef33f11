"""Which releases are installed: programs are asked, and not for long."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.targets.oci import installed as oci_installed
from probes.targets.oci.installed import installed
from probes.targets.oci.reader import Engine, Release, Runtime


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    installed.cache_clear()
    yield tmp_path
    installed.cache_clear()


def put(folder: Path, name: str, lines: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


SAID = [
    (Engine.PODMAN, "podman", "podman version 4.3.1", (4, 3, 1)),
    (
        Engine.CONTAINERD,
        "containerd",
        "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
        (1, 6, 20),
    ),
    (Engine.DOCKER, "dockerd", "Docker version 20.10.24+dfsg1, build 5d6db84", (20, 10, 24)),
    (Engine.CRI_O, "crio", "crio version 1.30.4\nVersion:  1.30.4", (1, 30, 4)),
    (Runtime.RUNC, "runc", "runc version 1.1.5+ds1\ncommit: 1.1.5", (1, 1, 5)),
    (Runtime.CRUN, "crun", "crun version 1.8.1\ncommit: f8a096be", (1, 8, 1)),
]


@pytest.mark.parametrize(("name", "program", "said", "version"), SAID)
def test_what_programs_say(
    name: Engine | Runtime, program: str, said: str, version: tuple[int, ...], programs: Path
) -> None:
    assert installed(name) is None
    installed.cache_clear()
    put(programs, program, f"echo '{said}'")
    assert installed(name) == Release(name, version)


def test_docker_is_the_daemon_and_not_its_client(programs: Path) -> None:
    put(programs, "dockerd", "echo 'Docker version 20.10.24+dfsg1, build 5d6db84'")
    put(programs, "docker", "echo 'Client: Version: 28.2.2'; exit 1")
    assert installed(Engine.DOCKER) == Release(Engine.DOCKER, (20, 10, 24))
    installed.cache_clear()
    put(programs, "docker", 'echo "27.5.1 $*"; test "$2" = --format')
    assert installed(Engine.DOCKER) == Release(Engine.DOCKER, (27, 5, 1))


@pytest.mark.parametrize(
    "lines",
    [
        *("exit 1", "echo 'runc version 1.1.5'; exit 1", "echo nothing", "echo 'runc version 0.9'"),
        "kill -9 $$",
    ],
)
def test_who_does_not_say_is_not_there(lines: str, programs: Path) -> None:
    put(programs, "runc", lines)
    assert installed(Runtime.RUNC) is None


def test_who_does_not_answer_is_not_waited_for(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_installed, "_SECONDS", 0.3)
    put(programs, "crun", "exec /bin/sleep 100")
    started = time.monotonic()
    assert installed(Runtime.CRUN) is None
    assert time.monotonic() - started < 30
