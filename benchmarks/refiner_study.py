"""The papers' studies of mask refiners, repeated small: all rows learn from the same pairs and are measured on
the same test areas.

    python benchmarks/refiner_study.py pairs chips/real work/ --learn-masks masks/ --test-masks masks/
    python benchmarks/refiner_study.py run work/ [--only "guided" ...]
    python benchmarks/refiner_study.py tables work/

`pairs` draws the examples once: half synthetic damage, half masks of a detector, of the training chips; masks of
the detector alone on the test chips. `run` trains row by row and leaves ``<row>.json``; rows that are there are not
repeated. `tables` prints what there is.

Scale: "presentations" are masks shown in training. The rows of Vinokurov's table 1 and of his figures 6 to 8 train a
quarter of his network's width on 64 px; those of table 1 get `EPOCH` presentations for each epoch of the paper.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cadastral_vectorizer.engine.refiner_config import TrainRefinerConfig
from cadastral_vectorizer.engine.training.chips import load_chips
from cadastral_vectorizer.engine.training.pairs import DamagedTruth, Pair, PredictedMasks
from cadastral_vectorizer.engine.training.refiner import evaluate_refiner
from cadastral_vectorizer.engine.training.refiner_step import RefinerTrainer, stack_pairs
from cadastral_vectorizer.engine.training.rough_mask_files import load_rough_masks
from torch.nn import functional as F

SIZE = 128
LEARNT, SELECTED, TESTED = 1000, 48, 40  # training pairs; validation pairs; test pairs of each source
EPOCH = 8
TABLE1 = (  # learning rate, batch, epochs, IoU, IoU 0.5-95 of Mask R-CNN and of the GAN, as printed
    (1e-6, 10, 500, 0.87, 0.67, 0.90), (5e-6, 10, 400, 0.85, 0.65, 0.88), (5e-6, 20, 350, 0.84, 0.64, 0.87),
    (1e-5, 10, 300, 0.83, 0.63, 0.86), (1e-5, 20, 250, 0.84, 0.64, 0.87), (5e-5, 8, 200, 0.79, 0.59, 0.81),
    (5e-5, 10, 300, 0.82, 0.62, 0.85), (5e-5, 16, 250, 0.81, 0.61, 0.84), (4e-5, 8, 150, 0.80, 0.60, 0.82),
    (4e-5, 16, 200, 0.78, 0.58, 0.80), (1e-4, 8, 100, 0.75, 0.55, 0.78), (1e-4, 16, 150, 0.77, 0.57, 0.80),
    (1e-4, 20, 200, 0.78, 0.58, 0.81), (2e-4, 8, 80, 0.70, 0.50, 0.73), (2e-4, 16, 100, 0.72, 0.52, 0.76),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        table: which table it belongs to.
        presentations: masks shown.
        size: crops are reduced to it for the network; all are measured at `SIZE`.
    """

    table: str
    variant: str
    presentations: int
    batch: int
    size: int = SIZE
    learning_rate: float = 0.0
    lambda_l1: float = 100.0
    adversarial_weight: float = -1.0
    loss_terms: tuple[str, ...] = ()
    paper: tuple[float, ...] = ()


def rows() -> dict[str, Row]:
    """All rows by name, the telling ones first."""
    both, three = ("bce", "dice"), ("bce", "dice", "boundary")

    def networks(*entries: tuple[str, tuple[str, ...]]) -> dict[str, Row]:
        return {f"{n}, {' + '.join(t)}": Row("networks", n, 1200, 4, loss_terms=t) for n, t in entries}

    grid = {
        f"lr {rate:g}, batch {batch}, epochs {epochs}": Row(
            "table 1", "vinokurov16", EPOCH * epochs, batch, 64, rate, paper=tuple(figures)
        )
        for rate, batch, epochs, *figures in sorted(TABLE1, key=lambda entry: entry[0] * entry[2], reverse=True)
    }
    return {
        "guided": Row("networks", "guided", 1200, 4),
        **networks(("tiny16-32", both), ("res16-32", both)),
        **{f"lambda {w}": Row("lambda", "vinokurov16", 4000, 10, 64, 2e-4, w) for w in (80.0, 100.0, 120.0)},
        **grid,
        **networks(("tiny16-128", three), ("tiny16-32", three), ("tiny16-32", ("bce",)), ("tiny16-32", ("dice",)),
                   ("tiny16-32", ("boundary",)), ("res16-128", three), ("tiny16-128", both), ("guided", three)),
        "vinokurov": Row("networks", "vinokurov", 1200, 8),
        "guided, adversarial 0.02": Row("networks", "guided", 1200, 4, adversarial_weight=0.02),
        **networks(("attn32-256", three), ("res16-128", both), ("res32-256", three)),
    }  # fmt: skip


# -- examples ---------------------------------------------------------------------------------------------


def draw_pairs(options: argparse.Namespace) -> None:
    """Write ``pairs.npz``."""
    rng = np.random.default_rng(3)
    learn_masks, test_masks = load_rough_masks(options.learn_masks), load_rough_masks(options.test_masks)
    train = load_chips(options.chips, "train")
    sources = (DamagedTruth(train), PredictedMasks(train, learn_masks))
    learn = [sources[i % 2].draw(rng, SIZE, augment=True) for i in range(LEARNT)]
    select = spread(PredictedMasks(load_chips(options.chips, "val"), test_masks), SELECTED)
    test: list[Pair] = []
    chips = load_chips(options.chips, "test")
    for source in sorted({chip.source for chip in chips}):
        test += spread(PredictedMasks([c for c in chips if c.source == source], test_masks), TESTED)
    stored: dict[str, Any] = {}
    for name, pairs in (("learn", learn), ("select", select), ("test", test)):
        for field in fields(Pair):
            stored[f"{name}.{field.name}"] = np.array([getattr(pair, field.name) for pair in pairs])
        print(f"{name}: {len(pairs)} pairs")
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    np.savez(Path(options.folder) / "pairs.npz", **stored)


def spread(source: PredictedMasks, count: int) -> list[Pair]:
    """`count` masks of all there are, evenly spread, as inference shows them."""
    chosen = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    return [source.show(int(entry), np.random.default_rng(5), SIZE) for entry in chosen]


def load_pairs(folder: Path, name: str) -> list[Pair]:
    """The pairs ``learn``, ``select`` or ``test`` of ``pairs.npz``."""
    with np.load(folder / "pairs.npz") as stored:
        columns = {field.name: stored[f"{name}.{field.name}"] for field in fields(Pair)}
    columns["source"], columns["pixel_m"] = columns["source"].tolist(), columns["pixel_m"].tolist()
    return [Pair(*values) for values in zip(*(columns[field.name] for field in fields(Pair)), strict=True)]


# -- training ---------------------------------------------------------------------------------------------


class Reduced(torch.nn.Module):
    """A network that sees the crop reduced, and whose answer is enlarged."""

    def __init__(self, network: torch.nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, *crops: torch.Tensor) -> Any:
        answer = self.network(*(F.interpolate(c, (self.size, self.size), mode="area") for c in crops))
        logits = F.interpolate(answer.logits, crops[0].shape[-2:], mode="bilinear", align_corners=False)
        return answer._replace(logits=logits)


def train_row(row: Row, learn: list[Pair], select: list[Pair], test: list[Pair]) -> dict[str, Any]:
    """Train one row; its curve on the validation pairs and its figures on the test pairs."""
    config = TrainRefinerConfig(
        work_folder="-", pairs="-", variant=row.variant, learning_rate=row.learning_rate, lambda_l1=row.lambda_l1,
        loss_terms=row.loss_terms, adversarial_weight=row.adversarial_weight, seed=1,
    )  # fmt: skip
    device = torch.device("cpu")
    trainer = RefinerTrainer(config, device, bfloat16=True)
    rng = np.random.default_rng(1)
    order = np.concatenate([rng.permutation(len(learn)) for _ in range(1 + row.presentations // len(learn))])
    steps = max(1, row.presentations // row.batch)
    curve, losses = [], []
    started = time.process_time()
    for step in range(steps):
        picks = order[step * row.batch : (step + 1) * row.batch]
        batch = stack_pairs([learn[i] for i in picks], device)
        if row.size != SIZE:
            reduced = (F.interpolate(getattr(batch, f.name), (row.size,) * 2, mode="area") for f in fields(batch))
            batch = type(batch)(*reduced)
        losses.append(trainer.optimize(batch, step / steps)["loss"])
        if (step + 1) * 6 // steps > step * 6 // steps:
            spent = time.process_time() - started
            figures = measure(trainer, row, {"val": select})["all"]["after"]
            curve.append({"presentations": (step + 1) * row.batch, "loss": float(np.mean(losses)), **figures})
            started, losses = time.process_time() - spent, []
    spent = time.process_time() - started
    by_source = {source: [p for p in test if p.source == source] for source in sorted({p.source for p in test})}
    weights = sum(p.numel() for p in trainer.model.parameters())
    return {
        "variant": row.variant, "weights": weights, "cpu_s": spent, "presentations": row.presentations,
        "ms": time_mask(trainer.best_model, row.size), "curve": curve, "test": measure(trainer, row, by_source),
    }  # fmt: skip


def measure(trainer: RefinerTrainer, row: Row, pairs: dict[str, list[Pair]]) -> dict[str, Any]:
    """`evaluate_refiner` at full crop size."""
    network = trainer.best_model
    network = network if row.size == SIZE else Reduced(network, row.size)
    return evaluate_refiner(network, pairs, device=torch.device("cpu"), batch_size=8)


@torch.inference_mode()
def time_mask(network: torch.nn.Module, size: int, batch: int = 8) -> float:
    """Milliseconds of CPU a mask, bfloat16: the best of four passes."""
    crops, masks = torch.rand(batch, 3, size, size), torch.rand(batch, 1, size, size)
    network.eval()
    best = float("inf")
    for _ in range(4):
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            network(crops, masks, masks)
        best = min(best, time.process_time() - started)
    return 1e3 * best / batch


def run(options: argparse.Namespace) -> None:
    """Train what is not there yet."""
    torch.set_num_threads(options.threads)
    folder = Path(options.folder)
    learn, select, test = (load_pairs(folder, name) for name in ("learn", "select", "test"))
    for name, row in rows().items():
        file = folder / f"{name}.json"
        if (options.only and name not in options.only) or file.exists():
            continue
        started = time.monotonic()
        result = {"name": name, "table": row.table, "paper": row.paper, **train_row(row, learn, select, test)}
        file.write_text(json.dumps(result))
        before, after = (result["test"]["all"][moment] for moment in ("before", "after"))
        changes = ", ".join(f"{k} {before[k]:.3f} -> {after[k]:.3f}" for k in ("iou", "iou50_95", "boundary_iou"))
        print(f"{name}: {result['cpu_s']:.0f} s of CPU in {time.monotonic() - started:.0f} s; {changes}", flush=True)


# -- tables -----------------------------------------------------------------------------------------------


def print_tables(options: argparse.Namespace) -> None:
    """Markdown of all rows that are there; the figures go to ``study.json``, curves thinned."""
    folder = Path(options.folder)
    found = [json.loads((folder / f"{n}.json").read_text()) for n in rows() if (folder / f"{n}.json").exists()]
    keys = ("iou", "iou50_95", "precision", "recall", "f1", "pixel_accuracy", "boundary_iou", "boundary_iou_25cm",
            "hausdorff_px", "hausdorff95_px")  # fmt: skip
    for table in ("networks", "table 1", "lambda"):
        print(f"\n| {table} | {' | '.join(keys)} | weights | MB | ms | CPU s | worse |\n|{'---|' * (len(keys) + 6)}")
        mine = [row for row in found if row["table"] == table]
        for row in mine[:1]:
            print("| before |" + " | ".join(f"{row['test']['all']['before'][k]:.3f}" for k in keys) + " | | | | | |")
        for row in mine:
            after = row["test"]["all"]["after"]
            worse = [s for s, f in row["test"].items() if f["after"]["iou"] < f["before"]["iou"]]
            figures = " | ".join(f"{after[k]:.3f}" for k in keys)
            size = f"{row['weights'] / 1e6:.2f} M | {2 * row['weights'] / 1e6:.1f}"
            cost = f"{row['ms']:.1f} | {row['cpu_s']:.0f} | {len([s for s in worse if s != 'all'])}"
            print(f"| {row['name']} | {figures} | {size} | {cost} |")
    for row in found:
        if row["table"] == "lambda":
            curve = [f"{c['presentations']}: {c['iou']:.3f} {c['boundary_iou']:.3f}" for c in row["curve"]]
            print(f"{row['name']}: {', '.join(curve)}")
    (folder / "study.json").write_text(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    pairs = commands.add_parser("pairs")
    pairs.add_argument("chips")
    pairs.add_argument("folder")
    pairs.add_argument("--learn-masks", required=True)
    pairs.add_argument("--test-masks", required=True)
    training = commands.add_parser("run")
    training.add_argument("folder")
    training.add_argument("--only", nargs="*", default=[])
    training.add_argument("--threads", type=int, default=1)
    commands.add_parser("tables").add_argument("folder")
    options = parser.parse_args()
    {"pairs": draw_pairs, "run": run, "tables": print_tables}[options.command](options)


if __name__ == "__main__":
    main()
