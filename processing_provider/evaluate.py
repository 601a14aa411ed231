"""Predicted polygons against reference polygons."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputNumber

from ..engine.accuracy_limits import ORDER_P0393
from ..engine.config import EvaluateConfig
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import CadastralAlgorithm, explained
from .layers import new_file, write_buildings, write_polygons
from .rasters import Orthophoto, model_pixel_m
from .reports import publish, publish_figures, push_link
from .results import Result, facts_of, write_geopackage_metadata

FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AP_small_m2", "AP_medium_m2", "AP_large_m2",
    "boundary_AP", "boundary_AP_025m", "precision", "recall", "F1", "best_F1", "best_threshold", "completeness",
    "correctness", "quality", "tp", "fp", "fn", "splits", "merges", "IoU", "pixel_accuracy", "mean_iou_matched",
    "boundary_iou", "boundary_iou_025m", "polis_m", "hausdorff_m", "hausdorff95_m", "c_iou", "vertex_ratio",
    "max_tangent_angle_deg", "corner_dx_m", "corner_dy_m", "corner_rmse_x_m", "corner_rmse_y_m", "corner_rmse_m",
    "corner_p95_m", "corner_max_m", "corner_within_limit", "corner_within_2limit", "corners_unmatched_share",
    "pixel_m", "limit_m",
)  # fmt: skip
"""Numbers handed on as outputs, by their names in docs/metrics.md; one that is not defined is left out."""


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
            "the outlines fit, how far corners are off. The report explains the figures.\n\n"
            "Agreement with a digitised reference is not absolute accuracy; that takes points surveyed "
            "independently."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        classes = [tr("The limit below")] + [f"{tr(name).capitalize()} ({limit:.2f} m)" for name, limit in ORDER_P0393]
        self.declare(
            p.polygons("INPUT", tr("Predicted buildings"),
                tr("Polygons to be judged; a field 'score' orders them.")),
            p.polygons("REFERENCE", tr("Reference buildings"), tr("Polygons taken for true.")),
            p.polygons("AREA", tr("Area to compare in"), optional=True, help_text=
                tr("Polygons inside which the reference is complete. Empty: everywhere.")),
            p.raster("RASTER", tr("Orthophoto"), optional=True, help_text=
                tr("Gives the ground pixel, and the pictures in the report. Of XYZ, WMS and other layers QGIS draws "
                   "what lies around the area, or around all the buildings.")),
            p.polygon_layers("OTHERS", tr("More predicted layers"),
                tr("Judged like the first and shown beside it in the report.")),
            p.switch("SURVEYED", tr("The reference was surveyed in the field"),
                tr("Measured independently of the orthophoto and at least three times more accurate than the "
                   "limit. Only then do the figures say something about absolute accuracy."),
                field="surveyed", default=False),
            p.choice("ACCURACY_CLASS", tr("Limit for corners by land category"),
                tr("Limiting mean-square error of characteristic points after order P/0393 (2020)."),
                options=classes),
            p.number("LIMIT", tr("Limit for corners (metres)"),
                tr("Limiting mean-square error of corner positions, where no land category is chosen."),
                field="limit_m", default=0.1, minimum=0.001, maximum=100.0, advanced=True),
            p.number("PIXEL_SIZE", tr("Ground pixel (metres, 0 = of the orthophoto)"),
                tr("For figures that are counted in pixels. Without it and without an orthophoto they are left out."),
                field="pixel_m", default=0.0, minimum=0.0, maximum=100.0, advanced=True),
            p.number("SMALL_AREA", tr("Small buildings are below (square metres)"),
                tr("Figures by size: the limit between small and medium buildings."),
                default=50.0, minimum=0.0, maximum=1e6, advanced=True),
            p.number("LARGE_AREA", tr("Large buildings are above (square metres)"),
                tr("Figures by size: the limit between medium and large buildings."),
                default=250.0, minimum=0.0, maximum=1e6, advanced=True),
            p.polygon_sink("OUTPUT", tr("Matches"), optional=True, help_text=
                tr("One polygon per predicted or missed building; 'kind' says what it is.")),
            shared.report(tr("Page with all figures and pictures.")),
            shared.figures(tr("All figures, for other programs.")),
        )  # fmt: skip
        for name in FIGURES:
            self.addOutput(QgsProcessingOutputNumber(name, name))

    def settings(self, parameters, context):
        values = self.values(parameters, context)
        category = self.parameterAsEnum(parameters, "ACCURACY_CLASS", context)
        if category:
            values["limit_m"] = ORDER_P0393[category - 1][1]
        sizes = tuple(self.parameterAsDouble(parameters, name, context) for name in ("SMALL_AREA", "LARGE_AREA"))
        return EvaluateConfig(predicted="-", reference="-", size_limits_m2=sizes, **values)

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        raster = self.parameterAsRasterLayer(parameters, "RASTER", context)
        self._photo = Orthophoto.of(raster) if raster else None
        self._others = self.parameterAsLayerList(parameters, "OTHERS", context)
        return True

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        settings, photo = self.settings(parameters, context), self._photo
        predicted, reference, area = (
            self.parameterAsSource(parameters, name, context) for name in ("INPUT", "REFERENCE", "AREA")
        )
        others = [self.parameterAsSource({"INPUT": layer}, "INPUT", context) for layer in self._others]
        named = dataclasses.replace(
            settings,
            predicted=predicted.sourceName(),
            reference=reference.sourceName(),
            raster=(photo.path or photo.name) if photo else "",
            area=area.sourceName() if area else "",
            others=tuple(other.sourceName() for other in others),
        ).to_dict()
        report, figures = (self.parameterAsFileOutput(parameters, name, context) for name in ("REPORT", "FIGURES"))
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            folder = Path(name)
            bounds = new_file(folder, area.sourceName()) if area else ""
            if area:
                write_polygons(area, bounds, context)
            ground = [area] if area else [predicted, reference]
            pixel_m = settings.pixel_m or model_pixel_m("")
            config = dataclasses.replace(
                settings,
                predicted=write_buildings(predicted, folder, context, feedback),
                reference=write_buildings(reference, folder, context, feedback),
                others=tuple(write_buildings(other, folder, context, feedback) for other in others),
                area=str(bounds),
                raster=photo.file(folder, ground, pixel_m, context, feedback) if photo else "",
                crs=photo.crs_wkt if photo else "",
                matches=str(folder / ".matches.gpkg") if parameters.get("OUTPUT") else "",
                report=str(folder / ".report.html") if report else "",
                figures=str(folder / ".figures.json") if figures else "",
            )
            result = self.run_engine("evaluate", config, feedback)
            outputs = {}
            if config.matches:
                output = Result(config.matches).write(self, parameters, "OUTPUT", context, feedback)
                self._dressing = output, facts_of({"parameters": named}), self.tr("Matches"), "matches.qml"
                write_geopackage_metadata(output, self._dressing[1])
                outputs["OUTPUT"] = output
            if figures:
                publish_figures(Path(config.figures), Path(figures), named)
                outputs["FIGURES"] = figures
            if report:
                publish(Path(config.report), Path(report))
                push_link(feedback, self.tr("Report"), Path(report))
                outputs["REPORT"] = report
        known = {name: result["figures"].get(name) for name in FIGURES}
        return {**outputs, **{name: value for name, value in known.items() if value is not None}}
