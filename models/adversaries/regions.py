"""Features under boxes, differentiable in the coordinates of the boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def pool_regions(
    features: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    *,
    size: int,
    samples: int = 2,
) -> Tensor:
    """Average of a regular grid of bilinear samples in each cell of each box.

    Stands in for Precise RoI Pooling (Jiang et al. 2018), which integrates exactly but is a CUDA extension:
    both are continuous in the coordinates, so a gradient reaches the boxes. Outside a map there is zero.

    Args:
        features: maps float[B, C, h, w], finest first.
        strides: pixels between their cells.
        boxes: float[N, 4], pixels.
        images: int64[N], the image each box lies in.
        levels: int64[N], the map each box is read from; the caller's, so that a predicted and a true box are
            read from the same one.
        size: cells per side.
        samples: bilinear samples per side of a cell.

    Returns:
        float[N, C, size, size].
    """
    count, channels = len(boxes), features[0].shape[1]
    inner = (torch.arange(samples, device=boxes.device, dtype=boxes.dtype) + 0.5) / samples
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + inner[:, None]) / size
    x = boxes[:, 0] + (boxes[:, 2] - boxes[:, 0]) * steps[..., None]  # [samples, size, N]
    y = boxes[:, 1] + (boxes[:, 3] - boxes[:, 1]) * steps[..., None]
    found, order = [], []
    for level, (maps, stride) in enumerate(zip(features, strides, strict=True)):
        height, width = maps.shape[-2:]
        for image in range(len(maps)):
            chosen = torch.nonzero((levels == level) & (images == image)).flatten()
            if not len(chosen):
                continue
            # grid_sample counts from -1 to 1 between the outer edges of the map
            across = (2 / (stride * width) * x[..., chosen] - 1).transpose(1, 2)[:, :, None, :]
            down = (2 / (stride * height) * y[..., chosen] - 1).transpose(1, 2)[:, :, :, None]
            plane = maps[image : image + 1].to(x.dtype)
            total: Tensor | None = None
            for right in across:  # [n, 1, size]
                for below in down:  # [n, size, 1]
                    grid = torch.stack(torch.broadcast_tensors(right, below), -1).flatten(0, 1)[None]
                    sampled = functional.grid_sample(plane, grid, align_corners=False)
                    total = sampled if total is None else total + sampled
            assert total is not None
            found.append(total.view(channels, len(chosen), size, size).transpose(0, 1) / samples**2)
            order.append(chosen)
    if not found:
        return boxes.new_zeros((count, channels, size, size))
    return torch.cat(found)[torch.argsort(torch.cat(order))]
