# SPDX-License-Identifier: Apache-2.0
"""Strong synthetic changes of a picture: of the viewpoint, and of light, weather and sensor.

All functions take and return uint8 (H, W, 3) RGB, and draw from the generator that is passed in.
"""

from __future__ import annotations

import cv2
import numpy as np

# The corners of a whole picture, as shares of its sides.
UNIT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def draw_corners(rng: np.random.Generator) -> np.ndarray:
    """Where the corners of a view from elsewhere lie in the picture, as shares of its sides.

    float64 (4, 2) of (x, y), clockwise from the top left: a crop of 0.5 to 1.1 of the sides,
    shifted, turned slightly, in perspective. What is beyond the picture's edge is little.
    """
    aspect = np.exp(rng.uniform(-0.2, 0.2))
    sides = np.exp(rng.uniform(*np.log((0.5, 1.1)))) * np.array([aspect, 1 / aspect])
    room = np.maximum(1 - sides, 0) / 2 + 0.03
    angle = rng.uniform(-0.1, 0.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (UNIT - 0.5 + rng.uniform(-0.08, 0.08, (4, 2))) * sides
    return corners @ turn.T + 0.5 + rng.uniform(-room, room)


def warped(image: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """The view of these corners (see `draw_corners`), uint8 (size, size, 3).

    Beyond the edge the picture is mirrored. A crop of more pixels than the view has is reduced by
    area first, so that nothing flickers.
    """
    if np.array_equal(corners, UNIT):
        return _resize(image, (size, size))
    image = _reduced(image, corners, size)
    # Half a pixel: corners are those of the picture, coordinates the middles of its pixels.
    source = corners * image.shape[1::-1] - 0.5
    homography = cv2.getPerspectiveTransform(
        source.astype(np.float32), (UNIT * size - 0.5).astype(np.float32)
    )
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
    return cv2.warpPerspective(image, homography, (size, size), flags=flags, borderMode=border)


def _reduced(image: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    sides = np.linalg.norm((corners[[1, 3]] - corners[0]) * image.shape[1::-1], axis=1)
    if (sides <= 1.5 * size).all():
        return image
    width, height = np.ceil(image.shape[1::-1] * np.minimum(1, size / sides)).astype(int).tolist()
    return _resize(image, (width, height))


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same view under other light and weather, by another camera, partly hidden.

    Each change has its own probability, so that an image gets none, one or several of them.
    """
    steps = [
        (0.35, _small_camera),
        (0.15, _burnt_in),
        (0.5, _colour),
        (0.6, _exposure),
        (0.2, _night),
        (0.2, _fog),
        (0.1, _rain),
        (0.2, _shadow),
        (0.2, _blur),
        (0.2, _noise),
        (0.3, _occlude),
        (0.2, _jpeg),
    ]
    image = image.copy()
    for chance, step in steps:
        if rng.random() < chance:
            image = step(image, rng)
    return image


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _scale(image: np.ndarray) -> float:
    """Lengths in pixels below are those in a picture of 224; in smaller ones they are shorter."""
    return max(0.5, image.shape[1] / 224)


def _small_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A camera of 50 to 160 pixels a side: reduced to them and enlarged again."""
    size = image.shape[1], image.shape[0]
    small = tuple(int(s * min(1, rng.uniform(0.22, 0.7) / _scale(image))) for s in size)
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), size)


def _burnt_in(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A caption or a bar, as webcams and recorders burn them in."""
    height, width = image.shape[:2]
    y = int(rng.choice([0.0, 0.93]) * height)
    if rng.random() < 0.5:
        image[y : y + height // 12] = int(rng.integers(0, 256))
    text = ''.join(chr(c) for c in rng.integers(48, 91, int(rng.integers(6, 20))))
    at, colour = (int(rng.uniform(0, width / 2)), y + height // 15), int(rng.choice([0, 255]))
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 0.6), (colour,) * 3)
    return image


def _colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White balance and saturation; sometimes grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    saturation = 0.0 if rng.random() < 0.25 else rng.uniform(0.3, 1.5)
    gains = np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)
    return _clip((grey + (image - grey) * saturation) * gains)


def _exposure(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast and brightness by one look-up table."""
    x = np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.9, 0.9))
    x = (x - 0.5) * rng.uniform(0.5, 1.6) + 0.5 + rng.uniform(-0.2, 0.2)
    return cv2.LUT(image, _clip(x * 255))


def _night(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Night: dark and bluish, darkest at the top, with lamps."""
    height, width = image.shape[:2]
    rows = np.linspace(rng.uniform(0.1, 0.6), rng.uniform(0.4, 1.0), height)[:, None, None]
    dark = (image / 255.0) ** rng.uniform(1.2, 2.2) * rows * rng.uniform(0.25, 0.7)
    dark *= (0.85, 0.95, rng.uniform(1.0, 1.3))
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(int(rng.integers(0, 5))):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 40)
        radius *= _scale(image)
        glow = np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * radius**2))[..., None]
        dark = dark + glow * (rng.uniform(0.2, 0.9) * np.array([1.0, 0.85, 0.6]))
    return _clip(dark * 255 + rng.normal(0, rng.uniform(0, 8), image.shape))


def _fog(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fog, thickest at the horizon, which is a third to a half down the picture."""
    rows = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None, None]
    depth = np.clip(1 - np.abs(rows - rng.uniform(0.3, 0.5)) * 2, 0, 1)
    veil = 1 - np.exp(-rng.uniform(0.3, 2.0) * (0.3 + depth))
    return _clip(image * (1 - veil) + rng.uniform(120, 230) * veil)


def _rain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rain or snow: slanted streaks or short dots."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    slant, length = rng.integers((-6, 1), (7, 16)) * _scale(image)
    for x, y in rng.integers(0, (width, height), (int(rng.integers(40, 250)), 2)).tolist():
        cv2.line(layer, (x, y), (int(x + slant), int(y + length)), 255, 1)
    veil = layer[..., None] * rng.uniform(0.2, 0.6)
    return _clip(image * rng.uniform(0.7, 1.0) + veil)


def _shadow(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A polygon that is darker (shadow) or brighter (glare)."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    points = (rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 6))[..., None]
    return _clip(image * (1 + mask * (rng.choice([rng.uniform(0.3, 0.7), 1.7]) - 1)))


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus or moved sideways."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.5) * _scale(image))
    return cv2.blur(image, (int(np.ceil(rng.integers(3, 12) * _scale(image))), 1))


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _clip(image + rng.normal(0, rng.uniform(3, 20), image.shape))


def _occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """People and cars that were not there before: boxes and ellipses of one colour."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        w, h = int(rng.uniform(0.06, 0.3) * width), int(rng.uniform(0.1, 0.45) * height)
        x, y = int(rng.uniform(0, width - w)), int(rng.uniform(0.2 * height, height - h))
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        if rng.random() < 0.5:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
        else:
            cv2.ellipse(image, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, colour, -1)
    return image


def _jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    coded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)
