"""The target bpf:FILE."""

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import BadInputError
from probes.filters import bpf
from probes.filters.bpf import Program, jump, statement
from probes.targets import bpf_file
from probes.tests.support import random_programs as made_up

ALLOWS: Program = (statement(bpf.RET_K, 0x7FFF0000),)


def written(path: Path, program: Program, *, big_endian: bool = False) -> Path:
    path.write_bytes(bpf.to_bytes(program, big_endian=big_endian))
    return path


@pytest.mark.parametrize("big_endian", [False, True])
def test_files_stack_in_their_order(tmp_path: Path, *, big_endian: bool) -> None:
    for seed in range(5):
        rng = Random(seed)  # noqa: S311 - a failure must come again
        programs = [made_up.anything(rng, rng.randint(1, 40)) for _ in range(3)]
        paths = [
            written(tmp_path / f"{place}.bpf", program, big_endian=big_endian)
            for place, program in enumerate(programs)
        ]
        assert bpf_file.load(paths, big_endian=big_endian).programs == tuple(programs)
        twice = [paths[0], paths[0]]
        assert bpf_file.load(twice, big_endian=big_endian).programs == (programs[0], programs[0])


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "odd size": (bpf.to_bytes(ALLOWS) + b"\0", r"9 bytes are no whole number of 8-byte BPF"),
    "less than one instruction": (b"\0\0\0", "3 bytes are no whole number"),
    "JSON": (b'\n {"defaultAction": 1}', r"this looks like JSON; a profile's word is oci:FILE"),
    "a list in JSON": (b"[1]", "this looks like JSON"),
    "text": (b"allow this", "10 bytes are no whole number"),
    "jump out": (
        bpf.to_bytes((jump(bpf.JEQ, 0, 9, 0), *ALLOWS)),
        "instruction 0: jumps 9 ahead, out of the program",
    ),
    "long jump out": (bpf.to_bytes((statement(bpf.JA, 1 << 31), *ALLOWS)), "instruction 0: jumps"),
    "division by zero": (bpf.to_bytes((statement(bpf.DIV), *ALLOWS)), "0: divides by zero"),
    "shift too far": (bpf.to_bytes((statement(bpf.LSH, 32), *ALLOWS)), "0: shifts a 32-bit word"),
    "load beyond the end": (bpf.to_bytes((statement(bpf.LD_ABS, 64), *ALLOWS)), "from offset 64"),
    "load off the grid": (bpf.to_bytes((statement(bpf.LD_ABS, 2), *ALLOWS)), "from offset 2"),
    "load of a byte": (bpf.to_bytes((statement(0x30), *ALLOWS)), "opcode 0x0030 is not allowed"),
    "scratch word that nobody stored": (
        bpf.to_bytes((statement(bpf.LD_MEM, 3), *ALLOWS)),
        "loads scratch word 3, which no path has stored",
    ),
    "seventeenth scratch word": (bpf.to_bytes((statement(bpf.ST, 16), *ALLOWS)), "word 16 of 16"),
    "no return": (
        bpf.to_bytes((statement(bpf.LD_ABS),)),
        "instruction 0: the last one must return",
    ),
    "too long": (bpf.to_bytes(ALLOWS * 4097), "more than 4096 instructions"),
    "far too long": (b"\0" * (9 << 20), "more than 4096 instructions"),
    "the other byte order": (
        bpf.to_bytes((statement(bpf.LD_ABS, 4), *ALLOWS), big_endian=True),
        "in big-endian byte order it is one: say which architecture it is for",
    ),
    "an ELF file": (b"\x7fELF" + b"\2" * 60, "opcode 0x457f is not allowed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    path = tmp_path / "a.bpf"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words) as refusal:
        bpf_file.load([path], big_endian=False)
    assert str(refusal.value).startswith(f"{path}: ")
    assert str(refusal.value).isprintable()


def test_the_second_of_two_is_named(tmp_path: Path) -> None:
    good, bad = written(tmp_path / "good", ALLOWS), tmp_path / "bad"
    bad.write_bytes(b"x")
    with pytest.raises(BadInputError, match=f"^{re.escape(str(bad))}: "):
        bpf_file.load([good, bad], big_endian=False)


def test_no_file_at_all() -> None:
    with pytest.raises(BadInputError, match="no file of a filter was named"):
        bpf_file.load([], big_endian=False)


def test_the_longest_stack(tmp_path: Path) -> None:
    """What the kernel counts: the instructions, and four more for each filter but the newest."""
    longest = written(tmp_path / "long", ALLOWS * 4096)
    # 7 * 4096 + 7 * 4 + the last one's are 32768.
    last = written(tmp_path / "last", ALLOWS * (4096 - 28))
    over = written(tmp_path / "over", ALLOWS * (4096 - 27))
    assert len(bpf_file.load([longest] * 7 + [last], big_endian=False).programs) == 8
    with pytest.raises(BadInputError, match=r"8 filters on one process, .* count 32769 instruc"):
        bpf_file.load([longest] * 7 + [over], big_endian=False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(raw=st.binary(max_size=200), big_endian=st.booleans())
def test_any_bytes_are_a_program_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, *, big_endian: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bpf"
    path.write_bytes(raw)
    try:
        loaded = bpf_file.load([path], big_endian=big_endian)
    except BadInputError as error:
        message = str(error)
    else:
        message = f"{path}: "
        again = [bpf.to_bytes(program, big_endian=big_endian) for program in loaded.programs]
        assert again == ([] if loaded.unrestricted else [raw])
    assert message.startswith(f"{path}: ")
