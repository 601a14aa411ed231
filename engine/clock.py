"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds per stage. Stages that run side by side each have all of theirs, so that their sum may be more than
    the whole."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as `name`; one thread for a name."""
        start = time.monotonic()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - start

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._start

    def rounded(self) -> dict[str, float]:
        """Stages to hundredths of a second."""
        return {name: round(seconds, 2) for name, seconds in self.stages.items()}
