"""The manifest of a model package: read from a folder or zip, and checked before anything is built from it.

Standard library only, because the QGIS side reads manifests too.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine.errors import ModelPackageError

FORMAT = 1
MANIFEST = "model.json"
BUNDLED = Path(__file__).resolve().parent.parent / "resources" / "models" / "bundled.zip"
NETWORKS = ("detector", "refiner", "segmenter")

_MAX_BYTES = 4 << 20
_MAX_NUMBER = 4096
_MAX_SUM = 50_000  # of all numbers in the parameters of a network; the largest known one has 3,000
_MAX_DEPTH = 4


Reader = Callable[[str, int], bytes]
"""Reads one plainly named file of a package, of at most so many bytes."""


def open_manifest(path: str | Path = "") -> tuple[Path, dict[str, Any], str, Reader]:
    """Read and check the manifest of a package; of the bundled one for an empty path.

    Returns:
        Where the package is, its manifest, the SHA-256 of that, and a reader for the other files.

    Raises:
        ModelPackageError: missing, not a package, of another format, or not to be relied upon.
    """
    path = Path(path) if path else BUNDLED
    read = _reader(path)
    data = read(MANIFEST, _MAX_BYTES)
    try:
        manifest = _parse(data)
        if manifest["format"] != FORMAT:
            raise ModelPackageError(
                f"Model package {path} has format {manifest['format']!r}, this version reads {FORMAT}",
                "Update the plugin or choose another package",
            )
        _check_manifest(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelPackageError(
            f"{MANIFEST} of model package {path} is damaged ({error!r})", "Get the package again from where it came"
        ) from error
    return path, manifest, hashlib.sha256(data).hexdigest(), read


def _parse(data: bytes) -> dict[str, Any]:
    """JSON to a mapping. Raises ValueError or TypeError for anything else, however deep or odd."""
    try:
        manifest = json.loads(data, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(manifest, dict):
        raise TypeError("it is no mapping")
    return manifest


def _check_manifest(manifest: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError for a manifest that cannot be relied upon."""
    name = manifest["name"]
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise TypeError("name")
    _check_number(manifest, "pixel_m", 0.01, 10.0)
    if manifest["bands"] != 3:
        raise ValueError("bands")
    for key, low, high in (("tile_size_px", 64, 4096), ("overlap_px", 0, 2048)):
        if key in manifest:
            _check_number(manifest, key, low, high, kinds=(int,))
    if manifest.get("looks", 1) not in (1, 2, 4):
        raise ValueError("looks")
    if manifest.get("overlap_px", 0) * 2 > manifest.get("tile_size_px", 4096):
        raise ValueError("overlap_px")
    for key, least, most in (("score_threshold", 0.0, 1.0), ("score_exponent", 0.001, 100.0)):
        if key in manifest:
            _check_number(manifest, key, least, most)
    if "pixel_range_m" in manifest:
        low_m, high_m = manifest["pixel_range_m"]
        _check_number({"pixel_range_m": low_m}, "pixel_range_m", 0.0, 100.0)
        _check_number({"pixel_range_m": high_m}, "pixel_range_m", low_m, 1e6)
    for key in ("training", "metrics"):
        if not isinstance(manifest.get(key, {}), dict):
            raise TypeError(key)
    for network in NETWORKS:
        if manifest.get(network) is not None:
            _check_network(network, manifest[network])


def _check_network(network: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise TypeError(network)
    if not isinstance(entry["architecture"], str) or not isinstance(entry["parameters"], dict):
        raise TypeError(network)
    sha256, file = entry["sha256"], entry["file"]
    if not isinstance(sha256, str) or len(sha256) != 64:
        raise ValueError(f"sha256 of {network}")
    if not isinstance(file, str) or Path(file).name != file or "\\" in file or not file.endswith(".safetensors"):
        raise ValueError(f"file of {network}")
    if _sum(entry["parameters"], _MAX_DEPTH) > _MAX_SUM:
        raise ValueError(f"parameters of {network} are beyond all measure")


def _check_number(
    values: dict[str, Any], key: str, low: float, high: float, *, kinds: tuple[type, ...] = (int, float)
) -> None:
    value = values[key]
    if type(value) not in kinds or not low <= value <= high:
        raise ValueError(key)


def _sum(value: Any, depth: int) -> float:
    """Sum of the sizes of all numbers inside. Raises ValueError for one that is too large, or nesting too deep."""
    if isinstance(value, (dict, list)):
        if depth == 0:
            raise ValueError("parameters are nested too deeply")
        return sum(_sum(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= _MAX_NUMBER):
        raise ValueError(f"parameter {value!r}")
    return abs(value) if isinstance(value, (int, float)) else 1.0


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _reader(path: Path) -> Reader:
    """A function reading one plainly named file of the package, bounded in size; nothing is unpacked."""

    def refuse(what: str, error: Exception | None = None) -> ModelPackageError:
        return ModelPackageError(
            f"{path} {what}" + (f" ({error})" if error else ""),
            "Choose a model package: a .zip, or a folder with model.json and its weights",
        )

    def read(name: str, limit: int) -> bytes:
        try:
            if path.is_dir():
                file = path / name
                if not file.resolve().is_relative_to(path.resolve()):
                    raise refuse(f"has {name} outside its folder")
                return _read_file(file, limit)
            if not stat.S_ISREG(path.stat().st_mode):
                raise refuse("is no file")
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(name).file_size > limit:
                    raise _TooLarge(name)
                return archive.read(name)  # no more than what is claimed
        except _TooLarge as error:
            raise refuse(f"claims {name} larger than {limit} bytes") from error
        except FileNotFoundError as error:
            raise refuse(f"holds no {name}" if path.is_dir() else "does not exist") from error
        except KeyError as error:
            raise refuse(f"holds no {name}") from error
        except _BROKEN as error:
            raise refuse("is no readable model package", error) from error

    return read


def _read_file(file: Path, limit: int) -> bytes:
    """All of a plain file. Raises `_TooLarge`, OSError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{file.name} is no file")
    if status.st_size > limit:
        raise _TooLarge(file.name)
    return file.read_bytes()


class _TooLarge(Exception):
    """A file of a package is larger than any such file may be."""


_BROKEN = (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
           ValueError)  # fmt: skip
"""What zipfile raises for damaged archives."""
