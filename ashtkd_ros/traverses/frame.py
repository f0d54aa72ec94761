# SPDX-License-Identifier: Apache-2.0
"""One image of a traverse: when and where it was taken, and its pixels on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.images.colour_order import to_rgb
from ashtkd_ros.stamps import ns_to_s

DAMAGED = 'damaged message'
ZERO = 'stamp zero'
BACK_S = 1.0  # a camera that delivers a little out of order does not mean a broken clock
BACK = f'after the stamps went back by more than {BACK_S:.0f} s (try --stamps receive)'
STRAY = f'stamp more than {BACK_S:.0f} s after those of the next images'
UNUSABLE = (DAMAGED, ZERO, BACK, STRAY)


class StoredImage(ABC):
    """Where the pixels of a frame lie; each kind of source has its own. `str` names it."""

    @property
    def file(self) -> Path | None:
        """The file that holds this image and nothing else; None where there is none."""
        return None

    @abstractmethod
    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """The image, uint8 (H, W, 3) or (H, W), and its order of colours: RGB, BGR or GREY.

        `at_least` (height, width) in pixels: a JPEG may be decoded at a smaller size, but no side
        becomes smaller than this. VprError where the image cannot be read; it is an ImageError
        where the rest of the source is of use without it.
        """

    def encoded(self) -> tuple[bytes, str]:
        """The bytes as they are stored, and their format, jpeg or png.

        VprError where the image is not stored in such a format.
        """
        raise VprError(
            f'{self}: is stored neither as JPEG nor as PNG; leave --jpeg or --compressed out, so '
            'that its pixels are taken'
        )

    def without_pixels(self) -> StoredImage:
        """The same image, which holds no pixels in memory and reads them again when asked."""
        return self


@dataclass(frozen=True)
class Frame:
    """One image of a traverse, whatever that was recorded in.

    `stamp_ns`: when it was taken, in nanoseconds; `header_ns`: the stamp of the message that the
    image was recorded as or is played as, None where that message is damaged. `order`: number of
    the frame along the route. `image`: where the pixels are. `source`: what places.csv names the
    image by; `name`: what reports call it. `pose`: None where the source has none; `label`: the
    place's name, where the source knows one; `refusal`: why there is no pose, or, one of
    UNUSABLE, why the image cannot be used at all; `geo`: latitude and longitude in degrees.
    """

    stamp_ns: int
    header_ns: int | None
    order: int
    image: StoredImage
    source: str
    name: str
    pose: Pose | None = None
    label: str = ''
    refusal: str = ''
    geo: tuple[float, float] | None = None

    @property
    def stamp(self) -> float:
        """When the image was taken, in seconds."""
        return ns_to_s(self.stamp_ns)

    @property
    def file(self) -> Path | None:
        """See `StoredImage.file`."""
        return self.image.file

    @property
    def is_usable(self) -> bool:
        """Whether the image may be used, with a pose or without."""
        return self.refusal not in UNUSABLE

    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """See `StoredImage.pixels`."""
        return self.image.pixels(at_least)

    def read(self) -> np.ndarray:
        """The image at its full size, uint8 (H, W, 3), RGB; errors as `StoredImage.pixels`."""
        return to_rgb(*self.image.pixels())

    def without_pixels(self) -> Frame:
        """The frame without pixels in memory; see `StoredImage.without_pixels`."""
        return replace(self, image=self.image.without_pixels())
