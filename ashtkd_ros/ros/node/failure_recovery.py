# SPDX-License-Identifier: Apache-2.0
"""A network that keeps failing: the node is deactivated, and activated again after a pause."""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.timer import Timer

from ashtkd_ros.ros.node.node_state import NodeState

# So many failures of the network in a row are not an accident.
_MOST_FAILURES = 10
_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0


class FailureRecovery:
    """`reason`: why the node was deactivated; empty if the network did not fail."""

    def __init__(self, node: NodeState):
        self._node = node
        self.reason = ''
        self._pause_s, self._processed_before = _PAUSE_S / 2, 0
        self._timer: Timer | None = None

    def begin(self) -> None:
        """The node is being activated."""
        health = self._node.health
        self.reason, health.failures = '', 0
        self._end_pause()
        self._processed_before = health.processed

    def count_failure(self, text: str) -> None:
        """The network failed for one image; called by the thread that recognises."""
        health = self._node.health
        health.failures += 1
        if health.failures >= _MOST_FAILURES and not self.reason:
            self.reason = f'recognition failed {_MOST_FAILURES} times in a row: {text}'
            # In the executor: the transition waits for the thread that calls this.
            self._node.executor.create_task(self._deactivate)

    def _deactivate(self) -> None:
        node = self._node
        if node.state != 'active':
            return
        worked = node.health.processed > self._processed_before
        self._pause_s = _PAUSE_S if worked else min(2 * self._pause_s, _LONGEST_PAUSE_S)
        again = node.get_parameter('autostart').value  # else somebody else decides on the state
        then = f' and tries again in {self._pause_s:.0f} s' if again else ''
        node.get_logger().error(f'{self.reason}; the node deactivates itself{then}')
        node.trigger_deactivate()
        if again:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(self._pause_s, self._after_pause, clock=steady)

    def _end_pause(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def _after_pause(self) -> None:
        self._end_pause()
        self.reactivate()

    def reactivate(self) -> bool:
        """Activate the node if the network's failures ended it; whether it is active again."""
        node = self._node
        if not (self.reason and node.state == 'inactive'):
            return False
        node.get_logger().info(f'activating again after this failure: {self.reason}')
        return node.trigger_activate() == TransitionCallbackReturn.SUCCESS
