# SPDX-License-Identifier: Apache-2.0
"""The camera of the simulated robot: its exposure is late, turns and bumps blur, rain wets it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import ROOT

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.images.faults import blur
from ashtkd_ros.traverses.image_folder import read_source
from tools.trial.camera import Camera, as_jpeg
from tools.trial.route import RAMP_S, Route, distance_driven, speed_at

FRAMES = read_source(ROOT / 'test' / 'data' / 'town' / 'day')


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    return [cv2.cvtColor(frame.read(), cv2.COLOR_RGB2BGR) for frame in FRAMES]


@pytest.fixture(scope='module')
def route() -> Route:
    return Route([frame.pose for frame in FRAMES])


def blur_of(image: np.ndarray) -> float:
    return blur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def test_the_route_is_closed_and_goes_through_every_picture(route: Route):
    for number in (0, 40, len(FRAMES) - 1):
        pose, distance = FRAMES[number].pose, route.marks[number] + 2 * route.length
        point = route.at(distance)
        assert (point.x, point.y) == pytest.approx((pose.x, pose.y), abs=1e-6)
        assert abs(np.angle(np.exp(1j * (point.yaw - pose.yaw)))) < 1e-6
        assert route.picture(distance)[0] == number
    gap = route.at(route.length - 0.01), route.at(route.length + 0.01)
    assert np.hypot(gap[0].x - gap[1].x, gap[0].y - gap[1].y) < 0.03


def test_the_robot_stands_then_drives_at_its_speed():
    assert distance_driven(-1.0, 5.0) == speed_at(-1.0, 5.0) == 0.0
    seconds = np.arange(0, 10, 0.01)
    driven = np.array([distance_driven(s, 5.0) for s in seconds])
    np.testing.assert_allclose(
        np.diff(driven) / 0.01, [speed_at(s + 0.005, 5.0) for s in seconds[:-1]], atol=0.02
    )
    assert speed_at(RAMP_S, 5.0) == 5.0


def test_exposure_is_late_where_the_light_changes(route: Route, pictures: list[np.ndarray]):
    """Dark under the roof and then lighter, too light after it and then as before."""
    camera = Camera(route, [np.full_like(p, 110) for p in pictures], 'day')
    start = 0.2 * route.length
    light = [camera.picture(t, start + 2.0 * t, 2.0).mean() for t in np.arange(0, 20, 0.1)]
    before, dark, bright = light[0], int(np.argmin(light)), int(np.argmax(light))
    assert light[dark] < 0.5 * before and light[bright] > 1.4 * before
    assert bright > dark and light[bright - 1] > 1.5 * light[dark]  # it had followed by then
    assert light[-1] == pytest.approx(before, rel=0.1)


def test_turns_smear_by_night_and_not_by_day(route: Route, pictures: list[np.ndarray]):
    turns = [abs(route.at(d).turn) for d in route.marks]
    distance = float(route.marks[int(np.argmax(turns))])
    by_day, by_night = (
        Camera(route, pictures, name).picture(0.0, distance, 5.0) for name in ('day', 'night')
    )
    assert blur_of(by_night) > blur_of(by_day) + 0.1


def test_no_two_pictures_are_the_same_even_when_it_stands(
    route: Route, pictures: list[np.ndarray]
):
    camera = Camera(route, pictures, 'day')
    images = [camera.picture(0.1 * n, 0.0, 0.0) for n in range(5)]
    assert len({as_jpeg(image) for image in images}) == 5
    assert np.abs(images[0].astype(int) - pictures[0]).mean() < 6  # but nearly the rendered one


def test_rain_wets_the_lens_in_places_that_change(route: Route, pictures: list[np.ndarray]):
    dry, wet = (Camera(route, pictures, name, seed=3) for name in ('fog', 'rain'))
    changes = []
    for seconds in (0.0, 20.0):
        images = [c.picture(seconds, 0.0, 0.0).astype(int) for c in (dry, wet)]
        changes.append(np.abs(images[0] - images[1]).max(axis=2) > 25)
    assert all(0.005 < change.mean() < 0.3 for change in changes)
    assert (changes[0] & changes[1]).sum() < 0.7 * changes[0].sum()


def test_a_few_pictures_are_lost(route: Route, pictures: list[np.ndarray]):
    camera = Camera(route, pictures, 'day')
    assert 5 < sum(camera.is_lost() for _ in range(2000)) < 60


def test_a_route_needs_poses():
    with pytest.raises(Exception, match='8 poses or more'):
        Route([Pose(0, 0, 0)] * 3)
