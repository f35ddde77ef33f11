"""The page of an observed workload: all that its document says, also that of an earlier version."""

import json
from typing import Any

import jsonschema
import pytest

from probes.action import Profile
from probes.errors import BadInputError
from probes.tests.support import observing
from reports.pages import observation_page
from reports.results import observed
from reports.terminal.observed import to_json
from reports.tests.support.observations import ROWS, reported
from reports.tests.support.pages import checked

LATER = ("contacts", "own_filters", "limits", "would", "sentence", "ended")


def told(**changes: Any) -> Any:  # noqa: ANN401 - JSON
    return json.loads(to_json(reported(ROWS, **changes)))


def earlier(document: Any) -> Any:  # noqa: ANN401 - JSON
    """The document as an earlier version wrote it."""
    calls = [
        {name: value for name, value in call.items() if name != "last_seconds"}
        for call in document["calls"]
    ]
    kept = {name: value for name, value in document.items() if name not in LATER}
    return {**kept, "calls": calls}


def page(document: Any) -> str:  # noqa: ANN401 - JSON
    return observation_page.render(observed.from_json(document))


def test_the_page_has_every_call_and_every_profile() -> None:
    document = told()
    text = checked(page(document)).text
    assert "0x270f, mount, setsid: 3 calls that the platform does not allow, made 8 times." in text
    for words in document["would"].values():
        assert words[1:] in text
    for call in document["calls"]:
        assert f"{call['call']}{call['abi']}" in text.replace(" ", "")
        if call["kind"] in observed.NOT_ALLOWED:
            for one in call["arguments"][:3]:
                assert f"{call['call']}({', '.join(one['values'])})" in text
    assert text.count("killed KILL") == 3
    assert "mount" in text.partition("Allowed, with the power of documented calls")[2]


def test_the_timeline_has_a_bar_for_each_call_at_its_time() -> None:
    """By the positions of the shapes: first and last, as shares of the whole."""
    document = told()
    text = page(document)
    for call in document["calls"]:
        lane = text.partition(f'aria-label="{call["call"]} on {call["abi"]}, ')[2]
        shape = lane.partition("<rect x=")[2].partition("<rect ")[2].partition(">")[0]
        x = float(shape.partition('x="')[2].partition('"')[0])
        wide = float(shape.partition('width="')[2].partition('"')[0])
        assert abs(x - call["first_seconds"] / document["seconds"] * 1000) < 0.1
        span = (call["last_seconds"] - call["first_seconds"]) / document["seconds"] * 1000
        assert abs(wide - max(span, 4.0)) < 0.1


def test_granted_calls_say_who_granted_them() -> None:
    text = checked(page(told(granted=lambda *_: "by A until 2027"))).text
    assert "by A until 2027" in text
    assert "granted KILL" in text
    assert "killed" not in text


def test_nothing_seen_is_a_page_too() -> None:
    document = json.loads(to_json(reported({})))
    text = checked(page(document)).text
    assert "PASS" in text
    assert "nothing that was seen would be stopped or recorded"[1:] in text


def test_a_document_of_an_earlier_version_is_read() -> None:
    document = earlier(told())
    observing.validator().validate(document)
    text = checked(page(document)).text
    assert "Exit status 1." in text
    assert "4 times, first after 0.001 s" in text
    assert observed.from_json(document).would == {}


def test_what_the_schema_refuses_is_refused() -> None:
    """A name that is missing or one too many, a wrong kind, profile, number or effect."""
    document = told()
    wrong: list[Any] = [
        {**document, "schema": "syscall-conformance/observation/2"},
        {**document, "stranger": 1},
        {name: value for name, value in document.items() if name != "calls"},
        {**document, "profiles": ["nonsense"]},
        {**document, "seconds": -1},
        {**document, "seconds": True},
        {**document, "calls": [{**document["calls"][0], "kind": "other"}]},
        {**document, "calls": [{**document["calls"][0], "under": {"kill": "eaten"}}]},
        {**document, "calls": [{**document["calls"][0], "first_seconds": "soon"}]},
    ]
    for one in wrong:
        assert not observing.validator().is_valid(one)
        with pytest.raises(BadInputError):
            observed.from_json(one)
    with pytest.raises(jsonschema.ValidationError):
        observing.validator().validate(wrong[1])


def test_only_the_profiles_that_were_asked_about_are_told() -> None:
    document = told()
    kept = {
        **document,
        "profiles": ["kill"],
        "would": {"kill": document["would"]["kill"]},
        "calls": [{**call, "under": {"kill": call["under"]["kill"]}} for call in document["calls"]],
    }
    assert observed.from_json(kept).profiles == (Profile.KILL,)
    assert "ERRNO" not in checked(page(kept)).text
