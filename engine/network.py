"""No network that the user did not ask for: what a local file points to is not fetched.

Virtual layers, service descriptions and linked coordinate systems may all carry addresses. What the user names as an
address himself is fetched as ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Every request goes to a proxy that does not exist, and fails at once.
_OFFLINE = {
    "GDAL_HTTP_PROXY": "http://127.0.0.1:9",
    "GDAL_HTTPS_PROXY": "http://127.0.0.1:9",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_CONNECTTIMEOUT": "1",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing",
}
# Hosts that need no proxy would slip through: GDAL has no option against it, so these variables go.
_EXCEPTIONS = {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ}


def is_remote(path: str) -> bool:
    """Say whether the user himself named something other than a local file."""
    return "://" in path or path.startswith(("/vsi", "<")) or path.upper().startswith(("WMS:", "WMTS:", "WCS:"))


def gdal_network_options(path: str) -> dict[str, str]:
    """GDAL's options for what `path` may fetch; none if it is an address itself."""
    if is_remote(path):
        os.environ.update(_EXCEPTIONS)
        return {}
    for name in _EXCEPTIONS:
        os.environ.pop(name, None)
    return _OFFLINE


@contextmanager
def vector_access(path: str) -> Iterator[None]:
    """Read a vector file inside this: see `gdal_network_options`. For one thread at a time."""
    import pyogrio

    options = gdal_network_options(path)
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)
