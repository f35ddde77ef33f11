"""Decision diagrams against Python's own sets, over few enough variables to try everything."""

import itertools
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.filters.bdd import FALSE, TRUE, Diagrams, TooLargeError

VARIABLES = 7
EVERYTHING = frozenset(range(1 << VARIABLES))
PLENTY = 100_000

Formula = tuple[object, ...]
"""("variable", place), ("constant", truth), or an operation's name and formulas."""

atoms = st.tuples(st.just("variable"), st.integers(0, VARIABLES - 1)) | st.tuples(
    st.just("constant"), st.booleans()
)
formulas = st.recursive(
    atoms,
    lambda inner: (
        st.tuples(st.just("complement"), inner)
        | st.tuples(st.sampled_from(["both", "any_of", "different"]), inner, inner)
        | st.tuples(st.just("choose"), inner, inner, inner)
    ),
    max_leaves=25,
)


def holding(place: int) -> frozenset[int]:
    """The assignments, as numbers, in which a variable is yes."""
    return frozenset(each for each in EVERYTHING if each >> place & 1)


def as_diagram(formula: Formula, diagrams: Diagrams) -> int:
    kind, *parts = formula
    if kind == "variable":
        return diagrams.either_way(int(str(parts[0])))
    if kind == "constant":
        return TRUE if parts[0] else FALSE
    operands = [as_diagram(part, diagrams) for part in parts if isinstance(part, tuple)]
    return int(getattr(diagrams, str(kind))(*operands))


def as_set(formula: Formula) -> frozenset[int]:
    kind, *parts = formula
    if kind == "variable":
        return holding(int(str(parts[0])))
    if kind == "constant":
        return EVERYTHING if parts[0] else frozenset()
    one, *others = (as_set(part) for part in parts if isinstance(part, tuple))
    if kind == "complement":
        return EVERYTHING - one
    if kind == "choose":
        return one & others[0] | (EVERYTHING - one) & others[1]
    if kind == "both":
        return one & others[0]
    return one | others[0] if kind == "any_of" else one ^ others[0]


def matching(partial: dict[int, bool]) -> frozenset[int]:
    """The assignments that a partial one stands for."""
    return frozenset(
        each
        for each in EVERYTHING
        if all(bool(each >> place & 1) is yes for place, yes in partial.items())
    )


def extension(node: int, diagrams: Diagrams) -> frozenset[int]:
    """The set of a diagram, by walking it from the top for each assignment."""
    found = set()
    for assignment in EVERYTHING:
        here = node
        while here not in {TRUE, FALSE}:
            no, yes = diagrams.branches(here)
            here = yes if assignment >> diagrams.variable_of(here) & 1 else no
        if here == TRUE:
            found.add(assignment)
    return frozenset(found)


@given(formula=formulas)
def test_a_diagram_is_the_set_of_its_formula(formula: Formula) -> None:
    diagrams = Diagrams(PLENTY)

    assert extension(as_diagram(formula, diagrams), diagrams) == as_set(formula)


@given(one=formulas, other=formulas)
def test_equal_sets_are_one_diagram(one: Formula, other: Formula) -> None:
    diagrams = Diagrams(PLENTY)

    same = as_diagram(one, diagrams) == as_diagram(other, diagrams)

    assert same == (as_set(one) == as_set(other))


@given(formula=formulas)
def test_the_order_of_operations_does_not_matter(formula: Formula) -> None:
    """Every set is one diagram, whichever way it was come by: here, from its members."""
    diagrams = Diagrams(PLENTY)
    gathered = FALSE
    for assignment in as_set(formula):
        one = TRUE
        for place in range(VARIABLES):
            bit = diagrams.either_way(place)
            one = diagrams.both(one, bit if assignment >> place & 1 else diagrams.complement(bit))
        gathered = diagrams.any_of(gathered, one)

    assert gathered == as_diagram(formula, diagrams)


@given(formula=formulas)
def test_members_make_up_the_set_without_overlap(formula: Formula) -> None:
    diagrams = Diagrams(PLENTY)

    parts = [matching(partial) for partial in diagrams.members(as_diagram(formula, diagrams))]

    assert frozenset().union(*parts) == as_set(formula)
    assert sum(map(len, parts)) == len(as_set(formula))


@given(formula=formulas)
def test_a_member_is_in_the_set(formula: Formula) -> None:
    diagrams = Diagrams(PLENTY)

    member = diagrams.member(as_diagram(formula, diagrams))

    assert (member is None) == (not as_set(formula))
    if member is not None:
        assert matching(member) <= as_set(formula)


@given(formula=formulas)
def test_a_member_says_no_wherever_it_can(formula: Formula) -> None:
    """Among all members it is the first, if the first variable counts most."""
    diagrams = Diagrams(PLENTY)

    member = diagrams.member(as_diagram(formula, diagrams))

    if member is not None:
        chosen = [member.get(place, False) for place in range(VARIABLES)]
        assert chosen == min(
            [bool(each >> place & 1) for place in range(VARIABLES)] for each in as_set(formula)
        )


@given(formula=formulas)
def test_the_support_is_what_matters(formula: Formula) -> None:
    diagrams = Diagrams(PLENTY)
    wanted = as_set(formula)

    found = diagrams.support(as_diagram(formula, diagrams))

    assert found == {
        place
        for place in range(VARIABLES)
        if any((each in wanted) != (each ^ 1 << place in wanted) for each in EVERYTHING)
    }


@given(formula=formulas, limit=st.integers(2, 30))
def test_a_store_never_outgrows_its_limit(formula: Formula, limit: int) -> None:
    """It gives the right set or refuses, and goes on giving right ones afterwards."""
    diagrams = Diagrams(limit)
    with suppress(TooLargeError):
        assert extension(as_diagram(formula, diagrams), diagrams) == as_set(formula)
    assert len(diagrams) <= limit


def equality(diagrams: Diagrams, pairs: Iterable[tuple[int, int]]) -> int:
    """The set in which both variables of each pair are alike."""
    same = TRUE
    for one, other in pairs:
        unequal = diagrams.different(diagrams.either_way(one), diagrams.either_way(other))
        same = diagrams.both(same, diagrams.complement(unequal))
    return same


def test_variables_in_a_bad_order_fill_the_store() -> None:
    """Whether two words are equal takes 2^n nodes where one word comes after the other."""
    with pytest.raises(TooLargeError, match="10000"):
        equality(Diagrams(10_000), ((place, 32 + place) for place in range(32)))


def test_variables_in_a_good_order_do_not() -> None:
    diagrams = Diagrams(10_000)
    same = equality(diagrams, ((2 * place, 2 * place + 1) for place in reversed(range(32))))

    members = list(itertools.islice(diagrams.members(same), 1000))

    assert len(diagrams.support(same)) == 64
    assert len(members) == 1000
    assert all(each[2 * place] == each[2 * place + 1] for each in members for place in range(32))
