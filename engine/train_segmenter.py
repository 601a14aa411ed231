"""Outlines or chips to a model package with a segmenter: SegGAN if wanted, training, calibrated scores, package."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.package import ModelPackage, open_package, write_package
from .bundle import OVERLAP_PX, PIXEL_RANGE, TILE_PX
from .calibration import raw_score, score_exponent
from .config import TrainDetectorConfig, TrainSegmenterConfig
from .errors import InvalidParameter, TrainingError
from .job_folder import claim
from .local_chips import export_local
from .output import write_text
from .progress import Reporter
from .segmenter_report import write_report
from .training_page import Measurement, draw_chips

if TYPE_CHECKING:
    from .training.average_precision import MatchCollector
    from .training.chips import Chip

PIXEL_M = 0.2  # ground pixel of a segmenter from scratch
MARK = "segmenter.json"
DATA_SHARE, GAN_SHARE = 0.05, 0.3  # of the progress bar
_NOT_OF_THE_RUN = ("output", "work_folder", "figures", "report", "name", "minutes", "steps", "validate_every", "device",
                   "precision", "threads")  # fmt: skip
_KEPT = ("tile_size_px", "overlap_px", "looks", "pixel_range_m")


def train_segmenter(config: TrainSegmenterConfig, reporter: Reporter) -> dict[str, Any]:
    """Train, or continue, and write the package. The weights that training starts from are measured, too, and stay
    if nothing beats them.

    Returns:
        ``output``, ``model``, ``model_hash``, ``steps``, ``figures`` and ``report`` (paths), figures of the ``pixels``
        and of the buildings (``instances``) on the validation chips, ``start`` (of the pixels before; None from
        scratch), ``score_exponent``.

    Raises:
        ModelPackageError: the base cannot be used. TrainingError: the data cannot.
        JobFolderError: the work folder belongs to another run.
        Cancelled: by the reporter; the work so far is saved.
    """
    config.validate()
    import torch

    from ..models.segmenters import build_segmenter
    from .segment import segment
    from .training.checkpoint import load_checkpoint
    from .training.log import read_log
    from .training.seggan import GanSettings
    from .training.segmenter import SegmenterTrainer

    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    base = open_package(config.base) if config.base else None
    parameters, weights = start(None if config.from_scratch else base, config.architecture)
    pixel_m = config.pixel_m or (float(base.manifest["pixel_m"]) if base else PIXEL_M)
    folder = Path(config.work_folder)
    settings = {k: v for k, v in config.to_dict().items() if k not in _NOT_OF_THE_RUN}
    claim(folder, MARK, {"base_hash": base.hash if base else "", **settings})
    chips, exported = config.chips, {}
    if config.rasters:
        with reporter.span(0.0, DATA_SHARE):
            exported = export_local(config, folder / "chips", pixel_m, reporter)
        chips = (str(folder / "chips"), *chips)
    trainer = SegmenterTrainer(
        detector_config(config, chips, pixel_m), reporter, weights, parameters=parameters,
        gan=GanSettings(config.gan_steps, config.lambda_content, config.lambda_adversarial, config.gan_width,
                        config.gan_learning_rate),
    )  # fmt: skip
    trainer.load_data()
    if not trainer.validation:
        raise TrainingError("The chips hold no validation split", "Export chips with one")
    before = trainer.measure_start() if weights is not None else None
    with reporter.span(DATA_SHARE, GAN_SHARE if config.gan_steps else DATA_SHARE):
        trainer.train_gan()
    with reporter.span(GAN_SHARE if config.gan_steps else DATA_SHARE, 0.95):
        trainer.run()
    best = load_checkpoint(trainer.folder / "best.pt")
    if best is None:
        raise TrainingError(f"{trainer.folder} holds no measured weights", "Choose another work folder")
    model = build_segmenter(config.architecture, parameters)
    model.load_state_dict(best["model"])
    model.to(trainer.device)
    found = collect_instances(
        model, trainer.validation, pixel_m=pixel_m, bfloat16=trainer.bfloat16, reporter=reporter
    )
    pooled = found.pop("all")
    exponent = round(score_exponent(pooled.figures()["best_score"]), 4)
    threshold = raw_score(exponent)
    instances = pooled.figures(threshold)
    package = _write(config, base, parameters, best, instances, exponent, pixel_m, trainer.step)
    facts = {
        "output": config.output, "model": package.name, "model_hash": package.hash, "steps": trainer.step,
        "start": before, "pixels": best["figures"], "instances": instances, "score_exponent": exponent,
    }  # fmt: skip
    if config.figures:
        write_text(Path(config.figures), json.dumps({**facts, "settings": config.to_dict()}, indent=1))
    if config.report:
        by_chip = {name: c.figures(threshold)["F1"] for name, c in found.items() if c.truths}
        buildings = Measurement(instances, pooled, threshold, exponent, by_chip)
        pictures = draw_chips(
            model, trainer.validation, buildings, pixel_m=pixel_m, bfloat16=trainer.bfloat16, find=segment
        )
        log = list(read_log(trainer.folder / "log.jsonl"))
        write_text(Path(config.report), write_report(facts, log, buildings, exported, pictures))
    return {**facts, "figures": config.figures, "report": config.report}


def start(base: ModelPackage | None, architecture: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Parameters and weights to start from; none of either from scratch.

    Raises:
        InvalidParameter: the base is of another architecture.
    """
    if base is None:
        return {}, None
    from ..models.detector.mask_rcnn import ARCHITECTURES
    from ..models.segmenters.compact import PARAMETERS, take_over

    kind = "segmenter" if base.has_segmenter else "detector"
    entry = base.entry(kind)
    if base.has_segmenter and entry["architecture"] == architecture:
        return entry["parameters"], base.weights("segmenter")
    if base.has_segmenter or architecture != "compact":
        raise InvalidParameter(
            f"The base model {base.path.name} holds a {kind} of the architecture {entry['architecture']}, from which "
            f"no {architecture} segmenter can start", "Choose another base model, or train from scratch",
        )  # fmt: skip
    known = {**ARCHITECTURES.get(entry["architecture"], {}), **entry["parameters"]}
    return {name: known[name] for name in PARAMETERS if name in known}, take_over(base.weights("detector"))


def detector_config(config: TrainSegmenterConfig, chips: tuple[str, ...], pixel_m: float) -> TrainDetectorConfig:
    """The same training as of a detector, as far as it is the same."""
    training = TrainDetectorConfig(
        chips=chips, work_folder=config.work_folder, architecture=config.architecture, pixel_m=pixel_m,
        crop_px=config.crop_px, scale_min=config.scale_min, scale_max=config.scale_max, steps=config.steps,
        minutes=config.minutes, batch_size=config.batch_size, learning_rate=config.learning_rate,
        weight_decay=config.weight_decay, copy_paste=config.copy_paste, source_weights=config.source_weights,
        validate_every=config.validate_every, device=config.device, precision=config.precision,
        threads=config.threads, seed=config.seed,
    )  # fmt: skip
    if not config.is_untrained:
        training.validate()
    return training


def collect_instances(
    model: Any, chips: Sequence[Chip], *, pixel_m: float, bfloat16: bool, reporter: Reporter | None = None
) -> dict[str, MatchCollector]:
    """What a segmenter finds on whole chips, matched with the truth, by the chip's name and pooled (``all``)."""
    from .segment import segment
    from .training.validate import match_chips

    return match_chips(
        model, lambda image: segment(model, image, bfloat16=bfloat16)[0], chips, pixel_m=pixel_m,
        group=lambda chip: chip.name, reporter=reporter,
    )  # fmt: skip


def _write(
    config: TrainSegmenterConfig, base: ModelPackage | None, parameters: dict[str, Any], best: dict[str, Any],
    instances: dict[str, float], exponent: float, pixel_m: float, steps: int,
) -> ModelPackage:  # fmt: skip
    """Write the package, with the base's refiner and notes."""
    networks = {"segmenter": (config.architecture, parameters, best["model"])}
    settings: dict[str, Any]
    if base is None:
        settings = {"tile_size_px": TILE_PX, "overlap_px": OVERLAP_PX, "pixel_range_m": _times(PIXEL_RANGE, pixel_m)}
    else:
        settings = {key: base.manifest[key] for key in _KEPT if key in base.manifest}
        if "pixel_range_m" in settings:
            change = pixel_m / float(base.manifest["pixel_m"])
            settings["pixel_range_m"] = _times(settings["pixel_range_m"], change)
    notes: list[str] = []
    if base is not None:
        notes += base.manifest.get("training", {}).get("notes", [])
        if base.has_refiner:
            refiner = base.manifest["refiner"]
            networks["refiner"] = (refiner["architecture"], refiner["parameters"], base.weights("refiner"))
    origin = base.name if base and not config.from_scratch else "scratch"
    way = f"SegGAN ({config.gan_steps} steps of image from mask)" if config.gan_steps else "no SegGAN"
    notes.append(f"Segmenter {config.architecture} from {origin}: {steps} steps of {config.batch_size} crops, {way}")
    return write_package(
        config.output, name=config.name or "segmenter", pixel_m=pixel_m, networks=networks, score_exponent=exponent,
        training={"notes": notes, "steps": steps, "base": origin},
        metrics={"segmenter": {"pixels": best["figures"], "instances": instances}, "detector": {}, "refiner": {}},
        **settings,
    )  # fmt: skip


def _times(limits: Sequence[float], factor: float) -> list[float]:
    return [round(limit * factor, 4) for limit in limits]
