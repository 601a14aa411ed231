"""Fine-tuning: a trained detector learns a new place, as long as that place's validation chips gain by it and
generated scenes kept aside do not lose much: they stand for all the other places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...models.detector import MaskRCNN, build_detector
from ..config import TrainDetectorConfig
from ..errors import TrainingError
from ..progress import Reporter
from .checkpoint import load_checkpoint, save_checkpoint
from .detector import DetectorTrainer
from .log import read_log
from .validate import validate_detector

MIXES = (0.75, 0.5, 0.25)  # of the learnt weights in the start's, tried at the end (WiSE-FT, Wortsman et al. 2022)
TOLERATED = 0.01  # AP that may be lost on the watched source; what goes beyond counts as lost in the place


@dataclass(frozen=True)
class Start:
    """Where a fine-tuning starts and how careful it is.

    Attributes:
        parameters: of the architecture.
        weights: state dict, or None for fresh ones.
        frozen_stages: stages of the trunk that stay as they are; the stem goes with the first.
        validations: measurements over the whole budget.
        patience: measurements without gain that end the run; 0 never.
        watched: source whose validation chips say what is forgotten.
    """

    parameters: dict[str, Any]
    weights: dict[str, torch.Tensor] | None
    frozen_stages: int = 0
    validations: int = 10
    patience: int = 0
    watched: str = ""


class FineTuner(DetectorTrainer):
    """A `DetectorTrainer` that measures before the first step, keeps the best weights, and stops when they
    do not get better. ``best.pt`` holds the start's own weights until something beats them. In the end it
    tries what lies between the start and the learnt weights.

    Args:
        on_gain: called after every measurement that is the best so far, the one at the start left out.
    """

    def __init__(
        self,
        config: TrainDetectorConfig,
        reporter: Reporter,
        start: Start,
        on_gain: Callable[[FineTuner], None] = lambda tuner: None,
    ) -> None:
        self.start, self.on_gain = start, on_gain
        self.history: list[dict[str, Any]] = []
        super().__init__(config, reporter, start.weights)
        frozen = [self.model.trunk.stem, *self.model.trunk.stages[: start.frozen_stages]] if start.frozen_stages else []
        for part in frozen:
            part.requires_grad_(False)
        self.history = read_history(self.folder / "log.jsonl", self.step)
        self.best = max([self.best, *(entry["value"] for entry in self.history)])

    def _build(self) -> MaskRCNN:
        return build_detector(self.config.architecture, self.start.parameters)

    def load_data(self) -> None:
        """As its base's, once. Raises `TrainingError` when there is nothing to measure with."""
        if hasattr(self, "sampler"):
            return
        super().load_data()
        self.watch = [chip for chip in self.validation if chip.source == self.start.watched]
        self.validation = [chip for chip in self.validation if chip.source != self.start.watched]
        if not sum(chip.buildings for chip in self.validation):
            raise TrainingError(
                "No building is kept aside to measure with", "Outline more buildings, over a larger area"
            )

    def run(self) -> dict[str, Any]:
        """Train; returns the validation figures of the best weights."""
        self.load_data()
        if not self.history:
            self._validate({})
            self.save()
        super().run()
        if self.start.weights is not None:
            self._mix()
        return self.best_state()["figures"]

    def _mix(self) -> None:
        """Measure the weights between those of the start and the learnt ones."""
        assert self.start.weights is not None
        learnt = {name: tensor.clone() for name, tensor in self.average.model.state_dict().items()}
        start = {name: tensor.to(self.device) for name, tensor in self.start.weights.items()}
        tried = {entry["mix"] for entry in self.history if entry["step"] == self.step}
        for mix in MIXES:
            if mix not in tried:
                between = {name: torch.lerp(start[name], tensor, mix) if tensor.is_floating_point() else tensor
                           for name, tensor in learnt.items()}  # fmt: skip
                self.average.model.load_state_dict(between)
                self._measure({}, mix)
        self.average.model.load_state_dict(learnt)

    def best_state(self) -> dict[str, Any]:
        """``model`` (weights), ``figures`` and ``step`` of the best measurement so far."""
        state = load_checkpoint(self.folder / "best.pt")
        if state is None:
            raise TrainingError("Nothing was measured yet", "Run it again to continue")
        best = max(self.history, key=lambda entry: entry["value"])
        return {**state, "step": best["step"], "mix": best["mix"]}

    # -- when to measure, when to stop ----------------------------------------------------------------

    @property
    def is_patient(self) -> bool:
        """Whether the last `Start.patience` measurements still hold the best one."""
        scores = [entry["value"] for entry in self.history if entry["mix"] == 1]
        patience = self.start.patience
        return not patience or len(scores) <= patience or max(scores[-patience:]) > max(scores[:-patience])

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent; all of it when patience is at its end."""
        return super().fraction if self.is_patient else 1.0

    def _is_validation_due(self) -> bool:
        measured = sum(entry["mix"] == 1 for entry in self.history)
        return super().fraction >= measured / self.start.validations and super().fraction < 1

    def _validate(self, losses: dict[str, float]) -> dict[str, Any]:
        for entry in self.history:
            if entry["step"] == self.step:
                return entry["validation"]
        return self._measure(losses, 1.0)

    def _measure(self, losses: dict[str, float], mix: float) -> dict[str, Any]:
        """Measure the averaged weights, and keep them if they are the best so far."""
        run = {"pixel_m": self.config.pixel_m, "bfloat16": self.bfloat16, "reporter": self.reporter}
        figures = validate_detector(self.average.model, self.validation, **run)
        pooled = self.latest = figures["all"]
        value, told = pooled["AP"], ""
        entry = {"step": self.step, "mix": mix, "seconds": self.seconds, "validation": figures}
        if self.watch:
            watched = entry["watched"] = validate_detector(self.average.model, self.watch, **run)["all"]
            before = self.history[0]["watched"]["AP"] if self.history else watched["AP"]
            value -= max(before - watched["AP"] - TOLERATED, 0.0)
            told = f"; on generated scenes AP {watched['AP']:.3f} AP50 {watched['AP50']:.3f}"
        entry["value"] = value
        self._log(**entry)
        self.history.append({**entry, "losses": dict(losses)})
        self.reporter.log(
            f"step {self.step}{f', {mix:.0%} of what was learnt' if mix != 1 else ''}: "
            f"AP {pooled['AP']:.3f} AP50 {pooled['AP50']:.3f}{told}"
        )
        if value > self.best:
            self.best = value
            save_checkpoint(self.folder / "best.pt", {"model": self.average.model.state_dict(), "figures": figures})
            if self.step:
                self.on_gain(self)
        return figures


def read_history(log: Path, step: int, *, losses: bool = False) -> list[dict[str, Any]]:
    """The measurements up to a step from ``log.jsonl``, or the entries of the loss curve instead.

    What a killed run wrote after its last checkpoint does not count.
    """
    found: dict[tuple[int, float], dict[str, Any]] = {}
    for entry in read_log(log):
        if ("validation" not in entry) == losses and entry["step"] <= step:
            found[entry["step"], -entry.get("mix", 1.0)] = entry
    return [found[key] for key in sorted(found)]
