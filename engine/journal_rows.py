"""Instances as rows of the journal and back, with checksums; what a damaged or hostile file holds is refused."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .contracts import Instance

MAX_MASK_PX = 2**28
"""No building has more pixels; a damaged or hostile file may claim it."""


def to_row(instance: Instance) -> tuple[Any, ...]:
    """An instance as the columns of a row. Raises `ValueError` if mask and box do not agree."""
    x0, y0, x1, y1 = map(int, instance.box)
    probability = np.ascontiguousarray(instance.probability)
    if probability.dtype != np.uint8 or probability.shape != (y1 - y0, x1 - x0):
        raise ValueError(f"instance {instance.id}: {probability.dtype}{probability.shape} in box {instance.box}")
    flags = int(instance.cut), int(instance.edge), int(instance.refined)
    packed = zlib.compress(probability.tobytes(), 1)
    seen = int(instance.tile[0]), int(instance.tile[1])
    return (instance.id, x0, y0, x1, y1, float(instance.score), *seen, *flags, packed)


def mark_of(instance: Instance) -> tuple[Any, ...]:
    """What tells a mask from any other, to the last bit."""
    content = hashlib.blake2s(np.ascontiguousarray(instance.probability).tobytes(), digest_size=16)
    return (instance.id, *map(int, instance.box), content.hexdigest())


def from_row(row: Sequence[Any]) -> Instance:
    """The instance of a row. Raises `ValueError` or `TypeError` for a damaged one."""
    name, x0, y0, x1, y1, score, seen_row, seen_col, cut, edge, refined, packed = row
    return Instance(
        id=name,
        box=(x0, y0, x1, y1),
        probability=unpack(packed, (y1 - y0, x1 - x0)),
        score=score,
        tile=(seen_row, seen_col),
        cut=bool(cut),
        edge=bool(edge),
        refined=bool(refined),
    )


def unpack(packed: bytes, shape: tuple[int, int]) -> np.ndarray:
    """uint8 of `shape`. Raises `ValueError` if that is not what was packed."""
    size = shape[0] * shape[1]
    if shape[0] < 0 or shape[1] < 0 or size > MAX_MASK_PX:
        raise ValueError("size of a mask")
    try:
        raw = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError("packing of a mask") from error
    if len(raw) != size:
        raise ValueError("length of a mask")
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape).copy()


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row holds an instance."""
    try:
        from_row(row)
    except (ValueError, TypeError):
        return False
    return True


def digest_rows(place: tuple[Any, ...], rows: Sequence[Sequence[Any]]) -> bytes:
    """Checksum, 16 bytes, of rows whose last column is a packed mask, and of where they belong."""
    digest = hashlib.blake2s(repr(place).encode(), digest_size=16)
    for row in rows:
        digest.update(repr(tuple(row[:-1])).encode())
        digest.update(row[-1] if isinstance(row[-1], bytes) else b"?")
    return digest.digest()
