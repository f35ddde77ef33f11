"""Kubernetes' SeccompProfiles are read as the operator puts them on a node."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from probes.action import FilterReturn
from probes.arch import ARCHES
from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import SeccompData
from probes.finding import Weight
from probes.targets.oci import operator
from probes.targets.oci.capability import DOCKER_CAPABILITIES
from probes.targets.oci.profile import Members
from probes.targets.oci.reader import AskedReaders, Engine, Release, Runtime
from probes.targets.oci_file import Document, ProfiledContainer, load
from probes.targets.stack import FilterStack

yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install pyyaml")

X86: Final = ARCHES["x86_64"]
VERSION: Final = f"{operator.GROUP}v1beta1"

Json = Mapping[str, Any]


def rule(action: str, *names: str, **more: object) -> Json:
    return {"action": f"SCMP_ACT_{action}", "names": list(names), **more}


def profile(name: str, *rules: Json, default: str = "ALLOW", **spec: object) -> Json:
    return {
        "apiVersion": VERSION,
        "kind": "SeccompProfile",
        "metadata": {"name": name, "creationTimestamp": "2026-08-21T08:35:14Z"},
        "spec": {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **spec},
    }


def written(directory: Path, name: str, *objects: Json) -> Path:
    path = directory / name
    if path.suffix == ".json":
        (one,) = objects
        path.write_text(json.dumps(one))
    else:
        path.write_text(yaml.safe_dump_all(objects))
    return path


def read(*paths: Path, engine: Engine | None = None) -> FilterStack:
    releases = {
        one.name: one
        for one in (
            Release(Engine.CONTAINERD, (1, 6, 20)),
            Release(Engine.CRI_O, (1, 30, 0)),
            Release(Runtime.RUNC, (1, 1, 5)),
            Release(Runtime.CRUN, (1, 8, 1)),
        )
    }
    return load(
        paths,
        ProfiledContainer(X86, DOCKER_CAPABILITIES, (6, 1)),
        AskedReaders(engine),
        lambda: Document(("acct", "bpf"), (X86,)),
        releases.get,
    )


def answer(found: FilterStack, call: str, *arguments: int) -> str:
    (program,) = found.programs
    words = (*arguments, *(0,) * (6 - len(arguments)))
    data = SeccompData(X86.numbers[call], X86.audit_arch, words)
    return str(FilterReturn.decode(bpf.simulate(program, data)))


def sentences(found: FilterStack) -> str:
    return "\n".join(one.line for one in found.findings)


MINE: Final = profile("mine", rule("ERRNO", "acct", errnoRet=38), rule("KILL_PROCESS", "bpf"))


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "mine", "mine.json"])
def test_a_profile_is_read_in_yaml_and_json(name: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, name, MINE))
    assert answer(found, "acct") == "ERRNO(ENOSYS)"
    assert answer(found, "bpf") == "KILL_PROCESS"
    assert answer(found, "read") == "ALLOW"
    assert "containerd@1.6.20" in found.description
    assert all(one.weight is Weight.ADVICE for one in found.findings)


@pytest.mark.parametrize("word", ["List", "SeccompProfileList"])
def test_a_list_is_read_as_kubectl_gives_it(word: str, tmp_path: Path) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "else"}}
    listed = {"apiVersion": "v1", "kind": word, "items": [other, MINE], "metadata": {}}
    found = read(written(tmp_path, "list.json", listed))
    assert answer(found, "acct") == "ERRNO(ENOSYS)"


def test_other_objects_of_a_file_do_not_count(tmp_path: Path) -> None:
    other = {"apiVersion": f"{operator.GROUP}v1", "kind": "ProfileBinding", "spec": {}}
    assert answer(read(written(tmp_path, "both.yaml", other, MINE)), "bpf") == "KILL_PROCESS"


BASE: Final = profile(
    "base",
    rule("ALLOW", "acct", "ptrace"),
    default="ERRNO",
    architectures=["SCMP_ARCH_X86"],
)
CHILD: Final = profile("child", rule("ERRNO", "acct", "bpf"), baseProfileName="base")


def test_a_base_profile_beside_is_merged(tmp_path: Path) -> None:
    """Of two rules for a call the less restrictive counts; nothing of the base but its rules."""
    paths = written(tmp_path, "child.yaml", CHILD), written(tmp_path, "base.yaml", BASE)
    found = read(*paths)
    assert (answer(found, "acct"), answer(found, "bpf")) == ("ALLOW", "ERRNO(EPERM)")
    assert answer(found, "read") == "ALLOW"
    told = sentences(found)
    assert "the base profile base restricts acct less than child does" in told
    assert "only syscalls count, not its defaultAction, architectures" in told
    assert "(with base profile base)" in found.description


def test_a_base_profile_in_the_same_file_is_merged(tmp_path: Path) -> None:
    found = read(written(tmp_path, "both.yaml", BASE, CHILD))
    assert answer(found, "acct") == "ALLOW"


def test_base_profiles_of_base_profiles_are_merged(tmp_path: Path) -> None:
    middle = profile("base", rule("ERRNO", "kcmp", errnoRet=5), baseProfileName="lowest")
    lowest = profile("lowest", rule("ERRNO", "vhangup", errnoRet=6))
    found = read(written(tmp_path, "all.yaml", lowest, middle, CHILD))
    assert answer(found, "kcmp") == "ERRNO(EIO)"
    assert answer(found, "vhangup") == "ERRNO(ENXIO)"
    assert answer(found, "bpf") == "ERRNO(EPERM)"


def test_releases_that_merge_otherwise_leave_a_call_open(tmp_path: Path) -> None:
    """A rule with conditions in the base opens the call whatever its arguments, or it does not."""
    base = profile(
        "base", rule("ALLOW", "acct", args=[{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}])
    )
    found = read(written(tmp_path, "both.yaml", base, CHILD))
    assert answer(found, "acct") == "ALLOW"
    (limit,) = (one for one in found.findings if one.weight is Weight.LIMITS)
    assert limit.calls == ("acct",)
    assert limit.text.startswith(
        "releases of the operator do not agree: acct get ALLOW from the operator after 1.0.0 and "
        "ERRNO(EPERM) from the operator up to 1.0.0"
    )


def merged(base: Sequence[Json], applied: Sequence[Json]) -> list[Any]:
    def rules(entries: Sequence[Json]) -> list[operator._Rule]:
        return [
            operator._Rule(tuple(one["names"]), one["action"], None, tuple(one.get("args", ())))
            for one in entries
        ]

    found = operator._less_restrictive(rules(base), rules(applied))
    return [(*one.names, one.action.removeprefix("SCMP_ACT_"), *one.args) for one in found]


# What the operator's own tests of UnionSyscalls expect (a2e4c4bd).
UNIONS: Final[Mapping[str, tuple[Sequence[Json], Sequence[Json], list[Any]]]] = {
    "BothEmpty": ([], [], []),
    "BaseEmpty": ([], [rule("ALLOW", "a", "b")], [("a", "ALLOW"), ("b", "ALLOW")]),
    "AppliedEmpty": ([rule("ALLOW", "a", "b")], [], [("a", "ALLOW"), ("b", "ALLOW")]),
    "Args": (
        [rule("ALLOW", "a", args=[(("index", 1), ("value", 2))])],
        [rule("ALLOW", "a", args=[(("index", 2), ("value", 3))])],
        [("a", "ALLOW", (("index", 1), ("value", 2)), (("index", 2), ("value", 3)))],
    ),
    "DifferentActionsPicksLessRestrictive": (
        [rule("ALLOW", "a")],
        [rule("LOG", "a")],
        [("a", "ALLOW")],
    ),
    "OverlappingNamesDeduplicatedAndNormalized": (
        [rule("ALLOW", "a", "b"), rule("LOG", "x")],
        [rule("ALLOW", "b", "c"), rule("LOG", "x")],
        [("a", "ALLOW"), ("b", "ALLOW"), ("c", "ALLOW"), ("x", "LOG")],
    ),
}


@pytest.mark.parametrize("name", UNIONS)
def test_rules_are_joined_as_the_operator_says(name: str) -> None:
    base, applied, wanted = UNIONS[name]
    assert merged(base, applied) == wanted


def test_the_operator_leaves_out_what_is_zero(tmp_path: Path) -> None:
    """Rules with the errno 0 answer EPERM on a node."""
    assert (
        answer(
            read(written(tmp_path, "a.yaml", profile("a", rule("ERRNO", "acct", errnoRet=0)))),
            "acct",
        )
        == "ERRNO(EPERM)"
    )


def test_keys_that_kubernetes_drops_do_not_count(tmp_path: Path) -> None:
    one = profile(
        "a", rule("ERRNO", "acct", includes={"caps": ["CAP_SYS_ADMIN"]}), defaultErrnoRet=5
    )
    found = read(written(tmp_path, "a.yaml", one), engine=Engine.CRI_O)
    assert answer(found, "acct") == "ERRNO(EPERM)"
    told = sentences(found)
    assert "has no key 'includes'" in told
    assert "has no key 'defaultErrnoRet'" in told


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(("apiVersion: v1", "kind: List", *lines))


HEAD: Final = f"apiVersion: {VERSION}\nkind: SeccompProfile\nmetadata: {{name: a}}\n"
SPEC: Final = "spec:\n  defaultAction: SCMP_ACT_ALLOW\n"
LOGGING: Final = f"{HEAD}{SPEC}  syscalls: [{{names: [acct], action: SCMP_ACT_LOG"
REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "two profiles": (
        yaml.safe_dump_all([profile("a"), profile("b")]),
        r"holds 2 SeccompProfiles \(a, b\), and one is judged at a time",
    ),
    "twice the same": (yaml.safe_dump_all([profile("a"), profile("a")]), "a is there twice"),
    "no profile": ("apiVersion: v1\nkind: Pod\n", "none of its objects is a SeccompProfile"),
    "another group": (
        "apiVersion: example.org/v1\nkind: SeccompProfile\nspec: {}\n",
        "none of its objects is a SeccompProfile",
    ),
    "no object": ("defaultAction: SCMP_ACT_ALLOW\n", "YAML without a kind and an apiVersion"),
    "empty": ("", "YAML without a kind"),
    "a key twice": (
        f"{HEAD}{SPEC}  defaultAction: SCMP_ACT_LOG\n",
        "line 6: the key 'defaultAction' is there twice",
    ),
    "no YAML": (f"{HEAD}spec: [\n", r"line 5, column 1: this is not YAML \(.*\); mend it there"),
    "a bomb": (_bomb(), "aliases or nesting make more of the file than Kubernetes takes"),
    "an alias of itself": (
        f"{HEAD}spec: &a\n  defaultAction: *a\n",
        "aliases or nesting make more",
    ),
    "nested deeply": (f"{HEAD}spec: {'[' * 60}{']' * 60}\n", "aliases or nesting make more"),
    "nested too deeply": (f"{HEAD}spec: {'[' * 20000}\n", "this is not YAML"),
    "a tag": (f"{HEAD}spec: !!python/object/apply:os.system [echo]\n", "spec must be an object"),
    "a key that is a list": (f"{HEAD}spec: {{? [a] : b}}\n", "a key is no plain word"),
    "a merge key": (f"{HEAD}spec:\n  <<: {{a: b}}\n", "a key is no plain word"),
    "not UTF-8": ("\udcff: b", "UnicodeDecodeError"),
    "no default action": (f"{HEAD}spec: {{}}\n", "has no spec.defaultAction"),
    "an unknown action": (
        f"{HEAD}spec: {{defaultAction: SCMP_ACT_NO}}\n",
        "'SCMP_ACT_NO', which is no action",
    ),
    "a list for spec": (f"{HEAD}spec: [a]\n", "spec must be an object, but is a list"),
    "text for syscalls": (f"{HEAD}{SPEC}  syscalls: all\n", "spec.syscalls must be a list"),
    "an errno in words": (
        f"{HEAD}{SPEC}  syscalls: [{{names: [acct], action: SCMP_ACT_ERRNO, errnoRet: '1'}}]\n",
        r"syscalls\[0\].errnoRet must be a whole number, but is text",
    ),
    "a number for a name": (
        f"{HEAD}{SPEC}  syscalls: [{{names: [1], action: SCMP_ACT_LOG}}]\n",
        "name in spec.syscalls.0. that is no text",
    ),
    "a number that Kubernetes has not": (
        f"{LOGGING}, args: [{{index: 0, value: 9223372036854775808, op: SCMP_CMP_EQ}}]}}]\n",
        "above 9223372036854775807, which Kubernetes refuses",
    ),
    "an endless number": (
        f"{LOGGING}, errnoRet: {'9' * 9000}}}]\n",
        "must be a whole number",
    ),
    "disabled": (f"{HEAD}{SPEC}  state: Disabled\n", "is disabled, so the operator puts it on no"),
    "disabled as it was": (f"{HEAD}{SPEC}  disabled: true\n", "is disabled"),
    "partial": (
        f"{HEAD.replace('name: a', 'name: a, labels: {spo.x-k8s.io/partial: t}')}{SPEC}",
        "has the label spo.x-k8s.io/partial",
    ),
    "no base profile": (
        f"{HEAD}{SPEC}  baseProfileName: b\n",
        "has the base profile b, which is in no file that was named",
    ),
    "a base profile in a registry": (
        f"{HEAD}{SPEC}  baseProfileName: oci://ghcr.io/b:1\n",
        "has its base profile in a registry",
    ),
    "a base profile that is its own": (
        f"{HEAD}{SPEC}  baseProfileName: a\n",
        "more than 15 base profiles, or one that is its own",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    path = tmp_path / "a.yaml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BadInputError, match=words):
        read(path)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(HEAD + "#" * (3 << 20))
    with pytest.raises(BadInputError, match="more than 2 MiB, which Kubernetes would not keep"):
        read(path)


def test_only_these_profiles_have_base_profiles(tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    mine = written(tmp_path, "mine.yaml", MINE)
    with pytest.raises(BadInputError, match=r"plain\.json: only a SeccompProfile .* has base"):
        read(plain, mine)
    with pytest.raises(BadInputError, match=r"plain\.json: this holds no SeccompProfile"):
        read(mine, plain)


def test_without_what_reads_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "mine.yaml", MINE)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(BadInputError, match="is not installed: pip install pyyaml"):
        read(path)
    assert answer(read(written(tmp_path, "mine.json", MINE)), "acct") == "ERRNO(ENOSYS)"


def test_values_are_those_that_pyyaml_reads() -> None:
    from probes.targets.oci import yaml_file  # noqa: PLC0415 - only needed here

    text = "{a: 0x10, b: 010, c: -3, d: null, e: true, f: 'no', g: [x, 1.5], h: &k {i: j}, l: *k}"

    def plain(value: object) -> object:
        if isinstance(value, Members):
            return {key: plain(one) for key, one in value}
        return [plain(one) for one in value] if isinstance(value, list) else value

    (found,) = yaml_file.documents(text.encode(), "x")
    # Whatever is below 0 is out of range.
    assert plain(found) == {**yaml.safe_load(text), "c": -1}
