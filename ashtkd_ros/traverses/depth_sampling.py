# SPDX-License-Identifier: Apache-2.0
"""The bit depth of a source, found from many of its images before any is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.images.bit_depth import BitDepth, DepthSampler, bits_of_source
from ashtkd_ros.images.message_decoding import compressed_to_array, image_to_array, is_deep_message
from ashtkd_ros.images.picture_decoding import ImageError, decode_picture, is_deep
from ashtkd_ros.images.picture_limits import check_size, read_bytes
from ashtkd_ros.stamps import s_to_ns

if TYPE_CHECKING:  # a robot's node reads pictures of a folder, and must not load bag readers
    from ashtkd_ros.bags.bag import Bag

_FIRST = 12  # files whose header does not tell: whether there are any of 16 bits
_SAMPLES = 300
_THREADS = 8
_MAY_BE_DEEP = ('.tif', '.tiff', '.pgm', '.ppm')


def depth_of_bag(bag: Bag, topic: str, bits: int) -> BitDepth:
    """Bit depth of the images on a topic, found from samples all over the bag.

    `bits`: see `bits_of_source`. Only 16 bit values are looked at. Damaged messages are passed
    over here; they are reported when the images are read.
    """
    first = None
    with contextlib.suppress(VprError):
        first = next(_sound(bag, topic), None)
    if first is None or not is_deep_message(first):
        return _depth([], bits)
    return _depth(_measured(_spread(bag, topic), _measure_message), bits)


def _sound(bag: Bag, topic: str, start_ns: int | None = None) -> Iterator[object]:
    """The sound messages of a topic from a time on."""
    messages = bag.messages([topic], start_ns, lenient=True)
    return (message for _, _, message in messages if message is not None)


def _spread(bag: Bag, topic: str) -> Iterator[object]:
    """Up to `_SAMPLES` messages from all over a bag, up to where it is damaged."""
    count = bag.topics[topic].count
    with contextlib.suppress(VprError):
        if count <= 2 * _SAMPLES or not bag.in_order:
            yield from islice(_sound(bag, topic), 0, None, -(-count // _SAMPLES))
            return
        for start in np.linspace(bag.start_s, bag.end_s, _SAMPLES, endpoint=False):
            yield from islice(_sound(bag, topic, s_to_ns(start)), 1)


def _measure_message(message: object, sampler: DepthSampler) -> None:
    if is_deep_message(message):
        decode = image_to_array if hasattr(message, 'encoding') else compressed_to_array
        decode(message, depth=sampler)


def depth_of_files(files: Sequence[Path], bits: int) -> BitDepth:
    """Bit depth of image files; files that cannot be read are skipped. See `depth_of_bag`."""
    deep = [f for f in files if f.suffix.lower() == '.png' and _is_deep_png(f)]
    others = [f for f in files if f.suffix.lower() in _MAY_BE_DEEP]
    if _measured(_evenly(others, _FIRST), _measure_file):
        deep += others
    return _depth(_measured(_evenly(deep, _SAMPLES), _measure_file), bits)


def _is_deep_png(path: Path) -> bool:
    """Whether the header of a PNG file says 16 bits."""
    try:
        with open(open_regular(path), 'rb') as file:
            return is_deep(np.frombuffer(file.read(32), np.uint8))
    except (OSError, ValueError):
        return False


def _evenly(files: Sequence[Path], most: int) -> list[Path]:
    most = min(most, len(files))
    return [files[len(files) * i // most] for i in range(most)]


def _measure_file(path: Path, sampler: DepthSampler) -> None:
    data = read_bytes(path)
    if is_deep(data):
        check_size(data)
        decode_picture(data, depth=sampler)


def _measured(items: Iterable, measure: Callable) -> list[Sequence[float]]:
    """What `measure` finds for each item, by several threads; few items are held at a time."""

    def needs(item: object) -> list[Sequence[float]]:
        sampler = DepthSampler()
        with contextlib.suppress(OSError, ValueError, ImageError):
            measure(item, sampler)
        return sampler.images

    needed: list[Sequence[float]] = []
    items = iter(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(items, 2 * _THREADS)):
            for images in pool.map(needs, some):
                needed += images
    return needed


def _depth(images: Sequence[Sequence[float]], given: int) -> BitDepth:
    if not images:  # or of another kind within: found as they come
        return BitDepth(given or 8, of_map=bool(given))
    depth = BitDepth(bits_of_source(images, given), fixed=True)
    depth.used = True
    return depth
