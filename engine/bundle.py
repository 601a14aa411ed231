"""Trained networks to a model package: calibrated scores, honest figures, a card a person can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..models.package import ModelPackage, write_package
from .calibration import score_exponent
from .config import BundleConfig
from .errors import TrainingError
from .progress import Reporter

PIXEL_RANGE = (0.2, 4.7)  # native ground pixels the package accepts, times the pixel it was trained at
TILE_PX, OVERLAP_PX = 1024, 208  # 31 m at 0.15 m: nearly every building is whole in one of the tiles
COLUMNS = ("AP", "AP50", "AP75", "precision", "recall", "F1")


def bundle(config: BundleConfig, reporter: Reporter) -> dict[str, Any]:
    """Write the package and its card; returns ``output``, ``hash`` and ``metrics``.

    Raises:
        TrainingError: a checkpoint is missing or the chips have no validation split.
    """
    import torch

    from ..models.detector import build_detector
    from ..models.detector.mask_rcnn import ARCHITECTURES
    from ..models.device import pick_bfloat16, pick_device
    from .training.checkpoint import load_checkpoint
    from .training.chips import load_chips
    from .training.validate import validate_detector

    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    state = _require(load_checkpoint(Path(config.detector)), config.detector)
    architecture, pixel_m = state.get("architecture", "compact"), float(state.get("pixel_m", 0.2))
    weights = state["average"] if "average" in state else state["model"]
    parameters = ARCHITECTURES[architecture]
    networks = {"detector": (architecture, parameters, weights)}
    refiner_metrics: dict[str, Any] = {}
    if config.refiner:
        refined = _require(load_checkpoint(Path(config.refiner)), config.refiner)
        networks["refiner"] = (refined["architecture"], refined["parameters"], refined["weights"])
        refiner_metrics = {"validation": refined.get("validation", {})}

    device = pick_device("auto")
    model = build_detector(architecture, parameters).to(device, memory_format=torch.channels_last)
    model.load_state_dict(weights)
    chips = [c for folder in config.chips for c in load_chips(folder) if c.split in ("val", "test")]
    figures: dict[str, Any] = {}
    exponent = 1.0
    if chips:
        run = {"pixel_m": pixel_m, "bfloat16": pick_bfloat16(device, "auto"), "reporter": reporter}
        validation = [c for c in chips if c.split == "val"]
        if not validation:
            raise TrainingError("The chips hold no validation split", "Export chips with one")
        best = validate_detector(model, validation, **run)["all"]["best_score"]
        exponent = score_exponent(best)
        for split in ("val", "test"):
            part = [c for c in chips if c.split == split]
            if part:
                reporter.log(f"Evaluating {len(part)} chips of split {split}")
                figures[split] = validate_detector(model, part, score_threshold=best, **run)
        unseen = [c for c in chips if c.split == "test" and c.source in config.unseen]
        if unseen:
            figures["unseen"] = validate_detector(model, unseen, score_threshold=best, **run)
    package = write_package(
        config.output, name=config.name, pixel_m=pixel_m, networks=networks,
        training={"notes": list(config.notes), "steps": state.get("step"), "seconds": state.get("seconds")},
        metrics={"detector": figures, "refiner": refiner_metrics},
        tile_size_px=TILE_PX, overlap_px=OVERLAP_PX, score_exponent=round(exponent, 4),
        pixel_range_m=[round(pixel_m * f, 4) for f in PIXEL_RANGE],
    )  # fmt: skip
    Path(config.output).with_suffix(".md").write_text(describe(package, config.unseen), encoding="utf-8")
    return {"output": config.output, "hash": package.hash, "metrics": package.manifest["metrics"]}


def _require(state: dict[str, Any] | None, path: str) -> dict[str, Any]:
    if state is None:
        raise TrainingError(f"The checkpoint {path} does not exist", "Train first, or correct the path")
    return state


def describe(package: ModelPackage, unseen: tuple[str, ...]) -> str:
    """The card as Markdown: what it is, what it was trained on, what it is worth where."""
    manifest = package.manifest
    lines = [
        f"# Model package `{manifest['name']}`", "",
        f"Made {manifest['date']}, SHA-256 of the manifest `{package.hash}`.", "",
        f"Input: 8-bit RGB, resampled to {manifest['pixel_m']:g} m on the ground "
        f"(rasters of {manifest['pixel_range_m'][0]:g} to {manifest['pixel_range_m'][1]:g} m are accepted). "
        "Class: building.", "",
        *(f"- {note}" for note in manifest["training"]["notes"]), "",
    ]  # fmt: skip
    figures = manifest["metrics"]["detector"]
    if figures:
        lines += [
            "Masks of the detector alone (no refiner, no regularisation), IoU-based, whole test images; precision, "
            "recall and F1 at the one default score threshold, IoU 0.5.", "",
            "| split | place | buildings | " + " | ".join(COLUMNS) + " |",
            "|---|---|---|" + "---|" * len(COLUMNS),
        ]  # fmt: skip
        if "unseen" in figures:
            lines.append(_row("test", "**all unseen places**", figures["unseen"]["all"]))
        rest = figures.get("test", {})
        names = [n for n in unseen if n in rest] + sorted(n for n in rest if n not in (*unseen, "all"))
        lines += [_row("test", n + (" (unseen)" if n in unseen else ""), rest[n]) for n in names]
        if rest:
            lines.append(_row("test", "all", rest["all"]))
        lines += [_row("val", n, f) for n, f in sorted(figures.get("val", {}).items())]
        lines.append("")
    return "\n".join(lines)


def _row(split: str, place: str, figures: dict[str, float]) -> str:
    values = " | ".join(f"{figures[c]:.3f}" for c in COLUMNS)
    return f"| {split} | {place} | {figures['truths']} | {values} |"
