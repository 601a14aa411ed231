"""From light to an image: haze, colour cast, optics, sensor noise, compression."""

from __future__ import annotations

import cv2
import numpy as np


def photograph(rng: np.random.Generator, light: np.ndarray, *, haze: float, pixel_m: float) -> np.ndarray:
    """Expose a lit scene, float32[H, W, 3], to an orthophoto, uint8[H, W, 3] RGB.

    Args:
        haze: how strong it may be, 0..1; pixel_m: ground pixel, because fine grids often hold softer
            content.
    """
    image = _develop(rng, light, haze)
    softest = 0.95 * float(np.clip(0.15 / pixel_m, 1.0, 2.2))
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, softest))
    if rng.random() < 0.4:  # sharpened by the mosaicking software
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image += np.float32(rng.uniform(0.2, 0.9)) * (image - soft)
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32)[..., None]
    image += noise * np.float32(rng.uniform(0.002, 0.02))
    byte = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.75:
        quality = int(rng.integers(55, 96))
        _, packed = cv2.imencode(".jpg", byte[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        byte = np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])
    return byte


def _develop(rng: np.random.Generator, light: np.ndarray, haze: float) -> np.ndarray:
    """Exposure, haze, white balance, saturation and tone curve; float32[H, W, 3] in 0..1."""
    middle = float(light[::7, ::7].mean())
    wanted = rng.uniform(0.2, 0.34) if rng.random() < 0.15 else rng.uniform(0.34, 0.56)
    image = light * np.float32(np.clip(wanted / middle, 0.6, 1.45))
    veil = rng.beta(1.2, 4) * haze * 0.6
    image = image * np.float32(1 - veil) + np.float32([0.66, 0.72, 0.78]) * np.float32(veil)
    warm, green = rng.normal(0, 0.032), rng.normal(0, 0.015)
    image *= np.float32([1 + warm, 1 + green, 1 - warm])
    grey = image.mean(axis=2, keepdims=True)
    image = grey + np.float32(rng.uniform(0.5, 1.05)) * (image - grey)
    np.clip(image, 0, 1, out=image)
    image **= np.float32(rng.uniform(0.8, 1.15))
    image += np.float32(rng.uniform(0, 0.45)) * image * (1 - image) * (2 * image - 1)
    return image
