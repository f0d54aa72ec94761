# SPDX-License-Identifier: Apache-2.0
"""Lines between two pictures end where the positions are, whatever the pictures' shapes."""

from __future__ import annotations

import numpy as np
import pytest

from ashtkd_ros.images.matched_pictures import matched_pictures

RED = (255, 0, 0)


def white(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


@pytest.mark.parametrize(('left', 'right'), [((48, 64), (48, 64)), ((480, 640), (90, 160))])
def test_a_line_runs_from_position_to_position(left: tuple[int, int], right: tuple[int, int]):
    ends = np.float32([[0.25, 0.5]]), np.float32([[0.75, 0.5]])
    both = matched_pictures(white(*left), white(*right), ends, RED)
    widths = [round(size[1] * 240 / size[0]) for size in (left, right)]
    assert both.shape == (240, sum(widths) + 6, 3) and both.dtype == np.uint8
    begin, end = widths[0] // 4, widths[0] + 6 + widths[1] * 3 // 4
    row = both[120, :, 0].astype(int) - both[120, :, 1] > 60  # red
    assert row[begin + 2 : end - 2].all() and not row[: begin - 4].any()
    assert not row[end + 4 :].any()


def test_many_lines_are_thinned_and_none_leave_the_pictures():
    at = np.random.default_rng(0).random((500, 2), np.float32)
    both = matched_pictures(white(60, 80), white(60, 80), (at, at), RED)
    lone = matched_pictures(white(60, 80), white(60, 80), (at[:0], at[:0]), RED)
    assert both.shape == lone.shape and (both != lone).any()
    assert not (lone == RED).all(axis=2).any()
    corners = np.float32([[0, 0], [1, 1]])
    assert matched_pictures(white(60, 80), white(60, 80), (corners, corners), RED).shape
