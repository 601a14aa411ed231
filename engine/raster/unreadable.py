"""The blocks of a raster that could not be read and were left out, kept over interruptions."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from ..contracts import Box
from ..errors import JobFolderError

_MAX_BYTES = 2**26


class UnreadableBlocks:
    """Boxes of native pixels, each once. Calls may come from any thread."""

    def __init__(self) -> None:
        self._boxes: set[Box] = set()
        self._file: Path | None = None
        self._lock = threading.Lock()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """All of them, in order of place, whatever the order they were met in."""
        with self._lock:
            return tuple(sorted(self._boxes, key=lambda box: (box[1], box[0], box[3], box[2])))

    def add(self, box: Box) -> None:
        """Note a box; once a file is kept, it is on the disk before this returns. Raises `JobFolderError`."""
        with self._lock:
            if box not in self._boxes:
                self._boxes.add(box)
                self._append([box])

    def keep(self, file: Path) -> None:
        """Take in what `file` holds, and write there what is known and what is still to come.

        The file has one JSON list per line; a last line torn by a crash is passed over, because the tile it
        was met in is read again.

        Raises:
            JobFolderError: the file cannot be read or written.
        """
        with self._lock:
            earlier = _read(file)
            self._file = file
            self._append(sorted(self._boxes - earlier))
            self._boxes |= earlier

    def _append(self, boxes: Sequence[Box]) -> None:
        if self._file is None or not boxes:
            return
        text = "".join(f"\n{json.dumps(box)}\n" for box in boxes)  # leading break: a torn line stays alone
        try:
            with self._file.open("a", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise JobFolderError(
                f"{self._file} cannot be written ({error.strerror})",
                "Free some space and run again with the same job folder to continue",
            ) from error


def _read(file: Path) -> set[Box]:
    try:
        if not file.exists():
            return set()
        if file.stat().st_size > _MAX_BYTES:
            raise JobFolderError(f"{file} is larger than anything the engine writes", "Choose another job folder")
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise JobFolderError(f"{file} cannot be read ({error.strerror})", "Choose another job folder") from error
    found = set()
    for line in lines:
        try:
            values = json.loads(line)
            if len(values) == 4 and all(type(value) is int for value in values):
                found.add(tuple(values))
        except (ValueError, TypeError, RecursionError):
            continue
    return found
