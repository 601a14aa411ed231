"""Events a job sends while it works: progress, log lines, one result or one error.

Standard library only. A job gets a `Reporter` and never prints; where the events go (JSON lines to
QGIS, a terminal, nowhere) is the caller's choice.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .errors import Cancelled


class Reporter:
    """Receives a job's events and carries the wish to cancel back to it. This one stays silent."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._low, self._high = 0.0, 1.0

    def emit(self, event: str, **fields: Any) -> None:
        """Send one event; subclasses decide where to."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Report the share of the running stage that is done, 0 to 1. Raises `Cancelled`."""
        self.check()
        fraction = min(max(fraction, 0.0), 1.0)
        overall = self._low + fraction * (self._high - self._low)
        self.emit("progress", fraction=round(overall, 5), message=message)

    def log(self, message: str, level: str = "info") -> None:
        """Report a line for the log; `level` is ``info`` or ``warning``."""
        self.emit("log", message=message, level=level)

    def warn(self, message: str) -> None:
        """Report something the user should know although the job goes on."""
        self.log(message, level="warning")

    def cancel(self) -> None:
        """Ask the job to stop at its next check. Safe from any thread."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop."""
        if self._cancelled.is_set():
            raise Cancelled

    @contextmanager
    def span(self, low: float, high: float) -> Iterator[Reporter]:
        """Map the progress reported inside the block onto ``[low, high]`` of the current span."""
        outer = self._low, self._high
        width = outer[1] - outer[0]
        self._low, self._high = outer[0] + low * width, outer[0] + high * width
        try:
            yield self
        finally:
            self._low, self._high = outer


class JsonLinesReporter(Reporter):
    """Writes each event as one JSON line, ``{"event": ..., ...}``; the protocol QGIS reads."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **fields}, ensure_ascii=True, allow_nan=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class ConsoleReporter(Reporter):
    """Writes events for a person at a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr

    def emit(self, event: str, **fields: Any) -> None:
        if event == "progress":
            text = f"{fields['fraction']:6.1%}  {fields['message']}"
        elif event == "log":
            text = ("warning: " if fields["level"] == "warning" else "") + fields["message"]
        else:
            return
        print(text, file=self._stream, flush=True)
