"""The plugin: registers the Processing provider, and puts the common commands into the menu."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QUrl
from qgis.PyQt.QtGui import QDesktopServices, QIcon

from ..processing_provider.provider import CadastralProvider
from .about import RESOURCES, about

try:  # Qt6 moved it
    from qgis.PyQt.QtGui import QAction
except ImportError:
    from qgis.PyQt.QtWidgets import QAction


class CadastralVectorizerPlugin:
    """What QGIS loads. `iface` is None in qgis_process.

    Args:
        iface: ``QgisInterface`` of the running QGIS, or None.
    """

    def __init__(self, iface):
        self.iface = iface
        self.provider = None
        self.actions = []
        self.toolbar = None

    def tr(self, text):
        """Translate `text`."""
        return QCoreApplication.translate("CadastralVectorizer", text)

    def initProcessing(self):  # noqa: N802
        """Register the provider; qgis_process calls this and nothing else."""
        self.provider = CadastralProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):  # noqa: N802
        """Register the provider, fill menu and toolbar."""
        self.initProcessing()
        self.toolbar = self.iface.addToolBar(about()["name"])
        self.toolbar.setObjectName("CadastralVectorizer")
        vectorize = self._add("vectorize.svg", self.tr("Vectorize buildings..."), self.vectorize_buildings)
        self.toolbar.addAction(vectorize)
        self._add("environment.svg", self.tr("Set up the environment..."), self.set_up_environment)
        self._add("logo.svg", self.tr("Help"), self.show_help)

    def unload(self):
        """Take everything away again."""
        for action in self.actions:
            self.iface.removePluginMenu(about()["name"], action)
            action.deleteLater()
        self.actions = []
        if self.toolbar is not None:
            self.toolbar.deleteLater()
            self.toolbar = None
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None

    def vectorize_buildings(self):
        """Open the dialog of the main algorithm."""
        self._open("cadastral:vectorizebuildings")

    def set_up_environment(self):
        """Open the dialog that installs the engine's environment."""
        self._open("cadastral:setupenvironment")

    def show_help(self):
        """Open the help page."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(RESOURCES / "help" / "index.html")))

    def _open(self, algorithm):
        import processing  # QGIS's own plugin; not on the path before QGIS has loaded it

        processing.execAlgorithmDialog(algorithm)

    def _add(self, icon, text, slot):
        action = QAction(QIcon(str(RESOURCES / "icons" / icon)), text, self.iface.mainWindow())
        action.triggered.connect(slot)
        self.iface.addPluginToMenu(about()["name"], action)
        self.actions.append(action)
        return action
