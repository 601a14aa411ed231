"""What a manifest may say: everything the software relies on, within bounds, before anything is built from it.

Standard library only, because the QGIS side reads manifests too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

NETWORKS = ("detector", "refiner", "segmenter")

_MAX_NUMBER = 4096
_MAX_SUM = 50_000  # of all numbers in the parameters of a network; the largest known one has 3,000
_MAX_DEPTH = 4


def read_manifest(data: bytes) -> dict[str, Any]:
    """JSON to a mapping. Raises ValueError or TypeError for anything else, however deep or odd."""
    try:
        manifest = json.loads(data, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(manifest, dict):
        raise TypeError("it is no mapping")
    return manifest


def check_manifest(manifest: dict[str, Any]) -> None:
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
