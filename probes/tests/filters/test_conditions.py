"""Conditions on arguments: held against a plain reading, the kernel's own types, and the kernel."""

import errno
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from probes import widths
from probes.action import Action, FilterReturn, Profile
from probes.arch import ARCHES, Arch
from probes.documents.policy import DocumentedCall, Policy
from probes.filters import bpf, conditions, prover
from probes.filters.bdd import Diagrams
from probes.filters.bpf import Program, SeccompData
from probes.filters.conditions import Common, Condition, Operator, Outside, example
from probes.targets import builtin
from probes.tests.support.oracles import require

PLAIN = [one for one in Operator if one is not Operator.MASKED_EQ]
ALLOW = FilterReturn(Action.ALLOW).value


def documented(name: str, *args: Condition, errnos: tuple[str, ...] = ()) -> DocumentedCall:
    return DocumentedCall(name, "all", "does something", "for a test", args=args, errno=errnos)


def policy_of(*calls: DocumentedCall) -> Policy:
    return Policy("made up", "A title", "A source.", ("all",), calls, "made-up.toml", "0" * 64)


# --- A plain reading, written apart from what it judges -------------------------------------------


def plainly(name: str, args: tuple[Condition, ...], arch: Arch, words: tuple[int, ...]) -> bool:
    """Whether a call is restricted: words are cut as the table says, and compared as numbers."""
    for one in args:
        bits = widths.width(name, arch, one.index)
        wide = arch.audit_arch & 0x80000000 and not (
            arch.name == "x32" and arch.numbers[name] >= 0x40000200
        )
        # A negative number is one of the register's size.
        negative = one.value >= 2**64 - 2**31 and (one.mask or 2**64 - 1) >= 2**64 - 2**32
        value = one.value % 2**32 if negative and not wide else one.value
        word = words[one.index] % 2**bits
        if one.operator is Operator.MASKED_EQ:
            assert one.mask is not None
            holds = word & one.mask == value
        else:
            sign = {"!=": "__ne__", "<": "__lt__", "<=": "__le__", "==": "__eq__"}
            sign |= {">=": "__ge__", ">": "__gt__"}
            holds = getattr(word, sign[one.operator.sign])(value)
        if not holds:
            return False
    return True


INTERESTING = (0, 1, 2, 3, 16, 38, 255, 0x8000, 0xFFFF, 0x10000, 2**31, 2**32 - 1, 2**32, 2**63)


def some_value(dice: random.Random, bits: int) -> int:
    value: int = dice.choice(
        (dice.choice(INTERESTING), dice.getrandbits(bits), dice.getrandbits(6))
    )
    return int((value + dice.choice((-1, 0, 0, 1))) % 2**bits)


def some_condition(dice: random.Random, name: str) -> Condition:
    index = dice.randrange(6)
    bits = max(widths.width(name, arch, index) for arch in ARCHES.values())
    if dice.random() < 0.4:
        mask = some_value(dice, bits) or 1
        return Condition(index, Operator.MASKED_EQ, some_value(dice, bits) & mask, mask)
    return Condition(index, dice.choice(PLAIN), some_value(dice, bits))


def some_words(dice: random.Random, calls: tuple[DocumentedCall, ...]) -> tuple[int, ...]:
    """Arguments near the edges of the conditions, often with garbage above."""
    words = [some_value(dice, 64) for _ in range(6)]
    for call in calls:
        for one in call.args:
            if dice.random() < 0.7:
                noise = dice.choice((0, 0, 1 << 32, 1 << 16, 0xDEAD << 32))
                words[one.index] = (one.value + dice.choice((-1, 0, 0, 0, 1)) + noise) % 2**64
    return tuple(words)


NAMES = ("getpriority", "socket", "clone", "ptrace", "chmod", "setuid", "mmap", "ioctl", "unshare")
SEED = int(os.environ.get("SYSCALL_CONFORMANCE_SEED", "11"))


def some_calls(dice: random.Random) -> tuple[DocumentedCall, ...]:
    name = dice.choice(NAMES)
    return tuple(
        documented(name, *(some_condition(dice, name) for _ in range(dice.choice((1, 1, 2, 3)))))
        for _ in range(dice.choice((1, 1, 2, 3)))
    )


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(40))
def test_program_set_and_plain_reading_agree(round_: int) -> None:
    dice = random.Random(f"{SEED}-{round_}")  # noqa: S311 - for made-up input
    calls = some_calls(dice)
    made = policy_of(*calls)
    name = calls[0].name
    for arch in ARCHES.values():
        number = arch.number(name)
        if number is None:
            continue
        program = builtin.build(made, (arch,), Profile.KILL)
        analysis = prover.analyze((program,), big_endian=arch.big_endian)
        for _ in range(25):
            words = some_words(dice, calls)
            data = SeccompData(number, arch.audit_arch, words)
            restricted = any(plainly(name, call.args, arch, words) for call in calls)
            wanted = FilterReturn(Action.KILL_PROCESS).value if restricted else ALLOW
            said = f"{[call.label for call in calls]} on {arch} with {list(map(hex, words))}"
            assert bpf.simulate(program, data, big_endian=arch.big_endian) == wanted, said
            assert analysis.value_at(data) == {wanted}, said
            assert any(call.restriction(arch).holds(words) for call in calls) == restricted, said
            assert made.rest(name, arch) is None or (
                Outside(tuple(call.restriction(arch) for call in calls)).holds(words)
                is not restricted
            ), said


@pytest.mark.parametrize("round_", range(40))
def test_examples_are_in_their_sets_and_near(round_: int) -> None:
    dice = random.Random(f"example-{SEED}-{round_}")  # noqa: S311 - for made-up input
    (call, *_) = some_calls(dice)
    for arch in ARCHES.values():
        if arch.number(call.name) is None:
            continue
        inside, outside = call.restriction(arch), Outside((call.restriction(arch),))
        near = some_words(dice, (call,))
        for where, holds in ((inside, True), (outside, False)):
            found = example(where, near)
            if found is None:
                assert conditions.is_empty(where)
                continue
            assert plainly(call.name, call.args, arch, found) is holds
            if plainly(call.name, call.args, arch, near) is holds:
                assert found == near
        assert conditions.is_empty(Common((inside, outside)))


def test_a_fixed_argument_stays() -> None:
    x86_64 = ARCHES["x86_64"]
    rest = Outside((documented("futex", Condition(5, Operator.EQ, 7)).restriction(x86_64),))
    assert example(rest, (), {5: 8}) == (0, 0, 0, 0, 0, 8)
    assert example(rest, (), {5: 7}) is None
    assert example(rest, (), {5: 0x1_0000_0007}) is None  # an unsigned int


@pytest.mark.parametrize("operator", PLAIN)
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_comparison_is_right_at_its_edges(operator: Operator, bits: int) -> None:
    call, index = {16: ("chmod", 1), 32: ("socket", 0), 64: ("ptrace", 0)}[bits]
    x86_64 = ARCHES["x86_64"]
    for value in (0, 1, 2**bits - 1, 2 ** (bits - 1), 2**bits - 2):
        condition = Condition(index, operator, value)
        restriction = conditions.restriction((condition,), call, x86_64)
        node = restriction.inputs(Diagrams(1 << 12))
        for word in {0, 1, value, (value + 1) % 2**bits, (value - 1) % 2**bits, 2**bits - 1}:
            words = tuple(word if each == index else 5 for each in range(6))
            assert restriction.holds(words) == plainly(call, (condition,), x86_64, words)
        assert node == restriction.inputs(Diagrams(1 << 12))


UNDER = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	static struct sock_filter program[4096];
	int i = 1;
	setvbuf(stdout, NULL, _IONBF, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (; i < argc && strcmp(argv[i], "--"); i++) {
		int fd = open(argv[i], O_RDONLY);
		struct sock_fprog all = { read(fd, program, sizeof program) / 8, program };
		close(fd);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all)) return 2;
	}
	for (i++; i < argc; i++) {
		unsigned long v[7] = { 0 };
		char *word, *rest = strdup(argv[i]);
		int n = 0;
		while (n < 7 && (word = strsep(&rest, ":"))) v[n++] = strtoul(word, NULL, 0);
		errno = 0;
		long answer = syscall(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
		int failed = errno;
		if (v[0] == 56 && answer == 0) _exit(0);
		printf("%ld %d\n", answer, failed);
	}
	return 0;
}
"""


@pytest.fixture(scope="module")
def under(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C program that installs raw filters and makes raw calls, ``NUMBER:ARGUMENT:...``."""
    folder = tmp_path_factory.mktemp("under")
    (folder / "under.c").write_text(UNDER)
    compiler = require("gcc", "gcc")
    subprocess.run([compiler, "-o", folder / "under", folder / "under.c"], check=True, timeout=60)
    return folder / "under"


on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="makes x86_64's calls")


def answers(under: Path, program: Program | None, *calls: str) -> list[tuple[int, int]]:
    """What the kernel answers: result and errno of each call."""
    words: list[str] = []
    if program is not None:
        path = under.with_name("filter.bpf")
        path.write_bytes(bpf.to_bytes(program))
        words = [str(path)]
    done = subprocess.run(
        [under, *words, "--", *calls], capture_output=True, text=True, timeout=20, check=True
    )
    return [
        (int(first), int(second))
        for first, second in (line.split() for line in done.stdout.splitlines())
    ]


@on_x86_64
def test_the_kernel_cuts_what_the_table_calls_narrow(under: Path) -> None:
    high = 0xDEAD_0000_0000
    pairs = {
        "getpriority": (f"140:0:{0x7FFFFFFF}", f"140:{high}:{high + 0x7FFFFFFF}"),
        "socket": ("41:1:1:0", f"41:{high + 1}:{high + 1}:{high}"),
        "socket, no family": ("41:999:1:0", f"41:{high + 999}:{high + 1}:{high}"),
        "personality": ("135:0xffffffff", f"135:{high + 0xFFFFFFFF}"),
        "ioctl": ("16:99:0x5412", f"16:{high + 99}:{high + 0x5412}"),
        "fcntl": ("72:0:1", f"72:{high}:{high + 1}"),
        "setns": ("308:-1:0", f"308:{high + 0xFFFFFFFF}:{high}"),
        "prctl": ("157:3", f"157:{high + 3}"),
        "seccomp": ("317:9:0", f"317:{high + 9}:{high}"),
        "umask": ("95:18", f"95:{high + 18}"),
        "kcmp": ("312:0x7fffffff:0x7fffffff:0", f"312:{high + 0x7FFFFFFF}:0x7fffffff:{high}"),
    }
    for name, (plain, garbage) in pairs.items():
        made = [answers(under, None, "95:18", one)[1:] for one in (plain, garbage)]
        strip = name == "socket"  # a descriptor each, in a process each
        errnos = [[error for _, error in one] for one in made]
        assert errnos[0] == errnos[1], name
        assert made[0] == made[1] or strip, name


@on_x86_64
def test_the_kernel_reads_all_of_what_the_table_calls_wide(under: Path) -> None:
    # unshare(2) and ptrace(2) take longs: with a bit above it is another request.
    plain, garbage = answers(under, None, "272:0", "272:0x100000000")
    assert plain == (0, 0)
    assert garbage == (-1, errno.EINVAL)


@on_x86_64
def test_clone_takes_the_low_half_of_its_flags(under: Path) -> None:
    # CLONE_SIGHAND without CLONE_VM is refused, whatever stands above.
    assert answers(under, None, "56:0x800", "56:0x100000800") == [(-1, errno.EINVAL)] * 2
    (made,) = answers(under, None, f"56:{0x1_0000_0000 + 17}")  # SIGCHLD: a child
    assert made[0] > 0


@on_x86_64
@pytest.mark.parametrize(
    ("name", "args", "inside", "outside"),
    [
        (
            "getpriority",
            (Condition(0, Operator.EQ, 2),),
            ("140:2", "140:0x100000002", "140:0xffffffff00000002"),
            ("140:0", "140:1", "140:3", "140:0x100000000"),
        ),
        (
            "socket",
            (Condition(0, Operator.EQ, 1), Condition(1, Operator.MASKED_EQ, 0x800, 0x800)),
            ("41:1:0x801", "41:0x700000001:0x100000802"),
            ("41:1:1", "41:0x100000001:2", "41:2:0x801"),
        ),
        (
            "unshare",
            (Condition(0, Operator.MASKED_EQ, 0x10000000, 0x10000000),),
            ("272:0x10000001", "272:0xff10000000"),
            ("272:1", "272:0xff00000000"),
        ),
        (
            "umask",
            (Condition(0, Operator.GE, 0o100), Condition(0, Operator.LT, 0o200)),
            ("95:64", "95:127", "95:0x100000040"),
            ("95:63", "95:128", "95:0x10000003f"),
        ),
        (
            "chmod",
            (Condition(1, Operator.MASKED_EQ, 0o4000, 0o4000),),
            ("90:0:2048", f"90:0:{0o4755}", f"90:0:{0x10000 + 0o4755}"),
            ("90:0:0", f"90:0:{0o755}", f"90:0:{0x10000 + 0o755}"),
        ),
        (
            "ptrace",
            (Condition(0, Operator.NE, 0),),
            ("101:16:0x7fffffff", "101:0x100000000:0x7fffffff"),
            ("101:0:0",),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_builtin_filter_does_so_on_the_kernel(
    under: Path,
    name: str,
    args: tuple[Condition, ...],
    inside: tuple[str, ...],
    outside: tuple[str, ...],
) -> None:
    # EXDEV is nothing that any of these calls answers.
    made = policy_of(documented(name, *args, errnos=("EXDEV",)))
    program = builtin.build(made, (ARCHES["x86_64"],), Profile.ERRNO)
    seen = answers(under, program, *inside, *outside)
    assert [error == errno.EXDEV for _, error in seen] == [True] * len(inside) + [False] * len(
        outside
    )


# --- Words ----------------------------------------------------------------------------------------


def test_labels_are_short_and_make_names_that_pytest_can_select() -> None:
    from probes.judging.plan import test_word as word  # noqa: PLC0415 - pytest would take it for a test

    made = documented(
        "clone",
        Condition(0, Operator.MASKED_EQ, 0x10000000, 0x10000000),
        Condition(1, Operator.NE, 0),
        Condition(2, Operator.GE, 0x12345),
    )
    assert made.label == "clone[0&0x10000000==0x10000000,1!=0,2>=0x12345]"
    assert re.fullmatch(r"[\w:+.\[\]\\/-]+", word(made.label))
    assert conditions.name_in(made.label) == "clone"
    words = {word(documented("socket", Condition(0, one, 2)).label) for one in PLAIN}
    assert len(words) == len(PLAIN)
