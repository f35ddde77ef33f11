"""How each container runtime and sandbox of a release is had to run one program, and print.

The program is alone in its root file system. A sandbox gets a profile, or what it gives to whoever
asks for none. Nothing of what starts it is the suite's own: people write these command lines.
"""

import contextlib
import functools
import json
import shlex
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from probes.errors import InstrumentError
from probes.releases import machine as machines
from probes.releases import pods, prober
from probes.releases.machine import ReleaseMachine
from probes.releases.roots import Root

DAEMON_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2

IMAGE: Final = "prober:1"
"""The image of the program, where a runtime wants one."""

_PAUSE: Final = "prober:pause"
_ROOT_FOLDER: Final = "root"
_PROGRAM: Final = f"/{prober.NAME}"
_UNITS: Final = "units"
_TARGET: Final = "conformance.target"

DOCKERD: Final = (
    *("dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false"),
    *("--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"),
    *("--exec-opt", "native.cgroupdriver=cgroupfs"),
)
"""The daemon on a machine of its own, whose network it leaves alone."""

# To raise a limit beyond this process's own takes CAP_SYS_RESOURCE, which a machine may lack.
CONTAINERS: Final = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
"""
"""podman's containers.conf(5) on such a machine."""

ENVIRONMENT: Final[Mapping[str, str]] = {
    **machines.ENVIRONMENT,
    "CONTAINERS_CONF": "/run/containers.conf",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
    "container": "conformance",
}
"""The variables of a machine on which these start."""


@dataclass(slots=True)
class PreparedMachine:
    """A machine of a release with what its runtimes need, made when it is first needed.

    Attributes:
        machine: the machine.
    """

    machine: ReleaseMachine
    _made: set[str] = field(default_factory=set)
    _count: int = 0

    @property
    def root(self) -> Path:
        """The program's root file system."""
        root = self.machine.folder / _ROOT_FOLDER
        if self._first_time("root"):
            prober.build(root)
        return root

    def name(self) -> str:
        """A name that no container has yet."""
        self._count += 1
        return f"prober-{self._count}"

    def image(self) -> Path:
        """The program's root file system as one file."""
        path = self.machine.folder / "root.tar"
        if self._first_time("tar"):
            with tarfile.open(path, "w") as archive:
                archive.add(self.root, ".")
        return path

    def bundle(self, profile: Path | None, program: Sequence[str] = (_PROGRAM,)) -> Path:
        """An OCI bundle of the program.

        Args:
            profile: an OCI profile; None for none.
            program: the program with its arguments.
        """
        folder = self.machine.folder / self.name()
        folder.mkdir()
        spaces = ("pid", "mount", "ipc", "uts", "network")
        seccomp = {} if profile is None else {"seccomp": json.loads(profile.read_bytes())}
        configuration = {
            "ociVersion": "1.0.2",
            "process": {
                "args": list(program),
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root)},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {"namespaces": [{"type": space} for space in spaces], **seccomp},
        }
        (folder / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
        return folder

    def has_docker(self) -> None:
        """Starts dockerd, and gives it the image."""
        if self._first_time("docker"):
            self._await(self.machine.daemon(*DOCKERD), "docker", "version")
            self.machine.run("docker", "import", str(self.image()), IMAGE)

    def has_podman(self) -> None:
        """Configures podman, and gives it the image."""
        if self._first_time("podman"):
            path = ENVIRONMENT["CONTAINERS_CONF"]
            self.machine.run("sh", "-c", f"printf %s {shlex.quote(CONTAINERS)} >{path}")
            self.machine.run("podman", "import", str(self.image()), IMAGE)

    def has_containerd(self) -> None:
        """Starts containerd."""
        if self._first_time("containerd"):
            path = self.machine.folder / "containerd.toml"
            path.write_text(pods.CONFIGURATION, encoding="utf-8")
            self._await(self.machine.daemon("containerd", "--config", str(path)), "ctr", "version")

    def has_pods(self) -> Path:
        """Gives containerd the images of pods; its socket, as this machine sees it."""
        self.has_docker()
        self.has_containerd()
        if self._first_time("pods"):
            pause = f"ENTRYPOINT {json.dumps([_PROGRAM, prober.HOLD, 'pause'])}"
            self.machine.run("docker", "import", "--change", pause, str(self.image()), _PAUSE)
            saved = str(self.machine.folder / "pods.tar")
            self.machine.run("docker", "save", "--output", saved, IMAGE, _PAUSE)
            self.machine.run("ctr", "--namespace", pods.NAMESPACE, "images", "import", saved)
        return Path(f"/proc/{self.machine.pid}/root/run/containerd/containerd.sock")

    def in_pod(self, profile: Path | None, asked: Sequence[str]) -> pods.ProgramInPod:
        """The program, for a pod of its own."""
        folder = self.machine.folder / "pods"
        return pods.ProgramInPod(self.name(), folder, profile, (_PROGRAM, *asked))

    def _first_time(self, what: str) -> bool:
        is_first = what not in self._made
        self._made.add(what)
        return is_first

    def _await(self, log: Path, *command: str) -> None:
        until = time.monotonic() + DAEMON_SECONDS
        while self.machine.tried(*command).returncode:
            if time.monotonic() > until:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                name = log.name.partition("-")[0]
                raise InstrumentError(f"{name} does not answer: {said[-1] if said else 'no word'}")
            time.sleep(_POLL_SECONDS)


Words = tuple[str, ...]
_Start = Callable[[PreparedMachine, Path | None, Sequence[str]], Words]


def _by_bundle(runtime: str) -> _Start:
    def start(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
        bundle = bench.bundle(profile, (_PROGRAM, *asked))
        return (runtime, "run", "--bundle", str(bundle), bundle.name)

    return start


def _by_docker(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
    bench.has_docker()
    return _of_image("docker", profile, asked)


def _by_podman(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
    bench.has_podman()
    return _of_image("podman", profile, asked)


def _of_image(runtime: str, profile: Path | None, asked: Sequence[str]) -> Words:
    security = () if profile is None else ("--security-opt", f"seccomp={profile}")
    return (runtime, "run", "--rm", "--network=none", *security, IMAGE, _PROGRAM, *asked)


def _by_ctr(*more: str) -> _Start:
    def start(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
        bench.has_containerd()
        security = () if profile is None else ("--seccomp", "--seccomp-profile", str(profile))
        words = (*more, *security, "--rootfs", str(bench.root), bench.name())
        return ("ctr", "run", "--rm", *words, _PROGRAM, *asked)

    return start


def _by_bwrap(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
    root = ("--bind", str(bench.root), "/", "--proc", "/proc", "--dev", "/dev")
    words = ("bwrap", *root, "--unshare-pid")
    if profile is None:
        return (*words, _PROGRAM, *asked)
    sandbox = shlex.join((*words, "--seccomp", "9", _PROGRAM, *asked))
    return ("sh", "-c", f"exec {sandbox} 9<{shlex.quote(str(profile))}")


def _by_nspawn(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
    del profile  # it takes none
    return (
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe"),
        *(f"--directory={bench.root}", _PROGRAM, *asked),
    )


def _by_unit(*settings: str) -> _Start:
    def start(bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> Words:
        units = bench.machine.folder / _UNITS
        name = f"{bench.name()}.service"
        said = units / f"{name}.out"
        command = shlex.join((str(bench.root / prober.NAME), *asked))
        lines = ("Type=oneshot", f"ExecStart={command}", f"StandardOutput=file:{said}", *settings)
        text = "\n".join(("[Unit]", "DefaultDependencies=no", "[Service]", *lines, ""))
        (units / name).write_text(text, encoding="utf-8")
        if profile is not None:
            (units / f"{name}.d").mkdir()
            shutil.copyfile(profile, units / f"{name}.d" / "profile.conf")
        words = f"systemctl daemon-reload && systemctl start {name}; cat {shlex.quote(str(said))}"
        return ("sh", "-c", words)

    return start


class Sort(StrEnum):
    """The sorts of machine on which sandboxes start."""

    RUNTIMES = "the control groups that container runtimes do best with"
    UNIFIED = "version 2 of control groups"
    SYSTEMD = "systemd as the first process"


@dataclass(frozen=True, slots=True)
class Starter:
    """A way to start a sandbox.

    Attributes:
        name: what the matrix calls it.
        packages: those whose versions matter, the runtime's own first.
        form: the form in which it takes profiles, as ``export`` calls it; "" if it takes none.
        command: how people start it, with its own profile.
        words: the command by which it runs the program with a profile and these arguments; None
            for a pod, which no command starts.
        kind: the machine on which it starts.
        target: how ``--target`` names the runtime; "" where only its processes can be named.
    """

    name: str
    packages: tuple[str, ...]
    form: str
    command: str
    words: _Start | None
    kind: Sort = Sort.RUNTIMES
    target: str = ""

    def has(self, bench: PreparedMachine, profile: Path | None, asked: Sequence[str]) -> str:
        """Has it run the program, and gives what that printed.

        Raises:
            InstrumentError: it refuses, or takes too long.
        """
        if self.words is None:
            return pods.said(bench.has_pods(), bench.in_pod(profile, asked))
        return bench.machine.run(*self.words(bench, profile, asked))

    def hold(self, bench: PreparedMachine, profile: Path | None, name: str) -> None:
        """Has it start the program, which holds still to the end of the machine.

        Args:
            bench: where it starts.
            profile: the profile; None for the runtime's own.
            name: by which the process is found.

        Raises:
            SuiteError: it refuses.
        """
        asked = (prober.HOLD, name)
        if self.words is None:
            pods.left(bench.has_pods(), bench.in_pod(profile, asked))
        else:
            bench.machine.daemon(*self.words(bench, profile, asked))

    def subject(self, bench: PreparedMachine) -> str:
        """What stands behind the colon of ``--target``."""
        if self.target in {"runc", "crun"}:
            return str(bench.bundle(None))
        if self.target == "bwrap":
            return str(bench.root)
        if self.words is not None:
            self.words(bench, None, ())  # by which the runtime has the image
        return IMAGE


_UNIT: Final = ("systemd",)

STARTERS: Final = (
    Starter("docker", ("docker.io", "runc"), "oci", "docker run", _by_docker, target="docker"),
    Starter(
        *("podman", ("podman", "crun", "golang-github-containers-common"), "oci", "podman run"),
        _by_podman,
        target="podman",
    ),
    Starter(*("containerd", ("containerd", "runc"), "", "ctr run --seccomp"), _by_ctr("--seccomp")),
    Starter("CRI", ("containerd", "runc"), "oci", "a pod with RuntimeDefault", None),
    Starter("nspawn", ("systemd-container",), "", "systemd-nspawn", _by_nspawn, Sort.UNIFIED),
    Starter(
        *("@system-service", _UNIT, "", "SystemCallFilter=@system-service ptrace"),
        _by_unit("SystemCallFilter=@system-service ptrace"),
        Sort.SYSTEMD,
    ),
    Starter("unit", _UNIT, "systemd", "a service of systemd's", _by_unit(), Sort.SYSTEMD),
    Starter("ctr", ("containerd", "runc"), "oci", "ctr run", _by_ctr()),
    Starter("runc", ("runc",), "oci", "runc run", _by_bundle("runc"), target="runc"),
    Starter("crun", ("crun",), "oci", "crun run", _by_bundle("crun"), target="crun"),
    Starter("bwrap", ("bubblewrap",), "bpf", "bwrap", _by_bwrap, target="bwrap"),
)
"""What is compared: first those with a profile of their own, then those that have none."""


@contextlib.contextmanager
def benches(root: Root, shared: Sequence[Path] = ()) -> Iterator[Callable[[Sort], PreparedMachine]]:
    """Gives a bench of each kind when it is first asked for.

    Args:
        root: the release's root.
        shared: files and folders of this machine's that its machines have at the same paths.
    """
    with contextlib.ExitStack() as stack:

        @functools.cache
        def bench(kind: Sort) -> PreparedMachine:
            if kind is Sort.SYSTEMD:
                return stack.enter_context(_with_systemd(root, shared))
            groups = machines.V2 if kind is Sort.UNIFIED else None
            return PreparedMachine(
                stack.enter_context(
                    machines.started(root, shared=shared, cgroups=groups, environment=ENVIRONMENT)
                )
            )

        yield bench


@contextlib.contextmanager
def _with_systemd(root: Root, shared: Sequence[Path]) -> Iterator[PreparedMachine]:
    """A bench whose first process is systemd, with no units but those that are started here."""
    with tempfile.TemporaryDirectory(prefix="units-") as folder:
        units = Path(folder)
        units.chmod(0o755)
        text = "[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n"
        (units / _TARGET).write_text(text, encoding="utf-8")
        with machines.started(
            root,
            shared=(units, *shared),
            cgroups=machines.V2,
            init=("/lib/systemd/systemd", "--system", f"--unit={_TARGET}", "--log-target=null"),
            environment={**ENVIRONMENT, "SYSTEMD_UNIT_PATH": folder},
        ) as machine:
            (machine.folder / _UNITS).symlink_to(units)
            until = time.monotonic() + DAEMON_SECONDS
            while machine.tried("systemctl", "is-active", _TARGET).returncode:
                if time.monotonic() > until:
                    raise InstrumentError(f"systemd of {root.suite} does not start on its machine")
                time.sleep(_POLL_SECONDS)
            yield PreparedMachine(machine)
