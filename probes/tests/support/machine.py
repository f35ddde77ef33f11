"""A machine of one's own for container runtimes, in namespaces of this one.

Everything that a runtime or its daemon leaves behind (state under /run and /var/lib, copies of
/etc, mounts, processes, control groups) is gone with the machine, and that ends with the test
process, whatever went wrong.
"""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from probes.errors import InstrumentError, SuiteError
from probes.releases import machine as releases
from probes.releases.starters import CONTAINERS, DOCKERD
from probes.runtimes import container
from probes.runtimes.command import RuntimeCommand
from probes.runtimes.known import BY_ENDPOINT, BY_NAME
from probes.runtimes.wanted import Wanted
from probes.tests.support import containerd_daemon
from probes.tests.support.containerd_daemon import Containerd
from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require, unavailable

START_SECONDS: Final = 60.0
"""How long the machine or a daemon may take to start; a second is usual."""

PODMAN_PROFILE: Final = "/usr/share/containers/seccomp.json"

_CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")

_NEEDS: Final[Mapping[str, Mapping[str, str]]] = {
    "runc": {"runc": "runc"},
    "crun": {"crun": "crun"},
    "podman": {
        "podman": "podman",
        "crun": "crun",
        PODMAN_PROFILE: "golang-github-containers-common",
    },
    "docker": {"dockerd": "docker.io", "docker": "docker.io"},
    "bwrap": {"bwrap": "bubblewrap"},
    "containerd": {"containerd": "containerd", "ctr": "containerd", "runc": "runc"},
    "cri": {"containerd": "containerd", "ctr": "containerd", "runc": "runc"},
}

# Whatever the runtimes write goes to where nobody else sees it.
_PRIVATE: Final = f"""\
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /var/lib
cp -a /etc /var/lib/etc
mount --bind /var/lib/etc /etc
echo '{{}}' >/run/config.json
cat >/run/containers.conf <<'END'
{CONTAINERS}END
"""

_ENVIRONMENT: Final = {
    "HOME": "/run",
    "CONTAINERS_CONF": "/run/containers.conf",
    "DOCKER_CONFIG": "/run",
    "DOCKER_HOST": "unix:///run/docker.sock",
}

_DOCKERD: Final = (*DOCKERD, "-H", _ENVIRONMENT["DOCKER_HOST"])


def need(runtime: str) -> None:
    """Ends the test where a runtime is missing, saying which package brings it."""
    for tool, package in _NEEDS[runtime].items():
        require(tool, package)
    require("gcc", "gcc libc6-dev")
    require("unshare", "util-linux")


@dataclass(slots=True)
class Machine:
    """The machine.

    Attributes:
        name: its control groups have it, too.
        folder: the files of this test process's, which the machine sees as well.
        inner: the namespaces and control groups.
        pid: their first process, by our pid.
    """

    name: str
    folder: Path
    inner: releases.ReleaseMachine
    pid: int
    _subjects: dict[tuple[str, Path], str] = field(default_factory=dict)
    _files: int = 0
    _troubles: dict[str, str] = field(default_factory=dict)
    _daemon: subprocess.Popen[bytes] | None = None
    _containerd: Containerd | None = None

    def words(self, *command: str) -> tuple[str, ...]:
        """A command, so that it runs on the machine."""
        settings = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return (*self.inner.entered(), "env", *settings, *command)

    def run(self, *command: str, seconds: float = START_SECONDS) -> str:
        """Runs a command on the machine, and gives what it printed."""
        ended = subprocess.run(
            self.words(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout.strip()

    def wanted(
        self,
        runtime: str,
        root: Path,
        profile: Mapping[str, Any] | bytes | None = None,
        *arguments: str,
    ) -> Wanted:
        """A container of a root file system under a runtime.

        Ends the test where the runtime is missing, or cannot start any on this machine.

        Args:
            runtime: one of ``probes.runtimes.known.RUNTIMES``.
            root: the root file system.
            profile: as the runtime takes it: JSON, a raw program for bwrap; None for its default.
            *arguments: further words for the command that makes the container.
        """
        need(runtime)
        if runtime not in self._troubles:
            self._troubles[runtime] = self._try(runtime)
        if trouble := self._troubles[runtime]:
            unavailable(f"{runtime} cannot start a container on this machine: {trouble}")
        path = None if profile is None else self.file(profile)
        return self._wanted(runtime, root, path, arguments)

    def _try(self, runtime: str) -> str:
        """Starts a container that is not confined; what is in the way, or ""."""
        root = self.folder / f"try-{runtime}"
        for place in ("proc", "dev"):
            (root / place).mkdir(parents=True)
        try:
            if runtime == "docker":
                self._start_dockerd()
            if runtime in BY_ENDPOINT:
                _ = self.containerd
            # To be confined is what the tests are about; to start is what they need.
            with container.started(self._wanted(runtime, root, None, ())) as running:
                running.first_process()
        except (SuiteError, AssertionError) as error:
            return str(error)
        return ""

    def _wanted(
        self, runtime: str, root: Path, profile: Path | None, arguments: Sequence[str]
    ) -> Wanted:
        command = BY_NAME[runtime].command
        program = RuntimeCommand(runtime, self.words(*command) if command else ())
        endpoint = self.containerd.endpoint if runtime in BY_ENDPOINT else ""
        return Wanted(program, self.subject(runtime, root), profile, tuple(arguments), endpoint)

    @property
    def containerd(self) -> Containerd:
        """A containerd that runs on the machine; started when first asked for."""
        if self._containerd is None:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            pause = containerd_daemon.pause_root(folder, require("gcc", "gcc libc6-dev"))
            self._containerd = containerd_daemon.started(self.words, folder, "/run/own", pause)
        return self._containerd

    def file(self, profile: Mapping[str, Any] | bytes) -> Path:
        """Writes a profile, which no crun takes for an earlier one."""
        # From 1.21 on it keeps what it has compiled, by a key that leaves out errnoRet.
        self.run("rm", "-rf", "/run/crun/.cache")
        self._files += 1
        path = self.folder / f"profile-{self._files}"
        path.write_bytes(
            profile if isinstance(profile, bytes) else json.dumps(profile).encode("utf-8")
        )
        return path

    def subject(self, runtime: str, root: Path) -> str:
        """What stands for a root file system in the runtime's words; made when first asked."""
        if (runtime, root) not in self._subjects:
            self._subjects[runtime, root] = self._make(runtime, root)
        return self._subjects[runtime, root]

    def _make(self, runtime: str, root: Path) -> str:
        if runtime in {"bwrap", "containerd"}:
            return str(root)
        if runtime in {"runc", "crun"}:
            return str(bundle(Path(tempfile.mkdtemp(dir=self.folder)), root))
        if runtime == "cri":
            image = f"syscall-conformance.test/{self.name}:{len(self._subjects)}"
            self.containerd.add_image(image, root, "/program")
            return image
        archive = self.folder / f"{root.name}.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        image = f"{self.name}:{len(self._subjects)}"
        self.run(runtime, "import", str(archive), image)
        archive.unlink()
        return image

    def _start_dockerd(self) -> None:
        if self._daemon is not None:
            return
        log = self.folder / "dockerd.log"
        with log.open("wb") as output:
            self._daemon = subprocess.Popen(
                self.words(*_DOCKERD), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

        def answers() -> bool:
            tried = subprocess.run(
                self.words("docker", "version"), capture_output=True, timeout=20, check=False
            )
            return tried.returncode == 0

        try:
            wait_for(answers, "dockerd does not answer", START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}: {log.read_text(errors='replace')[-4000:]}") from error

    def reap(self) -> None:
        """Waits for the daemon, which ends with the machine."""
        if self._daemon is not None:
            self._daemon.wait(START_SECONDS)
        if self._containerd is not None:
            self._containerd.process.wait(START_SECONDS)


@contextlib.contextmanager
def private_machine() -> Iterator[Machine]:
    """A machine for as long as the context lasts."""
    try:
        with releases.started(None, prepare=_PRIVATE) as inner:
            made = Machine(inner.name, inner.folder, inner, inner.pid)
            yield made
        made.reap()
    except InstrumentError as error:
        unavailable(str(error))


def static_root(directory: Path, source: str, name: str = "program") -> Path:
    """A root file system of one static C program: no shell, no library, nothing.

    Returns:
        Its directory.
    """
    root = directory / f"root-{name}"
    for place in ("proc", "dev", "sys", "etc"):
        (root / place).mkdir(parents=True)
    text = directory / f"{name}.c"
    text.write_text(source)
    compiler = require("gcc", "gcc libc6-dev")
    subprocess.run([compiler, "-O1", "-static", "-o", root / name, text], check=True)
    return root


def bundle(directory: Path, root: Path, profile: Mapping[str, Any] | None = None) -> Path:
    """The least that the OCI runtime specification asks for.

    Args:
        directory: where it goes.
        root: the root file system.
        profile: what it says about seccomp.

    Returns:
        The directory.
    """
    spaces = ("pid", "mount", "ipc", "uts", "network")
    configuration = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": True,  # as runc spec writes it
            "args": ["/program"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "root": {"path": os.path.relpath(root, directory)},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "namespaces": [{"type": space} for space in spaces],
            **({} if profile is None else {"seccomp": profile}),
        },
    }
    (directory / "config.json").write_text(json.dumps(configuration))
    return directory


def control_groups(name: str) -> list[Path]:
    """The control groups with a name, in every hierarchy."""
    return list(_CONTROL_GROUPS.rglob(name))
