"""The main job on several nodes by pytest-xdist's ``--dist each``; here they are processes."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import execnet
import pytest

from cases.tests.test_main_job import EMPTY_FILTER, as_root, check_complete
from cases.tests.test_main_job_exceptions import waivers_file
from probes import arch
from probes.action import Profile
from probes.audit.source import NONE
from probes.documents import policy
from probes.documents.waivers import Granted
from probes.errors import BadInputError, ExitStatus
from probes.filters import bpf
from probes.run import order, values
from probes.run.values import RunOptions
from probes.runtimes.wanted import Start
from probes.targets.name import TargetName
from probes.targets.words import ContainerOptions
from probes.tests.support import mutants
from reports import results
from reports.results import journal
from reports.tests.support import job, samples
from reports.tests.support.job import ALONE, CHECKOUT, POLICY, SMALL, Job, module

EACH = ("--dist=each",)
TWO = (*EACH, "--tx", "popen//id=a", "--tx", "popen//id=b")
SAMPLE = ("-k", "terminates and (acct or bpf or setsid or swapoff) or controls")
TESTS = 6 + 4

ON_B = 'os.environ.get("PYTEST_XDIST_WORKER") == "b"'

pytestmark = pytest.mark.skipif(not job.on_x86_64, reason="the samples are of an x86_64 kernel")


def lost_in_the_middle(what: str) -> str:
    """A plug-in by which something befalls node b before it judges ``bpf``."""
    return f"""
import os, signal
def pytest_runtest_call(item):
    if {ON_B} and item.name == "test_terminates[x86_64-bpf]":
        {what}
# Impatience would be wrong while a node is only slow: b's last words are on acct.
awaited = {{"a", "acct"}}
def impatient(config, seen):
    awaited.discard(seen)
    if not awaited:
        config.pluginmanager.getplugin("syscall-conformance follower")._watch._seconds = 1
def pytest_testnodedown(node, error):
    impatient(node.config, node.gateway.id)
def pytest_runtest_logreport(report):
    node = getattr(report, "node", None)
    if node is not None and report.when == "teardown" and "acct@b" in report.nodeid:
        impatient(node.config, "acct")
"""


def of_environment(ended: Job, index: int) -> list[dict[str, Any]]:
    """The cells of a node."""
    return [cell for cell in ended.cells if cell["environment"] == index]


def keys(cells: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """What tells cells of a node apart."""
    return {
        tuple(str(cell[name]) for name in ("claim", "arch", "syscall", "variant")) for cell in cells
    }


@as_root
def test_each_node_is_an_environment_of_one_record(tmp_path: Path) -> None:
    """And each comes to what a run without xdist comes to, which may be their baseline."""
    more = job.run(tmp_path / "alone", *ALONE, *SMALL, "-k", f"{SAMPLE[1]} or x86_64-reboot")
    baseline = f"--baseline={more.folder}/results.json"
    nodes = (*EACH, "--tx=popen//id=a", f"--tx=popen//id=b//python={sys.executable}")
    ended = job.run(tmp_path / "reports", *nodes, *SMALL, *SAMPLE, baseline)
    alone = job.run(tmp_path / "alone", *ALONE, *SMALL, *SAMPLE)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    check_complete(ended)
    assert ended.results["complete"]
    first, second = ended.results["environments"]
    assert first == second == alone.results["environments"][0]
    assert ended.results["run_by"] == alone.results["run_by"]
    assert ended.results["gaps"] == alone.results["gaps"]
    for index in (0, 1):
        mine = [cell | {"environment": 0} for cell in of_environment(ended, index)]
        assert job.normalized(mine) == job.normalized(alone.cells)
    assert ended.results["baseline"]["changes"] == []  # what is left out has not vanished
    assert ended.summary["planned"] == 2 * alone.summary["planned"]
    assert ended.summary["selected_of"] == 2 * alone.summary["selected_of"]
    names = Counter(case.get("name") or "" for case in ended.test_cases)
    assert names == {
        (case.get("name") or "").replace("]", f"@{node}]"): 1
        for case in alone.test_cases
        for node in "ab"
    }
    assert len(ended.page_data["tests"]) == 2 * len(alone.page_data["tests"]) == 2 * TESTS
    release = os.uname().release
    assert f"kernels: {release} (x86_64), {release} (x86_64)" in ended.closing
    assert "kernel 2" in ended.text("compliance.html")
    assert not (tmp_path / "reports/nodes").exists()


@pytest.mark.slow
def test_failure_on_one_node_is_of_that_node(tmp_path: Path) -> None:
    """Its cells fail, those of the other pass, and rows and names say which is which."""
    weakened = EMPTY_FILTER.replace(
        "settings.builtin = empty", f"if {ON_B}: settings.builtin = empty"
    )
    plugin = module(tmp_path, f"import os\n{weakened}")
    ended = job.run(tmp_path / "reports", *TWO, *SMALL, *SAMPLE, plugin=plugin)
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    check_complete(ended)
    good, bad = of_environment(ended, 0), of_environment(ended, 1)
    assert {cell["outcome"] for cell in good} == {"passed"}
    assert {cell["outcome"] for cell in bad if cell["claim"] == "terminates"} == {"failed"}
    assert {cell["outcome"] for cell in bad if cell["claim"] == "controls"} == {"passed"}
    red = {case.get("name") for case in ended.test_cases if case.find("failure") is not None}
    calls = ("acct", "bpf", "setsid", "swapoff")
    assert red == {f"test_terminates[x86_64-{call}@b]" for call in calls}
    rows = {name: row["result"] for name, (row,) in ended.page_data["tests"].items()}
    failed = {name.partition("::")[2] for name, result in rows.items() if result == "Failed"}
    assert failed == red
    assert "\nFAILED cases/test_kill.py::test_terminates[x86_64-acct@b] " in ended.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "it was lost: its process"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "it has said nothing for 1 s"),
    ],
    ids=["killed", "hangs"],
)
def test_node_that_is_lost_breaks_what_it_has_not_judged(
    what: str, words: str, tmp_path: Path
) -> None:
    """What it has judged stays, and so does all that the other judges."""
    plugin = module(tmp_path, lost_in_the_middle(what))
    ended = job.run(tmp_path / "reports", *TWO, *SMALL, *SAMPLE, plugin=plugin)
    assert ended.status == ExitStatus.BROKEN, ended.output
    check_complete(ended)
    good, bad = of_environment(ended, 0), of_environment(ended, 1)
    assert keys(good) == keys(bad)
    assert {cell["outcome"] for cell in good} == {"passed"}
    by_call = {c["syscall"]: c["outcome"] for c in bad if c["claim"] == "terminates"}
    assert by_call == {"acct": "passed", "bpf": "broken", "setsid": "broken", "swapoff": "broken"}
    assert any(
        line.startswith("ERROR: node b (popen//id=b): ") and words in line for line in ended.errors
    )
    assert "Traceback" not in ended.output
    assert len(ended.page_data["tests"]) == 2 * TESTS
    assert not (tmp_path / "reports/nodes").exists()


@pytest.mark.slow
def test_run_that_stops_at_a_failure_is_not_complete(tmp_path: Path) -> None:
    """With -x a node ends early by itself; what it did not judge is broken, row by row."""
    put_in = "settings.builtin = empty"
    plugin = module(tmp_path, f"import os\n{EMPTY_FILTER.replace(put_in, f'if {ON_B}: {put_in}')}")
    ended = job.run(tmp_path / "reports", *TWO, *SMALL, *SAMPLE, "-x", plugin=plugin)
    assert ended.status == ExitStatus.INTERRUPTED, ended.output
    check_complete(ended)
    assert not ended.results["complete"]
    assert ended.summary["verdict"] == "FAIL"
    bad = {c["syscall"]: c["outcome"] for c in of_environment(ended, 1) if c["profile"] == "kill"}
    assert bad == {"acct": "failed", "bpf": "broken", "setsid": "broken", "swapoff": "broken"}
    assert len(ended.page_data["tests"]) == 2 * TESTS
    assert len(ended.errors) == 1


@pytest.mark.slow
def test_node_that_never_begins_leaves_no_pass(tmp_path: Path) -> None:
    """The others' verdicts stay, but the run has not come to its end."""
    plugin = module(tmp_path, f"import os\nif {ON_B}: os._exit(3)\n")
    ended = job.run(tmp_path / "reports", *TWO, *SMALL, *SAMPLE, plugin=plugin)
    assert ended.status == ExitStatus.INTERRUPTED, ended.output
    assert ended.summary["verdict"] == "INCOMPLETE"
    assert "what it did not reach is not even known" in ended.summary["sentence"]
    assert len(ended.results["environments"]) == 1
    assert {cell["outcome"] for cell in ended.cells} == {"passed"}
    assert any("node b (popen//id=b): it was lost" in line for line in ended.errors)


@pytest.mark.slow
def test_record_that_is_not_whole_is_none(tmp_path: Path) -> None:
    """What the node has reported before stays; nothing is taken for passed that is missing."""
    plugin = module(
        tmp_path,
        f"""
import os
from cases.run.account import Account
record = Account.record
def short(self, **words):
    self.judged.by_test.pop("cases/test_kill.py::test_terminates[x86_64-bpf]")
    self._selected.pop("cases/test_kill.py::test_terminates[x86_64-bpf]")
    return record(self, **words)
if {ON_B}: Account.record = short
""",
    )
    ended = job.run(tmp_path / "reports", *TWO, *SMALL, *SAMPLE, plugin=plugin)
    assert ended.status == ExitStatus.INTERRUPTED, ended.output
    assert ended.summary["verdict"] == "INCOMPLETE"
    (error,) = ended.errors
    assert "node b (popen//id=b): its record lacks cells that it was to judge, 1 of" in error


@pytest.mark.slow
def test_no_node_begins(tmp_path: Path) -> None:
    """No record, and no verdict; an old record is not taken for this run's."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/results.json").write_text("old")
    plugin = module(tmp_path, "import os\nif 'PYTEST_XDIST_WORKER' in os.environ: os._exit(3)\n")
    ended = job.run(tmp_path / "reports", *TWO, *SMALL, *SAMPLE, plugin=plugin)
    assert ended.status == ExitStatus.BROKEN, ended.output
    assert not (tmp_path / "reports/results.json").exists()
    assert len(ended.errors) == 1
    assert ended.errors[0].startswith("ERROR: nodes a (popen//id=a), b (popen//id=b): it was lost")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--arch=s390x",), ExitStatus.USAGE, "cannot be entered as s390x"),
        (("-k", "nonesuch"), ExitStatus.NOTHING_ASSESSED, "no test was selected there"),
    ],
    ids=["ABI", "selection"],
)
def test_what_no_node_can_do_gets_one_sentence(
    options: tuple[str, ...], status: ExitStatus, words: str, tmp_path: Path
) -> None:
    """Of all nodes together; and nothing is written that could be taken for a record."""
    ended = job.run(tmp_path / "reports", *TWO, *options)
    assert ended.status == status, ended.output
    (error,) = ended.errors
    assert error.startswith("ERROR: nodes a (popen//id=a), b (popen//id=b): ")
    assert words in error
    assert "Traceback" not in ended.output
    assert not (tmp_path / "reports/results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--profile=kil", "--tx=popen"), "did you mean kill?"),
        (("--policy={tmp}/missing.toml", "--tx=popen"), "--policy: {tmp}/missing.toml"),
        (("--profile=kill", "--target=oci:{tmp}/no.json", "--tx=popen"), "--target: {tmp}/no.json"),
        (("--tx=popen//chdir={tmp}", "cases/test_kill.py"), "cases/test_kill.py: xdist cannot"),
        (("--tx=popen//id=../x",), "'../x' is no name"),
        (("--node-name=x", "--tx=popen"), "--node-name x: with --dist each there are several"),
        (("--tx=popen//id=a", "--tx=popen//id=a"), "two nodes have the name a"),
    ],
    ids=["profile", "policy", "file", "path", "name", "node-name", "twice"],
)
def test_bad_words_are_refused_before_a_node_is_started(
    options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    """In one sentence, as without nodes."""
    given = [option.format(tmp=tmp_path) for option in options]
    ended = job.run(tmp_path / "reports", *EACH, *given)
    assert ended.status == ExitStatus.USAGE, ended.output
    assert len(ended.errors) == 1
    assert words.format(tmp=tmp_path) in ended.errors[0]
    assert not (tmp_path / "reports/results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accepts", "words"),
    [(False, "Connection refused"), (True, "no answer for 2 s")],
    ids=["refuses", "says nothing"],
)
def test_node_that_cannot_be_reached_ends_the_run(
    accepts: bool,  # noqa: FBT001 - a parameter
    words: str,
    tmp_path: Path,
) -> None:
    """In one sentence, and at once: nothing has been judged yet."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        if not accepts:
            listening.close()
        options = (*EACH, f"--tx=socket=127.0.0.1:{port}//id=far", "--tx=popen")
        ended = job.run(tmp_path / "reports", *options, *SMALL, *SAMPLE, "--node-silence=2")
    assert ended.status == ExitStatus.BROKEN, ended.output
    assert f"node far (socket=127.0.0.1:{port}//id=far) cannot be brought up: " in ended.output
    assert words in ended.output
    assert "Traceback" not in ended.output
    assert not (tmp_path / "reports/results.json").exists()


def copied(place: Path) -> Path:
    """Another copy of the suite, as a machine elsewhere has one."""
    for name in ("cases", "probes", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "tests", "out")
        shutil.copytree(CHECKOUT / name, place / name, ignore=ignored)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, place / name)
    return place


@pytest.fixture
def far(tmp_path: Path) -> Iterator[str]:
    """A node that is reached by a socket, with a copy of its own; the word for --tx."""
    place = copied(tmp_path / "far")
    words = [sys.executable, "-u", "-m", "execnet.script.socketserver", "127.0.0.1:0"]
    environment = job.environment() | {"PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(words, cwd="/", env=environment, stdout=subprocess.PIPE) as server:
        try:
            line = server.stdout.readline().decode() if server.stdout else ""
            port = line.rpartition(", ")[2].strip(")\n")
            yield f"--tx=socket=127.0.0.1:{port}//id=far//chdir={place}"
        finally:
            server.kill()


def files_of(folder: Path) -> list[Path]:
    """Everything in a checkout but what Python leaves there."""
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.slow
def test_files_and_waivers_are_those_of_who_starts_the_nodes(far: str, tmp_path: Path) -> None:
    """By paths that mean nothing on the node; and its checkout stays as it was."""
    here = copied(tmp_path / "here")
    one = arch.ARCHES["x86_64"]
    documented = policy.load(POLICY, arch.all_names())
    table = mutants.conforming(documented, (one,), Profile.KILL)
    weak = table.changed({(one.audit_arch, one.numbers["acct"]): mutants.ALLOW})
    (here / "weak.bpf").write_bytes(bpf.to_bytes(weak.program()))
    waivers_file(here, "2999-12-31")
    waivers = (here / "waivers.toml").read_text().replace('"builtin"', '"bpf:weak*"')
    (here / "waivers.toml").write_text(waivers)
    text = POLICY.read_text(encoding="utf-8")
    (here / "mine.toml").write_text(text.replace("\nname = ", "\n# mine\nname = ", 1))
    before = files_of(tmp_path / "far")
    words = ("--target=bpf:weak.bpf", "--waivers=waivers.toml", "--policy=mine.toml")
    options = (*EACH, far, *SMALL, *words, "-k", "terminates and (acct or bpf)")
    ended = job.run(tmp_path / "reports", *options, cwd=here)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    assert ended.results["target"]["description"] == "weak.bpf"
    assert ended.results["policy"]["sha256"] != documented.sha256
    assert {(c["syscall"], c["outcome"]) for c in ended.cells if c["claim"] == "terminates"} == {
        ("acct", "waived"),
        ("bpf", "passed"),
    }
    assert "weak.bpf" in next(c["sentence"] for c in ended.cells if c["outcome"] == "waived")
    assert ended.results["waivers"][0]["waived"] == 1
    assert files_of(tmp_path / "far") == before


@pytest.mark.slow
def test_another_version_of_the_suite_judges_nothing(far: str, tmp_path: Path) -> None:
    """Who knows what it would call a pass; the other node's verdicts stay."""
    with (tmp_path / "far/probes/verdict.py").open("a") as file:
        file.write("# changed\n")
    ended = job.run(tmp_path / "reports", *EACH, "--tx=popen", far, *SMALL, *SAMPLE)
    assert ended.status == ExitStatus.INTERRUPTED, ended.output
    (error,) = (line for line in ended.errors if "node far (socket=" in line)
    assert "there is another version of the suite" in error
    assert ended.summary["verdict"] == "INCOMPLETE"
    assert len(ended.results["environments"]) == 1
    assert {cell["outcome"] for cell in ended.cells} == {"passed"}


@pytest.mark.slow
def test_interrupt_leaves_what_was_judged(tmp_path: Path) -> None:
    """Ctrl-C: status 2, the rest is broken on every node, and no process stays behind."""
    ended, left = job.interrupt(tmp_path / "reports", *TWO, *SMALL, after=20)
    assert ended.status == ExitStatus.INTERRUPTED, ended.output
    assert left == []
    check_complete(ended)
    assert not ended.results["complete"]
    assert {cell["outcome"] for cell in ended.cells} == {"passed", "broken"}
    assert "Traceback" not in ended.output


@pytest.mark.slow
def test_killed_run_leaves_a_journal_of_each_node(tmp_path: Path) -> None:
    """The earlier record is not taken for this run's; the next run takes the journals away."""
    folder = tmp_path / "reports"
    folder.mkdir()
    results.write(samples.empty(), folder / "results.json")
    words = job.command(folder, *TWO, *SMALL)
    mark = secrets.token_hex()
    process = subprocess.Popen(
        words,
        cwd=CHECKOUT,
        env=job.environment() | {"MAIN_JOB": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + job.PATIENCE_SECONDS
    try:
        with job.undisturbed():
            while not all(_lines(path) > 20 for path in _journals(folder)):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            process.kill()
            process.wait(job.PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait(job.PATIENCE_SECONDS)
    assert "is of an earlier run" in results.superseded(folder / "results.json")
    for path in _journals(folder):
        run = results.load(path)
        assert not run.complete
        assert 20 <= len(run.cells) < run.planned
    assert job.left_behind(mark) == []
    again = job.run(folder, *ALONE, *SMALL, "-k", "x86_64-acct")
    assert again.status in {ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL}
    assert journal.of_nodes(folder) == []
    assert results.superseded(folder / "results.json") == ""


def _journals(folder: Path) -> list[Path]:
    return [journal.of_node(folder, node) / journal.NAME for node in "ab"]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def given(wanted: RunOptions) -> order.Order:
    return order.give(wanted, Granted((), str(wanted.target), date(2026, 1, 31)), anonymous=True)


def test_order_survives_the_way(tmp_path: Path) -> None:
    (tmp_path / "one.bpf").write_bytes(b"1")
    (tmp_path / "two.bpf").write_bytes(b"2")
    start = Start(tmp_path / "one.bpf", ("-x",), ("podman", "-y"), "unix:///z")
    container = ContainerOptions("all", "6.1", "podman", "crun")
    words = RunOptions(
        policy=POLICY,
        profiles=(Profile.KILL,),
        arches=(arch.get("i386"),),
        target=TargetName("bpf", f"{tmp_path}/one.bpf,{tmp_path}/two.bpf"),
        audit_source=NONE,
        container=container,
        start=start,
    )
    made = given(words)
    again = order.Order.from_plain(execnet.loads(execnet.dumps(made.to_plain())))
    assert again == made
    root = tmp_path / "there"
    there = again.lay_out(root)
    first, second = there.target.files()
    assert (Path(first).read_bytes(), Path(second).read_bytes()) == (b"1", b"2")
    assert there.start.seccomp is not None
    assert there.start.seccomp.read_bytes() == b"1"
    assert Path(there.policy).read_bytes() == POLICY.read_bytes()
    assert again.as_named(f"{there.target}: no", root) == f"{words.target}: no"
    assert replace(there, policy=POLICY, target=words.target, start=start) == words


def test_order_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads upwards is one of an absolute path by then."""
    (tmp_path / "here").mkdir()
    (tmp_path / "up.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    made = given(values.read(POLICY, profile="kill", target="oci:../up.json"))
    there = made.lay_out(tmp_path / "there")
    assert str(there.target) == f"oci:{tmp_path}/there{tmp_path}/up.json"


@pytest.mark.parametrize("words", ["a,b.json", "a,../here/b.json"])
def test_order_has_one_file_with_a_comma_or_two(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the order arrives there is neither, and what is there has no say."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for one in ("a,b.json", "a", "b.json"):
        Path(one).write_text(one)
    made = given(values.read(POLICY, profile="kill", target=f"oci:{words}"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "there"
    there = made.lay_out(root).target
    read = [Path(one).read_text() for one in there.files()]
    assert read == (["a,b.json"] if words == "a,b.json" else ["a", "b.json"])


def test_order_has_no_endless_file() -> None:
    with pytest.raises(BadInputError, match=r"--target: .*/dev/zero.* not a regular file"):
        given(values.read(POLICY, profile="kill", target="oci:/dev/zero"))


def test_digest_is_of_what_judges(tmp_path: Path) -> None:
    place = copied(tmp_path / "copy")
    assert order.suite_digest(place) == order.suite_digest()
    (place / "probes/tests").mkdir()
    (place / "probes/tests/test_x.py").touch()
    assert order.suite_digest(place) == order.suite_digest()
    (place / "cases/policies/container-restrictions.toml").write_text("")
    assert order.suite_digest(place) != order.suite_digest()
