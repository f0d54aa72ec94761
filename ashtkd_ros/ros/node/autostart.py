# SPDX-License-Identifier: Apache-2.0
"""The start of the node by itself: configured and activated, or tried again, or ended."""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import TransitionCallbackReturn

from ashtkd_ros.ros.node import parameter_values
from ashtkd_ros.ros.node.node_state import NodeState

_RETRY_S = 5.0


class StartFailed(Exception):
    """The node could not start and has logged why: the process must end with status 1."""


class Autostart:
    """Configures and activates a node as its parameters `autostart` and `on_start_failure` say.

    `retrying`: whether a start is being tried again; `last_error`: why the last one failed.
    """

    def __init__(self, node: NodeState):
        self._node = node
        self.retrying, self.last_error = False, ''

    def begin(self) -> None:
        """Start the node, unless `autostart` is false; otherwise do what `on_start_failure` says.

        StartFailed if the process must end.
        """
        node = self._node
        if not (node.parameter_error or node.get_parameter('autostart').value) or self.start():
            return
        choice = parameter_values.on_start_failure(node)
        if choice == 'stay' or not node.context.ok():
            return
        if choice == 'exit' or node.parameter_error:  # bad parameters do not mend themselves
            raise StartFailed
        node.get_logger().warning(f'the start failed; trying again every {_RETRY_S:.0f} s')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_RETRY_S, self._retry, clock=steady)

    def start(self) -> bool:
        """Configure and activate the node; whether that succeeded. Errors are logged."""
        node, success = self._node, TransitionCallbackReturn.SUCCESS
        return node.trigger_configure() == success and node.trigger_activate() == success

    def _retry(self) -> None:
        self.retrying = True
        try:
            if self._node.state != 'unconfigured' or self.start():
                self._timer.cancel()
        finally:
            self.retrying = False
