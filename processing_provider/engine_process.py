"""One job in the engine's own process: configuration in, events while it works, result out."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, Protocol

from ..engine.errors import EngineEnvironmentError, EngineError
from ..plugin.child import Child

LAUNCH = Path(__file__).resolve().parent.parent / "engine" / "launch.py"


class Feedback(Protocol):
    """The part of ``QgsProcessingFeedback`` that a job needs."""

    def isCanceled(self) -> bool: ...  # noqa: N802
    def setProgress(self, percent: float) -> None: ...  # noqa: N802
    def setProgressText(self, text: str) -> None: ...  # noqa: N802
    def pushInfo(self, text: str) -> None: ...  # noqa: N802
    def pushWarning(self, text: str) -> None: ...  # noqa: N802


class EngineDied(EngineError):
    """The engine process ended without a result."""

    def __init__(self, returncode: int | None, tail: str) -> None:
        lines = ". Its last words were:\n" + tail if tail else ", and wrote no reason"
        super().__init__(f"The engine {describe_end(returncode)}{lines}")


class JobFailed(EngineError):
    """The engine refused or failed, and said why."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.kind = event.get("kind", "")
        what = event.get("what") or event.get("message") or "The engine failed without saying why"
        super().__init__(what.rstrip("."), event.get("todo", "").rstrip("."))


def describe_end(returncode: int | None) -> str:
    """Say in words how a process ended: exit code, or the signal that killed it."""
    if returncode is None:
        return "closed its output without a result"
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = str(-returncode)
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"was killed (signal {name}{hint})"
    return f"ended with exit code {returncode} without a result"


def run_job(python: Path, job: str, config: dict[str, Any], feedback: Feedback) -> dict[str, Any]:
    """Run one job and return the fields of its result event.

    Args:
        python: interpreter of the engine's environment.
        job: name of the job, as in ``engine/worker.py``.
        config: its configuration as plain JSON values.
        feedback: gets progress and log while the engine works, and says when to stop.

    Raises:
        Cancelled: the feedback was cancelled; no process is left within two seconds.
        JobFailed: the engine sent an error.
        EngineDied: the engine ended without result or error.
        EngineEnvironmentError: the engine cannot be started.
    """
    command = [str(python), "-I", "-X", "utf8", str(LAUNCH), "worker"]
    try:
        child = Child(command)
    except OSError as error:
        raise EngineEnvironmentError(
            f"The engine cannot be started ({error})", "Run 'Set up the environment' again"
        ) from error
    with child:
        child.send({"job": job, "config": config})
        events = _Events(feedback)
        for line in child.lines(feedback.isCanceled):
            result = events.handle(line)
            if result is not None:
                return result
        returncode = child.returncode
        tail = child.error_tail()
    raise EngineDied(returncode, tail)


class _Events:
    """Hands the engine's events on to QGIS."""

    def __init__(self, feedback: Feedback) -> None:
        self._feedback = feedback
        self._stage = ""

    def handle(self, line: str) -> dict[str, Any] | None:
        """Hand on one line; return the event's fields if it is the result. Raises `JobFailed`."""
        try:
            event = json.loads(line)
            kind = event.pop("event")
        except (ValueError, KeyError, AttributeError, TypeError):
            self._feedback.pushInfo(line)  # something a library printed
            return None
        if kind == "result":
            return event
        if kind == "error":
            raise JobFailed(event)
        if kind == "progress":
            self._feedback.setProgress(100.0 * event["fraction"])
            if event.get("message") not in ("", None, self._stage):
                self._stage = event["message"]
                self._feedback.setProgressText(self._stage)
        elif kind == "log":
            warning = event.get("level") == "warning"
            (self._feedback.pushWarning if warning else self._feedback.pushInfo)(event["message"])
        return None
