"""Any polygons to simplified, regularised, topologically clean ones."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from ..engine.config import REGULARIZATIONS, RegularizeConfig
from . import parameters as p
from .algorithm import CadastralAlgorithm, explained
from .layers import write_polygons
from .results import Result, dress_layer, facts_of, write_geopackage_metadata


class RegularizePolygons(CadastralAlgorithm):
    """``cadastral:regularizepolygons``."""

    NAME = "regularizepolygons"
    ICON = "regularize.svg"
    TAGS = "orthogonalize,square,simplify,right angle,building,footprint,topology,shared wall"

    def displayName(self):  # noqa: N802
        return self.tr("Regularize polygons")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Simplifies building outlines, squares their corners, and cleans their topology: they do not "
            "overlap, and neighbours share their walls with the same vertices.\n\n"
            "Attributes are kept. 'regularized' says what was done to an outline, 'max_shift_m' how far it "
            "moved, 'iou_raw' how much of it stayed in place, and 'check' why it is worth a look."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        angles = [tr("None"), tr("Right angles"), tr("Right angles and diagonals"), tr("Any angle")]
        for parameter in (
            p.polygons("INPUT", tr("Polygons"), tr("Building outlines in any CRS.")),
            p.number("TOLERANCE", tr("Simplification tolerance (metres)"),
                tr("How far an outline may move when it is simplified and squared."),
                default=0.4, minimum=0.0, maximum=10.0),
            p.choice("REGULARIZATION", tr("Regularization"),
                tr("Which angles the outlines are made of. One that would move too far keeps its shape."),
                options=angles, default=1),
            p.number("MIN_AREA", tr("Smallest polygon (square metres)"),
                tr("Smaller ones are left out; the log says how many."),
                default=0.0, minimum=0.0, maximum=1e6),
            p.number("SNAP", tr("Snapping distance (metres)"),
                tr("Neighbours closer than this get one common wall."),
                default=0.3, minimum=0.0, maximum=5.0, advanced=True),
            p.polygon_sink("OUTPUT", tr("Regularized"), tr("One polygon per outline, in the CRS of the input.")),
        ):  # fmt: skip
            self.addParameter(parameter)

    def settings(self, parameters, context):
        return RegularizeConfig(
            input="-",
            output="-",
            tolerance_m=self.parameterAsDouble(parameters, "TOLERANCE", context),
            regularization=REGULARIZATIONS[self.parameterAsEnum(parameters, "REGULARIZATION", context)],
            min_area_m2=self.parameterAsDouble(parameters, "MIN_AREA", context),
            snap_m=self.parameterAsDouble(parameters, "SNAP", context),
        )

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        source = self.parameterAsSource(parameters, "INPUT", context)
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            config = dataclasses.replace(
                self.settings(parameters, context),
                input=str(Path(name) / "input.gpkg"),
                output=str(Path(name) / "output.gpkg"),
            )
            features = write_polygons(source, Path(config.input), context, split_parts=True)
            result = self.run_engine("regularize", config, feedback)
            written = Result(result["output"])
            output = written.write(self, parameters, "OUTPUT", context, feedback, sources=features)
        facts = facts_of({**result, "parameters": {**config.to_dict(), "input": source.sourceName()}})
        self._dressing = output, facts, self.tr("Regularized"), "buildings.qml"
        write_geopackage_metadata(output, facts)
        return {"OUTPUT": output}

    def postProcessAlgorithm(self, context, feedback):  # noqa: N802
        dress_layer(context, *self._dressing)
        return {}
