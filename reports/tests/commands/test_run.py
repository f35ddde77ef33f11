"""``run`` as its users write it: what pytest is told, and what is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cases.run import command_line as plugin
from probes import isolation, main_job
from probes.errors import BadInputError
from probes.files import CASES, SUITE
from probes.run.options import RUN
from probes.tests.support.oracles import require
from reports import judging
from reports.commands import main, run
from reports.tests.support.job import CHECKOUT, SMALL, run_command, undisturbed

COMMAND = [sys.executable, "-m", "syscall_conformance"]
PATIENCE_SECONDS = 180


def told(*words: str) -> list[str]:
    """What pytest is told, when a user writes these words."""
    return run._words(vars(main._parser(["run"]).parse_args(["run", *words])))


def test_every_option_of_the_checkout_s_run_is_one_of_the_command_s() -> None:
    """And pytest gets it as the user wrote it; nothing that he did not write."""
    values = {one.name: "7" if isinstance(one.default, float) else "word" for one in RUN}
    words = [f"{one.word}={values[one.name]}" if one.metavar else one.word for one in RUN]
    written = [word.replace("=7", "=7.0") for word in words]
    assert told(*words, "-n1") == [str(CASES), *written, "-n1"]
    assert told("-n1", "--report-dir=r") == [str(CASES), "--report-dir=r", "-n1"]


def test_pytest_s_plug_in_and_the_command_read_one_table() -> None:
    parser = pytest.Parser(_ispytest=True)
    plugin.add(parser)
    group = parser.getgroup("syscall-conformance")
    assert [name for option in group.options for name in option.names()] == [
        one.word for one in RUN
    ]


def test_pytest_s_own_options() -> None:
    words = ["-k", "acct or mount", "-x", "-vv", "--maxfail=3", "--co", "--tb=short", "-rA"]
    assert told(*words, "-n2") == [
        *(str(CASES), f"--report-dir={main_job.report_folder()}"),
        *("-kacct or mount", "-n2", "-x", "--maxfail=3", "-v", "-v", "-rA", "--tb=short"),
        "--collect-only",
    ]


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ((), "-nauto"),
        (("-n", "3"), "-n3"),
        (("--audit-fd=3",), "-n0"),
        (("--audit-source=fd:3",), "-n0"),
        (("--audit-source=kmsg",), "-n0"),
        (("--audit-source=netlink",), "-nauto"),
        (("--audit-source=kmsg", "-n", "2"), "-n2"),
    ],
)
def test_how_many_processes_judge(words: tuple[str, ...], workers: str) -> None:
    assert [word for word in told(*words) if word.startswith("-n")] == [workers]


def test_tests_by_their_names() -> None:
    name = "test_kill.py::test_terminates[x86_64-acct]"
    assert told(f"cases/{name}")[0] == f"{CASES}/{name}"
    assert told(f"{CASES}/{name}", "cases/test_log.py")[:2] == [
        f"{CASES}/{name}",
        f"{CASES}/test_log.py",
    ]
    assert told("cases")[0] == str(CASES)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-n", "many"), "-n many: how many processes judge is a whole number, auto or logical"),
        (("cases/tests",), "cases/tests: there is no such test of the main job"),
        (("probes/tests/test_arch.py",), "there is no such test of the main job"),
        (("cases/test_nothing.py::test_x",), "there is no such test of the main job"),
        (("../cases/test_kill.py",), "there is no such test of the main job"),
        (("--dist=each", "--tx=popen", "-n2"), "with --dist each every node judges alone"),
        (("--dist=each", "--tx=popen", "cases"), "a node takes no test's name: select tests by -k"),
    ],
)
def test_refusals(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadInputError) as refused:
        told(*words)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            "ssh=root@host//python=/opt/bin/python//id=a",
            "ssh=root@host//id=a//python=/opt/bin/python -P -m syscall_conformance --node//chdir=.",
        ),
        ("ssh=host", "ssh=host//python=python3 -P -m syscall_conformance --node//chdir=."),
        ("2*ssh=host", "2*ssh=host//python=python3 -P -m syscall_conformance --node//chdir=."),
        ("ssh=host//chdir=/srv/suite", "ssh=host//chdir=/srv/suite"),
        ("popen//id=a", f"popen//id=a//chdir={SUITE}"),
        ("3*popen", f"3*popen//chdir={SUITE}"),
        ("socket=127.0.0.1:8888//chdir=/suite", "socket=127.0.0.1:8888//chdir=/suite"),
        ("socket=127.0.0.1:8888", "socket=127.0.0.1:8888"),
    ],
)
def test_a_node_stands_in_its_own_suite(given: str, made: str) -> None:
    assert f"--tx={made}" in told("--dist=each", f"--tx={given}")


def test_nodes_are_told_nothing_of_this_machine_s_folders() -> None:
    _, *words = judging.command(*told("--dist=each", "--tx=popen", "-kacct"))
    given = words[words.index(main_job.words()[0]) :]
    kept = main_job.for_nodes(given)
    assert "-kacct" in kept
    assert f"--config-file={main_job.CONFIGURATION}" in kept
    assert not [word for word in kept if word.startswith(str(SUITE)) or f"={SUITE}/reports" in word]


def start(
    *words: str, cwd: Path, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    with undisturbed():
        return run_command([*COMMAND, *words], cwd=cwd, variables=variables)


@pytest.mark.slow
def test_reports_go_to_a_folder_of_that_name(tmp_path: Path) -> None:
    done = start("run", *SMALL, "-kcontrols", "-n0", cwd=tmp_path)
    assert done.returncode in {0, 5, 6}, done.stdout + done.stderr
    assert "reports in syscall-conformance-report: " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["syscall-conformance-report"]


def test_in_the_checkout_they_go_where_pytest_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert main_job.report_folder() == "reports/out"


@pytest.mark.parametrize(
    ("failing", "status"), [("raise ValueError('a bug')", 3), ("raise BrokenPipeError", 3)]
)
def test_what_python_says_for_a_bug_is_no_verdict(
    failing: str, status: int, tmp_path: Path
) -> None:
    """Python ends with 1 then, which is the status of a platform that does not hold."""
    (tmp_path / "pytest.py").write_text(f"def main():\n    {failing}\n")
    program = f"sys.path.insert(0, {str(tmp_path)!r})\n{judging._PYTEST}"
    words = isolation.python(program)
    done = subprocess.run(words, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == status, done.stderr


def test_a_reader_who_has_had_enough_takes_no_verdict_back(tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("def main():\n    print('much')\n    return 6\n")
    program = f"sys.path.insert(0, {str(tmp_path)!r})\n{judging._PYTEST}"
    readable, writable = os.pipe()
    os.close(readable)
    done = subprocess.run(
        isolation.python(program),
        env=isolation.environment(),
        stdout=writable,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    os.close(writable)
    assert done.returncode == 6


# What shells complete.

COMPLETED = [
    ("syscall-conformance g", {"gate", "guest"}),
    ("syscall-conformance run --audit-", {"--audit-source", "--audit-fd"}),
    ("syscall-conformance gate --profile ", {"kill", "errno", "log"}),
    ("syscall-conformance completion ", {"bash", "zsh", "fish"}),
]

BASH = """\
eval "$(syscall-conformance completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete syscall-conformance "${1##* }" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """\
autoload -U compinit && compinit -u -D
eval "$(syscall-conformance completion zsh)"
[[ ${_comps[syscall-conformance]} == _python_argcomplete ]] || exit 1
_describe() { print -l -- ${completions%%:*} }
words=(${(z)1}) BUFFER=$1 CURSOR=${#1}
_python_argcomplete syscall-conformance
"""
FISH = """\
syscall-conformance completion fish | source
complete -C $argv[1]
"""
SHELLS = {"bash": (BASH, ["bash"]), "zsh": (ZSH, ["zsh"]), "fish": (FISH, ["fish"])}


@pytest.mark.slow
@pytest.mark.parametrize(("line", "expected"), COMPLETED)
@pytest.mark.parametrize("shell", SHELLS)
def test_completion(shell: str, line: str, expected: set[str], tmp_path: Path) -> None:
    """As the shell itself does it."""
    require(shell, shell)
    program, words = SHELLS[shell]
    before = ["--no-config"] if shell == "fish" else ["-f"] if shell == "zsh" else ["--norc"]
    given = [*words, *before, "-c", program]
    given += [line] if shell == "fish" else [shell, line]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = run_command(given, cwd=tmp_path, variables={"PATH": path, "HOME": str(tmp_path)})
    said = {word.split("\t")[0].strip() for word in done.stdout.splitlines()}
    assert said - {"", "-h", "--help"} == expected, done.stderr


@pytest.mark.slow
def test_a_shell_s_variables_end_no_command_that_has_words(tmp_path: Path) -> None:
    """They would end it with 0; pytest heeds them, too, where argcomplete is installed."""
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": "syscall-conformance ", "COMP_POINT": "20"}
    name = "cases/test_kill.py::test_terminates[x86_64-acct]"
    done = start("run", name, "--profile=kill", "-n0", cwd=tmp_path, variables=variables)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert shutil.which("syscall-conformance", path=str(Path(sys.executable).parent))
