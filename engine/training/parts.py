"""The state of a training in half precision and in files small enough to be handed over."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from ..errors import TrainingError

PART_BYTES = 15_000_000  # under 16 MB with room for whoever counts in other megabytes
INDEX = "state.json"


def write_parts(folder: Path, state: dict[str, Any], *, notes: dict[str, Any] | None = None) -> None:
    """Write ``state.000`` and so on, and ``state.json`` with their hash and `notes`.

    Weights become float16, what the optimiser remembers bfloat16: squares of gradients need its range.

    Raises:
        TrainingError: the disk is full.
    """
    buffer = io.BytesIO()
    torch.save(_halve(state, torch.float16), buffer)
    data = buffer.getvalue()
    count = -(-len(data) // PART_BYTES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("state.*"):
            old.unlink()
        for index in range(count):
            part = data[index * PART_BYTES : (index + 1) * PART_BYTES]
            (folder / f"state.{index:03d}").write_bytes(part)
        entry = {"parts": count, "sha256": hashlib.sha256(data).hexdigest(), **(notes or {})}
        (folder / INDEX).write_text(json.dumps(entry))
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written ({error.strerror})", "Free some disk space") from error


def read_parts(folder: Path) -> dict[str, Any]:
    """The state in single precision. Raises `TrainingError` when a part is missing or damaged."""
    try:
        entry = json.loads((folder / INDEX).read_text())
        data = b"".join((folder / f"state.{index:03d}").read_bytes() for index in range(entry["parts"]))
        known = hashlib.sha256(data).hexdigest() == entry["sha256"]
    except FileNotFoundError as error:
        raise TrainingError(f"{Path(error.filename).name} is missing in {folder}", "Fetch all its parts") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{INDEX} in {folder} is damaged ({error})", "Fetch it again") from error
    if not known:
        raise TrainingError(f"The parts in {folder} are damaged or of different states", "Fetch all of them again")
    return _widen(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))


def _halve(value: Any, kind: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().to(kind) if value.dtype == torch.float32 and value.ndim else value.detach().cpu()
    if isinstance(value, dict):
        return {k: _halve(v, torch.bfloat16 if k in ("optimizer", "adversary") else kind) for k, v in value.items()}
    return type(value)(_halve(v, kind) for v in value) if isinstance(value, (list, tuple)) else value


def _widen(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {k: _widen(v) for k, v in value.items()}
    return type(value)(_widen(v) for v in value) if isinstance(value, (list, tuple)) else value
