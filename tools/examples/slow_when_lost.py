#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slow nav2 down while the place is unknown, until it is known again.

python3 slow_when_lost.py [--ros-args -p patience_s:=20.0 -p percentage:=50.0 -p answers:=5]
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from vision_msgs.msg import Classification

NO_LIMIT = 0.0  # of nav2
MOST = {'patience_s': 3600.0, 'percentage': 100.0, 'answers': 1000.0}  # of the parameters


class Caution:
    """How fast a robot may drive, in percent; 0 for no limit.

    It is slowed down once no place was known for `patience_s`, no answer came at all included,
    and set free by so many `answers` with a place in a row. One answer without is no reason: a
    person who passes, a turn towards a wall.
    """

    def __init__(self, patience_s: float, percentage: float, answers: float):
        self.patience_s, self.percentage, self.answers = patience_s, percentage, answers
        self._known_at: float | None = None
        self._in_a_row, self._slow = 0, False

    def heard(self, known: bool, now: float) -> None:
        """One answer of vpr_node, at `now` in seconds."""
        self._in_a_row = self._in_a_row + 1 if known else 0
        if known and (not self._slow or self._in_a_row >= self.answers):
            self._known_at, self._slow = now, False

    def limit(self, now: float) -> float:
        """At `now` in seconds."""
        if self._known_at is None or now < self._known_at:  # the beginning; a clock set back
            self._known_at = now
        self._slow = self._slow or now - self._known_at > self.patience_s
        return self.percentage if self._slow else NO_LIMIT


class SlowWhenLost(Node):
    """Publishes nav2's `speed_limit`, which its controller obeys; stays as it is at the end."""

    def __init__(self) -> None:
        try:
            from nav2_msgs.msg import SpeedLimit
        except ImportError as error:
            sys.exit(f'error: {error}; install nav2')
        super().__init__('slow_when_lost')
        any_number = ParameterDescriptor(dynamic_typing=True)  # 10 as well as 10.0
        given = {'patience_s': 10.0, 'percentage': 30.0, 'answers': 3}
        values = {n: self.declare_parameter(n, v, any_number).value for n, v in given.items()}
        for name, value in values.items():  # a percentage of 0 would be no limit
            if type(value) not in (int, float) or not 0 < value <= MOST[name]:
                sys.exit(
                    f'error: {name} is {value!r}; give a number above 0, up to {MOST[name]:g}'
                )
        self.caution = Caution(**values)
        self.message, self.last = SpeedLimit(percentage=True), NO_LIMIT
        self.publisher = self.create_publisher(SpeedLimit, 'speed_limit', 10)
        self.create_subscription(Classification, 'vpr_node/place', self.on_place, 10)
        self.create_timer(1.0, self.on_timer)

    def now(self) -> float:
        """Seconds."""
        return self.get_clock().now().nanoseconds * 1e-9

    def on_place(self, message: Classification) -> None:
        """A message without results says that the place is unknown."""
        self.caution.heard(bool(message.results), self.now())

    def on_timer(self) -> None:
        """Said again while slow, for a controller that starts later; not while there is no limit,
        which other nodes may set."""
        if not self.now():
            return  # a simulated clock that has not begun
        limit = self.caution.limit(self.now())
        if limit != self.last:
            what = f'slowed down to {limit:g} %' if limit else 'no longer slowed down'
            self.get_logger().info(f'the place is {"unknown" if limit else "known"}: {what}')
        if limit or limit != self.last:
            self.publish(limit)

    def publish(self, limit: float) -> None:
        """In percent; 0: no limit."""
        self.message.header.stamp = self.get_clock().now().to_msg()
        self.message.speed_limit = self.last = limit
        self.publisher.publish(self.message)


def main() -> None:
    """Until Ctrl-C."""
    whole = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=whole)
    parser.parse_args(remove_ros_args(sys.argv)[1:])
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        # rclpy ends on Ctrl-C; what Python would raise amid a call of it may become another error
        signal.signal(signal.SIGINT, lambda *_: None)
        rclpy.init()
        node = SlowWhenLost()
        try:
            rclpy.spin(node)
        except RuntimeError:  # RCLError: Ctrl-C closed the context amid a call of rclpy
            if rclpy.ok():
                raise


if __name__ == '__main__':
    main()
