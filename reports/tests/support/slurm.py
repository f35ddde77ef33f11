"""A Slurm cluster of one's own: a controller and three nodes, as processes on this machine.

They live in namespaces of their own and end with the one process that holds these. Each node has
a name of its own by its UTS namespace, and files of its own by its mount namespace.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from probes.tests.support.emitter import wait_for
from probes.tests.support.oracles import require, unavailable
from reports.tests.support import fleets

PATIENCE_SECONDS: Final = 120
_START_SECONDS: Final = 60.0

# Slurm asks for IPv4 addresses with AI_ADDRCONFIG. To that glibc knows none, not even 127.0.0.1,
# where there are but those of the loopback; so it gets some that are reserved for documentation.
_HOST: Final = """\
set -eu
folder=$1; shift
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
ip link set lo up
hostname controller
place=0
for node; do
    place=$((place + 1))
    ip addr add "192.0.2.$place/32" dev lo
done
ip addr add 192.0.2.100/32 dev lo
mkdir /run/munge /var/lib/munge
head -c 128 /dev/urandom >/run/key
chown munge /run/munge /var/lib/munge /run/key
chmod 400 /run/key
chmod 755 /run/munge
setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --num-threads=2 \
    --key-file=/run/key --socket=/run/munge/socket --log-file=/run/munge/log \
    --pid-file=/run/munge/pid --seed-file=/run/munge/seed >"$folder/munged.log" 2>&1 &
until [ -S /run/munge/socket ]; do sleep 0.05; done
slurmctld -D -f "$folder/slurm.conf" >"$folder/controller.log" 2>&1 &
for node; do
    unshare --uts --mount sh -c '
        hostname "$2" && mount --bind "$1/$2.files" "$1/files" && exec slurmd -D -f "$1/slurm.conf"
    ' sh "$folder" "$node" >"$folder/$node.log" 2>&1 &
done
echo ready
# As the first process of its pid namespace bash reaps those whose parents have ended.
read -r _ || true
"""

_CONFIGURATION: Final = """\
ClusterName=fleet
SlurmctldHost=controller(192.0.2.100)
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n.spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
AuthInfo=socket=/run/munge/socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
PartitionName=all Nodes=ALL Default=YES State=UP
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster.

    Attributes:
        folder: its files, and those of each node; ``files`` in it is each node's own.
        pid: the first process of the namespaces, by our pid.
    """

    folder: Path
    pid: int

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Runs a command on the machine of the controller."""
        enter = ("nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc")
        settings = fleets.environment() | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        return subprocess.run(
            [*enter, f"--wd={cwd}", "--", *command],
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def is_idle(self) -> bool:
        """Whether all nodes wait for work."""
        said = self.run("sinfo", "--noheader", "--format=%T %D", cwd=self.folder)
        return said.stdout.split() == ["idle", str(len(fleets.NODES))]

    def awaited(self, number: str) -> int:
        """Waits for a batch to end, and gives its status; sbatch --wait asks far more seldom.

        Args:
            number: the number of the job.
        """

        def told() -> dict[str, str]:
            said = self.run("scontrol", "--oneliner", "show", "job", number, cwd=self.folder).stdout
            return dict(word.partition("=")[::2] for word in said.split())

        wait_for(
            lambda: told()["JobState"] in {"COMPLETED", "FAILED"},
            "it does not end",
            PATIENCE_SECONDS,
        )
        return int(told()["ExitCode"].partition(":")[0])

    @property
    def logs(self) -> str:
        """What the daemons have written last."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{one.name}: {one.read_text()[-1000:]}" for one in files)


@contextlib.contextmanager
def cluster(folder: Path, files: Mapping[str, Path]) -> Iterator[Cluster]:
    """A cluster for as long as the context lasts.

    Args:
        folder: an empty folder for its files.
        files: the filter of each node, which is ``files/platform.bpf`` there.
    """
    for tool, package in (("slurmctld", "slurm-wlm"), ("slurmd", "slurm-wlm"), ("munged", "munge")):
        require(tool, package)
    _lay_out(folder, files)
    host = ["bash", "-c", _HOST, "bash", str(folder), *files]
    spaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    with subprocess.Popen(
        ["unshare", *spaces, "--net", "--uts", "--ipc", *host],
        stdin=subprocess.PIPE,  # at its end, which comes with ours, the cluster ends
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                process.kill()
                _, said = process.communicate()
                unavailable(f"no cluster of one's own can be made here: {said}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            made = Cluster(folder, int(children))
            try:
                wait_for(made.is_idle, "the nodes of Slurm do not wait for work", _START_SECONDS)
            except AssertionError as error:
                raise AssertionError(f"{error}: {made.logs}") from error
            yield made
            process.kill()
            first = Path(f"/proc/{made.pid}")
            wait_for(lambda: not first.exists(), "the cluster does not end", _START_SECONDS)
        finally:
            process.kill()
            process.communicate()


def _lay_out(folder: Path, files: Mapping[str, Path]) -> None:
    text = _CONFIGURATION.format(folder=folder)
    for place, (node, program) in enumerate(files.items(), start=1):
        text += f"NodeName={node} NodeAddr=192.0.2.{place} Port={17000 + place}\n"
        own = folder / f"{node}.files"
        own.mkdir(parents=True)
        (own / "platform.bpf").write_bytes(program.read_bytes())
    for name in ("files", "state"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
