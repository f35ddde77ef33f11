"""The C program that asks sandboxes says what their filters do, and makes no call."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from probes import arch
from probes.action import Action, FilterReturn
from probes.arch import ARCHES
from probes.documents import policy
from probes.errors import BadInputError, InstrumentError
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.releases import prober
from probes.releases.prober import ABIS
from probes.tests.support.oracles import require

HERE = pytest.mark.root("enters the ABIs of x86_64", machine="x86_64")
NAMES = policy.load(DEFAULT_POLICY, arch.all_names()).names

ANSWERS: Mapping[str, tuple[Action, int, str]] = {
    "acct": (Action.ERRNO, 1, "EPERM"),
    "add_key": (Action.ERRNO, 38, "ENOSYS"),
    "bpf": (Action.ERRNO, 0, "returns"),
    "mount": (Action.KILL_PROCESS, 0, "SIGSYS"),
    "setns": (Action.KILL_THREAD, 0, "SIGSYS"),
    "kcmp": (Action.TRAP, 0, "SIGSYS"),
    "reboot": (Action.LOG, 0, "runs"),
    "swapoff": (Action.ALLOW, 0, "runs"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("gcc", "gcc libc6-dev")
    return prober.build(tmp_path_factory.mktemp("prober"))


Rules = Mapping[tuple[str, str], int]


def answer(action: Action, data: int = 0) -> int:
    return FilterReturn(action, data).value


def confined(root: Path, rules: Rules, *asked: str) -> str:
    """What it prints under a filter of these rules, by ABI and call."""
    code = [one for (abi, name), value in rules.items() for one in rule(abi, name, value)]
    code.append(bpf.statement(bpf.RET_K, answer(Action.ALLOW)))
    program = root.parent / "filter.bpf"
    program.write_bytes(bpf.to_bytes(tuple(code)))
    bwrap = require("bwrap", "bubblewrap")
    words = (bwrap, "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--seccomp", "0")
    with program.open("rb") as file:
        done = subprocess.run(
            [*words, f"/{prober.NAME}", *asked],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert not done.stderr
    return done.stdout


def rule(abi: str, name: str, value: int) -> list[bpf.Instruction]:
    number = prober.numbers(abi, [name])[name] | (0x40000000 if abi == "x32" else 0)
    return [
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_ARCH),
        bpf.jump(bpf.JEQ, 0x40000003 if abi == "i386" else 0xC000003E, 0, 3),
        bpf.statement(bpf.LD_ABS, bpf.OFFSET_NR),
        bpf.jump(bpf.JEQ, number, 0, 1),
        bpf.statement(bpf.RET_K, value),
    ]


@HERE
@pytest.mark.containers
def test_each_action_has_its_answer_on_each_abi(root: Path) -> None:
    rules = {
        (abi, name): answer(action, data)
        for abi in ABIS
        for name, (action, data, _) in ANSWERS.items()
    }
    found = prober.read(confined(root, rules, *prober.words(NAMES)), NAMES)
    for (abi, name), said in found.items():
        assert said == (ANSWERS[name][2] if name in ANSWERS else "runs"), (abi, name)
    assert {abi for abi, _ in found} == set(ABIS)


@HERE
@pytest.mark.containers
def test_one_rule_on_one_abi_shows_there_alone(root: Path) -> None:
    rules = {("x32", "mount"): answer(Action.ERRNO, 1)}
    found = prober.read(confined(root, rules, *prober.words(["mount", "acct"])), ["mount", "acct"])
    assert [key for key, said in found.items() if said != "runs"] == [("x32", "mount")]


@HERE
@pytest.mark.containers
@pytest.mark.parametrize(
    "action", [answer(Action.ERRNO, 1), answer(Action.KILL_PROCESS)], ids=["errno", "kill"]
)
def test_without_ptrace_it_has_a_listener(root: Path, action: int) -> None:
    names = ["ptrace", "mount", "acct"]
    rules = {("x86_64", "ptrace"): action, ("x86_64", "mount"): answer(Action.ERRNO, 1)}
    words = prober.words(names[1:])
    found = prober.read(confined(root, rules, *words), names[1:])
    assert {call: said for (abi, call), said in found.items() if abi == "x86_64"} == {
        "mount": "EPERM",
        "acct": "runs",
    }
    # Where neither is to be had, it does not take the filter's answer to that for one to the call.
    neither = {**rules, ("x86_64", "seccomp"): action}
    with pytest.raises(InstrumentError, match="cannot tell about x86_64 165: untold seccomp"):
        prober.read(confined(root, neither, *words), names[1:])


@HERE
@pytest.mark.containers
def test_no_call_is_carried_out(root: Path) -> None:
    """Were exit_group(2) carried out, the child could tell nothing."""
    assert confined(root, {}, "x86_64:231").splitlines() == ["x86_64 231 runs", "done"]


def test_its_numbers_are_the_suites_own() -> None:
    """Two tables that come from different places."""
    for abi in ABIS:
        found = prober.numbers(abi, NAMES)
        for name in NAMES:
            known = ARCHES[abi].number(name)
            assert found.get(name) == (None if known is None else known & ~0x40000000), (abi, name)


def test_an_answer_that_is_none_is_no_answer() -> None:
    words = prober.words(["mount"])
    whole = "".join(f"{word.replace(':', ' ')} runs\n" for word in words) + "done\n"
    assert set(prober.read(whole, ["mount"]).values()) == {"runs"}
    for faulty, why in (
        (whole.removesuffix("done\n"), "did not end well"),
        ("", "no word"),
        (whole.replace("runs", "untold fork", 1), "cannot tell about x86_64 165: untold fork"),
        (whole.partition("\n")[2], "said nothing about"),
    ):
        with pytest.raises(InstrumentError, match=why):
            prober.read(faulty, ["mount"])


def test_without_a_compiler_or_headers_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober, "_HEADERS", tmp_path)
    with pytest.raises(BadInputError, match="install --no-install-recommends linux-libc-dev"):
        prober.words(["mount"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInputError, match="install --no-install-recommends gcc libc6-dev"):
        prober.build(tmp_path / "root")
