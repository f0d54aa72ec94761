# SPDX-License-Identifier: Apache-2.0
"""Procedural surfaces: uint8 (h, w, 4), RGB albedo and, in the fourth channel, its glow."""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator


def noise(rng: Rng, shape: tuple[int, int], cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise float32 of this shape, mean 0, about -1..1, that repeats at the borders."""
    out = np.zeros(shape, dtype=np.float32)
    for k in range(octaves):
        n = cells * 2**k
        grid = np.pad(rng.uniform(-1, 1, (n, n)).astype(np.float32), 2, mode='wrap')
        size = (shape[1] * (n + 4) // n, shape[0] * (n + 4) // n)
        big = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
        y, x = 2 * shape[0] // n, 2 * shape[1] // n
        out += big[y : y + shape[0], x : x + shape[1]] / 2**k
    return out


def finish(rgb: np.ndarray, glow: np.ndarray | None = None) -> np.ndarray:
    """Texture uint8 (h, w, 4) from colours float (h, w, 3) in 0..255 and glow uint8 (h, w)."""
    out = np.zeros((*rgb.shape[:2], 4), dtype=np.uint8)
    out[..., :3] = np.clip(rgb, 0, 255)
    if glow is not None:
        out[..., 3] = glow
    return out


def speckled(
    rng: Rng, colour, size: int = 256, cells: int = 8, coarse=14.0, fine=10.0
) -> np.ndarray:
    """A blotchy surface such as asphalt, grass, leaves or plaster."""
    base = np.ones((size, size, 3), dtype=np.float32) * np.array(colour, dtype=np.float32)
    shade = coarse * noise(rng, (size, size), cells) + fine * rng.standard_normal((size, size))
    return finish(base + shade[..., None].astype(np.float32))


def leaves(rng: Rng, colour, size: int = 128) -> np.ndarray:
    """Foliage: many small ellipses, lighter and darker than `colour`."""
    rgb = np.ones((size, size, 3), dtype=np.float32) * np.array(colour, dtype=np.float32) * 0.45
    for _ in range(420):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.integers(3, 8, 2))
        shade = np.array(colour) * rng.uniform(0.5, 1.35) + rng.uniform(-8, 8, 3)
        cv2.ellipse(rgb, centre, axes, float(rng.uniform(0, 180)), 0, 360, shade.tolist(), -1)
    return finish(rgb)


def slabs(rng: Rng, colour, rows: int, cols: int, size: int = 256, joint=0.65) -> np.ndarray:
    """Paving: a running bond of slabs with dark joints; repeats."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    row = np.floor(y * rows).astype(int)
    along = x * cols + 0.5 * (row % 2)
    shade = rng.uniform(0.86, 1.1, (rows, cols))[row, np.floor(along).astype(int) % cols]
    edge = (np.mod(y * rows, 1) < 0.07) | (np.mod(along, 1) < 0.05)
    shade = np.where(edge, shade * joint, shade)[..., None]
    rgb = np.array(colour, dtype=np.float32) * shade
    return finish(rgb + 6 * rng.standard_normal((size, size, 1)))


def tiles(rng: Rng, colour, size: int = 256, rows: int = 16) -> np.ndarray:
    """Roof tiles: rows with a shadow line below each."""
    out = slabs(rng, colour, rows, rows + 4, size, joint=0.7)
    y = np.mod(np.arange(size) * rows / size, 1)[:, None, None]
    return finish(out[..., :3] * (0.78 + 0.3 * y) + 8 * noise(rng, (size, size), 6)[..., None])


def road(rng: Rng, kind: str, size: int = 256) -> np.ndarray:
    """The carriageway across (texture x) and 8 m along (texture y): markings by `kind`."""
    rgb = speckled(rng, (92, 92, 95), size, 5, 8, 5)[..., :3].astype(np.float32)
    x = np.arange(size) / size
    y = x[:, None]
    worn = 0.85 + 0.12 * noise(rng, (size, size), 10)
    if kind == 'cobble':
        rgb = slabs(rng, (124, 114, 104), 32, 26, size)[..., :3].astype(np.float32)
        mark = np.zeros((size, size), dtype=bool)
    elif kind == 'zebra':
        mark = (np.mod(x * 6.5 - 0.25, 1) < 0.5)[None] & (y > 0.25) & (y < 0.7)
    else:
        mark = (np.abs(x - 0.5) < 0.011)[None] & (np.mod(y * 2, 1) < 0.5)
        if kind == 'edged':
            mark |= ((np.abs(x - 0.04) < 0.011) | (np.abs(x - 0.96) < 0.011))[None]
    rgb = np.where(mark[..., None], 215 * worn[..., None], rgb)
    if kind == 'patched':
        a, b = rng.integers(20, 120, 2)
        rgb[a : a + 90, b : b + 70] *= 0.72
        cv2.circle(rgb, (190, 190), 11, (62.0, 60.0, 58.0), -1)
        cv2.circle(rgb, (190, 190), 11, (40.0, 40.0, 40.0), 2)
    return finish(rgb)


def sign(rng: Rng, text: str, ground, ink, width: int = 256, height: int = 64) -> np.ndarray:
    """A shop sign: the text fills the board; it glows a little at night."""
    rgb = np.ones((height, width, 3), dtype=np.float32) * np.array(ground, dtype=np.float32)
    font = int(rng.choice([cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
    (w, h), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min((width - 16) / w, (height - 20) / h)
    (w, h), _ = cv2.getTextSize(text, font, scale, 2)
    at = ((width - w) // 2, (height + h) // 2)
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.putText(mask, text, at, font, scale, 255, max(2, int(scale * 2)), cv2.LINE_AA)
    cv2.rectangle(mask, (2, 2), (width - 3, height - 3), 255, 2)
    rgb += (np.array(ink, dtype=np.float32) - rgb) * (mask[..., None] / np.float32(255))
    glow = np.full((height, width), int(rng.choice([0, 60, 110])), dtype=np.uint8)
    return finish(rgb, glow)


def awning(rng: Rng, colour, size: int = 128) -> np.ndarray:
    """Striped cloth."""
    stripe = np.mod(np.arange(size) * rng.integers(4, 9) / size, 1) < 0.5
    rgb = np.where(stripe[None, :, None], np.array(colour, dtype=np.float32), 232.0)
    return finish(np.repeat(rgb, size, axis=0) + 4 * rng.standard_normal((size, size, 1)))


def clock(size: int = 128) -> np.ndarray:
    """A church clock."""
    rgb = np.full((size, size, 3), 150.0, dtype=np.float32)
    middle = (size // 2, size // 2)
    cv2.circle(rgb, middle, size // 2 - 6, (235.0, 232.0, 215.0), -1)
    cv2.circle(rgb, middle, size // 2 - 6, (40.0, 40.0, 60.0), 4)
    for k in range(12):
        c, s = np.cos(k * np.pi / 6), np.sin(k * np.pi / 6)
        ends = [tuple(int(size / 2 + r * v) for v in (c, s)) for r in (size * 0.34, size * 0.42)]
        cv2.line(rgb, ends[0], ends[1], (30.0, 30.0, 40.0), 4)
    cv2.line(rgb, middle, (middle[0] + 25, middle[1] - 30), (20.0, 20.0, 30.0), 5)
    cv2.line(rgb, middle, (middle[0] - 12, middle[1] - 22), (20.0, 20.0, 30.0), 6)
    return finish(rgb, np.full((size, size), 90, dtype=np.uint8))
