"""What else a camera, the weather and a town can do to a crop; geometry is done by `crops`."""

from __future__ import annotations

import cv2
import numpy as np


def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8[H, W, 3] RGB to the same with changed light, colour, sharpness and noise."""
    if rng.random() < 0.3:
        image = cast_shadow(image, rng)
    image = shift_colour(image, rng)
    if rng.random() < 0.3:
        image = coarsen(image, rng)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    elif rng.random() < 0.2:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image = cv2.addWeighted(image, 1 + (a := float(rng.uniform(0.2, 1.0))), soft, -a, 0)
    if rng.random() < 0.3:
        noise = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0, float(rng.uniform(2, 12)))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return image


def shift_colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, gamma, white balance, saturation and haze as one table per channel."""
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = float(rng.uniform(-0.6, 1.0))  # negative: more colourful
        image = cv2.addWeighted(image, 1 - share, grey, share, 0)
    if rng.random() < 0.1:
        image = image[..., rng.permutation(3)]
    levels = np.linspace(0, 1, 256)
    gamma = float(np.exp(rng.uniform(-0.4, 0.4)))
    contrast = float(np.exp(rng.uniform(-0.35, 0.35)))
    brightness = float(rng.uniform(-0.15, 0.15))
    haze = float(rng.uniform(0, 0.35)) if rng.random() < 0.15 else 0.0
    balance = np.exp(rng.normal(0, 0.08, 3))
    curve = (levels**gamma - 0.45) * contrast + 0.45 + brightness
    curve = curve * (1 - haze) + 0.85 * haze
    table = np.clip(curve[:, None] * balance * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(image), table[:, None, :])


def coarsen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As seen at a 1.3 to 3 times larger ground pixel: satellites, high flights, over-zoomed mosaics."""
    height, width = image.shape[:2]
    factor = float(np.exp(rng.uniform(np.log(1.3), np.log(3.0))))
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    back = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(2))]
    return cv2.resize(small, (width, height), interpolation=back)


def cast_shadow(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darken a polygon or a few blobs, as clouds, trees and neighbours out of the picture do."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * (width, height)
        cv2.fillPoly(mask, [cv2.convexHull(corners.astype(np.int32))], 255)
    else:
        for _ in range(int(rng.integers(1, 8))):
            centre = tuple(int(v) for v in rng.uniform(0, 1, 2) * (width, height))
            axes = tuple(int(v) for v in rng.uniform(0.02, 0.14, 2) * width)
            cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.7, 3)))
    depth = float(rng.uniform(0.25, 0.65))
    tint = np.array([1.0, 0.97, 0.9])  # skylight fills shadows with blue: red is lost first
    light = 1 - (mask.astype(np.float32) / 255)[..., None] * depth * tint
    return (image * light).astype(np.uint8)
