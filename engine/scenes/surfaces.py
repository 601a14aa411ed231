"""What roofs are covered with: tiles, corrugated sheets, membranes, concrete, thatch."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Window
from .palettes import rgb
from .roofs import Surface

RUST = rgb([0.47, 0.31, 0.23])


def roof_colour(
    canvas: Canvas, window: Window, surface: Surface, material: str, base: np.ndarray, wear: float
) -> np.ndarray:
    """Colour of a roof surface, float32[H, W, 3] in 0..1.

    Args:
        base: float[3], colour of the material when clean.
        wear: 0..1, how stained, patched or rusty it is.
    """
    rng = canvas.rng
    offset = canvas.offset()
    broad = canvas.noise.cut("patch", window.rows, window.cols, offset)
    fine = canvas.noise.cut("fine", window.rows, window.cols, offset)
    grain = canvas.noise.cut("grain", window.rows, window.cols, offset)
    colour: np.ndarray = np.broadcast_to(base.astype(np.float32), (*broad.shape, 3))
    if material.startswith("tin") or material == "seam_metal":
        return _metal(rng, canvas.pixel_m, surface, colour, broad, fine, grain, material, wear)
    value = 1 + wear * 0.10 * broad + wear * 0.07 * fine
    if material.startswith("tiles") or material == "shingle":
        course, cover = (0.34, 0.24) if material.startswith("tiles") else (0.3, 0.9)
        strength = 0.10 if material.startswith("tiles") else 0.05
        value = value + _ripple(surface.down, course, canvas.pixel_m, strength)
        value = value + _ripple(surface.across, cover, canvas.pixel_m, strength * 0.6)
        value = value + (0.035 + 0.03 * wear) * grain
        moss = np.clip((fine + broad) * 0.5 - 1.1 + wear * 0.7, 0, 1)[..., None] * np.float32(0.35 * wear)
        colour = colour + moss * (rgb([0.30, 0.31, 0.23]) - colour)
    elif material == "thatch":
        value = value + 0.10 * grain + _ripple(surface.across, 0.5, canvas.pixel_m, 0.06) + 0.06 * fine
    else:
        stain = np.clip(broad + 0.6 * fine - 0.9 + wear, 0, 1.5)
        value = value - 0.15 * wear * stain + 0.035 * grain
        if material == "concrete":
            damp = np.clip(fine * 0.8 - broad * 0.5 - 0.6, 0, 1)[..., None] * np.float32(0.4 * wear)
            colour = colour + damp * (rgb([0.33, 0.32, 0.30]) - colour)
            value = value + 0.02 * fine
        if material == "membrane" and rng.random() < 0.5:
            value = value - 0.5 * _lines(surface.across, rng.uniform(1.5, 4.0), canvas.pixel_m, 0.05)
    return np.clip(colour * value[..., None], 0.015, 0.99)


def _metal(rng, pixel_m, surface, colour, broad, fine, grain, material, wear) -> np.ndarray:
    """Sheets with ribs down the slope; every sheet has its own shade, some are rusted or replaced."""
    sheet = rng.uniform(0.7, 1.1)
    sheet_long = rng.uniform(1.8, 4.5)
    column = np.floor(surface.across / sheet).astype(np.int64)
    row = np.floor(surface.down / sheet_long + 0.3 * (column % 2)).astype(np.int64)
    table = rng.standard_normal(257).astype(np.float32)
    tint = table[(column * 73 + row * 151) % 257]
    uneven = 0.02 if material in ("tin_painted", "seam_metal") else 0.05
    value = 1 + uneven * (0.7 + wear) * tint + 0.04 * broad + 0.03 * grain
    ribs = rng.uniform(0.15, 0.3) if material != "seam_metal" else rng.uniform(0.4, 0.7)
    value = value + _ripple(surface.across, ribs, pixel_m, 0.08)
    value = value - 0.10 * _lines(surface.across, sheet, pixel_m, 0.05)
    rusty = {"tin_rusty": 0.9, "tin": 0.35, "tin_painted": 0.15}.get(material, 0.0) * wear
    if rusty > 0:
        zone = table[(column // int(rng.integers(2, 7)) * 31 + row // int(rng.integers(1, 3)) * 17) % 257]
        level = fine * 0.5 + broad * 0.4 + 0.5 * tint + 0.6 * zone - 1.7 + 2.5 * rusty
        amount = np.clip(level, 0, 1)[..., None] * np.float32(0.8)
        rust = RUST * np.float32(rng.uniform(0.8, 1.35)) * rgb([1, rng.uniform(0.9, 1.05), rng.uniform(0.8, 1.05)])
        colour = colour + amount * (rust - colour)
        if rng.random() < 0.5 * wear:  # patched with sheets of another kind
            other = rng.uniform(0.35, 0.85) * rgb([1, rng.uniform(0.85, 1.05), rng.uniform(0.8, 1.1)])
            which = zone if rng.random() < 0.5 else tint
            patched = (which > rng.uniform(0.5, 1.6)).astype(np.float32)[..., None]
            colour = colour + patched * (other.astype(np.float32) - colour)
    return np.clip(colour * value[..., None], 0.015, 0.99)


def _ripple(coordinate: np.ndarray, period: float, pixel_m: float, strength: float) -> np.ndarray:
    """A wave of the given period, fading out where the pixel no longer resolves it."""
    seen = float(np.clip(1.6 - 3.0 * pixel_m / period, 0, 1)) * strength
    if seen < 0.004:
        return np.zeros_like(coordinate)
    return np.float32(seen) * np.sin(coordinate * np.float32(2 * np.pi / period))


def _lines(coordinate: np.ndarray, period: float, pixel_m: float, width: float) -> np.ndarray:
    """Thin lines every `period` metres, 0..1; thinner than a pixel they keep their area."""
    distance = np.abs(np.mod(coordinate, np.float32(period)) - np.float32(period / 2))
    shown = max(width, pixel_m)
    return np.clip((shown / 2 - distance) / pixel_m + 0.5, 0, 1) * np.float32(width / shown)
