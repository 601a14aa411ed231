"""A generated orthophoto with its true outlines."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputNumber

from ..engine.config import STYLES, SceneConfig
from ..engine.errors import InvalidParameter, OutputError
from . import parameters as p
from .algorithm import CadastralAlgorithm, explained
from .results import Result


class CreateSampleScene(CadastralAlgorithm):
    """``cadastral:createsamplescene``."""

    NAME = "createsamplescene"
    ICON = "scene.svg"
    TAGS = "synthetic,orthophoto,test data,sample,generate,building"

    def displayName(self):  # noqa: N802
        return self.tr("Create sample scene")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Generates an orthophoto of a settlement and the true outlines of its buildings, to try the other "
            "algorithms on and to train with. The same seed gives the same scene."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            p.number("WIDTH", tr("Width (pixels)"), tr("Width of the orthophoto."),
                field="width_px", default=1024, minimum=64, maximum=16384),
            p.number("HEIGHT", tr("Height (pixels)"), tr("Height of the orthophoto."),
                field="height_px", default=1024, minimum=64, maximum=16384),
            p.number("PIXEL_SIZE", tr("Ground pixel (metres)"), tr("Edge of a pixel on the ground."),
                field="pixel_m", default=0.2, minimum=0.03, maximum=2.0),
            p.choice("STYLE", tr("Regional style"), tr("How houses, roofs and ground look."),
                field="style", options=[tr(style.replace("_", " ").capitalize()) for style in STYLES], values=STYLES),
            p.number("DENSITY", tr("Density (0 to 1)"), tr("Share of the parcels that carry a building."),
                field="density", default=0.8, minimum=0.0, maximum=1.0),
            p.crs("CRS", tr("CRS"), tr("Coordinate reference system of the scene."), default="EPSG:32633",
                field="crs"),
            p.number("ROTATION", tr("Rotation (degrees)"),
                tr("Of the pixel grid against north, counter-clockwise."),
                field="rotation_deg", default=0.0, minimum=-360.0, maximum=360.0, advanced=True),
            p.number("SEED", tr("Seed"), tr("Another number gives another scene."),
                field="seed", default=1, minimum=0, maximum=2**31 - 1),
            p.raster_destination("OUTPUT", tr("Orthophoto"), tr("GeoTIFF to write.")),
            p.polygon_sink("OUTLINES", tr("True outlines"), tr("One polygon per building.")),
        )  # fmt: skip
        self.addOutput(QgsProcessingOutputNumber("BUILDINGS", tr("Number of buildings")))

    def settings(self, parameters, context):
        return SceneConfig(raster="-", outlines="-", **self.values(parameters, context))

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        raster = Path(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        if raster.suffix.lower() not in (".tif", ".tiff"):
            raise InvalidParameter(f"The orthophoto {raster} is no GeoTIFF", "Name it .tif")
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            config = dataclasses.replace(
                self.settings(parameters, context),
                raster=str(Path(name) / "scene.tif"),
                outlines=str(Path(name) / "outlines.gpkg"),
            )
            result = self.run_engine("scene", config, feedback)
            outlines = Result(result["outlines"]).write(self, parameters, "OUTLINES", context, feedback)
            try:
                shutil.move(result["raster"], raster)
            except OSError as error:
                raster.unlink(missing_ok=True)
                raise OutputError(
                    f"The orthophoto cannot be written ({error.strerror})", "Check the free space"
                ) from error
        return {"OUTPUT": str(raster), "OUTLINES": outlines, "BUILDINGS": result["buildings"]}
