"""The raw system calls of the suite: the only module that uses ctypes.

It runs in the lean interpreter that forks the probing children (``probes.instrument.zygote``):
every module that is imported here makes each fork slower, so there are few, and typing is not among
them. Nothing between "armed" and "returned" makes a system call of its own: what a call needs is
prepared before.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

# asm/signal.h; the module signal would bring enum with it.
SIGKILL = 9
_SIGINT = 2
_SIG_IGN = 1
SIGSYS = 12 if os.uname().machine.startswith("mips") else 31
SIGCHLD = 18 if os.uname().machine.startswith("mips") else 17
# linux/sched.h
CLONE_FILES = 0x400
# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
# linux/seccomp.h
SECCOMP_MODE_DISABLED = 0
SECCOMP_MODE_STRICT = 1
SECCOMP_MODE_FILTER = 2
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32
# linux/signalfd.h
SFD_CLOEXEC = 0o2000000
SFD_NONBLOCK = 0o4000
# linux/openat2.h
_RESOLVE_IN_ROOT = 0x10
# linux/capability.h
LINUX_CAPABILITY_VERSION_3 = 0x20080522

NOT_REACHED, ARMED, RETURNED = 0, 1, 2
"""The stages of a probed call; the child moves a slot on without a system call."""

STARTED, INSTALLED, DONE = 0, 1, 2
"""The phases of a probing child."""

ENTRY_SYSCALL = "syscall"
ENTRY_INT80 = "int80"

_STEP_SIZE = 120
_INSTRUCTION_SIZE = 8
_MAX_LENGTH = 0xFFFF
_MAX_ERRNO = 4095
_SIGSET_SIZE = 128  # sizeof(sigset_t) of the C library, not of the kernel

_libc = ctypes.CDLL(None, use_errno=True)
_holding = ctypes.PyDLL(None)
"""The C library, called without giving Python's lock away."""
_libc.syscall.restype = ctypes.c_long
_libc.pthread_self.restype = ctypes.c_void_p
_libc.signal.restype = ctypes.c_void_p
_libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]

_THREAD_MAIN = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)

# Things that C code still points at and that Python must therefore not collect.
_kept: list[object] = []


class Header(ctypes.Structure):
    """The head of the page that a probing child shares with its parent."""

    _fields_ = (
        ("phase", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("current", ctypes.c_uint32),
        ("survived", ctypes.c_uint32),
        ("caller", ctypes.c_int32),
        ("forked", ctypes.c_uint32),
        ("inner_known", ctypes.c_uint32),
        ("inner_status", ctypes.c_int32),
        ("loosened", ctypes.c_uint32),
        ("dropped_user", ctypes.c_uint32),
        ("step", ctypes.c_char * _STEP_SIZE),
    )


class Slot(ctypes.Structure):
    """The shared record of one probed call: its stage, result and errno."""

    _fields_ = (
        ("stage", ctypes.c_uint32),
        ("trapped", ctypes.c_uint32),
        ("errno", ctypes.c_int32),
        ("padding", ctypes.c_uint32),
        ("result", ctypes.c_int64),
    )


HEADER_SIZE = ctypes.sizeof(Header)
SLOT_SIZE = ctypes.sizeof(Slot)


class SharedPage:
    """The shared page, seen from the child: fields are written in place."""

    def __init__(self, memory: mmap.mmap) -> None:
        """Lays header and slots over the shared memory."""
        self.header = Header.from_buffer(memory)
        count = (len(memory) - HEADER_SIZE) // SLOT_SIZE
        self.slots = (Slot * count).from_buffer(memory, HEADER_SIZE)

    def step(self, doing: str) -> None:
        """Writes down what the child is about to do, for the report if it ends there."""
        self.header.step = doing.encode(errors="replace")[: _STEP_SIZE - 1]


def read_header(memory: mmap.mmap) -> Header:
    """A copy of the header, for the parent."""
    return Header.from_buffer_copy(memory)


def read_slot(memory: mmap.mmap, index: int) -> Slot:
    """A copy of one slot, for the parent."""
    return Slot.from_buffer_copy(memory, HEADER_SIZE + index * SLOT_SIZE)


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(ctypes.c_int(option), *padded) == -1:
        raise _error()


def _error() -> OSError:
    """The OSError of the last failed call through libc."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def set_name(comm: str) -> None:
    """Sets the calling thread's ``comm``, at most 15 bytes (PR_SET_NAME)."""
    text = ctypes.create_string_buffer(comm.encode())
    _prctl(PR_SET_NAME, ctypes.addressof(text))


def write_name(comm: str) -> None:
    """Sets the calling thread's ``comm`` by a write to proc_pid_comm(5), without prctl(2).

    Raises:
        OSError: there is no /proc, or it may not be written.
    """
    with open("/proc/thread-self/comm", "wb", buffering=0) as file:  # noqa: PTH123 - pathlib is not lean
        file.write(comm.encode())


def ignore_interrupts() -> None:
    """Ignores SIGINT in this process and in its children."""
    _libc.signal(_SIGINT, _SIG_IGN)


def die_with_parent() -> None:
    """Asks for SIGKILL when the parent's thread ends (PR_SET_PDEATHSIG)."""
    _prctl(PR_SET_PDEATHSIG, SIGKILL)


def leave_no_core() -> None:
    """Makes the process undumpable: no core, and no core handler for a piped core_pattern."""
    _prctl(PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Makes the process the new parent of its orphaned descendants (PR_SET_CHILD_SUBREAPER)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privs() -> None:
    """Sets PR_SET_NO_NEW_PRIVS, without which only CAP_SYS_ADMIN may install a filter."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Empties the permitted, effective and inheritable sets of the calling thread (capset(2))."""
    head = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    if _libc.capset(ctypes.byref(head), ctypes.byref(sets)) == -1:
        raise _error()


class Filter(ctypes.Structure):
    """A raw program as ``struct sock_fprog``, so that installing it is one call."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    def __init__(self, program: bytes) -> None:
        """Keeps the program's bytes where the kernel will read them.

        Raises:
            OSError: EINVAL, as the kernel would say, for a size that the structure cannot tell it.
        """
        count, torn = divmod(len(program), _INSTRUCTION_SIZE)
        if torn or count > _MAX_LENGTH:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.code = ctypes.create_string_buffer(program, len(program))
        super().__init__(count, ctypes.addressof(self.code))


def install(prepared: Filter, number: int | None = None, flags: int = 0) -> None:
    """Installs a filter on the calling thread.

    Args:
        prepared: the filter.
        number: the number of seccomp(2), to use that; without it prctl(PR_SET_SECCOMP), which has
            no number of its own on each architecture.
        flags: SECCOMP_FILTER_FLAG_*, which only seccomp(2) takes.

    Raises:
        OSError: the kernel refused the program (EINVAL), or the thread may not (EACCES).
    """
    if number is None:
        _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(prepared))
    else:
        _seccomp(number, flags, prepared)


def install_listener(prepared: Filter, number: int, flags: int = 0) -> int:
    """Installs a filter on the calling thread that may hand calls to a supervisor.

    Args:
        prepared: the filter.
        number: the number of seccomp(2).
        flags: SECCOMP_FILTER_FLAG_* besides the one for a listener.

    Returns:
        The descriptor at which the supervisor listens (seccomp_unotify(2)); execve(2) closes it.

    Raises:
        OSError: EBUSY where a filter of the thread has a listener already; EINVAL where the
            kernel refuses the program or has no listeners (before Linux 5.0); EACCES where the
            thread may install no filter.
    """
    return _seccomp(number, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, prepared)


def _seccomp(number: int, flags: int, prepared: Filter) -> int:
    words = (ctypes.c_ulong(SECCOMP_SET_MODE_FILTER), ctypes.c_ulong(flags))
    answer = int(_libc.syscall(ctypes.c_ulong(number), *words, ctypes.byref(prepared)))
    if answer == -1:
        raise _error()
    return answer


class _Notification(ctypes.Structure):
    """The kernel's ``struct seccomp_notif``; only its id is read."""

    _fields_ = (("id", ctypes.c_uint64), ("rest", ctypes.c_uint8 * 72))


class _Reply(ctypes.Structure):
    """The kernel's ``struct seccomp_notif_resp``."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("val", ctypes.c_int64),
        ("error", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    )


# asm-generic/ioctl.h; mips and powerpc have bits of their own for the directions. Both requests
# read and write: _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp).
_READ_WRITE = 6 << 29 if os.uname().machine.startswith(("mips", "ppc")) else 3 << 30
_RECEIVE = _READ_WRITE | ctypes.sizeof(_Notification) << 16 | ord("!") << 8
_SEND = _READ_WRITE | ctypes.sizeof(_Reply) << 16 | ord("!") << 8 | 1


def answer(listener: int, error: int) -> bool:
    """Answers one call that waits at a listener, in the kernel's place: it does not run.

    Poll the listener first: on older kernels receiving never ends when nothing waits.

    Args:
        listener: the descriptor of ``install_listener``.
        error: the errno that the call gets.

    Returns:
        Whether a call was answered; none where its caller ended meanwhile.

    Raises:
        OSError: the descriptor is no listener, or ioctl(2) is refused.
    """
    notification = _Notification()
    if _libc.ioctl(listener, ctypes.c_ulong(_RECEIVE), ctypes.byref(notification)) == -1:
        return _gone_meanwhile()
    reply = _Reply(notification.id, 0, -error, 0)
    if _libc.ioctl(listener, ctypes.c_ulong(_SEND), ctypes.byref(reply)) == -1:
        return _gone_meanwhile()
    return True


def _gone_meanwhile() -> bool:
    """False if the last error was ENOENT, with which the kernel says so; else it is raised."""
    if ctypes.get_errno() != errno.ENOENT:
        raise _error()
    return False


def own_status(field: str) -> str | None:
    """One field of this process's proc_pid_status(5), such as ``TracerPid``; None if missing."""
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib is not lean
            lines = status.read().split(b"\n")
    except OSError:
        return None
    head = field.encode() + b":"
    words = next((line[len(head) :] for line in lines if line.startswith(head)), None)
    return words.decode(errors="replace").strip() if words is not None else None


def fork_sharing_descriptors(clone: int) -> int:
    """Forks a child that shares its parent's table of descriptors, until it calls execve(2).

    Unlike after os.fork(), Python has made no preparations: the caller must have no other thread,
    and the child may do little more than execve(2).

    Args:
        clone: the number of clone(2) on the kernel's native ABI.

    Returns:
        0 in the child, and its process id in the parent.

    Raises:
        OSError: no process is to be had.
    """
    flags, none = ctypes.c_ulong(CLONE_FILES | SIGCHLD), ctypes.c_ulong(0)
    # s390 has the stack first (CONFIG_CLONE_BACKWARDS2).
    first = (none, flags) if os.uname().machine == "s390x" else (flags, none)
    pid = int(_libc.syscall(ctypes.c_long(clone), *first, none, none, none))
    if pid == -1:
        raise _error()
    return pid


def take_descriptor(number: int, process: int, descriptor: int) -> int:
    """A duplicate of another process' descriptor, closed on execve(2): pidfd_getfd(2).

    Args:
        number: the call's number on the kernel's native ABI.
        process: a descriptor of the process, as os.pidfd_open() gives it.
        descriptor: the number of its descriptor.

    Raises:
        OSError: this user may not trace the process, or it has no such descriptor.
    """
    words = [ctypes.c_ulong(value) for value in (process, descriptor, 0)]
    taken = int(_libc.syscall(ctypes.c_ulong(number), *words))
    if taken == -1:
        raise _error()
    return taken


def open_in_root(number: int, root: int, path: bytes) -> int:
    """A descriptor that only names a file, as a process with another root finds it: openat2(2).

    Args:
        number: the call's number on the kernel's native ABI.
        root: a descriptor of that root, in which the path begins, and beyond which no symbolic link
            leads.
        path: the path; through no link of /proc.

    Raises:
        OSError: there is no such file, or the kernel is older than Linux 5.6 (ENOSYS).
    """
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    words = (ctypes.c_ulong(number), ctypes.c_long(root), ctypes.c_char_p(path))
    size = ctypes.c_ulong(ctypes.sizeof(how))
    opened = int(_libc.syscall(*words, ctypes.byref(how), size))
    if opened == -1:
        raise _error()
    return opened


def open_signalfd(signals: Sequence[int]) -> int:
    """A descriptor from which blocked signals are read as ``struct signalfd_siginfo``.

    It does not block, and is closed on execve(2). See signalfd(2), Linux's own interface.

    Raises:
        OSError: no descriptor is to be had.
    """
    wanted = ctypes.create_string_buffer(_SIGSET_SIZE)
    _libc.sigemptyset(wanted)
    for one in signals:
        _libc.sigaddset(wanted, ctypes.c_int(one))
    descriptor = int(_libc.signalfd(-1, wanted, SFD_CLOEXEC | SFD_NONBLOCK))
    if descriptor == -1:
        raise _error()
    return descriptor


def try_to_loosen() -> bool:
    """Tries to leave filter mode, for no mode at all and for strict mode.

    What prctl(2) answers says nothing, since a filter can answer in the kernel's place.

    Returns:
        Whether the process is out of filter mode afterwards, by proc_pid_status(5); it must not
        be. A status that cannot be read says nothing: the probed call itself will.
    """
    for mode in (SECCOMP_MODE_DISABLED, SECCOMP_MODE_STRICT):
        _libc.prctl(ctypes.c_int(PR_SET_SECCOMP), *(ctypes.c_ulong(a) for a in (mode, 0, 0, 0)))
    found = own_status("Seccomp")
    return found is not None and int(found) != SECCOMP_MODE_FILTER


# long enter(long number, const uint64_t arguments[6], void *instruction): loads the registers of an
# entry and calls the instruction that enters the kernel, behind which there is a return. The filter
# sees all 64 bits of what is loaded, by int 0x80 too. rbx and rbp belong to the caller.
_INT80_CODE = bytes.fromhex(
    "53 55"  # push rbx; push rbp
    "89f8 4989f0 4989d1"  # mov eax, edi; mov r8, rsi; mov r9, rdx
    "498b18 498b4808 498b5010"  # mov rbx, [r8]; mov rcx, [r8+8]; mov rdx, [r8+16]
    "498b7018 498b7820 498b6828"  # mov rsi, [r8+24]; mov rdi, [r8+32]; mov rbp, [r8+40]
    "41ffd1"  # call r9
    "5d 5b c3"  # pop rbp; pop rbx; ret
)
_SYSCALL_CODE = bytes.fromhex(
    "4889f8 4989f3 4889d1"  # mov rax, rdi; mov r11, rsi; mov rcx, rdx
    "498b3b 498b7308 498b5310"  # mov rdi, [r11]; mov rsi, [r11+8]; mov rdx, [r11+16]
    "4d8b5318 4d8b4320 4d8b4b28"  # mov r10, [r11+24]; mov r8, [r11+32]; mov r9, [r11+40]
    "ffd1"  # call rcx
    "c3"  # ret
)
_INSTRUCTIONS = {ENTRY_INT80: bytes.fromhex("cd80"), ENTRY_SYSCALL: bytes.fromhex("0f05")}
_RETURN = bytes.fromhex("c3")
_LOADERS = {ENTRY_INT80: _INT80_CODE, ENTRY_SYSCALL: _SYSCALL_CODE}

VSYSCALL_PAGE = 0xFFFFFFFFFF600000
"""The vsyscall page (asm/vsyscall.h): a jump into it is a call, at the address jumped to."""


def prepare_call(entry: str, number: int, arguments: Sequence[int]) -> Callable[[], int]:
    """Prepares one call by raw number, ready to be made without allocating anything large.

    The prepared call returns what the kernel answered, or -1 with errno set for an error.

    Args:
        entry: ENTRY_SYSCALL (libc's syscall()) or ENTRY_INT80 (x86 only).
        number: the raw number, x32 with its bit.
        arguments: up to six register values, of 64 bits by int 0x80 too: the kernel shows them
            whole to a filter, and takes the lower halves.

    Raises:
        OSError: no executable memory is to be had for the int 0x80 stub.
        ValueError: the entry is not known, or the machine has none such.
    """
    six = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    if entry == ENTRY_SYSCALL:
        values = [ctypes.c_ulong(a) for a in six]
        raw = ctypes.c_ulong(number)
        return lambda: int(_libc.syscall(raw, *values))
    if entry == ENTRY_INT80 and has_stubs():
        return _stubbed(entry, number, six, None)
    raise ValueError(f"no entry {entry!r} on {os.uname().machine}")


def prepare_call_at(
    entry: str, number: int, arguments: Sequence[int], address: int
) -> Callable[[], int]:
    """Prepares a call by an instruction that ends at an address, which a filter sees.

    The instruction stays there, so this is for a child that ends after its call. In the vsyscall
    page the kernel itself emulates the instruction.

    Raises:
        OSError: no code can be had there (EEXIST: there is something already).
        ValueError: the machine has no entry that could be placed.
    """
    if not has_stubs():
        raise ValueError(f"no entry can be placed on {os.uname().machine}")
    six = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    if address & -mmap.PAGESIZE == VSYSCALL_PAGE:
        return _stubbed(entry, number, six, address)
    code = _INSTRUCTIONS[entry]
    _place(address - len(code), code + _RETURN)
    return _stubbed(entry, number, six, address - len(code))


def has_stubs() -> bool:
    """Whether machine code of this module can run here."""
    return os.uname().machine == "x86_64" and sys.maxsize > 1 << 32


def _stubbed(
    entry: str, number: int, six: Sequence[int], instruction: int | None
) -> Callable[[], int]:
    """Prepares a call by an entry's machine code; None stands for the code's own instruction."""
    enter, own = _stub(entry)
    registers = (ctypes.c_uint64 * 6)(*six)
    at = ctypes.c_void_p(own if instruction is None else instruction)
    return lambda: _as_libc_would(int(enter(number, registers, at)))


# asm-generic/mman-common.h
_MAP_FIXED_NOREPLACE = 0x100000


def _place(address: int, code: bytes) -> None:
    """Puts machine code at an address where nothing is yet.

    Raises:
        OSError: that is not possible.
    """
    first = address & -mmap.PAGESIZE
    size = (address + len(code) - first + mmap.PAGESIZE - 1) & -mmap.PAGESIZE
    _libc.mmap.restype = ctypes.c_void_p
    words = [ctypes.c_void_p(first), ctypes.c_size_t(size), ctypes.c_int(mmap.PROT_WRITE)]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
    found = _libc.mmap(*words, ctypes.c_int(flags), ctypes.c_int(-1), ctypes.c_long(0)) or 0
    if found == _MAP_FAILED:
        raise _error()
    if found != first:  # before Linux 4.17 the flag was no more than a hint
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    ctypes.memmove(address, code, len(code))
    _make_executable(first, size)


_MAP_FAILED = (1 << 8 * ctypes.sizeof(ctypes.c_void_p)) - 1


def _make_executable(address: int, size: int) -> None:
    _libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if _libc.mprotect(address, size, mmap.PROT_READ | mmap.PROT_EXEC) == -1:
        raise _error()


def no_call() -> int:
    """Does as a prepared call does, but calls a library function that enters no kernel."""
    return int(_libc.labs(*_NOTHING))


def prepare_int80() -> None:
    """Makes the stub that enters by ``int 0x80``, where the machine has that entry.

    Raises:
        OSError: no executable memory is to be had.
    """
    if has_stubs():
        _stub(ENTRY_INT80)


_NOTHING = [ctypes.c_ulong()] * 7
_stubs: dict[str, tuple[Callable[..., int], int]] = {}


def _stub(entry: str) -> tuple[Callable[..., int], int]:
    """The function that loads an entry's registers, and the address of its own instruction."""
    if entry not in _stubs:
        loader = _LOADERS[entry]
        memory = mmap.mmap(
            -1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_WRITE
        )
        memory.write(loader + _INSTRUCTIONS[entry] + _RETURN)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        _kept.append(memory)
        _make_executable(address, mmap.PAGESIZE)
        registers = ctypes.POINTER(ctypes.c_uint64)
        kind = ctypes.CFUNCTYPE(
            *(ctypes.c_long, ctypes.c_long, registers, ctypes.c_void_p), use_errno=True
        )
        _stubs[entry] = (kind(address), address + len(loader))
    return _stubs[entry]


def _as_libc_would(answer: int) -> int:
    """Turns the kernel's -errno into -1 with errno set, as libc's syscall() does."""
    if -_MAX_ERRNO <= answer < 0:
        ctypes.set_errno(-answer)
        return -1
    return answer


def perform(page: SharedPage, calls: Sequence[Callable[[], int]], first: int) -> None:
    """Makes the prepared calls from ``first`` on, moving each slot from ARMED to RETURNED."""
    header = page.header
    slots = {index: page.slots[index] for index in range(first, len(calls))}
    get_errno, set_errno = ctypes.get_errno, ctypes.set_errno
    for index in range(first, len(calls)):
        slot, call = slots[index], calls[index]
        header.current = index
        set_errno(0)
        slot.stage = ARMED
        result = call()
        number = get_errno()
        slot.result = result
        slot.errno = number if result == -1 else 0
        slot.stage = RETURNED


def watch_sigsys(page: SharedPage) -> None:
    """Notes in the armed slot when SIGSYS reaches a handler: TRAP does that, KILL never."""

    def note(_signal: int) -> None:
        slot = page.slots[page.header.current]
        if slot.stage == ARMED:
            slot.trapped = 1

    handler = _HANDLER(note)
    _kept.append(handler)
    _libc.signal(SIGSYS, ctypes.cast(handler, ctypes.c_void_p))


def this_thread() -> int:
    """The pthread_t of the calling thread."""
    return int(_libc.pthread_self())


def start_thread(body: Callable[[], None]) -> int:
    """Starts a joinable thread and returns its pthread_t.

    Python's own threads are detached, and a thread that the kernel kills would never release
    Python's lock; the kernel itself wakes whoever joins a thread's id. The new thread gets the
    lock only when its starter gives it away, to wait for it: a starter that wanted it back would
    have to be woken, by a call of the new thread in the very moment of the probed one.

    Raises:
        OSError: no thread is to be had.
    """

    def main(_: int | None) -> None:
        body()

    callback = _THREAD_MAIN(main)
    _kept.append(callback)
    thread = ctypes.c_ulong()
    number = _holding.pthread_create(ctypes.byref(thread), None, callback, None)
    if number:
        raise OSError(number, os.strerror(number))
    return thread.value


def end_process() -> NoReturn:
    """Ends this process from any of its threads, with status 0.

    Where a filter refuses exit_group(2), glibc ends the thread alone, by exit(2). So Python's lock
    is given away beforehand, for whoever joins this thread would wait for it forever.
    """
    _libc["_exit"](ctypes.c_int(0))
    raise AssertionError("_exit(2) has returned")


def join_thread(thread: int) -> None:
    """Waits until the thread has ended, killed or not."""
    _libc.pthread_join(ctypes.c_ulong(thread), None)
