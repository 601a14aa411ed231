"""The engine as QGIS drives it: one job from standard input, events as JSON lines to standard output.

First line in: ``{"job": name, "config": {...}}``. Later ``{"cancel": true}``; the end of the input
means the parent is gone. Out: ``progress`` and ``log`` events, then one ``result`` or ``error``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from typing import Any, TextIO

from .errors import Cancelled, EngineError, InvalidParameter
from .jobs import JOBS
from .progress import JsonLinesReporter, Reporter

EXIT_RESULT, EXIT_ERROR, EXIT_CANCELLED = 0, 1, 3
GRACE_S = 1.5  # how long a cancelled job may take to reach its next check before the process ends


def serve(stdin: TextIO, stdout: TextIO) -> int:
    """Run one job; returns the exit code."""
    reporter = JsonLinesReporter(stdout)
    try:
        request = json.loads(stdin.readline())
        name, config = request["job"], request["config"]
        if name not in JOBS:
            raise InvalidParameter(f"Job {name!r} is unknown", f"Known are: {', '.join(JOBS)}")
    except EngineError as error:
        return fail(reporter, error)
    except (ValueError, KeyError, TypeError) as error:
        return fail(reporter, InvalidParameter(f"The request cannot be read ({error!r})", "Send one JSON line"))
    threading.Thread(target=_watch, args=(stdin, reporter), name="cancel", daemon=True).start()
    return run(name, config, reporter)


def run(name: str, config: dict[str, Any], reporter: Reporter) -> int:
    """Run the named job and send its result or error; returns the exit code."""
    job = JOBS[name]
    try:
        result = job.run(job.config.from_dict(config), reporter)
    except EngineError as error:
        return fail(reporter, error)
    except MemoryError:
        return fail(reporter, out_of_memory())
    except OSError as error:
        traceback.print_exc()
        return fail(reporter, EngineError(explain_os_error(error), "Mend that and run again"))
    except Exception as error:  # a bug: the trace goes to standard error, a sentence to the user
        if _is_out_of_memory(error):
            return fail(reporter, out_of_memory())
        traceback.print_exc()
        what = f"The engine met an unexpected {type(error).__name__} ({error})"
        return fail(reporter, EngineError(what, "Please report it with the log"))
    reporter.emit("result", **result)
    return EXIT_RESULT


def fail(reporter: Reporter, error: EngineError) -> int:
    """Send an error event; returns the exit code."""
    reporter.emit("error", kind=type(error).__name__, what=error.what, todo=error.todo, message=str(error))
    return EXIT_CANCELLED if isinstance(error, Cancelled) else EXIT_ERROR


def out_of_memory() -> EngineError:
    """What to say where no smaller batch could help."""
    return EngineError(
        "The machine ran out of memory", "Close other programs or use smaller tiles, then run again to continue"
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is PyTorch that has run out of memory, which says so in words alone."""
    if "torch" not in sys.modules:
        return False
    from ..models.device import is_out_of_memory

    return is_out_of_memory(error)


def explain_os_error(error: OSError) -> str:
    """What the operating system refused, with the file."""
    where = f" at {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _watch(stdin: TextIO, reporter: Reporter) -> None:
    """Cancel when told to, or when the parent is gone; end the process if the job does not react."""
    for line in stdin:
        try:
            if json.loads(line).get("cancel"):
                break
        except (ValueError, AttributeError):
            continue
    reporter.cancel()
    threading.Event().wait(GRACE_S)
    os._exit(EXIT_CANCELLED)


def main() -> int:
    """Serve standard streams, out of reach of libraries: what they print goes to standard error, and
    what a hostile file makes them read from standard input is nothing."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout = sys.stderr
    return serve(requests, events)
