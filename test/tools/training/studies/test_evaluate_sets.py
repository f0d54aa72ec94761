# SPDX-License-Identifier: Apache-2.0
"""Recall on the validation sets: what the mean of the database is subtracted from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from tools.training.studies.evaluate_sets import centred, evaluate_set, validation_sets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three places, a picture each in the map and among the queries."""
    text = 'file,place,role,order\n'
    for k, place in enumerate('abc'):
        for role in ('database', 'query'):
            cv2.imwrite(str(tmp_path / f'{place}_{role}.png'), np.zeros((8, 8, 3), np.uint8))
            text += f'{place}_{role}.png,{place},{role},{k}\n'
    (tmp_path / 'index.csv').write_text(text)
    return tmp_path


def test_what_all_descriptors_share_is_subtracted_where_asked(folder: Path):
    # A bright offset that grows from place to place hides the difference.
    seen = {'a': (1, 9, 9), 'b': (2, 9, 9), 'c': (9, 20, 20)}

    def describe(frames) -> np.ndarray:
        return np.array([seen[f.label] for f in frames], np.float32)

    plain = evaluate_set(folder, describe)
    moved = evaluate_set(folder, describe, centre=True)
    assert plain.recall[1] == pytest.approx(1 / 3) and moved.recall[1] > 0.5


def test_centred_rows_have_length_1_and_one_that_is_the_mean_is_finite():
    database = np.array([[1, 0], [0, 1]], np.float32)
    d, q = centred(database, np.array([[0.5, 0.5], [1, 0]], np.float32))
    np.testing.assert_allclose(d, [[0.5**0.5, -(0.5**0.5)], [-(0.5**0.5), 0.5**0.5]], atol=1e-6)
    np.testing.assert_allclose(q, [[0, 0], d[0]], atol=1e-6)


def test_a_folder_without_sets_is_one_line(tmp_path: Path):
    with pytest.raises(VprError) as error:
        validation_sets(tmp_path)
    assert 'holds no set with the roles' in line_of(error)
