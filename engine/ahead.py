"""Work done ahead in a thread: the next items are made while the last one is used. Standard library only."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
    """The same items in the same order, made in a thread.

    Args:
        items: consumed in the thread; what it raises is raised here.
        depth: how many items may wait.

    Ends the thread when the consumer stops early.
    """
    ready: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    end = object()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stop.is_set():
                    return
            put((end, None))
        except BaseException as error:  # handed to the consumer, which raises it
            put((end, error))
        finally:
            if isinstance(items, Generator):
                items.close()  # here, where it was running

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    try:
        thread.start()
    except RuntimeError as reason:
        raise MemoryError("no room for another thread") from reason
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        thread.join()
