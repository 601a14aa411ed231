"""What a virtual raster may refer to: files, and nothing that would make the engine wait for ever."""

from __future__ import annotations

import html
import re
from pathlib import Path

from ..errors import RasterError

_MAX_TEXT_BYTES = 2**26
_MAX_FILES = 10_000
_SOURCE = re.compile(r"<Source(?:Filename|Dataset)([^>]*)>([^<]*)<", re.IGNORECASE)


def check_sources(path: str) -> None:
    """Follow a virtual raster to its sources, and through virtual rasters among them.

    A source that is no file (a pipe, a device, the standard input, which carries the engine's orders) would
    block GDAL or feed on what is not meant for it.

    Raises:
        RasterError: there is such a source, or the text is beyond all measure.
    """
    waiting, seen = [Path(path)], set()
    while waiting:
        file = waiting.pop()
        if file in seen or not is_vrt(file):
            continue
        seen.add(file)
        if len(seen) > _MAX_FILES or file.stat().st_size > _MAX_TEXT_BYTES:
            raise RasterError(f"{path} is too large for a virtual raster", "Make a mosaic of fewer files")
        text = html.unescape(file.read_text(encoding="utf-8", errors="replace"))
        if "/vsistdin" in text.lower():
            raise RasterError(f"{path} reads from the standard input", "Give a raster made of files")
        for options, name in _SOURCE.findall(text):
            relative = re.search(r"relativeToVRT\s*=\s*[\"']?1", options) is not None
            source = file.parent / name.strip() if relative else Path(name.strip())
            if _is_special(source):
                raise RasterError(f"{path} refers to {source}, which is no file", "Give a raster made of files")
            waiting.append(source)


def is_vrt(file: Path) -> bool:
    """Whether a file is the description of a virtual raster."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return b"<VRTDataset" in stream.read(4096)
    except (OSError, ValueError):
        return False


def _is_special(file: Path) -> bool:
    try:
        return file.exists() and not (file.is_file() or file.is_dir())
    except (OSError, ValueError):
        return False
