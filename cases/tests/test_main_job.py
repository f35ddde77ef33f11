"""The main job as users run it: its verdicts, reports, refusals and exit statuses."""

import json
import shlex
import tomllib
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from probes.errors import ExitStatus
from reports.tests.support import job
from reports.tests.support.job import ALONE, CHECKOUT, POLICY, SMALL, Job, module

NUMBERS = {"x86_64": (60, 0), "x32": (53, 7), "i386": (57, 3)}
"""How many of the documented calls each ABI has, and lacks."""

RECORDS = {"is reported", "is silent", "is recorded"}
MOST_LINES = 20

as_root = pytest.mark.root("reads the kernel's records")
on_x86_64 = pytest.mark.skipif(not job.on_x86_64, reason="these are the ABIs of an x86_64 kernel")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The main job with two workers."""
    return job.run(tmp_path_factory.mktemp("whole") / "reports", "-n", "2")


def sentence_of(ended: Job) -> str:
    """The sentence of the verdict, as results.json has it."""
    sentence: str = ended.summary["sentence"]
    return sentence


def check_complete(ended: Job) -> None:
    """Nothing that was planned is missing, and the record is as published."""
    summary = ended.summary
    outcomes = ("passed", "failed", "cannot_tell", "not_applicable", "waived", "broken")
    assert sum(summary[outcome] for outcome in outcomes) == summary["planned"] == len(ended.cells)
    schema = json.loads(
        (CHECKOUT / "reports/results/results.schema.json").read_text(encoding="utf-8")
    )
    jsonschema.Draft202012Validator(schema).validate(ended.results)
    assert len(ended.closing) <= MOST_LINES


def visible_text(markup: str) -> str:
    """Markup without its escapes."""
    return unescape(markup)


@as_root
@on_x86_64
def test_everything_is_judged_and_holds(whole: Job) -> None:
    """Sixty calls under each profile, on every ABI that this kernel enters."""
    assert whole.status == ExitStatus.CONFORMANT, whole.output
    check_complete(whole)
    assert len(whole.results["policy"]["calls"]) == 60
    arches = whole.results["environments"][0]["arches"]
    assert arches[0] == "x86_64"
    documented = {
        "kill": ("terminates", "is reported"),
        "errno": ("denies", "is silent"),
        "log": ("runs", "is recorded"),
    }
    for profile, claims in documented.items():
        for claim in claims:
            for arch in arches:
                there, absent = NUMBERS[arch]
                wanted = {"passed": there, "not_applicable": absent}
                found = whole.outcomes(claim=claim, profile=profile, arch=arch)
                assert found == {name: count for name, count in wanted.items() if count}
    lacking = [cell for cell in whole.cells if cell["outcome"] == "not_applicable"]
    assert all(cell["cause"] == "architecture" and cell["sentence"] for cell in lacking)
    assert whole.results["environments"][0]["audit"]["reason"]
    assert whole.summary["selected_of"] == whole.summary["planned"]


@as_root
@on_x86_64
def test_every_format_says_the_same(whole: Job) -> None:
    """The pages, the terminal and JUnit XML give the verdict and the evidence of results.json."""
    sentence = sentence_of(whole)
    assert sentence in visible_text(whole.text("compliance.html"))
    assert sentence in visible_text(whole.text("pytest.html"))
    assert sentence in " ".join(" ".join(whole.closing).split())
    told = {
        case.get("name", ""): [(one.get("name"), one.get("value")) for one in case.iter("property")]
        for case in whole.test_cases
    }
    for cell in whole.cells:
        if cell["claim"] == "terminates":
            properties = told[f"test_terminates[{cell['arch']}-{cell['syscall']}]"]
            assert ("sentence", cell["sentence"]) in properties
            for piece in cell["evidence"]:
                name = f"evidence.{piece['kind']}.{piece['source']}"
                assert (name, piece["text"]) in properties
            assert cell["evidence"] or cell["outcome"] == "not_applicable"


@as_root
@on_x86_64
def test_every_row_of_the_page_has_sentence_and_evidence(whole: Job) -> None:
    """pytest-html's page: a row for every test, in the plan's order whatever worker ran it."""
    rows = whole.page_data["tests"]
    assert len(rows) == len(whole.test_cases)
    places = [(case.get("classname"), case.get("name")) for case in whole.test_cases]
    assert Counter(name.rpartition("::")[2] for name in rows) == Counter(name for _, name in places)
    for cell in whole.cells:
        if cell["claim"] != "is recorded":
            continue
        name = f"cases/test_log.py::test_is_recorded[{cell['arch']}-{cell['syscall']}]"
        (row,) = rows[name]
        assert cell["sentence"] in unescape("".join(row["resultsTableRow"]))
        for piece in cell["evidence"]:
            assert piece["text"] in unescape(row["log"])
    passed = [name for name, (row,) in rows.items() if row["result"] == "Passed"]
    calls = [name.rpartition("-")[2] for name in passed if "terminates[x86_64-" in name]
    written = [call["name"] for call in tomllib.loads(POLICY.read_text(encoding="utf-8"))["call"]]
    assert calls == [f"{name}]" for name in written]


@as_root
def test_workers_make_no_difference(whole: Job, tmp_path: Path) -> None:
    """The same cells with two workers and without xdist, but for times, pids and serials."""
    alone = job.run(tmp_path / "reports", *ALONE)
    assert alone.status == whole.status
    assert job.normalized(alone.cells) == job.normalized(whole.cells)
    for name in ("policy", "target", "environments", "profiles", "summary"):
        assert alone.results[name] == whole.results[name]
    assert list(alone.page_data["tests"]) == list(whole.page_data["tests"])


def check_unprivileged(ended: Job) -> None:
    """KILL and ERRNO are judged fully; what needs records says what to do."""
    assert ended.status == ExitStatus.CANNOT_TELL, ended.output
    check_complete(ended)
    undecided = [cell for cell in ended.cells if cell["outcome"] == "cannot_tell"]
    assert {cell["claim"] for cell in undecided if cell["profile"] != "log"} <= RECORDS
    judged = (
        ("kill", "terminates"),
        ("kill", "ends every thread"),
        ("errno", "denies"),
        ("log", "runs"),
        ("kill", "leaves the rest alone"),
        ("errno", "leaves the rest alone"),
        ("log", "leaves the rest alone"),
        ("kill", "default action"),
        ("errno", "default action"),
        ("kill", "is inherited"),
        ("errno", "is inherited"),
        ("none", "controls"),
    )
    for profile, claim in judged:
        found = ended.outcomes(profile=profile, claim=claim)
        assert found.pop("not_applicable", 0) in {0, 10}
        assert set(found) == {"passed"}, (profile, claim, found)
    for claim in RECORDS:
        assert set(ended.outcomes(claim=claim)) <= {"cannot_tell", "not_applicable"}
    for cell in undecided:
        assert cell["cause"] == "privilege"
        assert "CAP_AUDIT_READ" in cell["sentence"]
        assert "root" in cell["sentence"]
    assert ended.results["environments"][0]["audit"]["source"] == "none"
    assert ended.results["environments"][0]["audit"]["reason"] in undecided[0]["sentence"]


@pytest.mark.slow
def test_without_privilege_the_records_are_left_open(tmp_path: Path) -> None:
    """An unprivileged user gets every verdict that needs no audit records."""
    if job.is_root:
        with job.public_folder() as place:
            check_unprivileged(job.run_as_nobody(place, "-n", "2"))
    else:
        check_unprivileged(job.run(tmp_path / "reports", "-n", "2"))


def call_tables(names: set[str]) -> str:
    """The shipped policy, but for all calls except these."""
    head, *tables = POLICY.read_text(encoding="utf-8").split("[[call]]\n")
    kept = [table for table in tables if tomllib.loads(table)["name"] in names]
    assert len(kept) == len(names)
    return "".join([head, *(f"[[call]]\n{table}" for table in kept)])


REFUSALS: dict[str, tuple[str, str]] = {
    "no policy": ("--policy={tmp}/missing.toml", "missing.toml"),
    "not TOML": ("--policy={tmp}/damaged.toml", "line 1"),
    "unknown call": ("--policy={tmp}/unknown.toml", "acctt"),
    "profile": ("--profile=kil", "did you mean kill?"),
    "ABI": ("--arch=x86", "--arch x86"),
    "foreign ABI": ("--arch=s390x", "cannot be entered as s390x"),
    "target": ("--target=runc", "--target: 'runc' is no target"),
    "records": ("--audit-source=journald", "--audit-source journald"),
    "reports": ("--report-dir={tmp}/file/reports", "file/reports"),
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [ALONE, ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize(("option", "words"), REFUSALS.values(), ids=REFUSALS)
def test_bad_option_gets_one_sentence(
    option: str, words: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    """What, where and how to mend it; no traceback, and no report of a run that was none."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "damaged.toml").write_text("name = \n", encoding="utf-8")
    unknown = call_tables({"acct"}).replace('name = "acct"', 'name = "acctt"')
    (tmp_path / "unknown.toml").write_text(unknown, encoding="utf-8")
    ended = job.run(tmp_path / "reports", option.format(tmp=tmp_path), *workers)
    assert ended.status == ExitStatus.USAGE
    assert [line for line in ended.output.splitlines() if line] == ended.errors
    assert len(ended.errors) == 1
    assert words in ended.errors[0]
    assert not (tmp_path / "reports").exists()


@pytest.mark.slow
def test_path_after_a_blank_gets_one_sentence(tmp_path: Path) -> None:
    """Pytest would take it for one of tests as soon as it exists."""
    folder = tmp_path / "elsewhere"
    ended = job.run(tmp_path / "reports", *SMALL, "--report-dir", str(folder))
    assert ended.status == ExitStatus.USAGE
    assert [line for line in ended.output.splitlines() if line] == ended.errors
    assert ended.errors[0].endswith(f"write --report-dir={folder}")


@pytest.mark.slow
def test_existing_path_after_a_blank_is_refused_by_pytest(tmp_path: Path) -> None:
    """It looks for its configuration there instead, so it knows none of the suite's options."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    ended = job.run(tmp_path / "reports", *SMALL, "--report-dir", str(folder))
    assert ended.status == ExitStatus.USAGE
    assert "unrecognized arguments: --report-dir=" in ended.output
    assert f"rootdir: {folder}" in ended.output
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "reports").exists()


@pytest.mark.slow
def test_profile_and_abi_select(tmp_path: Path) -> None:
    """A job of one profile on one ABI is a whole job; without records it leaves them open."""
    ended = job.run(tmp_path / "reports", *SMALL, "--audit-source=none")
    assert ended.status == ExitStatus.CANNOT_TELL
    check_complete(ended)
    assert {cell["profile"] for cell in ended.cells} == {"kill", "none"}
    assert {cell["arch"] for cell in ended.cells} - {"any"} == {"x86_64"}
    assert ended.outcomes(claim="is reported") == {"cannot_tell": 60}
    assert ended.outcomes(claim="terminates") == {"passed": 60}
    assert ended.results["environments"][0]["audit"] == {
        "source": "none",
        "reason": "records were not asked for (--audit-source none)",
    }
    assert "Only " not in sentence_of(ended)


@as_root
@pytest.mark.parametrize(
    ("selection", "tests"),
    [
        (("-k", "acct and x86_64"), 3),
        (("cases/test_kill.py::test_terminates[x86_64-acct]",), 1),
        (("cases/test_kill.py", "--deselect=cases/test_kill.py::test_is_reported"), 61),
    ],
    ids=["-k", "name", "deselect"],
)
def test_part_of_the_job_is_vouched_for(
    selection: tuple[str, ...], tests: int, tmp_path: Path
) -> None:
    """The controls are judged for any selection, and the verdict says that it is on a part."""
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, *selection)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    check_complete(ended)
    assert len(ended.test_cases) == tests
    assert ended.outcomes(claim="controls") == {"passed": 6}
    summary = ended.summary
    part = f"Only {summary['planned']} of the job's {summary['selected_of']:,} cells were selected."
    assert part in sentence_of(ended)
    assert part in " ".join(" ".join(ended.closing).split())
    for page in ("compliance.html", "pytest.html"):
        assert part in visible_text(ended.text(page))


@pytest.mark.slow
def test_controls_alone_assess_nothing(tmp_path: Path) -> None:
    """A calibrated instrument that was asked nothing has no verdict."""
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, "cases/test_controls.py")
    assert ended.status == ExitStatus.NOTHING_ASSESSED
    assert ended.outcomes() == {"passed": 6}


@pytest.mark.slow
def test_nothing_selected_writes_nothing(tmp_path: Path) -> None:
    """No test, no record, no verdict."""
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, "-k", "nonesuch")
    assert ended.status == ExitStatus.NOTHING_ASSESSED
    assert not (tmp_path / "reports" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--fixtures", "--markers"])
def test_looking_writes_nothing(option: str, tmp_path: Path) -> None:
    """Who only looks what there is gets no reports, and loses none."""
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, option, "-q")
    assert ended.status == 0, ended.output
    assert not (tmp_path / "reports").exists()
    if option == "--collect-only":
        assert "cases/test_kill.py::test_terminates[x86_64-acct]" in ended.output.splitlines()


@pytest.mark.slow
def test_own_tests_are_no_job(tmp_path: Path) -> None:
    """The suite's own tests neither need good options nor write reports."""
    ended = job.run(
        tmp_path / "reports",
        *ALONE,
        "--profile=nonesuch",
        "probes/tests/filters/test_bpf.py",
        "--co",
        "-q",
    )
    assert ended.status == 0, ended.output
    assert not (tmp_path / "reports").exists()


@pytest.mark.slow
def test_from_another_folder(tmp_path: Path) -> None:
    """The folder for reports is relative to where pytest was started."""
    options = ("-c", str(CHECKOUT / "pyproject.toml"), str(CHECKOUT / "cases"))
    ended = job.run(Path("here"), *options, *ALONE, *SMALL, "-k", "terminates", cwd=tmp_path)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    names = {path.name for path in (tmp_path / "here").iterdir()}
    assert names == {"results.json", "compliance.html", "summary.md", "junit.xml", "pytest.html"}
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    line = next(line for line in ended.closing if line.startswith("reports in here: "))
    assert all(name in line for name in names)


DYING_WORKER = """
import os, signal
def pytest_runtest_call(item):
    if "PYTEST_XDIST_WORKER" in os.environ and item.name == "test_terminates[x86_64-bpf]":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def missing_cells(ended: Job) -> list[dict[str, Any]]:
    """The cells that nobody judged."""
    return [cell for cell in ended.cells if "the test never reported" in cell["sentence"]]


@pytest.mark.slow
def test_worker_that_dies_is_a_broken_cell(tmp_path: Path) -> None:
    """Its own cell is broken, the others are judged by those who take over, none is missing."""
    plugin = module(tmp_path, DYING_WORKER)
    ended = job.run(tmp_path / "reports", *SMALL, "-n", "2", plugin=plugin)
    assert ended.status == ExitStatus.BROKEN
    check_complete(ended)
    (lost,) = missing_cells(ended)
    assert (lost["claim"], lost["syscall"], lost["outcome"]) == ("terminates", "bpf", "broken")
    assert ended.summary["broken"] == 1
    (row,) = ended.page_data["tests"]["cases/test_kill.py::test_terminates[x86_64-bpf]"]
    assert row["result"] == "Error"
    assert lost["sentence"] in unescape(row["log"])
    assert len(ended.page_data["tests"]) == len(ended.test_cases)


@pytest.mark.slow
def test_workers_that_die_and_are_not_replaced(tmp_path: Path) -> None:
    """The run ends early; what was not judged is broken."""
    plugin = module(
        tmp_path, DYING_WORKER.replace(' and item.name == "test_terminates[x86_64-bpf]"', "")
    )
    options = (*SMALL, "-n", "2", "--max-worker-restart=0")
    ended = job.run(tmp_path / "reports", *options, plugin=plugin)
    assert ended.status >= ExitStatus.INTERRUPTED
    assert "Traceback" not in ended.output
    check_complete(ended)
    assert ended.outcomes() == {"broken": ended.summary["planned"]}


@pytest.mark.slow
def test_zygote_that_dies_breaks_only_its_cell(tmp_path: Path) -> None:
    """The next case has a new instrument, calibrated anew."""
    plugin = module(
        tmp_path,
        """
import os, signal
from probes.judging.examiner import Examiner
inquire = Examiner._inquire
def dying(self, case, *, again=False):
    if case.id == "x86_64-bpf":
        os.kill(self._setup.zygote.pid, signal.SIGKILL)
    return inquire(self, case, again=again)
Examiner._inquire = dying
""",
    )
    ended = job.run(tmp_path / "reports", *SMALL, *ALONE, "-k", "terminates", plugin=plugin)
    assert ended.status == ExitStatus.BROKEN
    check_complete(ended)
    (lost,) = [cell for cell in ended.cells if cell["outcome"] == "broken"]
    assert (lost["claim"], lost["syscall"], lost["cause"]) == ("terminates", "bpf", "instrument")
    assert "is gone" in lost["sentence"]
    assert "Traceback" not in ended.output


@pytest.mark.slow
def test_bug_in_the_suite_breaks_only_its_cell(tmp_path: Path) -> None:
    """An error that nobody expected is no verdict, and no missing one."""
    plugin = module(
        tmp_path,
        """
from probes.judging.examiner import Examiner
inquire = Examiner._inquire
def broken(self, case, *, again=False):
    if case.id == "x86_64-bpf":
        raise ZeroDivisionError("one of ours")
    return inquire(self, case, again=again)
Examiner._inquire = broken
""",
    )
    ended = job.run(tmp_path / "reports", *SMALL, *ALONE, "-k", "terminates", plugin=plugin)
    assert ended.status == ExitStatus.BROKEN
    check_complete(ended)
    (lost,) = [cell for cell in ended.cells if cell["outcome"] == "broken"]
    assert "ZeroDivisionError: one of ours" in lost["sentence"]


@pytest.mark.slow
def test_instrument_that_cannot_be_put_up(tmp_path: Path) -> None:
    """Everything is broken, and says why; nobody tries for every test anew."""
    plugin = module(
        tmp_path,
        """
from probes.run import bench
def broken(*_):
    print("tried")
    raise OSError("no such luck")
bench.open_trail = broken
""",
    )
    ended = job.run(tmp_path / "reports", *SMALL, *ALONE, "-s", plugin=plugin)
    assert ended.status == ExitStatus.BROKEN
    check_complete(ended)
    assert set(ended.outcomes()) == {"broken"}
    assert all("no such luck" in cell["sentence"] for cell in ended.cells)
    assert ended.output.count("tried\n") == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [ALONE, ("-n", "2")], ids=["alone", "workers"])
def test_interrupt_leaves_a_complete_record(workers: tuple[str, ...], tmp_path: Path) -> None:
    """Ctrl-C: status 2, every cell that was not judged is broken, no process stays behind."""
    ended, left = job.interrupt(tmp_path / "reports", *workers, after=30)
    assert ended.status == ExitStatus.INTERRUPTED, ended.output
    assert left == []
    assert "Traceback" not in ended.output
    check_complete(ended)
    lost = missing_cells(ended)
    assert 0 < len(lost) < len(ended.cells)
    assert all(cell["outcome"] == "broken" for cell in lost)
    assert ended.outcomes()["passed"] >= 30
    assert any("exit status is 2" in line for line in ended.errors)
    assert not ended.results["complete"]
    assert ended.summary["verdict"] == "INCOMPLETE"


EMPTY_FILTER = """
from probes.filters import bpf
from probes.run import settings
from probes.action import Action, FilterReturn, Profile
from probes.targets import StackTarget
from probes.targets.stack import FilterStack
EMPTY = bpf.dispatch({}, FilterReturn(Action.ALLOW).value)
def empty(policy, arches):
    empty = FilterStack("the <b>empty</b> filter", (EMPTY,), arches[0])
    return StackTarget("builtin", dict.fromkeys(Profile, empty))
settings.builtin = empty
"""


@as_root
def test_target_that_restricts_nothing_fails(tmp_path: Path) -> None:
    """Exit status 1; the failures come first, in few lines, and each sentence is in the record."""
    plugin = module(tmp_path, EMPTY_FILTER)
    ended = job.run(tmp_path / "reports", "--arch=x86_64", *ALONE, plugin=plugin)
    assert ended.status == ExitStatus.NOT_CONFORMANT, ended.output
    check_complete(ended)
    for claim in ("terminates", "is reported", "denies", "is silent", "is recorded"):
        assert ended.outcomes(claim=claim) == {"failed": 60}
    assert set(ended.outcomes(claim="leaves the rest alone")) == {"passed"}
    closing = ended.closing
    assert closing[0].startswith("the suite's own filter, and no platform; ")
    assert closing[1].startswith("✗ kill: none of 60 documented calls is refused, all 60 get ")
    failed = [number for number, line in enumerate(closing) if line.startswith("✗ GETS THROUGH (")]
    assert max(failed) < next(n for n, line in enumerate(closing) if line.startswith("planned "))
    rows = list(ended.page_data["tests"].values())
    results = [row["result"] for (row,) in rows]
    assert results == sorted(results, key=["Failed", "Passed"].index)
    assert "<b>empty" not in ended.text("pytest.html")
    assert "the &lt;b&gt;empty&lt;/b&gt; filter" in rows[0][0]["log"]


@pytest.mark.slow
def test_causes_on_the_terminal_are_those_of_the_record(tmp_path: Path) -> None:
    """Each with how to mend it, and with the command that shows it again."""
    plugin = module(tmp_path, EMPTY_FILTER)
    options = ("--arch=x86_64", *ALONE, "-k", "terminates and acct or denies and acct")
    ended = job.run(tmp_path / "reports", *options, plugin=plugin)
    assert ended.status == ExitStatus.NOT_CONFORMANT
    failed = [cell for cell in ended.cells if cell["outcome"] == "failed"]
    assert [cell["returned"] for cell in failed] == ["ALLOW", "ALLOW"]
    for cell in failed:
        title = f"✗ GETS THROUGH ({cell['profile']}): 1 call: acct (x86_64)"
        assert title in ended.closing
        assert ended.closing[ended.closing.index(title) + 1].startswith("  mend: Take it out of ")
    (again, *_) = [line for line in ended.closing if line.startswith("  again: ")]
    words = shlex.split(again.removeprefix("  again: "))
    assert words[0] == "pytest"
    assert words[-1] == f"--report-dir={tmp_path}/reports/again"


@pytest.mark.slow
def test_instrument_out_of_calibration_gives_no_verdict(tmp_path: Path) -> None:
    """A witness that lies is found out by the controls, and nothing that it said counts."""
    plugin = module(
        tmp_path,
        """
from probes.instrument import witness
from probes.action import Action, FilterReturn
lie = FilterReturn(Action.ERRNO, 1).value
witness.marker.__defaults__ = (lie,)
witness.sweeping_marker.__defaults__ = (lie,)
""",
    )
    ended = job.run(tmp_path / "reports", *SMALL, *ALONE, plugin=plugin)
    assert ended.status == ExitStatus.BROKEN
    check_complete(ended)
    assert ended.summary["verdict"] == "BROKEN"
    assert "out of calibration" in sentence_of(ended)
    assert ended.outcomes(claim="controls")["failed"] >= 1
    others = [cell["outcome"] for cell in ended.cells if cell["claim"] != "controls"]
    assert set(others) == {"broken"}


@pytest.mark.slow
def test_policy_with_fewer_calls(tmp_path: Path) -> None:
    """What a policy does not name belongs to the rest, and must be left alone."""
    calls = {"acct", "bpf", "reboot"}
    policy = tmp_path / "three.toml"
    policy.write_text(call_tables(calls), encoding="utf-8")
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, f"--policy={policy}")
    assert ended.status in {ExitStatus.CONFORMANT, ExitStatus.CANNOT_TELL}, ended.output
    check_complete(ended)
    assert {cell["syscall"] for cell in ended.cells if cell["claim"] == "terminates"} == calls
    rest = {cell["syscall"] for cell in ended.cells if cell["claim"] == "leaves the rest alone"}
    shipped = {call["name"] for call in tomllib.loads(POLICY.read_text(encoding="utf-8"))["call"]}
    assert shipped - calls <= rest
    assert not rest & calls
    assert set(ended.outcomes(claim="leaves the rest alone")) == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--junit-xml=/dev/full", "--html=/dev/full"])
def test_full_disk_is_one_sentence(option: str, tmp_path: Path) -> None:
    """What pytest could not write is said, and what was written stays."""
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, "-k", "terminates", option)
    assert ended.status == ExitStatus.INTERNAL_ERROR
    assert "Traceback" not in ended.output
    (error,) = ended.errors
    assert "cannot write the report (No space left on device)" in error
    check_complete(ended)


@pytest.mark.slow
def test_report_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A run whose record is lost is not conformant, nor the contrary."""
    plugin = module(
        tmp_path,
        """
import os
def pytest_collection_finish(session):
    os.mkdir(session.config.option.report_dir + "/results.json")
""",
    )
    options = (*ALONE, *SMALL, "-k", "terminates")
    ended = job.run(tmp_path / "reports", *options, plugin=plugin)
    assert ended.status == ExitStatus.INTERNAL_ERROR
    assert "Traceback" not in ended.output
    (error,) = ended.errors
    assert "results.json: cannot write the report" in error
    assert (tmp_path / "reports" / "junit.xml").exists()


@pytest.mark.slow
def test_old_reports_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    """Pages go before the run begins; the old record stays, beside the journal, until replaced."""
    folder = tmp_path / "reports"
    folder.mkdir()
    ours = ("results.json", "compliance.html", "summary.md", "junit.xml", "pytest.html")
    for name in (*ours, "notes.txt"):
        (folder / name).write_text("old", encoding="utf-8")
    plugin = module(
        tmp_path,
        """
import os
def pytest_collection_finish(session):
    print("left:", *sorted(os.listdir(session.config.option.report_dir)))
""",
    )
    ended = job.run(folder, *ALONE, *SMALL, "-k", "terminates", "-s", plugin=plugin)
    assert "left: notes.txt results.json results.partial.jsonl\n" in ended.output
    check_complete(ended)
    assert not (folder / "results.partial.jsonl").exists()


@pytest.mark.slow
def test_old_record_goes_when_a_run_selects_nothing(tmp_path: Path) -> None:
    """It would be taken for this run's."""
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "results.json").write_text("old", encoding="utf-8")
    ended = job.run(folder, *ALONE, *SMALL, "-k", "nothing_like_it")
    assert ended.status == ExitStatus.NOTHING_ASSESSED
    assert not [path for path in folder.iterdir() if path.name.startswith("results")]


@pytest.mark.slow
def test_run_that_stops_at_a_failure_is_not_complete(tmp_path: Path) -> None:
    """With -x there is a failure, and the rest was never judged."""
    plugin = module(tmp_path, EMPTY_FILTER)
    ended = job.run(tmp_path / "reports", *ALONE, *SMALL, "-x", "-k", "terminates", plugin=plugin)
    assert ended.status == ExitStatus.NOT_CONFORMANT
    assert not ended.results["complete"]
    assert "ended before its time" in ended.summary["sentence"]
    check_complete(ended)


@pytest.mark.slow
def test_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    """Somebody tidied up meanwhile."""
    plugin = module(
        tmp_path,
        """
import shutil
def pytest_collection_finish(session):
    shutil.rmtree(session.config.option.report_dir)
""",
    )
    options = (*ALONE, *SMALL, "-k", "terminates")
    ended = job.run(tmp_path / "reports", *options, plugin=plugin)
    assert ended.status == ExitStatus.CONFORMANT, ended.output
    check_complete(ended)


@pytest.mark.slow
def test_something_else_that_fails_is_no_pass(tmp_path: Path) -> None:
    """All verdicts are good, but a test had an error besides: neither 0 nor 1."""
    plugin = module(
        tmp_path,
        """
def pytest_runtest_call(item):
    if item.name == "test_terminates[x86_64-bpf]":
        item.addfinalizer(lambda: 1 / 0)
""",
    )
    options = (*ALONE, *SMALL, "-k", "terminates")
    ended = job.run(tmp_path / "reports", *options, plugin=plugin)
    assert ended.summary["verdict"] == "PASS"
    assert ended.status == ExitStatus.BROKEN
    assert any("Something else than a verdict failed" in line for line in ended.errors)
