"""Orthophotos and hand-drawn outlines to a folder of training chips."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputFile, QgsProcessingOutputNumber

from ..engine.config import ExportConfig
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import CadastralAlgorithm, explained
from .layers import write_polygons
from .rasters import Orthophoto


class ExportTrainingData(CadastralAlgorithm):
    """``cadastral:exporttrainingdata``."""

    NAME = "exporttrainingdata"
    ICON = "export.svg"
    TAGS = "training,chips,COCO,annotation,deep learning,data set,machine learning,building"

    def displayName(self):  # noqa: N802
        return self.tr("Export training data")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Cuts orthophotos into small images with a COCO file of the buildings on them, to train with here or "
            "on another machine.\n\n"
            "Some blocks of ground are kept aside to measure with; no training image shows any of them. Draw the "
            "annotated area around what is fully outlined: outside it nothing is learnt. What was skipped, and why, "
            "stands in report.json in the folder."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            p.rasters("INPUT", tr("Orthophotos"),
                tr("One or several, in any CRS and of any ground pixel. Of XYZ, WMS and other layers QGIS draws what "
                   "lies around the outlines, or the annotated area.")),
            shared.annotations(optional=False),
            shared.annotated_area(),
            shared.negatives(),
            p.number("PIXEL_SIZE", tr("Ground pixel (metres)"),
                tr("Of the images; coarser orthophotos keep their own."),
                field="pixel_m", default=0.12, minimum=0.02, maximum=2.0),
            p.number("CHIP_SIZE", tr("Size of the images (pixels)"), tr("Edge of the training images."),
                field="chip_px", default=768, minimum=128, maximum=4096),
            p.number("OVERLAP", tr("Overlap (pixels)"),
                tr("How far training images reach into each other, at most half of their size."),
                field="overlap_px", default=128, minimum=0, maximum=2048, advanced=True),
            p.number("EMPTY_SHARE", tr("Share of images without buildings (0 to 0.9)"),
                tr("They teach what is no building."), field="empty_share", default=0.2, minimum=0.0, maximum=0.9),
            p.number("VALIDATION_SHARE", tr("Share kept aside to measure with (0 to 0.8)"),
                tr("Of the buildings, in whole blocks of ground."),
                field="val_share", default=0.2, minimum=0.0, maximum=0.8),
            p.number("BLOCK_SIZE", tr("Size of the blocks (metres, 0 = automatic)"),
                tr("Edge of the blocks of ground that are learnt from or kept aside."),
                field="block_m", default=0.0, minimum=0.0, maximum=100000.0, advanced=True),
            shared.seed(tr("Another number keeps other blocks aside.")),
            p.folder_destination("OUTPUT_FOLDER", tr("Folder of training data"),
                tr("An empty or new folder, or one of training data, which is replaced.")),
        )  # fmt: skip
        for name in ("TRAIN", "VALIDATION", "SKIPPED"):
            self.addOutput(QgsProcessingOutputNumber(f"{name}_BUILDINGS", tr(f"{name.capitalize()} buildings")))
        self.addOutput(QgsProcessingOutputFile("REPORT", tr("Report")))

    def settings(self, parameters, context):
        return ExportConfig(rasters=("-",), output_folder="-", **self.values(parameters, context))

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        layers = self.parameterAsLayerList(parameters, "INPUT", context)
        self._photos = [Orthophoto.of(layer) for layer in layers]
        return True

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        folder = self.parameterAsString(parameters, "OUTPUT_FOLDER", context)
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            paths = {}
            for field, parameter in ((name, name.upper()) for name in ("annotations", "area", "negatives")):
                source = self.parameterAsSource(parameters, parameter, context)
                if source is not None:
                    paths[field] = str(Path(name) / f"{field}.gpkg")
                    write_polygons(source, Path(paths[field]), context)
            shown = self.parameterAsSource(parameters, "AREA" if "area" in paths else "ANNOTATIONS", context)
            config = self.settings(parameters, context)
            paths["rasters"] = tuple(
                photo.file(Path(name), [shown], config.pixel_m, context, feedback) for photo in self._photos
            )
            paths["crs"] = tuple(photo.crs_wkt for photo in self._photos)
            config = dataclasses.replace(config, output_folder=folder, **paths)
            result = self.run_engine("export-training-data", config, feedback)
        return {
            "OUTPUT_FOLDER": folder,
            "REPORT": result["report"],
            "TRAIN_BUILDINGS": result["buildings"]["train"],
            "VALIDATION_BUILDINGS": result["buildings"]["val"],
            "SKIPPED_BUILDINGS": sum(result["skipped"].values()),
        }
