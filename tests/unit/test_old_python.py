"""What QGIS imports of the engine runs on the Python of the oldest QGIS we support."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = sorted([*(ROOT / "plugin").rglob("*.py"), *(ROOT / "processing_provider").rglob("*.py"),
                 *(ROOT / "engine" / "config").glob("*.py"),
                 *(ROOT / "engine" / f"{n}.py" for n in ("errors", "progress", "about", "job_folder")),
                 ROOT / "models" / "manifest.py"])  # fmt: skip


@pytest.mark.parametrize("path", SHARED, ids=lambda p: str(p.relative_to(ROOT)))
def test_syntax_and_calls_are_of_python_3_9(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip":
            assert not any(k.arg == "strict" for k in node.keywords), "zip(strict=) came with 3.10"
        if isinstance(node, ast.Attribute):
            assert node.attr != "UnionType", "types.UnionType came with 3.10"
