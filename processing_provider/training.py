"""What the algorithms that train have in common: orthophotos and drawings to a model package, in a job folder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from ..engine.config import chip_pixel_m
from ..engine.errors import InvalidParameter, OutputError
from ..models.manifest import BUNDLED
from .algorithm import CadastralAlgorithm, explained
from .jobs import fingerprint, job_folder
from .layers import content_hash, write_polygons
from .rasters import Orthophoto, model_pixel_m


class TrainingAlgorithm(CadastralAlgorithm):
    """Base of the algorithms that train; their configurations name chips, rasters and annotations.

    Attributes:
        JOB: engine job that trains.
        LAYERS: fields of its configuration whose drawings go to the engine as GeoPackages; the parameters have
            their names in capitals.
    """

    ICON = "finetune.svg"
    JOB = ""
    LAYERS = ("annotations", "area")

    @explained
    def prepareAlgorithm(self, parameters, context, feedback):  # noqa: N802
        self._photos = [Orthophoto.of(layer) for layer in self.parameterAsLayerList(parameters, "INPUT", context)]
        return True

    def train(self, parameters, context, feedback) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train; give the engine's result and the outputs that are files.

        Orthophotos that are no files are drawn around the annotated area, or else around the annotations.

        Raises:
            InvalidParameter: the package would be no zip file.
            RasterError, VectorError: an orthophoto cannot be drawn there.
            OutputError: report or figures cannot be written where they are wanted.
        """
        config = self.settings(parameters, context)
        output = self.parameterAsFileOutput(parameters, "OUTPUT_MODEL", context)
        if Path(output).suffix.lower() != ".zip":
            raise InvalidParameter(f"The model package {output} is no zip file", "Name it .zip")
        wanted = [f for f in ("report", "figures") if hasattr(config, f)]
        pages = {f: self.parameterAsFileOutput(parameters, f.upper(), context) for f in wanted}
        sources = {f: self.parameterAsSource(parameters, f.upper(), context) for f in self.LAYERS}
        hashes = {field: content_hash(source) for field, source in sources.items()}
        photos = self._photos
        asked = {**config.to_dict(), **hashes, "photos": [[photo.source, photo.crs_wkt] for photo in photos]}
        mark = fingerprint(asked, *(photo.path for photo in photos), *_learnt_from(config))
        with job_folder(self.parameterAsString(parameters, "JOB_FOLDER", context), mark, feedback) as folder:
            paths = {"output": output, "work_folder": str(folder / "work")}
            if photos:
                ground = [sources["area"] or sources["annotations"]]
                pixel_m = chip_pixel_m(getattr(config, "pixel_m", 0.0) or model_pixel_m(config.base))
                paths["rasters"] = tuple(photo.file(folder, ground, pixel_m, context, feedback) for photo in photos)
                paths["crs"] = tuple(photo.crs_wkt for photo in photos)
            for field, source in sources.items():
                paths[field] = str(folder / f"{field}-{hashes[field][:16]}.gpkg") if source is not None else ""
                if source is not None and not Path(paths[field]).exists():
                    write_polygons(source, Path(paths[field]), context)
            for field, path in pages.items():
                paths[field] = str(folder / Path(path).name) if path else ""
            result = self.run_engine(self.JOB, dataclasses.replace(config, **paths), feedback)
            outputs = {"OUTPUT_MODEL": output, "MODEL_HASH": result["model_hash"]}
            for field, path in pages.items():
                if path:
                    try:
                        shutil.move(paths[field], path)
                    except OSError as error:
                        raise OutputError(f"{path} cannot be written ({error.strerror})", "Choose another") from error
                    outputs[field.upper()] = path
        return result, outputs


def _learnt_from(config) -> list[str]:
    """Files that must stay the same for a run to be continued."""
    pairs = getattr(config, "pairs", "")
    return [
        config.base or str(BUNDLED),
        *(str(Path(folder) / "annotations.json") for folder in config.chips),
        *(str(file) for file in (sorted(Path(pairs).glob("*/*")) if pairs else ())),
    ]
