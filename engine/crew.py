"""A crew for much geometry: processes beside this one, because small numpy operations in threads wait for one lock.

A helper reads pickled calls from its standard input and writes the answers to its standard output. Its input ends
with the process that started it, however that ends, and the helper with it (workers of `multiprocessing` outlive a
parent that is killed). Where processes cannot be started, or one is lost, this process does the work in threads.
Helpers import numpy, scipy and shapely, never torch.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, BinaryIO

MOST = 4
"""Workers at most: a process takes some 0.25 GB with what a block of outlines needs."""
POLL_S = 0.2
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "500000000", "MALLOC_MMAP_THRESHOLD_": "500000000"}
"""For glibc: arrays come and go all the time, and asking the system for their pages anew takes a twentieth of it."""
_BOOT = f"""
import runpy, sys
runpy.run_path(sys.argv[1])
from {__name__} import serve
serve()
"""


class Crew:
    """Workers, threads or processes; use it in a ``with`` block, which ends them.

    Args:
        processes: whether the work is worth their start, half a second each.
        heartbeat: called several times a second while there is something to wait for; what it raises ends the work.
    """

    def __init__(self, *, processes: bool, heartbeat: Callable[[], None]) -> None:
        self._size = min(MOST, usable_cores())
        self._heartbeat = heartbeat
        self._threads = ThreadPoolExecutor(self._size)
        self._helpers = [_Helper() for _ in range(self._size if processes and self._size > 1 else 0)]
        self._idle: queue.SimpleQueue[_Helper | None] = queue.SimpleQueue()
        for k in range(self._size):
            self._idle.put(self._helpers[k] if self._helpers else None)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        # After an error or a wish to cancel, nothing that has not begun is begun.
        self._threads.shutdown(wait=False, cancel_futures=True)
        for helper in self._helpers:
            helper.end()
        self._threads.shutdown(wait=True)

    def starmap(self, function: Callable[..., Any], items: Iterable[tuple]) -> Iterator[Any]:
        """``function(*item)`` for every item, in order; a few items and results at a time are in memory.

        Args:
            function: of a module, so that a helper can import it; its results depend on its arguments alone.
            items: tuples that can be pickled.
        """
        return self._in_order(self._ask, ((function, *item) for item in items))

    def map_here(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """``function(item)`` for every item, in order, in threads: for work that lets go of the lock."""
        return self._in_order(function, ((item,) for item in items))

    def _in_order(self, function: Callable[..., Any], calls: Iterable[tuple]) -> Iterator[Any]:
        waiting: deque[Future] = deque()
        for call in calls:
            waiting.append(self._threads.submit(function, *call))
            if len(waiting) > 2 * self._size:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _result(self, future: Future) -> Any:
        while not wait([future], POLL_S).done:
            self._heartbeat()
        return future.result()

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result, from a helper if there is one that answers."""
        helper = self._idle.get()
        try:
            if helper is not None:
                return helper.ask(function, arguments)
        except _Lost:
            helper = None
        finally:
            self._idle.put(helper)
        return function(*arguments)


class _Lost(Exception):
    """A helper gives no answer, or one that is none."""


class _Helper:
    """A process that computes what it is asked."""

    def __init__(self) -> None:
        hidden: dict[str, Any] = {}
        if sys.platform == "win32":
            hidden["creationflags"] = subprocess.CREATE_NO_WINDOW
        command = [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, str(Path(__file__).with_name("launch.py"))]
        settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | _KEEP_MEMORY
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        with contextlib.suppress(OSError, TypeError):  # there may be no executable: None
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=os.environ | settings, **hidden,
            )  # fmt: skip

    def ask(self, function: Callable[..., Any], arguments: tuple) -> Any:
        """The result of a call. Raises `_Lost`."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise _Lost
        try:
            pickle.dump((function, arguments), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            done, answer = pickle.load(self._process.stdout)  # noqa: S301 - our own process wrote it
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            if self._ended:
                raise  # nobody waits for this any more
            raise _Lost from error
        if not done:
            raise _Lost  # computed again here, it raises the error where it can be seen
        return answer

    def end(self) -> None:
        """End the process at once."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()


def usable_cores() -> int:
    """Cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def serve() -> None:
    """In a helper: answer calls until the input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    calls: queue.SimpleQueue[tuple[Callable[..., Any], tuple]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, calls), daemon=True).start()
    while True:
        function, arguments = calls.get()
        try:
            answer = True, function(*arguments)
        except Exception:  # whatever it is, it is for the process that asked
            answer = False, None
        del arguments
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()
        del answer


def _read(requests: BinaryIO, calls: queue.SimpleQueue) -> None:
    """Pass calls on; end the process with its input, whatever it is at."""
    try:
        while True:
            calls.put(pickle.load(requests))  # noqa: S301 - from the process that started this one
    except BaseException:
        os._exit(0)
