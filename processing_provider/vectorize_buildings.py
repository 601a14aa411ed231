"""Orthophoto to building polygons."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..engine.config import LOOKS, SeveralConfig, VectorizeConfig
from ..models.manifest import BUNDLED
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import CadastralAlgorithm, explained
from .ground import ground_to_work_in
from .jobs import fingerprint, job_folder
from .layers import content_hash, write_polygons
from .rasters import LIMIT_PX, Orthophoto, model_pixel_m
from .results import Result, facts_of, write_geopackage_metadata


class VectorizeBuildings(CadastralAlgorithm):
    """``cadastral:vectorizebuildings``."""

    NAME = "vectorizebuildings"
    ICON = "vectorize.svg"
    TAGS = "building,house,footprint,orthophoto,aerial,detect,extract,digitize,cadastre,deep learning"

    def displayName(self):  # noqa: N802
        return self.tr("Vectorize buildings")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Finds the buildings in an orthophoto and outlines each with one polygon.\n\n"
            "A neural network finds every building, a second one sharpens its outline, and the outlines are "
            "simplified, squared and cleaned: they do not overlap, and neighbours share their walls.\n\n"
            "Several orthophotos can be worked on in one run; each building is found once. Layers of web services are "
            "drawn for the area to work in first, and nothing else is fetched.\n\n"
            "Look first at the outlines whose attribute 'check' is not empty. A run that was stopped goes on "
            "where it was when it is run again with the same parameters."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            p.raster("INPUT", tr("Orthophoto"),
                tr("Any raster GDAL opens, with a CRS and at least three bands (red, green, blue). Layers of web "
                   "services and other layers that are no files are drawn by QGIS first, up to {} million "
                   "pixels; choose an area to work in.").format(LIMIT_PX // 1_000_000)),
            p.polygons("AREA", tr("Area to work in"), optional=True, help_text=
                tr("Polygons that bound the work, in any CRS. Empty: the whole orthophoto.")),
            p.extent("EXTENT", tr("Extent to work in"),
                tr("A rectangle drawn on the map, that of a layer, or xmin,xmax,ymin,ymax [EPSG:code]. With an area: "
                   "what lies in both.")),
            shared.model(),
            p.number("SCORE_THRESHOLD", tr("Lowest score (0 to 1)"),
                tr("Buildings the network is less sure of are left out. Lower finds more, also false ones."),
                field="score_threshold", default=0.5, minimum=0.0, maximum=1.0),
            p.switch("REFINE", tr("Sharpen outlines with the second network"),
                tr("Outlines follow the image more closely; takes longer."), field="refine", default=True),
            p.choice("LOOKS", tr("Looks at the image"),
                tr("From how many directions the first network looks at every place; what all agree on counts. Four "
                   "find more buildings and outline them better, and take up to four times as long."),
                options=[tr("As the model recommends (usually one)"), tr("One"), tr("Two: upright and upside down"),
                         tr("Four: in all quarter turns")], field="looks", values=LOOKS),
            shared.tolerance(),
            shared.regularization(
                tr("Which angles the outlines are made of. One that would move too far keeps its shape; its "
                   "attributes 'regularized' and 'check' say so.")),
            p.number("MIN_AREA", tr("Smallest building (square metres)"),
                tr("Smaller ones are left out; the log says how many."),
                field="min_area_m2", default=6.0, minimum=0.0, maximum=1e6),
            shared.model_pixel(
                tr("The orthophoto is brought to it first. Smaller finds smaller buildings, larger is faster and sees "
                   "large ones whole; half to twice that of the model.")),
            p.number("TILE_SIZE", tr("Tile size (pixels, 0 = automatic)"),
                tr("Edge of the pieces the orthophoto is worked in: 0, or 128 to 4096."),
                field="tile_size_px", default=0, minimum=0, maximum=4096, advanced=True),
            p.number("OVERLAP", tr("Overlap of tiles (pixels, 0 = automatic)"),
                tr("How far neighbouring pieces reach into each other, at most half of the tile size."),
                field="overlap_px", default=0, minimum=0, maximum=2048, advanced=True),
            p.number("BATCH_SIZE", tr("Batch size (tiles, 0 = automatic)"),
                tr("How many pieces the network sees at once; fewer need less memory."),
                field="batch_size", default=0, minimum=0, maximum=256, advanced=True),
            *shared.smoothing(),
            p.switch("SPLIT_TERRACES", tr("Split fused terraces"),
                tr("Takes rows of houses that were seen as one apart where a party wall shows."),
                field="split_terraces", default=False, advanced=True),
            shared.device(tr("Where the networks run; automatic takes a graphics card if there is one.")),
            shared.precision(
                tr("Number format inside the networks; bfloat16 is faster where the processor knows it.")),
            p.rasters("MORE_INPUTS", tr("More orthophotos"),
                tr("Worked on in the same run; they may differ in CRS and ground pixel. A building that several show "
                   "is kept once: as the one with the finer ground pixel, then the first in the list shows it, but "
                   "whole rather than cut by an edge."), optional=True, advanced=True),
            p.bands("BANDS", tr("Bands for red, green and blue"),
                tr("Three bands in this order, or one for grey. Empty: as the orthophoto says, else the first three."),
                field="bands", parent="INPUT"),
            p.switch("SKIP_UNREADABLE", tr("Leave out what cannot be read"),
                tr("Damaged parts of the orthophoto are passed over with a warning instead of ending the run; the "
                   "attributes 'edge' and 'check' mark the buildings beside them."),
                field="skip_unreadable", default=False, advanced=True),
            shared.job_folder(),
            p.polygon_sink("OUTPUT", tr("Buildings"),
                tr("One polygon per building, in the CRS of the orthophoto.")),
        )  # fmt: skip
        self.addOutput(QgsProcessingOutputNumber("BUILDINGS", tr("Number of buildings")))
        self.addOutput(QgsProcessingOutputNumber("SECONDS", tr("Seconds the engine worked")))
        self.addOutput(QgsProcessingOutputString("MODEL_HASH", tr("Hash of the model")))

    def settings(self, parameters, context):
        return VectorizeConfig(raster="-", output="-", job_folder="-", **self.values(parameters, context))

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        layers = [self.parameterAsRasterLayer(parameters, "INPUT", context)]
        layers += self.parameterAsLayerList(parameters, "MORE_INPUTS", context)
        self._photos = [Orthophoto.of(layer) for layer in layers]
        return True

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        config, photos = self.settings(parameters, context), self._photos
        area = ground_to_work_in(self, parameters, context, photos[0].crs)
        bounds = content_hash(area)
        asked = {**config.to_dict(), "area": bounds, "photos": [[photo.source, photo.crs_wkt] for photo in photos]}
        asked.pop("skip_unreadable")  # a run that met a damaged block goes on when it may skip it
        mark = fingerprint(asked, *(photo.path for photo in photos), config.model or str(BUNDLED))
        with job_folder(self.parameterAsString(parameters, "JOB_FOLDER", context), mark, feedback) as folder:
            ground, pixel_m = [area] if area else [], config.pixel_m or model_pixel_m(config.model)
            files = [photo.file(folder, ground, pixel_m, context, feedback) for photo in photos]
            config = dataclasses.replace(
                config,
                raster=files[0],
                crs=photos[0].crs_wkt,
                output=str(folder / "buildings.gpkg"),
                job_folder=str(folder),
                area=str(folder / f"area-{bounds[:16]}.gpkg") if area else "",
            )
            if area and not Path(config.area).exists():
                write_polygons(area, Path(config.area), context)
            job = "vectorize"
            if len(files) > 1:
                systems = tuple(photo.crs_wkt for photo in photos[1:])
                config = SeveralConfig(**config.to_dict(), more_rasters=tuple(files[1:]), more_crs=systems)
                job = "vectorize-several"
            result = self.run_engine(job, config, feedback)
            output = Result(result["output"]).write(self, parameters, "OUTPUT", context, feedback)
        self._dressing = output, facts_of(result), self.tr("Buildings"), "buildings.qml"
        write_geopackage_metadata(output, self._dressing[1])
        numbers = {name.upper(): result[name] for name in ("buildings", "seconds", "model_hash")}
        return {"OUTPUT": output, **numbers}
