# SPDX-License-Identifier: Apache-2.0
"""Cameras of 10 to 14 bits in 16: the same scale for a whole source, map and query, said once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import image, write_bag

from ashtkd_ros.commands import build_map, evaluate
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.traverses import depth_sampling as source_depth
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

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


def read_all(traverse, order: list[int]) -> list[np.ndarray]:
    """Grey pixels of all images, read in an order."""
    frames = [frame for _, frame in traverse.frames()]
    found = {}
    for i in order:
        pixels, _ = frames[i].pixels()
        found[i] = pixels if pixels.ndim == 2 else pixels[..., 0]
    return [found[i] for i in sorted(found)]


@pytest.mark.parametrize('kind', ['raw', 'png', 'walk'])
def test_a_bright_stretch_between_others_is_known_before(tmp_path: Path, kind: str) -> None:
    lights = [0.2] * 117
    lights[11:18] = [1.0] * 7
    images = drive(12, lights)
    path = source(tmp_path / 'drive', kind, images)
    for order in (range(117), reversed(range(117))):
        traverse = open_traverse(path, TraverseOptions())
        assert traverse.describe()['bits'] == 12
        for found, sent in zip(read_all(traverse, list(order)), images, strict=True):
            np.testing.assert_array_equal(found, sent >> 4)
        assert len([note for note in traverse.notes if '16 bit' in note]) == 1


def test_of_a_long_drive_a_part_is_looked_at(tmp_path: Path, monkeypatch) -> None:
    """What is brighter than all of these is white, which is said: the range never changes."""
    monkeypatch.setattr(source_depth, '_SAMPLES', 10)
    for kind in ('raw', 'walk'):
        lights = [0.2] * 60
        lights[7] = 1.0
        images = drive(12, lights)
        traverse = open_traverse(source(tmp_path / kind, kind, images), TraverseOptions())
        for found, sent in zip(read_all(traverse, list(range(60))), images, strict=True):
            np.testing.assert_array_equal(found, np.minimum(sent, 1023) >> 2)
        assert traverse.describe()['bits'] == 10
        assert 'brighter than the 10 bits' in traverse.depth.text_of_brighter()


def spoilt(values: np.ndarray, how: str, seed: int) -> np.ndarray:
    """With what is no light: values of 16 bits."""
    draw, out = np.random.default_rng(seed), values.copy()
    if how == 'hot pixels':
        out.ravel()[draw.choice(out.size, out.size // 200, replace=False)] = 65535
    elif how == 'telemetry below':
        out[-2:] = draw.integers(0, 65536, (2, *out.shape[1:]))
    elif how == 'telemetry above':
        out[:2] = draw.integers(0, 65536, (2, *out.shape[1:]))
    else:
        out[60] = 65535
    return out


@pytest.mark.parametrize('bits', [8, 10, 12, 14])
@pytest.mark.parametrize('how', ['hot pixels', 'telemetry below', 'telemetry above', 'stuck row'])
def test_what_is_no_light_does_not_count(how: str, bits: int) -> None:
    """A camera of 480 rows, or of 120."""
    for height, width in ((480, 640), (120, 160)):
        scene = np.random.default_rng(bits).random((height, width)) * (2**bits - 1)
        values = scene.astype(np.uint16)
        found = BitDepth().to_bytes(spoilt(values, how, 1))
        assert np.mean(found == values >> (bits - 8)) > 0.97


def test_a_few_of_sixteen_bits_among_others_are_found(tmp_path: Path) -> None:
    """A walk of two cameras; none of the second's is at the twelfth parts of the list."""
    dark, bright = drive(12, (0.2, 1.0))
    images = [dark.astype(np.uint8)] * 240
    images[47:53] = [bright, dark, dark, dark, dark, dark]
    traverse = open_traverse(source(tmp_path / 'walk', 'walk', images), TraverseOptions())
    assert traverse.describe()['bits'] == 12
    found = read_all(traverse, list(range(239, -1, -1)))
    for i in range(47, 53):
        np.testing.assert_array_equal(found[i], images[i] >> 4)


def test_one_odd_image_at_the_start_does_not_count(tmp_path: Path) -> None:
    images = drive(10, (0.9,) * 120)
    images[0] = np.full_like(images[0], 65535)
    traverse = open_traverse(source(tmp_path / 'bag', 'raw', images), TraverseOptions())
    assert traverse.describe()['bits'] == 10


@pytest.mark.parametrize('kind', ['raw', 'walk'])
@pytest.mark.parametrize(
    ('lights', 'expected'),
    [((0.2,) * 20 + (1.0,) * 5, 10), ((0.9,) * 20 + (0.1,) * 5, 12), ((0.02,) * 9, 10)],
)
def test_a_maps_range_holds_unless_most_queries_are_brighter(
    tmp_path: Path, kind: str, lights: tuple[float, ...], expected: int
) -> None:
    path = source(tmp_path / 'drive', kind, drive(12, lights))
    traverse = open_traverse(path, TraverseOptions(bits=10))
    read_all(traverse, list(range(len(lights))))
    assert traverse.describe()['bits'] == expected
    assert bool(traverse.depth.text_of_brighter()) == (lights[-1] == 1.0)


def test_in_a_stream_a_maps_range_holds_unless_many_in_a_row_are_brighter() -> None:
    told: list[str] = []
    depth = BitDepth(10, told.append, of_map=True)
    dark, bright = drive(12, (0.2, 0.9))
    for values in [dark] * 3 + [bright] * 20 + [dark] + [bright] * 29:
        np.testing.assert_array_equal(depth.to_bytes(values), np.minimum(values, 1023) >> 2)
    assert len(told) == 2 and 'use 10 bits' in told[0] and 'brighter than the 10' in told[1]
    np.testing.assert_array_equal(depth.to_bytes(bright), bright >> 4)
    assert len(told) == 3 and 'use 12 bits' in told[2]


def test_build_and_evaluate_say_what_is_found_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Of images that were not looked at before."""
    monkeypatch.setattr(source_depth, '_SAMPLES', 2)
    lights = [0.2] * 20
    lights[5] = 1.0
    path, folder = source(tmp_path / 'drive', 'walk', drive(12, lights)), str(tmp_path / 'map')
    calls = [(build_map, [str(path), '-o', folder]), (evaluate, [folder, str(path)])]
    for command, arguments in calls:
        with pytest.raises(SystemExit):
            command.main(arguments)
        assert 'brighter than the 10 bits that are used' in capsys.readouterr().err
