# SPDX-License-Identifier: Apache-2.0
"""The operator of the simulated trials: marks what happens, and reloads a map, by ROS."""

from __future__ import annotations

import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.session import end_on_signal
from ashtkd_ros.trials.vocabulary import MARK_TOPIC
from tools.trial.plan import Mark

_RELOAD_S = 30.0


class Operator(Node):
    """`node`: the full name of the vpr_node that the operator looks after."""

    def __init__(self, node: str = '/vpr_node'):
        super().__init__('simulated_operator')
        self._marks = self.create_publisher(String, MARK_TOPIC, 10)
        self._reload = self.create_client(Trigger, f'{node}/reload_map')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._executor.spin_once(timeout_sec=max(0.0, min(seconds, 0.1)))
        end_on_signal()

    def mark(self, mark: Mark) -> None:
        """Say what is planned."""
        self._marks.publish(String(data=f'{mark.kind} {mark.text}'.strip()))

    def reload_map(self) -> None:
        """Have the node load its map anew; VprError where it does not."""
        end = time.monotonic() + _RELOAD_S
        while not self._reload.service_is_ready():
            self._check(end)
        answer = self._reload.call_async(Trigger.Request())
        while not answer.done():
            self._check(end)
        if not answer.result().success:
            raise VprError(f'~/reload_map failed: {answer.result().message}')

    def _check(self, end: float) -> None:
        self.wait(0.05)
        if time.monotonic() > end or not rclpy.ok():
            raise VprError(f'~/reload_map has not answered within {_RELOAD_S:.0f} s')

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.destroy_node()
