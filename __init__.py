"""Cadastral Vectorizer: building polygons from orthophotos, as a QGIS plugin."""


def classFactory(iface):
    """QGIS calls this once when it loads the plugin."""
    from .plugin.main import CadastralVectorizerPlugin

    return CadastralVectorizerPlugin(iface)
