"""Raster in, building polygons out: everything that needs no QGIS."""
