"""Speed and memory of training, by architecture.

    python benchmarks/training.py
    python benchmarks/training.py --architectures compact resnet50 --batch-size 4 --threads 2

Each architecture trains in a process of its own on two generated scenes, read from memory, augmentation included;
the first step, which prepares everything, is not counted. Prints one JSON line for each: crops of 256 pixels a
second, the processor seconds of a crop, and the peak of the memory in MB (on a graphics card its own as well).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cadastral_vectorizer.engine.config import ARCHITECTURES, TrainDetectorConfig
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.scene_chips import write_scene_chips


def measure(architecture: str, chips: str, options: argparse.Namespace) -> dict[str, object]:
    """Train for some steps in this process."""
    import torch
    from cadastral_vectorizer.engine.cli import keep_freed_memory
    from cadastral_vectorizer.engine.training.detector import DetectorTrainer

    keep_freed_memory()
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainDetectorConfig(
            chips=(chips,), work_folder=folder, architecture=architecture, steps=options.steps + 1, trunk_share=0.0,
            batch_size=options.batch_size, accumulate=options.accumulate, device=options.device, seed=1,
        )  # fmt: skip
        config.validate()
        trainer = DetectorTrainer(config, Reporter())
        trainer.load_data()
        trainer.train_step(*trainer.batch(0))
        start, cpu = time.perf_counter(), time.process_time()
        for step in range(1, options.steps + 1):
            trainer.train_step(*trainer.batch(step))
        crops = options.steps * options.batch_size
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    card = torch.cuda.max_memory_allocated() >> 20 if trainer.device.type == "cuda" else None
    return {
        "architecture": architecture,
        "parameters_million": round(sum(p.numel() for p in trainer.model.parameters()) / 1e6, 2),
        "crops_a_second": round(crops / seconds, 2), "cpu_seconds_a_crop": round(cpu / crops, 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, "card_memory_mb": card,
        "device": trainer.device.type, "bfloat16": trainer.bfloat16, "batch_size": options.batch_size,
        "pieces": trainer.pieces, "threads": torch.get_num_threads(), "machine": platform.machine(),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--chips", default="", help=argparse.SUPPRESS)  # given to the processes this one starts
    options = parser.parse_args(arguments)
    if options.chips:
        print(json.dumps(measure(options.architectures[0], options.chips, options)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        chips = Path(folder) / "chips"
        write_scene_chips(chips, 2, seed=3, reporter=Reporter())
        for architecture in options.architectures:
            given = ["--steps", options.steps, "--batch-size", options.batch_size, "--accumulate", options.accumulate,
                     "--threads", options.threads, "--device", options.device, "--chips", chips,
                     "--architectures", architecture]  # fmt: skip
            subprocess.run([sys.executable, __file__, *map(str, given)], check=True)


if __name__ == "__main__":
    main()
