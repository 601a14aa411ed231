"""From a raster file to pixels on a working grid, tile by tile."""
