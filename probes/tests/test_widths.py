"""The table of widths, against the types that the kernel publishes."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes import widths
from probes.arch import ARCHES

BTF = Path("/sys/kernel/btf/vmlinux")


def kernels_own_types() -> Iterator[tuple[str, list[int]]]:
    """The size of each argument in bytes, by the name of the function behind a call (BTF)."""
    data = BTF.read_bytes()
    header, type_at, type_size, text_at, text_size = struct.unpack_from("<I4I", data, 4)
    kinds = data[header + type_at : header + type_at + type_size]
    texts = data[header + text_at : header + text_at + text_size]
    trailing = {1: 4, 3: 12, 14: 4, 17: 4}
    each = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
    found: list[tuple[int, str, int, bytes]] = [(0, "", 0, b"")]
    at = 0
    while at < len(kinds):
        name, info, other = struct.unpack_from("<III", kinds, at)
        kind, count = info >> 24 & 31, info & 0xFFFF
        size = trailing.get(kind, 0) + each.get(kind, 0) * count
        text = texts[name : texts.index(b"\0", name)].decode()
        found.append((kind, text, other, kinds[at + 12 : at + 12 + size]))
        at += 12 + size

    def bytes_of(index: int) -> int:
        kind, _, other, _ = found[index]
        while kind in {8, 9, 10, 11, 18}:
            kind, _, other, _ = found[other]
        return 8 if kind == 2 else other

    for kind, name, other, _ in found:
        if kind == 12 and name.startswith("__do_sys_"):
            _, _, _, raw = found[other]
            yield (
                name.removeprefix("__do_sys_"),
                [bytes_of(one) for _, one in struct.iter_unpack("<II", raw)],
            )


@pytest.mark.skipif(
    not BTF.exists() or os.uname().machine != "x86_64", reason="needs the types of the kernel"
)
def test_the_kernel_declares_its_arguments_as_the_table_has_them() -> None:
    x86_64 = ARCHES["x86_64"]
    compared = 0
    for name, sizes in kernels_own_types():
        if x86_64.number(name) is None:
            continue
        for index, size in enumerate(sizes):
            if (name, index) == ("clone", 0):
                continue  # unsigned long, and cut by kernel_clone(): see the kernel's own answer
            assert widths.width(name, x86_64, index) == 8 * size, f"{name}, argument {index}"
            compared += 1
    assert compared > 150
