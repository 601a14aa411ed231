"""Command line of the engine: a sub-command per job, options named as the fields of its configuration."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from .about import VERSION
from .config import Config
from .errors import EngineError
from .jobs import JOBS
from .progress import ConsoleReporter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit code."""
    keep_freed_memory()
    wait_asleep()
    options = vars(build_parser().parse_args(arguments))
    command = options.pop("command")
    if command == "worker":
        from .worker import main as serve

        return serve()
    if command == "preview":
        return _preview(options)
    return _run(command, options)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, generated from the configurations."""
    parser = argparse.ArgumentParser(prog="cadastral-vectorizer", description="Building polygons from orthophotos.")
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("worker", help="one job as JSON lines over the standard streams (used by QGIS)")
    preview = commands.add_parser("preview", help="draw outlines over an orthophoto")
    for name in ("raster", "vectors", "output"):
        preview.add_argument(f"--{name}", required=True)
    preview.add_argument("--reference", default="")
    preview.add_argument("--max-side-px", type=int, default=1600)
    for name, job in JOBS.items():
        _add_options(commands.add_parser(name, help=job.help, description=job.config.__doc__), job.config)
    return parser


def _add_options(parser: argparse.ArgumentParser, config: type[Config]) -> None:
    hints = typing.get_type_hints(config)
    for field in fields(config):
        option = f"--{field.name.replace('_', '-')}"
        hint = hints[field.name]
        settings: dict[str, Any] = {"required": field.default is MISSING, "default": argparse.SUPPRESS}
        if hint is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(hint) is tuple:
            settings["nargs"] = "+"
            settings["type"] = typing.get_args(hint)[0]
        else:
            settings["type"] = hint
        help_text = None if field.default is MISSING else f"default {field.default}"
        parser.add_argument(option, help=help_text, **settings)


def _run(command: str, options: dict[str, Any]) -> int:
    from .worker import run

    reporter = _ResultPrinter()
    signal.signal(signal.SIGINT, lambda *_: reporter.cancel())
    signal.signal(signal.SIGTERM, lambda *_: reporter.cancel())
    return run(command, options, reporter)


def _preview(options: dict[str, Any]) -> int:
    from .preview import render_preview

    try:
        render_preview(
            options["raster"], options["vectors"], options["output"],
            reference=options["reference"], max_side_px=options["max_side_px"],
        )  # fmt: skip
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class _ResultPrinter(ConsoleReporter):
    """Progress to standard error, the result as JSON to standard output."""

    def emit(self, event: str, **values: Any) -> None:
        if event == "result":
            print(json.dumps(values, indent=2, ensure_ascii=False))
        elif event == "error":
            print(values["message"], file=sys.stderr)
        else:
            super().emit(event, **values)


def wait_asleep() -> None:
    """Let torch's threads sleep while they wait for each other; has to come before torch. By default they spin, which
    beside other programs or threads of ours burns the very cores they wait for: the refiner took six times as long."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: tensors of the same sizes come back at every step, and
    mapping them anew (130,000 page faults a training step) took a fifth of the time."""
    import ctypes

    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 64 << 20)
