"""A child process apart from QGIS: started clean, listened to while it works, never left behind.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..engine.errors import Cancelled

POLL_S = 0.1
GRACE_S = 1.0
"""What a child gets to end by itself before it is killed; a cancel promises two seconds in all."""
TAIL_LINES = 30

_QGIS_VARIABLES = {
    "CPL_ZIP_ENCODING",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "GDAL_FILENAME_IS_UTF8",
    "GEOTIFF_CSV",
    "GISBASE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PROJ_DATA",
    "PROJ_LIB",
    "SPATIALINDEX_C_LIBRARY",
    "VIRTUAL_ENV",
    "VSI_CACHE",
    "VSI_CACHE_SIZE",
    "__PYVENV_LAUNCHER__",
}
_QGIS_PREFIXES = ("DYLD_", "O4W_", "PYTHON", "QGIS_", "QT_", "OSGEO4W")


def scrubbed_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Copy `variables` without those by which QGIS points at its own libraries and data.

    Proxy, pip, CUDA and cloud storage settings stay. On Windows the QGIS folders also leave PATH.
    """
    clean = {
        name: value
        for name, value in variables.items()
        if name.upper() not in _QGIS_VARIABLES and not name.upper().startswith(_QGIS_PREFIXES)
    }
    qgis_root = variables.get("OSGEO4W_ROOT", "").rstrip("\\/").lower()
    if qgis_root and "PATH" in clean:
        folders = clean["PATH"].split(os.pathsep)
        clean["PATH"] = os.pathsep.join(f for f in folders if not f.lower().startswith(qgis_root))
    return clean


class Child:
    """A running command; use it in a ``with`` block, which ends it and its descendants.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._stderr: deque[str] = deque(maxlen=TAIL_LINES)
        self._stdout: queue.Queue[str | None] = queue.Queue()
        if sys.platform == "win32":
            group: dict[str, Any] = {
                "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
            }
        else:
            group = {"start_new_session": True}
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=scrubbed_environment(os.environ),
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            **group,
        )
        self._threads = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id, which on POSIX is also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative signal number, or None while it runs."""
        return self._process.poll()

    def error_tail(self) -> str:
        """The last lines it wrote to its error output."""
        self._threads[1].join(timeout=1.0)
        return "\n".join(self._stderr).strip()

    def send(self, message: dict[str, Any]) -> None:
        """Write one JSON line to its standard input; a child that is gone does not hear it."""
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def lines(self, is_cancelled: Callable[[], bool]) -> Iterator[str]:
        """Yield the lines of its standard output until it ends. Raises `Cancelled`."""
        gone_since = None
        while True:
            if is_cancelled():
                raise Cancelled
            try:
                line = self._stdout.get(timeout=POLL_S)
            except queue.Empty:
                # A grandchild may hold the pipe open after the child died.
                if self.returncode is not None:
                    gone_since = gone_since or time.monotonic()
                    if time.monotonic() - gone_since > GRACE_S:
                        return
                continue
            if line is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=GRACE_S)
                return
            yield line

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Cancelled:
            self.send({"cancel": True})
        self._stop()

    def _stop(self) -> None:
        """End it and its descendants: first by closing its input, which it takes for a cancel."""
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE_S)
        if self.returncode != 0:
            self._kill_group()
        self._process.wait()
        for thread, pipe in zip(self._threads, (self._process.stdout, self._process.stderr)):
            thread.join(timeout=0.2)
            if not thread.is_alive():  # closing would wait for a thread that reads
                pipe.close()

    def _kill_group(self) -> None:
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self.pid)],
                capture_output=True,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
            self._process.kill()
        else:
            # The leader may be gone while its descendants, still in the group, are not.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _read_stdout(self) -> None:
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._stdout.put(line.rstrip("\n"))
        self._stdout.put(None)

    def _read_stderr(self) -> None:
        with contextlib.suppress(ValueError):
            for line in self._process.stderr:
                self._stderr.append(line.rstrip("\n"))
