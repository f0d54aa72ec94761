# SPDX-License-Identifier: Apache-2.0
"""How many bits the 16 bit values of a camera really hold, so that 10 to 14 bits are not black.

The range of a source is found from many of its images before any is used, and stays. Queries are
read with the range of their map, so that they look as its images did; only where most of them are
brighter than that do they get a range of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

DEPTHS = (8, 10, 12, 14, 16)
# So large a share of an image may lie above: defective pixels, marks of invalid ones, lamps.
_OUTLIERS = 0.01
_BRIGHTER = 0.1  # a larger share than this is no outliers, but another light than the map's
_EDGE_ROWS, _EDGE_SHARE = 4, 16  # where thermal cameras put rows of telemetry
_ENOUGH = 2**16  # values, of which the share is known well enough
_PATIENCE = 30  # images in a row that a map's range does not fit, until it is given up
_ODD = 100  # of so many images one may be all wrong, as cameras begin


def _inner(values: np.ndarray) -> np.ndarray:
    """What is looked at of (H, W) or (H, W, C) values: not the outermost rows, nor every pixel."""
    edge = min(_EDGE_ROWS, len(values) // _EDGE_SHARE)
    step = 1 if values.size <= _ENOUGH else 3  # odd: a Bayer pattern has two
    return values[edge : len(values) - edge : step, ::step]


def shares_above(values: np.ndarray) -> list[float]:
    """The share of an image's values, uint16 (H, W) or (H, W, C), above each of `DEPTHS`."""
    inner = _inner(values)
    return [np.count_nonzero(inner >> bits) / inner.size if bits < 16 else 0.0 for bits in DEPTHS]


def bits_for(shares: Sequence[float]) -> int:
    """The fewest bits that hold an image but for outliers."""
    return next(bits for bits, share in zip(DEPTHS, shares, strict=True) if share <= _OUTLIERS)


def bits_of_source(images: Sequence[Sequence[float]], given: int = 0) -> int:
    """The bits for a source of which `images` were looked at: see `shares_above`.

    `given`: those of a map that these are queries to; they hold unless most images are brighter.
    """
    needs = sorted(map(bits_for, images))
    found = needs[-1 - len(needs) // _ODD]
    if given:
        above = [shares[DEPTHS.index(given)] > _BRIGHTER for shares in images]
        return max(found, given) if 2 * sum(above) > len(above) else given
    return found


class BitDepth:
    """Range of one source of images, the fewest of `DEPTHS` bits that hold all but outliers.

    With `fixed` it stays: what is brighter is white. Else it begins at `bits` and only grows: at
    once, or where it is a map's (`of_map`), after 30 images in a row that it does not fit. `tell`
    is called with a line for the user when the range is used, whenever it grows, and when the
    first image is brighter than it. `used`: whether there were any such values; `brighter`: how
    many images had more than outliers above.
    """

    def __init__(
        self,
        bits: int = 8,
        tell: Callable[[str], object] | None = None,
        fixed: bool = False,
        of_map: bool = False,
    ):
        self.bits, self.fixed, self.of_map = bits, fixed, of_map
        self.used, self.brighter, self._in_a_row = False, 0, 0
        self._tell, self._told = tell, 0

    def look(self, values: np.ndarray) -> None:
        """Take note of what uint16 values, (H, W) or (H, W, C), need."""
        self.used = True
        shares = shares_above(values)
        above = shares[DEPTHS.index(self.bits)]
        self._in_a_row = self._in_a_row + 1 if above > _BRIGHTER else 0
        if above > _OUTLIERS and not self._grow(shares):
            self.brighter += 1
        if self._tell is None:
            return
        if self._told != self.bits:
            self._told = self.bits
            self._tell(self.text())
        if self.of_map and self.brighter == 1 and above > _OUTLIERS:
            self._tell(self.text_of_brighter())

    def _grow(self, shares: Sequence[float]) -> bool:
        if self.fixed:
            return False
        if self.of_map and self._in_a_row < _PATIENCE:
            return False
        self.bits, self._in_a_row = max(self.bits, bits_for(shares)), 0
        return True

    def tell_to(self, tell: Callable[[str], object]) -> None:
        """Say what is known, and from now on what is found."""
        self._tell = tell
        if self.used:
            self._told = self.bits
            tell(self.text())

    def raise_to(self, bits: int) -> None:
        """That of another source which is to be like this one."""
        if bits > self.bits:
            self.bits = bits
            if self._tell is not None and self.used:
                self.tell_to(self._tell)

    def text(self) -> str:
        """For the user: what is made of the values."""
        return (
            f'images of 16 bit values that use {self.bits} bits: 0 to {2**self.bits - 1} is taken '
            'as black to white'
        )

    def text_of_brighter(self) -> str:
        """For the user: that images were too bright for the range; empty where none was."""
        if not self.brighter:
            return ''
        return (
            f'some images of 16 bit values are brighter than the {self.bits} bits that are used, '
            'and white where they are'
        )

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """uint16 values, (H, W) or (H, W, C) → uint8, the upper 8 of the bits in use."""
        self.look(values)
        if self.bits == 16:
            return (values >> 8).astype(np.uint8)
        return (np.minimum(values, 2**self.bits - 1) >> (self.bits - 8)).astype(np.uint8)


class Looker(BitDepth):
    """In the place of a depth: keeps what images need, in `images`."""

    def __init__(self):
        super().__init__(16, fixed=True)
        self.images: list[list[float]] = []

    def look(self, values: np.ndarray) -> None:
        """See `bits_of_source`."""
        self.images.append(shares_above(values))


def bits_of(traverse: Mapping[str, object]) -> int:
    """The depth that a map's traverse was read with; 0 where it does not tell."""
    bits = traverse.get('bits')
    return bits if type(bits) is int and bits in DEPTHS else 0


def map_bits(traverses: Sequence[Mapping[str, object]]) -> int:
    """The depth that images are to be read with to be like a map's; 0: it has no such images."""
    return max(map(bits_of, traverses), default=0)
