"""Every check can fail: each mutant turns exactly the cells red that it breaks, and no other."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from probes.action import Profile
from probes.arch import ARCHES
from probes.audit.trail import AuditTrail
from probes.cell import Cell, CellKey, Claim, Outcome
from probes.documents.policy import Policy
from probes.files import DEFAULT_POLICY
from probes.instrument.calls import Zygote
from probes.judging import claims, plan
from probes.judging.examiner import Examiner
from probes.judging.plan import Case
from probes.run import settings, values
from probes.run.bench import trail_of
from probes.run.settings import Settings
from probes.tests.support import mutants
from probes.tests.support.emitter import sharing_records
from probes.tests.support.mutants import Mutant

MATRIX = os.environ.get("SYSCALL_CONFORMANCE_KILL_MATRIX", "")
"""A file to which every mutant's line is appended, for people to read."""

DOCUMENTED = {claim for profile in Profile for claim in claims.documented(profile)}
UNPROBEABLE = "nothing allowed"
"""Under this mutant no process can fork or execute, so some ways cannot be gone: *cannot tell*."""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def resolved() -> Settings:
    return settings.resolve(values.read(DEFAULT_POLICY))


@pytest.fixture(scope="module")
def bench(resolved: Settings) -> Iterator[tuple[Zygote, AuditTrail]]:
    with Zygote() as zygote:
        trail = trail_of(resolved, zygote)
        yield zygote, trail
        if trail.collector is not None:
            trail.collector.close()


def examine(
    bench: tuple[Zygote, AuditTrail],
    resolved: Settings,
    mutant: Mutant,
    cases: Sequence[Case] | None = None,
) -> list[Cell]:
    """The verdicts on a mutant; on all cells of its profile where no cases are given."""
    zygote, trail = bench
    examiner = Examiner(zygote, mutant.target, resolved.policy, resolved.offered, trail)
    if cases is None:
        cases = [case for case in resolved.cases if case.profile is mutant.profile]
    with sharing_records():
        return examiner.examine(cases)


def has_records(bench: tuple[Zygote, AuditTrail]) -> bool:
    """Whether records can be had here."""
    return bench[1].collector is not None


def token_of(key: CellKey) -> int:
    return ARCHES[key.arch].audit_arch if key.arch in ARCHES else mutants.NO_ARCHITECTURE


def check(cells: list[Cell], mutant: Mutant, policy: Policy, *, records: bool) -> None:
    """Holds the red cells against those that the mutant breaks."""
    judged = [cell for cell in cells if cell.outcome is not Outcome.CANNOT_TELL]
    untold = {cell.key.claim for cell in cells if cell.outcome is Outcome.CANNOT_TELL}
    if records:
        assert untold <= ({Claim.IS_INHERITED} if mutant.name == UNPROBEABLE else set())
    red = {c.key for c in judged if c.outcome in {Outcome.FAILED, Outcome.BROKEN}}
    expected = {c.key for c in judged if mutant.red(c.key, token_of(c.key), policy)}
    exempt = {key for key in expected if plan.is_exempt(key) and key not in red}
    broken = {cell.key: cell for cell in judged if cell.outcome is Outcome.BROKEN}
    assert not broken, min(cell.sentence for cell in broken.values())
    missed, collateral = expected - exempt - red, red - expected
    _write_line(mutant, red, missed, collateral)
    assert not missed, f"{mutant.name}: survives {len(missed)} cells, such as {min(missed)}"
    assert not collateral, f"{mutant.name}: hits {len(collateral)} others: {min(collateral)}"
    assert red, f"{mutant.name}: survives"


def _write_line(
    mutant: Mutant, red: set[CellKey], missed: set[CellKey], collateral: set[CellKey]
) -> None:
    if not MATRIX:
        return
    by_claim = Counter(key.claim.value for key in red)
    hits = ", ".join(f"{claim} {count}" for claim, count in sorted(by_claim.items()))
    line = f"{mutant.profile}\t{mutant.name}\tmissed {len(missed)}\tcollateral {len(collateral)}\t"
    with Path(MATRIX).open("a", encoding="utf-8") as matrix:
        matrix.write(f"{line}{hits}\n")


Maker = Callable[..., Iterator[Mutant]]


def _run(
    make: Maker, bench: tuple[Zygote, AuditTrail], resolved: Settings, profile: Profile
) -> None:
    made = list(make(resolved.policy, resolved.offered, profile))
    assert made
    for mutant in made:
        cells = examine(bench, resolved, mutant)
        check(cells, mutant, resolved.policy, records=has_records(bench))


@pytest.mark.slow
@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize(
    "make", [mutants.wrong_actions, mutants.too_many_blocked, mutants.structural]
)
def test_mutants_are_caught(
    make: Maker, profile: Profile, bench: tuple[Zygote, AuditTrail], resolved: Settings
) -> None:
    _run(make, bench, resolved, profile)


@pytest.mark.slow
@pytest.mark.parametrize("profile", list(Profile))
def test_every_dropped_rule_is_caught(
    profile: Profile, bench: tuple[Zygote, AuditTrail], resolved: Settings
) -> None:
    """Of the call's cells those on its ABI are red; the next test judges the other calls, too."""
    cases = [case for case in resolved.cases if case.profile is profile]
    rules = mutants.documented(resolved.policy, resolved.offered)
    made = list(mutants.dropped_rules(resolved.policy, resolved.offered, profile))
    assert len(made) == len(rules)
    for mutant in made:
        broken = {
            key.syscall
            for case in cases
            for key in case.cells
            if key.claim in DOCUMENTED and mutant.red(key, token_of(key), resolved.policy)
        }
        assert len(broken) == 1
        about = [case for case in cases if any(key.syscall in broken for key in case.cells)]
        check(
            examine(bench, resolved, mutant, about),
            mutant,
            resolved.policy,
            records=has_records(bench),
        )


@pytest.mark.parametrize("profile", list(Profile))
def test_no_dropped_rule_hits_another_call(
    profile: Profile, bench: tuple[Zygote, AuditTrail], resolved: Settings
) -> None:
    """The whole profile is judged for each: of all cells just those of the dropped ones are red."""
    _run(mutants.dropped_together, bench, resolved, profile)


@pytest.mark.parametrize("profile", list(Profile))
def test_the_right_filter_is_red_nowhere(
    profile: Profile, bench: tuple[Zygote, AuditTrail], resolved: Settings
) -> None:
    table = mutants.conforming(resolved.policy, resolved.offered, profile)
    right = Mutant("none", profile, table.program(), table.lookup)
    cells = examine(bench, resolved, right)
    policy = resolved.policy
    assert not [cell for cell in cells if right.red(cell.key, token_of(cell.key), policy)]
    bad = [c for c in cells if c.outcome in {Outcome.FAILED, Outcome.BROKEN}]
    assert not bad, bad[0].sentence
