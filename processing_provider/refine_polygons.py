"""Roughly drawn buildings to precise polygons."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputNumber

from ..engine.config import RefineConfig
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import CadastralAlgorithm, explained
from .layers import write_drawings
from .rasters import Orthophoto, model_pixel_m
from .results import Result, facts_of, write_geopackage_metadata


class RefinePolygons(CadastralAlgorithm):
    """``cadastral:refinepolygons``."""

    NAME = "refinepolygons"
    ICON = "refine.svg"
    TAGS = "building,footprint,outline,sharpen,snap,bounding box,brush,stroke,rough,digitize,segment,deep learning"

    def displayName(self):  # noqa: N802
        return self.tr("Refine rough polygons")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Redraws roughly drawn buildings after an orthophoto: bounding boxes, shifted or coarse polygons, "
            "or lines drawn over the roofs with a wide brush.\n\n"
            "Every feature is kept, with its id and its attributes. 'score' is how well the network expects "
            "the new outline to fit (0 to 1), 'iou_input' how much of the drawing stayed in place. What could "
            "not be refined keeps its shape; 'refined' is false then, and 'check' says why. Attributes that "
            "have one of the names written here get '_input' behind theirs."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            p.drawings("INPUT", tr("Rough polygons or strokes"),
                tr("One feature per building, in any CRS: boxes, coarse polygons, or lines along the middle of "
                   "the roof.")),
            p.raster("RASTER", tr("Orthophoto"),
                tr("Any raster GDAL opens, with a CRS and at least three bands (red, green, blue), or one. Of XYZ, WMS "
                   "and other layers QGIS draws what lies around the drawings.")),
            shared.model(),
            p.number("STROKE_WIDTH", tr("Width of strokes (metres)"),
                tr("Lines count as drawn with a brush this wide. It should stay within the roof."),
                field="stroke_width_m", default=4.0, minimum=0.1, maximum=100.0),
            shared.tolerance(),
            shared.regularization(),
            p.number("PASSES", tr("Passes"),
                tr("How often the network looks; each time it starts from what it drew before. Boxes and strokes "
                   "gain by a second pass."),
                field="passes", default=2, minimum=1, maximum=10, advanced=True),
            p.number("MIN_CERTAINTY", tr("Lowest score of a new outline (0 to 1)"),
                tr("Where the network expects to fit worse, the drawing is kept."),
                field="min_certainty", default=0.5, minimum=0.0, maximum=1.0, advanced=True),
            p.bands("BANDS", tr("Bands for red, green and blue"),
                tr("Three bands in this order, or one. Empty: as the orthophoto says."), field="bands",
                parent="RASTER"),
            *shared.smoothing(),
            shared.device(tr("Where the network runs; automatic takes a graphics card if there is one.")),
            shared.precision(),
            p.polygon_sink("OUTPUT", tr("Refined"), tr("One feature per feature of the input, in its CRS.")),
        )  # fmt: skip
        self.addOutput(QgsProcessingOutputNumber("FEATURES", tr("Number of features")))
        self.addOutput(QgsProcessingOutputNumber("REFINED", tr("Number of refined features")))

    def settings(self, parameters, context):
        return RefineConfig(input="-", raster="-", output="-", **self.values(parameters, context))

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        self._photo = Orthophoto.of(self.parameterAsRasterLayer(parameters, "RASTER", context))
        return True

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        source = self.parameterAsSource(parameters, "INPUT", context)
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            config = self.settings(parameters, context)
            config = dataclasses.replace(
                config,
                input=str(Path(name) / "drawings.gpkg"),
                raster=self._photo.file(Path(name), [source], model_pixel_m(config.model), context, feedback),
                crs=self._photo.crs_wkt,
                output=str(Path(name) / "refined.gpkg"),
            )
            features = write_drawings(source, Path(config.input), context, feedback)
            result = self.run_engine("refine", config, feedback)
            written = Result(result["output"])
            output = written.write(self, parameters, "OUTPUT", context, feedback, sources=features, one_to_one=True)
        facts = facts_of({**result, "parameters": {**config.to_dict(), "input": source.sourceName()}})
        self._dressing = output, facts, self.tr("Refined"), "buildings.qml"
        write_geopackage_metadata(output, facts)
        return {"OUTPUT": output, "FEATURES": result["features"], "REFINED": result["refined"]}
