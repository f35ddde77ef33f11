"""The pages of filters: what their pictures and words say, against running the filters."""

import html
import re
from importlib import resources
from typing import Final

import pytest

from probes.action import Action, FilterReturn
from probes.arch import all_names
from probes.documents import policy
from probes.files import DEFAULT_POLICY
from probes.filters.bpf import Program, SeccompData
from probes.filters.comparison import effect, run
from probes.targets.stack import FilterStack
from reports.filters import call_groups, way
from reports.filters.difference import difference
from reports.filters.documents import Asked
from reports.pages import difference_page, explanation_page
from reports.pages.number_map import look_of
from reports.tests.support.filter_samples import (
    KILL,
    X86,
    by_arguments,
    every_action,
    explained,
    explained_call,
    of_calls,
    stack,
    weighty,
)
from reports.tests.support.pages import checked

POLICY: Final = policy.load(DEFAULT_POLICY, all_names())
NASTY: Final = "<img src=x onerror=window.hit=1>\u202e\x1b\"'</title>"


def explained_page(one: FilterStack) -> str:
    return explanation_page.render(Asked("bpf:x"), one.description, POLICY, [explained(one)])


def compared_page(left: FilterStack, right: FilterStack) -> str:
    report = difference(left, right, (), 100)
    return difference_page.render(("bpf:a", "bpf:b"), (left, right), report)


def squares(page: str, label: str) -> dict[int, str]:
    """What the picture of that label says of each number: the letter and title of its square."""
    (picture,) = re.findall(rf'<svg[^>]*aria-label="{re.escape(label)}"[^>]*>(.*?)</svg>', page)
    found = {}
    for title in re.findall(r"<g[^>]*><title>([^<]*)</title>", picture):
        name, _, words = html.unescape(title).rpartition(": ")
        number = re.search(r"(0x[0-9a-f]+)\)?$", name)
        assert number
        found[int(number[1], 16)] = words
    return found


def wrong(page: str, one: FilterStack) -> list[int]:
    """The numbers of x86_64 of which the picture says something else than the filters return."""
    said = squares(page, "what each number of x86_64 gets")
    assert set(X86.numbers.values()) <= set(said)
    return [
        number
        for number, words in said.items()
        if words != "depends on the arguments"
        and words != str(effect(run(one.programs, SeccompData(number, X86.audit_arch, (0,) * 6))))
    ]


@pytest.mark.parametrize("programs", [(every_action(),), (by_arguments(), every_action()), ()])
def test_the_picture_says_what_the_filters_do(programs: tuple[Program, ...]) -> None:
    one = FilterStack("made up", programs, X86)
    page = explained_page(one)
    checked(page)
    assert wrong(page, one) == []


def test_the_picture_of_another_filter_is_found_out() -> None:
    one, other = stack(of_calls(acct=KILL)), stack(of_calls(acct=KILL, kcmp=KILL))
    assert wrong(explained_page(one), other) == [X86.numbers["kcmp"]]


def test_documented_calls_are_told_in_words_and_framed() -> None:
    page = explained_page(stack(every_action()))
    text = checked(page).text
    assert "this is a finding" in text
    assert "On x86_64, of 60 documented calls: 53 get ALLOW, 1 gets ERRNO(EPERM)" in text
    (picture,) = re.findall(
        r'<svg[^>]*aria-label="what each number of x86_64[^>]*>(.*?)</svg>', page
    )
    assert picture.count("documented") == 60
    assert re.search(r'class="a-errno a-errno-e documented"><title>acct \(0xa3\)', picture)


def test_a_call_that_depends_on_its_arguments_is_told_so() -> None:
    page = explained_page(stack(by_arguments()))
    text = checked(page).text
    assert squares(page, "what each number of x86_64 gets")[X86.numbers["clone"]] == (
        "depends on the arguments"
    )
    assert (
        "ERRNO(EPERM) if args[0] & 0x20000 == 0x20000" in text or "ERRNO(EPERM) otherwise" in text
    )


def test_the_way_of_a_call_is_told_instruction_by_instruction() -> None:
    one = stack(by_arguments(), every_action())
    page = explanation_page.render(
        Asked("bpf:x", "clone"), one.description, POLICY, [explained_call(one, "clone")]
    )
    text = checked(page).text
    assert "clone (0x38) on x86_64: ALLOW or ERRNO(EPERM), which depends on the arguments." in text
    assert "7 of 10 instructions run." in text
    assert page.count('class="ribbon"') == 4
    assert len(re.findall(r'class="last"', page)) == 4


def test_only_what_differs_is_coloured() -> None:
    left, right = stack(of_calls(acct=KILL, mount=KILL)), stack(of_calls(mount=KILL))
    page = compared_page(left, right)
    text = checked(page).text
    assert "They differ on 1 call of x86_64." in text
    for letter, words in (("A", "KILL_PROCESS"), ("B", "ALLOW")):
        said = squares(page, f"{letter}: the numbers of x86_64 about which the two differ")
        assert said.pop(X86.numbers["acct"]) == words
        assert set(said.values()) == {"the same on both sides"}
        # Rows in which nothing differs are left out.
        assert {number // 32 for number in said} == {X86.numbers["acct"] // 32}


def test_each_difference_has_the_way_of_a_call_through_both() -> None:
    """Both ways of one call, and both end in what the summary says."""
    left, right = stack(every_action()), stack(by_arguments())
    page = compared_page(left, right)
    checked(page)
    rows = [row for part in difference(left, right, (), 100).parts for row in part.found.rows]
    folds = re.findall("<details.*?</details>", page)
    assert len(folds) == len(rows) > 5
    for row, fold in zip(rows, folds, strict=True):
        in_a, in_b = row.pair.words
        assert f"{in_a} in A, {in_b} in B</summary>" in fold
        endings = re.findall(r">([^<>]*)</div></td></tr></tbody>", fold)
        assert endings == [in_a, in_b]
        assert fold.count('class="ribbon"') == 2


@pytest.mark.parametrize(
    ("left", "right", "word"),
    [
        (stack(every_action()), stack(every_action()), "equal"),
        (weighty(every_action()), stack(every_action()), "cannot tell"),
        (stack(every_action()), stack(by_arguments()), "different"),
    ],
)
def test_the_answer_stands_first(left: FilterStack, right: FilterStack, word: str) -> None:
    checker = checked(compared_page(left, right))
    assert word in checker.text.partition("Exit status")[0]


def test_several_stacks_are_compared_one_by_one() -> None:
    other = stack(of_calls(mount=KILL), name="another stack")
    both = FilterStack("two", (of_calls(acct=KILL),), X86, first="the first", further=(other,))
    text = checked(compared_page(both, stack(of_calls(acct=KILL)))).text
    assert "A, stack 1 (the first) and B" in text
    assert "A, stack 2 (another stack) and B" in text
    page = explanation_page.render(
        Asked("x"), "two", POLICY, [explained(part) for part in both.members]
    )
    assert "stack 2: another stack" in checked(page).text


def test_texts_from_outside_are_shown_and_not_obeyed() -> None:
    one = stack(every_action(), name=NASTY)
    page = explanation_page.render(Asked(NASTY), NASTY, POLICY, [explained(one)])
    assert checked(page).tags["img"] == 0
    other = compared_page(one, stack(by_arguments(), name=NASTY))
    assert checked(other).tags["img"] == 0


@pytest.mark.slow
def test_groups_and_instructions_are_there_on_request() -> None:
    """As the lines say them; without being asked for they are left out."""
    one = stack(every_action())
    groups = call_groups.known()
    asked = Asked("bpf:x", groups=groups, disassemble=True)
    page = explanation_page.render(asked, "x", POLICY, [explained(one)])
    text = checked(page).text
    assert f"systemd's groups ({groups.source})" in text
    told = " ".join(text.split())
    found = call_groups.by_group(groups, explained(one).sections[0])
    assert len(found) > 20
    for group, by_answer in found.items():
        assert f"{group}{call_groups.answer_words(by_answer)}" in told
    (lines,) = (way.annotated(program, big_endian=False) for program in one.programs)
    assert all(line.strip() in text for line in lines)
    plain = checked(explained_page(one)).text
    assert "systemd" not in plain
    assert "Every instruction" not in plain
    called = explanation_page.render(asked, "x", POLICY, [explained_call(one, "mount")])
    assert call_groups.call_line(groups, "mount") in checked(called).text


def test_every_action_has_a_colour_and_a_sign_of_its_own() -> None:
    """Errnos share a colour only with errnos that share their letter."""
    style = resources.files("reports.html").joinpath("commands.css").read_text(encoding="utf-8")
    looks = [look_of(FilterReturn(action)) for action in Action if action is not Action.ERRNO]
    looks += [look_of(FilterReturn(Action.ERRNO, number)) for number in (1, 5, 13, 38)]
    assert len({look.letter for look in looks}) == len(looks)
    assert all(f".{look.style.split()[0]} rect {{ fill" in style for look in looks)
