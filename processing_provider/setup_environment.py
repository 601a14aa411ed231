"""Makes or checks the engine's environment."""

from __future__ import annotations

from qgis.core import QgsProcessingOutputString

from . import parameters as p
from .algorithm import CadastralAlgorithm, engine_environment, explained


class SetUpEnvironment(CadastralAlgorithm):
    """``cadastral:setupenvironment``."""

    NAME = "setupenvironment"
    ICON = "environment.svg"
    TAGS = "install,dependencies,python,pytorch,offline,venv"
    NEEDS_ENGINE = False

    def displayName(self):  # noqa: N802
        return self.tr("Set up the environment")

    def group(self):
        return self.tr("Setup")

    def groupId(self):  # noqa: N802
        return "setup"

    def shortHelpString(self):  # noqa: N802
        return self.tr(
            "Makes the Python environment the other algorithms work in, or checks it. It lies in the QGIS "
            "profile, apart from QGIS's own Python, takes up to 6 GB, and needs a network connection once; "
            "or give a folder of wheels.\n\n"
            "The wheels are those of engine/requirements.txt, fetched on a computer with network by: "
            "pip download -r requirements.txt -d FOLDER"
        )

    def initAlgorithm(self, config=None):  # noqa: N802
        tr = self.tr
        self.declare(
            p.folder("WHEELS", tr("Folder of wheels"),
                tr("Install from these files, without a network. Empty: from the package index."), field="wheels"),
            p.file("PYTHON", tr("Python interpreter"),
                tr("Python 3.11 to 3.14 with venv. Empty: the first suitable one on this computer."),
                file_filter=tr("All files (*)"), field="python", advanced=True),
            p.switch("ANEW", tr("Make it anew"), tr("Remove the environment first, even if it works."),
                field="anew", default=False, advanced=True),
        )  # fmt: skip
        self.addOutput(QgsProcessingOutputString("ENVIRONMENT", tr("Folder of the environment")))
        self.addOutput(QgsProcessingOutputString("PYTHON_VERSION", tr("Version of Python")))
        self.addOutput(QgsProcessingOutputString("VERSIONS", tr("Versions of the packages")))
        self.addOutput(QgsProcessingOutputString("DEVICES", tr("Devices")))

    @explained
    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        environment = engine_environment()
        description = environment.make(feedback, **self.values(parameters, context))
        versions = ", ".join(f"{name} {number}" for name, number in description["versions"].items())
        devices = ", ".join(f"{device['id']} ({device['name']})" for device in description["devices"])
        feedback.pushInfo(f"Python {description['python']}: {versions}")
        feedback.pushInfo(f"Devices: {devices}")
        return {
            "ENVIRONMENT": str(environment.folder),
            "PYTHON_VERSION": description["python"],
            "VERSIONS": versions,
            "DEVICES": devices,
        }
