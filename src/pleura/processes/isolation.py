"""Work on a stranger's file in a process of its own, which may be killed without harm.

A file can keep a decoder busy for hours, make it fill the memory or crash it. So it is opened in a
child process that has a limit on its memory and on its time for one file; a child that breaks one,
or dies, costs that file and is replaced. Children are started anew (not forked), hold nothing but
what their work imports, end when their parent does, and leave Ctrl-C to it.

A child is told what to do by pickle, as everywhere in multiprocessing; its own answers, which a
hostile file may have had a hand in, are JSON and plain bytes of a bounded length, and are never
unpickled.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Self

from pleura.errors import LimitError, PleuraError
from pleura.processes.workers import interrupts_held_back

MAX_REPLY_BYTES = 64 << 20
"""A longer answer of a child is not read."""

_START_S = 120.0  # what a child may take to start, on a machine that is busy with others
_GRACE_S = 2.0  # after its time is over a child ends itself, where the parent is no more
_MOST_FILES = 256  # of one request
_LENGTH = struct.Struct("<I")
_READY = b"ready"
_NEXT = b"next"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take.

    Attributes:
        seconds: Time, from its name to the answer.
        memory_mib: Memory in MiB, beyond what the program itself needs. Held on Linux; elsewhere
            the system decides.
    """

    seconds: float = 60.0
    memory_mib: int = 2048


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child answers: fields that JSON can hold, and bytes; and which child `by` it was."""

    fields: dict[str, Any]
    blob: bytes | memoryview = b""
    by: int | None = None


Handler = Callable[[Any], Reply]
"""What a child does with a request; of an exception only the name comes back."""


class Isolated:
    """A few children that each work on one request at a time.

    May be called from several threads. Use it in a ``with`` block.

    Args:
        target: The handler as ``module:function``; a child imports it when it starts.
        workers: How many children, 1 or more.
        limits: What one request may take.
        option: By which people allow more time, where there is one.

    Raises:
        PleuraError: A child could not be started.
    """

    def __init__(self, target: str, workers: int, limits: Limits, option: str = "") -> None:
        self.workers = workers
        self.limits = limits
        self._target = target
        self._more = f"if it is sound, allow more with {option}" if option else "export it again"
        self._children: list[_Child] = []
        self._round = 0
        self._guard = threading.Lock()
        self._freed = threading.Condition()
        self._wanted: Counter[int] = Counter()  # how many calls wait for a certain child
        for _ in range(workers):
            self._children.append(_Child(target, limits))
        self._idle = set(range(workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self, request: object, about: object, child: int | None = None, *, tries: int = 2
    ) -> Reply:
        """Return what a child answers to `request`.

        A child that dies is tried once more on the same request, alone and new: it may have died of
        what an earlier file did to it.

        Args:
            request: Anything that pickle can carry to the child.
            about: The file, or its address, for messages.
            child: Which child is to do it; left out, whichever has time.
            tries: How often it is tried; 1 where the caller tries again in another way.

        Raises:
            LimitError: The time was over, the memory full, or the child died each time.
            PleuraError: A child could not be started, or :meth:`interrupt` was called meanwhile.
        """
        with self._guard:
            begun = self._round
        number = self._take(child)
        try:
            reply = self._asked(self._children[number], request, about, begun, tries)
            return replace(reply, by=number)
        finally:
            with self._freed:
                self._idle.add(number)
                self._freed.notify_all()

    def _take(self, wanted: int | None) -> int:
        """Return a child that has time: a certain one, or one that nobody waits for by name."""
        with self._freed:
            if wanted is None:
                while not (free := [one for one in self._idle if not self._wanted[one]]):
                    self._freed.wait()
                found = free[0]
            else:
                self._wanted[wanted] += 1
                try:
                    self._freed.wait_for(lambda: wanted in self._idle)
                finally:
                    self._wanted[wanted] -= 1
                found = wanted
            self._idle.remove(found)
            return found

    def _asked(
        self, child: "_Child", request: object, about: object, begun: int, tries: int
    ) -> Reply:
        for _ in range(tries):
            reply = child.ask(request)
            if reply is not None:
                return reply
            if self._round != begun:
                raise PleuraError(f"{about}: was not finished, for the work was interrupted")
            if child.late:
                raise LimitError(
                    f"{about}: took more than {self.limits.seconds:g} seconds and was given up; "
                    f"{self._more}"
                )
        raise LimitError(f"{about}: {child.death}; export it again, or leave it out")

    def interrupt(self) -> None:
        """Kill the children that work on something; a later call starts others."""
        with self._guard:
            self._round += 1
        for child in self._children:
            if child.busy:
                child.kill()

    def close(self) -> None:
        """End all children."""
        with self._guard:
            self._round += 1
        for child in self._children:
            child.kill()
            child.buried()


def python_command(statements: str) -> list[str]:
    """Return the command of another Python that finds its modules where this one does."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {statements}"]


class _Child:
    """One child process, started when it is made and again when it is asked after its death."""

    def __init__(self, target: str, limits: Limits) -> None:
        self._target = target
        self._limits = limits
        self._lock = threading.Lock()
        self.busy = False
        self.late = False
        self.death = ""
        self._start()

    def ask(self, request: object) -> Reply | None:
        """Return the answer; None where the child died over it or was killed for being late."""
        self.busy = True
        try:
            return self._ask(request)
        finally:
            self.busy = False

    def _ask(self, request: object) -> Reply | None:
        self.late = False
        if self._process.poll() is not None:
            self._pipe.close()
            self._start()
        try:
            if not self._ready:
                self._await_ready()
            self._pipe.send((self._limits.seconds, request))
            for turn in range(_MOST_FILES):
                # The first thing it says is that it has read the request and begins.
                if not self._pipe.poll(self._limits.seconds if turn else _START_S):
                    self.late, self.death = turn > 0, "the process that was to read it hangs"
                    break
                content = self._pipe.recv_bytes(MAX_REPLY_BYTES)
                if content != _NEXT:
                    return _unpacked(content)
            else:
                raise ValueError("more files than there can be")
        except (EOFError, ConnectionError):
            self._process.wait()  # it is gone
        except (OSError, RecursionError, ValueError):
            self.death = "the process that read it answered nonsense"
        except (
            BaseException
        ):  # Ctrl-C: what it answers later must not be taken for another's answer
            self.kill()
            self._process.wait()
            raise
        if self._process.poll() is None:
            self.kill()
            self._process.wait()
        else:
            self.late = self._process.returncode == -signal.SIGALRM
            self.death = _death(self._process.returncode)
        return None

    def kill(self) -> None:
        """End the process at once."""
        with self._lock:
            self._process.kill()

    def buried(self) -> None:
        """Wait for a killed process, so that nothing of it is left."""
        self._process.wait()
        self._pipe.close()

    def _start(self) -> None:
        ours, theirs = Pipe()
        arguments = theirs.fileno(), self._target, self._limits.memory_mib
        command = python_command(
            f"from pleura.processes.isolation import serve; serve{arguments!r}"
        )
        # Threads of a linear algebra library would each reserve memory that counts.
        alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        quiet = None if os.environ.get("PLEURA_DEBUG") else subprocess.DEVNULL
        try:
            with self._lock, interrupts_held_back():
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=quiet,
                    env={**os.environ, **alone},
                    pass_fds=[theirs.fileno()],
                )
        except OSError as error:
            raise PleuraError(f"a reading process could not be started ({error})") from error
        finally:
            theirs.close()
        self._pipe = ours
        self._ready = False

    def _await_ready(self) -> None:
        """Wait until the child has imported what it needs: that is not held against a file."""
        with contextlib.suppress(EOFError, OSError):
            if not self._pipe.poll(_START_S):
                self._process.terminate()
            self._ready = self._pipe.recv_bytes(16) == _READY
        # One that was killed says so where it is asked.
        if not self._ready and self._process.wait() != -signal.SIGKILL:
            raise PleuraError(
                f"a reading process did not start (exit status {self._process.returncode}); "
                "PLEURA_DEBUG=1 shows why"
            )


def serve(descriptor: int, target: str, memory_mib: int) -> None:
    """Answer requests until there are no more; this is all that a child does.

    Args:
        descriptor: Its end of the pipe.
        target: The handler, as ``module:function``.
        memory_mib: As in :class:`Limits`.
    """
    pipe = Connection(descriptor)
    module, _, name = target.partition(":")
    handle: Handler = getattr(importlib.import_module(module), name)
    _expect_harm()
    memory = _Memory(memory_mib << 20)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        pipe.send_bytes(_READY)
        while True:
            pipe.send_bytes(_packed(_answer(pipe, handle, memory)))
            signal.setitimer(signal.ITIMER_REAL, 0)


def next_file() -> None:
    """Say that the work on one file of a request is done: each has the whole time for itself.

    In a process that is no child it says nothing.
    """
    if _timer is not None:
        _timer()


_timer: Callable[[], None] | None = None


def _answer(pipe: Connection, handle: Handler, memory: "_Memory") -> Reply:
    global _timer
    try:
        memory.lift()  # what the work imports is not held against a file
        seconds, request = pipe.recv()
        memory.hold()

        def restart() -> None:
            # Not caught: it ends the process inside any library.
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_S)
            pipe.send_bytes(_NEXT)

        _timer = restart
        restart()
        return handle(request)
    except EOFError:
        raise
    except Exception as error:
        if os.environ.get("PLEURA_DEBUG"):
            traceback.print_exc()
        # Its text is left out, for it may quote the file.
        return Reply({"internal": type(error).__name__})


def _expect_harm() -> None:
    """Let this process leave no core file, and be the first to end where memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


class _Memory:
    """Holds this process to so many bytes beyond what it needs for itself."""

    def __init__(self, extra_bytes: int) -> None:
        self._extra_bytes = extra_bytes
        self._modules = 0
        self._most = resource.RLIM_INFINITY

    def lift(self) -> None:
        """Allow as much as the system does."""
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))

    def hold(self) -> None:
        """Hold the limit; what the process needs for itself grows with what it has imported."""
        with contextlib.suppress(OSError, ValueError):
            if len(sys.modules) != self._modules:
                pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
                self._most = pages * resource.getpagesize() + self._extra_bytes
                self._modules = len(sys.modules)
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            most = self._most if hard == resource.RLIM_INFINITY else min(self._most, hard)
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _packed(reply: Reply) -> bytes:
    head = json.dumps(reply.fields).encode()
    return b"".join((_LENGTH.pack(len(head)), head, reply.blob))


def _unpacked(content: bytes) -> Reply:
    """Return the reply in `content`; raise ValueError where it is none."""
    if len(content) < _LENGTH.size:
        raise ValueError("too short")
    end = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    fields = json.loads(content[_LENGTH.size : end])
    if not isinstance(fields, dict):
        raise ValueError("no object")
    return Reply(fields, memoryview(content)[end:])


def _death(code: int) -> str:
    """Return in words how a process ended that should not have."""
    if code == -signal.SIGKILL:
        return "the process that read it was killed, most likely because the machine's memory ended"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the process that read it crashed ({signal.Signals(-code).name})"
    return f"the process that read it ended with {code} and no answer"
