"""A containerd of one's own, with CRI, on a machine of one's own."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.tests.support.emitter import wait_for

PAUSE_IMAGE: Final = "syscall-conformance.test/pause:1"
NAMESPACE: Final = "k8s.io"
"""Where CRI looks for images."""

START_SECONDS: Final = 60.0

_PAUSE: Final = """\
#include <unistd.h>
int main(void) { for (;;) pause(); }
"""

# A process that may not lower its own oom_score_adj cannot give a pause container a lower one. The
# form of version 2 is read by containerd 1.6 and 2.1, where the plug-in has another name.
_CONFIGURATION: Final = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
{more}
"""

Words = Callable[..., tuple[str, ...]]
"""Makes a command one that runs on the machine."""


@dataclass(slots=True)
class Containerd:
    """The daemon.

    Attributes:
        words: makes a command one that runs on its machine.
        folder: a folder that both see by the same path.
        process: the daemon.
    """

    words: Words
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        """Its socket."""
        return self.folder / "containerd.sock"

    @property
    def endpoint(self) -> str:
        """Its socket, as ``--runtime-endpoint`` takes it."""
        return f"unix://{self.socket}"

    def ctr(self, *arguments: str) -> str:
        """Runs ctr, and gives what it printed."""
        command = self.words("ctr", "--address", str(self.socket), *arguments)
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def add_image(self, name: str, root: Path, program: str) -> None:
        """Gives CRI an image of a root file system."""
        archive = self.folder / "image.tar"
        archive.write_bytes(docker_archive(name, root, program))
        self.ctr("--namespace", NAMESPACE, "images", "import", str(archive))
        archive.unlink()

    def left(self) -> dict[str, str]:
        """Whatever containers and the like it still has, by their sort."""
        asked = {
            "containers": ("containers", "ls", "-q"),
            "tasks": ("tasks", "ls", "-q"),
            "leases": ("leases", "ls", "-q"),
        }
        return {
            f"{sort} of {space}": said
            for space in (NAMESPACE, "default")
            for sort, words in asked.items()
            if (said := self.ctr("--namespace", space, *words).strip())
        }

    def end(self) -> None:
        """Ends it, with whatever it has started."""
        self.process.terminate()
        self.process.wait(START_SECONDS)

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "containerd.log").read_text(errors="replace")[-4000:]


def started(words: Words, folder: Path, state: str, pause: Path, more: str = "") -> Containerd:
    """Starts it, with an image for the pause containers of pods.

    Args:
        words: makes a command one that runs on its machine.
        folder: an empty folder that both see by the same path.
        state: where it keeps its files, on its machine.
        pause: a root file system with the one program ``/pause``.
        more: further lines of the configuration.
    """
    configuration = folder / "containerd.toml"
    configuration.write_text(_CONFIGURATION.format(pause=PAUSE_IMAGE, more=more))
    socket = folder / "containerd.sock"
    folders = ("--root", f"{state}/root", "--state", f"{state}/state")
    command = words(
        *("containerd", "--config", str(configuration), *folders, "--address", str(socket))
    )
    with (folder / "containerd.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    made = Containerd(words, folder, process)

    def answers() -> bool:
        assert process.poll() is None, made.log()
        tried = subprocess.run(
            words("ctr", "--address", str(socket), "version"),
            capture_output=True,
            timeout=20,
            check=False,
        )
        return tried.returncode == 0

    try:
        wait_for(answers, "containerd does not answer", START_SECONDS)
        made.add_image(PAUSE_IMAGE, pause, "/pause")
    except BaseException:  # it is raised again: nobody has what was started yet
        process.kill()
        process.wait()
        raise
    return made


def pause_root(directory: Path, compiler: str) -> Path:
    """A root file system of one program that waits to be ended."""
    root = directory / "pause-root"
    root.mkdir()
    source = directory / "pause.c"
    source.write_text(_PAUSE)
    subprocess.run([compiler, "-O1", "-static", "-o", root / "pause", source], check=True)
    return root


def docker_archive(name: str, root: Path, program: str) -> bytes:
    """An image as ``docker save`` writes it, of a root file system in one layer."""
    layer = _layer(root)
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [program]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(configuration).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for one, content in files.items():
            entry = tarfile.TarInfo(one)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def _layer(root: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, arcname=path.name)
    return made.getvalue()
