"""How libaudit's tables of system calls, and what is made from them, differ from the kernel's."""

from collections.abc import Mapping
from typing import Final

LIBAUDIT_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "aarch64": {
        "fstat": "newfstat",
        "getdents64": "getdents",
        "pread64": "pread",
        "pwrite64": "pwrite",
    },
    "arm": {
        "_llseek": "llseek",
        "_newselect": "newselect",
        "_sysctl": "sysctl",
        "arm_fadvise64_64": "fadvise64_64",
        "sched_rr_get_interval_time64": "sched_rr_get_interval64",
        "sync_file_range2": "sync_file_range",
    },
    "i386": {
        "kexec_load": "sys_kexec_load",
        "madvise": "madvise1",
        "sched_rr_get_interval_time64": "sched_rr_get_interval64",
    },
    "ppc": {
        "perf_event_open": "perf_counter_open",
        "pread64": "pread",
        "pwrite64": "pwrite",
        "timerfd_create": "timerfd",
    },
    "s390": {"pread64": "pread", "pwrite64": "pwrite"},
    "s390x": {"pread64": "pread", "pwrite64": "pwrite"},
    "x86_64": {"pread64": "pread", "pwrite64": "pwrite"},
}
"""What tables of libaudit, and so of go-libaudit, call otherwise than the kernel, by ABI.

Some releases do and some do not, so both names count.
"""
