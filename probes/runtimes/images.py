"""docker and podman: containers of images."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from probes import files
from probes.errors import BadInputError
from probes.runtimes import arguments
from probes.runtimes.bundles import library_of, version_said
from probes.runtimes.command import JOB_SECONDS
from probes.runtimes.creation import ID, Creation
from probes.runtimes.wanted import Beside, GivenProfile, Holder, InForce, Job, Wanted
from probes.text import shown

_MOST_BYTES: Final = 16 << 20
UNCONFINED: Final = "unconfined"
"""The profile that is none, as docker and podman say it."""

_BUILT_IN: Final = frozenset({"", "default", "builtin"})
_PODMANS_OWN: Final = "/usr/share/containers/seccomp.json"


class ImageContainer:
    """A container that an engine starts from an image: implements ``Container``."""

    def __init__(self, wanted: Wanted, holder: Holder) -> None:
        """Reads what is asked for; nothing is made yet.

        Raises:
            BadInputError: a word of the user's is in the way.
        """
        self._wanted = wanted
        self._holder = holder
        self._given = arguments.read(
            wanted.program.runtime, wanted.arguments, seccomp=wanted.seccomp
        )
        self._made = Creation(wanted.program, holder.name)

    @property
    def _is_podman(self) -> bool:
        return self._wanted.program.runtime == "podman"

    @property
    def _folder(self) -> str:
        """Where the holder is put: where docker can still write to, if only by a volume."""
        sealed = self._given.has(arguments.READ_ONLY) and not self._is_podman
        return f"/{self._holder.name}" if sealed else "/"

    @property
    def _path(self) -> str:
        return f"{self._folder.rstrip('/')}/{self._holder.name}"

    def given(self) -> GivenProfile | None:
        """The file that was named, read by the engine and the runtime that it uses."""
        named = [*self._given.profiles]
        if self._wanted.seccomp is not None:
            named.append(str(self._wanted.seccomp))
        if len(named) != 1 or named[0] == UNCONFINED or self._given.has("privileged"):
            return None
        raw = files.read(Path(named[0]), _MOST_BYTES, "a seccomp profile")
        return self._of_file(Path(named[0]), raw, self._asked_runtime())

    def _asked_runtime(self) -> str:
        """The OCI runtime that the container will have, as far as it can be told."""
        if asked := self._given.values("runtime"):
            return asked[-1]
        if self._is_podman:
            return ""
        try:
            return self._wanted.program.run("info", "--format", "{{.DefaultRuntime}}")
        except BadInputError:  # clients like docker's, which know less
            return ""

    def start(self) -> None:
        """Makes the container, puts the holder into it, and starts it."""
        volume = ("--mount", f"type=volume,target={self._folder}") if self._folder != "/" else ()
        self._make(*self._options(self._path, *volume))
        # Through the runtime and not by a mount: its daemon may see other files than this process.
        self._wanted.program.put(self._holder.archive(), self._id, self._folder)
        self._wanted.program.run("start", self._id)

    @property
    def _id(self) -> str:
        return self._made.id

    def _make(self, *words: str) -> None:
        self._made.make(*words, volumes=self._given.volumes)

    def _options(self, program: str, *more: str) -> list[str]:
        """The words for a container that is to be made."""
        profile = self._wanted.seccomp
        network = () if self._given.values(arguments.NETWORK) else ("--network", "none")
        # --entrypoint drops the image's own arguments, too.
        return [
            *("--rm", *network, "--no-healthcheck"),
            *("--entrypoint", json.dumps([program]) if self._is_podman else program),
            *(() if profile is None else ("--security-opt", f"seccomp={profile.absolute()}")),
            *(*more, *self._given.words, self._wanted.subject),
        ]

    def run(self, job: Job) -> str:
        """Makes the container and runs a command in it."""
        more: list[str] = []
        for name, value in job.environment.items():
            more += ["--env", f"{name}={value}"]
        for mount in job.mounts:
            mode = "" if mount.writable else ",readonly"
            more += ["--mount", f"type=bind,source={mount.source},target={mount.place}{mode}"]
        # Not in one step, so that after an interruption it is clear whether there is a container.
        self._make(*self._options(job.words[0], *more), *job.words[1:])
        words = ("start", "--attach", self._id)
        return self._wanted.program.run(*words, seconds=JOB_SECONDS, is_job=True)

    def execute(self) -> bool:
        """Has the runtime start another process in the container."""
        self._wanted.program.run("exec", "--detach", self._id, self._path)
        return True

    def runs(self) -> bool:
        """Whether the runtime says that the container runs."""
        try:
            return bool(self._inspected()["State"]["Running"])
        except BadInputError:
            return False  # --rm has removed it already

    def _inspected(self) -> Mapping[str, Any]:
        """What the runtime says of the container.

        Raises:
            BadInputError: there is none.
        """
        said = self._wanted.program.run("container", "inspect", self._id)
        found: Mapping[str, Any] = json.loads(said)[0]
        return found

    def version(self) -> str:
        """The version: of docker's daemon, or of podman."""
        whose = "Client" if self._is_podman else "Server"
        return self._wanted.program.run("version", "--format", f"{{{{.{whose}.Version}}}}")

    def digest(self) -> str:
        """The id of the image that the container is of: the digest of its configuration."""
        found = str(self._inspected()["Image"]).removeprefix("sha256:")
        if not ID.fullmatch(found):  # clients like docker's say its name there
            words = ("image", "inspect", "--format", "{{.Id}}", self._wanted.subject)
            found = self._wanted.program.run(*words).removeprefix("sha256:")
        return f"sha256:{found}"

    def in_force(self) -> InForce:
        """The profile, as the runtime says that it used it."""
        host = self._inspected()["HostConfig"]
        named = [
            one[len("seccomp=") :]
            for one in host.get("SecurityOpt") or ()
            if one.startswith(("seccomp=", "seccomp:"))
        ]
        lifted = "--privileged" if host.get("Privileged") else ""
        if named and named[-1] == UNCONFINED:
            return InForce("no seccomp profile", f"seccomp={UNCONFINED}")
        if "image" in self._given.values("seccomp-policy"):
            return InForce("the profile that its image brings", lifted)
        if named:
            return InForce(self._name_of(named[-1]), lifted, self._given_profile(named[-1]))
        return InForce(self._default(), lifted)

    def _given_profile(self, value: str) -> GivenProfile | None:
        """The file that was given, if the runtime says that it used that one."""
        found = self._file_of(value)
        if found is None:
            return None
        name = "" if self._is_podman else str(self._inspected()["HostConfig"].get("Runtime", ""))
        return self._of_file(*found, name)

    def _of_file(self, path: Path, raw: bytes, runtime: str) -> GivenProfile:
        """A file that the engine reads.

        Args:
            path: the file.
            raw: its content.
            runtime: the OCI runtime, as docker names it; "" for podman's own.
        """
        name, version, library = self._oci_runtime(runtime)
        sealed = [one.partition(":")[::2] for one in self._given.values(arguments.SECURITY)]
        return GivenProfile(
            path=path,
            content=raw,
            original=raw,
            engine=self._wanted.program.runtime,
            engine_version=self.version(),
            runtime=name,
            runtime_version=version,
            library=library,
            no_new_privs=True if ("no-new-privileges", "") in sealed else None,
        )

    def _oci_runtime(self, name: str) -> tuple[str, str, str]:
        """An OCI runtime, its release, and that of its libseccomp where it is told."""
        try:
            return self._runtime_of_podman() if self._is_podman else self._runtime_of_docker(name)
        except (BadInputError, ValueError):  # clients like docker's, which know less
            return "", "", ""

    def _runtime_of_podman(self) -> tuple[str, str, str]:
        words = ("info", "--format", "{{json .Host.OCIRuntime}}")
        told = json.loads(self._wanted.program.run(*words))
        said = str(told["version"])
        return str(told["name"]), version_said(said), library_of(said)

    def _runtime_of_docker(self, name: str) -> tuple[str, str, str]:
        words = ("version", "--format", "{{json .Server.Components}}")
        for one in json.loads(self._wanted.program.run(*words)) or ():
            if one.get("Name") == name:
                return name, str(one.get("Version", "")), ""
        return name, "", ""

    def _name_of(self, value: str) -> str:
        """What a sentence calls a profile: podman says its path, docker its content."""
        if self._is_podman:
            return shown(Path(value).name)
        if value in _BUILT_IN:
            return "docker's built-in profile"
        found = self._file_of(value)
        if found is not None:
            return shown(found[0].name)
        digest = hashlib.sha256(value.encode()).hexdigest()
        return f"a profile that was not asked for, sha256 {digest}"

    def _file_of(self, value: str) -> tuple[Path, bytes] | None:
        """The file that the runtime means by a value, with its content."""
        paths = [Path(one) for one in self._given.profiles]
        if self._wanted.seccomp is not None:
            paths.append(self._wanted.seccomp)
        for path in paths:
            raw = files.read(path, _MOST_BYTES, "a seccomp profile")
            if path.absolute() == Path(value) if self._is_podman else _same(value, raw):
                return path, raw
        return None

    def _default(self) -> str:
        """What a sentence calls the profile that containers get without a word about it."""
        if self._is_podman:
            words = ("info", "--format", "{{json .Host.Security}}")
            path = str(json.loads(self._wanted.program.run(*words)).get("seccompProfilePath", ""))
            own = path in {"", _PODMANS_OWN}
            return "podman's default profile" if own else f"podman's own profile {shown(path)}"
        words = ("info", "--format", "{{json .SecurityOptions}}")
        for option in json.loads(self._wanted.program.run(*words)) or ():
            found = dict(part.partition("=")[::2] for part in str(option).split(",", 1))
            if found.get("name") == "seccomp" and found.get("profile", "") not in _BUILT_IN:
                return f"the docker daemon's own profile {shown(found['profile'])}"
        return "docker's default profile"

    def beside(self) -> Beside:
        """Nothing: the engine starts no more than the container."""
        return Beside()

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        self._made.remove()


def _same(value: str, raw: bytes) -> bool:
    """Whether both are the same JSON: docker takes the blanks out."""
    try:
        return bool(json.loads(value) == json.loads(raw))
    except (ValueError, RecursionError):
        return False
