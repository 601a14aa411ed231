"""What runs in a packed training on another machine: ``python run.py --minutes 9 --out OUT``.

Needs torch, torchvision, numpy and OpenCV. Goes on where an earlier run stopped: from its own folder ``run`` if that
is still there, else from the state in ``OUT``, else from the one that was packed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..config import TrainDetectorConfig
from ..errors import Cancelled, EngineError
from ..progress import ConsoleReporter
from .checkpoint import load_checkpoint, save_checkpoint
from .detector import DetectorTrainer
from .parts import INDEX, read_parts, write_parts

JOB = "job.json"
BASE = "base"
STATE = "state"
RUN = "run"


class Deadline(ConsoleReporter):
    """Cancels the job when its time is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            self.cancel()
        super().check()


def main(root: Path, arguments: Sequence[str] | None = None) -> int:
    """Train for a while; leaves the state in parts, the log and ``status.json`` in the folder asked for."""
    parser = argparse.ArgumentParser(prog="run.py", description="Goes on with a packed training.")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call; the training may need several")
    parser.add_argument("--out", default=str(root / "out"), help="folder for what is to be brought back")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    reporter = Deadline(options.minutes * 60)
    try:
        status = train(root, Path(options.out), options.device, reporter)
    except EngineError as error:
        reporter.warn(str(error))
        return 1
    reporter.log(json.dumps(status))
    return 0


def train(root: Path, out: Path, device: str, reporter: Deadline) -> dict[str, Any]:
    """Raises `EngineError` for what somebody can act on."""
    settings = json.loads((root / JOB).read_text())
    folders = tuple(str(root / name) for name in settings["chips"])
    work = root / RUN
    config = TrainDetectorConfig.from_dict(
        {**settings, "chips": folders, "work_folder": str(work), "device": device, "base": ""}
    )
    work.mkdir(exist_ok=True)
    if load_checkpoint(work / "last.pt") is None:
        for earlier in (out, root / STATE):
            if (earlier / INDEX).exists():
                save_checkpoint(work / "last.pt", read_parts(earlier))
                if (earlier / "log.jsonl").exists():
                    shutil.copy(earlier / "log.jsonl", work)
                break
    base = read_parts(root / BASE)["model"] if (root / BASE / INDEX).exists() else None
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    trainer = DetectorTrainer(config, reporter, base)
    finished = True
    try:
        trainer.run()
    except Cancelled:
        finished = False
    status = {"finished": finished, "step": trainer.step, "fraction": round(trainer.fraction, 4)}
    state = load_checkpoint(work / "last.pt")
    assert state is not None  # both ways out of the run saved it
    write_parts(out, state, notes=status)
    if (work / "log.jsonl").exists():
        shutil.copy(work / "log.jsonl", out)
    return status
