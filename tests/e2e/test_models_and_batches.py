"""The other two ways into Processing: a model from the modeler, and a batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import BUNDLED, MODEL, ROOT, call, read_layer

MODEL3 = Path(__file__).with_name("photo_to_buildings.model3")
BATCH = """
import sys
from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback
application = QgsApplication([], False)
application.initQgis()
sys.path.append("/usr/share/qgis/python/plugins")
from processing.core.Processing import Processing
from processing.gui.AlgorithmExecutor import execute  # what the batch dialog calls for each row
Processing.initialize()
sys.path.append(QgsApplication.qgisSettingsDirPath() + "python/plugins")
import cadastral_vectorizer
plugin = cadastral_vectorizer.classFactory(None)
plugin.initProcessing()
for raster, output, model in zip(*[iter(sys.argv[1:])] * 3):
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("cadastral:vectorizebuildings")
    parameters = {"INPUT": raster, "OUTPUT": output, "MODEL": model}
    ok, results = execute(algorithm, parameters, QgsProcessingContext(), QgsProcessingFeedback())
    print(ok, results["BUILDINGS"])
application.exitQgis()
"""


def test_a_model_of_two_algorithms_runs(vectorize, scene, tmp_path):
    output = tmp_path / "out.gpkg"
    settings = [f"photo={scene[0]}", f"square:buildings={output}"]
    if MODEL != BUNDLED:
        settings.append(f"model={MODEL}")
    done = call("run", str(MODEL3), "--", *settings)
    assert done.returncode == 0, done.errors
    names, rows = read_layer(output)
    assert len(rows) > 0
    assert names.count("regularized") == 1
    assert {attributes["regularized"] for attributes, _ in rows} & {"right_angles", "kept", "circle"}


def test_a_batch_runs_one_raster_after_the_other(vectorize, scene, tmp_path):
    profile = ROOT / ".profile"
    variables = {**os.environ, "QGIS_CUSTOM_CONFIG_PATH": str(profile), "QT_QPA_PLATFORM": "offscreen"}
    model = "" if MODEL == BUNDLED else str(MODEL)
    rows = [(str(scene[0]), str(tmp_path / name), model) for name in ("a.gpkg", "b.gpkg")]
    done = subprocess.run(
        [sys.executable, "-c", BATCH, *(value for row in rows for value in row)],
        capture_output=True,
        text=True,
        env=variables,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("True")]
    assert len(lines) == 2, done.stderr
    assert lines[0] == lines[1]
    assert len(read_layer(tmp_path / "a.gpkg")[1]) == len(read_layer(tmp_path / "b.gpkg")[1])
