# SPDX-License-Identifier: Apache-2.0
"""Once a second: what the node is like and what is not as it should be, on /diagnostics."""

from __future__ import annotations

import math

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType

from ashtkd_ros.ros.node.console import Console
from ashtkd_ros.ros.quiet_publisher import quiet_publisher

_ADVICE = {
    'frozen': ' (frozen_after: 0 for a simulated camera without noise)',
    'blurred': ' (max_blur: 1 to match them all the same)',
    'nearly black': ' (min_light: 0 to match them all the same)',
}
_STAMPS_STAND = ' (their stamps stand still as well: one image comes again and again)'


class Diagnostics:
    """Publishes as long as the node lives, in every state."""

    def __init__(self, node):
        self._node, self._console = node, Console(node.get_logger())
        self._publisher = quiet_publisher(node, DiagnosticArray, '/diagnostics', 10)
        # The node's own clock may stand still, or be set back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(1.0, self._publish, clock=steady)

    def _publish(self) -> None:
        node = self._node
        facts, errors, warnings = {}, [], []
        if node.state == 'unconfigured':
            errors.append(node.health.last_error or 'not configured')
        if node.state == 'finalized':
            warnings.append('the node has been shut down; start it anew')
        if node.given_up and node.state == 'inactive':
            errors.append(node.given_up)
        if node.state == 'active' and node.health.failures:
            errors.append(f'recognition failed: {node.health.last_error}')
        if node.served is not None:
            facts['map'] = node.served.parameters.map_path
            facts['places in map'] = len(node.served.places)
            facts['execution provider'] = node.embedder.provider
            warnings = [trouble for trouble in self._troubles() if trouble]
            node.answers.greet()
        name = f'{node.get_fully_qualified_name()}: place recognition'
        stamp = node.get_clock().now().to_msg()
        message = node.health.message(name, node.state, facts, errors, warnings, stamp)
        self._publisher.publish(message)
        self._console.tell(message.status[0].level, message.status[0].message)
        if node.state == 'active' and node.enabled:
            camera = node.camera
            self._console.wait(node.health.waiting_s, camera.topic, camera.trouble)

    def _troubles(self) -> list[str]:
        """A phrase each; empty ones count for nothing."""
        node = self._node
        # What stands longest comes last: `ros2 topic echo` shows the first 128 letters.
        found = []
        if node.state == 'active' and not node.enabled:
            found.append('disabled, call ~/enable')
        elif node.state == 'active':
            found += self._of_the_camera()
        return [*found, node.served.watch.trouble(), *node.embedder.warnings]

    def _of_the_camera(self) -> list[str]:
        node, health = self._node, self._node.health
        patience = node.get_parameter('image_timeout_s').value
        silence = health.silence_s
        node.camera.look_around()
        found = []
        if health.waiting_s > patience:
            none = f'no image for {silence:.1f} s' if math.isfinite(silence) else 'no image yet'
            return [f'{none}: {node.camera.trouble()}', health.jump]
        if not math.isfinite(silence):
            return [health.jump]  # it has just been activated
        if rate := node.get_parameter('max_rate_hz').value:
            patience = max(patience, 2.0 / rate)
        if health.unanswered_s > patience:
            why = health.last_error or 'the network does not answer'
            found.append(f'no image could be used for {health.unanswered_s:.1f} s: {why}')
        if health.fault:
            stand = health.fault == 'frozen' and node.frozen.stamps_stand
            advice = _STAMPS_STAND if stand else _ADVICE.get(health.fault, '')
            found.append(f'camera: {health.fault} images{advice}')
        return [*found, health.jump]
