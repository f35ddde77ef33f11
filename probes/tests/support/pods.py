"""Pods that the tests start themselves, by CRI's own messages and not by the suite's client."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from cri_api.v1 import api_pb2, api_pb2_grpc
from cri_api.v1.api_pb2 import SecurityProfile as SecurityProfile  # noqa: PLC0414 - also for tests

from probes.tests.support.emitter import wait_for

SECONDS: Final = 60.0

DEFAULT: Final = SecurityProfile(profile_type=SecurityProfile.RuntimeDefault)
UNCONFINED: Final = SecurityProfile(profile_type=SecurityProfile.Unconfined)

STAYS: Final = r"""
#include <sys/wait.h>
#include <unistd.h>

/* Runs its arguments as a command, and stays. */
int main(int count, char **words)
{
    if (count > 1) {
        pid_t child = fork();
        if (child == 0) {
            execv(words[1], words + 1);
            _exit(127);
        }
        waitpid(child, 0, 0);
    }
    write(1, "done\n", 5);
    for (;;)
        pause();
}
"""


OWN_FILTER: Final = r"""
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Stays, with a child that has one filter more. */
int main(void)
{
    struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog program = { 1, code };
    if (fork() == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
        write(1, "done\n", 5);
    }
    for (;;)
        pause();
}
"""


def localhost(path: Path) -> SecurityProfile:
    """The field that names a profile's file."""
    kind = SecurityProfile.Localhost
    return SecurityProfile(profile_type=kind, localhost_ref=str(path))


@dataclass(slots=True)
class Pod:
    """A pod.

    Attributes:
        id: its sandbox's id.
        config: what it was made of.
        containers: the ids of its containers, by name.
    """

    id: str
    config: api_pb2.PodSandboxConfig
    containers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Pods:
    """A runtime, and the pods that were started by it.

    Attributes:
        runtime: asks it.
        folder: a folder that both see by the same path.
        group: the control group of the pods.
        image: the image of every container.
    """

    runtime: Any
    folder: Path
    group: str
    image: str
    _made: list[Pod] = field(default_factory=list)

    def pod(
        self,
        name: str,
        profile: SecurityProfile | None = DEFAULT,
        *,
        processes: int = api_pb2.CONTAINER,
        labels: dict[str, str] | None = None,
    ) -> Pod:
        """Starts a pod without containers.

        Args:
            name: its name.
            profile: the seccomp field of the sandbox; None leaves it out.
            processes: whose pid namespace its containers use.
            labels: its labels.
        """
        spaces = api_pb2.NamespaceOption(network=api_pb2.NODE, pid=processes)  # type: ignore[arg-type]
        context = api_pb2.LinuxSandboxSecurityContext(namespace_options=spaces, seccomp=profile)
        config = api_pb2.PodSandboxConfig(
            metadata=api_pb2.PodSandboxMetadata(name=name, uid=name, namespace="tests"),
            log_directory=str(self.folder / name),
            labels=labels or {},
            linux=api_pb2.LinuxPodSandboxConfig(cgroup_parent=self.group, security_context=context),
        )
        request = api_pb2.RunPodSandboxRequest(config=config)
        made = Pod(self.runtime.RunPodSandbox(request, timeout=SECONDS).pod_sandbox_id, config)
        self._made.append(made)
        return made

    def container(
        self,
        pod: Pod,
        name: str,
        words: Sequence[str],
        profile: SecurityProfile | None,
        *,
        starts: bool = True,
    ) -> str:
        """Makes a container in a pod; gives its id.

        Args:
            pod: the pod.
            name: the container's name.
            words: its command.
            profile: its seccomp field; None leaves it out.
            starts: whether it is started.
        """
        spaces = pod.config.linux.security_context.namespace_options
        context = api_pb2.LinuxContainerSecurityContext(namespace_options=spaces, seccomp=profile)
        config = api_pb2.ContainerConfig(
            metadata=api_pb2.ContainerMetadata(name=name),
            image=api_pb2.ImageSpec(image=self.image),
            command=words,
            log_path=f"{name}.log",
            linux=api_pb2.LinuxContainerConfig(security_context=context),
        )
        request = api_pb2.CreateContainerRequest(
            pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config
        )
        found: str = self.runtime.CreateContainer(request, timeout=SECONDS).container_id
        pod.containers[name] = found
        if starts:
            start = api_pb2.StartContainerRequest(container_id=found)
            self.runtime.StartContainer(start, timeout=SECONDS)
        return found

    def printed(self, pod: Pod, name: str, last: str = "done") -> str:
        """What a container has printed before its last line, once that is there."""
        path = Path(pod.config.log_directory) / f"{name}.log"

        def lines() -> list[str]:
            text = path.read_text() if path.exists() else ""
            return [line.split(" ", 3)[3] for line in text.splitlines()]

        wait_for(lambda: last in lines(), f"{name} does not print {last!r}")
        return "\n".join(lines()[: lines().index(last)])

    def await_end(self, identifier: str) -> None:
        """Waits until a container has ended."""
        request = api_pb2.ContainerStatusRequest(container_id=identifier)

        def ended() -> bool:
            state = self.runtime.ContainerStatus(request, timeout=SECONDS).status.state
            return bool(state == api_pb2.CONTAINER_EXITED)

        wait_for(ended, "a container does not end")

    def stop(self, identifier: str) -> None:
        """Ends a container."""
        request = api_pb2.StopContainerRequest(container_id=identifier, timeout=0)
        self.runtime.StopContainer(request, timeout=SECONDS)

    def end(self, pod: Pod) -> None:
        """Ends a pod, which stays known."""
        stop = api_pb2.StopPodSandboxRequest(pod_sandbox_id=pod.id)
        self.runtime.StopPodSandbox(stop, timeout=SECONDS)

    def remove(self, pod: Pod) -> None:
        """Ends a pod and removes it."""
        if pod in self._made:
            self._made.remove(pod)
        self.end(pod)
        remove = api_pb2.RemovePodSandboxRequest(pod_sandbox_id=pod.id)
        self.runtime.RemovePodSandbox(remove, timeout=SECONDS)

    def remove_all(self) -> None:
        """Removes every pod that was started here."""
        for one in tuple(self._made):
            self.remove(one)


@contextmanager
def of(socket: Path, folder: Path, group: str, image: str) -> Iterator[Pods]:
    """A runtime's pods, which are removed in the end."""
    options = (("grpc.default_authority", "localhost"),)
    with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
        made = Pods(api_pb2_grpc.RuntimeServiceStub(channel), folder, group, image)
        try:
            yield made
        finally:
            made.remove_all()


def add_program(root: Path, name: str, source: str, compiler: str) -> None:
    """Adds a static C program to a root file system."""
    text = root.parent / f"{root.name}-{name}.c"
    text.write_text(source)
    subprocess.run([compiler, "-O1", "-static", "-o", root / name, text], check=True)
