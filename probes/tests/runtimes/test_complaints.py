"""What a runtime's refusal means: by its error, and by none of its other words."""

import pytest

from probes.errors import BadInputError
from probes.runtimes import complaints
from probes.runtimes.command import RuntimeCommand

CGROUPS_V1 = (
    'time="2026-01-01T00:00:00Z" level=warning msg="Using cgroups-v1 which is deprecated in favor'
    ' of cgroups-v2 with Podman v5 and will be removed in a future version"'
)
SECCOMP = "it refuses the seccomp profile"
CONTROL_GROUPS = "it has trouble with control groups, which depends on this machine's set-up"
NETWORK = "it cannot give the container its network"
IMAGE = "there is no such image"
OPTION = "it does not know an option"
NONE = ""

MEANT = {
    "a warning about something else": (
        SECCOMP,
        (
            f"{CGROUPS_V1}\nError: OCI runtime error: unable to start container: crun: seccomp"
            " get action `SCMP_ACT_NONSENSE`"
        ),
    ),
    "a warning about something else, and an error that is not known": (
        NONE,
        f"{CGROUPS_V1}\nError: something quite new",
    ),
    "logrus on a terminal": (NONE, "WARN[0000] seccomp is not enabled\nFATA[0001] no room left"),
    "logrus in JSON": (
        NONE,
        '{"level":"warning","msg":"no cgroup"}\n{"level":"error","msg":"no room left"}',
    ),
    "docker's own warning": (
        NONE,
        "WARNING: Your kernel does not support cgroup swap limit\nError response from daemon: no",
    ),
    "a note before the error": (
        NONE,
        "Using the seccomp profile of the image\nError: no space left on device",
    ),
    "the inmost reason, seccomp": (
        SECCOMP,
        (
            "Error response from daemon: failed to create task: cgroups are set up: runc:"
            " unable to start container process: unable to init seccomp: error loading filter"
            " into kernel: invalid argument: unknown"
        ),
    ),
    "the inmost reason, control groups": (
        CONTROL_GROUPS,
        (
            "docker: Error response from daemon: OCI create failed: seccomp is on: unable to"
            ' apply cgroup configuration: mkdir "/sys/fs/cgroup/pids/x": read-only file system.'
        ),
    ),
    "a kernel's path means what it says": (
        CONTROL_GROUPS,
        "Error: crun: creating `/sys/fs/cgroup/devices/x`: Permission denied",
    ),
    "an image with such a name": (NONE, "Error: short-name resolution of cgroup-tools is enforced"),
    "a file with such a name": (NONE, "Error: stat /home/me/seccomp/p.json: no such file"),
    "a bundle with such a name": (NONE, "container_linux.go: /srv/cgroup/rootfs: no such file"),
    "a program with such a name": (
        NONE,
        'Error: exec: "/opt/seccomp/run": stat /opt/seccomp/run: no such file or directory',
    ),
    "an unknown option with such a name": (OPTION, "unknown flag: --seccomp-policy\nSee 'docker'"),
    "runc's way to say so": (OPTION, "flag provided but not defined: -cgroup-manager"),
    "no such image, with such a name": (
        IMAGE,
        (
            "Unable to find image 'seccomp:1' locally\ndocker: Error response from daemon: pull"
            " access denied for seccomp, repository does not exist or may require 'docker login'."
        ),
    ),
    "a network for nobody": (
        NETWORK,
        (
            "Error: cannot set up network: setting up rootless netns: could not find slirp4netns,"
            ' the network namespace can\'t be configured: exec: "slirp4netns": not found'
        ),
    ),
    "a network that is not there": (
        NETWORK,
        "Error: unable to find network with name or ID web: network not found",
    ),
    "a limit": (
        "it may not set a resource limit",
        "Error: crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied",
    ),
}

COMMAND = (
    *("podman", "create", "--volume=/home/me/cgroup:/data", "--label", "seccomp=cgroup"),
    *("--security-opt", "seccomp=/home/me/seccomp.json", "localhost/cgroup-tools:1"),
)


@pytest.mark.parametrize(("meant", "said"), MEANT.values(), ids=MEANT)
def test_what_an_error_means(meant: str, said: str) -> None:
    lines = complaints.errors(said.encode())
    found = complaints.cause(lines, COMMAND)
    assert found.startswith(meant)
    assert bool(found) == bool(meant)


def test_warnings_are_none_of_its_words() -> None:
    program = RuntimeCommand(
        "podman", ("sh", "-c", f"echo '{CGROUPS_V1}' >&2; echo no >&2; exit 125")
    )
    with pytest.raises(BadInputError) as caught:
        program.run("create")
    assert str(caught.value).endswith(" create: its own words: no")


def test_an_error_on_standard_output_counts_beside_a_warning() -> None:
    words = ("sh", "-c", f"echo '{CGROUPS_V1}' >&2; echo 'Error: seccomp: no'; exit 125")
    with pytest.raises(BadInputError, match=f"{SECCOMP}; its own words: Error: seccomp: no"):
        RuntimeCommand("podman", words).run("create")


def test_a_word_of_the_user_s_names_no_reason() -> None:
    program = RuntimeCommand(
        "docker", ("sh", "-c", 'echo "Error: $3: nothing here" >&2; exit 1', "x")
    )
    with pytest.raises(BadInputError) as caught:
        program.run("create", "--name", "my-seccomp-and-cgroup")
    assert " create: its own words: Error: my-seccomp-and-cgroup" in str(caught.value)
