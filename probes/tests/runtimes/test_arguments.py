"""The words of ``--runtime-arg``: as the runtimes read them, by their help and by what they do."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.comparison import compare
from probes.runtimes import arguments, container
from probes.runtimes.wanted import Wanted
from probes.targets import started_container as target
from probes.tests.support import machine as machines
from probes.tests.support.machine import Machine, bundle, need, private_machine, static_root
from probes.tests.support.oracles import require

starts_containers = pytest.mark.containers
of_images = pytest.mark.parametrize("runtime", ["docker", "podman"])

PROGRAM = "int main(void) { return 0; }\n"
TINY = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}],
}
OTHER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}],
}


def read(runtime: str, *words: str, seccomp: Path | None = None) -> arguments.Arguments:
    return arguments.read(runtime, words, seccomp)


# As their help has it.


def helped(*command: str) -> str:
    require(command[0], command[0])
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return ended.stdout + ended.stderr


@starts_containers
@of_images
def test_the_options_that_take_no_value(runtime: str) -> None:
    """By the types that pflag shows behind an option's name, and the letters before it."""
    need(runtime)
    grammar = arguments._GRAMMARS[runtime]
    lines = helped(runtime, "create", "--help") + helped(runtime, "run", "--help")
    found = re.findall(r"^ +(?:-(\w), )?--([\w-]+)( \S+)?(?: {2,}|$)", lines, re.MULTILINE)
    assert len(found) > 150
    wrong = [name for _, name, kind in found if bool(kind) == (name in grammar.flags)]
    assert wrong == []
    letters = {letter: name for letter, name, _ in found if letter}
    assert letters.items() <= grammar.letters.items()


@starts_containers
def test_the_values_that_bwrap_takes() -> None:
    grammar = arguments._GRAMMARS["bwrap"]
    found = re.findall(
        r"^ +--([\w-]+)((?: [A-Z][A-Z0-9]*)*) {2,}", helped("bwrap", "--help"), re.MULTILINE
    )
    assert len(found) > 40
    for name, values in found:
        count = len(values.split())
        assert (count == 0) == (name in grammar.flags), name
        assert count == 0 or grammar.counts[name] == count, name


@starts_containers
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_options_of_bundles(runtime: str) -> None:
    grammar = arguments._GRAMMARS[runtime]
    for command, one in [("create", grammar), ("run", arguments._OBSERVED[runtime])]:
        said = helped(runtime, command, "--help")
        found = re.findall(r"--([\w-]+)([ =](?:value|[A-Z]+)\b)?", said.partition("OPTION")[2])
        known = {(name, bool(value)) for name, value in found}
        assert ("bundle", True) in known
        wrong = [name for name, value in known if value == (name in one.flags)]
        assert wrong == [], command


# Which are left out, which stay, which are refused.

LEFT_OUT = [
    ("docker", "--name web1"),
    ("docker", "--name=web1"),
    ("docker", "--entrypoint /calls"),
    ("docker", "--restart always --rm=false"),
    ("docker", "-d -it --detach-keys x --sig-proxy=false"),
    ("docker", "-itd"),
    ("docker", "-p 80:80 -P --publish 1:2 -p=3:4 -p5:6"),
    ("docker", "--cidfile /run/web1.cid"),
    ("docker", "--health-cmd true --health-retries=3 --no-healthcheck"),
    ("docker", "--dns 10.0.0.1 --ip 10.0.0.2 --link db --network-alias web"),
    ("podman", "--replace --name web1 --rmi --pidfile /x --conmon-pidfile /y"),
    ("runc", "--pid-file /x"),
    ("runc", "-pid-file=/x"),
    ("crun", "--pid=/x"),
]


@pytest.mark.parametrize(("runtime", "words"), LEFT_OUT)
def test_what_changes_no_filter_is_left_out(runtime: str, words: str) -> None:
    given = read(runtime, "--no-pivot", *words.split()) if runtime in {"runc", "crun"} else None
    made = given or read(runtime, "--cap-add=SYS_BOOT", *words.split(), "--label", "--name=x")
    kept = ("--no-pivot",) if given else ("--cap-add=SYS_BOOT", "--label")
    # A value that looks like an option is none of --label's, as far as anyone can tell.
    assert made.words == kept


OBSERVED = [
    (
        "docker",
        "-p 80:80 --dns 10.0.0.1 --name web1 --entrypoint /calls",
        "-p 80:80 --dns 10.0.0.1",
    ),
    ("podman", "-P --network-alias web --rm -it", "-P --network-alias web"),
    ("runc", "--keep -d --no-pivot", "--no-pivot"),
    ("crun", "--det --pid=/x --no-pivot", "--no-pivot"),
]


@pytest.mark.parametrize(("runtime", "words", "kept"), OBSERVED)
def test_a_workload_keeps_what_it_works_with(runtime: str, words: str, kept: str) -> None:
    made = arguments.read_observed(runtime, words.split(), None)
    assert made.words == tuple(kept.split())


def test_the_program_of_a_workload_is_read() -> None:
    made = arguments.read_observed("docker", ["--entrypoint", "/a", "--entrypoint=/b"], None)
    assert made.words == ()
    assert made.values(arguments.ENTRYPOINT) == ("/a", "/b")


KEPT = [
    ("docker", "--network host --dns 10.0.0.1"),
    ("docker", "--net=host --ip6 x"),
    ("docker", "--read-only --tmpfs /tmp:rw,noexec -v /a:/b:ro -e A=--name --user 1000"),
    ("docker", "--cpu-shares -1 --memory-swap -1"),
    ("docker", "--security-opt no-new-privileges --security-opt seccomp=x.json --privileged"),
    ("docker", "-ufoo -e=A=B --init"),
    ("podman", "--read-only-tmpfs=false --pod web --uidmap 0:1:2"),
    ("runc", "--no-new-keyring"),
    ("crun", "--no-subreaper"),
    ("bwrap", "--setenv A B --ro-bind /x /y --tmpfs /run --uid 0 --bind / /mnt --chdir /"),
    ("bwrap", "--an-option-of-tomorrow a b --unshare-pid"),
]


@pytest.mark.parametrize(("runtime", "words"), KEPT)
def test_the_rest_is_the_runtimes(runtime: str, words: str) -> None:
    assert read(runtime, *words.split()).words == tuple(words.split())


REFUSED = [
    ("docker", ["alpine"], "this word is no option"),
    ("docker", ["-v", "/a:/b", "alpine"], "--runtime-arg alpine: this word is no option"),
    ("docker", ["--read-only", "alpine"], "--runtime-arg alpine: this word is no option"),
    ("docker", ["--"], "this word is no option"),
    ("docker", ["--name web1"], "an option and its value by a --runtime-arg each"),
    ("docker", ["-v /a:/b"], "an option and its value by a --runtime-arg each"),
    ("docker", ["--help"], "it only asks the runtime for words"),
    ("podman", ["--rootfs"], "then there is no image"),
    ("podman", ["--pod", "new:x"], "the pod that it makes would be left behind"),
    ("runc", ["--bundle", "/x"], "the bundle is what stands in the target"),
    ("runc", ["-bundle=/x"], "the bundle is what stands in the target"),
    ("runc", ["-b", "/x"], "the bundle is what stands in the target"),
    ("crun", ["--bun=/x"], "the bundle is what stands in the target"),
    ("crun", ["-b/x"], "the bundle is what stands in the target"),
    ("crun", ["-f", "other.json"], "the configuration is the bundle's config.json"),
    ("crun", ["web1"], "this word is no option"),
    ("runc", ["--preserve-fds", "3"], "no descriptors are handed on"),
    ("bwrap", ["--seccomp", "9"], "give the program by --seccomp=FILE"),
    ("bwrap", ["--add-seccomp-fd", "9"], "give the program by --seccomp=FILE"),
    ("bwrap", ["--args", "3"], "no descriptors are handed on to bwrap"),
    ("bwrap", ["--ro-bind", "/", "/"], "it would cover what the suite puts into the sandbox"),
    ("bwrap", ["--tmpfs", "//."], "it would cover what the suite puts into the sandbox"),
    ("bwrap", ["--unshare-pid", "/bin/sh"], "--runtime-arg /bin/sh: this word is no option"),
    ("bwrap", ["--setenv", "A"], "a value is missing behind it"),
]


@pytest.mark.parametrize(("runtime", "words", "why"), REFUSED)
def test_what_would_be_another_container_is_refused(
    runtime: str, words: Sequence[str], why: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        read(runtime, *words)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


TWO = [
    ("--security-opt=seccomp=a", "--security-opt", "seccomp=b"),
    ("--security-opt=seccomp:unconfined", "--security-opt=seccomp=b"),
    ("--seccomp-policy=image", "--security-opt=seccomp=b"),
]


@pytest.mark.parametrize("words", TWO)
@of_images
def test_two_profiles_are_refused(runtime: str, words: Sequence[str]) -> None:
    for given, seccomp in ((words, None), (words[:1], Path("c"))):
        with pytest.raises(BadInputError, match="2 seccomp profiles are given"):
            read(runtime, *given, seccomp=seccomp)


# On real runtimes.


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static_root(tmp_path_factory.mktemp("scratch"), PROGRAM)


FROM_PRODUCTION = {
    "read-only": ["--read-only"],
    "read-only, with a tmpfs": ["--read-only", "--tmpfs", "/run"],
    "host's network": ["--network=host"],
    "restart": ["--restart=always"],
    "entrypoint": ["--entrypoint=/program"],
    "entrypoint in two words": ["--entrypoint", "/program"],
    "name": ["--name=web1"],
    "all at once": [
        *("-itd", "--restart", "unless-stopped", "--name", "web1", "--read-only", "--rm"),
        *("-p", "80:80", "--health-cmd", "true", "--dns", "10.0.0.1", "--user", "1000:1000"),
    ],
    "host's processes": ["--pid=host"],
}


def same(one: Sequence[bytes], other: Sequence[bytes]) -> bool:
    """Whether two stacks do the same about every call: runc orders a program anew every time."""
    left, right = ([bpf.from_bytes(raw) for raw in stack] for stack in (one, other))
    return bool(left) and not compare(left, right).differing


def names(machine: Machine, runtime: str) -> list[str]:
    listed = machine.run(runtime, "container", "ls", "--all", "--format", "{{.Names}}")
    return listed.split()


@starts_containers
@of_images
def test_options_from_production(runtime: str, machine: Machine, root: Path) -> None:
    """All are of the same container, beside a user's own that has the very name."""
    bare = machine.wanted(runtime, root)
    usual = container.hold(bare)
    users = (*bare.arguments, "--network", "none", "--name", "web1", bare.subject, "/program")
    machine.run(runtime, "create", *users)
    try:
        before = machine.run(runtime, "volume", "ls", "--quiet")
        for words in FROM_PRODUCTION.values():
            held = container.hold(replace(bare, arguments=(*bare.arguments, *words)))
            assert same(held.first, usual.first), words
            assert same(held.executed or (), usual.executed or ()), words
            assert held.digest == usual.digest
            assert names(machine, runtime) == ["web1"], words
        assert machine.run(runtime, "volume", "ls", "--quiet") == before
    finally:
        machine.run(runtime, "rm", "--force", "web1")


VOLUMES = [
    ("--volume", "/a:/b", ()),
    ("--volume", "/b", ()),
    ("--volume", "./a:/b", ()),
    ("-v", "data:/b:ro", ("data",)),
    ("--mount", "type=bind,source=/a,target=/b", ()),
    ("--mount", "type=tmpfs,target=/b", ()),
    ("--mount", "type=volume,src=data,dst=/b", ("data",)),
    ("--mount", "source=data,target=/b", ("data",)),
    ("--mount", "type=volume,target=/b", ()),
]


@pytest.mark.parametrize(("option", "value", "names"), VOLUMES)
def test_which_volumes_are_named(option: str, value: str, names: tuple[str, ...]) -> None:
    assert read("docker", option, value).volumes == names


@starts_containers
@of_images
def test_no_volume_is_made(runtime: str, machine: Machine, root: Path) -> None:
    bare = machine.wanted(runtime, root)
    wanted = replace(bare, arguments=(*bare.arguments, "-v", "data:/data"))
    with pytest.raises(BadInputError, match="there is no volume data, and it would be left behind"):
        container.hold(wanted)
    assert machine.run(runtime, "volume", "ls", "--quiet") == ""
    machine.run(runtime, "volume", "create", "data")
    assert container.hold(wanted).first
    assert machine.run(runtime, "volume", "ls", "--quiet") == "data"
    machine.run(runtime, "volume", "rm", "data")


WITHOUT_AN_ID = """\
#!/bin/sh
# A runtime that is interrupted when it has made a container: nobody learns the id.
if [ "$1" = create ]; then {runtime} "$@" >/dev/null; exit 1; fi
exec {runtime} "$@"
"""


@starts_containers
@of_images
def test_a_container_whose_id_nobody_learned(
    runtime: str, machine: Machine, root: Path, tmp_path: Path
) -> None:
    bare = machine.wanted(runtime, root)
    script = tmp_path / "runtime"
    script.write_text(WITHOUT_AN_ID.format(runtime=runtime))
    script.chmod(0o755)
    program = replace(bare.program, words=machine.words(str(script)))
    with pytest.raises(BadInputError):
        container.hold(replace(bare, program=program))
    assert names(machine, runtime) == []


@starts_containers
@of_images
def test_a_word_that_is_taken_for_the_image(runtime: str, machine: Machine, root: Path) -> None:
    """Behind an option that the suite does not know to have no value: both can be told apart."""
    bare = machine.wanted(runtime, root)
    grammar = arguments._GRAMMARS[runtime]
    changed = replace(grammar, flags=grammar.flags - {"init", "privileged", "oom-kill-disable"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(arguments), "_GRAMMARS", {runtime: changed})
        words = (*bare.arguments, "--oom-kill-disable", bare.subject)
        with pytest.raises(BadInputError, match="for a word of the container's program: check"):
            container.hold(replace(bare, arguments=words))
    assert names(machine, runtime) == []


# The profile that was in force.


def described(wanted: Wanted) -> str:
    return target.load(wanted).description.rpartition(" with ")[2]


def answers(wanted: Wanted, number: int) -> str:
    """What its filter does about a call on x86_64, beside getpid (39)."""
    (program,) = target.load(wanted).programs
    asked, usual = (bpf.simulate(program, bpf.SeccompData(one, 0xC000003E)) for one in (number, 39))
    return "let" if asked == usual else "refused"


@starts_containers
@of_images
def test_the_profile_that_is_named(runtime: str, machine: Machine, root: Path) -> None:
    bare = machine.wanted(runtime, root)
    tiny, other = machine.file(TINY), machine.file(OTHER)

    def given(*words: str, seccomp: Path | None = None) -> Wanted:
        return replace(bare, arguments=(*bare.arguments, *words), seccomp=seccomp)

    assert described(given()) == f"{runtime}'s default profile"
    assert described(given(seccomp=tiny)) == tiny.name
    by_argument = given(f"--security-opt=seccomp={other}")
    assert described(by_argument) == other.name
    assert answers(by_argument, 321) == "refused"  # bpf
    assert answers(by_argument, 163) == "let"  # acct
    for words in (["--security-opt=seccomp=unconfined"], ["--security-opt", "seccomp=unconfined"]):
        assert described(given(*words)) == "no seccomp profile (seccomp=unconfined)"
    if runtime == "docker":
        old = given("--security-opt=seccomp:unconfined")
        assert described(old) == "no seccomp profile (seccomp=unconfined)"
    else:
        assert described(given("--privileged")) == "no seccomp profile (--privileged)"


@starts_containers
def test_a_daemon_s_own_profile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not Docker's default one."""
    need("docker")
    with private_machine() as own:
        path = own.file(OTHER)
        monkeypatch.setattr(machines, "_DOCKERD", (*machines._DOCKERD, f"--seccomp-profile={path}"))
        wanted = own.wanted("docker", root)
        assert described(wanted) == f"the docker daemon's own profile {path}"
        assert answers(wanted, 321) == "refused"
        assert answers(wanted, 163) == "let"
        assert described(replace(wanted, seccomp=own.file(TINY))) == "profile-2"


@starts_containers
def test_podman_s_profile_of_this_machine(machine: Machine, root: Path) -> None:
    """As containers.conf(5) names it."""
    need("podman")
    bare = machine.wanted("podman", root)
    path = machine.file(OTHER)
    settings = machine.run("cat", "/run/containers.conf")
    named = settings.replace("[containers]", f'[containers]\nseccomp_profile = "{path}"')
    own = machine.folder / "own.conf"
    own.write_text(named)
    words = machine.words("env", f"CONTAINERS_CONF={own}", "podman")
    wanted = replace(bare, program=replace(bare.program, words=words))
    assert described(wanted) == f"podman's own profile {path}"
    assert answers(wanted, 321) == "refused"


@starts_containers
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_profile_of_a_bundle(runtime: str, machine: Machine, root: Path) -> None:
    wanted = machine.wanted(runtime, root)
    assert described(wanted) == "no seccomp profile"
    assert described(replace(wanted, seccomp=machine.file(TINY))).startswith("profile-")
    made = bundle(Path(tempfile.mkdtemp(dir=machine.folder)), root, TINY)
    assert described(replace(wanted, subject=str(made))) == "the bundle's profile"
