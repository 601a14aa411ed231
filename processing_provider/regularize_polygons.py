"""Any polygons to simplified, regularised, topologically clean ones."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from ..engine.config import RegularizeConfig
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import CadastralAlgorithm, explained
from .layers import write_polygons
from .results import Result, facts_of, write_geopackage_metadata


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
        self.declare(
            p.polygons("INPUT", tr("Polygons"), tr("Building outlines in any CRS.")),
            shared.tolerance(
                tr("How far an outline may move when it is simplified and squared."), default=0.4),
            shared.regularization(),
            p.number("MIN_AREA", tr("Smallest polygon (square metres)"),
                tr("Smaller ones are left out; the log says how many."),
                field="min_area_m2", default=0.0, minimum=0.0, maximum=1e6),
            p.number("SNAP", tr("Snapping distance (metres)"),
                tr("Neighbours closer than this get one common wall."),
                field="snap_m", default=0.3, minimum=0.0, maximum=5.0, advanced=True),
            p.polygon_sink("OUTPUT", tr("Regularized"), tr("One polygon per outline, in the CRS of the input.")),
        )  # fmt: skip

    def settings(self, parameters, context):
        return RegularizeConfig(input="-", output="-", **self.values(parameters, context))

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
