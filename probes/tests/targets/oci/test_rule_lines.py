"""Where the parts of a profile stand: held to the text of the file itself."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import files
from probes.arch import ARCHES
from probes.documents import located
from probes.targets.oci import rule_lines
from probes.targets.stack import FilterStack
from probes.written import Lines, WrittenProfile

PROFILE = """\
{
\t"defaultAction": "SCMP_ACT_ERRNO",
\t"architectures": [
\t\t"SCMP_ARCH_X86_64"
\t],
\t"syscalls": [
\t\t{"names": ["read",
\t\t\t"mount"], "action": "SCMP_ACT_ALLOW", "args": []},
\t\t{
\t\t\t"name": "bpf",
\t\t\t"action": "SCMP_ACT_LOG",
\t\t\t"includes": {"caps": ["CAP_BPF"]}
\t\t}
\t]
}
"""

OBJECT = """\
apiVersion: security-profiles-operator.x-k8s.io/v1beta1
kind: SeccompProfile
metadata: {name: x}
spec:
  defaultAction: SCMP_ACT_ERRNO
  architectures:
  - SCMP_ARCH_X86_64

  syscalls:
  # what it needs
  - action: SCMP_ACT_ALLOW
    names:
    - read
    - mount

  # the rest
  - action: SCMP_ACT_LOG
    names: [bpf,
       acct]
"""


def of(text: str | bytes, name: str = "profile.json") -> WrittenProfile:
    return rule_lines.of_profile(Path(name), text if isinstance(text, bytes) else text.encode())


def test_a_profile() -> None:
    found = of(PROFILE)
    assert found.untold == ""
    assert found.default is not None
    assert (found.default.name, found.default.lines) == ("SCMP_ACT_ERRNO", Lines(2, 2))
    assert found.architectures == Lines(3, 5)
    first, second = found.rules
    assert (first.action, first.lines, first.calls, first.is_conditional) == (
        *("SCMP_ACT_ALLOW", Lines(7, 8)),
        *((("read", 7), ("mount", 8)), False),
    )
    assert (second.action, second.lines, second.calls, second.is_conditional) == (
        *("SCMP_ACT_LOG", Lines(9, 13)),
        *((("bpf", 10),), True),
    )


@pytest.mark.parametrize("within", ["linux", "spec", "items"])
def test_a_profile_within_something_else(within: str) -> None:
    """A bundle's configuration, an object of Kubernetes, and a list of these."""
    profile = json.loads(PROFILE)
    whole: dict[str, Any] = {
        "linux": {"ociVersion": "1.0", "linux": {"seccomp": profile}},
        "spec": {"kind": "SeccompProfile", "spec": profile},
        "items": {"kind": "List", "items": [{"spec": profile}]},
    }[within]
    text = json.dumps(whole, indent=1)
    found = of(text)
    assert found.default is not None
    assert '"defaultAction"' in text.split("\n")[found.default.lines.first - 1]
    assert [name for rule in found.rules for name, _ in rule.calls] == ["read", "mount", "bpf"]


def test_an_object_in_yaml() -> None:
    """Neither the empty line nor the comment after a rule belongs to it."""
    found = of(OBJECT, "profile.yaml")
    assert found.default is not None
    assert found.default.lines == Lines(5, 5)
    assert found.architectures == Lines(6, 7)
    assert [rule.lines for rule in found.rules] == [Lines(11, 14), Lines(17, 19)]
    assert [rule.calls for rule in found.rules] == [
        (("read", 13), ("mount", 14)),
        (("bpf", 18), ("acct", 19)),
    ]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(deadline=None)
@given(
    rules=st.lists(st.lists(NAMES, min_size=1, max_size=4, unique=True), max_size=5),
    indent=st.sampled_from([None, 0, 1, "\t"]),
    is_ascii=st.booleans(),
)
def test_every_name_stands_in_its_line(
    rules: list[list[str]], indent: str | int | None, *, is_ascii: bool
) -> None:
    """However the file is laid out, and whatever the calls are called."""
    listed = [{"names": names, "action": "SCMP_ACT_ALLOW"} for names in rules]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": listed}
    text = json.dumps(profile, indent=indent, ensure_ascii=is_ascii)
    found = of(text)
    lines = text.split("\n")
    assert [[name for name, _ in rule.calls] for rule in found.rules] == rules
    for rule in found.rules:
        for name, line in rule.calls:
            assert json.dumps(name, ensure_ascii=is_ascii) in lines[line - 1]
            assert rule.lines.first <= line <= rule.lines.last
        assert lines[rule.lines.first - 1].lstrip().startswith("{")


def test_a_key_that_is_there_twice_counts_where_go_takes_it() -> None:
    """Go's decoder takes the last, whatever the capitals of the key."""
    found = of('{"defaultAction": "A",\n"DEFAULTACTION": "B",\n"syscalls": []}')
    assert found.default is not None
    assert (found.default.name, found.default.lines.first) == ("B", 2)


def test_a_byte_order_mark_and_other_line_ends() -> None:
    found = of(b'\xef\xbb\xbf{\r\n\r\n"defaultAction": "A"}')
    assert found.default is not None
    assert found.default.lines == Lines(3, 3)


def test_a_program_has_no_lines_and_no_reason() -> None:
    found = of(b"\x20\0\0\0\x04\0\0\0\x15\0\0\x05")
    assert (found.rules, found.default, found.untold) == ((), None, "")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not plain JSON"),
        ('{"a": 1} {"b": 2}', "not plain JSON"),
        ("[1]", "no profile"),
        ("a: [", "not plain YAML"),
        ("- 1", "no profile"),
        ("{" + " " * located.MOST_BYTES + "}", "bytes"),
        ('{"a":' * 5000 + "1" + "}" * 5000, ""),
        ('{"syscalls": 5, "defaultAction": {}, "architectures": null}', ""),
        ('{"syscalls": [5, {"names": {"a": 1}}, {"names": [1, null, {}]}, {"name": []}]}', ""),
    ],
)
def test_what_is_no_profile_has_a_reason_and_no_error(text: str, word: str) -> None:
    found = of(text, "x.yaml")
    assert word in found.untold
    assert bool(found.untold) == bool(word)
    assert not any(rule.calls for rule in found.rules)


def test_without_the_library_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter_json", None)
    found = of(PROFILE)
    assert found.untold == located.MISSING
    assert found.rules == ()
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "pip install pyyaml" in of(OBJECT).untold


def test_in_plain_data_it_is_the_same() -> None:
    for text in (PROFILE, OBJECT, "{}"):
        found = of(text)
        plain = json.loads(json.dumps(found.to_plain()))
        assert WrittenProfile.from_plain(plain) == found


def test_a_stack_of_filters_keeps_its_files_and_their_names() -> None:
    """On its way to other processes, and with the names that files have elsewhere."""
    native = ARCHES["x86_64"]
    stack = FilterStack("x", (), native, written=(of(PROFILE, "/tmp/1/profile.json"),))  # noqa: S108 - no such file
    assert FilterStack.from_plain(stack.to_plain()).written == stack.written
    elsewhere = stack.reworded(lambda text: text.replace("/tmp/1/", "deploy/"))  # noqa: S108 - likewise
    assert [one.path for one in elsewhere.written] == ["deploy/profile.json"]


# Its place in a repository.


def test_a_file_of_a_repository_stands_below_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever name, and from whatever folder, it is named."""
    (tmp_path / "repository/.git").mkdir(parents=True)
    folder = tmp_path / "repository/deploy"
    folder.mkdir()
    (folder / "profile.json").write_text("{}")
    monkeypatch.chdir(folder)
    names = ["profile.json", "./profile.json", "../deploy/profile.json", str(folder)]
    expected = ["deploy/profile.json"] * 3 + ["deploy"]
    assert [files.in_repository(Path(name)) for name in names] == expected


def test_outside_of_a_repository_a_name_counts_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/profile.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert files.in_repository(Path("deploy/profile.json")) == "deploy/profile.json"
    assert files.in_repository(Path("deploy/gone.json")) == "deploy/gone.json"
    for unknown in (tmp_path / "deploy/profile.json", Path("../profile.json"), Path("a\0b")):
        assert "/" not in files.in_repository(unknown)


def test_the_suites_own_files_stand_where_its_checkout_has_them() -> None:
    found = files.in_repository(files.DEFAULT_POLICY)
    assert found == "cases/policies/container-restrictions.toml"
