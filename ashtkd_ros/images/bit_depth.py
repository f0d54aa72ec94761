# SPDX-License-Identifier: Apache-2.0
"""How many bits of 16 bit values a camera really uses, so that images of 10 bits are not black.

The bit depth of a source is found from many of its images before any is used, and then stays.
Queries are read with the bit depth of their map, so that they look as the images of the map did;
they get a bit depth of their own only if most of them are brighter than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

DEPTHS = (8, 10, 12, 14, 16)
# This share of an image may be brighter: defective pixels, marks of invalid pixels, lamps.
_OUTLIERS = 0.01
_BRIGHTER = 0.1  # a larger share means other light than in the map, not outliers
_EDGE_ROWS, _EDGE_SHARE = 4, 16  # thermal cameras put telemetry into the outer rows
_ENOUGH = 2**16  # so many values are enough to know the share
_PATIENCE = 30  # images in a row that are too bright for the map's depth before it is given up
_ODD = 100  # one image of so many may be wrong, as the first ones of a camera often are


def _inner(values: np.ndarray) -> np.ndarray:
    """The values that are used of (H, W[, C]): not the outermost rows, and not every pixel."""
    edge = min(_EDGE_ROWS, len(values) // _EDGE_SHARE)
    step = 1 if values.size <= _ENOUGH else 3  # odd: a Bayer pattern has two
    return values[edge : len(values) - edge : step, ::step]


def shares_above(values: np.ndarray) -> list[float]:
    """The shares of an image's values, uint16 (H, W[, C]), that need more than each of DEPTHS."""
    inner = _inner(values)
    return [np.count_nonzero(inner >> bits) / inner.size if bits < 16 else 0.0 for bits in DEPTHS]


def bits_for(shares: Sequence[float]) -> int:
    """The fewest bits that hold an image, except for outliers."""
    return next(bits for bits, share in zip(DEPTHS, shares, strict=True) if share <= _OUTLIERS)


def bits_of_source(images: Sequence[Sequence[float]], given: int = 0) -> int:
    """The bit depth of a source, from the `shares_above` of some of its images.

    `given`: the bit depth of the map, if these are queries; it is kept unless most images are
    brighter.
    """
    needs = sorted(map(bits_for, images))
    bits = needs[-1 - len(needs) // _ODD]
    if given:
        above = [shares[DEPTHS.index(given)] > _BRIGHTER for shares in images]
        return max(bits, given) if 2 * sum(above) > len(above) else given
    return bits


class BitDepth:
    """The bit depth of one source of images: the fewest of DEPTHS that hold all but outliers.

    If `fixed`, it stays, and brighter values become white. Otherwise it begins at `bits` and only
    grows: at once, or for that of a map (`of_map`) after 30 images in a row that are too bright.
    `notify` is called with a line for the user when the depth is first used, when it grows, and
    when the first image is too bright. `used`: whether there were values of 16 bits; `brighter`:
    how many images were too bright.
    """

    def __init__(
        self,
        bits: int = 8,
        notify: Callable[[str], object] | None = None,
        fixed: bool = False,
        of_map: bool = False,
    ):
        self.bits, self.fixed, self.of_map = bits, fixed, of_map
        self.used, self.brighter, self._in_a_row = False, 0, 0
        self._notify, self._notified = notify, 0

    def observe(self, values: np.ndarray) -> None:
        """Take note of the bits that the values of an image, uint16 (H, W[, C]), need."""
        self.used = True
        shares = shares_above(values)
        above = shares[DEPTHS.index(self.bits)]
        self._in_a_row = self._in_a_row + 1 if above > _BRIGHTER else 0
        if above > _OUTLIERS and not self._grow(shares):
            self.brighter += 1
        if self._notify is None:
            return
        if self._notified != self.bits:
            self._notified = self.bits
            self._notify(self.text())
        if self.of_map and self.brighter == 1 and above > _OUTLIERS:
            self._notify(self.text_of_brighter())

    def _grow(self, shares: Sequence[float]) -> bool:
        if self.fixed:
            return False
        if self.of_map and self._in_a_row < _PATIENCE:
            return False
        self.bits, self._in_a_row = max(self.bits, bits_for(shares)), 0
        return True

    def notify_by(self, notify: Callable[[str], object]) -> None:
        """Call `notify` with what is known now, and with what is found from now on."""
        self._notify = notify
        if self.used:
            self._notified = self.bits
            notify(self.text())

    def raise_to(self, bits: int) -> None:
        """Use at least this bit depth, so that sources of one map are read alike."""
        if bits > self.bits:
            self.bits = bits
            if self._notify is not None and self.used:
                self.notify_by(self._notify)

    def text(self) -> str:
        """A line for the user: how the values are read."""
        return (
            f'images of 16 bit values that use {self.bits} bits: 0 to {2**self.bits - 1} is read '
            'as black to white'
        )

    def text_of_brighter(self) -> str:
        """A line for the user: some images were too bright; empty if none was."""
        if not self.brighter:
            return ''
        return (
            f'some images of 16 bit values are brighter than the {self.bits} bits that are used; '
            'they are white there'
        )

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """uint16 values (H, W[, C]) → uint8, the upper 8 of the bits in use."""
        self.observe(values)
        if self.bits == 16:
            return (values >> 8).astype(np.uint8)
        return (np.minimum(values, 2**self.bits - 1) >> (self.bits - 8)).astype(np.uint8)


class DepthSampler(BitDepth):
    """Takes the place of a BitDepth and collects in `images` what the images need."""

    def __init__(self):
        super().__init__(16, fixed=True)
        self.images: list[list[float]] = []

    def observe(self, values: np.ndarray) -> None:
        """Collect the `shares_above` of an image."""
        self.images.append(shares_above(values))


def bits_of(traverse: Mapping[str, object]) -> int:
    """The bit depth with which a traverse of a map was read; 0 if it is not known."""
    bits = traverse.get('bits')
    return bits if type(bits) is int and bits in DEPTHS else 0


def map_bits(traverses: Sequence[Mapping[str, object]]) -> int:
    """The bit depth with which queries to a map are read; 0: the map has no 16 bit images."""
    return max(map(bits_of, traverses), default=0)
