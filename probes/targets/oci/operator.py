"""SeccompProfiles of Kubernetes' Security Profiles Operator, as files that its nodes get.

A node has the object's ``spec`` as JSON below the kubelet's folder of seccomp profiles. Where it
names a base profile, its rules and those of the base are made one list before; the base's default
action, architectures and flags do not count. How the lists become one differs by release.

Sources: kubernetes-sigs/security-profiles-operator, v0.9.1, v1.0.0 and a2e4c4bd of August 2026
(``internal/pkg/daemon/seccompprofile``, ``internal/pkg/util/union_syscalls.go``,
``api/seccompprofile``), and saschagrunert/security-profiles-merger 0.3.2.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from probes.errors import BadInputError
from probes.targets.oci import yaml_file
from probes.targets.oci.profile import Members, Source, kind, parse_json, read_bytes
from probes.text import shown

GROUP: Final = "security-profiles-operator.x-k8s.io/"
"""What an object's ``apiVersion`` begins with."""

KIND: Final = "SeccompProfile"
_LISTS: Final = frozenset({"List", f"{KIND}List"})
_REMOTE: Final = "oci://"
_PARTIAL: Final = "spo.x-k8s.io/partial"
_DEEPEST: Final = 15
"""How many base profiles the operator follows."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the operator puts on a node.

    Attributes:
        sources: the file, by every way in which some release makes it; the newest first.
        ways: what a sentence calls each of these.
        findings: sentences about what of the object does not count.
    """

    sources: tuple[Source, ...]
    ways: tuple[str, ...]
    findings: tuple[str, ...]


def open_files(paths: Sequence[Path]) -> Deployed | None:
    """What the operator makes of a profile; None where the first file holds none.

    Args:
        paths: the file with the profile, and those with its base profiles.

    Raises:
        BadInputError: an object is none that the operator would put on a node.
    """
    objects = _objects(paths[0])
    if objects is None:
        return None
    found: dict[str, _Object] = {}
    for path in paths:
        for one in objects if path == paths[0] else _required(path):
            if one.name in found:
                raise BadInputError(
                    f"{one.place}: the SeccompProfile {shown(one.name)} is there twice; keep one"
                )
            found[one.name] = one
    chosen = _chosen(shown(paths[0]), objects, found)
    return _deployed(chosen, found)


@dataclass(frozen=True, slots=True)
class _Object:
    """A SeccompProfile.

    Attributes:
        place: its file, as a sentence can hold it.
        name: ``metadata.name``.
        spec: its specification.
        labels: the keys of ``metadata.labels``.
    """

    place: str
    name: str
    spec: Mapping[str, object]
    labels: frozenset[str]

    @property
    def base(self) -> str:
        """The name of its base profile; "" where it has none."""
        value = self.spec.get("baseProfileName")
        return value if isinstance(value, str) else ""

    def refusal(self, reason: str) -> BadInputError:
        """An error about it."""
        return BadInputError(f"{self.place}: the SeccompProfile {shown(self.name)} {reason}")


def _required(path: Path) -> list[_Object]:
    objects = _objects(path)
    if objects is None:
        raise BadInputError(
            f"{shown(path)}: this holds no SeccompProfile, and only those have base profiles; name "
            f"one, or leave the file out"
        )
    return objects


def _objects(path: Path) -> list[_Object] | None:
    """The SeccompProfiles of a file; None where it holds no object of Kubernetes."""
    raw = read_bytes(path)
    place = shown(path)
    try:
        values: list[object] = [parse_json(raw)]
    except (ValueError, RecursionError):
        if not _is_yaml(path, raw):
            return None
        values = yaml_file.documents(raw, place)
        if not any(_is_object(one) for one in values):
            raise BadInputError(
                f"{place}: this is YAML without a kind and an apiVersion; name a SeccompProfile, "
                f"or a profile in JSON"
            ) from None
    if not any(_is_object(one) for one in values):
        return None
    found = [one for value in values for one in _within(value, place)]
    if not found:
        raise BadInputError(f"{place}: none of its objects is a {KIND}; name a file that has one")
    return found


def _is_yaml(path: Path, raw: bytes) -> bool:
    """Whether a file that is no JSON is meant as YAML: by its name, or by an object's first key."""
    if path.suffix in {".yaml", ".yml"}:
        return True
    return any(line.startswith((b"apiVersion:", b"kind:")) for line in raw.splitlines())


def _is_object(value: object) -> bool:
    return isinstance(value, Members) and {"apiVersion", "kind"} <= {key for key, _ in value}


def _within(value: object, place: str) -> Iterator[_Object]:
    """The SeccompProfiles of an object: itself, or those of a list."""
    if not _is_object(value):
        return
    members = _members(value, place, "the object")
    version, word = str(members["apiVersion"]), members["kind"]
    if word in _LISTS:
        for each in _list(members.get("items"), place, "items"):
            yield from _within(each, place)
    elif word == KIND and version.startswith(GROUP):
        metadata = _members(members.get("metadata"), place, "metadata")
        labels = _members(metadata.get("labels"), place, "metadata.labels")
        spec = _members(members.get("spec"), place, "spec")
        yield _Object(place, str(metadata.get("name", "")), spec, frozenset(labels))


def _members(value: object, place: str, what: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Members):
        raise BadInputError(f"{place}: {what} must be an object, but is {kind(value)}")
    found = dict(value)
    if len(found) < len(value):
        raise BadInputError(f"{place}: {what} has a key twice; keep one")
    return found


def _list(value: object, place: str, what: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list) or isinstance(value, Members):
        raise BadInputError(f"{place}: {what} must be a list, but is {kind(value)}")
    return value


def _chosen(place: str, objects: Sequence[_Object], found: Mapping[str, _Object]) -> _Object:
    """The one profile of a file that is no other's base profile."""
    bases = {one.base for one in found.values()}
    left = [one for one in objects if one.name not in bases] or list(objects)
    if len(left) == 1:
        return left[0]
    names = ", ".join(shown(one.name) for one in left)
    raise BadInputError(
        f"{place}: it holds {len(left)} SeccompProfiles ({names}), and one is judged at a time: "
        f"have each in a file of its own, and its base profile beside it, as in "
        f"oci:PROFILE.yaml,BASE.yaml"
    )


def _deployed(chosen: _Object, found: Mapping[str, _Object]) -> Deployed:
    if chosen.spec.get("state") == "Disabled" or chosen.spec.get("disabled") is True:
        raise chosen.refusal("is disabled, so the operator puts it on no node; enable it")
    if _PARTIAL in chosen.labels:
        raise chosen.refusal(
            f"has the label {_PARTIAL}, so the operator puts it on no node; merge the recording"
        )
    if not chosen.spec.get("defaultAction"):
        raise chosen.refusal("has no spec.defaultAction, which Kubernetes refuses; add it")
    pruned = _Pruned()
    rules = pruned.rules(chosen)
    rest = pruned.rest(chosen)
    bases = list(_bases(chosen, found))
    sources, ways = [], []
    for way, union in _UNIONS.items() if bases else [("", _first)]:
        merged = rules
        for base in bases:
            merged = union(pruned.rules(base), merged)
        written = [*rest, ("syscalls", [_written(one) for one in merged])]
        sources.append(Source(_place(chosen, bases), Members(written), is_of_operator=True))
        ways.append(way)
    return Deployed(
        tuple(sources),
        tuple(ways),
        (*pruned.findings(), *_of_bases(chosen, rules, bases, pruned)),
    )


def _place(chosen: _Object, bases: Sequence[_Object]) -> str:
    """The file as a sentence names it: rules that were joined stand in no file any more."""
    if not bases:
        return chosen.place
    return f"{chosen.place} (with base profile {', '.join(shown(one.name) for one in bases)})"


def _bases(chosen: _Object, found: Mapping[str, _Object]) -> Iterator[_Object]:
    """The base profiles of a profile, each with that of the one before."""
    one = chosen
    for _ in range(_DEEPEST):
        if not one.base:
            return
        if one.base.startswith(_REMOTE):
            raise one.refusal(
                f"has its base profile in a registry ({shown(one.base)}): fetch it, name it in a "
                f"file beside, as in oci:PROFILE.yaml,BASE.yaml, and have baseProfileName say its "
                f"name"
            )
        if one.base not in found:
            raise one.refusal(
                f"has the base profile {shown(one.base)}, which is in no file that was named: name "
                f"it too, as in oci:PROFILE.yaml,BASE.yaml"
            )
        one = found[one.base]
        yield one
    raise chosen.refusal(
        f"has more than {_DEEPEST} base profiles, or one that is its own, which the operator "
        f"refuses; have fewer"
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule of a SeccompProfile.

    Attributes:
        names: the calls.
        action: what happens to them.
        errno: the errno of the action; None where it is absent.
        args: the conditions on arguments.
    """

    names: tuple[str, ...]
    action: str
    errno: object = None
    args: tuple[tuple[tuple[str, object], ...], ...] = ()


def _written(rule: _Rule) -> Members:
    """A rule as the operator writes it: what is zero is left out."""
    found: list[tuple[str, object]] = [("names", list(rule.names)), ("action", rule.action)]
    if rule.errno is not None:
        found.append(("errnoRet", rule.errno))
    if rule.args:
        found.append(("args", [Members(one) for one in rule.args]))
    return Members(found)


_KEYS: Final = frozenset(
    ("defaultAction", "architectures", "listenerPath", "listenerMetadata", "flags", "syscalls")
)
_OPERATORS_OWN: Final = frozenset({"baseProfileName", "state", "disabled"})
_RULE_KEYS: Final = frozenset({"names", "action", "errnoRet", "args"})
_ARG_KEYS: Final = ("index", "op", "value", "valueTwo")
_LARGEST: Final = (1 << 63) - 1
"""The largest whole number of a SeccompProfile."""


@dataclass(slots=True)
class _Pruned:
    """Objects without the keys that Kubernetes drops, for SeccompProfile has not got them.

    Attributes:
        dropped: these, each with the places where they stand.
    """

    dropped: dict[str, dict[str, None]] = field(default_factory=dict)

    def findings(self) -> Iterator[str]:
        """A sentence about each key."""
        for key, places in sorted(self.dropped.items()):
            yield (
                f"{', '.join(places)}: SeccompProfile has no key {key!r}, so Kubernetes drops it "
                f"or refuses the object"
            )

    def rest(self, one: _Object) -> list[tuple[str, object]]:
        """All of a specification but its rules."""
        self._note(one, one.spec, _KEYS | _OPERATORS_OWN)
        return [
            (key, value) for key, value in one.spec.items() if key in _KEYS and key != "syscalls"
        ]

    def rules(self, one: _Object) -> list[_Rule]:
        """The rules of a specification."""
        found = []
        for index, each in enumerate(_list(one.spec.get("syscalls"), one.place, "spec.syscalls")):
            what = f"spec.syscalls[{index}]"
            members = _members(each, one.place, what)
            self._note(one, members, _RULE_KEYS)
            names = _list(members.get("names"), one.place, f"{what}.names")
            if not all(isinstance(name, str) for name in names):
                raise one.refusal(f"has a name in {what} that is no text; mend it")
            found.append(
                _Rule(
                    tuple(map(str, names)),
                    _text(members.get("action"), one, what),
                    members.get("errnoRet") or None,
                    tuple(self._args(one, members.get("args"), what)),
                )
            )
        return found

    def _args(
        self, one: _Object, value: object, what: str
    ) -> Iterator[tuple[tuple[str, object], ...]]:
        for index, each in enumerate(_list(value, one.place, f"{what}.args")):
            members = _members(each, one.place, f"{what}.args[{index}]")
            self._note(one, members, frozenset(_ARG_KEYS))
            for number in members.values():
                if type(number) is int and number > _LARGEST:
                    raise one.refusal(
                        f"has a number in {what}.args[{index}] above {_LARGEST}, which Kubernetes "
                        f"refuses; no SeccompProfile can say it"
                    )
            usual = {"index": 0, "value": 0, "valueTwo": 0, "op": None, **members}
            yield tuple((key, usual[key]) for key in _ARG_KEYS)

    def _note(self, one: _Object, members: Iterable[str], known: frozenset[str]) -> None:
        for key in members:
            if key not in known:
                self.dropped.setdefault(shown(key), {})[f"{one.place} ({shown(one.name)})"] = None


def _text(value: object, one: _Object, what: str) -> str:
    if not isinstance(value, str):
        raise one.refusal(f"has no action in {what}, which Kubernetes refuses; add it")
    return value


def _first(_: Sequence[_Rule], rules: Sequence[_Rule]) -> list[_Rule]:
    """The rules of a profile that has no base profile."""
    return list(rules)


_LEVELS: Final = MappingProxyType(
    {
        f"SCMP_ACT_{name}": level
        for level, names in enumerate(
            (
                ("KILL_PROCESS",),
                ("KILL", "KILL_THREAD"),
                ("TRAP",),
                ("ERRNO",),
                ("NOTIFY",),
                ("TRACE",),
                ("LOG",),
                ("ALLOW",),
            )
        )
        for name in names
    }
)
"""How little each action restricts."""


def _less_restrictive(base: Sequence[_Rule], rules: Sequence[_Rule]) -> list[_Rule]:
    """One rule for each call of both: the action that restricts less, the conditions of all."""
    ours, theirs = _by_name(base), _by_name(rules)
    found = {
        name: _joined(ours[name], theirs[name])
        if name in ours and name in theirs
        else ours.get(name) or theirs[name]
        for name in {**ours, **theirs}
    }
    return [found[name] for name in sorted(found)]


def _by_name(rules: Sequence[_Rule]) -> dict[str, _Rule]:
    found: dict[str, _Rule] = {}
    for rule in rules:
        for name in rule.names:
            single = _Rule((name,), rule.action, rule.errno, rule.args)
            found[name] = _joined(found[name], single) if name in found else single
    return found


def _joined(left: _Rule, right: _Rule) -> _Rule:
    lesser = left if _level(left) >= _level(right) else right
    # A rule without conditions matches always, and what is joined restricts as little.
    both = bool(left.args and right.args)
    more = tuple(one for one in right.args if one not in left.args)
    return _Rule(left.names, lesser.action, lesser.errno, (*left.args, *more) if both else ())


def _level(rule: _Rule) -> int:
    return _LEVELS.get(rule.action, -1)


def _one_after_the_other(base: Sequence[_Rule], rules: Sequence[_Rule]) -> list[_Rule]:
    """All rules of both, in the order of their actions' names."""
    return sorted([*base, *rules], key=lambda rule: rule.action)


_Union = Callable[[Sequence[_Rule], Sequence[_Rule]], list[_Rule]]

_UNIONS: Final[Mapping[str, _Union]] = MappingProxyType(
    {
        "the operator after 1.0.0": _less_restrictive,
        "the operator up to 1.0.0": _one_after_the_other,
    }
)


def _of_bases(
    chosen: _Object, rules: Sequence[_Rule], bases: Sequence[_Object], pruned: _Pruned
) -> Iterator[str]:
    """Findings about what base profiles do, and do not."""
    own = _by_name(rules)
    for base in bases:
        theirs = _by_name(pruned.rules(base))
        opened = [
            name for name in own if name in theirs and _level(theirs[name]) > _level(own[name])
        ]
        if opened:
            yield (
                f"{chosen.place}: the base profile {shown(base.name)} restricts "
                f"{', '.join(opened[:8])}{' and more' if len(opened) > 8 else ''} less than "  # noqa: PLR2004 - as many as fit
                f"{shown(chosen.name)} does, and of two rules for a call the less restrictive "
                f"counts"
            )
        left_out = [
            key
            for key in ("defaultAction", "architectures", "flags", "listenerPath")
            if base.spec.get(key) and base.spec.get(key) != chosen.spec.get(key)
        ]
        if left_out:
            yield (
                f"{chosen.place}: of the base profile {shown(base.name)} only syscalls count, not "
                f"its {', '.join(left_out)}"
            )
