"""How each documented call is made so that nothing happens, even with every capability.

The LOG profile lets a call run. So each row has arguments that the kernel refuses before it does
anything, or that do no harm, and says why; with them, what the kernel answers without a filter.

The answers were measured on Linux 5.10, 6.1, 6.12, 6.18 and 7.2 through x86_64, i386 and x32 and
follow the order of checks in the kernel's source, where a release or a setting differs. They serve
to catch a mistake in this file; a verdict rests on a control child of the same kernel, not on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

BAD_POINTER = 1
"""An address in the first page, which no process has mapped."""
BAD_FD = 0xFFFF_FFFF_FFFF_FFFF
"""-1, which is no descriptor and no message queue."""
NEGATIVE = 0xFFFF_FFFF_FFFF_FFFF
"""-1 as a length, a level or a key."""
NO_SUCH_PID = 0x7FFF_FFFF
"""Far above PID_MAX_LIMIT (4194304), the most that kernel.pid_max can be."""
UNKNOWN_FLAG = 0x8000_0000
"""A flag that none of the calls it is used with has."""
UNKNOWN_COMMAND = 99
"""An operation that none of the calls it is used with has."""

NO_ARGUMENTS = ()

_NOT_IMPLEMENTED = "ENOSYS"


class Preparation(Enum):
    """The preparations of a child, before it installs the filter under test."""

    NONE = auto()
    """None. The child must not lead a process group, which a forked child does not."""
    NEW_SESSION = auto()
    """The child calls setsid(2), so that it has no controlling terminal that could be hung up."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a documented call is made, and what the kernel answers when no filter is in the way.

    An answer is an errno as ``probes.action.errno_name`` spells it, ``"0"``, or ``"PID"`` for the
    caller's process id.

    Attributes:
        name: the call.
        args: the arguments, up to six, as unsigned 64-bit values. A 32-bit ABI sees their low
            halves, which are as harmless.
        why_harmless: why nothing happens.
        root: the answers with every capability; several where kernels differ.
        unprivileged: the answers without any.
        absent: when the kernel answers ENOSYS instead; None for a call that is always there and
            for one that never is, whose only answer is ENOSYS.
        varies: what decides between several answers; None where there is one.
        prepare: the preparation of the child.
        free: the arguments that may be anything without doing harm, by their index.
    """

    name: str
    args: tuple[int, ...]
    why_harmless: str
    root: tuple[str, ...]
    unprivileged: tuple[str, ...]
    absent: str | None = None
    varies: str | None = None
    prepare: Preparation = Preparation.NONE
    free: frozenset[int] = frozenset()

    def answers(self, *, root: bool) -> frozenset[str]:
        """Every answer that some kernel gives without a filter, ENOSYS of absent calls included.

        Args:
            root: whether the caller has every capability, or else none.
        """
        absent = (_NOT_IMPLEMENTED,) if self.absent else ()
        return frozenset((*(self.root if root else self.unprivileged), *absent))


def _open(
    name: str,
    args: tuple[int, ...],
    why_harmless: str,
    *answers: str,
    absent: str | None = None,
    varies: str | None = None,
) -> Probe:
    """A call that answers everyone alike."""
    return Probe(name, args, why_harmless, answers, answers, absent, varies)


def _guarded(
    name: str,
    args: tuple[int, ...],
    why_harmless: str,
    *answers: str,
    absent: str | None = None,
    varies: str | None = None,
) -> Probe:
    """A call that asks for a capability before it looks at its arguments."""
    return Probe(name, args, why_harmless, answers, ("EPERM",), absent, varies)


def _gone(name: str, why: str) -> Probe:
    """A call behind whose number no supported kernel has anything."""
    return _open(name, NO_ARGUMENTS, why, _NOT_IMPLEMENTED)


_NEVER_BUILT = "No mainline kernel ever had anything behind this number."
_NO_KEYS = "CONFIG_KEYS is off"
_NO_NUMA = "CONFIG_NUMA is off"
_NO_MODULES = "CONFIG_MODULES is off"
_NO_PKEYS = "the architecture has no protection keys (CONFIG_ARCH_HAS_PKEYS)"
_NO_PORTS = "CONFIG_X86_IOPL_IOPERM is off, and on every machine but x86"
_NO_CROSS_MEMORY = "CONFIG_CROSS_MEMORY_ATTACH is off"
_LOCKED_MODULES = "EPERM where the sysctl kernel.modules_disabled is 1, until the next boot"
_LOCKED_KEXEC = "EPERM where the sysctl kernel.kexec_load_disabled is 1, or under lockdown"

_ROWS = (
    _guarded(
        "acct",
        (BAD_POINTER,),
        "The file's name cannot be read. Never NULL: that switches accounting off.",
        "EFAULT",
        absent="CONFIG_BSD_PROCESS_ACCT is off",
    ),
    _open(
        "add_key",
        (0, 0, 0, 0, 0),
        "The key's type cannot be read from NULL.",
        "EFAULT",
        absent=_NO_KEYS,
    ),
    _gone("afs_syscall", _NEVER_BUILT),
    Probe(
        "bpf",
        # Not above 16 bits: newer kernels read flags in the command's upper half.
        (9999, 0, 0),
        "There is no such command, and no attributes to act on.",
        root=("EINVAL",),
        unprivileged=("EINVAL", "EPERM"),
        absent="CONFIG_BPF_SYSCALL is off",
        varies="EPERM on 5.10 where the sysctl kernel.unprivileged_bpf_disabled is not 0",
    ),
    _open(
        "clock_settime",
        (0, BAD_POINTER),
        "The time cannot be read, which the kernel notices before it sets CLOCK_REALTIME.",
        "EFAULT",
        absent="CONFIG_COMPAT_32BIT_TIME is off, on the 32-bit ABIs only",
    ),
    _gone("create_module", "Linux 2.6 took it out."),
    _guarded(
        "delete_module",
        (BAD_POINTER, 0),
        "The module's name cannot be read.",
        "EFAULT",
        "EPERM",
        absent="CONFIG_MODULES or CONFIG_MODULE_UNLOAD is off",
        varies=_LOCKED_MODULES,
    ),
    Probe(
        "fanotify_init",
        # With FAN_REPORT_FID (0x200) kernels from 5.13 on look at the flags first.
        (UNKNOWN_FLAG | 0x200, 0),
        "One of the flags is unknown, so no group is made.",
        root=("EINVAL",),
        unprivileged=("EINVAL", "EPERM"),
        absent="CONFIG_FANOTIFY is off",
        varies="EPERM before 5.13, unless the change of 5.13 was carried back",
    ),
    _guarded(
        "finit_module",
        (BAD_FD, BAD_POINTER, 0xFFFF_FFFF_FFFF_FFFF),
        "The flags are unknown and the descriptor is none.",
        "EINVAL",
        "EPERM",
        absent=_NO_MODULES,
        varies=_LOCKED_MODULES,
    ),
    _gone("get_kernel_syms", "Linux 2.6 took it out."),
    _open(
        "get_mempolicy",
        (0, 0, 0, 0, 0xFFFF),
        "It only reads, and the flags are unknown.",
        "EINVAL",
        absent=_NO_NUMA,
    ),
    _gone("getpmsg", _NEVER_BUILT),
    _guarded(
        "init_module",
        (0, 0, BAD_POINTER),
        "An image of no bytes is no module.",
        "ENOEXEC",
        "EPERM",
        absent=_NO_MODULES,
        varies=_LOCKED_MODULES,
    ),
    _open(
        "ioperm",
        (0x1_0000, 1, 0),
        "The port is the first one beyond the 65536 that exist; and it would only be closed.",
        "EINVAL",
        absent=_NO_PORTS,
    ),
    _open("iopl", (4,), "Levels end at 3.", "EINVAL", absent=_NO_PORTS),
    _open(
        "kcmp",
        (NO_SUCH_PID, NO_SUCH_PID, 0, 0, 0),
        "It only compares, and there are no such processes.",
        "ESRCH",
        absent="CONFIG_KCMP is off (before 5.12: CONFIG_CHECKPOINT_RESTORE)",
    ),
    _guarded(
        "kexec_file_load",
        (BAD_FD, BAD_FD, 0, 0, UNKNOWN_FLAG),
        "The flag is unknown, and both descriptors are none. Never KEXEC_FILE_UNLOAD (1).",
        "EINVAL",
        "EPERM",
        absent="CONFIG_KEXEC_FILE is off",
        varies=_LOCKED_KEXEC,
    ),
    _guarded(
        "kexec_load",
        # 0xffff0000 is the whole of KEXEC_ARCH_MASK: no machine.
        (0, 17, BAD_POINTER, 0xFFFF_0000),
        "One segment more than there may be, for no machine. Never 0 segments: that unloads.",
        "EINVAL",
        "EPERM",
        absent="CONFIG_KEXEC is off",
        varies=_LOCKED_KEXEC,
    ),
    _open(
        "keyctl",
        (0x7FFF_FFFF, 0, 0, 0, 0),
        "There is no such operation.",
        "ENOTSUP",
        absent=_NO_KEYS,
    ),
    _guarded(
        "lookup_dcookie",
        (0, BAD_POINTER, 0),
        "It only reads, and has nowhere to write to.",
        "EINVAL",
        absent="Linux 5.12 and later, and before that where CONFIG_PROFILING is off",
    ),
    _open(
        "mbind",
        (BAD_POINTER, 0, 0xFFFF, 0, 0, 0xFFFF),
        "Mode and flags are unknown, and the range is empty.",
        "EINVAL",
        absent=_NO_NUMA,
    ),
    _open(
        "migrate_pages",
        (NO_SUCH_PID, 0, 0, 0),
        "There is no such process.",
        "ESRCH",
        absent=_NO_NUMA,
    ),
    Probe(
        "mount",
        (0, BAD_POINTER, 0, 0, 0),
        "The mount point's path cannot be read.",
        root=("EFAULT",),
        unprivileged=("EFAULT",),
        free=frozenset({3}),
    ),
    _open(
        "move_pages",
        (NO_SUCH_PID, 0, 0, 0, 0, 0x8000),
        "The flag is unknown, and there is no such process.",
        "EINVAL",
        absent="CONFIG_NUMA or CONFIG_MIGRATION is off",
    ),
    _open(
        "msgrcv",
        # 0x800 is IPC_NOWAIT.
        (BAD_FD, 0, 0, 0, 0x800),
        "No queue has a negative id, so nobody's message is taken; and it would not wait.",
        "EINVAL",
        absent="CONFIG_SYSVIPC is off",
    ),
    _open(
        "name_to_handle_at",
        (BAD_FD, BAD_POINTER, BAD_POINTER, BAD_POINTER, UNKNOWN_FLAG),
        "The flag is unknown, and there is nothing to name.",
        "EINVAL",
        absent="CONFIG_FHANDLE is off",
    ),
    _gone("nfsservctl", "Linux 3.1 took it out."),
    Probe(
        "open_by_handle_at",
        (BAD_FD, BAD_POINTER, 0),
        "The descriptor is none and the handle cannot be read.",
        root=("EFAULT", "EBADF"),
        unprivileged=("EFAULT", "EBADF", "EPERM"),
        absent="CONFIG_FHANDLE is off",
        varies="looked at first: the capability (to 6.1), the descriptor (6.12) or the handle",
    ),
    _open(
        "perf_event_open",
        (BAD_POINTER, 0, NEGATIVE, BAD_FD, 0xFFFF_FFFF_FFFF_FFFF),
        "The flags are unknown, which comes before everything else.",
        "EINVAL",
        absent="CONFIG_PERF_EVENTS is off",
    ),
    Probe(
        "pivot_root",
        (BAD_POINTER, BAD_POINTER),
        "Neither path can be read.",
        root=("EFAULT",),
        unprivileged=("EPERM", "EFAULT"),
        varies="7.2 reads the paths before it asks for the capability; 6.18 does not",
    ),
    _open("pkey_alloc", (1, 0), "There are no flags to set.", "EINVAL", absent=_NO_PKEYS),
    _open(
        "pkey_free",
        (NEGATIVE,),
        "No key is negative.",
        "EINVAL",
        "EPERM",
        absent=_NO_PKEYS,
        # mm_pkey_free() in arch/powerpc/include/asm/pkeys.h.
        varies="EPERM on powerpc where the processor, or its kind of page table, has no keys",
    ),
    _open(
        "pkey_mprotect",
        (BAD_POINTER, 0, 0, 0),
        "The address does not start a page.",
        "EINVAL",
        absent=_NO_PKEYS,
    ),
    _open(
        "process_vm_readv",
        (NO_SUCH_PID, 0, 0, 0, 0, 1),
        "There are no flags to set, and no such process.",
        "EINVAL",
        absent=_NO_CROSS_MEMORY,
    ),
    _open(
        "process_vm_writev",
        (NO_SUCH_PID, 0, 0, 0, 0, 1),
        "There are no flags to set, and no such process.",
        "EINVAL",
        absent=_NO_CROSS_MEMORY,
    ),
    _gone("putpmsg", _NEVER_BUILT),
    _gone("query_module", "Linux 2.6 took it out."),
    _open(
        "quotactl",
        # Q_SYNC (0x800001) of quota type 255.
        (0x8000_01FF, 0, 0, 0),
        "The type of quota is none of the three.",
        "EINVAL",
        absent="CONFIG_QUOTACTL is off",
    ),
    _guarded(
        "reboot",
        (0, 0, 0, 0),
        "Without both magic numbers the kernel does nothing.",
        "EINVAL",
    ),
    _open(
        "request_key",
        (0, 0, 0, 0),
        "The key's type cannot be read from NULL.",
        "EFAULT",
        absent=_NO_KEYS,
    ),
    _gone("security", _NEVER_BUILT),
    _open(
        "set_mempolicy",
        (0xFFFF, 0, 0),
        "The mode is unknown.",
        "EINVAL",
        absent=_NO_NUMA,
    ),
    _guarded(
        "setdomainname",
        (BAD_POINTER, NEGATIVE),
        "No name has a negative length, nor can it be read.",
        "EINVAL",
    ),
    _guarded(
        "sethostname",
        (BAD_POINTER, NEGATIVE),
        "No name has a negative length, nor can it be read.",
        "EINVAL",
    ),
    Probe(
        "setns",
        (BAD_FD, 0),
        "The descriptor is none.",
        root=("EBADF",),
        unprivileged=("EBADF",),
        free=frozenset({1}),
    ),
    _open(
        "setsid",
        NO_ARGUMENTS,
        "It really runs: the child, which is about to end, gets a session of its own.",
        "PID",
    ),
    _open(
        "settimeofday",
        (BAD_POINTER, BAD_POINTER),
        "Neither time nor time zone can be read.",
        "EFAULT",
    ),
    _guarded(
        "swapoff",
        (BAD_POINTER,),
        "The path cannot be read.",
        "EFAULT",
        absent="CONFIG_SWAP is off",
    ),
    _open(
        "swapon",
        (BAD_POINTER, UNKNOWN_FLAG),
        "The flag is unknown, and the path cannot be read.",
        "EINVAL",
        absent="CONFIG_SWAP is off",
    ),
    _open(
        "sysfs",
        (UNKNOWN_COMMAND, 0, 0),
        "It only reads, and there is no such option.",
        "EINVAL",
        absent="CONFIG_SYSFS_SYSCALL is off",
    ),
    _guarded(
        "syslog",
        (UNKNOWN_COMMAND, 0, NEGATIVE),
        "There is no such action.",
        "EINVAL",
        absent="CONFIG_PRINTK is off",
    ),
    _gone("tuxcall", _NEVER_BUILT),
    _open(
        "umount2",
        (BAD_POINTER, UNKNOWN_FLAG),
        "The flag is unknown, and the path cannot be read.",
        "EINVAL",
    ),
    _open("unshare", (1,), "The lowest bit is no flag, so nothing is unshared.", "EINVAL"),
    _open(
        "uselib",
        (BAD_POINTER,),
        "The library's path cannot be read.",
        "EFAULT",
        absent="CONFIG_USELIB is off; always on x86_64; everywhere from 6.18 on, if not before",
    ),
    Probe(
        "userfaultfd",
        # The lowest bit is UFFD_USER_MODE_ONLY, which from 5.11 on needs no capability.
        (0x4000_0001,),
        "One of the flags is unknown, so no descriptor is made.",
        root=("EINVAL",),
        unprivileged=("EINVAL", "EPERM"),
        absent="CONFIG_USERFAULTFD is off",
        varies="EPERM before 5.11 where the sysctl vm.unprivileged_userfaultfd is 0",
    ),
    _open(
        "ustat",
        (0xFFFF_FFFF, BAD_POINTER),
        "It only reads, and there is no such device.",
        "EINVAL",
    ),
    Probe(
        "vhangup",
        NO_ARGUMENTS,
        "It really runs: the child is in a new session, which has no terminal to hang up.",
        root=("0",),
        unprivileged=("EPERM",),
        prepare=Preparation.NEW_SESSION,
    ),
    _gone("vserver", _NEVER_BUILT),
    _gone("_sysctl", "Linux 5.5 took out what was behind it."),
)

CATALOGUE: Mapping[str, Probe] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name."""


def probe_for(name: str) -> Probe | None:
    """The row of a call, or None: then it is not known how to let it run harmlessly."""
    return CATALOGUE.get(name)


_FURTHER_ROWS = (
    Probe(
        "clone",
        # CLONE_SIGHAND without CLONE_VM, and CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID,
        # NEWNET and NEWNS; twice, for s390x has the flags second, where others have the stack.
        (0x7E02_0800, 0x7E02_0800, 0, 0, 0),
        "Handlers cannot be shared without the memory that they are in, so nothing is started.",
        root=("EINVAL",),
        unprivileged=("EINVAL",),
    ),
    Probe(
        "fcntl",
        (BAD_FD, 0, 0),
        "The descriptor is none.",
        root=("EBADF",),
        unprivileged=("EBADF",),
        free=frozenset({1, 2}),
    ),
    Probe(
        "getpriority",
        (0, NO_SUCH_PID),
        "It only reads, and there is no such process, group or user.",
        root=("ESRCH",),
        unprivileged=("ESRCH",),
        free=frozenset({0}),
    ),
    Probe(
        "ioctl",
        (BAD_FD, 0, 0),
        "The descriptor is none.",
        root=("EBADF",),
        unprivileged=("EBADF",),
        free=frozenset({1, 2}),
    ),
    Probe(
        "personality",
        (0xFFFF_FFFF,),
        "It only tells the personality.",
        root=("0",),
        unprivileged=("0",),
    ),
    Probe(
        "unshare",
        # All the flags that make a namespace, CLONE_NEWTIME among them, and the lowest bit.
        (0x7E02_0081,),
        "The lowest bit is no flag, so nothing is unshared.",
        root=("EINVAL",),
        unprivileged=("EINVAL",),
    ),
)
"""Rows for calls that policies document under conditions, which the row above may not meet."""


def rows_for(name: str) -> tuple[Probe, ...]:
    """Every known way to let a call run harmlessly, the usual one first."""
    usual = CATALOGUE.get(name)
    further = tuple(row for row in _FURTHER_ROWS if row.name == name)
    return further if usual is None else (usual, *further)
