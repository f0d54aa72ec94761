# SPDX-License-Identifier: Apache-2.0
"""Cameras of 10 to 14 bits in 16: the same scale for a whole source, map and query, said once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import image, write_bag

from ashtkd_ros.bag_traverse import BagTraverse, open_traverse
from ashtkd_ros.traverse import TraverseOptions

LIGHTS = (0.02, 0.05, 0.9, 0.1, 0.03, 0.6)  # a drive that begins in the dark


def drive(bits: int, lights=LIGHTS) -> list[np.ndarray]:
    """uint16 (48, 64) images of one scene, each in a light of its own."""
    scene = np.random.default_rng(0).random((48, 64))
    return [(scene * light * (2**bits - 1)).astype(np.uint16) for light in lights]


def source(path: Path, kind: str, images: list[np.ndarray]) -> Path:
    """A bag or a walk of such images."""
    if kind == 'walk':
        path.mkdir()
        rows = ['file,stamp,x,y']
        for i, pixels in enumerate(images):
            cv2.imwrite(str(path / f'{i}.png'), pixels)
            rows.append(f'{i}.png,{i},{i},0')
        (path / 'poses.csv').write_text('\n'.join(rows))
        return path
    packed = [cv2.imencode('.png', i)[1].tobytes() if kind == 'png' else i for i in images]
    return (
        write_bag(path, records=[image(100.0 + i, data) for i, data in enumerate(packed)]) or path
    )


@pytest.mark.parametrize('bits', [10, 12, 14])
@pytest.mark.parametrize('kind', ['raw', 'png', 'walk'])
def test_one_scale_for_a_whole_source_said_once(tmp_path: Path, kind: str, bits: int) -> None:
    images = drive(bits)
    traverse = open_traverse(source(tmp_path / 'drive', kind, images), TraverseOptions())
    said = [note for note in traverse.notes if '16 bit' in note]
    for (_, frame), sent in zip(traverse.frames(), images, strict=True):
        pixels, _ = frame.pixels()
        found = pixels if pixels.ndim == 2 else pixels[..., 0]
        np.testing.assert_array_equal(found, sent >> (bits - 8))
        np.testing.assert_array_equal(frame.read()[..., 0], sent >> (bits - 8))
    assert len(said) == 1 and f'use {bits} bits' in said[0]
    assert [note for note in traverse.notes if '16 bit' in note] == said
    assert traverse.describe()['bits'] == bits


@pytest.mark.parametrize('kind', ['raw', 'png', 'walk'])
def test_a_dark_drive_is_read_as_its_map_was(tmp_path: Path, kind: str) -> None:
    images = drive(12, (0.05, 0.04))
    path = source(tmp_path / 'night', kind, images)
    traverse = open_traverse(path, TraverseOptions(bits=12))
    frame = next(frame for _, frame in traverse.frames())
    pixels, _ = frame.pixels()
    found = pixels if pixels.ndim == 2 else pixels[..., 0]
    np.testing.assert_array_equal(found, images[0] >> 4)


def test_eight_bits_say_nothing(tmp_path: Path, town: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64), np.uint8)
    bag = source(tmp_path / 'bag', 'raw', [pixels] * 3)
    for path in (bag, town / 'day'):
        traverse = open_traverse(path, TraverseOptions())
        assert not [note for note in traverse.notes if 'bit' in note]
        assert 'bits' not in traverse.describe()


def test_what_grows_within_is_said(tmp_path: Path) -> None:
    """The one bright image lies between those that are looked at before."""
    images = drive(12, (0.05,) * 40)
    images[1] = drive(12, (1.0,))[0]
    traverse = BagTraverse(source(tmp_path / 'bag', 'raw', images), TraverseOptions())
    for _, frame in traverse.frames():
        frame.pixels()
    assert len([note for note in traverse.notes if '16 bit' in note]) == 2
    assert traverse.describe()['bits'] == 12
