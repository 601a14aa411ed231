"""The provider that lists the algorithms."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..plugin.about import RESOURCES, about, version
from .compare_with_cadastre import CompareWithCadastre
from .create_sample_scene import CreateSampleScene
from .evaluate import Evaluate
from .export_training_data import ExportTrainingData
from .finetune_detector import FinetuneDetector
from .refine_polygons import RefinePolygons
from .regularize_polygons import RegularizePolygons
from .setup_environment import SetUpEnvironment
from .train_refiner import TrainRefiner
from .train_segmenter import TrainSegmenter
from .vectorize_buildings import VectorizeBuildings

ALGORITHMS = (
    VectorizeBuildings, RefinePolygons, RegularizePolygons, Evaluate, CompareWithCadastre, CreateSampleScene,
    SetUpEnvironment, ExportTrainingData, FinetuneDetector, TrainRefiner, TrainSegmenter,
)  # fmt: skip


class CadastralProvider(QgsProcessingProvider):
    """Provider ``cadastral``."""

    def id(self):
        return "cadastral"

    def name(self):
        return about()["name"]

    def versionInfo(self):  # noqa: N802
        return version()

    def icon(self):
        return QIcon(str(RESOURCES / "icons" / "logo.svg"))

    def supportedOutputRasterLayerExtensions(self):  # noqa: N802
        return ["tif"]

    def loadAlgorithms(self):  # noqa: N802
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
