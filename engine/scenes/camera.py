"""From light to an image: exposure, haze, colour cast, optics, sensor noise, compression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import Canvas
from .palettes import rgb

STRIP_PX = 1024  # a multiple of the 16 pixels of a JPEG block with halved colour
HALO_PX = 8


@dataclass(frozen=True)
class Camera:
    """How one orthophoto was taken and processed.

    Attributes:
        gain: exposure; veil: share of haze, 0..1; cast: factors of red, green and blue.
        pivot, contrast: spread of the brightness around a middle; saturation: of the colours.
        gamma: of the tone curve.
        blur_px: standard deviation of the optics; sharpen: amount of unsharp masking, 0 for none.
        noise: standard deviation of the sensor noise, 0..1; quality: of JPEG, 0 for none.
    """

    gain: float
    veil: float
    cast: tuple[float, float, float]
    pivot: float
    contrast: float
    saturation: float
    gamma: float
    blur_px: float
    sharpen: float
    noise: float
    quality: int


def choose_camera(rng: np.random.Generator, sample: np.ndarray, *, haze: float, pixel_m: float) -> Camera:
    """A random camera; brightness and contrast come out about as spread as those of real orthophotos.

    Args:
        sample: float32[H, W, 3] of the lit scene, which exposure and contrast follow.
        haze: how strong it may be, 0..1.
        pixel_m: ground pixel, because fine grids often hold softer content.
    """
    brightness, spread = float(sample.mean()), float(sample.mean(axis=2).std())
    wanted = rng.uniform(0.2, 0.34) if rng.random() < 0.15 else rng.uniform(0.36, 0.58)
    gain = float(np.clip(wanted / max(brightness, 1e-3), 0.6, 1.6))
    warm, green = rng.normal(0, 0.032), rng.normal(0, 0.015)
    softest = 0.85 * float(np.clip(0.15 / pixel_m, 1.0, 2.2))
    return Camera(
        gain=gain,
        veil=float(rng.beta(1.2, 4) * haze * 0.5),
        cast=(1 + warm, 1 + green, 1 - warm),
        pivot=gain * brightness,
        contrast=float(np.clip(rng.uniform(0.13, 0.22) / max(gain * spread, 1e-3), 0.85, 2.0)),
        saturation=rng.uniform(0.5, 1.15),
        gamma=rng.uniform(0.85, 1.12),
        blur_px=rng.uniform(0.3, softest),
        sharpen=rng.uniform(0.2, 0.9) if rng.random() < 0.55 else 0.0,
        noise=rng.uniform(0.002, 0.02),
        quality=int(rng.integers(55, 96)) if rng.random() < 0.75 else 0,
    )


def photograph(canvas: Canvas, *, haze: float) -> np.ndarray:
    """The orthophoto of a painted canvas, uint8[H, W, 3] RGB; worked off in strips to spare memory."""
    rng, (width, height) = canvas.rng, canvas.size_px
    shadow = canvas.shadow()
    sample = canvas.lit(shadow, (slice(None, None, 7), slice(None, None, 7)))
    camera = choose_camera(rng, sample, haze=haze, pixel_m=canvas.pixel_m)
    image = np.empty((height, width, 3), np.uint8)
    for rows, padded in _strips(height):
        exposed = _expose(camera, canvas.lit(shadow, (padded, slice(None))))
        exposed = exposed[rows.start - padded.start : rows.stop - padded.start]
        grain = rng.standard_normal(exposed.shape[:2], dtype=np.float32)[..., None]
        exposed += grain * np.float32(camera.noise)
        image[rows] = _compress(camera, np.clip(exposed * 255 + 0.5, 0, 255).astype(np.uint8))
    return image


def _strips(height: int) -> Iterator[tuple[slice, slice]]:
    """Rows of each strip, and the same with a margin for the optics."""
    for start in range(0, height, STRIP_PX):
        stop = min(start + STRIP_PX, height)
        yield slice(start, stop), slice(max(start - HALO_PX, 0), min(stop + HALO_PX, height))


def _expose(camera: Camera, light: np.ndarray) -> np.ndarray:
    """Exposure, haze, white balance, tone curve and optics; float32[H, W, 3], about 0..1."""
    image = light * np.float32(camera.gain * (1 - camera.veil))
    image += rgb([0.66, 0.72, 0.78]) * np.float32(camera.veil)
    image *= rgb(camera.cast)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + np.float32(camera.saturation) * (image - grey)
    image = np.float32(camera.pivot) + np.float32(camera.contrast) * (image - np.float32(camera.pivot))
    np.clip(image, 0, 1, out=image)
    image **= np.float32(camera.gamma)
    image = cv2.GaussianBlur(image, (0, 0), camera.blur_px)
    if camera.sharpen:  # as mosaicking software does
        image += np.float32(camera.sharpen) * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
    return image


def _compress(camera: Camera, image: np.ndarray) -> np.ndarray:
    """What JPEG leaves of uint8[H, W, 3] RGB."""
    if not camera.quality:
        return image
    _, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))[..., ::-1]
