# SPDX-License-Identifier: Apache-2.0
"""Pictures of salient maps: one tile a level, bright where the level looks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of, write_tiny_model

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.salient_pictures import level_pictures, overlay
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import Embedder


def looking_upper_right() -> np.ndarray:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[:, 0, 3] = 1.0
    return maps


def test_each_level_has_a_tile_that_is_bright_where_it_looks():
    image, maps = np.zeros((100, 150, 3), np.uint8), looking_upper_right()
    drawn = level_pictures(image, [maps, maps])
    assert drawn.shape == (224, 3 * 336, 3) and not drawn[:, :336].any()
    tile = drawn[:, 336:672].sum(axis=2)
    assert tile[:50, -70:].mean() > 5 * tile[120:, :150].mean()


def test_overlay_is_bright_where_any_level_looks_whatever_its_size():
    elsewhere = np.zeros((3, 8, 8), np.float32)
    elsewhere[:, 7, 0] = 0.1  # lower left
    image = np.zeros((100, 150, 3), np.uint8)
    drawn = overlay(image, [looking_upper_right(), elsewhere])
    assert drawn.shape == (224, 336, 3) and drawn.dtype == np.uint8
    light = drawn.sum(axis=2)
    dark = light[90:130, 150:190].mean()
    assert light[:30, -40:].mean() > 3 * dark and light[-20:, :20].mean() > 3 * dark


def test_the_shipped_network_tells_where_it_looks(student: Path, town: Path):
    network = Embedder(student)
    image = read_image(town / 'day' / 'images' / '0000.jpg')
    levels = network.salient_maps(image)
    assert len(levels) == 3
    for maps in levels:
        assert maps.ndim == 3 and maps.dtype == np.float32
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1.0, atol=1e-3)
    for one, other in zip(levels, network.salient_maps(image[..., ::-1], 'BGR'), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_without_salient_maps_says_so(tmp_path: Path):
    network = Embedder(write_tiny_model(tmp_path / 'tiny.onnx'))
    with pytest.raises(VprError) as error:
        network.salient_maps(np.zeros((6, 8, 3), np.uint8))
    assert 'gives no salient maps' in line_of(error)


def test_the_command_draws_the_maps_of_an_exported_student(tmp_path: Path, town: Path, capsys):
    from small_student import small_student  # skips where torch is missing

    from tools.training.export import metadata_of, write_onnx
    from tools.training.studies import salient

    model, out = tmp_path / 'small.onnx', tmp_path / 's.png'
    network = small_student()
    write_onnx(network, model, metadata_of(network, 'small'))
    images = [str(town / 'day' / 'images' / f'{i:04d}.jpg') for i in (0, 7)]
    assert salient.main([str(model), *images, '-o', str(out)]) == 0
    assert '2 pictures' in capsys.readouterr().out
    size = cv2.imread(images[0]).shape
    assert cv2.imread(str(out)).shape[:2] == (448, 5 * round(224 * size[1] / size[0]))
    assert salient.main([str(model), images[0], '-o', str(out)]) == 0  # in place of its own
    (tmp_path / 'mine.png').write_bytes(cv2.imencode('.png', np.zeros((4, 4)))[1].tobytes())
    for name, said in (
        ('small.onnx/s.png', 'cannot be written'),
        ('s.xyz', 'name a .png file'),
        ('mine.png', 'exists and is not the result'),
    ):
        with pytest.raises(VprError) as error:  # before the pictures, which are not there
            salient.main([str(model), 'gone.jpg', '-o', str(tmp_path / name)])
        assert said in line_of(error)
