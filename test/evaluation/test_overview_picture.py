# SPDX-License-Identifier: Apache-2.0
"""The picture of a map at work: which queries it shows, also where their images are gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_evaluation import judged_queries
from test_report import gone, grey, with_images

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.overview_picture import choose_queries, write_overview_picture
from ashtkd_ros.files.marks import is_own_png, mark_png


def test_picture_shows_pairs_and_route_also_where_an_image_is_gone(tmp_path: Path):
    judged = with_images(judged_queries([True, False]), tmp_path / 'queries')
    for count, picture_of in ((1, gone), (2, grey)):
        write_overview_picture(tmp_path / 'p.png', judged[:count], picture_of)
        assert cv2.imread(str(tmp_path / 'p.png')).shape == (300, 1100, 3)
    (tmp_path / 'file').touch()
    with pytest.raises(VprError) as error:
        write_overview_picture(tmp_path / 'file' / 'p.png', judged, grey)
    assert 'the picture cannot be written' in line_of(error)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_a_picture_of_another_origin_is_not_replaced(tmp_path: Path, suffix: str):
    """Not even one that begins as a picture, or as text that names this program."""
    path, judged = tmp_path / 'p.png', judged_queries([True])
    coded = cv2.imencode(suffix, np.full((9, 9), 7, np.uint8))[1].tobytes()
    for mine in (coded, b'Software\0ashtkd_ros', coded + b'tEXtSoftware\0ashtkd_ros'):
        path.write_bytes(mine)
        with pytest.raises(VprError) as error:
            write_overview_picture(path, judged, gone)
        assert 'p.png: exists' in line_of(error) and path.read_bytes() == mine
    path.write_bytes(mark_png(coded))
    if suffix == '.png':
        assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == 7).all()
        write_overview_picture(path, judged, gone)
        write_overview_picture(path, judged, gone)
    assert is_own_png(path.read_bytes()) == (suffix == '.png')


@pytest.mark.parametrize('wrong', [0, 7, 41, 99])
def test_the_picture_shows_the_most_confident_mistake(wrong: int):
    right = [i not in (wrong, 50) for i in range(100)]
    judged = judged_queries(right, confidence=lambda i: 0.9 if i == wrong else 0.6)
    shown = choose_queries(judged, 6)
    assert [q.place.id for q in shown if not q.right] == [wrong]
    assert [q.place.id for q in shown] == sorted({q.place.id for q in shown})
    assert len(shown) == 6


def test_a_near_miss_is_shown_only_where_there_is_no_other_mistake():
    judged = judged_queries([i not in (7, 41) for i in range(100)], confidence=lambda i: 0.9)
    judged[7] = replace(judged[7], within_twice=True, confidence=0.99)
    assert [q.place.id for q in choose_queries(judged, 6) if not q.right] == [41]
    judged[41] = replace(judged[41], right=True)
    assert [q.place.id for q in choose_queries(judged, 6) if not q.right] == [7]


def test_a_mistake_that_was_refused_is_not_shown():
    right = [i != 7 for i in range(100)]
    judged = judged_queries(right, confidence=lambda i: 0.4 if i == 7 else 0.8)
    assert all(q.right for q in choose_queries(judged, 6))
    assert choose_queries([], 6) == []
