"""The jobs the engine knows, by name. Each imports what it needs only when it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .config import (
    BundleConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    RegularizeConfig,
    SceneConfig,
    TrainDetectorConfig,
    TrainRefinerConfig,
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
        run: (config, reporter) -> fields of the result event.
        help: one line for the command line.
    """

    config: type[Config]
    run: Callable[[Any, Reporter], dict[str, Any]]
    help: str


def _vectorize(config: VectorizeConfig, reporter: Reporter) -> dict[str, Any]:
    from .pipeline import vectorize

    return vectorize(config, reporter)


def _regularize(config: RegularizeConfig, reporter: Reporter) -> dict[str, Any]:
    from .regularize import regularize_file

    return regularize_file(config, reporter)


def _scene(config: SceneConfig, reporter: Reporter) -> dict[str, Any]:
    from .scenes.write import write_scene

    return write_scene(config, reporter)


def _evaluate(config: EvaluateConfig, reporter: Reporter) -> dict[str, Any]:
    from .evaluation.evaluate import evaluate_file

    return evaluate_file(config, reporter)


def _compare(config: CompareConfig, reporter: Reporter) -> dict[str, Any]:
    from .evaluation.compare_cadastre import compare_with_cadastre

    return compare_with_cadastre(config, reporter)


def _train_detector(config: TrainDetectorConfig, reporter: Reporter) -> dict[str, Any]:
    from .training.detector import train_detector

    return train_detector(config, reporter)


def _train_refiner(config: TrainRefinerConfig, reporter: Reporter) -> dict[str, Any]:
    from .training.refiner import train_refiner

    return train_refiner(config, reporter)


def _bundle(config: BundleConfig, reporter: Reporter) -> dict[str, Any]:
    from .bundle import bundle

    return bundle(config, reporter)


def _probe(config: ProbeConfig, reporter: Reporter) -> dict[str, Any]:
    from .probe import probe

    return probe()


JOBS = {
    "vectorize": Job(VectorizeConfig, _vectorize, "orthophoto to building polygons"),
    "regularize": Job(RegularizeConfig, _regularize, "any polygons to simplified, regularised, clean ones"),
    "scene": Job(SceneConfig, _scene, "a generated orthophoto with its true outlines"),
    "evaluate": Job(EvaluateConfig, _evaluate, "predicted polygons against reference polygons"),
    "compare": Job(CompareConfig, _compare, "detected buildings against the existing cadastre"),
    "train-detector": Job(TrainDetectorConfig, _train_detector, "chips to a detector"),
    "train-refiner": Job(TrainRefinerConfig, _train_refiner, "chips or mask pairs to a refiner"),
    "bundle": Job(BundleConfig, _bundle, "trained networks to a model package with its card"),
    "probe": Job(ProbeConfig, _probe, "versions and devices of the engine's environment"),
}
