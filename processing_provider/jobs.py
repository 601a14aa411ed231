"""Where a job works until it is complete, and what becomes of that folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..engine.errors import EngineError, InvalidParameter, JobFolderError, OutputError
from ..engine.finetune_config import chip_pixel_m
from ..engine.job_folder import require_plain
from ..plugin.about import version
from .algorithm import CadastralAlgorithm, profile_folder
from .engine_process import Feedback, JobFailed
from .layers import content_hash, write_polygons
from .rasters import Orthophoto, model_pixel_m

_REFUSED = {"InvalidParameter", "RasterError", "VectorError", "AreaOutside", "ModelPackageError"}
"""Kinds of error after which there is nothing to continue, unless the work had begun."""


def fingerprint(config: dict[str, Any], *files: str) -> str:
    """16 hexadecimal digits that are the same for the same parameters, files and software."""
    state: list[Any] = [version(), config]
    for name in files:
        try:
            status = os.stat(name)
            state.append([name, status.st_size, status.st_mtime_ns])
        except (OSError, ValueError):
            state.append([name])
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def job_folder(given: str, mark: str, feedback: Feedback) -> Iterator[Path]:
    """Give the folder a job works in: `given`, or one in the QGIS profile that is named by `mark`.

    The one in the profile is removed when the job is complete. When it fails or is cancelled, the
    folder stays, and the log says that running the same again goes on from there.

    Raises:
        JobFolderError: it cannot be made, or holds links to other places.
    """
    folder = Path(given) if given else profile_folder() / "jobs" / mark
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobFolderError(
            f"The job folder {folder} cannot be made ({error.strerror})", "Choose another one"
        ) from error
    require_plain(folder)
    try:
        yield folder
    except EngineError as error:
        kind = error.kind if isinstance(error, JobFailed) else type(error).__name__
        if kind in _REFUSED and not any(folder.rglob("journal.sqlite")):
            _remove(folder, given)
        elif kind == "JobFolderError" and not given and re.search("another job|has left out", error.what):
            # Its raster changed behind an unchanged name, as the sources of a VRT can, or was mended since.
            _remove(folder, given)
            raise JobFolderError("What an earlier run left does not fit any more", "Run it again") from error
        else:
            feedback.pushInfo(f"Work done so far is kept in {folder}; the same run again continues it")
        raise
    _remove(folder, given)


def run_training(
    job: str, algorithm: CadastralAlgorithm, config: Any, photos: Sequence[Orthophoto], parameters, context, feedback,
    *, layers: Sequence[str], files: Sequence[str],
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Train to a model package in a job folder; give the engine's result and the outputs that are files.

    Args:
        job: engine job that trains.
        config: its configuration, whose paths are filled in: ``output``, ``work_folder``, ``rasters`` with their
            ``crs``, ``report`` and ``figures`` where it has them, and one for each of the `layers`.
        photos: those that are no files are drawn around the annotated area, or else around the annotations.
        layers: fields whose drawings go to the engine as GeoPackages; parameters have their names in capitals.
        files: what is learnt from besides, and the base model; a run is continued only while they stay the same.

    Raises:
        InvalidParameter: the package would be no zip file.
        RasterError, VectorError: an orthophoto cannot be drawn there.
        OutputError: report or figures cannot be written where they are wanted.
    """
    output = algorithm.parameterAsFileOutput(parameters, "OUTPUT_MODEL", context)
    if Path(output).suffix.lower() != ".zip":
        raise InvalidParameter(f"The model package {output} is no zip file", "Name it .zip")
    wanted = [f for f in ("report", "figures") if hasattr(config, f)]
    pages = {f: algorithm.parameterAsFileOutput(parameters, f.upper(), context) for f in wanted}
    sources = {f: algorithm.parameterAsSource(parameters, f.upper(), context) for f in layers}
    hashes = {field: content_hash(source) for field, source in sources.items()}
    asked = {**config.to_dict(), **hashes, "photos": [[photo.source, photo.crs_wkt] for photo in photos]}
    mark = fingerprint(asked, *(photo.path for photo in photos), *files)
    with job_folder(algorithm.parameterAsString(parameters, "JOB_FOLDER", context), mark, feedback) as folder:
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
        result = algorithm.run_engine(job, dataclasses.replace(config, **paths), feedback)
        outputs = {"OUTPUT_MODEL": output, "MODEL_HASH": result["model_hash"]}
        for field, path in pages.items():
            if path:
                try:
                    shutil.move(paths[field], path)
                except OSError as error:
                    raise OutputError(f"{path} cannot be written ({error.strerror})", "Choose another") from error
                outputs[field.upper()] = path
    return result, outputs


def _remove(folder: Path, given: str) -> None:
    """Remove a folder of ours; the user's own stays."""
    if not given:
        shutil.rmtree(folder, ignore_errors=True)
