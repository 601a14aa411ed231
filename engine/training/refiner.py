"""Trains a mask refiner: data, loop, validation, early stopping, resume.

``last.pt`` continues a run, ``best.pt`` holds the best weights so far, ``log.jsonl`` the curves.
A step's examples depend on the seed and the step's number only, so an interrupted run that is
continued ends with the same weights as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ...models.device import is_out_of_memory, pick_bfloat16, pick_device
from ...models.package import open_package
from ...models.refiners import VARIANTS, build_refiner
from ..config import TrainRefinerConfig
from ..errors import OutOfMemory, TrainingError
from ..progress import Reporter
from .checkpoint import load_checkpoint, save_checkpoint
from .fine_tuner import read_history
from .mask_metrics import measure_mask, summarize
from .pairs import Pair
from .refiner_data import open_data
from .refiner_report import write_report
from .refiner_step import RefinerTrainer, stack_pairs

CHECKPOINT_SECONDS = 60.0


def train_refiner(
    config: TrainRefinerConfig,
    reporter: Reporter,
    on_gain: Callable[[RefinerRun], None] = lambda run: None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Train, or continue, and leave checkpoints, log, figures and report in the work folder.

    Args:
        on_gain: called after every measurement that is the best so far, the one at the start left out.
        notes: sentences for the report.

    Returns the card of the best weights: ``architecture``, ``parameters``, ``variant``, ``step``,
    ``validation`` (figures per source, before and after), ``history`` (every measurement),
    ``checkpoint`` (path of ``best.pt``), ``report`` (HTML page).

    Raises:
        TrainingError: no usable examples, a damaged checkpoint, a loss that is not finite.
        OutOfMemory: not even one crop fits.
        Cancelled: by the reporter; the work so far is saved.
    """
    config.validate()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    cv2.setNumThreads(config.threads)
    run = RefinerRun(config, reporter, on_gain)
    if not run.is_done:
        run.go()
    return run.finish(notes)


class RefinerRun:
    """One training run in its work folder.

    A run that starts from other weights measures those first: they stay the best until something beats them.
    """

    def __init__(
        self,
        config: TrainRefinerConfig,
        reporter: Reporter,
        on_gain: Callable[[RefinerRun], None] = lambda run: None,
    ) -> None:
        self.config, self.reporter, self.on_gain = config, reporter, on_gain
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
        self.elapsed, self.best, self.since_best, self.measured = 0.0, -1.0, 0, 0
        stored = load_checkpoint(self.folder / "last.pt")
        if stored:
            self.trainer.restore(stored["trainer"])
            self.elapsed, self.best, self.since_best = stored["elapsed"], stored["best"], stored["since_best"]
            self.measured = stored.get("measured", 0)
            reporter.log(f"Continues at step {self.trainer.step}")
        elif config.base:
            self.trainer.start_from(load_base(config))
        self.history = read_history(self.folder / "log.jsonl", self.trainer.step if stored else -1)
        # a killed run may have left half a line, and measurements that will be made again
        lines = [json.dumps(entry) + "\n" for entry in self.history]
        (self.folder / "log.jsonl").write_text("".join(lines), encoding="utf-8")

    @property
    def share(self) -> float:
        """The part of the training that is done, 0..1, by steps and by time."""
        by_time = self.elapsed / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(self.trainer.step / self.config.steps, by_time)

    @property
    def is_patient(self) -> bool:
        """Whether one of the last measurements, as many as the configuration says, was a gain."""
        return self.config.patience == 0 or self.since_best < self.config.patience

    @property
    def is_done(self) -> bool:
        """Whether steps, time or patience are used up."""
        return self.share >= 1.0 or not self.is_patient

    def go(self) -> None:
        """The loop."""
        saved = time.monotonic()
        losses: list[float] = []
        try:
            if self.config.base and not self.history:
                self.validate()
            while not self.is_done:
                started = time.monotonic()
                self.reporter.progress(self.share, f"step {self.trainer.step}")
                losses.append(self.learn(self.draw_batch(self.trainer.step)))
                self.elapsed += time.monotonic() - started
                if self.is_validation_due or self.is_done:
                    self.validate(float(np.mean(losses)))
                    losses.clear()
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()

    @property
    def is_validation_due(self) -> bool:
        """Whether it is time to measure: a number of times over the budget, or every so many steps."""
        if self.config.validations:
            return int(self.share * self.config.validations) > self.measured
        return self.trainer.step % self.config.validate_every == 0

    def draw_batch(self, step: int) -> list[Pair]:
        """The examples of a step: one crop size, as many crops as the pixel budget allows."""
        rng = np.random.default_rng((self.config.seed, step))
        sizes, shares = zip(*self.trainer.recipe.sizes, strict=True)
        size = int(rng.choice(sizes, p=shares))
        count = max(2, round(self.config.batch_size * (128 / size) ** 2))
        weights = [share for _, share in self.sources]
        picks = rng.choice(len(self.sources), size=count, p=weights)
        return [self.sources[pick][0].draw(rng, size, augment=True) for pick in picks]

    def learn(self, pairs: list[Pair]) -> float:
        """One step; returns its loss. A batch that does not fit into memory is halved, and so are later ones."""
        while True:
            try:
                return self.trainer.optimize(stack_pairs(pairs, self.trainer.device), self.share)["loss"]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if len(pairs) == 1:
                raise OutOfMemory("Not even one crop fits into memory", "Close other programs, or choose the CPU")
            pairs = pairs[: len(pairs) // 2]
            self.config = dataclasses.replace(self.config, batch_size=max(1, self.config.batch_size // 2))
            self.trainer.forget_gradients()
            self.reporter.warn(f"Memory is short: going on with batches of {len(pairs)}")

    def validate(self, loss: float | None = None) -> None:
        """Measure, log, and keep the weights if they are the best so far."""
        self.measured = int(self.share * self.config.validations)
        figures = evaluate_refiner(self.trainer.best_model, self.validation, device=self.trainer.device)
        score = selection_score(figures)
        entry = {"step": self.trainer.step, "seconds": self.elapsed, "score": score, "validation": figures}
        if loss is not None:
            entry["loss"] = loss
        self.history.append(entry)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        before, after = figures["all"]["before"], figures["all"]["after"]
        self.reporter.log(
            f"step {self.trainer.step}: " + (f"loss {loss:.4f}, " if loss is not None else "")
            + f"IoU {before['iou']:.4f} -> {after['iou']:.4f}, boundary IoU {before['boundary_iou']:.4f} -> "
            f"{after['boundary_iou']:.4f}"
        )  # fmt: skip
        if score <= self.best:
            self.since_best += 1
            return
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
        if self.trainer.step:
            self.on_gain(self)

    def save(self) -> None:
        """Write ``last.pt``."""
        state = {
            "trainer": self.trainer.state(),
            "elapsed": self.elapsed,
            "best": self.best,
            "since_best": self.since_best,
            "measured": self.measured,
        }
        save_checkpoint(self.folder / "last.pt", state)

    def best_state(self) -> dict[str, Any]:
        """What ``best.pt`` holds: the card and ``weights``. Raises `TrainingError` before the first measurement."""
        best = load_checkpoint(self.folder / "best.pt")
        if best is None:
            raise TrainingError("The work folder holds no finished validation", "Train for more steps")
        return best

    def finish(self, notes: Sequence[str] = ()) -> dict[str, Any]:
        """The card of the best weights; leaves ``report.html``."""
        best = self.best_state()
        model = build_refiner(best["architecture"], best["parameters"]).to(self.trainer.device)
        model.load_state_dict(best.pop("weights"))
        shown = {source: pairs[:8] for source, pairs in self.validation.items()}
        refined = {s: refine_pairs(model, pairs, self.trainer.device) for s, pairs in shown.items()}
        card = {**best, "checkpoint": str(self.folder / "best.pt"), "report": str(self.folder / "report.html"),
                "history": self.history}  # fmt: skip
        if not self.is_patient:
            notes = [*notes, "Training ended early: the measurements did not get better any more."]
        if self.config.base and not card["step"]:
            notes = [*notes, "Nothing the training did was better than the weights it started from: they are kept."]
        write_report(card["report"], card=card, log=self.history, pairs=shown, refined=refined, notes=notes)
        return card


def load_base(config: TrainRefinerConfig) -> dict[str, torch.Tensor]:
    """The weights to start from, out of a checkpoint or a model package.

    Raises:
        TrainingError: there are none, or they are of another variant.
    """
    if config.base.endswith(".pt"):
        stored = load_checkpoint(Path(config.base))
        if stored is None:
            raise TrainingError(f"The base weights {config.base} do not exist", "Correct the path")
        found, weights = (stored.get("architecture"), stored.get("parameters")), stored.get("weights", {})
    else:
        package = open_package(config.base)
        weights = package.weights("refiner")
        found = package.manifest["refiner"]["architecture"], package.manifest["refiner"]["parameters"]
    if found != VARIANTS[config.variant]:
        raise TrainingError(
            f"The base weights {config.base} do not fit the variant {config.variant}",
            "Choose the variant they were trained as",
        )
    return weights


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
