# SPDX-License-Identifier: Apache-2.0
"""How many bits the 16 bit values of a camera really hold, so that 10 to 14 bits are not black."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

DEPTHS = (8, 10, 12, 14, 16)
# So few values may lie above: defective pixels, or the mark of an invalid one.
_OUTLIERS = 1e-4


class BitDepth:
    """Range of one source: the fewest of `DEPTHS` bits that hold all but 1 in 10,000 values.

    It begins at `bits` and only grows, so that a dark image is no brighter than its neighbours.
    `tell` is called with a line for the user when it is found, and whenever it grows. `used`:
    whether there were any such values.
    """

    def __init__(self, bits: int = 8, tell: Callable[[str], object] | None = None):
        self.bits, self.used = bits, False
        self._tell, self._told = tell, 0

    def look(self, values: np.ndarray) -> None:
        """Take note of what uint16 values need."""
        while self.bits < 16 and np.count_nonzero(values >> self.bits) > _OUTLIERS * values.size:
            self.bits = DEPTHS[DEPTHS.index(self.bits) + 1]
        self.used = True
        if self._tell is not None and self._told != self.bits:
            self._told = self.bits
            self._tell(self.text())

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

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """uint16 values of any shape → uint8, the upper 8 of the bits in use."""
        self.look(values)
        if self.bits == 16:
            return (values >> 8).astype(np.uint8)
        return (np.minimum(values, 2**self.bits - 1) >> (self.bits - 8)).astype(np.uint8)


def bits_of(traverse: Mapping[str, object]) -> int:
    """The depth that a map's traverse was read with; 8 where it does not tell."""
    bits = traverse.get('bits')
    return bits if type(bits) is int and bits in DEPTHS else 8


def map_bits(traverses: Sequence[Mapping[str, object]]) -> int:
    """The depth that images are to be read with to be like those of a map's traverses."""
    return max(map(bits_of, traverses), default=8)
