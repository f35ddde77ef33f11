"""The lean process from which probing children are forked: the only module that forks.

It is started early by ``probes.instrument.calls`` as its own single-threaded interpreter without
site-packages, because a fork of a test worker is slow (it is large) and unsafe (it has threads).
It reads requests from a socket and answers each. What runs here is this module,
``probes.instrument.kernel`` and a few modules of the standard library, on plain types: each import
makes every fork slower. For the same reason whatever can be made before the fork is.

A zygote that is confined itself (``serve_confined``) does for itself and its children only what
scouts have found that its confinement lets pass, and may have a witness of its own: a filter that
hands marked calls to a listener, at which the zygote answers them in the kernel's place.
"""

from __future__ import annotations

import errno
import gc
import marshal
import mmap
import os
import resource
import select
import sys
import time

from probes.instrument import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, NoReturn

    # The plain shapes that both sides share; probes.instrument.calls gives them types.
    Request = dict[str, Any]
    Sighting = dict[str, Any]

GONE = "gone"
"""The key in the last message of a zygote that cannot go on; its value is the error."""

MAX_CALLS = 4096
"""The most calls in one request: the number of slots in the shared page."""

NOBODY = 65534
"""The overflow user id (kernel.overflowuid): no file is worth protecting from it."""

_SIBLINGS = 3
_NO_CAPABILITIES = "0" * 16
_POLL_INTERVAL = 0.0002
_LONGEST_PAUSE = 0.01
_LENGTH_BYTES = 4


class _Machine:
    """The state of the zygote, with its page of shared memory, which one child uses at a time.

    Attributes:
        trouble: the errands of ``ERRANDS`` that the zygote's confinement prevents, and how.
        number: the number of seccomp(2) where filters must be installed by it, not by prctl(2).
        listener: where calls of children wait for an answer; None where there is no such filter.
        error: the errno that they get.
    """

    def __init__(self, connection: int, trouble: dict[str, str] | None = None) -> None:
        self.connection = connection
        self.trouble = {} if trouble is None else trouble
        self.number: int | None = None
        self.listener: int | None = None
        self.error = 0
        size = kernel.HEADER_SIZE + MAX_CALLS * kernel.SLOT_SIZE
        self.memory_fd: int | None = None
        if "memory" not in self.trouble:
            self.memory_fd = os.memfd_create("stage-page")
            os.ftruncate(self.memory_fd, size)
        self.memory = mmap.mmap(-1 if self.memory_fd is None else self.memory_fd, size)
        self.page = kernel.SharedPage(self.memory)
        kernel.watch_sigsys(self.page)
        self.warm_up()

    def clear(self, calls: int) -> None:
        size = kernel.HEADER_SIZE + calls * kernel.SLOT_SIZE
        self.memory[:size] = bytes(size)

    def warm_up(self) -> None:
        """Runs the very code of a probe once, so that Python's memory for it is there already.

        A child that had to ask the kernel for memory between "installed" and "armed" could be
        killed for that instead of the probed call.
        """
        last = len(self.page.slots) - 1
        kernel.perform(self.page, [kernel.no_call] * (last + 1), last)


def receive(stream: BinaryIO) -> Any:  # noqa: ANN401 - plain data of any shape
    """Reads one message; None at the end of the stream, even in the middle of a message."""
    head = stream.read(_LENGTH_BYTES)
    length = int.from_bytes(head, "little")
    body = stream.read(length)
    if len(head) < _LENGTH_BYTES or len(body) < length:
        return None
    return marshal.loads(body)  # noqa: S302 - from our own process


def send(stream: BinaryIO, message: Any) -> None:  # noqa: ANN401 - plain data of any shape
    """Writes one message."""
    raw = marshal.dumps(message)
    stream.write(len(raw).to_bytes(_LENGTH_BYTES, "little") + raw)
    stream.flush()


def _reply(stream: BinaryIO, message: Any) -> None:  # noqa: ANN401 - plain data of any shape
    """Sends an answer; ends this process where the other side has closed the socket."""
    try:
        send(stream, message)
    except BrokenPipeError:
        os._exit(0)


def serve(fd: int) -> None:
    """Answers requests on the socket ``fd`` until the other side closes it."""
    trouble: dict[str, str] = {}
    for errand in _DISPENSABLE:
        try:
            ERRANDS[errand]()
        except OSError as error:
            trouble[errand] = str(error.strerror)
    _answer_requests(_Machine(fd, trouble))


def serve_confined(fd: int) -> None:
    """Answers requests as ``serve`` does, where a confinement may keep a zygote from its own calls.

    The first message gives the parts of a witness, if one is wanted; its answer says what is
    possible here.
    """
    kernel.ignore_interrupts()  # a session of its own, out of Ctrl-C's reach, may be forbidden
    with open(fd, "rb", closefd=False) as incoming, open(fd, "wb", closefd=False) as outgoing:
        orders = receive(incoming)
        if orders is None:
            return
        trouble = _scout_errands(orders["deadline"])
        machine = _Machine(fd, trouble)
        for errand in ("orphans", "core", "privileges", "limit"):
            if errand not in trouble:
                ERRANDS[errand]()
        if "core" in trouble and "limit" not in trouble:
            _limit_core(_NO_CORE_FROM_PIPE)
        _choose_installer(machine, orders)
        kind = _put_up_witness(machine, orders) if orders["program"] else ""
        _reply(outgoing, {"witness": kind, "trouble": trouble})
    _answer_requests(machine)


def _answer_requests(machine: _Machine) -> None:
    fd = machine.connection
    sys.setswitchinterval(1000.0)  # no thread of a child is interrupted while it is armed
    gc.collect()
    gc.disable()
    gc.freeze()
    with open(fd, "rb", closefd=False) as incoming, open(fd, "wb", closefd=False) as outgoing:
        while (requests := receive(incoming)) is not None:
            try:
                answers: Any = [_probe(machine, request) for request in requests]
            except OSError as error:
                # A child may be left that writes to the shared page: nothing more can be told.
                _reply(outgoing, {GONE: str(error.strerror)})
                return
            _reply(outgoing, answers)


_NO_CORE_FROM_PIPE = 1
"""The RLIMIT_CORE at which do_coredump() (fs/coredump.c) starts no piped core handler either."""


def _limit_core(most: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))


def _open_memory() -> None:
    fd = os.memfd_create("scout")
    os.ftruncate(fd, mmap.PAGESIZE)
    mmap.mmap(fd, mmap.PAGESIZE).close()


def _open_process() -> None:
    os.close(os.pidfd_open(os.getpid()))


ERRANDS: dict[str, Callable[[], None]] = {
    "child": lambda: None,
    "memory": _open_memory,
    "process": _open_process,
    "orphans": kernel.adopt_orphans,
    "core": kernel.leave_no_core,
    "privileges": kernel.set_no_new_privs,
    "limit": lambda: _limit_core(0),
    "parent": kernel.die_with_parent,
    "name": lambda: kernel.set_name("scout"),
    "comm": lambda: kernel.write_name("scout"),
    "capabilities": kernel.drop_capabilities,
    "stub": kernel.prepare_int80,
}
"""The errands: what a zygote and its children do besides the probed call, for scouts to try."""

_DISPENSABLE = ("orphans", "core", "privileges", "limit", "memory", "process")
"""The errands that probing can do without; some kernels lack the calls that they make."""

WITNESS_LISTENER, WITNESS_ORDER = "listener", "order"


def _scout_errands(deadline: float) -> dict[str, str]:
    """Tries every errand in a child of its own, which may be killed in the zygote's place."""
    trouble: dict[str, str] = {}
    for errand, attempt in ERRANDS.items():
        failure = _scout(attempt, deadline)
        if failure:
            trouble[errand] = failure
    return trouble


def _choose_installer(machine: _Machine, orders: Request) -> None:
    """Finds out by which call filters can be installed here."""
    everything, number = kernel.Filter(orders["everything"]), orders["number"]
    for errand, way in (("prctl", None), ("seccomp", number)):
        failure = _scout(lambda way=way: kernel.install(everything, way), orders["deadline"])  # type: ignore[misc] # a default binds it
        if failure:
            machine.trouble[errand] = failure
    machine.number = number if "prctl" in machine.trouble else None


def _put_up_witness(machine: _Machine, orders: Request) -> str:
    """Finds out which witness this confinement allows, and installs it.

    Returns:
        WITNESS_LISTENER where marked calls are answered by this process, WITNESS_ORDER where only
        filters can be installed, "" where none can. ``trouble`` gets the reasons.
    """
    trouble, number, deadline = machine.trouble, orders["number"], orders["deadline"]
    if "prctl" in trouble and "seccomp" in trouble:
        return ""
    marking = kernel.Filter(orders["program"])
    machine.error = orders["error"]
    failure = _scout(lambda: _try_to_supervise(marking, orders), deadline)
    if failure:
        trouble["listener"] = failure
        return WITNESS_ORDER
    machine.listener = kernel.install_listener(marking, number)
    return WITNESS_LISTENER


def _try_to_supervise(marking: kernel.Filter, orders: Request) -> None:
    """Tries the witness once: installs the filter and answers a child's call.

    Raises:
        OSError: a step is refused, or no canary call arrives.
    """
    listener = kernel.install_listener(marking, orders["number"])
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    for canary in orders["canaries"]:
        call = kernel.prepare_call(kernel.ENTRY_SYSCALL, *canary)
        answered = False
        pid = os.fork()  # one for each: this process may be killed for the first
        if pid == 0:
            os.close(listener)
            call()
            os._exit(0)
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if poll.poll(1):
                answered = kernel.answer(listener, orders["error"]) or answered
        if answered:
            return
    raise OSError(errno.ENOMSG, os.strerror(errno.ENOMSG))


def _scout(attempt: Callable[[], None], deadline: float) -> str:
    """Tries something in a child; "" if that succeeds, else the reason why not."""
    try:
        pid = os.fork()
    except OSError as error:
        return str(error.strerror)
    if pid == 0:
        code = _UNKNOWN_ERROR
        try:
            attempt()
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(min(code, _UNKNOWN_ERROR))
    until = time.monotonic() + deadline
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            break
        if time.monotonic() > until:
            os.kill(pid, kernel.SIGKILL)
            os.waitpid(pid, 0)
            return "it hung"
        time.sleep(_POLL_INTERVAL)
    if os.WIFSIGNALED(status):
        killed = os.WTERMSIG(status)
        return "SIGSYS" if killed == kernel.SIGSYS else f"signal {killed}"
    code = os.waitstatus_to_exitcode(status)
    return os.strerror(code) if code else ""


_UNKNOWN_ERROR = 255


def _probe(machine: _Machine, request: Request) -> list[Sighting]:
    """Makes the calls of a request in a child; if a call ends it, another child makes the rest."""
    count = len(request["calls"])
    sightings: list[Sighting] = []
    machine.clear(count)
    try:
        child = _Child(machine, request)
    except OSError as error:
        fault = _unseen(f"{error.strerror} while preparing the calls")
        return [dict(fault) for _ in range(count)]
    while len(sightings) < count:
        child.first = len(sightings)
        machine.memory[: kernel.HEADER_SIZE] = bytes(kernel.HEADER_SIZE)
        pid = os.fork()
        if pid == 0:
            _live(child)
        status, timed_out = _wait(machine, pid, request["deadline"])
        _reap_strays(machine, request["deadline"])
        header = kernel.read_header(machine.memory)
        sightings += _harvest(child, header, pid, (status, timed_out))
    return sightings


def _unseen(fault: str) -> Sighting:
    return {
        "stage": kernel.NOT_REACHED,
        "trapped": 0,
        "result": 0,
        "errno": 0,
        "pid": 0,
        "survived": 0,
        "loosened": 0,
        "dropped_user": 0,
        "status": None,
        "timed_out": False,
        "fault": fault,
    }


def _harvest(
    child: _Child, header: kernel.Header, pid: int, end: tuple[int, bool]
) -> list[Sighting]:
    """Reads from the shared page which calls of a child returned, and which one ended it."""
    status, timed_out = end
    count = len(child.calls)
    found: list[Sighting] = []
    for index in range(child.first, count):
        slot = kernel.read_slot(child.machine.memory, index)
        sighting = _unseen("")
        sighting.update(
            stage=slot.stage,
            trapped=slot.trapped,
            result=slot.result,
            errno=slot.errno,
            pid=header.caller or pid,
            survived=header.survived,
            loosened=header.loosened,
            dropped_user=header.dropped_user,
        )
        found.append(sighting)
        if slot.stage == kernel.RETURNED:
            continue
        sighting["status"] = header.inner_status if header.inner_known else status
        sighting["timed_out"] = timed_out
        if header.phase == kernel.STARTED:
            sighting["fault"] = _setup_fault(header, end)
            found += [dict(sighting) for _ in range(index + 1, count)]
        elif header.forked and not header.inner_known and not timed_out:
            sighting["fault"] = "the confined parent ended before its child's end was known"
        elif slot.stage == kernel.NOT_REACHED:
            why = f"{os.strerror(header.error)}: " if header.error else ""
            step = header.step.decode(errors="replace")
            sighting["fault"] = f"{why}the child ended before the call, while {step}"
        break
    return found


def _setup_fault(header: kernel.Header, end: tuple[int, bool]) -> str:
    status, timed_out = end
    step = header.step.decode(errors="replace")
    if timed_out:
        return f"the child hung while {step}"
    if header.error:
        return f"{os.strerror(header.error)} while {step}"
    return f"the child ended (wait status {status:#x}) while {step}"


def _wait(machine: _Machine, pid: int, deadline: float) -> tuple[int, bool]:
    """Waits for the child, at most ``deadline`` seconds; kills it then. Answers its calls."""
    until = time.monotonic() + deadline
    if "process" in machine.trouble:
        return _look_for_end(machine, pid, until)
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if machine.listener is not None:
        poll.register(machine.listener, select.POLLIN)
    try:
        while True:
            left = (until - time.monotonic()) * 1000
            ready = [fd for fd, _ in poll.poll(max(left, 0))]
            if machine.listener in ready:
                kernel.answer(machine.listener, machine.error)
            if pidfd in ready:
                return os.waitpid(pid, 0)[1], False
            if not ready and left <= 0:
                os.kill(pid, kernel.SIGKILL)
                return os.waitpid(pid, 0)[1], True
    finally:
        os.close(pidfd)


def _look_for_end(machine: _Machine, pid: int, until: float) -> tuple[int, bool]:
    """Waits for the child as ``_wait`` does, by polling: for where pidfd_open(2) is refused."""
    pause = _POLL_INTERVAL
    poll = select.poll()
    if machine.listener is not None:
        poll.register(machine.listener, select.POLLIN)
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status, False
        if machine.listener is not None and poll.poll(0):
            kernel.answer(machine.listener, machine.error)
            continue
        if time.monotonic() > until:
            os.kill(pid, kernel.SIGKILL)
            return os.waitpid(pid, 0)[1], True
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _reap_strays(machine: _Machine, deadline: float) -> None:
    """Waits until no descendant is left; each has asked to be killed when its parent ends."""
    until = time.monotonic() + deadline
    poll = select.poll()
    if machine.listener is not None:
        poll.register(machine.listener, select.POLLIN)
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > until:
                raise TimeoutError("a descendant of a probing child cannot be killed")
            if machine.listener is not None and poll.poll(0):
                kernel.answer(machine.listener, machine.error)
            time.sleep(_POLL_INTERVAL)


def _live(child: _Child) -> NoReturn:
    """Runs a probing child, from the fork to its end."""
    page = child.page
    try:
        child.prepare()
        _ROUTES[child.request["route"]](child)
        page.header.phase = kernel.DONE
    except OSError as error:
        page.header.error = error.errno or 0
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 - a forked child must never return into the zygote
        page.step(f"{page.header.step.decode(errors='replace')}: {error!r}")
        os._exit(1)
    kernel.end_process()


class _Child:
    """A probing child: prepared before the fork, run after it."""

    def __init__(self, machine: _Machine, request: Request) -> None:
        self.machine = machine
        self.request = request
        self.page = machine.page
        self.first = 0
        self.filters = [kernel.Filter(program) for program in request["programs"]]
        self.logged = request["logged"] or [False] * len(self.filters)
        if request["entry"] == kernel.ENTRY_INT80 and "stub" in machine.trouble:
            raise OSError(errno.EPERM, f"{machine.trouble['stub']} for executable memory,")
        self.calls = [kernel.no_call] * len(request["calls"])
        if not request["address"]:
            self.calls = _calls(request)

    def prepare(self) -> None:
        if self.request["address"]:
            # Only now: what is put there goes with this child.
            self.page.step("putting the call's instruction in its place")
            self.calls = _calls(self.request)
        self.end_with_parent()
        # Else a child that outlives the zygote would keep its worker waiting for an answer.
        os.close(self.machine.connection)
        if self.machine.listener is not None:
            os.close(self.machine.listener)
        if self.request["new_session"]:
            self.page.step("starting a session of its own")
            os.setsid()
        self.page.step("setting its name")
        _take_name(self.request["comm"], self.machine.trouble)
        self.page.header.caller = os.getpid()

    def end_with_parent(self) -> None:
        self.page.step("asking to end with its parent")
        if "parent" not in self.machine.trouble:
            kernel.die_with_parent()

    def confine(self, *, keep_capabilities: bool = False) -> None:
        if not keep_capabilities:
            self.drop_capabilities()

    def drop_capabilities(self) -> None:
        self.page.step("dropping its capabilities")
        _drop_capabilities(self.request, self.machine.trouble)

    def install(self) -> None:
        for index, prepared in enumerate(self.filters, 1):
            self.page.step(f"installing filter {index} of {len(self.filters)}")
            number = self.request["seccomp"]
            if self.logged[index - 1]:
                kernel.install(prepared, number, kernel.SECCOMP_FILTER_FLAG_LOG)
            elif self.request["by_seccomp"]:
                kernel.install(prepared, number)
            else:
                kernel.install(prepared, self.machine.number)
        self.page.step("about to make the call")
        self.page.header.phase = kernel.INSTALLED

    def perform(self) -> None:
        kernel.perform(self.page, self.calls, self.first)

    def perform_and_end(self) -> NoReturn:
        """For a thread: it ends the process, since a filter may keep threads from ending alone."""
        self.perform()
        self.page.header.phase = kernel.DONE
        kernel.end_process()

    def note_survivor(self) -> None:
        """Notes in the shared page that the process outlived the thread that called."""
        if self.page.slots[self.first].stage == kernel.ARMED:
            self.page.header.survived = 1


def _drop_capabilities(request: Request, trouble: dict[str, str]) -> None:
    """Drops them, unless that is impossible and without need: a call that cannot run is harmless.

    Raises:
        OSError: it is impossible, and the call might run.
    """
    if "capabilities" not in trouble:
        kernel.drop_capabilities()
    elif request["runs"] and kernel.own_status("CapPrm") != _NO_CAPABILITIES:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _take_name(comm: str, trouble: dict[str, str]) -> None:
    """Sets the calling thread's name, where one of the ways is open."""
    if "name" not in trouble:
        kernel.set_name(comm)
    elif "comm" not in trouble:
        kernel.write_name(comm)


def _calls(request: Request) -> list[Callable[[], int]]:
    entry, address = request["entry"], request["address"]
    if address:
        return [
            kernel.prepare_call_at(entry, number, arguments, address)
            for number, *arguments in request["calls"]
        ]
    return [
        kernel.prepare_call(entry, number, arguments) for number, *arguments in request["calls"]
    ]


def _direct(child: _Child) -> None:
    child.confine()
    child.install()
    child.perform()


def _sibling(child: _Child) -> None:
    """A second thread is confined and calls; the first, free, sees whether the process survives."""
    child.confine()
    failure: list[OSError] = []

    def body() -> None:
        try:
            child.install()
        except OSError as error:
            failure.append(error)
            return
        child.perform_and_end()

    kernel.join_thread(kernel.start_thread(body))
    if failure:
        raise failure[0]
    child.note_survivor()


def _threads(child: _Child) -> None:
    """The first thread calls while several others wait, the last of them for the first one."""
    child.confine()
    ready: list[bool] = []

    def waiter(thread: int) -> Callable[[], None]:
        def body() -> None:
            ready.append(True)
            kernel.join_thread(thread)
            child.note_survivor()
            kernel.end_process()

        return body

    awaited = kernel.this_thread()
    for _ in range(_SIBLINGS):
        awaited = kernel.start_thread(waiter(awaited))
    while len(ready) < _SIBLINGS:
        time.sleep(_POLL_INTERVAL)
    child.install()
    child.perform()


def _thread(child: _Child) -> None:
    """The process is confined first; a thread that it starts afterwards makes the call."""
    child.confine()
    child.install()
    child.page.step("starting the thread that makes the call")
    kernel.join_thread(kernel.start_thread(child.perform_and_end))
    child.note_survivor()


def _fork(child: _Child) -> None:
    """A child of the confined process makes the call."""
    child.confine()
    child.install()
    child.page.step("forking the process that makes the call")
    if "parent" in child.machine.trouble:
        # It could outlive this one and write to the page of the next.
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    child.page.header.forked = 1
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent()
        child.perform()
        os._exit(0)
    child.page.header.caller = pid
    _, child.page.header.inner_status = os.waitpid(pid, 0)
    child.page.header.inner_known = 1


def _execve(child: _Child) -> None:
    """A fresh interpreter, started by the confined process, makes the call."""
    child.confine()
    child.page.step("sharing its memory with a fresh interpreter")
    memory_fd = child.machine.memory_fd
    if memory_fd is None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    os.set_inheritable(memory_fd, True)  # noqa: FBT003 - os has it so
    words = marshal.dumps((memory_fd, child.request, child.machine.trouble)).hex()
    arguments = [*interpreter("after_exec(sys.argv[1])"), words]
    # What an interpreter has to say that cannot start is not for the user's terminal.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    child.install()
    child.page.step("starting a fresh interpreter")
    os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted


def after_exec(words: str) -> None:
    """Runs in the fresh interpreter: maps the shared page again and makes the call."""
    memory_fd, request, trouble = marshal.loads(bytes.fromhex(words))  # noqa: S302 - from our own process
    page = kernel.SharedPage(mmap.mmap(memory_fd, 0))
    if "core" not in trouble:
        kernel.leave_no_core()
    _drop_capabilities(request, trouble)
    _take_name(request["comm"], trouble)
    kernel.watch_sigsys(page)
    gc.disable()
    calls = _calls(request)
    page.step("about to make the call in the fresh interpreter")
    kernel.perform(page, calls, 0)
    os._exit(0)


def _setuid(child: _Child) -> None:
    """The confined process changes its user ids: to nobody where it may, else to its own again."""
    child.confine(keep_capabilities=True)
    child.install()
    child.page.step("changing its user ids")
    try:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        child.page.header.dropped_user = 1
    except OSError:
        # It may become no other (EPERM), or its user namespace has no nobody (EINVAL).
        user = os.getuid()
        os.setresuid(user, user, user)
    child.end_with_parent()  # a change of user has cleared it
    child.drop_capabilities()
    child.page.step("about to make the call")
    child.perform()


def _removal(child: _Child) -> None:
    """The confined process tries to leave filter mode, then calls."""
    child.confine()
    child.install()
    child.page.step("trying to leave filter mode")
    child.page.header.loosened = kernel.try_to_loosen()
    child.page.step("about to make the call")
    child.perform()


_ROUTES = {
    "direct": _direct,
    "sibling": _sibling,
    "threads": _threads,
    "thread": _thread,
    "fork": _fork,
    "execve": _execve,
    "setuid": _setuid,
    "removal": _removal,
}


def interpreter(statement: str) -> list[str]:
    """The command of a lean interpreter (isolated, no site-packages) that runs a statement here."""
    probes = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is not lean
    root = os.path.dirname(probes)  # noqa: PTH120 - likewise
    code = (
        f"import sys; sys.path.insert(0, {root!r}); "
        f"from probes.instrument.zygote import after_exec, serve, serve_confined; {statement}"
    )
    return [sys.executable, "-I", "-S", "-c", code]
