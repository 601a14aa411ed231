"""What all algorithms share: names, icon, one way to call the engine, one way to say what failed."""

from __future__ import annotations

from functools import wraps
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsProcessingAlgorithm,
    QgsProcessingDestinationParameter,
    QgsProcessingException,
    QgsProcessingParameterFolderDestination,
)
from qgis.PyQt.QtGui import QIcon

from ..engine.errors import EngineError
from ..plugin.about import RESOURCES
from ..plugin.environment import Environment
from .engine_process import run_job
from .layers import destination_file, require_writable
from .parameters import tr
from .results import dress_layer


def profile_folder() -> Path:
    """The plugin's folder in the QGIS profile: environment and unfinished jobs, kept over updates."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "cadastral_vectorizer"


def engine_environment() -> Environment:
    """The engine's environment of this QGIS profile."""
    return Environment(profile_folder() / "environment")


def explained(process):
    """Decorate ``processAlgorithm`` so that an expected failure reaches the log as its one sentence."""

    @wraps(process)
    def wrapper(self, parameters, context, feedback):
        try:
            return process(self, parameters, context, feedback)
        except EngineError as error:
            raise QgsProcessingException(str(error)) from error

    return wrapper


class CadastralAlgorithm(QgsProcessingAlgorithm):
    """Base of the algorithms; subclasses fill in the constants and the methods.

    Order in every file: constants, `displayName` to `shortHelpString`, `initAlgorithm`, `settings`,
    `prepareAlgorithm`, `processAlgorithm`.
    """

    NAME = ""
    ICON = "logo.svg"
    TAGS = ""
    NEEDS_ENGINE = True

    tr = staticmethod(tr)
    _dressing = None  # of the result layer: what `dress_layer` takes behind the context

    def createInstance(self):  # noqa: N802
        return type(self)()

    def name(self):
        return self.NAME

    def tags(self):
        return self.tr(self.TAGS).split(",")

    def icon(self):
        return QIcon(str(RESOURCES / "icons" / self.ICON))

    def group(self):
        return self.tr("Buildings")

    def groupId(self):  # noqa: N802
        return "buildings"

    def declare(self, *declared):
        """Add parameters, each as `parameters.Parameter`, in this order."""
        self._fields = {one.field: (one.definition.name(), one.read) for one in declared if one.field}
        for one in declared:
            self.addParameter(one.definition)

    def values(self, parameters, context):
        """What was chosen, by the fields of the job's configuration that the parameters declare."""
        return {
            field: read(self.parameterDefinition(name), parameters, context)
            for field, (name, read) in self._fields.items()
        }

    def settings(self, parameters, context):
        """The job's configuration with blank paths, validated before the run; None if there is none."""

    def checkParameterValues(self, parameters, context):  # noqa: N802
        ok, message = super().checkParameterValues(parameters, context)
        if not ok:
            return ok, message
        try:
            if self.NEEDS_ENGINE:
                engine_environment().require()
            self._check_destinations(parameters)
            config = self.settings(parameters, context)
            if config is not None:
                config.validate()
        except EngineError as error:
            return False, str(error)
        return True, ""

    def _check_destinations(self, parameters):
        """Raise `OutputError` for a file that cannot be written."""
        for definition in self.parameterDefinitions():
            value = parameters.get(definition.name())
            if isinstance(definition, QgsProcessingParameterFolderDestination):
                continue  # the engine says what is wrong with a folder
            if value and isinstance(definition, QgsProcessingDestinationParameter):
                require_writable(destination_file(value))

    def run_engine(self, job, config, feedback):
        """Run one job of the engine. Returns its result. Raises `EngineError`."""
        return run_job(engine_environment().require(), job, config.to_dict(), feedback)

    def postProcessAlgorithm(self, context, feedback):  # noqa: N802
        if self._dressing:
            dress_layer(context, *self._dressing)
        return {}
