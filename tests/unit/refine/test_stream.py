"""Refining while buildings come in gives what refining all at once gives, to the last bit, and asks nothing twice."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.errors import Cancelled
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.refine import stream as module
from cadastral_vectorizer.engine.refine.refine import Gate, Refiner
from cadastral_vectorizer.engine.refine.stream import RefineStream
from cadastral_vectorizer.models.refiners import build_refiner

torch.set_num_threads(1)
make_reader = runpy.run_path(str(Path(__file__).with_name("test_refine.py")))["make_reader"]
HEIGHT, WIDTH = 900, 200


def make_street(seed=0):
    """Rough masks of houses that stand close together, some overlapping, along a long strip; and a picture of them."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(30, 70, (HEIGHT, WIDTH)).astype(np.uint8)
    instances = []
    for y in range(6, HEIGHT - 60, 37):
        for x in range(4, WIDTH - 50, 42):
            w, h = (int(n) for n in rng.integers(20, 46, 2))
            picture[y : y + h, x : x + w] = rng.integers(120, 250)
            box = (x, y, x + w, y + h)
            mask = np.where(rng.random((h, w)) < 0.97, 230, 90).astype(np.uint8)
            instances.append(Instance(f"{rng.integers(2**32):08x}", box, mask, 0.8))
    return picture, instances


@pytest.fixture(scope="module")
def refiner():
    """A network that changes every mask, each in the light of its neighbours."""
    torch.manual_seed(0)
    network = build_refiner("guided", {"width": 8})
    torch.nn.init.normal_(network.head.weight, std=0.08)
    return Refiner(network, gate=Gate(min_certainty=0, min_iou=0))


@pytest.fixture(scope="module")
def street():
    return make_street()


@pytest.fixture(scope="module")
def whole(refiner, street):
    """All at once: the truth."""
    picture, instances = street
    return {i.id: i for i in refiner.refine_instances(instances, make_reader(picture))}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(module, "MAX_SIDE_PX", 140)
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "ENOUGH", 5)


def pass_through(stream, instances, rows):
    """All that leaves a stream fed by bands of rows from the top, and the most it ever held."""
    final, most, low = [], 0, 0
    for high in [*rows, HEIGHT]:
        # What reaches across the front is not there yet, as when the next tile is still to be looked at.
        stream.add(i for i in instances if low <= i.box[3] < high)
        open_y = min([i.box[1] for i in instances if i.box[3] >= high], default=HEIGHT)
        front = min(high, open_y)
        final += stream.take(lambda boxes, y=front: boxes[:, 3] < y)
        most, low = max(most, len(stream)), high
    final += stream.take(lambda boxes: np.ones(len(boxes), bool), last=True)
    assert len(stream) == 0
    return final, most


def assert_same(found, expected, *, tolerance=0):
    assert len(found) == len(expected) == len({i.id for i in found})
    for one in found:
        other = expected[one.id]
        assert (one.box, one.refined) == (other.box, other.refined)
        np.testing.assert_allclose(one.probability.astype(int), other.probability, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rows", [[], [300, 600], list(range(40, HEIGHT, 90))])
def test_bands_give_what_all_at_once_gives(refiner, street, whole, rows):
    picture, instances = street
    final, most = pass_through(RefineStream(refiner, make_reader(picture)), instances, rows)
    assert_same(final, whole)
    assert sum(i.refined for i in final) > 0.8 * len(instances)  # neighbours have something to argue about
    assert not rows or most < len(instances)


def test_what_is_held_does_not_grow_with_the_street(refiner, street):
    picture, instances = street
    held = [pass_through(RefineStream(refiner, make_reader(picture)), part, range(40, HEIGHT, 60))[1]
            for part in ([i for i in instances if i.box[1] < HEIGHT / 2], instances)]  # fmt: skip
    assert held[1] <= 1.2 * held[0] < len(instances) / 2


def test_answers_that_were_kept_are_not_asked_for_again(refiner, street, whole):
    picture, instances = street
    answers = {}

    def keep(pairs):
        answers.update({before.id: after for before, after in pairs})

    class Stopped(Exception):
        pass

    class Watch(Reporter):
        def check(self):
            if len(answers) > 40:
                raise Stopped

    stream = RefineStream(refiner, make_reader(picture), keep=keep, reporter=Watch())
    with pytest.raises(Stopped):
        pass_through(stream, instances, [300, 600])
    assert 40 < len(answers) < len(instances)
    earlier, asked = dict(answers), []
    answers.clear()

    def find(before):
        return earlier.get(before.id)

    def read(box, *, size):
        asked.append(box)
        return make_reader(picture)(box, size=size)

    final, _ = pass_through(RefineStream(refiner, read, find=find, keep=keep), instances, [450])
    assert_same(final, whole)
    assert len(asked) == len(instances) - len(earlier) == len(answers)


def test_a_giant_is_left_as_it_is_and_nobody_waits_for_it(refiner, street):
    picture, instances = street
    giant = Instance("giant", (0, 100, 200, 400), np.full((300, 200), 255, np.uint8), 0.9)
    final, _ = pass_through(RefineStream(refiner, make_reader(picture)), [*instances[:20], giant], [300])
    assert next(i for i in final if i.id == "giant") is giant


def test_a_wish_to_cancel_ends_it_between_batches(refiner, street):
    picture, instances = street

    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        pass_through(RefineStream(refiner, make_reader(picture), reporter=reporter), instances, [])


def test_when_memory_runs_out_the_batches_get_smaller_and_the_masks_stay_the_same(street, whole):
    picture, instances = street
    torch.manual_seed(0)
    network = build_refiner("guided", {"width": 8})
    torch.nn.init.normal_(network.head.weight, std=0.08)

    def fail_if_large(_, arguments):
        if len(arguments[0]) > 3:  # a quarter of a batch, of crops of 96 or 128 px
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    network.register_forward_pre_hook(fail_if_large)
    said = []

    class Listener(Reporter):
        def log(self, message, level="info"):
            said.append((message, level))

    refiner = Refiner(network, gate=Gate(min_certainty=0, min_iou=0))
    final, _ = pass_through(RefineStream(refiner, make_reader(picture), reporter=Listener()), instances, [])
    # a convolution of fewer crops adds in another order: the last of 255 steps may round the other way
    assert_same(final, whole, tolerance=1)
    assert [level for _, level in said] == ["warning", "warning"] and "smaller batches" in said[0][0]
