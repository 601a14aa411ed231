"""Trains a mask refiner: data, loop, validation, early stopping, resume.

``last.pt`` continues a run, ``best.pt`` holds the best weights so far, ``log.jsonl`` the curves.
A step's examples depend on the seed and the step's number only, so an interrupted run that is
continued ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ...models.device import pick_bfloat16, pick_device
from ...models.refiners import VARIANTS, build_refiner
from ..config import TrainRefinerConfig
from ..errors import TrainingError
from ..progress import Reporter
from .checkpoint import load_checkpoint, save_checkpoint
from .chips import Chip, load_chips
from .mask_metrics import measure_mask, summarize
from .pairs import DamagedTruth, MaskPairs, Pair, PairSource, PredictedMasks
from .refiner_report import write_report
from .refiner_step import RefinerTrainer, stack_pairs
from .rough_mask_files import RoughMask, load_rough_masks

CHECKPOINT_SECONDS = 60.0
PAIRS_PER_SOURCE = 48
"""Validation examples of each source."""


def train_refiner(config: TrainRefinerConfig, reporter: Reporter) -> dict[str, Any]:
    """Train, or continue, and leave checkpoints, log, figures and report in the work folder.

    Returns the card of the best weights: ``architecture``, ``parameters``, ``variant``, ``step``,
    ``validation`` (figures per source, before and after), ``checkpoint`` (path of ``best.pt``),
    ``report`` (HTML page).

    Raises:
        TrainingError: no usable examples, a damaged checkpoint, a loss that is not finite.
        Cancelled: by the reporter; the work so far is saved.
    """
    config.validate()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    cv2.setNumThreads(config.threads)
    run = RefinerRun(config, reporter)
    return run.finish() if run.is_done else run.go()


class RefinerRun:
    """One training run in its work folder."""

    def __init__(self, config: TrainRefinerConfig, reporter: Reporter) -> None:
        self.config, self.reporter = config, reporter
        self.folder = Path(config.work_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        device = pick_device(config.device)
        self.trainer = RefinerTrainer(config, device, bfloat16=pick_bfloat16(device, config.precision))
        self.size = max(self.trainer.recipe.sizes, key=lambda entry: entry[1])[0]
        self.sources, self.validation = open_data(config, self.size)
        reporter.log(
            f"{sum(len(source) for source, _ in self.sources)} buildings to learn from, "
            f"{sum(map(len, self.validation.values()))} examples to select with"
        )
        self.elapsed, self.best, self.since_best = 0.0, -1.0, 0
        stored = load_checkpoint(self.folder / "last.pt")
        if stored:
            self.trainer.restore(stored["trainer"])
            self.elapsed, self.best, self.since_best = stored["elapsed"], stored["best"], stored["since_best"]
            reporter.log(f"Continues at step {self.trainer.step}")
        elif config.base:
            self._start_from(Path(config.base))

    @property
    def share(self) -> float:
        """The part of the training that is done, 0..1, by steps and by time."""
        by_time = self.elapsed / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(self.trainer.step / self.config.steps, by_time)

    @property
    def is_done(self) -> bool:
        """Whether steps, time or patience are used up."""
        patient = self.config.patience == 0 or self.since_best < self.config.patience
        return self.share >= 1.0 or not patient

    def go(self) -> dict[str, Any]:
        """The loop."""
        saved = time.monotonic()
        losses: list[float] = []
        try:
            while not self.is_done:
                started = time.monotonic()
                self.reporter.progress(self.share, f"step {self.trainer.step}")
                batch = stack_pairs(self.draw_batch(self.trainer.step), self.trainer.device)
                losses.append(self.trainer.optimize(batch, self.share)["loss"])
                self.elapsed += time.monotonic() - started
                if self.trainer.step % self.config.validate_every == 0 or self.is_done:
                    self.validate(float(np.mean(losses)))
                    losses.clear()
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()
        return self.finish()

    def draw_batch(self, step: int) -> list[Pair]:
        """The examples of a step: one crop size, as many crops as the pixel budget allows."""
        rng = np.random.default_rng((self.config.seed, step))
        sizes, shares = zip(*self.trainer.recipe.sizes, strict=True)
        size = int(rng.choice(sizes, p=shares))
        count = max(2, round(self.config.batch_size * (128 / size) ** 2))
        weights = [share for _, share in self.sources]
        picks = rng.choice(len(self.sources), size=count, p=weights)
        return [self.sources[pick][0].draw(rng, size, augment=True) for pick in picks]

    def validate(self, loss: float) -> None:
        """Measure, log, and keep the weights if they are the best so far."""
        figures = evaluate_refiner(self.trainer.best_model, self.validation, device=self.trainer.device)
        score = selection_score(figures)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            entry = {"step": self.trainer.step, "loss": loss, "seconds": self.elapsed, "score": score}
            log.write(json.dumps({**entry, "validation": figures}) + "\n")
        everything = figures["all"]
        self.reporter.log(
            f"step {self.trainer.step}: loss {loss:.4f}, IoU {everything['before']['iou']:.4f} -> "
            f"{everything['after']['iou']:.4f}, boundary IoU {everything['before']['boundary_iou']:.4f} -> "
            f"{everything['after']['boundary_iou']:.4f}"
        )
        if score > self.best:
            self.best, self.since_best = score, 0
            architecture, parameters = VARIANTS[self.config.variant]
            save_checkpoint(
                self.folder / "best.pt",
                {
                    "architecture": architecture,
                    "parameters": dict(parameters),
                    "variant": self.config.variant,
                    "step": self.trainer.step,
                    "validation": figures,
                    "weights": self.trainer.best_model.state_dict(),
                },
            )
        else:
            self.since_best += 1

    def save(self) -> None:
        """Write ``last.pt``."""
        state = {
            "trainer": self.trainer.state(),
            "elapsed": self.elapsed,
            "best": self.best,
            "since_best": self.since_best,
        }
        save_checkpoint(self.folder / "last.pt", state)

    def finish(self) -> dict[str, Any]:
        """The card of the best weights; leaves ``report.html``."""
        best = load_checkpoint(self.folder / "best.pt")
        if best is None:
            raise TrainingError("The work folder holds no finished validation", "Train for more steps")
        model = build_refiner(best["architecture"], best["parameters"]).to(self.trainer.device)
        model.load_state_dict(best.pop("weights"))
        shown = {source: pairs[:8] for source, pairs in self.validation.items()}
        refined = {s: refine_pairs(model, pairs, self.trainer.device) for s, pairs in shown.items()}
        log = [json.loads(line) for line in (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        card = {**best, "checkpoint": str(self.folder / "best.pt"), "report": str(self.folder / "report.html")}
        write_report(self.folder / "report.html", card=card, log=log, pairs=shown, refined=refined)
        return card

    def _start_from(self, file: Path) -> None:
        stored = load_checkpoint(file)
        if stored is None:
            raise TrainingError(f"The base weights {file} do not exist", "Correct the path")
        try:
            self.trainer.model.load_state_dict(stored["weights"])
            self.trainer.average.model.load_state_dict(stored["weights"])
        except (KeyError, RuntimeError) as error:
            raise TrainingError(
                f"The base weights {file} do not fit the variant {self.config.variant}",
                "Choose the variant they were trained as",
            ) from error


def open_data(
    config: TrainRefinerConfig, size: int
) -> tuple[list[tuple[PairSource, float]], dict[str, list[Pair]]]:
    """Training sources with their shares, and the fixed validation pairs of each source."""
    if config.pairs:
        learn, select = MaskPairs(config.pairs).split(5)
        return [(learn, 1.0)], {"pairs": draw_fixed(select, size, config.seed)}
    folders = [load_chips(folder, "train") for folder in config.chips]
    train = [chip for chips in folders for chip in chips]
    val = [chip for folder in config.chips for chip in load_chips(folder, "val")]
    weights = np.array(config.chip_shares or (1.0,) * len(folders))
    predictions = load_rough_masks(config.predictions) if config.predictions else {}
    damaged_share = 1 - config.predicted_share if predictions else 1.0
    sources: list[tuple[PairSource, float]] = [
        (DamagedTruth(chips), damaged_share * float(weight))
        for chips, weight in zip(folders, weights / weights.sum(), strict=True)
    ]
    if predictions:
        sources.append((PredictedMasks(train, predictions), config.predicted_share))
    return sources, validation_pairs(val or train, predictions, size, config.seed)


def validation_pairs(
    chips: Sequence[Chip], predictions: dict[str, list[RoughMask]], size: int, seed: int
) -> dict[str, list[Pair]]:
    """Fixed pairs per source: predicted masks where there are some, else synthetic damage."""
    pairs = {}
    for source in sorted({chip.source for chip in chips}):
        mine = [chip for chip in chips if chip.source == source]
        try:
            if any(chip.name in predictions for chip in mine):
                predicted = PredictedMasks(mine, predictions)
                chosen = np.linspace(0, len(predicted) - 1, min(len(predicted), PAIRS_PER_SOURCE)).astype(int)
                rng = np.random.default_rng(seed)
                pairs[source] = [predicted.show(int(entry), rng, size) for entry in chosen]
            else:
                pairs[source] = draw_fixed(DamagedTruth(mine), size, seed)
        except TrainingError:
            continue  # a source whose validation chips show no building has nothing to measure
    if not pairs:
        raise TrainingError("The validation chips hold no buildings", "Mark chips with buildings as val")
    return pairs


def draw_fixed(source: PairSource, size: int, seed: int) -> list[Pair]:
    """The same pairs at every call, not augmented."""
    count = min(2 * len(source), PAIRS_PER_SOURCE)
    return [
        source.draw(np.random.default_rng((seed, 7, index)), size, augment=False) for index in range(count)
    ]


def evaluate_refiner(
    model: nn.Module, pairs: dict[str, list[Pair]], *, device: torch.device, batch_size: int = 16
) -> dict[str, dict[str, dict[str, float]]]:
    """Figures before and after per source, and for ``all`` as the mean over the sources."""
    figures = {}
    for source, examples in pairs.items():
        before, after = [], []
        for pair, mask in zip(examples, refine_pairs(model, examples, device, batch_size), strict=True):
            truth = pair.truth >= 128
            before.append(measure_mask(pair.coarse >= 128, truth, pair.known, pair.pixel_m))
            after.append(measure_mask(mask, truth, pair.known, pair.pixel_m))
        figures[source] = {"before": summarize(before), "after": summarize(after)}
    figures["all"] = {
        moment: {
            key: float(np.mean([figures[s][moment][key] for s in pairs if key in figures[s][moment]]))
            for key in figures[next(iter(pairs))][moment]
        }
        for moment in ("before", "after")
    }
    return figures


@torch.inference_mode()
def refine_pairs(
    model: nn.Module, pairs: Sequence[Pair], device: torch.device, batch_size: int = 16
) -> list[np.ndarray]:
    """Refined masks, bool[H, W] each."""
    model.eval()
    masks: list[np.ndarray] = []
    for start in range(0, len(pairs), batch_size):
        batch = stack_pairs(pairs[start : start + batch_size], device)
        logits = model(batch.image, batch.coarse, batch.others).logits
        masks.extend((logits[:, 0] >= 0).cpu().numpy())
    return masks


def selection_score(figures: dict[str, dict[str, dict[str, float]]]) -> float:
    """What the best weights are chosen by: mean of IoU and boundary IoU over the sources."""
    after = figures["all"]["after"]
    return 0.5 * (after["iou"] + after["boundary_iou"])
