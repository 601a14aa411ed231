"""The layout and the import rules of the design, read from the source."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("engine", "models", "plugin", "processing_provider")
SOURCES = sorted(p for part in PARTS for p in (ROOT / part).rglob("*.py"))
SHARED = {"config", "walls"}  # what jobs are asked; line fits that simplification and regularisation stand on
STAGES = {p.name for p in (ROOT / "engine").iterdir() if (p / "__init__.py").exists()} - SHARED
TORCH_STAGES = {"detect", "refine", "segment", "training"}  # segment: runs a network over tiles, as detect does
COMPOSERS = {"pipeline", "jobs", "worker", "cli", "geometry", "regularize", "probe", "bundle", "__main__", "preview",
             "export", "finetune", "finetune_report", "train_refiner", "folds", "train_segmenter",
             "refine_polygons", "rough_features"}  # fmt: skip
WHEELS = {"numpy", "torch", "torchvision", "cv2", "rasterio", "shapely", "geopandas", "pandas", "pyproj", "pyogrio",
          "skimage", "scipy", "safetensors"}  # fmt: skip
SHOWN_IN_QGIS = ("config", "errors", "progress", "about", "accuracy_limits", "job_folder")
STANDARD_LIBRARY_ONLY = tuple(f"engine/{name}" for name in SHOWN_IN_QGIS) + ("models/manifest",)  # modules or folders
TRAINING_MAY_USE = {"torch", "torchvision", "numpy", "cv2"}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Absolute dotted names a module imports; relative ones resolved against the package root."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    package = path.relative_to(ROOT).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                found.add(node.module or "")
                continue
            base = ["<package>", *package][: len(package) + 2 - node.level]
            stem = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            found |= {stem} | {f"{stem}.{alias.name}" for alias in node.names}
    return found


def distribution(name: str) -> str:
    return name.split(".")[0]


def test_there_is_something_to_check():
    assert len(SOURCES) > 60
    assert {"raster", "detect", "merge", "refine", "contours", "simplify", "regularise", "topology"} <= STAGES


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_keeps_the_import_rules(path):
    part, *rest = path.relative_to(ROOT).parts
    stage = rest[0] if part == "engine" and len(rest) > 1 else None
    names = imports(path)
    wheels = {distribution(n) for n in names} & WHEELS
    own = {n.removeprefix("<package>.") for n in names if n.startswith("<package>")}
    if part in ("plugin", "processing_provider"):
        assert not wheels, "no wheel is imported in the QGIS process"
        engine = {n for n in own if n.startswith("engine.")}
        assert all(n.split(".")[1] in SHOWN_IN_QGIS for n in engine), engine
        models = {n for n in own if n.startswith("models.") and not n.startswith("models.manifest")}
        assert not models, "networks stay with the engine"
        return
    assert not any(distribution(n) in ("qgis", "PyQt5", "PyQt6", "processing") for n in names)
    assert not any(n.startswith(("plugin", "processing_provider")) for n in own)
    if part == "models":
        assert all(n.split(".")[1] == "errors" for n in own if n.startswith("engine.") and n.count(".")), own
        return
    if stage:
        others = {n.split(".")[1] for n in own if n.startswith("engine.")}
        assert not others & (STAGES - {stage}), "stage folders do not import each other"
        assert not others & COMPOSERS, "stages do not know what composes them"
        if "torch" in wheels or any(n.startswith("models") for n in own):
            assert stage in TORCH_STAGES
        if stage == "training":
            assert wheels <= TRAINING_MAY_USE, "training runs on a bare machine"
    else:
        late = {distribution(n) for n in imports(path, top_level_only=True)}
        assert not late & {"torch", "torchvision"}, "torch is imported late outside its folders"
    if {str(p.relative_to(ROOT).with_suffix("")) for p in (path, path.parent)} & set(STANDARD_LIBRARY_ONLY):
        assert not wheels


def test_pyproject_lists_every_package():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {p.parent.relative_to(ROOT) for part in ("engine", "models") for p in (ROOT / part).rglob("*.py")}
    expected = {"cadastral_vectorizer"} | {".".join(["cadastral_vectorizer", *f.parts]) for f in folders}
    assert listed == expected


def test_versions_agree():
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    version = metadata["general"]["version"]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_file_grows_into_a_god_file():
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 500}
    assert not long


def test_root_module_holds_class_factory_and_nothing_else():
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    kinds = [type(node) for node in body]
    assert kinds == [ast.Expr, ast.FunctionDef]
    assert body[1].name == "classFactory"
