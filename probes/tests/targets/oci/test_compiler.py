"""Compiling profiles: what comes out is what the profile means, or a finding says where not."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from probes.arch import ARCHES, Arch
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import SeccompData
from probes.targets.oci import compile_request, compiler, kept
from probes.targets.oci.compiler import Compiled
from probes.targets.oci.reader import version_of
from probes.tests.support import profiles
from probes.tests.support.profiles import Json

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the profiles are x86_64's")

NATIVE = ARCHES["x86_64"]
ENOSYS = 0x00050026


def compiled(
    directory: Path, content: object, *, enosys_stub: bool = False, native: Arch = NATIVE
) -> Compiled:
    path = directory / "profile.json"
    path.write_text(json.dumps(content))
    resolved = compiler.resolve(compiler.read(path), native, profiles.HELD, profiles.KERNEL)
    return compiler.compile(resolved, enosys_stub=enosys_stub)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profiles")


def made(count: int, **more: Any) -> settings:  # noqa: ANN401 - whatever hypothesis takes
    """The same examples each time, however slow the machine is."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
        **more,
    )


def compiled_or_refused(directory: Path, content: object, **how: Any) -> Compiled | str:  # noqa: ANN401 - as compiled
    try:
        return compiled(directory, content, **how)
    except BadInputError as error:
        return str(error)


def check_meaning(directory: Path, profile: Json, seed: int, *, enosys_stub: bool) -> None:
    """Holds a compiled profile against a reading of our own, for calls at its edges."""
    result = compiled_or_refused(directory, profile, enosys_stub=enosys_stub)
    if isinstance(result, str):
        # The last two are for the errno 4095.
        assert re.search(
            r"another rule asks the same|libseccomp cannot compile|"
            r"\(Invalid argument; remove it\)|refuse the default action ERRNO\(4095\)",
            result,
        )
        return
    said = "".join(result.findings)
    rng = Random(seed)  # noqa: S311 - a failure must come again
    permissive = profile["defaultAction"] in {"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"}
    for abi, number, arguments in profiles.calls(rng, profile, 60):
        data = SeccompData(number, profiles.TOKENS[abi], arguments)
        value = bpf.simulate(result.programs[0], data)
        possible = profiles.meaning(profile, abi, number, arguments)
        named = profiles.SCMP[abi] in {"SCMP_ARCH_X86_64", *profile.get("architectures", ())}
        highest = profiles.highest(profile, abi)
        if enosys_stub and not permissive and named and 0 < highest < number:
            possible = {ENOSYS}
        name = ARCHES[abi].name_of(number)
        # Where libseccomp is wrong, a finding must say so.
        excused = re.search(rf"does not keep [^:]* for {name} on {abi}: ", said)
        assert value in possible or excused, (hex(value), possible, data, said)


@pytest.mark.slow
@made(150)
@given(profile=profiles.valid, seed=st.integers(0, 1 << 32), enosys_stub=st.booleans())
def test_a_compiled_profile_does_what_it_says(
    place: Path, profile: Json, seed: int, *, enosys_stub: bool
) -> None:
    check_meaning(place, profile, seed, enosys_stub=enosys_stub)


@pytest.mark.slow
@made(150)
@given(profile=profiles.broken())
def test_a_broken_profile_is_compiled_or_refused(place: Path, profile: Json) -> None:
    """Never anything else than BadInputError, with one sentence that names the file."""
    result = compiled_or_refused(place, profile)
    if isinstance(result, str):
        assert result.startswith(f"{place}/profile.json: ")
        assert result.isprintable()
        return
    bpf.check(result.programs[0])
    assert all(finding.isprintable() for finding in result.findings)


@pytest.mark.slow
@made(150)
@given(text=st.text(max_size=60) | st.from_regex(r"[\[\]{}\":, 0-9a-z\\]{0,40}", fullmatch=True))
def test_any_text_is_refused_in_a_sentence(place: Path, text: str) -> None:
    path = place / "text.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInputError, match=r"text\.json: "):
        compiler.read(path)


RULE: Mapping[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}
SMALLEST: Mapping[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [RULE]}


def condition(index: int, op: str, value: int, second: int = 0) -> Json:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": second}


@pytest.mark.parametrize(
    ("written", "met", "not_met"),
    [
        (condition(0, "NE", 5), (4, 1 << 32 | 5), (5,)),
        (condition(1, "LT", 1 << 32), (0, (1 << 32) - 1), (1 << 32, 1 << 63)),
        (condition(2, "LE", 1 << 32), (0, 1 << 32), ((1 << 32) + 1, 1 << 63)),
        (condition(3, "EQ", (1 << 32) + 1), ((1 << 32) + 1,), (1, 1 << 32)),
        (condition(4, "GE", 1 << 63), (1 << 63, (1 << 64) - 1), ((1 << 63) - 1,)),
        (condition(5, "GT", (1 << 32) - 1), (1 << 32, 1 << 63), ((1 << 32) - 1, 0)),
        (condition(0, "MASKED_EQ", 0xF0, 0x30), (0x3F, 1 << 40 | 0x30), (0x40, 0)),
    ],
    ids=lambda written: written["op"] if isinstance(written, dict) else "",
)
def test_every_operator_on_64_bits(
    written: Json, met: tuple[int, ...], not_met: tuple[int, ...], tmp_path: Path
) -> None:
    rule = {**RULE, "args": [written]}
    (program,) = compiled(tmp_path, {**SMALLEST, "syscalls": [rule]}).programs
    for values, returned in ((met, 0x00050001), (not_met, 0x7FFF0000)):
        for value in values:
            arguments = tuple(value if index == written["index"] else 7 for index in range(6))
            data = SeccompData(NATIVE.numbers["read"], NATIVE.audit_arch, arguments)
            assert bpf.simulate(program, data) == returned


def test_conditions_on_different_arguments_hold_together(tmp_path: Path) -> None:
    rule = {**RULE, "args": [condition(0, "EQ", 1), condition(1, "EQ", 2)]}
    (program,) = compiled(tmp_path, {**SMALLEST, "syscalls": [rule]}).programs
    refused = [pair for pair in ((1, 2), (1, 0), (0, 2)) if returned(program, pair) == 0x00050001]
    assert refused == [(1, 2)]


def test_conditions_on_one_argument_are_alternatives(tmp_path: Path) -> None:
    """Also those on other arguments then stand alone: runc's and crun's way."""
    rule = {**RULE, "args": [condition(0, "EQ", 1), condition(0, "EQ", 2), condition(1, "EQ", 3)]}
    result = compiled(tmp_path, {**SMALLEST, "syscalls": [rule]})
    pairs = ((1, 0), (2, 0), (0, 3), (0, 0), (3, 1))
    refused = [pair for pair in pairs if returned(result.programs[0], pair) == 0x00050001]
    assert refused == [(1, 0), (2, 0), (0, 3)]
    assert "several conditions on one argument" in "".join(result.findings)


def returned(program: bpf.Program, arguments: tuple[int, ...]) -> int:
    return bpf.simulate(program, SeccompData(NATIVE.numbers["read"], NATIVE.audit_arch, arguments))


def deny(*names: str, **members: object) -> Json:
    rule = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule], **members}


@pytest.mark.parametrize("abi", ["x86_64", "x32", "i386"])
def test_the_stub_answers_enosys_above_the_highest_number(abi: str, tmp_path: Path) -> None:
    every = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"]
    profile = deny("read", "acct", architectures=every)
    (program,) = compiled(tmp_path, profile, enosys_stub=True).programs
    (plain,) = compiled(tmp_path, profile).programs
    highest = max(ARCHES[abi].numbers[name] for name in ("read", "acct"))
    for number, value in ((highest, 0x7FFF0000), (highest + 1, ENOSYS), (highest - 1, 0x00050001)):
        data = SeccompData(number, ARCHES[abi].audit_arch)
        assert bpf.simulate(program, data) == value
        assert bpf.simulate(plain, data) == (0x00050001 if value == ENOSYS else value)
    assert program[-len(plain) :] == plain


@pytest.mark.parametrize(
    "profile",
    [
        {**deny("read"), "defaultAction": "SCMP_ACT_LOG"},
        {**SMALLEST},
        {"defaultAction": "SCMP_ACT_TRACE", "syscalls": [{**RULE}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []},
        deny("nonsense"),
    ],
    ids=["LOG", "ALLOW", "TRACE", "no rules", "unknown names only"],
)
def test_where_there_is_no_stub(profile: Json, tmp_path: Path) -> None:
    with_stub = compiled(tmp_path, profile, enosys_stub=True).programs
    assert with_stub == compiled(tmp_path, profile).programs


def test_calls_of_other_abis_are_killed_unless_named(tmp_path: Path) -> None:
    (program,) = compiled(tmp_path, SMALLEST).programs
    assert bpf.simulate(program, SeccompData(5, ARCHES["i386"].audit_arch)) == 0
    assert bpf.simulate(program, SeccompData(1 << 30 | 5, NATIVE.audit_arch)) == 0


FOUND: Mapping[str, tuple[object, str]] = {
    "unknown names": (
        deny("read", "nonsense", "fchroot"),
        (
            r"does not know nonsense \(syscalls\[0\]\), fchroot \(syscalls\[0\]\), so what the "
            r"profile says about them is silently unenforced, although x86_64 has fchroot$"
        ),
    ),
    "a name that only others have": (
        {**SMALLEST, "syscalls": [{**RULE, "names": ["sys_read"]}]},
        r"does not know sys_read \(syscalls\[0\]\), so .* silently unenforced$",
    ),
    "two comparisons of one argument": (
        {
            **SMALLEST,
            "syscalls": [
                {**RULE, "errnoRet": 11, "args": [condition(0, "LT", (1 << 32) - 1)]},
                {**RULE, "errnoRet": 13, "args": [condition(0, "LT", (1 << 32) + 1)]},
            ],
        },
        (
            r"does not keep syscalls\[0\] and syscalls\[1\] for read on x86_64: with args\[0\] = "
            r"0xffffffff it returns ALLOW, not ERRNO\(EACCES\)$"
        ),
    ),
    "a value of more than 32 bits on an ABI of 32": (
        {
            **SMALLEST,
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{**RULE, "args": [condition(0, "EQ", 1 << 32 | 5)]}],
        },
        (
            r"does not keep syscalls\[0\] for read on i386: with args\[0\] = 0x5 it returns "
            r"ERRNO\(EPERM\), not ALLOW$"
        ),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_findings(name: str, tmp_path: Path) -> None:
    content, words = FOUND[name]
    (finding,) = compiled(tmp_path, content).findings
    assert re.search(words, finding), finding


def test_rules_that_libseccomp_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that libseccomp has and an ABI has, but not together: made up here."""
    resolved = compiler.resolve(
        compiler.read(_written(tmp_path, SMALLEST)), NATIVE, profiles.HELD, profiles.KERNEL
    )
    allows = (bpf.statement(bpf.RET_K, 0x7FFF0000),)
    (finding,) = kept.findings(resolved, allows, ["SCMP_ARCH_X86_64"], [])
    assert "libseccomp leaves out the rules for read on x86_64" in finding
    assert list(kept.findings(resolved, allows, ["SCMP_ARCH_X86_64"], ["read"])) == []
    assert list(kept.findings(resolved, allows, ["SCMP_ARCH_AARCH64"], [])) != []
    monkeypatch.setattr(type(NATIVE), "number", lambda *_: None)
    assert list(kept.findings(resolved, allows, ["SCMP_ARCH_X86_64"], [])) == []


def _written(directory: Path, content: object) -> Path:
    path = directory / "profile.json"
    path.write_text(json.dumps(content))
    return path


def _many(count: int, conditions: Callable[[int], list[Json]]) -> Json:
    rules = [{**RULE, "errnoRet": 1, "args": conditions(place)} for place in range(count)]
    return {**SMALLEST, "syscalls": rules}


REFUSED: Mapping[str, tuple[object, Arch, str]] = {
    "contradiction": (
        {
            **SMALLEST,
            "syscalls": [
                {**RULE, "args": [condition(0, "EQ", 1)]},
                {**RULE, "errnoRet": 2, "args": [condition(0, "EQ", 1)]},
            ],
        },
        NATIVE,
        r"refuse syscalls\[1\] for read \(another rule asks the same of the arguments",
    ),
    "another byte order": (
        {**SMALLEST, "architectures": ["SCMP_ARCH_S390X"]},
        NATIVE,
        "another byte order",
    ),
    "a machine of another byte order": (
        {**SMALLEST},
        ARCHES["s390x"],
        "compiles wrongly for s390x",
    ),
    "an architecture that libseccomp lacks": (
        {**SMALLEST, "architectures": ["SCMP_ARCH_LOONGARCH64"]},
        NATIVE,
        "SCMP_ARCH_LOONGARCH64 is unknown to the installed libseccomp",
    ),
    "the highest errno by default": (
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095},
        NATIVE,
        r"refuse the default action ERRNO\(4095\) \(Invalid argument\); give another errno",
    ),
    "the highest errno": (
        {**SMALLEST, "syscalls": [{**RULE, "errnoRet": 4095}]},
        NATIVE,
        r"refuse syscalls\[0\] for read \(Invalid argument; remove it\)",
    ),
    "too many rules": (
        {**SMALLEST, "syscalls": [{**RULE, "names": ["read"] * (compiler.MAX_RULES + 1)}]},
        NATIVE,
        "has 8193 rules",
    ),
    "too long a program": (
        _many(1500, lambda place: [condition(0, "EQ", place), condition(1, "EQ", place)]),
        NATIVE,
        "libseccomp cannot compile the profile|the kernel would refuse what the profile compiles",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    content, native, words = REFUSED[name]
    if name == "an architecture that libseccomp lacks" and version_of(
        compile_request.version()
    ) >= (2, 6):
        pytest.skip("this libseccomp has every architecture that profiles can name")
    with pytest.raises(BadInputError, match=words):
        compiled(tmp_path, content, native=native)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts other code in place of libseccomp's binding."""

    def put(code: str) -> None:
        folder = tmp_path / "first"
        folder.mkdir()
        (folder / "pyseccomp.py").write_text(code)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(compile_request, "_helpers", [])

    yield put
    for helper in compile_request._helpers:
        helper.close()


def test_without_the_binding(stand_in: Callable[[str], None], tmp_path: Path) -> None:
    stand_in("raise ImportError('no such module')")
    with pytest.raises(BadInputError, match="is not installed: pip install pyseccomp"):
        compiled(tmp_path, SMALLEST)


@pytest.mark.parametrize("error", ["RuntimeError", "OSError", "AttributeError"])
def test_without_the_library(error: str, stand_in: Callable[[str], None], tmp_path: Path) -> None:
    stand_in(f"raise {error}('torn')")
    with pytest.raises(BadInputError, match=r"cannot be loaded \(torn\): install libseccomp"):
        compiled(tmp_path, SMALLEST)


# The real binding, found behind the stand-in, with a function that never returns or crashes.
_REAL = """\
import importlib.machinery, importlib.util, os, sys, time
spec = importlib.machinery.PathFinder.find_spec("pyseccomp", sys.path[1:])
sys.modules["pyseccomp"] = real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
def never(*_):
    while True:
        pass
"""
ENDLESS: Mapping[str, tuple[str, str]] = {
    "it waits": ("real.SyscallFilter.add_rule = lambda *_: time.sleep(3600)", "did not compile"),
    "it loops": ("real.SyscallFilter.add_rule = never", "did not compile"),
    "it loops in the end": ("real.SyscallFilter.export_bpf = never", "did not compile"),
    "it crashes": ("real.SyscallFilter.add_rule = lambda *_: os.abort()", r"crashed .*status -6"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_a_library_that_does_not_come_back(
    name: str,
    stand_in: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, words = ENDLESS[name]
    monkeypatch.setattr(compile_request, "PROCESSOR_SECONDS", 1)
    monkeypatch.setattr(compile_request, "SECONDS", 2.0 if name == "it waits" else 60.0)
    stand_in(_REAL + code)
    with pytest.raises(BadInputError, match=words):
        compiled(tmp_path, SMALLEST)
    (helper,) = compile_request._helpers
    assert not helper.is_alive
    # The next profile is compiled by another process.
    monkeypatch.setattr(sys, "path", sys.path[1:])
    assert compiled(tmp_path, SMALLEST).programs
    assert compile_request._helpers != [helper]


def test_other_machines_of_this_byte_order(tmp_path: Path) -> None:
    """A profile for aarch64 compiles here; x86_64 is not in the program."""
    arm = ARCHES["aarch64"]
    result = compiled(tmp_path, {**SMALLEST, "architectures": ["SCMP_ARCH_ARM"]}, native=arm)
    assert result.architectures == ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")
    for abi, value in (("aarch64", 0x00050001), ("arm", 0x00050001), ("x86_64", 0)):
        data = SeccompData(ARCHES[abi].numbers["read"], ARCHES[abi].audit_arch)
        assert bpf.simulate(result.programs[0], data) == value


def test_many_rules_for_one_call_take_no_more_inputs(tmp_path: Path) -> None:
    """What is tried is bounded, however many conditions there are."""
    profile = _many(600, lambda place: [condition(0, "EQ", place), condition(1, "EQ", place)])
    resolved = compiler.resolve(
        compiler.read(_written(tmp_path, profile)), NATIVE, profiles.HELD, profiles.KERNEL
    )
    tried: list[bpf.Program] = []

    class Counting(tuple[bpf.Instruction, ...]):
        __slots__ = ()

        def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - as tuple has it
            tried.append(self)
            return super().__getitem__(index)

    allows = Counting([bpf.statement(bpf.RET_K, 0x00050001)])
    list(kept.findings(resolved, allows, ["SCMP_ARCH_X86_64"], []))
    assert 0 < len(tried) <= kept._MOST_INPUTS


# Each check can fail.


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["no rules", "default errno", "no conditions", "stub"])
def test_a_wrong_compiler_is_found_out(
    fault: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generated profiles tell a compiler that is wrong in one thing."""
    right = compiler._order

    def without_rules(rule: compiler.ResolvedRule) -> compile_request.Rule:
        return replace(right(rule), alternatives=())

    def without_conditions(rule: compiler.ResolvedRule) -> compile_request.Rule:
        return right(_bare(rule))

    def one_too_low(last: int, enosys: bpf.Instruction) -> bpf.Program:
        return (bpf.jump(bpf.JGE, last, 0, 1), enosys)

    if fault == "no rules":
        monkeypatch.setattr(compiler, "_order", without_rules)
    elif fault == "default errno":
        monkeypatch.setattr("probes.targets.oci.resolve.errno.EPERM", 13)
    elif fault == "no conditions":
        monkeypatch.setattr(compiler, "_order", without_conditions)
    else:
        monkeypatch.setattr(compiler, "_above", one_too_low)
    # Their own check would excuse what the compiler does.
    monkeypatch.setattr(kept, "findings", lambda *_: iter(()))

    @made(150, phases=[Phase.generate], database=None, report_multiple_bugs=False)
    @given(profile=profiles.valid, seed=st.integers(0, 1 << 32))
    def held_against(profile: Json, seed: int) -> None:
        check_meaning(place, profile, seed, enosys_stub=True)

    with pytest.raises(AssertionError):
        held_against()


def _bare(rule: compiler.ResolvedRule) -> compiler.ResolvedRule:
    return compiler.ResolvedRule(rule.name, rule.returns, (), rule.place)
