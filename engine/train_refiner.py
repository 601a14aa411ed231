"""A refiner made better on local outlines: chips, rough masks of a detector, training, package, report."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.package import NETWORKS, ModelPackage, open_package, write_package
from .calibration import raw_score
from .config import ExportConfig, FinetuneRefinerConfig, TrainRefinerConfig
from .errors import TrainingError
from .folds import train_fold, write_folds
from .job_folder import claim
from .local_chips import export_local
from .output import write_text
from .progress import Reporter

if TYPE_CHECKING:
    from .training.chips import Chip
    from .training.refiner import RefinerRun

MARK = "refiner.json"
MASK_SCORE = 0.3  # lowest score of a mask worth learning from; people see 0.5 and above
NO_END = 10_000_000  # steps of a run that ends by time
_NOT_OF_THE_RUN = ("output", "work_folder", "report", "figures", "name", "minutes", "steps", "validations", "patience",
                   "device", "precision", "threads")  # fmt: skip
_LENT = ("tile_size_px", "overlap_px", "looks", "score_threshold", "score_exponent", "pixel_range_m")


def finetune_refiner(config: FinetuneRefinerConfig, reporter: Reporter) -> dict[str, Any]:
    """Train a refiner, and write the package, the report and the figures.

    The output holds the best weights so far from the first gain on; the same call with the same work folder
    continues a run that was stopped.

    Returns:
        ``output``, ``model``, ``model_hash``, ``report``, ``figures``, ``before`` and ``after`` (figures of the
        rough and of the refined masks), ``start`` (of the masks as the weights refine them that training
        started from; None where it started anew), ``steps``, ``best_step``, ``seconds``, ``gained``.

    Raises:
        ModelPackageError: the base cannot be used. TrainingError: the data cannot.
        JobFolderError: the work folder belongs to another run.
        Cancelled: by the reporter; the work so far is saved.
    """
    config.validate()
    import torch

    from ..models.refiners import VARIANTS
    from .training.refiner import train_refiner

    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    base = open_package(config.base)
    folder = Path(config.work_folder)
    settings = {k: v for k, v in config.to_dict().items() if k not in _NOT_OF_THE_RUN}
    claim(folder, MARK, {"base_hash": base.hash, **settings})
    with reporter.span(0.0, 0.3):
        data = take_pairs(config) if config.pairs else prepare_data(config, base, folder, reporter)
    mine = base.manifest.get("refiner") or {}
    fits = (mine.get("architecture"), mine.get("parameters")) == VARIANTS[config.variant]
    continues = fits and not config.from_scratch
    if not continues:
        reporter.log(f"The refiner {config.variant} starts from fresh weights")
    training = TrainRefinerConfig(
        work_folder=str(folder / "run"), chips=data.folders, pairs=data.pairs, pairs_pixel_m=config.pairs_pixel_m,
        predictions=data.masks, predicted_share=config.predicted_share, base=str(base.path) if continues else "",
        variant=config.variant, steps=config.steps or NO_END, minutes=0.0 if config.steps else config.minutes,
        batch_size=config.batch_size, learning_rate=config.learning_rate, lambda_l1=config.lambda_l1,
        loss_terms=config.loss_terms, adversarial_weight=config.adversarial_weight, validations=config.validations,
        patience=config.patience, device=config.device, precision=config.precision, threads=config.threads,
        seed=config.seed,
    )  # fmt: skip
    packer = Packer(config, base, data)
    with reporter.span(0.3, 0.97):
        card = train_refiner(training, reporter, packer.write, data.notes)
    return _finish(config, base, packer, card, reporter)


# -- data -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """What is learnt from.

    Attributes:
        folders: chip folders. pairs: folder of mask pairs, instead.
        masks: folder of a detector's masks on the chips; empty where it found none.
        notes: what a reader of the figures must know about them.
        facts: counts for the report.
    """

    folders: tuple[str, ...] = ()
    pairs: str = ""
    masks: str = ""
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def take_pairs(config: FinetuneRefinerConfig) -> Data:
    """The folder of mask pairs. Raises `TrainingError` where the network looks at images and there are none:
    what it learns from blank ones is of no use on an orthophoto."""
    looks_at_images = not config.variant.startswith("vinokurov")
    if looks_at_images and Path(config.pairs).is_dir() and not any(Path(config.pairs).glob("image/*")):
        raise TrainingError(
            f"{config.pairs} holds no images, and the network {config.variant} looks at them",
            "Add a folder image, or choose vinokurov, which looks at masks alone",
        )
    return Data(pairs=config.pairs)


def prepare_data(config: FinetuneRefinerConfig, base: ModelPackage, folder: Path, reporter: Reporter) -> Data:
    """Export chips where rasters are given, and let a detector draw its masks on all chips; what a stopped
    run left is kept. Raises `TrainingError` when there is too little."""
    from .training.chips import load_chips, require_distinct_names

    folders, exported = list(config.chips), {}
    if config.rasters:
        target = folder / "chips"
        overlap_px = 0 if config.folds else ExportConfig.overlap_px  # chips of different folds must not share ground
        with reporter.span(0.0, 0.3):
            exported = export_local(config, target, float(base.manifest["pixel_m"]), reporter, overlap_px=overlap_px)
        folders.insert(0, str(target))
    chips = [chip for name in folders for chip in load_chips(name) if chip.split in ("train", "val")]
    require_distinct_names(chips)
    buildings = {split: sum(c.buildings for c in chips if c.split == split) for split in ("train", "val")}
    if not buildings["train"]:
        raise TrainingError("The chips hold no building to learn from", "Outline some buildings")
    if not buildings["val"]:
        raise TrainingError("No building is kept aside to measure with", "Outline more buildings, over a larger area")
    with reporter.span(0.3, 1.0):
        notes = draw_masks(config, base, folders, chips, folder, reporter)
    masks = folder / "masks"
    if not _is_matched(chips, masks):
        text = "The detector found none of these buildings: the refiner learns from synthetic damage alone."
        reporter.warn(text.rstrip("."))
        masks, notes = Path(), (text,)
    facts = {"buildings": buildings, "sources": sorted({c.source for c in chips}), "export": exported}
    return Data(tuple(folders), masks="" if masks == Path() else str(masks), notes=notes, facts=facts)


def draw_masks(
    config: FinetuneRefinerConfig, base: ModelPackage, folders: list[str], chips: list[Chip], folder: Path,
    reporter: Reporter,
) -> tuple[str, ...]:  # fmt: skip
    """Let detectors draw their masks on all chips into ``masks``; returns what is to be said about them."""
    from ..models.device import pick_bfloat16, pick_device
    from .training.rough_masks import predict_rough_masks

    # a fine-tuned base has seen the outlines: what is to be out of fold begins before it
    start = open_package() if config.folds and base.manifest.get("training", {}).get("base") else base
    device = pick_device(config.device)
    settings = {
        "pixel_m": float(start.manifest["pixel_m"]), "bfloat16": pick_bfloat16(device, config.precision),
        "score_threshold": raw_score(float(start.manifest.get("score_exponent", 1.0)), MASK_SCORE),
    }  # fmt: skip
    masks = folder / "masks"
    if not config.folds:
        predict_rough_masks(base.detector().to(device), chips, masks, reporter=reporter, **settings)
        return (
            f"The rough masks are those of {base.name}. If it was trained on these very annotations, they are "
            "better than elsewhere, and the figures say too little about other places.",
        )
    parts = write_folds(folders, config.folds, folder / "folds")
    for number, part in enumerate(parts):
        wanted = [chip for chip in chips if chip.name in part.held_out or (chip.split == "val" and not number)]
        missing = [chip for chip in wanted if not (masks / f"{chip.name}.npz").exists()]
        with reporter.span(number / len(parts), (number + 1) / len(parts)):
            if missing:
                reporter.log(f"Fold {number + 1} of {len(parts)}: a detector learns without {len(part.held_out)} chips")
                with reporter.span(0.0, 0.8):
                    detector = train_fold(config, start, part, reporter)
                with reporter.span(0.8, 1.0):
                    predict_rough_masks(detector.to(device), missing, masks, reporter=reporter, **settings)
    return (
        f"The rough masks are out of fold: each of {len(parts)} detectors was trained from {start.name} for "
        f"{config.fold_steps} steps without the ground whose masks it drew.",
    )


def _is_matched(chips: list[Chip], masks: Path) -> bool:
    """Whether any mask lies on a building of the training chips."""
    from .training.pairs import PredictedMasks
    from .training.rough_mask_files import load_rough_masks

    try:
        PredictedMasks([chip for chip in chips if chip.split == "train"], load_rough_masks(masks))
    except TrainingError:
        return False
    return True


# -- package ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packer:
    """Writes the best weights of a run as a package, with everything else as in the base."""

    config: FinetuneRefinerConfig
    base: ModelPackage
    data: Data

    def write(self, run: RefinerRun) -> ModelPackage:
        """Write the best weights so far."""
        return self.pack(run.best_state())

    def pack(self, best: dict[str, Any]) -> ModelPackage:
        """Write the package whole.

        Args:
            best: contents of ``best.pt``.
        """
        manifest = self.base.manifest
        networks = {
            network: (manifest[network]["architecture"], manifest[network]["parameters"], self.base.weights(network))
            for network in NETWORKS
            if manifest.get(network) and network != "refiner"
        }
        networks["refiner"] = (best["architecture"], best["parameters"], best["weights"])
        trained = manifest.get("training", {})
        learnt = f"{self.data.facts['buildings']['train']} outlines" if self.data.facts else "mask pairs"
        note = f"Refiner {best['variant']} trained for {best['step']} steps on {learnt}; the rest is {self.base.name}"
        name = manifest["name"]
        return write_package(
            self.config.output, name=self.config.name or (name if name.endswith(" refined") else f"{name} refined"),
            pixel_m=float(manifest["pixel_m"]), networks=networks,
            training={**trained, "notes": [*trained.get("notes", []), note]},
            metrics={**manifest.get("metrics", {}), "refiner": {"validation": best["validation"]}},
            **{key: manifest[key] for key in _LENT if key in manifest},
        )  # fmt: skip


def _finish(
    config: FinetuneRefinerConfig, base: ModelPackage, packer: Packer, card: dict[str, Any], reporter: Reporter
) -> dict[str, Any]:
    """Write the package once more, with the final card, and hand out report and figures."""
    from .training.checkpoint import load_checkpoint

    best = load_checkpoint(Path(card["checkpoint"]))
    assert best is not None  # training does not end without it
    package = packer.pack(best)
    history = card["history"]
    starts = [entry["validation"]["all"]["after"] for entry in history if not entry["step"]]
    gained = card["step"] > 0
    if not gained:
        reporter.warn("Nothing the training did was better on the validation masks: the weights are the old ones")
    facts = {
        "model": package.name, "model_hash": package.hash, "base": base.name, "variant": card["variant"],
        "before": card["validation"]["all"]["before"], "after": card["validation"]["all"]["after"],
        "start": starts[0] if starts else None, "gained": gained, "steps": history[-1]["step"],
        "best_step": card["step"], "seconds": round(history[-1]["seconds"], 1), "notes": list(packer.data.notes),
        "by_source": card["validation"], "history": history, **packer.data.facts, "settings": config.to_dict(),
    }  # fmt: skip
    if config.figures:
        write_text(Path(config.figures), json.dumps(facts, indent=1))
    if config.report:
        write_text(Path(config.report), Path(card["report"]).read_text(encoding="utf-8"))
    names = ("model", "model_hash", "before", "after", "start", "steps", "best_step", "seconds", "gained")
    return {"output": config.output, "report": config.report, "figures": config.figures,
            **{name: facts[name] for name in names}}  # fmt: skip
