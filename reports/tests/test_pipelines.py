"""What stands ready for pipelines: linted by the field's own tools, and run as pipelines do."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from probes import arch as abis
from probes.action import Profile
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.tests.support.emitter import sharing_records, wait_for
from probes.tests.support.machine import Machine, need, private_machine
from probes.tests.support.oracles import require, tool
from reports.commands import main as cli
from reports.filters import allowlist
from reports.filters.allowlist import ExportFormat, ExportRequest
from reports.tests.support import fleets
from reports.tests.support.format_oracles import STORE, stored
from reports.tests.support.job import CHECKOUT, environment

ACTION = CHECKOUT / ".github/actions/syscall-conformance/action.yml"
WORKFLOW = CHECKOUT / ".github/workflows/ci.yml"
ZIZMOR = CHECKOUT / ".github/zizmor.yml"
TEMPLATE = CHECKOUT / ".gitlab/syscall-conformance.gitlab-ci.yml"
CONTAINERFILE = CHECKOUT / ".containers/Containerfile"
JOB = CHECKOUT / ".kubernetes/job.yaml"
FLEET_JOB = CHECKOUT / ".kubernetes/fleet-job.yaml"
DAEMON_SET = CHECKOUT / ".kubernetes/daemonset.yaml"
PATIENCE_SECONDS = 300
IMAGE = "suite"

SHIPPED = policy.load(DEFAULT_POLICY, abis.all_names())
X86 = abis.offered_by("x86_64")

starts_containers = pytest.mark.containers(machine="x86_64")


# The linters.


def by_schema(schema: str, *more: str) -> Callable[[], list[str]]:
    return lambda: [tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *more]


LINTED = {
    "action": (by_schema("github-actions"), ACTION, "using: composite", "using: nonsense"),
    "workflow": (by_schema("github-workflows"), WORKFLOW, "runs-on:", "run-on:"),
    "workflow's security": (
        lambda: [tool("zizmor"), "--offline", "--quiet", f"--config={ZIZMOR}"],
        WORKFLOW,
        "sh .ci/quick",
        "sh .ci/quick ${{ github.head_ref }}",
    ),
    "action's security": (
        lambda: [tool("zizmor"), "--offline", "--quiet", f"--config={ZIZMOR}"],
        ACTION,
        "words=(gate ",
        "words=(${{ inputs.image }} gate ",
    ),
    "template": (
        by_schema("gitlab-ci", "--data-transform", "gitlab-ci"),
        TEMPLATE,
        "when: always",
        "when: nonsense",
    ),
    "containerfile": (
        lambda: [tool("hadolint")],
        CONTAINERFILE,
        "WORKDIR /opt/source\nCOPY",
        "WORKDIR relative\nCOPY",
    ),
    "job": (
        lambda: [tool("kubernetes-validate"), "--strict"],
        JOB,
        "localhostProfile:",
        "localProfile:",
    ),
    "fleet job": (
        lambda: [tool("kubernetes-validate"), "--strict"],
        FLEET_JOB,
        "maxFailedIndexes: 3",
        "maxFailedIndices: 3",
    ),
    "daemon set": (
        lambda: [tool("kubernetes-validate"), "--strict"],
        DAEMON_SET,
        "hostPID: true",
        "hostPid: true",
    ),
}


def lint(command: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, str(path)], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(("linter", "path", "right", "wrong"), LINTED.values(), ids=LINTED)
def test_the_linter_of_the_field(
    linter: Callable[[], list[str]], path: Path, right: str, wrong: str, tmp_path: Path
) -> None:
    """It finds nothing, and finds what a mutant has wrong."""
    # GitLab's schema says nothing of hidden jobs; without its dot this is one to run.
    text = path.read_text(encoding="utf-8").replace("\n.syscall-conf", "\nsyscall-conf")
    assert right in text
    # zizmor tells a workflow from an action by the folder.
    original, mutant = (
        tmp_path / name / path.parent.relative_to(CHECKOUT) / path.name
        for name in ("original", "mutant")
    )
    for copy in (original, mutant):
        copy.parent.mkdir(parents=True)
    original.write_text(text, encoding="utf-8")
    mutant.write_text(text.replace(right, wrong), encoding="utf-8")

    ended = lint(linter(), original)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert lint(linter(), mutant).returncode != 0


@pytest.mark.parametrize("path", [JOB, FLEET_JOB], ids=lambda path: path.stem)
def test_a_job_has_a_kind_of_profile_that_kubernetes_knows(path: Path) -> None:
    """The linter takes any word for it; see findings/kubernetes-validate-seccomp-type.sh."""
    profile = _pod(path)["securityContext"]["seccompProfile"]
    assert profile["type"] == "Localhost"
    assert not Path(profile["localhostProfile"]).is_absolute()


def test_what_kubernetes_hides_from_the_suite_is_hidden_by_neither() -> None:
    """Whoever is confined is shown no filters, and in a pid namespace there are no others."""
    pod = _pod(DAEMON_SET)
    assert pod["hostPID"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "Unconfined"}
    assert _container(DAEMON_SET)["securityContext"]["privileged"]


def test_the_job_for_every_node_is_the_job_in_all_else() -> None:
    """What is judged, and how the pod is confined."""
    one, every = _container(JOB), _container(FLEET_JOB)
    assert one["securityContext"] == every["securityContext"]
    assert _pod(JOB)["securityContext"] == _pod(FLEET_JOB)["securityContext"]
    known = ("--report-dir=", "--node-name=")
    assert [word for word in one["args"] if not word.startswith(known)] == [
        word for word in every["args"] if not word.startswith(known)
    ]


@pytest.mark.parametrize("path", [FLEET_JOB, DAEMON_SET], ids=lambda path: path.stem)
def test_pods_are_counted_and_found_by_one_label(path: Path) -> None:
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    labels = spec["template"]["metadata"]["labels"]
    spread = [one["labelSelector"] for one in _pod(path).get("topologySpreadConstraints", [])]
    assert all(one["matchLabels"] == labels for one in [*spread, spec.get("selector")] if one)
    (value,) = labels.values()
    assert value in (path.parent / "README.md").read_text(encoding="utf-8")


def test_the_job_for_every_node_goes_on_after_a_node_that_fails() -> None:
    spec = yaml.safe_load(FLEET_JOB.read_text(encoding="utf-8"))["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == spec["maxFailedIndexes"]
    assert spec["backoffLimitPerIndex"] == 0
    assert "backoffLimit" not in spec


def example(folder: Path) -> str:
    """The worked example in a folder's page."""
    found = re.findall(r"```yaml\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_worked_example_of_a_workflow(tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(example(ACTION.parent), encoding="utf-8")
    assert lint(by_schema("github-workflows")(), path).returncode == 0
    jobs: Mapping[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    (step,) = (one for job in jobs.values() for one in job["steps"] if "with" in one)
    inputs = yaml.safe_load(ACTION.read_text())["inputs"]
    assert set(step["with"]) <= set(inputs)
    assert {name for name, one in inputs.items() if one.get("required")} <= set(step["with"])


def test_the_worked_example_of_a_job(tmp_path: Path) -> None:
    path = tmp_path / ".gitlab-ci.yml"
    path.write_text(example(TEMPLATE.parent), encoding="utf-8")
    ended = lint(by_schema("gitlab-ci", "--data-transform", "gitlab-ci")(), path)
    assert ended.returncode == 0, ended.stdout
    used, template = yaml.safe_load(path.read_text()), yaml.safe_load(TEMPLATE.read_text())
    assert used["seccomp"]["extends"] in template
    assert set(used["seccomp"]["variables"]) <= set(template["variables"])


def every_step() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    return found


def steps() -> list[dict[str, Any]]:
    """The steps of the action that run a script: naming, installing, the gate."""
    return [step for step in every_step() if "run" in step]


def test_no_input_is_pasted_into_a_script() -> None:
    """What a pull request may choose must not become words of a shell."""
    assert len(steps()) == 3
    assert all("${{" not in step["run"] for step in steps())


def test_the_action_names_others_by_commit() -> None:
    """A tag can be moved by whoever holds the other repository; the comment names the release."""
    used = [line for line in ACTION.read_text().splitlines() if " uses: " in line]
    assert len(used) == len(every_step()) - len(steps()) == 3
    for line in used:
        assert re.search(r" uses: [a-z-]+(/[a-z-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_the_reports_are_kept_and_told_whatever_the_gate_says() -> None:
    """The gate's own status ends the job; what could not be uploaded does not."""
    kept, told = (step for step in every_step() if "always()" in step.get("if", ""))
    assert kept["uses"].startswith("actions/upload-artifact@")
    assert told["uses"].startswith("github/codeql-action/upload-sarif@")
    assert told["continue-on-error"] is True
    assert kept["with"]["name"] == told["with"]["category"] == "${{ steps.names.outputs.artifact }}"


def named(tmp_path: Path, **changed: str) -> dict[str, str]:
    """The outputs of the step that names the artifact."""
    output = tmp_path / "names"
    output.unlink(missing_ok=True)
    settings = dict.fromkeys(steps()[0]["env"], "x") | {"SUBJECT": "docker-kill-app:1"}
    settings |= {"GITHUB_OUTPUT": str(output), "SUITE": str(CHECKOUT)} | changed
    status, said = script(["bash", "-c", steps()[0]["run"]], tmp_path, settings)
    assert (status, said) == (0, "")
    return dict(line.split("=", 1) for line in output.read_text().splitlines())


def test_jobs_of_a_matrix_have_artifacts_of_their_own(tmp_path: Path) -> None:
    """Whatever differs between them; and no name has what artifacts must not have."""
    changes: list[dict[str, str]] = [
        {},
        {"SUBJECT": "docker-kill-app:2"},
        {"SUBJECT": "docker-kill-app/2"},
        {"SUBJECT": "podman-errno-\N{LATIN SMALL LETTER E WITH ACUTE} \n$(id)" + "x" * 200},
        {"SECCOMP": "deploy/other.json"},
        {"ARGUMENTS": "--arch=i386"},
        {"SECCOMP": "x\nx", "WAIVERS": ""},
        {"JOB": "1 Linux X64"},
        {"JOB": "0 Linux ARM64"},
    ]
    found = [named(tmp_path, **change)["artifact"] for change in changes]
    assert len(set(found)) == len(found)
    assert found[0] == named(tmp_path)["artifact"]
    assert all(re.fullmatch(r"syscall-conformance-[A-Za-z0-9._-]{1,120}", name) for name in found)


def test_the_cache_is_another_one_for_other_packages(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]")
    other = named(tmp_path, SUITE=str(tmp_path))["packages"]
    ours = named(tmp_path)["packages"]
    assert re.fullmatch("[0-9a-f]{12}", ours)
    assert ours != other
    assert ours == named(tmp_path, SUBJECT="other")["packages"]


def test_the_scripts_as_shellcheck_reads_them(tmp_path: Path) -> None:
    checker = require("shellcheck", "shellcheck")
    template = yaml.safe_load(TEMPLATE.read_text())[".syscall-conformance"]
    scripts = [("bash", step["run"]) for step in steps()]
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    scripts += [("bash", step["run"]) for job in jobs for step in job["steps"] if "run" in step]
    scripts.append(("sh", "\n".join([*template["before_script"], *template["script"]])))
    for shell, text in scripts:
        path = tmp_path / "script"
        path.write_text(text)
        ended = lint([checker, f"--shell={shell}"], path)
        assert ended.returncode == 0, ended.stdout


# As a pipeline runs them.


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("bwrap")
    return tmp_path_factory.mktemp("empty")


def exported(folder: Path, profile: Profile) -> Path:
    made = allowlist.export(ExportRequest(SHIPPED, profile, tuple(X86)), ExportFormat.BPF)
    assert isinstance(made, bytes)
    path = folder / "program.bpf"
    path.write_bytes(made)
    return path


def script(words: list[str], cwd: Path, settings: Mapping[str, str]) -> tuple[int, str]:
    with sharing_records():
        ended = subprocess.run(
            words,
            cwd=cwd,
            env={**environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runner's temporary folder, in which the action has installed the suite: not editable."""
    folder = tmp_path_factory.mktemp("runner")
    settings = {"RUNNER_TEMP": str(folder), "SUITE": str(CHECKOUT)}
    status, said = script(["bash", "-c", steps()[1]["run"]], folder, settings)
    assert status == 0, said
    return folder


@starts_containers
@pytest.mark.parametrize(("profile", "status"), [(Profile.KILL, 0), (Profile.ERRNO, 1)])
def test_the_action(
    profile: Profile, status: int, runner: Path, root: Path, tmp_path: Path
) -> None:
    """With a filter for kill; a line of the summary, the output and the reports say the same."""
    exported(tmp_path, Profile.KILL)
    step = gated(tmp_path, runner, IMAGE=str(root), PROFILE=profile.value)

    assert step.status == status, step.said
    assert step.outputs == {"status": str(status), "sarif": "made reports/results.sarif"}
    verdict = "PASS" if status == 0 else "FAIL"
    assert f"\n    {verdict} (exit status {status}): " in step.summary
    assert "standard error:\n\n    judging bwrap:" in step.summary
    record = json.loads((tmp_path / "made reports/results.json").read_text())
    assert record["summary"]["verdict"] == verdict
    # What the runner shows at the file: what is said between the two marks, it does not read.
    told = outside_of_marks(step.said)
    assert [line for line in told if line.startswith("::error ")] == [
        line for line in told if ",file=program.bpf::" in line
    ]
    assert any(",file=program.bpf::" in line for line in told) == (status == 1)
    (run,) = json.loads((tmp_path / step.outputs["sarif"]).read_text())["runs"]
    places = {_uri(one["locations"][0]) for one in run["results"]}
    assert places == ({"program.bpf"} if status == 1 else set())


def _uri(location: Mapping[str, Any]) -> str:
    uri: str = location["physicalLocation"]["artifactLocation"]["uri"]
    return uri


@starts_containers
def test_the_action_where_nothing_is_assessed(runner: Path, root: Path, tmp_path: Path) -> None:
    """An earlier record says nothing; the reason and the words of others are in the summary."""
    exported(tmp_path, Profile.KILL)
    (tmp_path / "made reports").mkdir()
    (tmp_path / "made reports/results.json").write_text("{}")
    wrong = "::error::```\n--no-such=\n::set-env name=A::b"

    step = gated(tmp_path, runner, IMAGE=str(root), PROFILE="kill", ARGUMENTS=wrong)

    assert step.status == 4
    assert step.outputs == {"status": "4"}
    (told,) = (line for line in outside_of_marks(step.said) if line.startswith("::"))
    assert told.startswith(
        "::error title=syscall-conformance::Nothing was assessed (exit status 4)"
    )
    lines = step.summary.splitlines()
    ours = {*lines[:1], "", "standard error:"}
    assert all(line.startswith("    ") or line in ours for line in lines)
    assert "standard error:" in lines


@dataclass(frozen=True, slots=True)
class _Step:
    """What the action's gate did.

    Attributes:
        status: its exit status.
        said: what it printed.
        outputs: the outputs of the step.
        summary: what it added to the job's summary.
    """

    status: int
    said: str
    outputs: Mapping[str, str]
    summary: str


def gated(folder: Path, runner: Path, **settings: str) -> _Step:
    """Runs the step of the gate as a runner does, from the root of a checkout."""
    gate = steps()[2]
    names = {"GITHUB_OUTPUT": folder / "output", "GITHUB_STEP_SUMMARY": folder / "summary"}
    chosen = dict.fromkeys(gate["env"], "") | {name: str(path) for name, path in names.items()}
    chosen |= {"RUNNER_TEMP": str(runner), "RUNTIME": "bwrap", "REPORTS": "made reports"}
    chosen |= {"SECCOMP": "program.bpf", "ARGUMENTS": "--arch=x86_64\n-n1\n"} | settings
    status, said = script(["bash", "-c", gate["run"]], folder, chosen)
    output, summary = (path.read_text() for path in names.values())
    return _Step(status, said, dict(line.split("=", 1) for line in output.splitlines()), summary)


def outside_of_marks(said: str) -> list[str]:
    """The lines in which a runner looks for commands, without those two that stop and start it."""
    before, token, rest = re.split(r"^::stop-commands::([0-9a-f]{32})$", said, flags=re.MULTILINE)
    _, _, after = rest.partition(f"\n::{token}::\n")
    return [*before.splitlines(), *after.splitlines()]


@starts_containers
@pytest.mark.parametrize(("profile", "status"), [(Profile.ERRNO, 0), (Profile.KILL, 1)])
def test_the_template(profile: Profile, status: int, runner: Path, tmp_path: Path) -> None:
    """Included and extended as a project does; the reports that GitLab reads are where it says."""
    require("rsync", "rsync")
    program = stored(STORE / "node_modules/.bin/gitlab-ci-local")
    folder = project(tmp_path / "project", profile, runner)

    ended, said = script(
        [str(program), "--no-color", "--artifacts-to-source", JOB_NAME], folder, {}
    )

    assert ended == status, said
    assert f" {'PASS' if status == 0 else 'FAIL'} (exit status {status}): " in said
    template = yaml.safe_load(TEMPLATE.read_text())
    artifacts = template[".syscall-conformance"]["artifacts"]
    assert artifacts["paths"] == ["$SYSCALL_CONFORMANCE_REPORTS"]
    reports = template["variables"]["SYSCALL_CONFORMANCE_REPORTS"]
    found = {
        name: folder / path.replace("$SYSCALL_CONFORMANCE_REPORTS", reports)
        for name, path in artifacts["reports"].items()
    }
    assert set(found) == {"junit", "codequality"}
    assert all(path.is_file() for path in found.values())
    issues = json.loads(found["codequality"].read_text())
    places = {one["location"]["path"] for one in issues}
    assert places == ({"program.bpf"} if status else set())


JOB_NAME = "seccomp"


def project(folder: Path, profile: Profile, runner: Path) -> Path:
    """A repository with a job that judges a sandbox by the template, whose own tools are here."""
    (folder / "root").mkdir(parents=True)
    (folder / "root/file").touch()  # git keeps no empty folders
    exported(folder, profile)
    text = TEMPLATE.read_text(encoding="utf-8")
    assert text.count("\n  image: ") == 1
    text = re.sub(r"\n  image: .*", "", text)  # by this machine's shell, then
    text = text.replace("/opt/syscall-conformance/bin/", f"{runner}/syscall-conformance/bin/")
    (folder / TEMPLATE.name).write_text(text, encoding="utf-8")
    variables = {
        "SYSCALL_CONFORMANCE_IMAGE": "root",
        "SYSCALL_CONFORMANCE_RUNTIME": "bwrap",
        "SYSCALL_CONFORMANCE_SECCOMP": "program.bpf",
        "SYSCALL_CONFORMANCE_ARGUMENTS": "--arch=x86_64 -n1",
    }
    job = {"extends": ".syscall-conformance", "before_script": [], "variables": variables}
    pipeline = {"include": [{"local": TEMPLATE.name}], JOB_NAME: job}
    (folder / ".gitlab-ci.yml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["remote", "add", "origin", "git@example.org:group/project.git"],
        ["add", "--all"],
        ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "A"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True, timeout=PATIENCE_SECONDS)
    return folder


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with private_machine() as made:
        yield made


@pytest.fixture(scope="module")
def image(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The suite's image, built on a base without a shell, from wheels."""
    need("podman")
    place = tmp_path_factory.mktemp("image")
    base, wheels = place / "base", place / "wheels"
    maker = require("mmdebstrap", "mmdebstrap")
    include = "--include=python3,python3-venv"
    words = [maker, "--quiet", "--variant=extract", include, "bookworm", str(base)]
    subprocess.run(words, check=True, timeout=PATIENCE_SECONDS)
    _download(wheels)
    machine.run(
        *("podman", "build", *_ours(machine), "--isolation=chroot", "-f", str(CONTAINERFILE)),
        *("--build-arg", f"BASE=localhost/{machine.subject('podman', base)}"),
        *("--volume", f"{wheels}:/wheels:ro", "--build-arg", "PIP_NO_INDEX=1"),
        *("--build-arg", "PIP_FIND_LINKS=/wheels", "-t", IMAGE, str(CHECKOUT)),
        seconds=PATIENCE_SECONDS,
    )


def _ours(machine: Machine) -> tuple[str, ...]:
    return ("--cgroup-parent", f"/{machine.name}")


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a container said of its own confinement.

    Attributes:
        record: its ``results.json``.
        status: pytest's exit status.
        said: what it printed.
    """

    record: dict[str, Any]
    status: int
    said: str

    def outcomes(self, claim: str) -> set[str]:
        """Those of a claim's cells."""
        return {cell["outcome"] for cell in self.record["cells"] if cell["claim"] == claim}

    @property
    def failed(self) -> set[str]:
        """The claims with cells that failed."""
        return {cell["claim"] for cell in self.record["cells"] if cell["outcome"] == "failed"}


def _judged(
    machine: Machine,
    profile: Profile,
    arguments: Sequence[str],
    *,
    by: Sequence[str] = (),
    options: Sequence[str] = (),
) -> _Judged:
    """Runs the suite in its image under the exported profile, confined as the Job confines it."""
    wanted = ExportRequest(SHIPPED, profile, tuple(X86))
    seccomp = machine.file(json.loads(allowlist.oci_json(wanted)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        out.chmod(0o777)
        ended = subprocess.run(
            [
                *by,
                *machine.words(
                    *("podman", "run", "--rm", "--network=none", *options, *_ours(machine)),
                    *(*_as_confined(seccomp), f"--volume={out}:/reports", "--tmpfs=/tmp"),
                    *(IMAGE, *arguments),
                ),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        found = out / "results.json"
        assert found.exists(), ended.stdout + ended.stderr
        return _Judged(json.loads(found.read_text()), ended.returncode, ended.stdout)


@starts_containers
@pytest.mark.usefixtures("image")
def test_the_image_and_the_job(machine: Machine) -> None:
    told = _judged(machine, Profile.ERRNO, _container()["args"])

    assert told.outcomes("denies") == {"passed", "not_applicable"}
    # The profile is right; this libseccomp may be too old to let the newest calls through.
    assert told.failed <= {"leaves the rest alone"}, told.said
    assert told.status == (1 if told.failed else 0)
    (here,) = told.record["environments"]
    assert here["uid"] == 65532
    assert here["no_new_privs"]
    assert int(here["capabilities"], 16) == 0
    listed = machine.run(
        *("podman", "run", "--rm", "--network=none", *_ours(machine), IMAGE, "--help")
    )
    assert listed.startswith("usage: syscall-conformance run ")


@starts_containers
@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("profile", "claim"), [(Profile.KILL, "is reported"), (Profile.LOG, "is recorded")]
)
def test_records_reach_the_suite_in_a_container(
    machine: Machine, profile: Profile, claim: str
) -> None:
    """By the descriptor that root on the host hands on; in the container there is no root."""
    command = "import sys; from syscall_conformance.__main__ import main; sys.exit(main())"
    by = (sys.executable, "-c", command, "with-audit", "--")
    selected = f"-kcontrols or {claim.replace(' ', '_')}"
    arguments = ["--target=ambient", f"--profile={profile}", "--audit-fd=3", "--arch=x86_64"]
    arguments += [selected, "--report-dir=/reports"]

    with sharing_records():
        told = _judged(machine, profile, arguments, by=by, options=("--preserve-fds=1",))

    assert told.outcomes(claim) == {"passed"}, told.said
    assert told.outcomes("controls") == {"passed"}
    assert told.status == 0


def _pod(path: Path) -> dict[str, Any]:
    """The pod of a Job or a DaemonSet."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())["spec"]["template"]["spec"]
    return found


def _container(path: Path = JOB) -> dict[str, Any]:
    (container,) = _pod(path)["containers"]
    found: dict[str, Any] = container
    return found


def _expanded(container: Mapping[str, Any], key: str, values: Mapping[str, str]) -> list[str]:
    """Words of a container's with its variables in their places, as the kubelet puts them.

    Args:
        container: the container.
        key: ``command`` or ``args``.
        values: what the downward API gives, by the path of the field.
    """
    known = {
        one["name"]: values[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container["env"]
    }
    return [re.sub(r"\$\((\w+)\)", lambda named: known[named[1]], word) for word in container[key]]


@starts_containers
@pytest.mark.slow
@pytest.mark.usefixtures("image")
def test_the_job_for_every_node(machine: Machine, tmp_path: Path) -> None:
    """On three nodes, of which one has a profile that lacks a rule: merge and its page name it."""
    records = tmp_path / "records"
    records.mkdir()
    records.chmod(0o777)
    for node, documented in fleets.policies().items():
        wanted = ExportRequest(documented, Profile.ERRNO, tuple(X86))
        fields = {"spec.nodeName": node, _UID: "1f3a"}
        ended = subprocess.run(
            machine.words(
                *("podman", "run", "--rm", "--network=none", *_ours(machine)),
                *_as_confined(machine.file(json.loads(allowlist.oci_json(wanted)))),
                *(f"--volume={records}:/records", "--tmpfs=/tmp", IMAGE),
                *_expanded(_container(FLEET_JOB), "args", fields),
                *("--arch=x86_64", "-k", f"denies and ({fleets.LOST} or acct)"),
            ),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode == (1 if node == fleets.WEAK else 0), said
    out, page = tmp_path / "fleet.json", tmp_path / "fleet.html"
    files = [str(one) for one in records.glob("1f3a/*/results.json")]
    words = ["merge", *files, "-o", str(out), f"--html={page}", "--expect", ",".join(fleets.NODES)]
    assert cli.run(words) == 1
    fleets.check(out, page)


_UID = "metadata.labels['batch.kubernetes.io/controller-uid']"


@starts_containers
@pytest.mark.slow
@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("node", fleets.NODES[:2])
def test_the_daemon_set(node: str, machine: Machine) -> None:
    """The probe is red until all containers hold; the record is there for whoever asks the pod."""
    wanted = ExportRequest(fleets.policies()[node], Profile.ERRNO, tuple(X86))
    seccomp = machine.file(json.loads(allowlist.oci_json(wanted)))
    app, suite = f"{machine.name}-app-{node}", f"{machine.name}-suite-{node}"
    container = _container(DAEMON_SET)
    command = f"--entrypoint={json.dumps(container['command'])}"
    sleeping = ("--entrypoint=python3", IMAGE, "-c", "import signal; signal.pause()")
    started = ("podman", "run", "--detach", "--network=none", *_ours(machine))
    in_pod = ("--pid=host", "--privileged", "--user=0", "--read-only", "--tmpfs=/tmp")
    words = _expanded(container, "args", {"spec.nodeName": node})

    def exec_in_pod(*asked: str) -> subprocess.CompletedProcess[str]:
        given = machine.words("podman", "exec", suite, *asked)
        return subprocess.run(given, capture_output=True, text=True, timeout=60, check=False)

    def read(file: str) -> str:
        return exec_in_pod("python3", "-c", _PRINT.format(file)).stdout.strip()

    machine.run(*started, f"--name={app}", f"--security-opt=seccomp={seccomp}", *sleeping)
    try:
        machine.run(
            *(*started, f"--name={suite}", *in_pod, "--tmpfs=/records", command, IMAGE),
            *(
                *words,
                "--this-pid-namespace",
            ),  # the tests' machine is none with a kernel of its own
        )
        probe = container["readinessProbe"]["exec"]["command"]
        assert exec_in_pod(*probe).returncode != 0
        wait_for(lambda: read("status") != "", "the suite does not end", PATIENCE_SECONDS)
        weak = node == fleets.WEAK
        record = json.loads(read("results.json"))
        assert (read("status"), exec_in_pod(*probe).returncode == 0) == (
            "1" if weak else "0",
            not weak,
        )
    finally:
        machine.run("podman", "rm", "--force", "--ignore", "--time=1", app, suite)
    assert record["environments"][0]["host"] == node
    failed = {cell["syscall"] for cell in record["cells"] if cell["outcome"] == "failed"}
    assert failed == ({fleets.LOST} if weak else set())


_PRINT = 'print(open("/records/{}").read())'
"""What README.md has a pod run for its record."""


def _as_confined(profile: Path) -> list[str]:
    """The Job's security contexts in podman's words."""
    pod, container = _pod(JOB)["securityContext"], _container()["securityContext"]
    assert pod["seccompProfile"]["type"] == "Localhost"
    assert not container["allowPrivilegeEscalation"]
    assert container["readOnlyRootFilesystem"]
    assert container["capabilities"] == {"drop": ["ALL"]}
    return [
        f"--user={pod['runAsUser']}:{pod['runAsGroup']}",
        *("--security-opt=no-new-privileges", f"--security-opt=seccomp={profile}"),
        *("--read-only", "--cap-drop=ALL"),
    ]


def _download(folder: Path) -> None:
    """The suite's dependencies as wheels, by the index that this machine's pip uses."""
    words = ["hatchling>=1.27", str(CHECKOUT)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), *words],
        cwd=folder.parent,
        check=True,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
    )
    for wheel in folder.glob("syscall_conformance-*"):
        wheel.unlink()
