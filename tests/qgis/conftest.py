"""A real QGIS with Processing, in a profile that is thrown away, and the plugin under its real name.

The engine's environment is the one scripts/test made in .profile; it is linked into the profile.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROFILE = Path(tempfile.mkdtemp(prefix="cadastral-profile-"))
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QGIS_CUSTOM_CONFIG_PATH"] = str(PROFILE)
os.environ.setdefault("XDG_RUNTIME_DIR", str(PROFILE))

from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback, QgsSettings  # noqa: E402

runpy.run_path(str(ROOT / "engine" / "launch.py"), run_name="launch")  # registers the package

MADE_ENVIRONMENT = ROOT / ".profile/profiles/default/cadastral_vectorizer/environment"


@pytest.fixture(scope="session")
def qgis():
    """The QGIS application."""
    application = QgsApplication([], True)
    application.initQgis()
    QgsSettings().setValue("app/projections/unknownCrsBehavior", "NoAction")
    sys.path.append("/usr/share/qgis/python/plugins")
    from processing.core.Processing import Processing

    Processing.initialize()
    yield application
    application.exitQgis()


@pytest.fixture(scope="session")
def provider(qgis):
    """The plugin's provider, registered as `initProcessing` does it."""
    from cadastral_vectorizer import classFactory

    plugin = classFactory(None)
    plugin.initProcessing()
    yield plugin.provider
    plugin.unload()


@pytest.fixture(scope="session")
def engine(provider):
    """The engine's environment, linked into the profile of these tests."""
    from cadastral_vectorizer.processing_provider.algorithm import engine_environment

    if not MADE_ENVIRONMENT.exists():
        pytest.skip("the engine's environment is missing; run scripts/test")
    environment = engine_environment()
    environment.folder.parent.mkdir(parents=True, exist_ok=True)
    environment.folder.symlink_to(MADE_ENVIRONMENT)
    return environment


@pytest.fixture
def run(engine):
    """Run an algorithm; returns its results. Raises QgsProcessingException with the sentence."""
    import processing

    def run_algorithm(name, parameters, feedback=None, context=None):
        return processing.run(
            f"cadastral:{name}",
            parameters,
            feedback=feedback or QgsProcessingFeedback(),
            context=context or QgsProcessingContext(),
        )

    return run_algorithm


@pytest.fixture(scope="session")
def scene(engine, tmp_path_factory):
    """A small generated orthophoto with its outlines: ``(raster, outlines)``."""
    import processing

    folder = tmp_path_factory.mktemp("scene")
    parameters = {
        "WIDTH": 512,
        "HEIGHT": 384,
        "SEED": 3,
        "OUTPUT": str(folder / "scene.tif"),
        "OUTLINES": str(folder / "scene.gpkg"),
    }
    result = processing.run("cadastral:createsamplescene", parameters)
    return result["OUTPUT"], result["OUTLINES"]
