"""The jobs the engine knows, by name. Each imports what it needs only when it runs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from .config import (
    BundleConfig,
    CollectTrainingConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    ExportConfig,
    FinetuneConfig,
    FinetuneRefinerConfig,
    PackTrainingConfig,
    RefineConfig,
    RegularizeConfig,
    SceneConfig,
    SeveralConfig,
    TrainDetectorConfig,
    TrainRefinerConfig,
    TrainSegmenterConfig,
    VectorizeConfig,
)
from .progress import Reporter


@dataclass(frozen=True)
class ProbeConfig(Config):
    """No parameters: report versions and devices."""


@dataclass(frozen=True)
class Job:
    """A configuration and the function that does the work.

    Attributes:
        config: its dataclass.
        work: ``module:function`` below this package; (config, reporter) -> fields of the result event.
        help: one line for the command line.
    """

    config: type[Config]
    work: str
    help: str

    def run(self, config: Config, reporter: Reporter) -> dict[str, Any]:
        """Do the work; raises `EngineError` for what the user can act on."""
        module, function = self.work.split(":")
        return getattr(importlib.import_module(f".{module}", __package__), function)(config, reporter)


JOBS = {
    "vectorize": Job(VectorizeConfig, "pipeline:vectorize", "orthophoto to building polygons"),
    "refine": Job(RefineConfig, "refine_polygons:refine_file", "rough polygons or strokes to precise ones"),
    "vectorize-several": Job(
        SeveralConfig, "several:vectorize_several", "several orthophotos to one layer of building polygons"
    ),
    "regularize": Job(RegularizeConfig, "regularize:regularize_file", "any polygons to squared, clean ones"),
    "scene": Job(SceneConfig, "scenes.write:write_scene", "a generated orthophoto with its true outlines"),
    "evaluate": Job(EvaluateConfig, "evaluation.evaluate:evaluate_file", "predicted polygons against a reference"),
    "compare": Job(
        CompareConfig,
        "evaluation.compare_cadastre:compare_with_cadastre",
        "detected buildings against the cadastre",
    ),
    "train-detector": Job(TrainDetectorConfig, "training.detector:train_detector", "chips to a detector"),
    "train-refiner": Job(TrainRefinerConfig, "training.refiner:train_refiner", "chips or mask pairs to a refiner"),
    "train-segmenter": Job(
        TrainSegmenterConfig, "train_segmenter:train_segmenter", "chips to a model package with a segmenter"
    ),
    "export-training-data": Job(ExportConfig, "export:export_chips", "orthophotos and outlines to training chips"),
    "finetune-detector": Job(FinetuneConfig, "finetune:finetune", "a model package made better on local outlines"),
    "finetune-refiner": Job(
        FinetuneRefinerConfig, "train_refiner:finetune_refiner", "outlines or mask pairs to a package with a refiner"
    ),
    "pack-training": Job(PackTrainingConfig, "training.carry:pack_training", "a training for another machine"),
    "collect-training": Job(CollectTrainingConfig, "training.carry:collect_training", "its results brought back"),
    "bundle": Job(BundleConfig, "bundle:bundle", "trained networks to a model package with its card"),
    "probe": Job(ProbeConfig, "probe:probe", "versions and devices of the engine's environment"),
}
