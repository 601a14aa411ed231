"""Predicted polygons against reference polygons."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputNumber

from ..engine.config import EvaluateConfig
from . import parameters as p
from .algorithm import CadastralAlgorithm, explained
from .layers import raster_source, write_polygons
from .results import Result

FIGURES = ("AP", "AP50", "F1")


class Evaluate(CadastralAlgorithm):
    """``cadastral:evaluate``."""

    NAME = "evaluate"
    ICON = "evaluate.svg"
    TAGS = "accuracy,quality,AP,IoU,completeness,correctness,compare,validation,building"

    def displayName(self):  # noqa: N802
        return self.tr("Evaluate buildings against a reference")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Compares predicted with reference outlines: how many were found, how many are false, how well "
            "the outlines fit, how far corners are off.\n\n"
            "Agreement with a digitised reference is not absolute accuracy; that takes points surveyed "
            "independently."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        for parameter in (
            p.polygons("INPUT", tr("Predicted buildings"),
                tr("Polygons to be judged; a field 'score' orders them.")),
            p.polygons("REFERENCE", tr("Reference buildings"), tr("Polygons taken for true.")),
            p.polygons("AREA", tr("Area to compare in"), optional=True, help_text=
                tr("Polygons inside which the reference is complete. Empty: everywhere.")),
            p.raster("RASTER", tr("Orthophoto"), optional=True, help_text=
                tr("Gives the ground pixel, and the pictures in the report.")),
            p.number("LIMIT", tr("Limit for corners (metres)"),
                tr("Limiting mean-square error of corner positions."),
                default=0.1, minimum=0.001, maximum=100.0, advanced=True),
            p.polygon_sink("OUTPUT", tr("Matches"), optional=True, help_text=
                tr("One polygon per predicted or missed building, with what it was matched to.")),
            p.file_destination("REPORT", tr("Report"), tr("Page with all figures and pictures."),
                file_filter=tr("Web pages (*.html)")),
            p.file_destination("FIGURES", tr("Figures"), tr("All figures, for other programs."),
                file_filter=tr("JSON files (*.json)")),
        ):  # fmt: skip
            self.addParameter(parameter)
        for name in FIGURES:
            self.addOutput(QgsProcessingOutputNumber(name, name))

    def settings(self, parameters, context):
        limit = self.parameterAsDouble(parameters, "LIMIT", context)
        return EvaluateConfig(predicted="-", reference="-", limit_m=limit)

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        raster = self.parameterAsRasterLayer(parameters, "RASTER", context)
        self._raster = raster_source(raster) if raster else ""
        return True

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        outputs = {}
        files = {f: self.parameterAsFileOutput(parameters, f.upper(), context) for f in ("report", "figures")}
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            paths = {"raster": self._raster}
            for field, parameter in (("predicted", "INPUT"), ("reference", "REFERENCE"), ("area", "AREA")):
                source = self.parameterAsSource(parameters, parameter, context)
                if source is not None:
                    paths[field] = str(Path(name) / f"{field}.gpkg")
                    write_polygons(source, Path(paths[field]), context, keep=("id", "score"))
            for field, path in files.items():
                paths[field] = str(Path(name) / Path(path).name) if path else ""
            paths["matches"] = str(Path(name) / "matches.gpkg") if parameters.get("OUTPUT") else ""
            config = dataclasses.replace(self.settings(parameters, context), **paths)
            result = self.run_engine("evaluate", config, feedback)
            if config.matches:
                matches = Result(result["matches"])
                outputs["OUTPUT"] = matches.write(self, parameters, "OUTPUT", context, feedback)
            for field, path in files.items():
                if path:
                    shutil.move(paths[field], path)
                    outputs[field.upper()] = path
        return {**outputs, **{name: result["figures"].get(name) for name in FIGURES}}
