"""How a building is shown to a refiner: a square crop whose scale follows the building's size.

Training and inference both cut crops by this rule; it is part of what a refiner has learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FILL = 0.55
"""Share of the crop's side the building spans; the rest is context."""
MIN_ZOOM = 0.85
"""Below this many crop pixels a working pixel, the next larger crop is taken."""
MAX_ZOOM = 3.0
"""Greatest enlargement; more would only show interpolation."""


@dataclass(frozen=True)
class Window:
    """A square of the working grid, ``[x, x + side) x [y, y + side)``, shown as `size` x `size`.

    Whole numbers on the working grid, so that going there and back by area and linear resampling
    needs no sub-pixel shift.
    """

    x: int
    y: int
    side: int
    size: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """``(x_min, y_min, x_max, y_max)`` on the working grid."""
        return float(self.x), float(self.y), float(self.x + self.side), float(self.y + self.side)


def choose_window(
    box: tuple[int, int, int, int],
    sizes_px: tuple[int, ...],
    *,
    fill: float = FILL,
    min_zoom: float = MIN_ZOOM,
    max_zoom: float = MAX_ZOOM,
) -> Window:
    """The window a building is shown in.

    Args:
        box: tight half-open pixel box of the mask, ``(x_min, y_min, x_max, y_max)``.
        sizes_px: allowed crop sizes, ascending. A building too large for the largest is shown
            reduced in it.
    """
    x_min, y_min, x_max, y_max = box
    side = math.ceil(max(x_max - x_min, y_max - y_min, 1) / fill)
    size = next((s for s in sizes_px if s >= min_zoom * side), sizes_px[-1])
    side = max(side, math.ceil(size / max_zoom))
    return Window(
        x=(x_min + x_max - side) // 2,
        y=(y_min + y_max - side) // 2,
        side=side,
        size=size,
    )
