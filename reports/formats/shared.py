"""What the formats share: identifiers that do not change, names, and JSON that is safe to embed."""

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from probes.cell import Cell, Claim, Outcome
from probes.judging import claims
from probes.text import visible
from reports import results
from reports.causes.headline import headlines
from reports.results import Environment, Run, time_text
from reports.summary import Group, accepted_text, by_place, call_name

RECORD: Final = "results.json"
"""The file that every format was rendered from."""

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, results.SCHEMA)
_SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})")
_MARKUP: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True, slots=True)
class Identifiers:
    """UUIDs that are the same for the same record (RFC 9562, version 5).

    Attributes:
        digest: the record's.
    """

    digest: str

    def __call__(self, *parts: str) -> str:
        """The identifier of a part of the record."""
        return str(uuid.uuid5(uuid.uuid5(_NAMESPACE, self.digest), "\0".join(parts)))


def json_text(document: object) -> str:
    """JSON in ASCII, in which no text can be taken for markup when it is put into a page."""
    return json.dumps(document, indent=1).translate(_MARKUP) + "\n"


def slug(words: str) -> str:
    """A name as identifiers have it: ``is reported`` becomes ``is-reported``."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", words).strip("-") or "-"


def fingerprint(cell: Cell) -> str:
    """An identifier of a cell that is the same in every run: 32 digits of a digest of its key."""
    key = cell.key
    # Only records that were put together have more than one environment.
    where = (str(cell.environment),) if cell.environment else ()
    which = (*where, key.part) if key.part else where
    parts = (key.claim, key.profile, key.arch, key.syscall, str(key.number), key.variant, *which)
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def cell_name(cell: Cell) -> str:
    """What a cell is about, beside claim and profile: ``acct on x86_64, fork``."""
    key = cell.key
    where = f"environment {cell.environment + 1}" if cell.environment else ""
    return visible(", ".join(filter(None, (f"{call_name(key)} on {key.arch}", key.which, where))))


def evidence_texts(cell: Cell) -> list[str]:
    """What a verdict rests on, each piece in one line; not yet made visible."""
    return [f"{one.kind}, {one.source}: {one.text}" for one in cell.evidence]


def required(text: str) -> str:
    """A text on one line where a format allows none that is empty or begins or ends in blanks."""
    return visible(text).strip() or "-"


def subjects(run: Run) -> list[tuple[str, str]]:
    """What was tested, as far as it has a digest: a name and the SHA-256 of each.

    The container image; where there is none, the filter programs.
    """
    image = run.target.image
    digest = _SHA256.fullmatch(image.digest or "") if image is not None else None
    if image is not None and digest is not None:
        return [(required(image.reference), digest[1])]
    return programs(run)


def programs(run: Run) -> list[tuple[str, str]]:
    """The filter programs of the target, each with its profile's name and rank, and its SHA-256."""
    ranks: Counter[tuple[str, int]] = Counter()
    found = []
    for program in run.target.programs:
        stack = program.profile, program.stack
        ranks[stack] += 1
        part = f", stack {program.stack + 1}" if program.stack else ""
        name = f"filter {ranks[stack]} of profile {program.profile}{part}"
        found.append((required(name), program.sha256))
    return found


@dataclass(frozen=True, slots=True)
class Check:
    """All cells of one claim, profile, ABI and stack of filters.

    Attributes:
        claim: the claim.
        profile: the profile; ``none`` for the controls.
        arch: the ABI.
        part: the stack of the target's filters, in words; "" for the first.
        cells: at least one, in order.
    """

    claim: Claim
    profile: str
    arch: str
    part: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Its name: ``terminates/kill/x86_64``."""
        words = (self.claim, self.profile, visible(self.arch), self.part)
        return "/".join(map(slug, filter(None, words)))

    @property
    def title(self) -> str:
        """Its name for people: ``terminates (kill) on x86_64``."""
        part = f" ({self.part})" if self.part else ""
        return visible(f"{claims.of(self.claim).title(self.profile)} on {self.arch}{part}")


def checks(run: Run) -> tuple[Check, ...]:
    """The cells by claim, profile, ABI and stack, in the order in which the run lists them."""
    return tuple(_check(group) for group in by_place(run, run.cells))


def _check(group: Group) -> Check:
    key = group.cells[0].key
    return Check(key.claim, key.profile, key.arch, key.part, group.cells)


def counted(cells: Iterable[Cell]) -> Iterator[tuple[Outcome, int]]:
    """Each outcome that some cell came to, and how many cells did."""
    for outcome, count in results.count_outcomes(cells).items():
        if count:
            yield outcome, count


def facts(run: Run) -> dict[str, str]:
    """What a reader of any format has to know about a run, by short names; texts made visible.

    Of a record of several environments, those after the first have their rank in the name.
    """
    summary = results.summarize(run)
    told = {
        "verdict": summary.ruling.verdict.value,
        "exit_status": str(summary.ruling.exit_status.value),
        "headline": " / ".join(one.line for one in headlines(run)),
        "sentence": summary.ruling.sentence,
        "planned": str(summary.planned),
        "judged": str(summary.judged),
        "selected_of": str(summary.selected_of),
        **{outcome.value: str(count) for outcome, count in summary.counts.items()},
        "policy": run.policy.name,
        "policy_title": run.policy.title,
        "policy_sha256": run.policy.sha256,
        "target": run.target.kind,
        "target_description": run.target.description,
        **_deployment(run),
        "accept": accepted_text(run),
        "profiles": ", ".join(run.profiles),
        "environments": str(len(run.environments)),
        **{
            f"{name}{'' if rank == 1 else f'_{rank}'}": text
            for rank, environment in enumerate(run.environments, 1)
            for name, text in _environment(environment).items()
        },
        "run_by": run_by(run),
        "started": time_text(run.started),
        "finished": time_text(run.finished),
        "suite": str(run.suite),
    }
    return {name: required(text) for name, text in told.items() if text}


def _environment(environment: Environment) -> dict[str, str]:
    return {
        "arches": ", ".join(environment.arches),
        "host": environment.host or "",
        "kernel": environment.kernel,
        "machine": environment.machine,
        "capabilities": environment.capabilities,
        "uid": str(environment.uid),
        "audit_source": environment.audit.source,
        "audit_reason": environment.audit.reason,
    }


def _deployment(run: Run) -> dict[str, str]:
    image, runtime = run.target.image, run.target.runtime
    return {
        "image": image.reference if image else "",
        "image_digest": (image.digest or "") if image else "",
        "runtime": str(runtime or ""),
    }


def run_by(run: Run) -> str:
    """Who ran the suite, in a few words; "" where nobody knows."""
    who = run.run_by
    words = []
    if who.user is not None or who.uid is not None:
        words.append(who.user or f"uid {who.uid}")
    if who.login is not None and who.login != who.user:
        words.append(f"logged in as {who.login}")
    if who.pipeline is not None:
        by = f" by {who.pipeline.actor}" if who.pipeline.actor else ""
        words.append(f"{who.pipeline.system}{by}")
    return ", ".join(words)
