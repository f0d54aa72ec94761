#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Send a robot to a place by its name: nav2's NavigateToPose with the pose that the map has.

python3 go_to_place.py ~/maps/campus kitchen [--ros-args -r __ns:=/robot]
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import remove_ros_args

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose_checks import is_odometry
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.tiled_map import load_whole
from ashtkd_ros.text import one_line

_MOST_NAMES = 20  # that an error lists
_GONE = 3  # looks in a row, one a second, that do not find nav2


def place_called(place_map: PlaceMap, name: str) -> Place:
    """The place of this name, of several the one most in their middle; VprError without a pose."""
    places = place_map.places
    rows = [row for row in range(len(places)) if places.labels[row] == name]
    posed = [row for row in rows if places.posed[row]]
    if not rows:
        names = sorted(set(places.labels) - {''})
        known = ', '.join(names[:_MOST_NAMES]) + (', ...' if len(names) > _MOST_NAMES else '')
        advice = f'it has {known}' if names else 'name places with map_tools relabel'
        raise VprError(f'{place_map.folder}: no place is called {name}; {advice}')
    if not posed:
        raise VprError(f'{place_map.folder}: {name} has no pose; build the map with poses')
    at = places.positions[posed]
    return places[posed[int(np.linalg.norm(at - np.median(at, axis=0), axis=1).argmin())]]


def goal_at(place_map: PlaceMap, place: Place) -> PoseStamped:
    """Where nav2 is to drive: the place's position and heading, level. VprError for a map whose
    poses are of one drive only."""
    frame = place_map.info.frame
    if is_odometry(frame):
        raise VprError(
            f'{place_map.folder}: its poses are in {frame}, which begins anew with each drive; '
            'build the map with poses in the frame that nav2 plans in'
        )
    goal = PoseStamped()
    goal.header.frame_id = frame
    goal.pose.position.x, goal.pose.position.y = place.pose.x, place.pose.y
    goal.pose.orientation.z = math.sin(place.pose.yaw / 2)
    goal.pose.orientation.w = math.cos(place.pose.yaw / 2)
    return goal


class GoToPlace(Node):
    """Sends one goal and waits for what becomes of it; `arrived`: None until that is known."""

    def __init__(self, goal: PoseStamped) -> None:
        from nav2_msgs.action import NavigateToPose

        super().__init__('go_to_place')
        self.goal, self.arrived = NavigateToPose.Goal(pose=goal), None
        self.sent = self.taken = None
        self.missed = 0  # looks in a row that did not find nav2
        self.client = ActionClient(self, NavigateToPose, 'navigate_to_pose')

    def send(self, patience_s: float) -> None:
        """VprError where nav2 does not answer for so long."""
        if not self.client.wait_for_server(timeout_sec=patience_s):
            raise VprError(f'nobody offers navigate_to_pose for {patience_s:g} s; start nav2')
        self.goal.pose.header.stamp = self.get_clock().now().to_msg()
        self.sent = self.client.send_goal_async(self.goal)
        self.sent.add_done_callback(self.on_answer)

    def on_answer(self, answer: Future) -> None:
        """Whether nav2 takes the goal."""
        self.taken = answer.result()
        if not self.taken.accepted:
            self.get_logger().error('nav2 refuses the goal: is it in its map?')
            self.arrived = False
            return
        self.get_logger().info('on the way')
        self.taken.get_result_async().add_done_callback(self.on_result)

    def on_result(self, result: Future) -> None:
        """What became of it."""
        self.arrived = result.result().status == GoalStatus.STATUS_SUCCEEDED
        self.get_logger().info('there' if self.arrived else 'nav2 gave up')

    def look(self) -> None:
        """VprError where nav2 is gone: what becomes of the goal is never told then."""
        self.missed = 0 if self.client.server_is_ready() else self.missed + 1
        if self.missed >= _GONE and self.arrived is None:
            raise VprError('nav2 is gone while the robot is on the way; see to the robot')

    def cancel(self) -> None:
        """Stop a robot that is on the way, and wait for nav2 to say so."""
        if self.sent is not None and self.taken is None:
            rclpy.spin_until_future_complete(self, self.sent, timeout_sec=5.0)
        if self.taken is not None and self.taken.accepted and self.arrived is None:
            rclpy.spin_until_future_complete(self, self.taken.cancel_goal_async(), timeout_sec=5.0)


def _go(folder: Path, name: str, patience_s: float) -> int:
    place_map = load_whole(folder)
    place = place_called(place_map, name)
    goal = goal_at(place_map, place)
    # Ctrl-C is to stop the robot, for which the context must still be there.
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    node = None
    try:
        node = GoToPlace(goal)
        where = f'{place.pose.x:.1f}, {place.pose.y:.1f}'
        node.get_logger().info(f'{one_line(name)} is place {place.id}, at {where}')
        node.send(patience_s)
        node.create_timer(1.0, node.look)
        while node.arrived is None:
            rclpy.spin_once(node, timeout_sec=1.0)
    except (KeyboardInterrupt, ExternalShutdownException, RuntimeError):
        # Ctrl-C amid a call of rclpy may become a RuntimeError; the robot stops in any case
        if node is not None:
            node.cancel()
    finally:
        rclpy.try_shutdown()
    return 0 if node is not None and node.arrived else 1


def main() -> None:
    """Until the robot is there, or Ctrl-C, which stops it."""
    whole = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=whole)
    parser.add_argument('map', type=Path, help='folder of the map, made by build_map')
    parser.add_argument('name', help='name of the place')
    text = 'seconds to wait for nav2 (default: %(default)g)'
    parser.add_argument('--patience', type=float, default=10.0, help=text)
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    try:
        sys.exit(_go(args.map, args.name, args.patience))
    except VprError as error:
        sys.exit(one_line(f'error: {error}'))
    except ImportError as error:
        sys.exit(f'error: {error}; install nav2')


if __name__ == '__main__':
    main()
