"""Detected buildings against the existing cadastre."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from qgis.core import QgsProcessingOutputNumber

from ..engine.config import CompareConfig
from ..engine.errors import InvalidParameter
from . import parameters as p
from . import shared_parameters as shared
from .algorithm import CadastralAlgorithm, explained
from .layers import new_file, write_buildings, write_polygons
from .reports import publish_figures
from .results import Result, facts_of, write_geopackage_metadata

STATUSES = ("unchanged", "modified", "shifted", "split", "merged", "new", "demolished")


class CompareWithCadastre(CadastralAlgorithm):
    """``cadastral:comparewithcadastre``."""

    NAME = "comparewithcadastre"
    ICON = "compare.svg"
    TAGS = "change,update,new,demolished,modified,shifted,cadastre,difference,monitoring,building"

    def displayName(self):  # noqa: N802
        return self.tr("Compare with cadastre")

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Says what became of every building of the cadastre: unchanged, modified, shifted, split, merged "
            "or demolished, and which buildings are new. Identifiers of the cadastre are kept; a new building "
            "gets one made of its outline, the same each time.\n\n"
            "Unchanged and demolished buildings keep the outline of the cadastre, the others get the detected "
            "one. If all are shifted alike, the outputs MEDIAN_DX and MEDIAN_DY show it: then the orthophoto "
            "or the whole cadastre is off.\n\n"
            "A missing detection is a reason to look, not a proof of demolition."
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            p.polygons("INPUT", tr("Detected buildings"),
                tr("Polygons that show the present, in any CRS, for example of 'Vectorize buildings'.")),
            p.polygons("CADASTRE", tr("Cadastre"), tr("Polygons of the buildings on record, in any CRS.")),
            p.column("CADASTRE_ID", tr("Identifier in the cadastre"), parent="CADASTRE", help_text=
                tr("Field that names a building. Empty: the field 'id', or else the number of the feature.")),
            p.polygons("AREA", tr("Area to compare in"), optional=True, help_text=
                tr("Polygons inside which buildings were looked for, in any CRS. Empty: everywhere, and what "
                   "lies outside the orthophoto counts as demolished.")),
            p.number("TOLERANCE", tr("Tolerance of outlines (metres)"),
                tr("Outlines closer than this along 95 % of their length are unchanged."),
                field="tolerance_m", default=0.5, minimum=0.01, maximum=100.0),
            p.number("SHIFT", tr("Smallest shift (metres)"),
                tr("A building of the same shape that is farther than this from its place is shifted."),
                field="shift_m", default=0.5, minimum=0.01, maximum=100.0),
            p.number("MIN_AREA", tr("Smallest new building (square metres)"),
                tr("Smaller detections that are not in the cadastre are left out; the log says how many."),
                field="min_area_m2", default=10.0, minimum=0.0, maximum=1e6),
            p.number("MIN_OVERLAP", tr("Least overlap (0.05 to 0.95)"),
                tr("Share of the smaller of two outlines that both must cover to be the same building."),
                field="min_overlap", default=0.3, minimum=0.05, maximum=0.95, advanced=True),
            p.polygon_sink("OUTPUT", tr("Changes"),
                tr("One polygon per finding, in the CRS of the cadastre; 'status' says what it is.")),
            shared.figures(tr("The numbers of buildings, for other programs.")),
        )  # fmt: skip
        for status in STATUSES:
            self.addOutput(QgsProcessingOutputNumber(status.upper(), tr("Polygons:") + " " + tr(status)))
        self.addOutput(QgsProcessingOutputNumber("MEDIAN_DX", tr("Median shift to the east (metres)")))
        self.addOutput(QgsProcessingOutputNumber("MEDIAN_DY", tr("Median shift to the north (metres)")))

    def settings(self, parameters, context):
        field = self.parameterAsString(parameters, "CADASTRE_ID", context)
        cadastre = self.parameterAsSource(parameters, "CADASTRE", context)
        if field and cadastre is not None and cadastre.fields().lookupField(field) < 0:
            known = ", ".join(known.name() for known in cadastre.fields())
            raise InvalidParameter(f"The cadastre has no field '{field}'", f"Choose one of: {known}")
        values = self.values(parameters, context)
        return CompareConfig(predicted="-", cadastre="-", output="-", cadastre_id=field or "id", **values)

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        settings = self.settings(parameters, context)
        detected, cadastre, area = (
            self.parameterAsSource(parameters, name, context) for name in ("INPUT", "CADASTRE", "AREA")
        )
        figures = self.parameterAsFileOutput(parameters, "FIGURES", context)
        named = {"predicted": detected.sourceName(), "cadastre": cadastre.sourceName()}
        named["area"] = area.sourceName() if area else ""
        with tempfile.TemporaryDirectory(prefix="cadastral-") as name:
            folder = Path(name)
            bounds = new_file(folder, area.sourceName()) if area else ""
            if area:
                write_polygons(area, bounds, context)
            config = dataclasses.replace(
                settings,
                predicted=write_buildings(detected, folder, context, feedback),
                cadastre=write_buildings(cadastre, folder, context, feedback, identifier=settings.cadastre_id),
                cadastre_id="id",
                area=str(bounds),
                output=str(folder / ".changes.gpkg"),
                figures=str(folder / ".figures.json") if figures else "",
            )
            result = self.run_engine("compare", config, feedback)
            output = Result(result["output"]).write(self, parameters, "OUTPUT", context, feedback)
            facts = facts_of({"parameters": {**settings.to_dict(), **named}})
            outputs = {"OUTPUT": output}
            if figures:
                publish_figures(Path(config.figures), Path(figures), {**settings.to_dict(), **named})
                outputs["FIGURES"] = figures
        self._dressing = output, facts, self.tr("Changes"), "cadastre.qml"
        write_geopackage_metadata(output, facts)
        counts = {status.upper(): result["summary"][status]["findings"] for status in STATUSES}
        shift = {name.upper(): result["figures"][f"{name}_m"] for name in ("median_dx", "median_dy")}
        return {**outputs, **counts, **{name: value for name, value in shift.items() if value is not None}}
