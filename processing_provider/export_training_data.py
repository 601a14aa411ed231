"""Orthophotos and hand-drawn outlines to a folder of training chips."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputFile, QgsProcessingOutputNumber

from ..engine.finetune_config import ExportConfig
from . import parameters as p
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
        for parameter in (
            p.rasters("INPUT", tr("Orthophotos"),
                tr("One or several, in any CRS and of any ground pixel. Of XYZ, WMS and other layers QGIS draws what "
                   "lies around the outlines, or the annotated area.")),
            p.polygons("ANNOTATIONS", tr("Outlines of buildings"), tr("Drawn by hand, in any CRS; holes are kept.")),
            p.polygons("AREA", tr("Annotated area"), optional=True, help_text=
                tr("Polygons in which every building is outlined. Empty: everywhere.")),
            p.polygons("NEGATIVES", tr("No buildings"), optional=True, help_text=
                tr("Polygons around what was taken for a building and is none, such as yards or buses; also outside "
                   "the annotated area. Training looks there more often.")),
            p.number("PIXEL_SIZE", tr("Ground pixel (metres)"),
                tr("Of the images; coarser orthophotos keep their own."),
                default=0.12, minimum=0.02, maximum=2.0),
            p.number("CHIP_SIZE", tr("Size of the images (pixels)"), tr("Edge of the training images."),
                default=768, minimum=128, maximum=4096),
            p.number("OVERLAP", tr("Overlap (pixels)"),
                tr("How far training images reach into each other, at most half of their size."),
                default=128, minimum=0, maximum=2048, advanced=True),
            p.number("EMPTY_SHARE", tr("Share of images without buildings (0 to 0.9)"),
                tr("They teach what is no building."), default=0.2, minimum=0.0, maximum=0.9),
            p.number("VALIDATION_SHARE", tr("Share kept aside to measure with (0 to 0.8)"),
                tr("Of the buildings, in whole blocks of ground."), default=0.2, minimum=0.0, maximum=0.8),
            p.number("BLOCK_SIZE", tr("Size of the blocks (metres, 0 = automatic)"),
                tr("Edge of the blocks of ground that are learnt from or kept aside."),
                default=0.0, minimum=0.0, maximum=100000.0, advanced=True),
            p.number("SEED", tr("Seed"), tr("Another number keeps other blocks aside."),
                default=1, minimum=0, maximum=2**31 - 1, advanced=True),
            p.folder_destination("OUTPUT_FOLDER", tr("Folder of training data"),
                tr("An empty or new folder, or one of training data, which is replaced.")),
        ):  # fmt: skip
            self.addParameter(parameter)
        for name in ("TRAIN", "VALIDATION", "SKIPPED"):
            self.addOutput(QgsProcessingOutputNumber(f"{name}_BUILDINGS", tr(f"{name.capitalize()} buildings")))
        self.addOutput(QgsProcessingOutputFile("REPORT", tr("Report")))

    def settings(self, parameters, context):
        return ExportConfig(
            rasters=("-",),
            annotations="-",
            output_folder="-",
            pixel_m=self.parameterAsDouble(parameters, "PIXEL_SIZE", context),
            chip_px=self.parameterAsInt(parameters, "CHIP_SIZE", context),
            overlap_px=self.parameterAsInt(parameters, "OVERLAP", context),
            empty_share=self.parameterAsDouble(parameters, "EMPTY_SHARE", context),
            val_share=self.parameterAsDouble(parameters, "VALIDATION_SHARE", context),
            block_m=self.parameterAsDouble(parameters, "BLOCK_SIZE", context),
            seed=self.parameterAsInt(parameters, "SEED", context),
        )

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
