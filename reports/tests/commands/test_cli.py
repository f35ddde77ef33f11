"""The command as its users meet it: words, exit statuses, streams and files."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from probes import arch as abis
from probes.action import Profile
from probes.errors import ExitStatus
from probes.files import SUITE
from probes.filters import bpf
from probes.targets import builtin
from reports.commands import diff
from reports.commands.main import run as main
from reports.tests.filters.test_allowlist import SHIPPED

CHECKOUT = SUITE
COMMAND = [sys.executable, "-m", "syscall_conformance"]

on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="names ABIs of x86_64")
pytestmark = on_x86_64


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


def the_program(profile: Profile, *names: str) -> bytes:
    arches = [abis.ARCHES[name] for name in names] or abis.offered_by("x86_64")
    return bpf.to_bytes(builtin.build(SHIPPED, arches, profile))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def kill_file(tmp_path: Path) -> Path:
    path = tmp_path / "kill.bpf"
    path.write_bytes(the_program(Profile.KILL))
    return path


def test_export_writes_the_program_to_standard_output() -> None:
    done = run("export", "--profile", "log", "--format", "bpf")
    assert done.returncode == 0
    assert done.stdout == the_program(Profile.LOG)
    assert done.stderr == b""


def test_export_of_another_machine_s_abis(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("export", "--profile=errno", "--format=oci", "--arch=arm,aarch64")
    status, out, err = said(capsys, *words)
    assert status == 0
    assert json.loads(out)["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert [line.split(":")[0] for line in err.splitlines()] == ["note", "note"]


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "filter.bpf"
    path.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert main(["export", "--profile=kill", "--format=bpf", "-o", str(link)]) == 0
    assert path.read_bytes() == the_program(Profile.KILL)
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["filter.bpf", "link"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    assert main(["export", "--profile=kill", "--format=bpf", "-o", os.devnull]) == 0
    assert Path(os.devnull).is_char_device()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    try:
        assert main(["export", "--profile=kill", "--format=bpf", "-o", str(fifo)]) == 0
        assert reader.communicate(timeout=30)[0] == the_program(Profile.KILL)
    finally:
        reader.kill()
        reader.wait()
    assert fifo.is_fifo()


def test_what_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "filter.bpf"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, out, err = said(capsys, "export", "--profile=kill", "--format=bpf", "-o", str(path))
    assert (status, out) == (4, "")
    assert err == (
        f"syscall-conformance export: {path}: cannot be written (No space left on device): name "
        f"another file\n"
    )
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["filter.bpf"]


def on_a_terminal(*words: str) -> tuple[int, str, bytes]:
    """The command's status, what the terminal shows, and standard error."""
    controller, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=CHECKOUT,
            env={**os.environ, "COLUMNS": "60"},
            stdout=terminal,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
        os.write(terminal, b"\n")  # so that there is something to read
        return done.returncode, os.read(controller, 4096).decode().strip(), done.stderr
    finally:
        os.close(terminal)
        os.close(controller)


def test_a_terminal_gets_no_raw_program() -> None:
    status, shown, err = on_a_terminal("export", "--profile=errno", "--format=bpf")
    assert (status, shown) == (4, "")
    assert err == (
        b"syscall-conformance export: a raw program is not for a terminal: name a file with -o "
        b"FILE\n"
    )


@pytest.mark.slow
def test_a_terminal_gets_lines_of_its_width() -> None:
    status, shown, err = on_a_terminal("explain", "bpf:/dev/zero", "--number=acct")
    assert (status, shown) == (4, "")
    assert err.count(b"\n") == 1
    status, shown, err = on_a_terminal("diff", "builtin", "builtin", "--profile=errno")
    assert (status, err) == (0, b"")
    assert shown.splitlines()[-2:] == [
        "A and B are equal on every architecture, for every number",
        "  and all arguments: proved.",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("explain", "builtin"), 0),
        (("diff", "builtin", "policy:{policy}"), 0),
        (("diff", "builtin", "bpf:{kill}", "--profile", "log"), 1),
    ],
)
def test_a_reader_who_has_had_enough_changes_nothing(
    words: Sequence[str], status: int, kill_file: Path
) -> None:
    policy_file = CHECKOUT / "cases/policies/container-restrictions.toml"
    filled = [word.format(policy=policy_file, kill=kill_file) for word in words]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *filled],
            cwd=CHECKOUT,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (status, b"")


def test_a_closed_standard_output_is_told() -> None:
    shell = 'exec "$@" >&-'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *COMMAND, "explain", "builtin"],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 4
    assert b"standard output is closed" in done.stderr


@pytest.mark.parametrize("words", [("explain", "builtin"), ("diff", "builtin", "builtin")])
def test_a_full_standard_output_is_told(words: tuple[str, ...]) -> None:
    """Whether it is more than Python's buffer holds, or less, and still there at the end."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 4
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("export", "--profile=errno", "--format=c"),
        ("export", "--profile=errno", "--format=spo"),
        ("export", "--profile=errno", "--format=systemd"),
        ("export", "--profile=errno", "--format=oci"),
        ("rules", "--format=sigma"),
        ("rules", "--format=osquery-pack", "--arch=i386"),
        ("explain", "builtin"),
        ("explain", "builtin", "--number=acct"),
        ("diff", "builtin", "bpf:{kill}", "--profile=log"),
    ],
)
def test_the_same_words_give_the_same_bytes(words: Sequence[str], kill_file: Path) -> None:
    filled = [word.format(kill=kill_file) for word in words]
    one, two = (run(*filled, PYTHONHASHSEED=seed, COLUMNS=seed) for seed in ("1", "200"))
    assert one.stdout == two.stdout
    assert (one.returncode, one.stderr) == (two.returncode, two.stderr)
    assert one.stdout


def test_diff_of_equal_different_and_unprovable_filters(
    kill_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = f"bpf:{kill_file}"
    status, out, err = said(capsys, "diff", "builtin", kill)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "A  the builtin filter of container-restrictions (kill)"
    assert out.endswith("for every number and all arguments: proved.\n")
    status, out, err = said(capsys, "diff", "builtin", kill, "--profile", "log")
    assert (status, err) == (1, "")
    assert "KILL_PROCESS" in out
    hard = tmp_path / "hard.bpf"
    hard.write_bytes(
        bpf.to_bytes(
            (
                bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARGS),
                bpf.statement(bpf.RET_A),
            )
        )
    )
    status, out, err = said(capsys, "diff", kill, f"bpf:{hard}")
    assert (status, out) == (7, "")
    assert err.startswith("syscall-conformance diff: there is no proof: the analysis outgrew")
    assert err.count("\n") == 1
    # One call with its arguments needs none.
    words = ("explain", f"bpf:{hard}", "--number=0", "--args=0,0", "--arch=x86_64")
    status, out, err = said(capsys, *words)
    assert (status, err) == (0, "")
    assert "read (0x0) on x86_64 with args (0x0, ...): KILL_THREAD" in out


def test_diff_of_a_profile_that_was_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    path = tmp_path / "log.json"
    assert main(["export", "--profile=log", "--format=oci", "-o", str(path)]) == 0
    capsys.readouterr()
    status, out, _ = said(capsys, "diff", "builtin", f"oci:{path}", "--profile=log")
    assert status == 1
    tables = out.split("\n\n")
    assert "LOG  KILL_THREAD  every number" in tables[-1]
    newer = re.compile(r"^  ALLOW  LOG +[0-9]+ calls: ", re.MULTILINE)
    assert all(newer.search(each) for each in tables[2:-1])


def test_diff_of_profiles_that_are_equal_to_some_readers_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever call it is about: nobody's policy limits what is compared."""
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_CHOWN"]}}
    words = ["diff"]
    for name, rules in (("plain", []), ("conditional", [rule])):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
        words.append(f"oci:{path}")
    status, out, _ = said(capsys, *words)
    assert status == 6
    assert "cannot tell: readers of the profile do not agree about calls" in " ".join(out.split())
    assert said(capsys, *words, "--engine=docker")[0] == 0
    assert said(capsys, *words, "--engine=containerd")[0] == 1


@pytest.mark.parametrize("word", ["acct", "163", "0xa3", "0b10100011"])
def test_explain_of_one_call(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, "explain", "builtin", "--number", word, "--arch", "x86_64")
    assert (status, err) == (0, "")
    assert "acct (0xa3) on x86_64:\n  KILL_PROCESS, whatever the arguments\n" in out


def test_explain_looks_only_where_the_call_is(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = said(capsys, "explain", "builtin", "--number", "kexec_file_load")
    assert re.findall("^kexec_file_load .* on (.*):$", out, re.MULTILINE) == ["x86_64", "x32"]
    _, out, _ = said(capsys, "explain", "builtin", "--number", "0x400000a3")
    assert re.findall(" on (.*):$", out, re.MULTILINE) == ["x32", "i386", "any other architecture"]


def test_explain_disassembles_on_request(
    kill_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = said(capsys, "explain", f"bpf:{kill_file},{kill_file}", "--disassemble")
    assert status == 0
    program = bpf.from_bytes(kill_file.read_bytes())
    assert out.count("disassembly of filter") == 2
    for line in bpf.disassemble(program).splitlines():
        assert out.count(f"\n{line}") == 2


@pytest.mark.root("reads the filters of a process")
def test_explain_of_a_process_without_a_filter(capsys: pytest.CaptureFixture[str]) -> None:
    program = "import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        status, out, err = said(capsys, "explain", f"pid:{child.pid}")
        assert (status, err) == (0, "")
        assert out.startswith(f"process {child.pid} (")
        assert "has no seccomp filter at all" in " ".join(out.split())
        assert "ALLOW every number" in " ".join(out.split())
    finally:
        child.communicate(timeout=30)


REFUSALS = [
    (("explain", "nonsense"), "'nonsense' is no target: a target is builtin, policy:FILE"),
    (("explain", "bfp:x"), "'bfp:x' is no target (did you mean bpf?)"),
    (("explain", "builtin:x"), "'builtin:x' is no target: a target is"),
    (("explain", "bpf:"), "'bpf:' is no target: a target is"),
    (("explain", "bpf:,x"), "a file name between the commas is empty"),
    (("explain", "bpf:/nowhere/x"), "No such file or directory"),
    (("explain", "bpf:/"), "not a regular file"),
    (("explain", "oci:/nowhere/x"), "No such file or directory"),
    (("explain", "policy:/nowhere/x"), "No such file or directory"),
    (("explain", "policy:/dev/null"), "not a regular file"),
    (("explain", "pid:0"), "a process id is a whole number above 0"),
    (("explain", "pid:-1"), "a process id is a whole number above 0"),
    (("explain", "pid:" + "9" * 5000), "a process id is a whole number above 0"),
    (("explain", "pid:1", "--arch=aarch64"), "this machine is x86_64"),
    (("explain", "builtin", "--arch=x86"), "unknown architecture 'x86' (did you mean i386?)"),
    (("explain", "builtin", "--arch=x86_64,arm"), "x86_64 and arm are of different machines"),
    (("explain", "builtin", "--arch=,"), "unknown architecture ''"),
    (("explain", "builtin", "--number=aact"), "has a call of that name: did you mean acct?"),
    (("explain", "builtin", "--number=4294967296"), "a number has 32 bits, 0 to 0xffffffff"),
    (("explain", "builtin", "--number=-1"), "a number has 32 bits, 0 to 0xffffffff"),
    (("explain", "builtin", "--number=socketcall", "--arch=x86_64"), "no such call on x86_64"),
    (("explain", "builtin", "--args=1"), "--args goes with --number"),
    (("explain", "builtin", "--number=acct", "--args=x"), "'x' is no argument of 64 bits"),
    (("explain", "builtin", "--number=acct", f"--args={1 << 64}"), "is no argument of 64 bits"),
    (("explain", "builtin", "--number=acct", "--args=1,2,3,4,5,6,7"), "at most 6 arguments"),
    (("explain", "builtin", "--cap=CAP_NOTHING"), "unknown capability"),
    (("explain", "builtin", "--kernel=new"), "is no kernel release"),
    (("explain", "builtin", "--policy=/nowhere"), "No such file or directory"),
    (("diff", "builtin", "x:y"), "'x:y' is no target"),
    (("export", "--profile=kill", "--format=spo", "--arch=loongarch64"), "has no loongarch64"),
    (("rules", "--format=sigma", "--arch=vax"), "vax"),
    (("rules", "--format=sigma", "--policy=/nowhere"), "No such file or directory"),
    (("rules", "--format=sigma", "-o", "/nowhere/x"), "/nowhere/x: cannot be"),
    (("explain", "builtin", "--groups=252"), "--groups 252: write systemd, a release as in"),
    (("explain", "builtin", "--groups=systemd@x"), "--groups systemd@x: write systemd, a release"),
    (("explain", "builtin", "--groups=systemd@9"), "the oldest release whose groups are known is"),
    (("export", "--profile=kill", "--format=oci", "-o", "/nowhere/x"), "/nowhere/x: cannot be"),
    (("export", "--profile=kill", "--format=oci", "-o", "/"), "/: cannot be written"),
    (("export", "--profile=kill", "--format=oci", "-o", "a\0b"), "cannot be written"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSALS, ids=lambda value: str(value)[:50])
def test_bad_input_is_refused_in_one_sentence(
    words: Sequence[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = said(capsys, *words)
    assert (status, out) == (4, "")
    assert err.startswith(f"syscall-conformance {words[0]}: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "syscall-conformance: the following arguments are required: COMMAND (see "),
        (("explode",), "syscall-conformance: argument COMMAND: invalid choice: 'explode'"),
        (("diff", "builtin"), "syscall-conformance diff: the following arguments are required: B"),
        (("diff", "a", "b", "c"), "unrecognized arguments: c"),
        (("export", "--profile=all", "--format=oci"), "invalid choice: 'all' (choose from"),
        (("export", "--profile=kill"), "the following arguments are required: --format"),
        (("explain", "builtin", "--num", "1"), "unrecognized arguments: --num 1"),
        (("explain", "a", "b\nc"), r"unrecognized arguments: b\nc"),
    ],
)
def test_a_faulty_command_line_is_refused_in_one_sentence(
    words: Sequence[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(list(words))
    captured = capsys.readouterr()
    assert refused.value.code == ExitStatus.USAGE
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.endswith("--help)\n")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("command", ["", "export", "explain", "diff"])
def test_help_is_given(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    captured = capsys.readouterr()
    assert left.value.code == 0
    assert captured.err == ""
    assert captured.out.startswith(f"usage: {' '.join(['syscall-conformance', *command.split()])}")
    for option in re.findall("--[a-z-]+", captured.out):
        assert option in {
            *("--help", "--version", "--profile", "--format", "--policy", "--arch", "--number"),
            *("--args", "--disassemble", "--cap", "--kernel", "--engine", "--runtime"),
            *("--seccomp", "--runtime-arg", "--runtime-command", "--runtime-endpoint"),
            *("--groups", "--output", "--json", "--html"),
            *("--cap-add", "--cgroup-manager"),  # the runtimes' own, in examples
        }


def test_a_bug_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(diff, "difference", fail)
    status, out, err = said(capsys, "diff", "builtin", "builtin")
    assert (status, out) == (3, "")
    assert err.startswith("Traceback")
    monkeypatch.setattr(diff, "difference", _interrupted)
    status, out, err = said(capsys, "diff", "builtin", "builtin")
    assert (status, out, err) == (2, "", "syscall-conformance interrupted\n")


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_profiles_are_resolved_for_the_container_that_is_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyseccomp", reason="needs pyseccomp and libseccomp2")
    allow = {"names": ["acct"], "action": "SCMP_ACT_ALLOW"}
    path = tmp_path / "profile.json"
    path.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [
                    {**allow, "includes": {"caps": ["CAP_SYS_PACCT"]}},
                    {**allow, "names": ["kcmp"], "includes": {"minKernel": "4.8"}},
                ],
            }
        )
    )

    def answer(call: str, *words: str) -> str:
        where = ("--number", call, "--arch=x86_64", "--runtime=crun")
        status, out, _ = said(capsys, "explain", f"oci:{path}", *where, *words)
        assert status == 0
        found = re.search("^  (.*), whatever the arguments", out, re.MULTILINE)
        assert found
        return found[1]

    assert answer("acct") == "ERRNO(EPERM)"
    assert answer("acct", "--cap=sys_pacct") == "ALLOW"
    assert answer("acct", "--cap=all") == "ALLOW"
    assert answer("kcmp", "--kernel=4.8.0-generic") == "ALLOW"
    assert answer("kcmp", "--kernel=4.7") == "ERRNO(EPERM)"
    _, runc, _ = said(capsys, "explain", f"oci:{path}", "--number=0x1000", "--arch=x86_64")
    assert "ERRNO(ENOSYS), whatever the arguments" in runc
