"""A detector made better on local outlines: chips, training, calibrated scores, package, report."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.package import ModelPackage, open_package, write_package
from .calibration import raw_score, score_exponent
from .config import FinetuneConfig, TrainDetectorConfig
from .errors import InvalidParameter, TrainingError
from .finetune_report import write_report
from .job_folder import claim
from .local_chips import export_local
from .output import write_text
from .progress import Reporter
from .scene_chips import SOURCE as GENERATED
from .scene_chips import write_scene_chips
from .training_page import Measurement, draw_chips, threshold_curves

if TYPE_CHECKING:
    from .training.chips import Chip
    from .training.fine_tuner import FineTuner

MARK = "finetune.json"
SCENES, WATCHED = 18, 4  # generated ones, and how many of them only say what is forgotten
TRUNK_SHARE = 0.12  # of a training from scratch, for the trunk alone
_NOT_OF_THE_RUN = ("output", "work_folder", "report", "figures", "name", "minutes", "steps", "epochs", "validations",
                   "patience", "device", "precision", "threads")  # fmt: skip
_KEPT = ("tile_size_px", "overlap_px", "looks", "score_threshold")


def finetune(config: FinetuneConfig, reporter: Reporter) -> dict[str, Any]:
    """Fine-tune, and write the package, the report and the figures.

    The output holds the best weights so far from the first gain on, whatever happens later; the same
    call with the same work folder continues a run that was stopped.

    Returns:
        ``output``, ``model``, ``model_hash``, ``report``, ``figures``, ``before`` and ``after`` (figures of the
        validation chips), ``steps``, ``seconds``, ``gained`` (False: nothing beat the start).

    Raises:
        ModelPackageError: the base cannot be used. TrainingError: the data cannot.
        JobFolderError: the work folder belongs to another run.
        Cancelled: by the reporter; the work so far is saved.
    """
    config.validate()
    import torch

    from .training.fine_tuner import FineTuner, Start

    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    base = open_package(config.base)
    entry = base.entry("detector")
    if config.architecture and not config.from_scratch and config.architecture != entry["architecture"]:
        raise InvalidParameter(
            f"The base model {base.path.name} is of the architecture {entry['architecture']}, not "
            f"{config.architecture}", "Choose another base model, or train from scratch",
        )  # fmt: skip
    pixel_m = config.pixel_m or float(base.manifest["pixel_m"])
    folder = Path(config.work_folder)
    settings = {k: v for k, v in config.to_dict().items() if k not in _NOT_OF_THE_RUN}
    claim(folder, MARK, {"base_hash": base.hash, **settings})
    with reporter.span(0.0, 0.1):
        data = prepare_data(config, folder, pixel_m, reporter)
    architecture = (config.from_scratch and config.architecture) or entry["architecture"]
    start = Start(
        entry["parameters"] if architecture == entry["architecture"] else {},
        None if config.from_scratch else base.weights("detector"),
        frozen_stages=0 if config.from_scratch else config.frozen_stages,
        validations=config.validations, patience=config.patience, watched=GENERATED,
    )  # fmt: skip
    training = _plan(config, data, architecture, pixel_m)
    package = Packer(config, base, architecture, start.parameters, pixel_m, data)
    with reporter.span(0.1, 0.95):
        tuner = FineTuner(training, reporter, start, on_gain=package.write)
        tuner.run()
    with reporter.span(0.95, 1.0):
        return _finish(config, base, tuner, package, data, reporter)


def _plan(config: FinetuneConfig, data: Data, architecture: str, pixel_m: float) -> TrainDetectorConfig:
    """What is asked of the trainer."""
    training = config.training(
        chips=data.folders, work_folder=str(Path(config.work_folder) / "run"), architecture=architecture,
        pixel_m=pixel_m, source_weights=data.weights, trunk_share=TRUNK_SHARE if config.from_scratch else 0.0,
        trunk_rate=1.0 if config.from_scratch else config.trunk_rate,
    )  # fmt: skip
    if config.epochs:
        steps = math.ceil(config.epochs * data.ground_m2 / (training.crop_px * pixel_m) ** 2 / config.batch_size)
        training = replace(training, steps=max(steps, 1))
    return training


# -- data -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """What is learnt from.

    Attributes:
        folders: chip folders.
        weights: ``source=weight`` entries; empty for the default ones.
        buildings: by split, generated ones left out.
        sources: names of the places.
        ground_m2: what the training chips show, generated ones left out.
        export: result of the export, if there was one.
    """

    folders: tuple[str, ...]
    weights: tuple[str, ...]
    buildings: dict[str, int]
    sources: tuple[str, ...]
    ground_m2: float
    export: dict[str, Any]


def prepare_data(config: FinetuneConfig, folder: Path, pixel_m: float, reporter: Reporter) -> Data:
    """Export chips where rasters are given, and generate scenes where wanted; what a stopped run left is kept."""
    from .training.chips import load_chips

    folders, exported = list(config.chips), {}
    if config.rasters:
        target = folder / "chips"
        with reporter.span(0.0, 0.7):
            exported = export_local(config, target, pixel_m, reporter, negatives=config.negatives)
        folders.insert(0, str(target))
    chips = [chip for name in folders for chip in load_chips(name)]
    local: dict[str, int] = {}
    for chip in chips:
        if chip.split == "train":
            local[chip.source] = local.get(chip.source, 0) + chip.buildings
    buildings = {split: sum(c.buildings for c in chips if c.split == split) for split in ("train", "val")}
    if not buildings["train"]:
        raise TrainingError("The chips hold no building to learn from", "Outline some buildings")
    weights: tuple[str, ...] = ()
    if config.scenes_share:
        target = folder / "scenes"
        if not (target / "annotations.json").exists():
            with reporter.span(0.7, 1.0):
                write_scene_chips(target, SCENES, seed=config.seed, kept_aside=WATCHED, reporter=reporter)
        folders.append(str(target))
        weights = share_out(local, config.scenes_share)
    ground_m2 = sum(c.labels.size * c.pixel_m**2 for c in chips if c.split == "train")
    return Data(tuple(folders), weights, buildings, tuple(sorted(local)), ground_m2, exported)


def share_out(buildings: dict[str, int], scenes_share: float) -> tuple[str, ...]:
    """Weights of the sources, by the square root of their buildings, so that generated ones get their share.

    Raises:
        TrainingError: a source cannot be weighted.
    """
    if any("=" in name or name == GENERATED for name in buildings):
        raise TrainingError("A source of the chips has a name that is in use", "Set the share of generated scenes to 0")
    roots = {name: (1 + count) ** 0.5 for name, count in buildings.items()}
    total = sum(roots.values())
    local = [f"{name}={(1 - scenes_share) * root / total:.6f}" for name, root in roots.items()]
    return (*local, f"{GENERATED}={scenes_share:.6f}")


# -- package ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packer:
    """Writes the best weights of a run as a package, with the refiner and the settings of the base."""

    config: FinetuneConfig
    base: ModelPackage
    architecture: str
    parameters: dict[str, Any]
    pixel_m: float
    data: Data

    def write(self, tuner: FineTuner, metrics: dict[str, Any] | None = None) -> ModelPackage:
        """Write the package whole; the scores are bent so that the usual threshold gives the best F1."""
        best = tuner.best_state()
        manifest = self.base.manifest
        networks = {"detector": (self.architecture, self.parameters, best["model"])}
        if self.base.has_refiner:
            refiner = manifest["refiner"]
            networks["refiner"] = (refiner["architecture"], refiner["parameters"], self.base.weights("refiner"))
        change = self.pixel_m / float(manifest["pixel_m"])
        settings = {key: manifest[key] for key in _KEPT if key in manifest}
        if "pixel_range_m" in manifest:
            settings["pixel_range_m"] = [round(limit * change, 4) for limit in manifest["pixel_range_m"]]
        trained = manifest.get("training", {})
        start = "scratch" if self.config.from_scratch else self.base.name
        note = f"Fine-tuned from {start} on {self.data.buildings['train']} outlines of {', '.join(self.data.sources)}"
        return write_package(
            self.config.output, name=self.config.name or _rename(manifest["name"]), pixel_m=self.pixel_m,
            networks=networks, score_exponent=round(score_exponent(best["figures"]["all"]["best_score"]), 4),
            training={
                **({} if self.config.from_scratch else trained), "notes": [*trained.get("notes", []), note],
                "base": self.base.name, "steps": best["step"], "seconds": round(tuner.seconds),
            },
            metrics=metrics or {"detector": {"val": best["figures"]}, "refiner": {}}, **settings,
        )  # fmt: skip


def _rename(name: str) -> str:
    return name if name.endswith(" fine-tuned") else f"{name} fine-tuned"


def _finish(
    config: FinetuneConfig, base: ModelPackage, tuner: FineTuner, packer: Packer, data: Data, reporter: Reporter
) -> dict[str, Any]:
    """Measure start and best weights once more, at the score people will use; write package and report."""
    from ..models.detector import build_detector, predict
    from .training.fine_tuner import read_history
    from .training.validate import collect_matches

    def measure(model: Any, exponent: float) -> Measurement:
        model.to(tuner.device)
        by_chip = collect_matches(
            model, tuner.validation, pixel_m=packer.pixel_m, bfloat16=tuner.bfloat16, group=_name, reporter=reporter
        )
        pooled = by_chip.pop("all")
        threshold = raw_score(exponent)
        chips = {n: c.figures(threshold)["F1"] for n, c in by_chip.items() if c.truths}
        return Measurement(pooled.figures(threshold), pooled, threshold, exponent, chips)

    best = tuner.best_state()
    model = build_detector(packer.architecture, packer.parameters)
    model.load_state_dict(best["model"])
    reporter.progress(0.1, "Measuring before and after")
    after = measure(model, score_exponent(best["figures"]["all"]["best_score"]))
    before = measure(base.detector(), float(base.manifest.get("score_exponent", 1.0)))
    gained = best["step"] > 0
    if not gained:
        reporter.warn("Nothing the training did was better on the validation chips: the weights are the old ones")
    metrics = {
        "detector": {"val": {"all": after.figures}, "before": {"all": before.figures}},
        "refiner": base.manifest.get("metrics", {}).get("refiner", {}),
    }
    package = packer.write(tuner, metrics)
    reporter.progress(0.7, "Writing the report")
    facts = {
        "model": package.name, "model_hash": package.hash, "base": base.name, "gained": gained,
        "before": before.figures, "after": after.figures, "score_exponent": package.manifest["score_exponent"],
        "steps": tuner.step, "best_step": best["step"], "mix": best["mix"], "seconds": round(tuner.seconds, 1),
        "stopped_early": not tuner.is_patient, "buildings": data.buildings, "history": tuner.history,
        "pixel_m": packer.pixel_m, "thresholds": {"before": threshold_curves(before), "after": threshold_curves(after)},
        "export": data.export, "settings": config.to_dict(),
    }  # fmt: skip
    if config.figures:
        write_text(Path(config.figures), json.dumps(facts, indent=1))
    if config.report:
        losses = read_history(tuner.folder / "log.jsonl", tuner.step, losses=True)
        pictures = draw_chips(
            model, tuner.validation, after, pixel_m=packer.pixel_m, bfloat16=tuner.bfloat16, find=predict
        )
        write_text(Path(config.report), write_report(facts, losses, before, after, pictures))
    names = ("model", "model_hash", "before", "after", "steps", "seconds", "gained")
    return {"output": config.output, "report": config.report, "figures": config.figures,
            **{name: facts[name] for name in names}}  # fmt: skip


def _name(chip: Chip) -> str:
    return chip.name
