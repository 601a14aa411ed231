"""The engine's own Python environment: find a Python that is not QGIS, install, verify, explain.

It lies in the QGIS profile, outside the plugin folder, so that an update of the plugin keeps it. A
marker file, written last, tells a complete environment from a half-made one. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..engine.errors import EngineEnvironmentError
from ..processing_provider.engine_process import EngineDied, Feedback, JobFailed, run_job
from .child import Child, scrubbed_environment

REQUIREMENTS = Path(__file__).resolve().parent.parent / "engine" / "requirements.txt"
SUPPORTED = ((3, 11), (3, 14))
"""Oldest and newest Python all requirements have wheels for."""
HOW_TO_SET_UP = "Run 'Set up the environment' (cadastral:setupenvironment) first"

_CHECK = "import sys, ensurepip, venv; print(*sys.version_info[:2], int(sys.maxsize > 2**32))"


class Environment:
    """The engine's environment in one folder.

    Args:
        folder: where it is or will be; everything in it belongs to this class.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def marker(self) -> Path:
        """The file that is written when it is complete."""
        return self.folder / "cadastral_vectorizer.json"

    def description(self) -> dict[str, Any]:
        """What `make` reported when it was completed; empty when it is not complete."""
        try:
            return json.loads(self.marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def require(self) -> Path:
        """Return its interpreter. Raises `EngineEnvironmentError` when it is not there or outdated."""
        made_of = self.description().get("requirements")
        if made_of is None or not self.python.exists():
            raise EngineEnvironmentError("The engine's Python environment is not set up", HOW_TO_SET_UP)
        if made_of != requirements_hash():
            raise EngineEnvironmentError(
                "The engine's Python environment belongs to another version of this plugin", HOW_TO_SET_UP
            )
        return self.python

    def is_ready(self) -> bool:
        """Whether it is complete and belongs to these requirements."""
        try:
            self.require()
        except EngineEnvironmentError:
            return False
        return True

    def make(
        self, feedback: Feedback, *, wheels: str = "", python: str = "", anew: bool = False
    ) -> dict[str, Any]:
        """Make or complete the environment, verify it and describe it; quick when it is up to date.

        Args:
            feedback: gets pip's progress, and says when to stop.
            wheels: folder of wheels to install from without a network; empty for the package index.
            python: interpreter to start from; empty to look for one.
            anew: remove what is there first.

        Returns:
            ``requirements`` (hash), ``python`` (version), ``versions`` and ``devices`` of the probe.

        Raises:
            EngineEnvironmentError: no suitable Python, no room, no network, a missing wheel.
            EngineDied, JobFailed: what was installed does not work; the next call starts anew.
            Cancelled: the feedback was cancelled; the next call starts anew.
        """
        if wheels and not Path(wheels).is_dir():
            raise EngineEnvironmentError(f"There is no folder {wheels}", "Give the one that holds the wheels")
        if anew or not self.is_ready():
            self._install(feedback, wheels, python, anew)
        feedback.setProgressText("Asking the engine for its versions and devices")
        try:
            probe = run_job(self.python, "probe", {}, feedback)
        except (EngineDied, JobFailed):
            self.marker.unlink(missing_ok=True)  # so that the next call makes it anew
            raise
        description = {"requirements": requirements_hash(), **probe}
        temporary = self.marker.with_suffix(".tmp")
        temporary.write_text(json.dumps(description, indent=1), encoding="utf-8")
        temporary.replace(self.marker)
        return description

    def _install(self, feedback: Feedback, wheels: str, python: str, anew: bool) -> None:
        complete = bool(self.description()) and self.python.exists()
        if anew or not complete:
            base = find_python(python)
            feedback.pushInfo(f"Making the environment {self.folder} from {base}")
            try:
                if self.folder.exists():
                    shutil.rmtree(self.folder)
                self.folder.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EngineEnvironmentError(
                    f"The environment cannot be written ({error})", "Close other QGIS windows and try again"
                ) from error
            _run([str(base), "-I", "-m", "venv", str(self.folder)], feedback, lambda line: None)
        self.marker.unlink(missing_ok=True)
        pip = [str(self.python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
        source = ["--no-index", "--find-links", wheels] if wheels else []
        _run(
            [*pip, "install", "--progress-bar", "off", *source, "-r", str(REQUIREMENTS)],
            feedback,
            _PipProgress(feedback),
        )


class _PipProgress:
    """Turns pip's output into progress; pip does not say how much there is to do."""

    def __init__(self, feedback: Feedback) -> None:
        self._feedback = feedback
        self._collected = 0

    def __call__(self, line: str) -> None:
        words = line.split()
        if line.startswith("Collecting") and len(words) > 1:
            self._collected += 1
            self._feedback.setProgress(70.0 * self._collected / (self._collected + 20))
            self._feedback.setProgressText(f"Fetching {words[1]}")
        elif line.startswith("Installing collected packages"):
            self._feedback.setProgress(75.0)
            self._feedback.setProgressText("Installing; this takes a few minutes")
        elif line.startswith("Successfully installed"):
            self._feedback.pushInfo(line)


def _run(command: list[str], feedback: Feedback, on_line: Callable[[str], None]) -> None:
    """Run one command of the installation. Raises `Cancelled`, `EngineEnvironmentError`."""
    last = ""
    try:
        with Child(command) as child:
            for line in child.lines(feedback.isCanceled):
                last = line.strip() or last
                on_line(line)
            if child.returncode == 0:
                return
            reason = child.error_tail() or last
    except OSError as error:
        reason = str(error)
    raise EngineEnvironmentError(
        f"The environment could not be installed: {reason.rstrip('.')}",
        "Check the network and the free space on the disk (about 6 GB), or give a folder of wheels",
    )


def requirements_hash() -> str:
    """SHA-256 of the requirements without comments and spacing."""
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


def find_python(given: str = "") -> str:
    """Find an interpreter that can make the environment.

    `sys.executable` is QGIS itself on Windows and macOS, so the places beside it are tried as well.

    Raises:
        EngineEnvironmentError: there is none; names what was tried and why it was not taken.
    """
    refused = []
    for candidate in [given] if given else _candidates():
        reason = _why_unsuitable(candidate)
        if not reason:
            return candidate
        refused.append(f"{candidate} ({reason})")
    low, high = (".".join(map(str, version)) for version in SUPPORTED)
    raise EngineEnvironmentError(
        f"No suitable Python was found; tried {', '.join(refused) or 'no place at all'}",
        f"Install Python {low} to {high} with venv (Debian, Ubuntu: apt install python3-venv) "
        "or give the path of one",
    )


def _candidates() -> Iterator[str]:
    """Places where a Python may be, the likeliest first, each once and only if it exists."""
    suffix = ".exe" if sys.platform == "win32" else ""
    names = ["python3", "python"] + [f"python3.{minor}" for minor in range(14, 10, -1)]
    places = []
    if Path(sys.executable or "").name.lower().startswith("python"):
        places.append(sys.executable)
    beside = [Path(sys.base_prefix), Path(sys.base_prefix) / "bin", Path(sys.executable or ".").parent]
    places += [str(folder / (name + suffix)) for folder in beside for name in names]
    places += [found for name in names for found in [shutil.which(name)] if found]
    if sys.platform == "win32" and shutil.which("py"):
        places += _launcher_pythons()
    seen = set()
    for place in places:
        real = os.path.realpath(place)
        if real not in seen and os.path.isfile(real):
            seen.add(real)
            yield place


def _launcher_pythons() -> list[str]:
    """Interpreters the Windows launcher knows, from the last column of ``py -0p``."""
    listing = subprocess.run(["py", "-0p"], capture_output=True, text=True, check=False).stdout
    rows = [line.split(maxsplit=1) for line in listing.splitlines() if ".exe" in line]
    return [row[-1].lstrip("* ").strip() for row in rows]


def _why_unsuitable(python: str) -> str:
    """Why `python` cannot make the environment; empty when it can."""
    try:
        answer = subprocess.run(
            [python, "-I", "-c", _CHECK],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=scrubbed_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not start"
    words = answer.stdout.split()
    if answer.returncode != 0 or len(words) != 3 or not all(word.isdigit() for word in words):
        return "has no venv or ensurepip" if "ModuleNotFoundError" in answer.stderr else "does not start"
    major, minor, is_64_bit = (int(word) for word in words)
    if not SUPPORTED[0] <= (major, minor) <= SUPPORTED[1]:
        return f"is Python {major}.{minor}"
    return "" if is_64_bit else "is a 32-bit Python"
