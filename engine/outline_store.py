"""Raw outlines that wait for the geometry stages, on the disk: nothing else piles up with the raster."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import shapely

from .contracts import Outline
from .errors import JobFolderError

_NOTHING = shapely.Polygon()


class OutlineStore:
    """Outlines in the order in which they were added, in a nameless file that ends with the process.

    Geometry comes back to the last bit. In memory an outline takes twice to three times its bytes in the file.
    Use as a context manager.

    Args:
        folder: the job folder, which has room for such things.

    Raises:
        JobFolderError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = folder
        self._heads: list[Outline] = []
        self._sizes: list[int] = []
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the store
        except OSError as error:
            raise self._explain(error) from error

    def __enter__(self) -> OutlineStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._heads)

    def add(self, outlines: Sequence[Outline]) -> None:
        """Put outlines away. Raises `JobFolderError` when the disk is full."""
        if not outlines:
            return
        packed = shapely.to_wkb(np.array([o.geometry for o in outlines], object))
        try:
            self._file.write(b"".join(packed))
            self._file.flush()
        except OSError as error:
            raise self._explain(error) from error
        self._heads += [replace(o, geometry=_NOTHING) for o in outlines]
        self._sizes += map(len, packed)

    def take(self) -> list[Outline]:
        """All outlines, sorted by id. Raises `JobFolderError` if they cannot be read."""
        found = []
        try:
            self._file.seek(0)
            for head, size in zip(self._heads, self._sizes, strict=True):
                found.append(replace(head, geometry=shapely.from_wkb(self._file.read(size))))
        except (OSError, shapely.GEOSException) as error:
            raise self._explain(error) from error
        return sorted(found, key=_order)

    def _explain(self, error: Exception) -> JobFolderError:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return JobFolderError(
                f"The disk of the job folder {self._folder} is full",
                "Free some space and run again with the same job folder to continue",
            )
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        return JobFolderError(
            f"Outlines cannot be kept in the job folder {self._folder} ({reason})",
            "Check the folder and its drive, then run again with the same job folder",
        )


def _order(outline: Outline) -> tuple[str, int]:
    """By instance, then by part."""
    name, _, part = outline.id.partition("-")
    return name, int(part or 1)
