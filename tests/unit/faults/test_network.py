"""Local files that point to the network fetch nothing; what the user names himself is fetched."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

VECTORS = {
    "source.vrt": '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/vsicurl/{url}.geojson</SrcDataSource>'
    "</OGRVRTLayer></OGRVRTDataSource>",
    "plain.vrt": '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>{url}.geojson</SrcDataSource>'
    "</OGRVRTLayer></OGRVRTDataSource>",
    "service.xml": "<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>",
    "linked.geojson": '{{"type": "FeatureCollection", "features": [], "crs": {{"type": "link", "properties": '
    '{{"href": "{url}", "type": "proj4"}}}}}}',
    "entity.gml": '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]><ogr:FeatureCollection '
    'xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://ogr.maptools.org/ {url}.xsd">'
    "<gml:featureMember><ogr:a><ogr:n>&e;</ogr:n></ogr:a></gml:featureMember></ogr:FeatureCollection>",
    "link.kml": '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]>'
    '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><NetworkLink><Link><href>{url}.kml</href></Link>'
    "</NetworkLink><Placemark><name>&e;</name></Placemark></Document></kml>",
}
RASTERS = {
    "curl.vrt": '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS><GeoTransform>5e5,.2,0,5e6,0,-.2'
    '</GeoTransform><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>/vsicurl/{url}.tif'
    "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>",
    "plain_url.vrt": '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS><GeoTransform>5e5,.2,0,5e6,0'
    ',-.2</GeoTransform><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{url}.tif'
    "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>",
    "tms.xml": '<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>'
    "<DataWindow><UpperLeftX>-20037508</UpperLeftX><UpperLeftY>20037508</UpperLeftY><LowerRightX>20037508</LowerRightX>"
    "<LowerRightY>-20037508</LowerRightY><TileLevel>3</TileLevel></DataWindow><Projection>EPSG:3857</Projection><BandsCount>3"
    "</BandsCount></GDAL_WMS>",
    "wcs.xml": "<WCS_GDAL><ServiceURL>{url}</ServiceURL><CoverageName>x</CoverageName></WCS_GDAL>",
    "wmts.xml": "<GDAL_WMTS><GetCapabilitiesUrl>{url}</GetCapabilitiesUrl></GDAL_WMTS>",
}
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
from cadastral_vectorizer.engine.area import read_area
from cadastral_vectorizer.engine.contracts import Grid
from cadastral_vectorizer.engine.crs import parse_crs
from cadastral_vectorizer.engine.errors import EngineError
from cadastral_vectorizer.engine.evaluation.layers import read_vectors
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.engine.regularize import read_layer
UTM = parse_crs("EPSG:32633").to_wkt()
GRID = Grid(500, 400, (0.2, 0.0, 500_000.0, 0.0, -0.2, 4_650_000.0), UTM, 0.2)
def read_raster(path):
    with RasterSource.open(path, pixel_m=None) as source:
        source.read((0, 0, 64, 64))
readers = [read_raster] if sys.argv[1] == "raster" else [lambda p: read_area(p, GRID, UTM), read_vectors, read_layer]
for path in sys.argv[2:]:
    for reader in readers:
        try:
            reader(path)
        except EngineError as error:
            assert str(error).endswith(".") and chr(10) not in str(error), error
"""


@pytest.fixture
def server():
    """A web server that answers nothing useful; ``(url, requests it heard)``."""
    heard = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            heard.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}/x", heard
    listening.shutdown()


def read(kind: str, *paths, **variables) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, *map(str, paths)], env={**os.environ, **variables}, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def write(folder: Path, texts: dict[str, str], url: str) -> list[Path]:
    paths = []
    for name, text in texts.items():
        paths.append(folder / name)
        paths[-1].write_text(text.format(url=url))
    return paths


@pytest.mark.parametrize(("kind", "texts"), [("vector", VECTORS), ("raster", RASTERS)])
def test_local_files_fetch_nothing_even_where_hosts_need_no_proxy(server, tmp_path, kind, texts):
    url, heard = server
    read(kind, *write(tmp_path, texts, url), no_proxy="*", NO_PROXY="*")
    assert heard == []


@pytest.mark.parametrize("kind", ["vector", "raster"])
def test_what_the_user_names_is_fetched(server, kind):
    url, heard = server
    read(kind, f"/vsicurl/{url}.{'geojson' if kind == 'vector' else 'tif'}", no_proxy="*")
    assert heard


BOMB = '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + k)} "{("&" + chr(97 + k) + ";") * 10}">' for k in range(9)
) + "]>"  # fmt: skip
LEAK = '<!DOCTYPE l [<!ENTITY j SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("entity", [BOMB, LEAK], ids=["a billion laughs", "a local file"])
def test_entities_in_xml_are_neither_blown_up_nor_fetched(tmp_path, entity):
    """Ten billion letters in a kilobyte; and the secrets of another file."""
    texts = {
        "a.gml": '<ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml">'
        "<gml:featureMember><ogr:a><ogr:n>&j;</ogr:n></ogr:a></gml:featureMember></ogr:FeatureCollection>",
        "a.kml": '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>&j;</name></Placemark>'
        "</Document></kml>",
        "a.vrt": '<OGRVRTDataSource><OGRVRTLayer name="&j;"><SrcDataSource>&j;</SrcDataSource></OGRVRTLayer>'
        "</OGRVRTDataSource>",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f'<?xml version="1.0"?>{entity}{text}')
    (tmp_path / "b.vrt").write_text(
        f'{entity}<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>&j;</SRS><VRTRasterBand dataType="Byte" band="1">'
        "<SimpleSource><SourceFilename>&j;</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    program = "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n" + PROGRAM.replace(
        "reader(path)", "found = reader(path); assert 'root:' not in str(found)"
    )
    for kind, paths in (("vector", sorted(texts)), ("raster", ["b.vrt"])):
        command = [sys.executable, "-c", program, kind, *(str(tmp_path / path) for path in paths)]
        run = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert "root:" not in run.stdout + run.stderr
