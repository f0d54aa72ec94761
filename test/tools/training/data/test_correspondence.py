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


def partners_of(first: np.ndarray, second: np.ndarray, side: int) -> np.ndarray:
    """Partners of two views of one picture, by their corners."""
    views = SeenView('a.jpg', first), SeenView('a.jpg', second)
    return Correspondence().partners_between(*views, side, side)


def test_a_view_and_itself_match_position_by_position():
    for quad in (UNIT, 0.2 + 0.5 * UNIT):
        assert partners_of(quad, quad, 14).tolist() == list(range(196))


def test_a_view_shifted_by_cells_matches_the_cells_beside():
    # The second view looks one cell further right and two further down.
    half, step = 0.5 * UNIT, np.array([0.125, 0.25])
    partners = partners_of(half, half + step, 4).reshape(4, 4)
    expected = [[-1] * 4, [-1] * 4, [-1, 0, 1, 2], [-1, 4, 5, 6]]
    assert partners.tolist() == expected


def test_a_view_of_half_the_size_sees_the_middle_only():
    known = partners_of(UNIT, 0.25 + 0.5 * UNIT, 4).reshape(4, 4) >= 0
    assert known[1:3, 1:3].all() and known.sum() == 4
    rows = partners_of(0.25 + 0.5 * UNIT, UNIT, 4).reshape(4, 4).tolist()
    assert rows == [[5, 5, 6, 6]] * 2 + [[9, 9, 10, 10]] * 2


def test_what_is_outside_the_picture_has_no_partner():
    left = UNIT - (0.5, 0.0)
    partners = partners_of(left, left, 4).reshape(4, 4)
    assert (partners[:, :2] == -1).all() and (partners[:, 2:] >= 0).all()


def test_a_view_turned_over_matches_the_other_way_round():
    assert partners_of(UNIT, UNIT[[2, 3, 0, 1]], 3).tolist() == list(range(8, -1, -1))
    assert partners_of(UNIT, UNIT[[1, 0, 3, 2]], 3).tolist() == [2, 1, 0, 5, 4, 3, 8, 7, 6]


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
