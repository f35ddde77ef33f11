"""What programs are told of filters: held to the published schemas, and to running the filters."""

import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import pytest

from probes import arch as abis
from probes.arch import all_names
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters.bpf import SeccompData
from probes.filters.comparison import effect, run
from probes.targets.stack import FilterStack
from reports.filters import call_groups, documents, explanation, places
from reports.filters.difference import difference
from reports.filters.documents import Asked
from reports.tests.support.filter_samples import (
    X86,
    by_arguments,
    every_action,
    explained,
    explained_call,
    of_calls,
    schema,
    stack,
    weighty,
)

POLICY: Final = policy.load(DEFAULT_POLICY, all_names())
STACKS: Final = {
    "actions": stack(every_action()),
    "arguments": stack(by_arguments(), every_action()),
    "none": stack(),
    "logged": FilterStack("flagged", (by_arguments(),), X86, logged=(True,)),
}


def told(one: FilterStack) -> Any:  # noqa: ANN401 - JSON
    text = documents.explanation(Asked("bpf:x"), one.description, POLICY, [explained(one)])
    return json.loads(text)


def compared(left: FilterStack, right: FilterStack) -> Any:  # noqa: ANN401 - JSON
    report = difference(left, right, (), 100)
    return json.loads(documents.difference(("bpf:a", "bpf:b"), (left, right), report))


@pytest.mark.parametrize("name", ["explanation", "difference"])
def test_a_schema_is_itself_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", STACKS)
def test_an_explanation_obeys_its_schema(name: str) -> None:
    jsonschema.validate(told(STACKS[name]), schema("explanation"))


def test_the_explanation_of_a_call_obeys_its_schema() -> None:
    one = stack(by_arguments(), every_action())
    asked = Asked("bpf:x", "clone")
    text = documents.explanation(asked, one.description, POLICY, [explained_call(one, "clone")])
    jsonschema.validate(json.loads(text), schema("explanation"))
    spots = [(places.abi(X86), X86.numbers["clone"])]
    values = (0x20000, 0, 0, 0, 0, (1 << 64) - 1)
    exact = explanation.of_arguments(one, spots, values)
    text = documents.explanation(Asked("bpf:x", 56, values), "x", POLICY, [exact])
    found = json.loads(text)
    jsonschema.validate(found, schema("explanation"))
    assert found["asked"] == {
        "number": 56,
        "arguments": ["0x20000", *["0x0"] * 4, "0xffffffffffffffff"],
    }
    (outcome,) = found["stacks"][0]["calls"][0]["outcomes"]
    assert outcome["returns"] == "ERRNO(EPERM)"
    assert [steps[-1]["did"] for steps in outcome["ways"]] == ["ERRNO(EPERM)", "ALLOW"]


def test_groups_and_instructions_obey_the_schema() -> None:
    """They are there where they were asked for."""
    one, groups = stack(every_action()), call_groups.known()
    asked = Asked("bpf:x", groups=groups, disassemble=True)
    parts = (explained(one), explained_call(one, "mount"))
    made = [json.loads(documents.explanation(asked, "x", POLICY, [part])) for part in parts]
    for found in made:
        jsonschema.validate(found, schema("explanation"))
        assert found["named_groups"] == groups.source
        lines = found["stacks"][0]["disassembly"]
        assert [len(each) for each in lines] == [len(one.programs[0])]
    assert made[1]["stacks"][0]["calls"][0]["named_groups"] == list(groups.having("mount"))
    plain = json.loads(documents.explanation(Asked("bpf:x"), "x", POLICY, parts))
    assert plain["named_groups"] is None
    assert plain["stacks"][0]["disassembly"] is None
    assert plain["stacks"][0]["places"][0]["named_groups"] is None


PAIRS: Final = {
    "equal": (stack(every_action()), stack(every_action(), every_action())),
    "different": (stack(every_action()), stack(by_arguments())),
    "cannot tell": (weighty(every_action()), stack(every_action())),
    "flags": (
        stack(every_action()),
        FilterStack("flagged", (every_action(),), X86, logged=(True,)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_comparison_obeys_its_schema(name: str) -> None:
    found = compared(*PAIRS[name])
    jsonschema.validate(found, schema("difference"))
    came_to = {"equal": ("equal", 0), "cannot tell": ("cannot tell", 6)}
    assert (found["came_to"], found["exit_status"]) == came_to.get(name, ("different", 1))


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """The place of every object in a document, but those whose keys are names from outside."""
    if isinstance(value, dict):
        if path[-1:] != ("documented",):
            yield path
        for key, inner in value.items():
            yield from objects(inner, (*path, key))
    if isinstance(value, list):
        for rank, inner in enumerate(value[:2]):
            yield from objects(inner, (*path, rank))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["explanation", "difference"])
def test_a_schema_is_strict(name: str) -> None:
    """A key that is missing is red, and one too many is, in every object."""
    whole = told(STACKS["arguments"]) if name == "explanation" else compared(*PAIRS["different"])
    text = json.dumps(whole)
    validator = jsonschema.Draft202012Validator(schema(name))
    for path in objects(whole):
        changed = json.loads(text)
        spot = changed
        for step in path:
            spot = spot[step]
        spot["stranger"] = 1
        assert not validator.is_valid(changed), path
        del spot["stranger"]
        for key in list(spot):
            kept = spot.pop(key)
            assert not validator.is_valid(changed), (*path, key)
            spot[key] = kept


def wrong(document: Any, one: FilterStack) -> list[str]:  # noqa: ANN401 - JSON
    """Where an explanation says something else than the filters return, and what it leaves out."""
    return [fault for place in document["stacks"][0]["places"] for fault in wrong_in(place, one)]


def wrong_in(place: Any, one: FilterStack) -> Iterator[str]:  # noqa: ANN401 - JSON
    """The same for one place."""
    title = place["title"]
    said = said_of(place)
    for number, returns in said.items():
        data = SeccompData(number, place["token"], (0,) * 6)
        if returns and str(effect(run(one.programs, data))) != returns:
            yield f"{title} {number:#x}"
    for outcome in (each for part in place["by_arguments"] for each in part["outcomes"]):
        example = outcome["example"]
        values = tuple(int(value, 16) for value in example["arguments"])
        data = SeccompData(example["number"], example["token"], values)
        if str(effect(run(one.programs, data))) != outcome["returns"]:
            yield f"{title} {example}"
    if place["arch"] is not None:
        numbers = abis.get(place["arch"]).numbers
        yield from (f"{title} {one:#x} is missing" for one in set(numbers.values()) - said.keys())
        for name, returns in place["documented"].items():
            if (returns or "") != said[numbers[name]]:
                yield f"{title} {name}"


def said_of(place: Any) -> dict[int, str]:  # noqa: ANN401 - JSON
    """What a place says of each number by name, and of the ends of each range; "" by arguments."""
    said: dict[int, str] = {}
    for group in place["groups"]:
        ends = [end for part in group["unknown"] for end in (part["first"], part["last"])]
        named = [call["number"] for call in group["calls"]]
        said.update(dict.fromkeys((*named, *ends), group["returns"]))
    for part in place["by_arguments"]:
        said.update({call["number"]: "" for call in part["calls"]})
    return said


@pytest.mark.parametrize("name", STACKS)
def test_an_explanation_says_what_the_filters_do(name: str) -> None:
    assert wrong(told(STACKS[name]), STACKS[name]) == []


def test_an_explanation_of_another_filter_is_found_out() -> None:
    """The oracle sees one call that is answered otherwise."""
    right, other = stack(of_calls(acct=1 << 31)), stack(of_calls(acct=1 << 31, kcmp=1 << 31))
    assert wrong(told(right), other) == [f"x86_64 {X86.numbers['kcmp']:#x}"]


def test_a_difference_is_told_with_what_both_sides_return() -> None:
    """By running both stacks on the example of every row."""
    left, right = PAIRS["different"]
    found = compared(left, right)
    rows = [row for place in found["stacks"][0]["places"] for row in place["differences"]]
    assert len(rows) > 5
    for row in rows:
        example = row["example"]
        values = tuple(int(value, 16) for value in example["arguments"])
        data = SeccompData(example["number"], example["token"], values)
        for side, one in (("a", left), ("b", right)):
            assert str(effect(run(one.programs, data))) == row[side]["returns"]
            (steps,) = row[side]["ways"]
            assert steps[-1]["did"] == row[side]["returns"]
        assert row["a"] != row["b"]
