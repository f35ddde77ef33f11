"""runc's part is recognized in programs that runc made, and in nothing else."""

from collections.abc import Callable
from typing import Final

import pytest

from probes.action import Action, FilterReturn
from probes.arch import ARCHES, Arch
from probes.filters import bpf, enosys_stub
from probes.filters.bpf import Instruction, Program, SeccompData

ENOSYS: Final = FilterReturn(Action.ERRNO, 38).value
ALLOW: Final = FilterReturn(Action.ALLOW).value

# As read from containers of runc 1.1.5, which lays it out in another order each time.
BY_RUNC: Final = (
    (0x20, 0, 0, 0x4),
    (0x15, 7, 0, 0x40000003),
    (0x15, 1, 0, 0xC000003E),
    (0x5, 0, 0, 0xA),
    (0x20, 0, 0, 0x0),
    (0x45, 1, 0, 0x40000000),
    (0x25, 6, 1, 0x1C8),
    (0x25, 5, 0, 0x40000223),
    (0x5, 0, 0, 0x5),
    (0x20, 0, 0, 0x0),
    (0x25, 2, 0, 0x1C8),
    (0x5, 0, 0, 0x2),
    (0x5, 0, 0, 0x1),
    (0x6, 0, 0, ENOSYS),
)
BY_DOCKER: Final = (
    (0x20, 0, 0, 0x4),
    (0x15, 2, 0, 0x40000003),
    (0x15, 4, 0, 0xC000003E),
    (0x5, 0, 0, 0xA),
    (0x20, 0, 0, 0x0),
    (0x25, 7, 0, 0x1C8),
    (0x5, 0, 0, 0x7),
    (0x20, 0, 0, 0x0),
    (0x45, 1, 0, 0x40000000),
    (0x25, 3, 1, 0x1C8),
    (0x25, 2, 0, 0x40000223),
    (0x5, 0, 0, 0x2),
    (0x5, 0, 0, 0x1),
    (0x6, 0, 0, ENOSYS),
)
NATIVE_ONLY: Final = (
    (0x20, 0, 0, 0x4),
    (0x15, 1, 0, 0xC000003E),
    (0x5, 0, 0, 0x6),
    (0x20, 0, 0, 0x0),
    (0x45, 1, 0, 0x40000000),
    (0x25, 2, 0, 0x1C8),
    (0x5, 0, 0, 0x2),
    (0x5, 0, 0, 0x1),
    (0x6, 0, 0, ENOSYS),
)
BEHIND: Final = ((0x20, 0, 0, 0x4), (0x15, 0, 1, 0xC000003E), (0x6, 0, 0, ALLOW), (0x6, 0, 0, 0))
"""How libseccomp's own program begins, cut short."""

LAST: Final = {"x86_64": 0x1C8, "x32": 0x40000223, "i386": 0x1C8}


def program(*parts: tuple[tuple[int, int, int, int], ...]) -> Program:
    return tuple(Instruction(*one) for part in parts for one in part)


def found(made: Program) -> enosys_stub.Stub:
    stub = enosys_stub.found_in(made)
    assert stub is not None
    return stub


@pytest.mark.parametrize("part", [BY_RUNC, BY_DOCKER], ids=["runc", "docker"])
@pytest.mark.parametrize("abi", sorted(LAST))
def test_it_answers_what_is_above_the_highest_number(
    part: tuple[tuple[int, int, int, int], ...], abi: str
) -> None:
    stub = found(program(part, BEHIND))
    assert not stub.covers(ARCHES[abi], LAST[abi])
    assert stub.covers(ARCHES[abi], LAST[abi] + 1)
    assert not stub.covers(ARCHES["aarch64"], LAST[abi] + 1)


def test_a_number_with_the_bit_of_x32_is_its_own() -> None:
    """Whatever it is called in a cell: the number -1 is asked about on x86_64."""
    stub = found(program(BY_RUNC, BEHIND))
    for abi in ("x86_64", "x32"):
        assert stub.covers(ARCHES[abi], 0xFFFFFFFF)
        assert not stub.covers(ARCHES[abi], 0x40000223)
    assert not found(program(NATIVE_ONLY, BEHIND)).covers(ARCHES["x32"], 0x40000224)


@pytest.mark.parametrize("number", [0, 0x1C8, 0x1C9, 0x3FFFFFFF, 0x40000223, 0x40000224])
def test_it_says_what_the_program_does(number: int) -> None:
    made = program(BY_RUNC, BEHIND)
    arch: Arch = ARCHES["x32" if number & 0x40000000 else "x86_64"]
    answers = bpf.simulate(made, SeccompData(number, arch.audit_arch)) == ENOSYS
    assert found(made).covers(arch, number) is answers


def replaced(place: int, new: tuple[int, int, int, int]) -> Program:
    return program((*BY_RUNC[:place], new, *BY_RUNC[place + 1 :]), BEHIND)


OTHERS: Final[dict[str, Callable[[], Program]]] = {
    "another errno": lambda: replaced(13, (0x6, 0, 0, FilterReturn(Action.ERRNO, 1).value)),
    "another action": lambda: replaced(13, (0x6, 0, 0, 0x80000000)),
    "reads an argument": lambda: replaced(4, (0x20, 0, 0, 16)),
    "calculates": lambda: replaced(12, (0x54, 0, 0, 1)),
    "jumps into what follows": lambda: replaced(12, (0x5, 0, 0, 2)),
    "nothing follows": lambda: program(BY_RUNC),
    "another program follows": lambda: program(BY_RUNC, BEHIND[2:]),
    "libseccomp's alone": lambda: program(BEHIND),
    "begins with the number": lambda: program(((0x20, 0, 0, 0),), BY_RUNC[1:], BEHIND),
    "empty": tuple,
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_program_has_none(name: str) -> None:
    assert enosys_stub.found_in(OTHERS[name]()) is None


def test_a_hole_above_a_number_is_no_border() -> None:
    """What is answered with ENOSYS below a number that goes on to the profile is another rule's."""
    above_only = program(BY_RUNC, BEHIND)
    assert found(above_only).covers(ARCHES["i386"], 500)
    with_hole = replaced(10, (0x15, 2, 0, 500))
    stub = found(with_hole)
    assert bpf.simulate(with_hole, SeccompData(500, ARCHES["i386"].audit_arch)) == ENOSYS
    assert not stub.covers(ARCHES["i386"], 500)
