#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tell AMCL where the robot is, once it does not know: vpr_node's ~/relocalize is called.

python3 relocalise_amcl.py [--ros-args -p lost_stddev:=3.0 -p pause_s:=30.0]
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys

import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from std_srvs.srv import Trigger


class RelocaliseAmcl(Node):
    """Watches `amcl_pose`; lost is an AMCL that has none yet, or one too widely spread.

    AMCL starts its filter anew with each pose it is given, and needs a stretch of driving to
    gather its particles: hence the pause, and a threshold above the spread of ~/pose.
    """

    def __init__(self) -> None:
        super().__init__('relocalise_amcl')
        any_number = ParameterDescriptor(dynamic_typing=True)  # 3 as well as 3.0
        given = {'lost_stddev': 3.0, 'pause_s': 30.0}  # metres, seconds
        values = {n: self.declare_parameter(n, v, any_number).value for n, v in given.items()}
        for name, value in values.items():
            if type(value) not in (int, float) or not 0 < value < math.inf:
                sys.exit(f'error: {name} is {value!r}; give a number above 0')
        self.lost_stddev, self.pause_s = values.values()
        self.stddev = math.inf
        self.asked_at = -math.inf
        self.said = ''
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(PoseWithCovarianceStamped, 'amcl_pose', self.on_pose, latched)
        self.relocalize = self.create_client(Trigger, 'vpr_node/relocalize')
        self.create_timer(1.0, self.on_timer)

    def on_pose(self, message: PoseWithCovarianceStamped) -> None:
        """Keep how far the particles spread, in metres; a covariance that is none is no pose."""
        variances = message.pose.covariance[0:8:7]
        known = all(variance >= 0.0 for variance in variances)  # false for NaN
        self.stddev = math.sqrt(max(variances)) if known else math.inf

    def on_timer(self) -> None:
        """Ask vpr_node to publish its pose on `initialpose`, if AMCL is lost."""
        now = self.get_clock().now().nanoseconds * 1e-9
        if self.stddev < self.lost_stddev or 0.0 <= now - self.asked_at < self.pause_s:
            return  # a simulated clock that was set back ends the pause
        if self.relocalize.service_is_ready():
            self.asked_at = now
            self.relocalize.call_async(Trigger.Request()).add_done_callback(self.on_answer)

    def on_answer(self, answer: Future) -> None:
        """Where no place is recognised just now: ask again at once, and say so once."""
        response = answer.result()
        if response.success or response.message != self.said:
            text = f'AMCL is lost (spread {self.stddev:.1f} m): {response.message}'
            self.get_logger().info(text)
        self.said = response.message
        if not response.success:
            self.asked_at = -math.inf


def main() -> None:
    """Until Ctrl-C."""
    whole = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=whole)
    parser.parse_args(remove_ros_args(sys.argv)[1:])
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        # rclpy ends on Ctrl-C; what Python would raise amid a call of it may become another error
        signal.signal(signal.SIGINT, lambda *_: None)
        rclpy.init()
        node = RelocaliseAmcl()
        try:
            rclpy.spin(node)
        except RuntimeError:  # RCLError: Ctrl-C closed the context amid a call of rclpy
            if rclpy.ok():
                raise


if __name__ == '__main__':
    main()
