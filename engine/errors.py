"""Errors a person can act on: what happened, and what to do about it.

Every class owns its sentence; callers pass facts, not prose. Standard library only, because
the QGIS side imports it too.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all expected failures.

    Args:
        what: one clause saying what happened, without a trailing full stop.
        todo: one clause saying what to do about it, without a trailing full stop.
    """

    def __init__(self, what: str, todo: str = "") -> None:
        self.what = what
        self.todo = todo
        super().__init__(f"{what}. {todo}." if todo else f"{what}.")


class InvalidParameter(EngineError):
    """A parameter has a value the job cannot run with."""


class RasterError(EngineError):
    """The raster cannot be opened, read, or used as an orthophoto."""


class VectorError(EngineError):
    """A vector layer cannot be read, or holds nothing usable."""


class ModelPackageError(EngineError):
    """A model package is damaged, unknown, or does not fit the raster."""


class JobFolderError(EngineError):
    """A job folder cannot be written, or belongs to another job."""


class OutputError(EngineError):
    """A result cannot be written."""


class TrainingError(EngineError):
    """Training cannot start or go on."""


class OutOfMemory(EngineError):
    """Not even the smallest batch fits into memory."""


class EngineEnvironmentError(EngineError):
    """The engine's Python environment is missing or broken."""


class Cancelled(EngineError):
    """The user cancelled; work done so far stays in the job folder."""

    def __init__(self) -> None:
        super().__init__("The job was cancelled", "Run it again with the same job folder to continue")
