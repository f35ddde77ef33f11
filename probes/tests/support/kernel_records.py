"""Texts of SECCOMP records that real kernels wrote.

``data/seccomp-records.txt`` is from runs of the main job in guests: Debian trixie's kernel of
x86_64 with x32 switched on (every documented call of three ABIs under KILL and LOG, the controls,
numbers that no table knows), some each of aarch64, s390x and loongarch64, and one of an ERRNO of a
filter with SECCOMP_FILTER_FLAG_LOG.
"""

from pathlib import Path

TEXTS: tuple[str, ...] = tuple(
    (Path(__file__).parents[1] / "data/seccomp-records.txt")
    .read_text(encoding="ascii")
    .splitlines()
)
