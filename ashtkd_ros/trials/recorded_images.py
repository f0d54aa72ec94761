# SPDX-License-Identifier: Apache-2.0
"""The images of one camera of a trial as columns: when they came, and what is wrong with them."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict

import cv2
import numpy as np

from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.faults import MAX_BLUR, FrozenDetector, blur
from ashtkd_ros.images.message_decoding import ImageError, message_to_array

DARK, BURNT, BLURRED, FROZEN, UNREADABLE = 'dark', 'burnt', 'blurred', 'frozen', 'unreadable'
FAULTS = ('', DARK, BURNT, BLURRED, FROZEN, UNREADABLE)
_SIZE = (224, 224)  # pixels, as the network sees them
_EVERY_S = 0.19  # images that come sooner after one are not looked at
_DARK_MEAN, _BURNT_SHARE, _WHITE = 40.0, 0.3, 250  # of brightness 0 to 255, of the picture
_FROZEN_AFTER = 5  # equal images that were looked at, about a second
_RECENT = 2000  # stamps by which answers find their images


class RecordedImages:
    """Columns, a row an image, in the order of the bag.

    `stamps`, `received`: int64, ns of the header and of receipt; `seconds`: float64 since the
    trial began; `bags`: number of the bag; `faults`: index in FAULTS, that of the image or of the
    last one that was looked at; `light`: mean brightness of that one, 0 to 255. About five images
    a second are looked at.
    """

    def __init__(self, name: str):
        self.name = name
        self.topics: dict[int, str] = {}  # number of the bag → topic
        self.stamps, self.received = array('q'), array('q')
        self.seconds = array('d')
        self.bags, self.faults, self.light = array('H'), array('b'), array('f')
        self._recent: OrderedDict[int, int] = OrderedDict()
        self._looked, self._fault, self._light = -math.inf, 0, math.nan
        self._frozen, self._depth = FrozenDetector(), BitDepth()

    def __len__(self) -> int:
        return len(self.stamps)

    def add(self, bag: int, stamp_ns: int, received_ns: int, seconds: float, message) -> None:
        """Take an image message."""
        if abs(seconds - self._looked) >= _EVERY_S:
            self._looked = seconds
            self._look(message, stamp_ns)
        self._recent[stamp_ns] = len(self)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        self._append(bag, stamp_ns, received_ns, seconds, self._fault, self._light)

    def add_damaged(self, bag: int, received_ns: int, seconds: float) -> None:
        """Count a message that cannot be read, so that the numbers of the others stay."""
        self._append(bag, 0, received_ns, seconds, FAULTS.index(UNREADABLE), math.nan)

    def _append(
        self, bag: int, stamp_ns: int, received_ns: int, seconds: float, fault: int, light: float
    ) -> None:
        self.stamps.append(stamp_ns)
        self.received.append(received_ns)
        self.seconds.append(seconds)
        self.bags.append(bag)
        self.faults.append(fault)
        self.light.append(light)

    def row_of(self, stamp_ns: int) -> int | None:
        """The image of this stamp among the last ones; None without one."""
        return self._recent.get(stamp_ns)

    @property
    def fault(self) -> str:
        """Of the last image that was looked at; empty: none."""
        return FAULTS[self._fault]

    @property
    def usual_s(self) -> float:
        """Usual seconds between two images; NaN for fewer than three."""
        steps = np.diff(np.array(self.seconds)) if len(self) > 2 else np.array([])
        return float(np.median(steps)) if len(steps) else math.nan

    def _look(self, message, stamp_ns: int) -> None:
        try:
            pixels, _ = message_to_array(message, _SIZE, self._depth)
        except ImageError:
            self._fault, self._light = FAULTS.index(UNREADABLE), math.nan
            return
        small = cv2.resize(pixels, _SIZE, interpolation=cv2.INTER_AREA)
        frozen = self._frozen.update(small, _FROZEN_AFTER, float(stamp_ns))
        grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        self._light = float(grey.mean())
        self._fault = FAULTS.index(FROZEN if frozen else fault_of(grey))


def fault_of(grey: np.ndarray) -> str:
    """DARK, BURNT or BLURRED, else empty: uint8 (H, W) of about 224 pixels.

    These are reasons for a place that was not recognised; a node refuses images only where it is
    far worse, see `images.faults`.
    """
    if grey.mean() < _DARK_MEAN:
        return DARK
    if (grey >= _WHITE).mean() > _BURNT_SHARE:
        return BURNT
    return BLURRED if blur(grey) > MAX_BLUR else ''
