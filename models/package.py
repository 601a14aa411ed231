"""Model packages: a folder or zip of ``model.json`` and safetensors files. Opening one executes nothing.

The manifest is the contract between the weights and the rasters they may see::

    {"format": 1, "name": ..., "pixel_m": 0.2, "bands": 3, "value_range": [0, 255], "classes": ["building"],
     "tile_size_px": 512, "overlap_px": 160, "score_threshold": 0.5,
     "detector": {"architecture": ..., "parameters": {...}, "file": "detector.safetensors", "sha256": ...},
     "refiner": {... or null}, "segmenter": {... or null}, "training": {...}, "metrics": {...}}

A segmenter takes the place of the detector: a package holds one of the two.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..engine.errors import ModelPackageError, OutputError
from .manifest import BUNDLED, FORMAT, MANIFEST, NETWORKS, open_manifest

__all__ = ["BUNDLED", "NETWORKS", "ModelPackage", "open_package", "write_package"]

MAX_WEIGHTS_BYTES = 2 << 30


@dataclass(frozen=True)
class ModelPackage:
    """An opened package; weights are read and checked when a network is asked for.

    Attributes:
        path: folder or zip.
        manifest: contents of ``model.json``.
        hash: SHA-256 of ``model.json``, which names the hashes of the weights.
    """

    path: Path
    manifest: dict[str, Any]
    hash: str
    _read: Callable[[str, int], bytes] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name with the beginning of the hash: what results are signed with."""
        return f"{self.manifest['name']} ({self.hash[:8]})"

    @property
    def has_refiner(self) -> bool:
        """Whether the package holds a refiner."""
        return bool(self.manifest.get("refiner"))

    @property
    def has_segmenter(self) -> bool:
        """Whether the package finds buildings with a segmenter instead of a detector."""
        return bool(self.manifest.get("segmenter")) and not self.manifest.get("detector")

    def detector(self) -> Any:
        """The detector with its weights, on the CPU, in evaluation mode."""
        from .detector import build_detector

        entry = self.entry("detector")
        return self._load("detector", lambda: build_detector(entry["architecture"], entry["parameters"]))

    def segmenter(self) -> Any:
        """The segmenter with its weights, on the CPU, in evaluation mode."""
        from .segmenters import build_segmenter

        entry = self.entry("segmenter")
        return self._load("segmenter", lambda: build_segmenter(entry["architecture"], entry["parameters"]))

    def refiner(self) -> Any:
        """The refiner with its weights, on the CPU, in evaluation mode."""
        from .refiners import build_refiner

        entry = self.entry("refiner")
        return self._load("refiner", lambda: build_refiner(entry["architecture"], entry["parameters"]))

    def weights(self, network: str) -> dict[str, Any]:
        """State dict (float32 tensors) of one of `NETWORKS`, after its hash was checked."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        entry = self.entry(network)
        data = self._read(entry["file"], MAX_WEIGHTS_BYTES)
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ModelPackageError(
                f"{entry['file']} of model package {self.path} is not the file its manifest names (wrong SHA-256)",
                "Get the package again from where it came",
            )
        try:
            return {name: t.float() if t.is_floating_point() else t for name, t in load(data).items()}
        except (SafetensorError, ValueError, KeyError) as error:
            raise ModelPackageError(
                f"{entry['file']} of model package {self.path} is no safetensors file ({error})",
                "Get the package again from where it came",
            ) from error

    def entry(self, network: str) -> dict[str, Any]:
        """What the manifest says of one of `NETWORKS`. Raises `ModelPackageError` when the package lacks it."""
        entry = self.manifest.get(network)
        if not entry:
            raise ModelPackageError(f"Model package {self.path} has no {network}", "Choose another package")
        return entry

    def _load(self, network: str, build: Callable[[], Any]) -> Any:
        """Build a network and fill in its weights, after seeing that it is no larger than they are."""
        import torch

        weights = self.weights(network)
        try:
            with torch.device("meta"):  # sizes without memory
                wanted = {name: tensor.shape for name, tensor in build().state_dict().items()}
        except ModelPackageError:
            raise
        except Exception as error:  # parameters within bounds may still make no sense to an architecture
            raise ModelPackageError(
                f"The {network} in {self.path} cannot be built ({' '.join(str(error).split())})",
                "Use a package made by this version",
            ) from error
        given = {name: tensor.shape for name, tensor in weights.items()}
        if wanted != given:
            odd = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
            raise ModelPackageError(
                f"The weights of the {network} in {self.path} do not fit its architecture ({odd[0]} and "
                f"{len(odd) - 1} more)",
                "Use a package made by this version",
            )
        model = build()
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelPackageError(
                f"The weights of the {network} in {self.path} do not fit its architecture "
                f"({str(error).splitlines()[-1].strip()})",
                "Use a package made by this version",
            ) from error
        return model.eval()


def open_package(path: str | Path = "") -> ModelPackage:
    """Open a model package; the bundled one for an empty path. Raises `ModelPackageError`, see `open_manifest`."""
    return ModelPackage(*open_manifest(path))


def write_package(
    path: str | Path,
    *,
    name: str,
    pixel_m: float,
    networks: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]],
    training: dict[str, Any],
    metrics: dict[str, Any],
    **settings: Any,
) -> ModelPackage:
    """Write a package, atomically, as a zip.

    Args:
        path: the zip to write.
        networks: some of `NETWORKS` -> (architecture, parameters, state dict); weights are
            stored in float16.
        training, metrics: data, licences and scores for the card.
        settings: further manifest entries (``score_threshold``, ``tile_size_px``, ``overlap_px``, ``looks``).
    """
    from safetensors.torch import save

    path = Path(path)
    manifest: dict[str, Any] = {
        "format": FORMAT, "name": name, "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "pixel_m": pixel_m, "bands": 3, "value_range": [0, 255], "classes": ["building"],
        **settings, "training": training, "metrics": metrics,
    }  # fmt: skip
    files = {}
    for network in NETWORKS:
        if network not in networks:
            manifest[network] = None
            continue
        architecture, parameters, state = networks[network]
        data = save({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()})
        files[f"{network}.safetensors"] = data
        manifest[network] = {
            "architecture": architecture, "parameters": parameters,
            "file": f"{network}.safetensors", "sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            for file, data in files.items():
                archive.writestr(file, data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"The model package {path} cannot be written ({error.strerror})", "Choose another place"
        ) from error
    return open_package(path)
