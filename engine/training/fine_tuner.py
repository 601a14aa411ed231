"""Fine-tuning: a trained detector learns a new place, as long as that place's validation chips gain by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...models.detector import MaskRCNN, build_detector
from ..config import TrainDetectorConfig
from ..errors import TrainingError
from ..progress import Reporter
from .checkpoint import load_checkpoint
from .detector import DetectorTrainer


@dataclass(frozen=True)
class Start:
    """Where a fine-tuning starts and how careful it is.

    Attributes:
        parameters: of the architecture.
        weights: state dict, or None for fresh ones.
        frozen_stages: stages of the trunk that stay as they are; the stem goes with the first.
        validations: measurements over the whole budget.
        patience: measurements without gain that end the run; 0 never.
    """

    parameters: dict[str, Any]
    weights: dict[str, torch.Tensor] | None
    frozen_stages: int = 0
    validations: int = 10
    patience: int = 0


class FineTuner(DetectorTrainer):
    """A `DetectorTrainer` that measures before the first step, keeps the best weights, and stops when they
    do not get better. ``best.pt`` holds the start's own weights until something beats them.

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
        self.best = max([self.best, *(entry["validation"]["all"]["AP"] for entry in self.history)])

    def _build(self) -> MaskRCNN:
        return build_detector(self.config.architecture, self.start.parameters)

    def load_data(self) -> None:
        """As its base's, once. Raises `TrainingError` when there is nothing to measure with."""
        if hasattr(self, "sampler"):
            return
        super().load_data()
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
        return self.best_state()["figures"]

    def best_state(self) -> dict[str, Any]:
        """``model`` (weights), ``figures`` and ``step`` of the best measurement so far."""
        state = load_checkpoint(self.folder / "best.pt")
        if state is None:
            raise TrainingError("Nothing was measured yet", "Run it again to continue")
        best = max(self.history, key=lambda entry: entry["validation"]["all"]["AP"])
        return {**state, "step": best["step"]}

    # -- when to measure, when to stop ----------------------------------------------------------------

    @property
    def is_patient(self) -> bool:
        """Whether the last `Start.patience` measurements still hold the best one."""
        scores = [entry["validation"]["all"]["AP"] for entry in self.history]
        patience = self.start.patience
        return not patience or len(scores) <= patience or max(scores[-patience:]) > max(scores[:-patience])

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent; all of it when patience is at its end."""
        return super().fraction if self.is_patient else 1.0

    def _is_validation_due(self) -> bool:
        return super().fraction >= len(self.history) / self.start.validations and super().fraction < 1

    def _validate(self, losses: dict[str, float]) -> dict[str, Any]:
        if self.history and self.history[-1]["step"] == self.step:
            return self.history[-1]["validation"]
        before = self.best
        figures = super()._validate(losses)
        self.history.append({"step": self.step, "validation": figures, "seconds": self.seconds, "losses": dict(losses)})
        if self.step and self.best > before:
            self.on_gain(self)
        return figures


def read_history(log: Path, step: int, *, losses: bool = False) -> list[dict[str, Any]]:
    """The measurements up to a step from ``log.jsonl``, or the entries of the loss curve instead.

    What a killed run wrote after its last checkpoint, and a line it did not finish, do not count.
    """
    found: dict[int, dict[str, Any]] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if ("validation" not in entry) == losses and entry["step"] <= step:
            found[entry["step"]] = entry
    return [found[key] for key in sorted(found)]
