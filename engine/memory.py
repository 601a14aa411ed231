"""Memory that is free goes back to the system before a stage that needs much of another kind."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def give_back() -> None:
    """Return what is free. glibc keeps what was freed in small pieces, such as the networks' intermediate results;
    other C libraries have no such call, and nothing happens there."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
