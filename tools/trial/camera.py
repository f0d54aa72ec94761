# SPDX-License-Identifier: Apache-2.0
"""The camera of the simulated robot: late exposure, motion blur, noise, rain on the lens, JPEG.

It looks at rendered pictures. Between two of them the nearer one is enlarged and moved, as if all
that it shows were at one distance; so no two pictures of a drive are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tools.trial.route import Route

HZ = 10.0
QUALITY = 80  # of the JPEG
DROPPED = 0.01  # share of the pictures that never arrive
_DEPTH_M = 12.0  # how far away everything counts as
_FOCAL = 0.596  # of the width: tools.render looks 80 degrees wide
_EXPOSURE_S = {'day': 0.004, 'fog': 0.008, 'rain': 0.010, 'dusk': 0.012, 'night': 0.030}
# Stretches of the route (shares of it) under a roof, where there is little light.
_ROOFS = ((0.28, 0.31), (0.74, 0.77))
_ROOF_LIGHT = 0.12
_GAIN = (0.25, 6.0)  # what the camera can make up for
_LAG_S = 0.7  # the time that the exposure needs to follow
_BUMPS = (0.12, 0.45, 0.62, 0.9)  # shares of the route where the robot shakes
_BUMP_M, _BUMP_PX = 2.0, 9
_GAMMA = 2.2
_NOISE = 2.0  # standard deviation in grey levels
_DROPS, _RUN_S, _RUN_PX_S = (
    24,
    1.0,
    60.0,
)  # on the lens, in rain; they run down in their last second


@dataclass(frozen=True)
class Drop:
    """Water on the lens, in pixels; `until`: the second at which it has run down."""

    x: float
    y: float
    radius: float
    until: float


class Camera:
    """Pictures, uint8 (H, W, 3) BGR, one for each mark of the route, as a moving camera sees them.

    `seed`: of noise, drops and pictures that are lost.
    """

    def __init__(
        self, route: Route, pictures: Sequence[np.ndarray], condition: str, seed: int = 0
    ):
        self._route, self._pictures = route, pictures
        self._height, self._width = pictures[0].shape[:2]
        self._exposure_s = _EXPOSURE_S[condition]
        self._wet = condition == 'rain'
        self._rng = np.random.default_rng([seed, 7])
        shape = (2 * self._height, 2 * self._width, 3)
        self._noise = (self._rng.standard_normal(shape) * _NOISE).astype(np.int16)
        self._drops: list[Drop] = []
        self._gain, self._last_s = 1.0, 0.0

    def picture(self, seconds: float, distance: float, speed: float) -> np.ndarray:
        """What is seen at a time (s), after so many metres, at a speed (m/s); uint8 (H, W, 3)."""
        point = self._route.at(distance)
        image = self._view(distance)
        image = _blurred(image, speed * point.turn * self._exposure_s * _FOCAL * self._width)
        if speed and self._shares_near(distance, _BUMPS):
            image = cv2.blur(image, (3, _BUMP_PX))
        if self._wet:
            image = self._through_drops(image, seconds)
        image = self._exposed(image, seconds, distance)
        y, x = (int(self._rng.integers(n)) for n in (self._height, self._width))
        noise = self._noise[y : y + self._height, x : x + self._width]
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    def is_lost(self) -> bool:
        """Whether the next picture never arrives; asked once for each."""
        return bool(self._rng.random() < DROPPED)

    def _view(self, distance: float) -> np.ndarray:
        number, ahead, turned = self._route.picture(distance)
        scale = _DEPTH_M / (_DEPTH_M - ahead)
        shift = math.tan(turned) * _FOCAL * self._width  # what is turned away from moves right
        middle = self._width / 2, self._height / 2
        move = np.array(
            [[scale, 0, middle[0] * (1 - scale) + shift], [0, scale, middle[1] * (1 - scale)]]
        )
        size = (self._width, self._height)
        return cv2.warpAffine(self._pictures[number], move, size, borderMode=cv2.BORDER_REPLICATE)

    def _shares_near(self, distance: float, shares: Sequence[float]) -> bool:
        length = self._route.length
        return any(0 <= (distance - s * length) % length < _BUMP_M for s in shares)

    def _exposed(self, image: np.ndarray, seconds: float, distance: float) -> np.ndarray:
        """The light where the robot is, times the gain that follows it late."""
        share = distance % self._route.length / self._route.length
        light = _ROOF_LIGHT if any(a <= share < b for a, b in _ROOFS) else 1.0
        wanted = min(max(1.0 / light, _GAIN[0]), _GAIN[1])
        follows = 1.0 - math.exp(-max(0.0, seconds - self._last_s) / _LAG_S)
        self._gain *= (wanted / self._gain) ** follows
        self._last_s = seconds
        levels = np.arange(256) * (light * self._gain) ** (1 / _GAMMA)
        return cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8))

    def _through_drops(self, image: np.ndarray, seconds: float) -> np.ndarray:
        """Where a drop is, the picture is smeared and a little brighter."""
        self._drops = [drop for drop in self._drops if drop.until > seconds]
        while len(self._drops) < _DROPS:
            x, y, r, t = self._rng.random(4)
            drop = Drop(x * self._width, y * self._height, 4 + 10 * r, seconds + 0.5 + 8 * t)
            self._drops.append(drop)
        mask = np.zeros(image.shape[:2], np.uint8)
        for drop in self._drops:
            running = max(0.0, _RUN_S - (drop.until - seconds))
            centre = round(drop.x), round(drop.y + _RUN_PX_S * running)
            cv2.circle(mask, centre, round(drop.radius), 255, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 2)[..., None] / np.float32(255)
        smeared = cv2.blur(image, (31, 31)).astype(np.float32) * 1.1
        return np.clip(image * (1 - mask) + smeared * mask, 0, 255).astype(np.uint8)


def _blurred(image: np.ndarray, pixels: float) -> np.ndarray:
    """Smeared sideways over so many pixels, as in a turn."""
    length = int(round(abs(pixels)))
    return cv2.blur(image, (length, 1)) if length > 1 else image


def as_jpeg(image: np.ndarray) -> bytes:
    """The bytes of a JPEG file of a BGR image."""
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
