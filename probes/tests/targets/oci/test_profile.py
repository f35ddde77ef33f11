"""Reading profiles: what runtimes would refuse is refused in a sentence, with place and reason."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from probes.action import Action
from probes.errors import BadInputError
from probes.targets.oci import profile as oci_profile
from probes.targets.oci.profile import (
    ACTIONS,
    ARCHITECTURES,
    FLAGS,
    MAX_PROFILE_BYTES,
    OPERATORS,
    SeccompArg,
    SeccompOperator,
    SeccompProfile,
)

RULE: Mapping[str, Any] = {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}
SMALLEST: Mapping[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [RULE]}


def read(directory: Path, content: object) -> SeccompProfile:
    """Reads a profile: text, bytes, or what JSON can hold."""
    path = directory / "profile.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return oci_profile.read(path)


def with_rule(**members: object) -> dict[str, Any]:
    """A profile of one rule, with other members; None leaves one out."""
    rule = {key: value for key, value in {**RULE, **members}.items() if value is not None}
    return {**SMALLEST, "syscalls": [rule]}


def with_condition(**members: object) -> dict[str, Any]:
    condition = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ", **members}
    return with_rule(args=[{key: value for key, value in condition.items() if value is not None}])


def test_docker_s_form_with_arch_map(tmp_path: Path) -> None:
    profile = read(
        tmp_path,
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
            ],
            "syscalls": [
                {
                    "names": ["personality", "acct"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [
                        {"index": 5, "value": 7, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"},
                        {"op": "SCMP_CMP_NE"},
                    ],
                    "comment": "why",
                    "includes": {
                        "caps": ["CAP_SYS_PACCT"],
                        "arches": ["amd64"],
                        "minKernel": "4.8",
                    },
                    "excludes": {"caps": ["CAP_SYS_ADMIN"]},
                },
                {"name": "bpf", "action": "SCMP_ACT_KILL", "args": None, "includes": {}},
            ],
        },
    )
    first, second = profile.rules
    assert not profile.bundle
    assert profile.default_action is Action.ERRNO
    assert profile.default_errno_ret == 38
    assert profile.arch_map == (
        ("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86",)),
        ("SCMP_ARCH_AARCH64", ()),
    )
    assert first.names == ("personality", "acct")
    assert first.conditions == (
        SeccompArg(5, SeccompOperator.MASKED_EQ, 7, 2),
        SeccompArg(0, SeccompOperator.NE, 0, 0),
    )
    assert first.includes.capabilities == ("CAP_SYS_PACCT",)
    assert first.includes.arches == ("amd64",)
    assert first.includes.min_kernel == (4, 8)
    assert first.excludes.capabilities == ("CAP_SYS_ADMIN",)
    assert (second.names, second.action, second.place) == (
        ("bpf",),
        Action.KILL_THREAD,
        "syscalls[1]",
    )
    assert profile.findings == ()


def test_containers_commons_form_names_errnos(tmp_path: Path) -> None:
    profile = read(
        tmp_path,
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrno": "ENOSYS",
            "syscalls": [{**RULE, "errno": "EPERM"}],
        },
    )
    assert profile.default_errno == "ENOSYS"
    assert profile.rules[0].errno == "EPERM"
    assert profile.findings == ()


def test_a_bundles_configuration(tmp_path: Path) -> None:
    profile = read(
        tmp_path,
        {
            "ociVersion": "1.0.2",
            "linux": {
                "seccomp": {
                    **SMALLEST,
                    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
                    "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
                    "listenerPath": "/run/socket",
                    "listenerMetadata": "more",
                }
            },
        },
    )
    assert profile.bundle
    assert profile.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32")
    assert profile.flags == ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)
    assert profile.listener
    assert profile.rules[0].place == "linux.seccomp.syscalls[0]"


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_has_its_name(name: str, tmp_path: Path) -> None:
    profile = read(tmp_path, {**with_rule(action=name), "defaultAction": name})
    assert profile.default_action is profile.rules[0].action is ACTIONS[name]


def test_the_names_are_libseccomps() -> None:
    """As its header declares them: an enumerator for each action, operator and architecture."""
    header = Path("/usr/include/seccomp.h")
    if not header.exists():
        pytest.skip("needs seccomp.h: apt-get install libseccomp-dev")
    text = header.read_text(encoding="utf-8")
    newer = {"SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"}
    for name in {*ACTIONS, *OPERATORS, *ARCHITECTURES} - newer:
        assert name in text, name


def bundle(seccomp: object) -> dict[str, Any]:
    return {"ociVersion": "1.0.2", "linux": {"seccomp": seccomp}}


REFUSED: Mapping[str, tuple[object, str]] = {
    # No JSON.
    "empty": ("", "line 1, column 1: this is not JSON"),
    "cut off": ('{"defaultAction":\n "SCMP_ACT_ALLOW",', "line 2, column 19: this is not JSON"),
    # Python up to 3.12 names the brace, later ones the comma.
    "a comma too many": ('{"a": 1,\n}', "line (2, column 1|1, column 8): this is not JSON"),
    "not UTF-8": (b'{"defaultAction":\n"\xff"}', "line 2 is not UTF-8 \\(byte 0xff\\)"),
    "UTF-16": (json.dumps(SMALLEST).encode("utf-16"), "is not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "this is not JSON"),
    "NaN": ('{"defaultErrnoRet": NaN}', "NaN is no number"),
    "infinite": ('{"defaultErrnoRet": -Infinity}', "-Infinity is no number"),
    "nested too deeply": ("[" * 200_000, "nested too deeply"),
    "objects nested too deeply": ('{"a":' * 100_000, "nested too deeply"),
    "huge": ('{"a": "' + "x" * MAX_PROFILE_BYTES + '"}', "more than 4 MiB"),
    # Another thing than an object at the top.
    "list": ([], "is a JSON object, but this is a list"),
    "text": ('"x"', "but this is text"),
    "number": ("1.5", "but this is a number with a fraction"),
    "null": ("null", "but this is null"),
    "true": ("true", "but this is true"),
    # No profile.
    "empty object": ({}, "neither defaultAction nor syscalls"),
    "bundle without linux": ({"ociVersion": "1"}, "linux.seccomp is not there"),
    "bundle without seccomp": ({"linux": {}}, "linux.seccomp is not there"),
    "bundle with null": (bundle(None), "linux.seccomp is not there"),
    "linux is a list": ({"linux": []}, "linux must be an object, but is a list"),
    "seccomp is text": (bundle("x"), "linux.seccomp must be an object, but is text"),
    "empty seccomp": (bundle({}), "linux.seccomp has neither"),
    # The default action.
    "no default action": ({"syscalls": [RULE]}, "defaultAction is missing; add one of SCMP_ACT"),
    "default action in small letters": (
        {"defaultAction": "scmp_act_allow"},
        "defaultAction is 'scmp_act_allow', which is no action; did you mean SCMP_ACT_ALLOW",
    ),
    "unknown default action": ({"defaultAction": "ALLOW!"}, "which is no action"),
    "default action is a number": (
        {"defaultAction": 1},
        "defaultAction must be text, but is a number",
    ),
    "default errno too large": (
        {**SMALLEST, "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096},
        "defaultErrnoRet is 4096, but an errno is at most 4095",
    ),
    "default errno negative": (
        {**SMALLEST, "defaultErrnoRet": -1},
        "defaultErrnoRet must be a whole number from 0 to 18446744073709551615",
    ),
    "default errno is text": (
        {**SMALLEST, "defaultErrnoRet": "1"},
        "must be a whole number, but is text",
    ),
    "default errno is true": ({**SMALLEST, "defaultErrnoRet": True}, "but is true"),
    # Architectures.
    "architectures is text": ({**SMALLEST, "architectures": "x"}, "architectures must be a list"),
    "architectures is an object": (
        {**SMALLEST, "architectures": {}},
        "must be a list, but is an object",
    ),
    "unknown architecture": (
        {**SMALLEST, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AMD64"]},
        r"architectures\[1\] is 'SCMP_ARCH_AMD64', which is no architecture; did you mean",
    ),
    "architecture is a number": (
        {**SMALLEST, "architectures": [1]},
        r"architectures\[0\] must be text",
    ),
    "both forms of architectures": (
        {
            **SMALLEST,
            "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}],
        },
        "both architectures and archMap",
    ),
    "archMap of texts": ({**SMALLEST, "archMap": ["x"]}, r"archMap\[0\] must be an object"),
    "archMap without architecture": (
        {**SMALLEST, "archMap": [{}]},
        r"archMap\[0\].architecture is ''",
    ),
    "archMap with unknown part": (
        {
            **SMALLEST,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["x"]}],
        },
        r"archMap\[0\].subArchitectures\[0\] is 'x'",
    ),
    # Flags.
    "unknown flag": ({**SMALLEST, "flags": ["SECCOMP_FILTER_FLAG_X"]}, r"flags\[0\] is .* no flag"),
    "flags is true": ({**SMALLEST, "flags": True}, "flags must be a list, but is true"),
    # Rules.
    "syscalls is an object": ({**SMALLEST, "syscalls": {}}, "syscalls must be a list"),
    "a rule is text": ({**SMALLEST, "syscalls": [RULE, "x"]}, r"syscalls\[1\] must be an object"),
    "no action": (with_rule(action=None), r"syscalls\[0\].action is missing"),
    "unknown action": (
        with_rule(action="SCMP_ACT_DENY"),
        r"syscalls\[0\].action is 'SCMP_ACT_DENY'",
    ),
    "long nonsense": (with_rule(action="x" * 500), r"is 'x{60}\.\.\.', which is no action"),
    "unprintable nonsense": (with_rule(action="\x1b[2J"), r"is '\\x1b\[2J', which is no action"),
    "names is text": (with_rule(names="acct"), r"syscalls\[0\].names must be a list, but is text"),
    "a name is a number": (
        with_rule(names=["acct", 1]),
        r"names\[1\] must be text, but is a number",
    ),
    "a name is empty": (with_rule(names=[""]), r"names\[0\] is empty"),
    "a name is no name": (with_rule(names=["açct"]), r"names\[0\] is 'açct', which is no system"),
    "a name breaks the line": (
        with_rule(names=["a\nb"]),
        r"names\[0\] is 'a\\nb', which is no system",
    ),
    "name and names": (with_rule(name="acct"), r"syscalls\[0\] has both name and names"),
    "name is no name": (with_rule(names=None, name="\x00"), r"syscalls\[0\].name is"),
    "errno too large": (with_rule(errnoRet=5000), r"syscalls\[0\].errnoRet is 5000"),
    "errno too large in its low half": (with_rule(errnoRet=0x11000), "errnoRet is 69632"),
    "errno has a fraction": (
        with_rule(errnoRet=1.5),
        "must be a whole number, but is a number with",
    ),
    "errno beyond 64 bits": (with_rule(errnoRet=1 << 64), "from 0 to 18446744073709551615"),
    "errno of a thousand digits": (
        '{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": ' + "9" * 10_000 + "}",
        "from 0 to 18446744073709551615",
    ),
    "errno by name is a number": (with_rule(errno=1), r"syscalls\[0\].errno must be text"),
    # Conditions.
    "args is an object": (with_rule(args={}), r"syscalls\[0\].args must be a list"),
    "a condition is text": (with_rule(args=["x"]), r"syscalls\[0\].args\[0\] must be an object"),
    "no operator": (with_condition(op=None), r"args\[0\].op is missing; add one of SCMP_CMP_NE"),
    "unknown operator": (with_condition(op="SCMP_CMP_EQUAL"), r"args\[0\].op is .* no operator"),
    "seventh argument": (
        with_condition(index=6),
        r"args\[0\].index is 6, but arguments are counted",
    ),
    "negative argument": (with_condition(index=-1), r"args\[0\].index must be a whole number"),
    "value beyond 64 bits": (with_condition(value=1 << 64), r"args\[0\].value must be"),
    "value is text": (
        with_condition(value="1"),
        r"args\[0\].value must be a whole number, but is text",
    ),
    "second value negative": (with_condition(valueTwo=-5), r"args\[0\].valueTwo must be"),
    # Circumstances.
    "includes is a list": (with_rule(includes=[]), r"syscalls\[0\].includes must be an object"),
    "caps is text": (with_rule(includes={"caps": "x"}), r"includes.caps must be a list"),
    "arches of numbers": (
        with_rule(excludes={"arches": [1]}),
        r"excludes.arches\[0\] must be text",
    ),
    "minKernel is a number": (with_rule(includes={"minKernel": 4.8}), "minKernel must be text"),
    "minKernel is nonsense": (
        with_rule(includes={"minKernel": "4"}),
        "minKernel is '4', but must be",
    ),
    "minKernel is zero": (with_rule(includes={"minKernel": "0.0"}), "minKernel is '0.0'"),
    "minKernel is too high": (with_rule(includes={"minKernel": "4.256"}), "minKernel is '4.256'"),
    # A key twice, in whatever letters.
    "a key twice": (
        '{"defaultAction": "SCMP_ACT_ALLOW", "defaultAction": "SCMP_ACT_KILL"}',
        "defaultAction is there twice",
    ),
    "a key twice in a rule": (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "Names": []}]}',
        r"syscalls\[0\].names is there twice",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    with pytest.raises(BadInputError, match=words) as refusal:
        read(tmp_path, content)
    sentence = str(refusal.value)
    assert sentence.startswith(f"{tmp_path}/profile.json: ")
    assert sentence.isprintable()
    assert len(sentence) < 600


FOUND: Mapping[str, tuple[object, str]] = {
    "an unknown key": ({**SMALLEST, "default": 1}, r"Docker and Podman ignore the key 'default'"),
    "an unknown key in rules": (
        {**SMALLEST, "syscalls": [{**RULE, "priority": 1}] * 5},
        r"the key 'priority' \(syscalls\[0\], syscalls\[1\], syscalls\[2\] and 2 more places\)",
    ),
    "an unknown key of a bundle": (
        bundle({**SMALLEST, "archMap": []}),
        "runtimes ignore the key 'archMap'",
    ),
    "errno by name in a bundle": (
        bundle({**SMALLEST, "defaultErrno": "EPERM"}),
        "runtimes ignore the key 'defaultErrno'",
    ),
    "capitals": ({**SMALLEST, "Architectures": []}, "Architectures counts as architectures"),
    "a rule without names": (
        with_rule(names=[]),
        r"syscalls\[0\] names no call, so it does nothing",
    ),
    "an errno for another action": (
        with_rule(action="SCMP_ACT_KILL_PROCESS", errnoRet=1),
        r"syscalls\[0\].errnoRet goes with SCMP_ACT_KILL_PROCESS, which has no errno",
    ),
    "an errno of more than 16 bits": (
        with_rule(errnoRet=0x10001),
        "errnoRet is 65537, of which runtimes keep the low 16 bits, 1",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_runtimes_pass_over_is_a_finding(name: str, tmp_path: Path) -> None:
    content, words = FOUND[name]
    profile = read(tmp_path, content)
    (finding,) = profile.findings
    assert re.search(words, finding), finding
    assert finding.startswith(f"{tmp_path}/profile.json: ")


def test_null_is_as_good_as_absent(tmp_path: Path) -> None:
    nothing = dict.fromkeys(
        ("architectures", "archMap", "flags", "listenerPath", "defaultErrnoRet")
    )
    of_rule = dict.fromkeys(
        ("args", "includes", "excludes", "errnoRet", "errno", "comment", "name")
    )
    full = {**SMALLEST, **nothing, "syscalls": [{**RULE, **of_rule}]}
    assert read(tmp_path, full) == read(tmp_path, SMALLEST)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_that_runtimes_know(flag: str, tmp_path: Path) -> None:
    assert read(tmp_path, {**SMALLEST, "flags": [flag]}).flags == (flag,)
