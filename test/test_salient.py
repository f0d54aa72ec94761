# SPDX-License-Identifier: Apache-2.0
"""Pictures of salient maps: one tile a level, bright where the level looks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import small_student, torch  # noqa: F401  skips where it is missing

from ashtkd_ros.errors import VprError
from tools import salient
from tools.export import metadata_of, write_onnx


def test_each_level_has_a_tile_that_is_bright_where_it_looks():
    image = np.zeros((100, 150, 3), np.uint8)
    maps = np.zeros((2, 4, 4), np.float32)
    maps[:, 0, 3] = 1.0  # upper right
    drawn = salient.picture(image, [maps, maps])
    assert drawn.shape == (224, 3 * 336, 3) and not drawn[:, :336].any()
    tile = drawn[:, 336:672].sum(axis=2)
    assert tile[:50, -70:].mean() > 5 * tile[120:, :150].mean()


def test_the_command_draws_the_maps_of_an_exported_student(tmp_path: Path, town: Path, capsys):
    model, out = tmp_path / 'small.onnx', tmp_path / 's.png'
    network = small_student()
    write_onnx(network, model, metadata_of(network, 'small'))
    images = [str(town / 'day' / 'images' / f'{i:04d}.jpg') for i in (0, 7)]
    assert salient.main([str(model), *images, '-o', str(out)]) == 0
    assert '2 pictures' in capsys.readouterr().out
    size = cv2.imread(images[0]).shape
    assert cv2.imread(str(out)).shape[:2] == (448, 5 * round(224 * size[1] / size[0]))
    with pytest.raises(VprError) as error:
        salient.main([str(model), images[0], '-o', str(tmp_path / 'gone' / 's.png')])
    assert 'cannot be written' in line_of(error)
