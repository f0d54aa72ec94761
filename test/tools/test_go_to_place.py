# SPDX-License-Identifier: Apache-2.0
"""The example that drives to a place by its name: its goal, what it makes of nav2's answers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import rclpy
from action_msgs.msg import GoalStatus
from conftest import line_of, places_along_x, unit_rows
from rclpy.task import Future

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.tiling import cut_into_tiles
from tools.examples import go_to_place
from tools.examples.go_to_place import goal_at, place_called

pytestmark = pytest.mark.ros
YAW = 2.0


@pytest.fixture
def campus(fake_network, tmp_path: Path) -> Path:
    """Five places called hall, a kitchen that looks back and up, a place without pose or name."""
    places = [replace(p, label='hall') for p in places_along_x(range(5))]
    tilted = Pose(7.0, 3.0, 1.5, 0.0, 0.0, math.sin(YAW / 2), math.cos(YAW / 2))
    places += [replace(p, pose=None) for p in places_along_x(range(7))[5:]]
    places[5] = replace(places[5], label='kitchen', pose=tilted)
    places[6] = replace(places[6], label='attic')
    PlaceMap.build(unit_rows(7, 4), places, fake_network, 'site').save(tmp_path / 'map')
    return tmp_path / 'map'


def test_the_goal_is_the_pose_of_the_place_level(campus: Path):
    place_map = PlaceMap.load(campus)
    goal = goal_at(place_map, place_called(place_map, 'kitchen'))
    assert goal.header.frame_id == 'site'
    at, turn = goal.pose.position, goal.pose.orientation
    assert (at.x, at.y, at.z) == (7.0, 3.0, 0.0)
    assert (turn.x, turn.y) == (0.0, 0.0)
    assert 2 * math.atan2(turn.z, turn.w) == pytest.approx(YAW)


def test_of_several_of_one_name_it_is_the_one_in_the_middle(campus: Path):
    assert place_called(PlaceMap.load(campus), 'hall').id == 2


def test_what_is_no_goal_is_one_line(campus: Path, fake_network):
    place_map = PlaceMap.load(campus)
    for name, said in (('garage', 'it has attic, hall, kitchen'), ('attic', 'has no pose')):
        with pytest.raises(VprError) as error:
            place_called(place_map, name)
        assert said in line_of(error)
    with pytest.raises(VprError, match='no place is called '):
        place_called(place_map, '')
    place_map.info = replace(place_map.info, frame='odom')
    with pytest.raises(VprError, match='begins anew with each drive'):
        goal_at(place_map, place_called(place_map, 'hall'))


class Nav2:
    """Stands in for rclpy's ActionClient and a nav2 behind it."""

    ready, accepts, status = True, True, GoalStatus.STATUS_SUCCEEDED
    goals: list = []

    def __init__(self, node, kind, name: str):
        assert name == 'navigate_to_pose'

    def wait_for_server(self, timeout_sec: float) -> bool:
        return self.ready

    def server_is_ready(self) -> bool:
        return self.ready

    def send_goal_async(self, goal) -> Future:
        self.goals.append(goal)
        return self._soon(SimpleNamespace(accepted=self.accepts, get_result_async=self._result))

    def _result(self) -> Future:
        return self._soon(SimpleNamespace(status=self.status))

    def _soon(self, value) -> Future:
        future = Future()
        future.set_result(value)
        return future


@pytest.fixture
def nav2(monkeypatch) -> Iterator[type[Nav2]]:
    """The example sees this nav2; each test has one of its own."""
    nav2 = type('Nav2', (Nav2,), {'goals': []})
    action = SimpleNamespace(NavigateToPose=SimpleNamespace(Goal=SimpleNamespace))
    monkeypatch.setitem(sys.modules, 'nav2_msgs', SimpleNamespace(action=action))
    monkeypatch.setitem(sys.modules, 'nav2_msgs.action', action)
    monkeypatch.setattr(go_to_place, 'ActionClient', nav2)
    if began := not rclpy.ok():
        rclpy.init()
    end = rclpy.try_shutdown
    for name in ('init', 'try_shutdown'):  # the context is the tests', not the example's
        monkeypatch.setattr(rclpy, name, lambda **_: None)
    yield nav2
    if began:
        end()


def call(monkeypatch, *arguments: object) -> object:
    """The exit status, or the line, with which the example ends."""
    monkeypatch.setattr('sys.argv', ['go_to_place', *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        go_to_place.main()
    return end.value.code


@pytest.mark.parametrize('tiled', [False, True])
def test_it_sends_one_goal_and_waits(nav2, campus: Path, tmp_path: Path, monkeypatch, tiled: bool):
    if tiled:
        place_map, campus = PlaceMap.load(campus), tmp_path / 'city'
        cut_into_tiles(place_map, campus, 20.0)
    assert call(monkeypatch, campus, 'kitchen', '--ros-args', '-r', '__ns:=/front') == 0
    (goal,) = nav2.goals
    assert goal.pose.header.frame_id == 'site' and goal.pose.pose.position.x == 7.0


def test_what_nav2_makes_of_it_is_the_status(nav2, campus: Path, monkeypatch):
    nav2.status = GoalStatus.STATUS_ABORTED
    assert call(monkeypatch, campus, 'kitchen') == 1
    nav2.accepts = False
    assert call(monkeypatch, campus, 'kitchen') == 1
    nav2.ready = False
    assert 'start nav2' in call(monkeypatch, campus, 'kitchen')


def test_a_nav2_that_dies_on_the_way_is_told_and_not_waited_for(
    nav2, campus: Path, monkeypatch: pytest.MonkeyPatch
):
    def die(self) -> Future:
        self.ready = False
        return Future()

    monkeypatch.setattr(nav2, '_result', die)
    assert call(monkeypatch, campus, 'kitchen').startswith('error: nav2 is gone while the robot')


def test_without_map_name_or_nav2_it_is_one_line(campus: Path, monkeypatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, 'nav2_msgs', None)
    assert 'no such map' in call(monkeypatch, tmp_path / 'none', 'kitchen')
    assert 'no place is called' in call(monkeypatch, campus, 'garage')


@pytest.mark.parametrize('raised', [KeyboardInterrupt, RuntimeError])
def test_ctrl_c_stops_the_robot(nav2, campus: Path, monkeypatch, raised: type[BaseException]):
    cancelled = []

    def spin(*_, **__) -> None:  # rclpy may make a RuntimeError of Ctrl-C
        raise raised

    monkeypatch.setattr(nav2, '_result', lambda _: Future())
    monkeypatch.setattr(rclpy, 'spin_once', spin)
    monkeypatch.setattr(go_to_place.GoToPlace, 'cancel', lambda node: cancelled.append(node))
    assert call(monkeypatch, campus, 'kitchen') == 1
    assert len(cancelled) == 1
