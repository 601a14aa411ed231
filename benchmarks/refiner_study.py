"""The papers' studies of mask refiners, repeated small: all rows learn from the same pairs and are measured on
the same test areas.

    python benchmarks/refiner_study.py pairs chips/real work/ --learn-masks masks/ --test-masks masks/
    python benchmarks/refiner_study.py run work/ [--only "guided" ...]
    python benchmarks/refiner_study.py tables work/ docs/refiner_study.md

`pairs` draws the examples once: half synthetic damage, half masks of a detector, of the training chips; masks of
the detector alone on the test chips. `run` trains row by row and leaves ``<row>.json``; rows that are there are not
repeated. `tables` writes what there is.

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
from cadastral_vectorizer.engine.config import TrainRefinerConfig
from cadastral_vectorizer.engine.training.chips import load_chips
from cadastral_vectorizer.engine.training.pairs import DamagedTruth, Pair, PredictedMasks
from cadastral_vectorizer.engine.training.refiner import evaluate_refiner
from cadastral_vectorizer.engine.training.refiner_step import RefinerTrainer, stack_pairs
from cadastral_vectorizer.engine.training.rough_mask_files import load_rough_masks
from cadastral_vectorizer.models.package import open_package
from torch.nn import functional as F

SIZE = 128
LEARNT, SELECTED, TESTED = 1000, 48, 40  # training pairs; validation pairs; test pairs of each source
EPOCH = 40
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
        presentations: masks shown; 0 takes the bundled weights as they are.
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
        "guided, as bundled": Row("networks", "guided", 0, 1),
        "guided": Row("networks", "guided", 1200, 4),
        **networks(("tiny16-32", both), ("res16-32", both)),
        **grid,
        **{f"lambda {w}": Row("lambda", "vinokurov16", 12_000, 10, 64, 2e-4, w) for w in (80.0, 100.0, 120.0)},
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
    if not row.presentations:
        trainer.start_from(open_package().weights("refiner"))
    rng = np.random.default_rng(1)
    order = np.concatenate([rng.permutation(len(learn)) for _ in range(1 + row.presentations // len(learn))])
    steps = row.presentations // row.batch
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
    planned = rows()
    for name in options.only or planned:
        row, file = planned[name], folder / f"{name}.json"
        if file.exists():
            continue
        started = time.monotonic()
        result = {"name": name, "table": row.table, "paper": row.paper, **train_row(row, learn, select, test)}
        file.write_text(json.dumps(result))
        before, after = (result["test"]["all"][moment] for moment in ("before", "after"))
        changes = ", ".join(f"{k} {before[k]:.3f} -> {after[k]:.3f}" for k in ("iou", "iou50_95", "boundary_iou"))
        print(f"{name}: {result['cpu_s']:.0f} s of CPU in {time.monotonic() - started:.0f} s; {changes}", flush=True)


# -- tables -----------------------------------------------------------------------------------------------

COLUMNS = {"iou": "IoU", "iou50_95": "IoU 0.5-95", "precision": "precision", "recall": "recall", "f1": "F1",
           "pixel_accuracy": "pixel accuracy", "boundary_iou": "boundary IoU",
           "boundary_iou_25cm": "boundary IoU 0.25 m", "hausdorff_px": "Hausdorff px",
           "hausdorff95_px": "Hausdorff 95 % px"}  # fmt: skip


def write_tables(options: argparse.Namespace) -> None:
    """The tables in Markdown and all figures as JSON, of the rows that are there."""
    folder, planned = Path(options.folder), rows()
    found = {n: json.loads((folder / f"{n}.json").read_text()) for n in planned if (folder / f"{n}.json").exists()}
    if not found:
        raise SystemExit(f"{folder} holds no finished row")
    missing = [name for name in planned if name not in found]
    before = next(iter(found.values()))["test"]
    masks = sum(f["before"]["masks"] for s, f in before.items() if s != "all")
    parts = [
        "# Study of the refiners", INTRODUCTION.format(masks=round(masks), sources=len(before) - 1),
        "## Networks and losses (NeuralSegmentello's tables, the paper's network and ours)", NETWORKS,
        *table({n: r for n, r in found.items() if r["table"] == "networks"}, before),
        "## Learning rate, batch and epochs (Vinokurov's table 1)", GRID.format(epoch=EPOCH),
        *paper_table({n: r for n, r in found.items() if r["table"] == "table 1"}, before),
        "## Lambda (Vinokurov's figures 6 to 8)", LAMBDA,
        *curves({n: r for n, r in found.items() if r["table"] == "lambda"}),
    ]  # fmt: skip
    if missing:
        parts += ["## Not reached", "Planned rows that the machine had no time for: " + "; ".join(missing) + "."]
    rounded = json.loads(json.dumps(list(found.values())), parse_float=lambda text: round(float(text), 4))
    Path(options.markdown).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    Path(options.markdown).with_suffix(".json").write_text(json.dumps(rounded), encoding="utf-8")
    print(f"{len(found)} of {len(planned)} rows")


def line(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table(found: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """All figures of every network, sizes and costs, and on how many places it does harm."""
    head = ["network, loss", *COLUMNS.values(), "weights", "MB", "ms a mask", "CPU s", "places worse"]
    lines = [line(head), "|---" * len(head) + "|"]
    lines.append(line(["*rough masks*", *(f"{before['all']['before'][k]:.3f}" for k in COLUMNS), "", "", "", "", ""]))
    for name, row in found.items():
        cells = [f"{row['test']['all']['after'][k]:.3f}" for k in COLUMNS]
        worse = sum(f["after"]["iou"] < f["before"]["iou"] for s, f in row["test"].items() if s != "all")
        size = [f"{row['weights'] / 1e6:.2f} M", f"{2 * row['weights'] / 1e6:.1f}"]
        lines.append(line([name, *cells, *size, f"{row['ms']:.1f}", f"{row['cpu_s']:.0f}", str(worse)]))
    return ["\n".join(lines)]


def paper_table(found: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Ours beside the printed figures."""
    keys = ("iou", "precision", "recall", "f1", "iou50_95", "boundary_iou")
    head = ["setting", "masks shown", *(COLUMNS[k] for k in keys), "paper: IoU", "paper: IoU 0.5-95"]
    lines = [line(head), "|---" * len(head) + "|"]
    lines.append(line(["*rough masks*", "", *(f"{before['all']['before'][k]:.3f}" for k in keys), "", "0.50 to 0.67"]))
    for name, row in found.items():
        cells = [f"{row['test']['all']['after'][k]:.3f}" for k in keys]
        printed = (f"{row['paper'][0]:.2f}", f"{row['paper'][2]:.2f}")
        lines.append(line([name, str(row["presentations"]), *cells, *printed]))
    return ["\n".join(lines)]


def curves(found: dict[str, Any]) -> list[str]:
    """Figures of the validation masks on the way."""
    lines = []
    for name, row in found.items():
        if not lines:
            shown = [str(point["presentations"]) for point in row["curve"]]
            lines = [line(["IoU / F1 / boundary IoU after masks", *shown]), "|---" * (len(shown) + 1) + "|"]
        points = [f"{p['iou']:.3f} / {p['f1']:.3f} / {p['boundary_iou']:.3f}" for p in row["curve"]]
        lines.append(line([name, *points]))
    return ["\n".join(lines)]


INTRODUCTION = """Made by `benchmarks/refiner_study.py`; all figures, also per place, in
[refiner_study.json](refiner_study.json). Every row learns from the same 1,000 pairs of the training chips (half
synthetic damage, half masks of the bundled detector on its own training chips, so not out of fold) and is measured on
the same {masks} masks of that detector on the test areas of {sources} places, in crops of 128 px; figures are means
over masks, then over places. One seed. Nothing was chosen on the test areas. **The scale is small**, what a crowded
CPU allowed: some hundred to two thousand optimiser steps where the papers made hundreds of thousands. So the tables say
which settings *get going*, not where they end; differences below about 0.005 mean nothing."""
NETWORKS = """1,200 masks shown, batches of 4 (the paper's network: 8), each network with its default learning rate.
`guided` alone is our default loss; "as bundled" are the weights the plugin brings, trained on other masks of the same
chips and on generated scenes for some 7,000 steps. MB are half-precision weights; ms are CPU time on one core in
bfloat16, batches of 8, crops of 128 px."""
GRID = """The paper's learning rates and batches, on a quarter of the network's width (1.04 M weights) and crops
reduced to 64 px; {epoch} masks shown for each epoch of the paper. Rows by learning rate times masks. The way to 64 px
and back alone costs 0.002 IoU and 0.008 boundary IoU."""
LAMBDA = """The same narrow network, learning rate 2e-4, batches of 10, 12,000 masks shown; measured on 48 validation
masks."""


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
    training.add_argument("--only", nargs="*", default=[], help="these rows, in this order")
    training.add_argument("--threads", type=int, default=1)
    tables = commands.add_parser("tables")
    tables.add_argument("folder")
    tables.add_argument("markdown", help="such as docs/refiner_study.md; the JSON is written beside it")
    options = parser.parse_args()
    {"pairs": draw_pairs, "run": run, "tables": write_tables}[options.command](options)


if __name__ == "__main__":
    main()
