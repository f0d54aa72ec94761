# SPDX-License-Identifier: Apache-2.0
"""Places and robot as characters: where they are, which way it looks, whatever the extent."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from ashtkd_ros.trials.dashboard.place_map import PlaceMap
from ashtkd_ros.trials.dashboard.state import Position

SQUARE = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])


def lines(places=SQUARE, trail=(), robot=None, live=True, size=(20, 10), ascii_only=False):
    drawn = PlaceMap().lines(places, trail, robot, live, size, ascii_only)
    assert len(drawn) == size[1]
    assert {len(line.plain) for line in drawn} == {size[0]}
    return [line.plain for line in drawn]


def where(drawn: list[str], character: str) -> tuple[int, int]:
    ((row, column),) = [
        (r, c) for r, line in enumerate(drawn) for c, seen in enumerate(line) if seen == character
    ]
    return row, column


def test_a_square_stays_a_square_in_the_corners_of_the_room() -> None:
    """A character has 2 x 4 dots: 20 x 10 characters are 40 x 40 dots."""
    drawn = lines()
    full = [(r, c) for r, line in enumerate(drawn) for c, seen in enumerate(line) if seen != ' ']
    assert full == [(0, 0), (0, 19), (9, 0), (9, 19)]


@pytest.mark.parametrize(
    ('yaw', 'arrow'), [(0, '→'), (90, '↑'), (180, '←'), (-90, '↓'), (40, '↗'), (725, '→')]
)
def test_the_robot_looks_where_it_goes(yaw: float, arrow: str) -> None:
    drawn = lines(robot=Position(10.0, 10.0, math.radians(yaw)))
    assert where(drawn, arrow) == (0, 19)


def test_x_goes_right_and_y_goes_up() -> None:
    assert where(lines(robot=Position(9.9, 0.1, 0.0)), '→') == (9, 19)
    assert where(lines(robot=Position(0.1, 9.9, 0.0)), '→') == (0, 0)


def test_where_it_was_is_a_question() -> None:
    assert where(lines(robot=Position(5, 5, 0), live=False), '?')


def test_off_the_map_is_on_its_border() -> None:
    assert where(lines(robot=Position(1e6, 5.0, 0.0)), '→')[1] == 19


@pytest.mark.parametrize(
    'places',
    [
        np.zeros((1, 2)),
        np.full((3, 2), 1e7),
        np.array([[-1e7, -1e7], [1e7, 1e7]]),
        np.random.default_rng(0).normal(size=(100_000, 2)),
    ],
    ids=['one', 'the same', 'far apart', 'many'],
)
@pytest.mark.parametrize('size', [(1, 1), (20, 10), (150, 60)])
def test_any_extent_and_any_size(places, size) -> None:
    assert any(line.strip() for line in lines(places, [(0.0, 0.0)], size=size))


def test_without_unicode() -> None:
    drawn = lines(trail=[(5.0, 5.0)], robot=Position(0, 0, 0), ascii_only=True)
    assert all(line.isascii() for line in drawn) and where(drawn, '>') == (9, 0)


def test_another_map_is_drawn_anew() -> None:
    drawer = PlaceMap()
    first = drawer.lines(SQUARE, [], None, True, (20, 10))
    again = drawer.lines(SQUARE, [], None, True, (20, 10))
    other = drawer.lines(SQUARE[:2], [], None, True, (20, 10))
    assert [line.plain for line in first] == [line.plain for line in again]
    assert [line.plain for line in first] != [line.plain for line in other]
