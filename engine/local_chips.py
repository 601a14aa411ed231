"""Orthophotos and outlines of one's own to training chips, once: a run that goes on finds them there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from .config import ExportConfig, chip_pixel_m
from .export import export_chips
from .progress import Reporter


class Local(Protocol):
    """A configuration that names orthophotos and outlines; see `ExportConfig`."""

    @property
    def rasters(self) -> tuple[str, ...]: ...
    @property
    def crs(self) -> tuple[str, ...]: ...
    @property
    def annotations(self) -> str: ...
    @property
    def area(self) -> str: ...
    @property
    def val_share(self) -> float: ...
    @property
    def seed(self) -> int: ...


def export_local(config: Local, target: Path, pixel_m: float, reporter: Reporter, **settings: Any) -> dict[str, Any]:
    """Make sure that the chip folder `target` is there; returns the report of its export.

    Args:
        pixel_m: ground pixel the model works at.
        settings: further fields of `ExportConfig`.

    Raises:
        EngineError: as `export_chips`.
    """
    if not (target / "annotations.json").exists():
        export_chips(
            ExportConfig(
                rasters=config.rasters, crs=config.crs, annotations=config.annotations, area=config.area,
                val_share=config.val_share, seed=config.seed, output_folder=str(target), pixel_m=chip_pixel_m(pixel_m),
                **settings,
            ),
            reporter,
        )  # fmt: skip
    report: dict[str, Any] = json.loads((target / "report.json").read_text(encoding="utf-8"))
    return report
