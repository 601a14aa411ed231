"""Checkpoints that survive a kill: written beside, then renamed over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import TrainingError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically. Raises `TrainingError` on a full disk."""
    temporary = path.with_suffix(".tmp")
    try:
        torch.save(state, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"The checkpoint {path} cannot be written ({error})",
            "Free some disk space and run again; training continues from the last checkpoint",
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None when there is none. Raises `TrainingError` when it is damaged."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen unrelated types
        raise TrainingError(
            f"The checkpoint {path} is damaged ({type(error).__name__})", "Delete it to start training anew"
        ) from error
