# SPDX-License-Identifier: Apache-2.0
"""The picture of a map's route says which places, in which frame, driven which way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping import route_picture
from ashtkd_ros.maps.place_map import Place


def ring(count: int, traverse: int = 0, first: int = 0) -> list[Place]:
    """Places on a circle of 10 m, driven counter-clockwise."""
    turns = [2 * math.pi * i / count for i in range(count)]
    poses = [Pose(10 * math.cos(turn), 10 * math.sin(turn), 0) for turn in turns]
    return [Place(first + i, i, i, pose, '', '', traverse) for i, pose in enumerate(poses)]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Draws places, gives the axes and the file."""

    def draw(places: list[Place], frame: str = 'map'):
        figures = []

        def figure(**options):
            figures.append(Figure(**options))
            return figures[-1]

        monkeypatch.setattr(route_picture, 'Figure', figure)
        path = tmp_path / 'route.png'
        route_picture.write_route_picture(path, places, frame)
        assert cv2.imread(str(path)).size
        return figures[0].axes[0]

    return draw


def test_places_carry_numbers(drawn) -> None:
    axes = drawn(ring(300) + ring(50, 1, 300))
    numbers = [int(t.get_text()) for t in axes.texts if t.get_text()]
    assert {0, 299, 300, 349} <= set(numbers) and 20 <= len(numbers) <= 30


@pytest.mark.parametrize('frame', ['odom', '$x_{', 'b\udcff', 'x' * 300])
def test_the_frame_is_named(drawn, frame: str) -> None:
    title = drawn(ring(30), frame).get_title()
    assert f'in frame "{frame[:10].encode("utf-8", "replace").decode()}' in title
    assert len(title) < 120


def test_arrows_point_the_way_that_was_driven(drawn) -> None:
    for places in (ring(100), ring(100)[::-1]):
        axes = drawn([replace(p, id=i) for i, p in enumerate(places)])
        arrows = [(np.array(t.xyann), np.array(t.xy)) for t in axes.texts if not t.get_text()]
        assert len(arrows) >= 4
        turns = {math.copysign(1, np.cross([*a, 0], [*(b - a), 0])[2]) for a, b in arrows}
        assert turns == {1.0 if places[1].pose.y > 0 else -1.0}


@pytest.mark.parametrize('count', [1, 2, 3])
def test_few_places_and_places_that_stand_still(drawn, count: int) -> None:
    drawn(ring(count))
    drawn([replace(p, pose=Pose(1.0, 1.0, 0.0)) for p in ring(count)])
    drawn([replace(p, pose=None) for p in ring(count)])
