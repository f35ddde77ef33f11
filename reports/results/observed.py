"""What ``observe`` has written about a workload, read back for a page.

``observation.schema.json`` publishes the shape. Documents of earlier versions, which say less, are
read as well.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from probes.action import Profile
from probes.errors import ExitStatus
from probes.version import DISTRIBUTION
from reports.results.fields import Fields, is_of

SCHEMA: Final = f"{DISTRIBUTION}/observation/1"
"""What ``schema`` says in a document of this version."""

NOT_ALLOWED: Final = frozenset({"documented", "unknown"})
"""The kinds of calls that a platform does not allow."""

_KINDS: Final = frozenset({*NOT_ALLOWED, "sibling", "confining"})
_EFFECTS: Final = frozenset({"killed", "refused", "logged", "allowed", "granted"})
_TIME_PATTERN: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}\+00:00"
_HEAD: Final = (
    *("schema", "command", "image", "policy", "kernel", "started", "seconds", "ending"),
    *("workload", "exit_status", "profiles", "no_new_privs", "hidden", "calls", "notes"),
)
_LATER: Final = ("contacts", "own_filters", "limits", "would", "sentence", "ended")
_CALL: Final = (
    *("kind", "call", "number", "abi", "executable", "comm", "gives", "count", "processes"),
    *("calls_by_process", "first_seconds", "cut_short", "arguments", "sites"),
    *("sites_not_sought", "under", "granted"),
)


@dataclass(frozen=True, slots=True)
class ObservedCall:
    """Calls of one kind that one program made.

    Attributes:
        kind: what the call is to the platform, as the schema has it.
        call: its name; its number where no table knows it.
        abi: the ABI.
        executable: the caller's program.
        comm: the calling thread's name.
        gives: of a call that is allowed, the documented calls whose power it has.
        count: how many calls there were.
        processes: how many processes made them.
        first: when the first came, in seconds after the start.
        last: when the last came; None where that was not written down.
        arguments: the first distinct argument lists, each with how often it came.
        sites: where in the code they came from, each with how often.
        under: what becomes of them, by profile.
        granted: who has granted them, by profile.
    """

    kind: str
    call: str
    abi: str
    executable: str
    comm: str
    gives: tuple[str, ...]
    count: int
    processes: int
    first: float
    last: float | None
    arguments: tuple[tuple[tuple[str, ...], int], ...]
    sites: tuple[tuple[str, int], ...]
    under: Mapping[Profile, str]
    granted: Mapping[Profile, str]

    @property
    def is_allowed(self) -> bool:
        """Whether the platform allows the call itself, granted or not."""
        return self.kind not in NOT_ALLOWED


@dataclass(frozen=True, slots=True)
class ObservedWorkload:
    """A workload and what it did that the platform does not allow.

    Attributes:
        command: the words of the command.
        image: the image or the bundle; "" for a plain command.
        policy: the name of the policy.
        policy_sha256: the digest of its file.
        documented: how many calls it documents.
        kernel: the kernel's release.
        started: when it started, as the document has it.
        seconds: how long it ran.
        exit_status: the exit status of ``observe``.
        profiles: those that are told about.
        sentence: what was seen, in one line; "" in a document of an earlier version.
        ended: how the command ended, in words; "" in a document of an earlier version.
        would: what the platform would do under each profile, in a sentence; empty in a document
            of an earlier version.
        calls: what was seen.
        notes: what could not be seen.
    """

    command: tuple[str, ...]
    image: str
    policy: str
    policy_sha256: str
    documented: int
    kernel: str
    started: str
    seconds: float
    exit_status: ExitStatus
    profiles: tuple[Profile, ...]
    sentence: str
    ended: str
    would: Mapping[Profile, str]
    calls: tuple[ObservedCall, ...]
    notes: tuple[str, ...]


def is_observation(document: object) -> bool:
    """Whether a JSON document says that it is an observation, of whatever version."""
    return is_of(document, SCHEMA)


def from_json(value: object) -> ObservedWorkload:
    """Takes the plain data of a document back, and checks what a page shows of it.

    Raises:
        BadInputError: it is none, or damaged.
    """
    fields = Fields(value)
    fields.check_schema(SCHEMA)
    fields.only(*_HEAD, optional=_LATER)
    policy = fields.child("policy").only("name", "sha256", "calls")
    profiles = fields.texts("profiles")
    return ObservedWorkload(
        command=fields.texts("command"),
        image=fields.text("image"),
        policy=policy.text("name"),
        policy_sha256=policy.digest("sha256"),
        documented=policy.number("calls"),
        kernel=fields.text("kernel"),
        started=fields.pattern("started", _TIME_PATTERN),
        seconds=fields.measure("seconds"),
        exit_status=ExitStatus(fields.number("exit_status", max(ExitStatus))),
        profiles=tuple(_profile(fields, "profiles", one) for one in profiles),
        sentence=fields.text("sentence") if fields.has("sentence") else "",
        ended=fields.text("ended") if fields.has("ended") else "",
        would=_by_profile(fields, "would") if fields.has("would") else {},
        calls=tuple(map(_call, fields.children("calls"))),
        notes=fields.texts("notes"),
    )


def _profile(fields: Fields, name: str, word: str) -> Profile:
    try:
        return Profile(word)
    except ValueError as error:
        raise fields.refusal(name, f"{word!a} is none of {', '.join(Profile)}") from error


def _by_profile(
    fields: Fields, name: str, words: Collection[str] | None = None
) -> Mapping[Profile, str]:
    inner = fields.child(name)
    found = {_profile(fields, name, word): inner.text(word) for word in inner.names()}
    if words is not None and not set(found.values()) <= set(words):
        raise fields.refusal(name, f"must be of {', '.join(sorted(words))}")
    return found


def _call(fields: Fields) -> ObservedCall:
    fields.only(*_CALL, optional=("last_seconds",))
    if fields.text("kind") not in _KINDS:
        raise fields.refusal("kind", f"is none of {', '.join(sorted(_KINDS))}")
    return ObservedCall(
        kind=fields.text("kind"),
        call=fields.text("call"),
        abi=fields.text("abi"),
        executable=fields.text("executable"),
        comm=fields.text("comm"),
        gives=fields.texts("gives"),
        count=fields.number("count"),
        processes=fields.number("processes"),
        first=fields.measure("first_seconds"),
        last=fields.measure("last_seconds") if fields.has("last_seconds") else None,
        arguments=tuple(
            (one.texts("values"), one.number("count")) for one in fields.children("arguments")
        ),
        sites=tuple((one.text("at"), one.number("count")) for one in fields.children("sites")),
        under=_by_profile(fields, "under", _EFFECTS),
        granted=_by_profile(fields, "granted"),
    )
