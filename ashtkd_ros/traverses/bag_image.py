# SPDX-License-Identifier: Apache-2.0
"""The images of a bag: one message each, found again by when it was received."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.colour_order import to_rgb
from ashtkd_ros.images.message_decoding import ImageError, message_to_array
from ashtkd_ros.traverses.frame import DAMAGED, StoredImage
from ashtkd_ros.traverses.traverse import Originals, described_depth

_ANEW = 'put the bag of the map back, or build the map anew'


@dataclass(frozen=True)
class BagImage(StoredImage):
    """A message on `topic` of a bag, the `nth` of those received at `received_ns`.

    `message` is None where it is not in memory. `depth`: bit depth of the bag's images, for values
    of 16 bits.
    """

    bag: Bag = field(repr=False)
    topic: str
    received_ns: int
    nth: int
    is_damaged: bool = False
    message: object = field(default=None, repr=False, compare=False)
    depth: BitDepth | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f'{self.bag.path}: image {source_name(self.received_ns, self.nth)}'

    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """See StoredImage; ImageError where the message holds no image."""
        if self.is_damaged:
            raise ImageError(DAMAGED, f'{self} is damaged')
        message = self.message
        if message is None:
            message = self.bag.message(self.topic, self.received_ns, self.nth)
        return message_to_array(message, at_least, self.depth)

    def without_pixels(self) -> BagImage:
        """See StoredImage: the message is then read from the bag."""
        return replace(self, message=None)


def source_name(received_ns: int, nth: int) -> str:
    """What places.csv names an image by: when it was received, in ns; 5#2 is the third at 5."""
    return f'{received_ns}#{nth}' if nth else str(received_ns)


def parse_source(name: str) -> tuple[int, int]:
    """Receive time in ns, and number among the images received then; inverse of `source_name`."""
    received, _, nth = name.partition('#')
    return int(received), int(nth or 0)


class BagOriginals(Originals):
    """The images of the bag that a map names; it is opened when the first one is read."""

    def __init__(self, description: Mapping):
        self._path = Path(str(description.get('source', '')))
        self._topic = str(description['image_topic'])
        self._depth = described_depth(description)

    @cached_property
    def _bag(self) -> Bag:
        return Bag(self._path)

    def read(self, source: str) -> np.ndarray:
        """See Originals."""
        try:
            received_ns, nth = parse_source(source)
        except ValueError as error:
            raise VprError(
                f'{self._path}: no image was received at "{source[:80]}"; {_ANEW}'
            ) from error
        return self._decoded(self._bag.message(self._topic, received_ns, nth))

    def all(self, sources: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
        """See Originals; in the order of the bag, which is read once from beginning to end."""
        wanted = {source: row for row, source in enumerate(sources)}
        last, nth = -1, 0
        for _, received, message in self._bag.messages([self._topic], lenient=True):
            last, nth = received, nth + 1 if received == last else 0
            row = wanted.get(source_name(received, nth))
            if row is not None and message is not None:
                wanted.pop(source_name(received, nth))
                yield row, self._decoded(message)
        if wanted:
            raise VprError(f'{self._path}: does not hold all images of the map; {_ANEW}')

    def _decoded(self, message: object) -> np.ndarray:
        return to_rgb(*message_to_array(message, depth=self._depth))
