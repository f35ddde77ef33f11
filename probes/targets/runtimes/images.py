"""docker and podman: containers of images."""

import io
import json
import tarfile
from dataclasses import dataclass

from probes.errors import BadInputError
from probes.targets.runtimes.command import JOB_SECONDS, PULL_SECONDS
from probes.targets.runtimes.wanted import Holder, Job, Wanted


@dataclass(frozen=True, slots=True)
class ImageContainer:
    """A container of an image; see ``probes.targets.runtimes.container.Container``."""

    wanted: Wanted
    holder: Holder

    @property
    def _path(self) -> str:
        return f"/{self.holder.name}"

    def start(self) -> None:
        """Makes the container, puts the holder into it, and starts it."""
        run, name = self.wanted.program.run, self.holder.name
        run("create", "--name", name, *self._options(self._path), seconds=PULL_SECONDS)
        # Through the runtime and not by a mount: its daemon may see other files than this process.
        self.wanted.program.put(self._archive(), name)
        run("start", name)

    def _options(self, program: str, *more: str) -> list[str]:
        """What follows the name of a container that is to be made."""
        podman = self.wanted.program.runtime == "podman"
        profile = self.wanted.seccomp
        # --entrypoint drops the image's own arguments, too.
        return [
            *("--rm", "--network", "none", "--no-healthcheck"),
            *("--entrypoint", json.dumps([program]) if podman else program),
            *(() if profile is None else ("--security-opt", f"seccomp={profile.absolute()}")),
            *(*more, *self.wanted.arguments, self.wanted.subject),
        ]

    def run(self, job: Job) -> str:
        """Makes the container and runs a command in it."""
        more: list[str] = []
        for name, value in job.environment.items():
            more += ["--env", f"{name}={value}"]
        for mount in job.mounts:
            mode = "" if mount.writable else ",readonly"
            more += ["--mount", f"type=bind,source={mount.source},target={mount.place}{mode}"]
        run, name = self.wanted.program.run, self.holder.name
        # Not in one step, so that after an interruption it is clear whether there is a container.
        words = (*self._options(job.words[0], *more), *job.words[1:])
        run("create", "--name", name, *words, seconds=PULL_SECONDS)
        return run("start", "--attach", name, seconds=JOB_SECONDS, is_job=True)

    def execute(self) -> bool:
        """Has the runtime start another process in the container."""
        self.wanted.program.run("exec", "--detach", self.holder.name, self._path)
        return True

    def runs(self) -> bool:
        """Whether the runtime says that the container runs."""
        words = ("container", "inspect", "--format", "{{.State.Running}}", self.holder.name)
        try:
            return self.wanted.program.run(*words) == "true"
        except BadInputError:
            return False  # --rm has removed it already

    def version(self) -> str:
        """The version: of docker's daemon, or of podman."""
        whose = "Server" if self.wanted.program.runtime == "docker" else "Client"
        return self.wanted.program.run("version", "--format", f"{{{{.{whose}.Version}}}}")

    def digest(self) -> str:
        """The image's id: the digest of its configuration."""
        words = ("image", "inspect", "--format", "{{.Id}}", self.wanted.subject)
        return f"sha256:{self.wanted.program.run(*words).removeprefix('sha256:')}"

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        waits_not = ("--time", "0") if self.wanted.program.runtime == "podman" else ()
        try:
            self.wanted.program.run("rm", "--force", *waits_not, self.holder.name)
        except BadInputError as error:
            if "no such container" not in str(error).lower():
                raise

    def _archive(self) -> bytes:
        """The holder as tar(5) has it."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            entry = tarfile.TarInfo(self.holder.name)
            entry.size, entry.mode = len(self.holder.image), 0o755
            archive.addfile(entry, io.BytesIO(self.holder.image))
        return made.getvalue()
