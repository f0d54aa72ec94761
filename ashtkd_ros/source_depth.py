# SPDX-License-Identifier: Apache-2.0
"""The bit depth of a source, found from a few of its images before any is used."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.bags import Bag
from ashtkd_ros.bit_depth import BitDepth
from ashtkd_ros.errors import VprError
from ashtkd_ros.image_msgs import compressed_to_array, image_to_array, is_deep_message
from ashtkd_ros.picture_bytes import ImageError, decode_picture, is_deep
from ashtkd_ros.pictures import read_bytes

_SAMPLES = 12
_MAY_BE_DEEP = ('.png', '.tif', '.tiff', '.pgm', '.ppm')


def depth_of_bag(bag: Bag, topic: str, bits: int) -> BitDepth:
    """Of images spread over a bag; `bits`: that it has at least. Only 16 bit values are looked at.

    Damaged messages are passed over; reading says more of them.
    """
    depth = BitDepth(bits)
    starts = np.linspace(bag.start_s, bag.end_s, _SAMPLES, endpoint=False)
    for number, start in enumerate(starts if bag.in_order else starts[:1]):
        try:
            message = _first(bag, topic, int(start * 1e9) if number else None)
        except VprError:  # damaged within
            return depth
        if message is None or not is_deep_message(message):
            return depth
        decode = image_to_array if hasattr(message, 'encoding') else compressed_to_array
        with contextlib.suppress(ImageError):
            decode(message, depth=depth)
    return depth


def _first(bag: Bag, topic: str, start_ns: int | None) -> object | None:
    """The first sound message of a topic from a time on."""
    messages = bag.messages([topic], start_ns, lenient=True)
    return next((message for _, _, message in messages if message is not None), None)


def depth_of_files(files: Sequence[Path], bits: int) -> BitDepth:
    """As `depth_of_bag`, of picture files; those that cannot be read are passed over."""
    depth, deep = BitDepth(bits), [f for f in files if f.suffix.lower() in _MAY_BE_DEEP]
    for at in sorted({len(deep) * i // _SAMPLES for i in range(_SAMPLES)} if deep else ()):
        try:
            data = read_bytes(deep[at])
            if is_deep(data):
                decode_picture(data, depth=depth)
        except (OSError, ValueError, ImageError):
            continue
    return depth
