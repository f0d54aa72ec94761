# SPDX-License-Identifier: Apache-2.0
"""Partners of views: of one picture, of a fixed camera's pictures, or of known points."""

from __future__ import annotations

import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing

from tools.training.data.correspondence import (
    UNIT,
    Correspondence,
    FixedCameras,
    PointPairs,
    SeenView,
)

WHOLE = SeenView('a.jpg')
LEFT_HALF = UNIT * (0.5, 1.0)


def partners(first: SeenView, second: SeenView, sides=(4, 4), *relations) -> list[list[int]]:
    found = Correspondence(relations).partners_between(first, second, *sides)
    assert found.dtype == np.int64
    return found.reshape(sides[0], sides[0]).tolist()


def test_grids_may_have_different_sides():
    coarse = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert partners(WHOLE, WHOLE, (4, 2)) == coarse
    # The centre of each coarse cell is a corner of four fine ones; the one below and right counts.
    assert partners(WHOLE, WHOLE, (2, 4)) == [[5, 7], [13, 15]]


def test_a_half_of_a_picture_is_found_in_the_half_that_shows_it():
    half = SeenView('a.jpg', LEFT_HALF)
    assert partners(half, WHOLE, (2, 4)) == [[4, 5], [12, 13]]
    assert partners(WHOLE, half, (4, 2)) == [[0, 1, -1, -1]] * 2 + [[2, 3, -1, -1]] * 2


def test_other_pictures_have_no_partners_unless_something_is_known():
    other = SeenView('b.jpg')
    assert partners(WHOLE, other) == [[-1] * 4] * 4
    assert not Correspondence().knows('a.jpg', 'b.jpg') and Correspondence().knows('a', 'a')


def test_pictures_of_a_fixed_camera_match_as_one_picture_does():
    still = FixedCameras({'a.jpg': 'roof', 'b.jpg': 'roof', 'c.jpg': 'door'})
    crop = SeenView('b.jpg', LEFT_HALF)
    assert partners(WHOLE, crop, (4, 4), still) == partners(WHOLE, SeenView('a.jpg', LEFT_HALF))
    assert partners(WHOLE, SeenView('c.jpg'), (4, 4), still) == [[-1] * 4] * 4
    assert partners(WHOLE, SeenView('d.jpg'), (4, 4), still) == [[-1] * 4] * 4


# Two points of a.jpg and where b.jpg shows them: 0.5 further right.
POINTS = PointPairs({('a.jpg', 'b.jpg'): np.float32([[0.1, 0.1, 0.6, 0.1], [0.4, 0.9, 0.9, 0.9]])})


def test_known_points_match_the_cells_that_they_are_in():
    found = partners(WHOLE, SeenView('b.jpg'), (2, 2), POINTS)
    assert found == [[1, -1], [3, -1]]
    assert partners(SeenView('b.jpg'), WHOLE, (2, 2), POINTS) == [[-1, 0], [-1, 2]]


def test_known_points_move_with_the_views():
    half = SeenView('a.jpg', LEFT_HALF)
    assert partners(half, SeenView('b.jpg'), (2, 2), POINTS) == [[1, -1], [-1, 3]]
    nothing = SeenView('b.jpg', LEFT_HALF)  # both points are in the right half of b.jpg
    assert partners(half, nothing, (2, 2), POINTS) == [[-1, -1]] * 2


def test_of_several_points_in_a_cell_the_one_at_its_centre_counts():
    rows = np.float32([[0.1, 0.1, 0.1, 0.1], [0.26, 0.26, 0.9, 0.9], [0.45, 0.4, 0.1, 0.1]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1]):
        known = PointPairs({('a.jpg', 'b.jpg'): rows[order]})
        assert partners(WHOLE, SeenView('b.jpg'), (2, 2), known) == [[3, -1], [-1, -1]]


@pytest.mark.parametrize('points', [np.zeros((0, 4)), np.full((3, 4), 7.0)])
def test_no_points_and_points_outside_are_no_partners(points: np.ndarray):
    known = PointPairs({('a.jpg', 'b.jpg'): points})
    assert partners(WHOLE, SeenView('b.jpg'), (2, 2), known) == [[-1, -1]] * 2


def test_the_first_relation_that_knows_two_pictures_is_asked():
    still = FixedCameras({'a.jpg': 'x', 'b.jpg': 'x'})
    both = partners(WHOLE, SeenView('b.jpg'), (2, 2), FixedCameras({}), still, POINTS)
    assert both == [[0, 1], [2, 3]]
