"""Where a job works until it is complete, and what becomes of that folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..engine.errors import EngineError, JobFolderError
from ..engine.job_folder import require_plain
from ..plugin.about import version
from .algorithm import profile_folder
from .engine_process import Feedback, JobFailed

_REFUSED = {"InvalidParameter", "RasterError", "VectorError", "AreaOutside", "ModelPackageError"}
"""Kinds of error after which there is nothing to continue, unless the work had begun."""


def fingerprint(config: dict[str, Any], *files: str) -> str:
    """16 hexadecimal digits that are the same for the same parameters, files and software."""
    state: list[Any] = [version(), config]
    for name in files:
        try:
            status = os.stat(name)
            state.append([name, status.st_size, status.st_mtime_ns])
        except (OSError, ValueError):
            state.append([name])
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def job_folder(given: str, mark: str, feedback: Feedback) -> Iterator[Path]:
    """Give the folder a job works in: `given`, or one in the QGIS profile that is named by `mark`.

    The one in the profile is removed when the job is complete. When it fails or is cancelled, the
    folder stays, and the log says that running the same again goes on from there.

    Raises:
        JobFolderError: it cannot be made, or holds links to other places.
    """
    folder = Path(given) if given else profile_folder() / "jobs" / mark
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobFolderError(
            f"The job folder {folder} cannot be made ({error.strerror})", "Choose another one"
        ) from error
    require_plain(folder)
    try:
        yield folder
    except EngineError as error:
        kind = error.kind if isinstance(error, JobFailed) else type(error).__name__
        if kind in _REFUSED and not any(folder.rglob("journal.sqlite")):
            _remove(folder, given)
        elif kind == "JobFolderError" and not given and re.search("another job|has left out", error.what):
            # Its raster changed behind an unchanged name, as the sources of a VRT can, or was mended since.
            _remove(folder, given)
            raise JobFolderError("What an earlier run left does not fit any more", "Run it again") from error
        else:
            feedback.pushInfo(f"Work done so far is kept in {folder}; the same run again continues it")
        raise
    _remove(folder, given)


def _remove(folder: Path, given: str) -> None:
    """Remove a folder of ours; the user's own stays."""
    if not given:
        shutil.rmtree(folder, ignore_errors=True)
