"""runc and crun: containers of OCI bundles."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from probes import files
from probes.errors import BadInputError
from probes.runtimes import arguments
from probes.runtimes.command import JOB_SECONDS
from probes.runtimes.wanted import Beside, GivenProfile, Holder, InForce, Job, Wanted
from probes.text import shown

_MOST_BYTES: Final = 16 << 20
CONFIGURATION: Final = "config.json"
"""The file in a bundle that the OCI runtime-spec names."""
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STANDARD_INPUT: Final = "/proc/self/fd/0"
_NONE: Final = "no seccomp profile"
_CRUNS_PROGRAM: Final = "run.oci.seccomp_bpf_data"
"""An annotation of a bundle that crun takes instead of ``linux.seccomp``."""


class BundleContainer:
    """A container that an OCI runtime starts from a bundle: implements ``Container``.

    The holder comes in as an open file, standard input, so that nothing is written to the bundle's
    root file system: not even a place to mount something at.
    """

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
        self._in_force = InForce(_NONE)
        self._file: IO[bytes] | None = None
        self._bundle = ""

    def given(self) -> GivenProfile:
        """The bundle's configuration, with the profile that was named beside it."""
        return self._given_profile(_adapted(self._wanted, (_STANDARD_INPUT,)))

    def start(self) -> None:
        """Makes the container of a copy of the bundle's configuration, and starts it."""
        self._write(_adapted(self._wanted, (_STANDARD_INPUT,)))
        self._file = self._holder.in_memory()
        self._wanted.program.run(
            *("create", "--bundle", self._bundle, *self._given.words, self._holder.name),
            stdin=self._file,
        )
        self._wanted.program.run("start", self._holder.name)

    def _write(self, configuration: Mapping[str, Any]) -> None:
        self._in_force = replace(
            _in_force(configuration, self._wanted), given=self._given_profile(configuration)
        )
        self._bundle = written(configuration)

    def _given_profile(self, configuration: Mapping[str, Any]) -> GivenProfile:
        """The configuration with the profile, whether that is its own or another file's."""
        path = self._wanted.seccomp or Path(self._wanted.subject, CONFIGURATION)
        said = self._wanted.program.run("--version")
        return GivenProfile(
            path=path,
            content=json.dumps(configuration).encode(),
            original=files.read(path, _MOST_BYTES, "a seccomp profile"),
            engine="bundle",
            engine_version="",
            runtime=self._wanted.program.runtime,
            runtime_version=version_said(said),
            library=library_of(said),
            no_new_privs=configuration["process"].get("noNewPrivileges") is True,
        )

    def run(self, job: Job) -> str:
        """Makes the container and runs a command in it."""
        self._write(_with_mounts(self._wanted, job))
        return self._wanted.program.run(
            *("run", "--bundle", self._bundle, *self._given.words, self._holder.name),
            seconds=JOB_SECONDS,
            is_job=True,
        )

    def execute(self) -> bool:
        """Has the runtime start another process in the container."""
        words = ("exec", "--detach", self._holder.name, _STANDARD_INPUT)
        self._wanted.program.run(*words, stdin=self._file)
        return True

    def runs(self) -> bool:
        """Whether the runtime says that the container runs."""
        try:
            state = json.loads(self._wanted.program.run("state", self._holder.name))
        except BadInputError:
            return False
        return bool(state.get("status") == "running")

    def version(self) -> str:
        """The version."""
        return version_said(self._wanted.program.run("--version"))

    def digest(self) -> str:
        """A directory has none."""
        return ""

    def in_force(self) -> InForce:
        """The profile of the configuration that the runtime was given."""
        return self._in_force

    def beside(self) -> Beside:
        """Nothing: the runtime starts no more than the container."""
        return Beside()

    def remove(self) -> None:
        """Removes the container, whether it runs, is only made, or never was."""
        try:
            if self._bundle:
                self._wanted.program.run("delete", "--force", self._holder.name)
        finally:
            if self._file is not None:
                self._file.close()
            shutil.rmtree(self._bundle, ignore_errors=True)


def version_said(said: str) -> str:
    """The release that a runtime names in the first line about its version; "" for no line."""
    return ((said.splitlines() or [""])[0].split() or [""])[-1]


_LIBRARY: Final = re.compile(r"^libseccomp: ([\d.]+)", re.MULTILINE)


def library_of(said: str) -> str:
    """The release of libseccomp that a runtime names with its own version; "" for none."""
    match = _LIBRARY.search(said)
    return match[1] if match else ""


def configuration_of(subject: str) -> dict[str, Any]:
    """The configuration of a bundle, for a container beside it: its paths are absolute and plain.

    Args:
        subject: the bundle's directory.

    Raises:
        BadInputError: it has none, or one without what every container needs.
    """
    path = Path(subject, CONFIGURATION)
    configuration = json_object(path, "a bundle's config.json")
    process, root = configuration.get("process"), configuration.get("root")
    linux = configuration.setdefault("linux", {})
    if not (isinstance(process, dict) and isinstance(root, dict) and isinstance(linux, dict)):
        raise BadInputError(
            f"{shown(path)}: process, root and linux must be objects: make one with runc spec"
        )
    root["path"] = _plain(subject, str(root.get("path", "")))
    for mount in configuration.get("mounts") or []:
        if _is_relative_bind(mount):
            mount["source"] = _plain(subject, mount["source"])
    # Else a container that runs from the same bundle could be in the way.
    linux.pop("cgroupsPath", None)
    return configuration


def _plain(bundle: str, path: str) -> str:
    """A path that may be relative to a bundle; runc from 1.3 on refuses one with ``..`` in it."""
    return str(Path(bundle, path).resolve())


def _is_relative_bind(mount: object) -> bool:
    """Whether it mounts a file or folder that is named as seen from the bundle."""
    if not isinstance(mount, dict):
        return False
    source, options = mount.get("source"), mount.get("options") or []
    is_bind = mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(options)
    return is_bind and isinstance(source, str) and not source.startswith("/")


def written(configuration: Mapping[str, Any]) -> str:
    """A bundle of a configuration alone, whose paths are absolute; the caller removes it."""
    bundle = tempfile.mkdtemp(prefix="syscall-conformance-")
    try:
        Path(bundle, CONFIGURATION).write_text(json.dumps(configuration), encoding="utf-8")
    except BaseException:  # it is raised again: nobody else knows of the directory yet
        shutil.rmtree(bundle, ignore_errors=True)
        raise
    return bundle


def _adapted(wanted: Wanted, words: Sequence[str]) -> dict[str, Any]:
    """The bundle's configuration, with other words in place of its program.

    Raises:
        BadInputError: the bundle, or the profile, is not what it must be.
    """
    configuration = configuration_of(wanted.subject)
    process, linux = configuration["process"], configuration["linux"]
    path = Path(wanted.subject, CONFIGURATION)
    mounts = configuration.get("mounts") or []
    if not any(isinstance(mount, dict) and mount.get("type") == "proc" for mount in mounts):
        raise BadInputError(
            f"{shown(path)}: it mounts no proc file system, without which no program can be handed"
            " in: add the mount at /proc that runc spec writes"
        )
    process["args"] = list(words)
    process["terminal"] = False
    if wanted.seccomp is not None:
        linux["seccomp"] = json_object(wanted.seccomp, "a seccomp profile")
    return configuration


def _in_force(configuration: Mapping[str, Any], wanted: Wanted) -> InForce:
    """What the runtime takes of a configuration."""
    annotations = configuration.get("annotations") or {}
    if wanted.program.runtime == "crun" and _CRUNS_PROGRAM in annotations:
        return InForce(f"the program of its bundle's annotation {_CRUNS_PROGRAM}")
    if wanted.seccomp is not None:
        return InForce(shown(wanted.seccomp.name))
    has_one = configuration["linux"].get("seccomp") is not None
    return InForce("the bundle's profile" if has_one else _NONE)


def _with_mounts(wanted: Wanted, job: Job) -> Mapping[str, Any]:
    """The bundle's configuration for a command with mounts.

    Raises:
        BadInputError: the bundle is not what it must be.
    """
    configuration = _adapted(wanted, job.words)
    mounts = configuration["mounts"]
    # There the places to mount at are made in memory, and not in the bundle's root file system.
    if not any(mount.get("destination") == "/dev" for mount in mounts if isinstance(mount, dict)):
        raise BadInputError(
            f"{shown(Path(wanted.subject) / CONFIGURATION)}: it mounts nothing at /dev, where what"
            " judges from inside would stand: add the mount that runc spec writes"
        )
    configuration["mounts"] = [
        *mounts,
        *(
            {
                "destination": mount.place,
                "type": "bind",
                "source": str(mount.source),
                "options": ["rbind", "rw" if mount.writable else "ro"],
            }
            for mount in job.mounts
        ),
    ]
    variables = [f"{name}={value}" for name, value in job.environment.items()]
    process = configuration["process"]
    process["env"] = [*(process.get("env") or [_PATH]), *variables]
    return configuration


def json_object(path: Path, what: str) -> dict[str, Any]:
    """A file that is a JSON object.

    Args:
        path: the file.
        what: the kind of file, for a sentence.

    Raises:
        BadInputError: it cannot be read, or is none.
    """
    raw = files.read(path, _MOST_BYTES, what)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{shown(path)}: {what} is JSON, and this is none ({error})") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{shown(path)}: {what} is a JSON object, and this is none")
    return found
