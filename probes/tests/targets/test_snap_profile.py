"""snapd's file of a snap's filters, as the target ``bpf:FILE`` reads it.

``acct-denied.bin2`` was written by snap-seccomp of Debian's snapd 2.77.1-2 from a profile of five
lines: read, write, exit_group, acct, ~acct.
"""

import struct
from pathlib import Path
from typing import Literal

import pytest

from probes.action import FilterReturn, Profile
from probes.arch import ARCHES
from probes.errors import BadInputError
from probes.files import DEFAULT_POLICY
from probes.filters import bpf
from probes.targets import bpf_file, snap_profile
from probes.targets.name import read
from probes.targets.open import Surroundings, open_target
from probes.targets.stack import FilterStack

X86_64 = ARCHES["x86_64"]
REAL = Path(__file__).parents[1] / "data/acct-denied.bin2"
ALLOWS = bpf.to_bytes((bpf.statement(bpf.RET_K, 0x7FFF0000),))
REFUSES = bpf.to_bytes((bpf.statement(bpf.RET_K, 0x0005000D),))


def file_of(  # noqa: PLR0913 - each field of the head
    allow: bytes = ALLOWS,
    deny: bytes = REFUSES,
    *,
    magic: bytes = b"SC",
    version: int = 1,
    unrestricted: int = 0,
    order: str = "<",
    sizes: tuple[int, int] | None = None,
) -> bytes:
    """A file as snapd lays it out, or with one thing wrong."""
    counts = sizes or (len(allow), len(deny))
    head = struct.pack(f"{order}2sBB4xII112x", magic, version, unrestricted, *counts)
    return head + allow + deny


def opened(*paths: Path) -> FilterStack:
    word = f"bpf:{','.join(map(str, paths))}"
    where = Surroundings(DEFAULT_POLICY, Profile.ERRNO, X86_64, frozenset(), (6, 1))
    return open_target(read(word), where)


def returned(stack: FilterStack, name: str, abi: str = "x86_64") -> str:
    where = ARCHES[abi]
    values = stack.analysis().returns(where.audit_arch, where.numbers[name])
    return " or ".join(sorted(str(FilterReturn.decode(value)) for value in values))


def test_both_filters_count_and_are_logged() -> None:
    """A denied call that is allowed as well gets the deny filter's errno, another one EPERM."""
    stack = opened(REAL)
    assert stack.logged == (True, True)
    assert stack.findings == ()
    found = {name: returned(stack, name) for name in ("read", "acct", "kcmp")}
    assert found == {"read": "ALLOW", "acct": "ERRNO(EACCES)", "kcmp": "ERRNO(EPERM)"}
    assert returned(stack, "read", "x32") == "KILL_THREAD"


def test_the_denying_filter_is_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "a.bin2"
    path.write_bytes(file_of())
    assert bpf_file.load([path], big_endian=False).programs == (
        bpf.from_bytes(REFUSES),
        bpf.from_bytes(ALLOWS),
    )


def test_it_stacks_with_other_files(tmp_path: Path) -> None:
    """As snapd's own global.bin, a bare program, does; only the snap's filters are logged."""
    bare = tmp_path / "global.bin"
    bare.write_bytes(ALLOWS)
    stack = opened(bare, REAL)
    assert len(stack.programs) == 3
    assert stack.logged == (False, True, True)


def test_bare_programs_are_not_logged(tmp_path: Path) -> None:
    bare = tmp_path / "a.bpf"
    bare.write_bytes(ALLOWS)
    assert opened(bare).logged == ()


@pytest.mark.parametrize(
    "content",
    [file_of(b"", b"", unrestricted=1), file_of(unrestricted=1), b"@unrestricted\n"],
    ids=["2", "2 with filters", "older"],
)
def test_an_unrestricted_snap_has_no_filter(content: bytes, tmp_path: Path) -> None:
    """snap-confine installs none then, even where some are there."""
    path = tmp_path / "a.bin2"
    path.write_bytes(content)
    stack = opened(path)
    assert (stack.programs, stack.logged) == ((), ())
    (finding,) = stack.findings
    assert finding.text == (
        f"{path}: the snap is unrestricted, and snap-confine installs no filter for it"
    )
    assert returned(stack, "acct") == "ALLOW"


def test_big_endian_machines_have_big_endian_heads(tmp_path: Path) -> None:
    path = tmp_path / "a.bin2"
    turned = (bpf.statement(bpf.RET_K, 0x7FFF0000),)
    raw = bpf.to_bytes(turned, big_endian=True)
    path.write_bytes(file_of(raw, raw, order=">"))
    assert bpf_file.load([path], big_endian=True).programs == (turned, turned)


REAL_BYTES = REAL.read_bytes()
WRONG: dict[str, tuple[bytes, str]] = {
    "cut in its head": (REAL_BYTES[:100], r"its head has 100 of 128 bytes"),
    "nothing but the magic": (b"SC", r"its head has 2 of 128 bytes"),
    "cut in a filter": (REAL_BYTES[:-8], r"and 232 follow, so it was cut or put together wrongly"),
    "without its filters": (REAL_BYTES[:128], r"and 0 follow, so it was cut"),
    "longer": (REAL_BYTES + ALLOWS, r"and 248 follow, so it was cut or put together wrongly"),
    "a later version": (file_of(version=2), r"its head says version 2, and 1 is the only one"),
    "another head": (file_of(magic=b"SD"), r"opcode 0x4453 is not allowed"),
    "of the other byte order": (
        file_of(order=">"),
        r"in big-endian byte order they fit: say which architecture it is for",
    ),
    "no allow filter": (file_of(allow=b""), r"it has no allow filter, and its head does not say"),
    "no deny filter": (file_of(deny=b""), r"it has no deny filter, and its head does not say"),
    "an unknown flag and no filter": (
        file_of(b"", b"", unrestricted=2),
        r"it has no allow filter, and its head does not say that the snap is unrestricted",
    ),
    "half an instruction": (
        file_of(sizes=(4, 12)),
        r"its allow filter has 4 bytes, which is no whole number of 8-byte BPF instructions",
    ),
    "too long a filter": (
        file_of(deny=ALLOWS * 4097),
        r"its deny filter has 32776 bytes, .* or more than 32768 bytes",
    ),
    "swapped sizes": (
        REAL_BYTES[:8] + REAL_BYTES[12:16] + REAL_BYTES[8:12] + REAL_BYTES[16:],
        r"its \w+ filter: the kernel would refuse this program \(instruction \d+: ",
    ),
    "no program": (
        file_of(deny=b"\0" * 8),
        r"its deny filter: the kernel would refuse this program \(instruction 0: the last one",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, words = WRONG[name]
    path = tmp_path / "a.bin2"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words) as refusal:
        bpf_file.load([path], big_endian=False)
    assert str(refusal.value).startswith(str(path))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("order", ["little", "big"])
def test_no_opcode_begins_as_the_file_does(order: Literal["little", "big"]) -> None:
    """So that no program is taken for one of snapd's, whatever its byte order."""
    opcode = int.from_bytes(snap_profile.MAGIC, order)
    with pytest.raises(bpf.IllegalProgramError, match="is not allowed"):
        bpf.check((bpf.statement(opcode, 0), bpf.statement(bpf.RET_K, 0)))
