# SPDX-License-Identifier: Apache-2.0
"""The state of the node and what is wrong with it, once a second on /diagnostics."""

from __future__ import annotations

import math

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType

from ashtkd_ros.recognition.recogniser import least_confidence
from ashtkd_ros.ros.eventless_publisher import create_eventless_publisher
from ashtkd_ros.ros.node.console import DiagnosticsLog
from ashtkd_ros.ros.node.node_state import NodeState
from ashtkd_ros.ros.status_texts import DISABLED

_ADVICE = {
    'frozen': ' (set frozen_after to 0 for a simulated camera without noise)',
    'blurred': ' (set max_blur to 1 to match them anyway)',
    'nearly black': ' (set min_light to 0 to match them anyway)',
}
_LASTING = 3  # answers in a row that could not be verified
_NO_STAMPS = 'the images have no stamps, so ~/pose has none; set them in the driver of the camera'
_SAME_STAMPS = ' (their stamps do not change either: one image is sent again and again)'


class Diagnostics:
    """Publishes in every state, as long as the node lives."""

    def __init__(self, node: NodeState):
        self._node, self._console = node, DiagnosticsLog(node.get_logger())
        self._publisher = create_eventless_publisher(node, DiagnosticArray, '/diagnostics', 10)
        # The node's own clock may stop or go back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(1.0, self._publish, clock=steady)

    def _publish(self) -> None:
        node = self._node
        facts, errors, warnings = {}, [], []
        if node.state == 'unconfigured':
            errors.append(node.health.last_error or 'not configured')
        if node.state == 'finalized':
            warnings.append('the node has been shut down; start it again')
        if node.recovery.reason and node.state == 'inactive':
            errors.append(node.recovery.reason)
        if node.state == 'active' and node.health.failures:
            errors.append(f'recognition failed: {node.health.last_error}')
        if node.loaded_map is not None:
            facts['map'] = node.loaded_map.parameters.map_path
            facts['places in map'] = len(node.loaded_map.places)
            if (tiles := node.loaded_map.tiles) is not None:
                count = len(node.loaded_map.tiles_in_memory)
                facts['tiles in memory'] = f'{count} of {len(tiles.city.tiles)}'
            facts['execution provider'] = node.embedder.provider
            facts['verification'] = node.loaded_map.verification(self._verify_top)
            wanted = (node.get_parameter(n).value for n in ('min_confidence', 'target_precision'))
            info = node.loaded_map.recogniser.matcher.map.info
            facts['lowest confidence'] = f'{least_confidence(info, *wanted):.3f}'
            warnings = [text for text in self._warnings() if text]
            node.outputs.publish_map_to_new_subscribers()
        name = f'{node.get_fully_qualified_name()}: place recognition'
        stamp = node.get_clock().now().to_msg()
        message = node.health.message(name, node.state, facts, errors, warnings, stamp)
        self._publisher.publish(message)
        self._console.report_level(message.status[0].level, message.status[0].message)
        if node.state == 'active' and node.enabled:
            images = node.pipeline.subscription
            self._console.report_waiting(node.health.waiting_s, images.topic, images.diagnose)

    def _warnings(self) -> list[str]:
        """One phrase for each problem; empty phrases mean nothing."""
        node = self._node
        # What lasts longest comes last: `ros2 topic echo` shows only the first 128 letters.
        warnings = []
        if node.state == 'active' and not node.enabled:
            warnings.append(DISABLED)
        elif node.state == 'active':
            warnings += self._image_warnings()
        tiles = node.loaded_map.tiles
        warnings += [node.loaded_map.waiting, '' if tiles is None else tiles.fault]
        warnings += [self._verification_warning(), node.loaded_map.watch.warning()]
        return [*warnings, *node.embedder.warnings]

    @property
    def _verify_top(self) -> int:
        return self._node.get_parameter('verify_top').value

    def _verification_warning(self) -> str:
        """Why answers are no longer verified, if that lasts."""
        node = self._node
        fault = node.loaded_map.recogniser.matcher.fault
        lasts = node.health.verify_faults >= _LASTING and self._verify_top
        return f'answers are not verified: {fault}' if fault and lasts else ''

    def _image_warnings(self) -> list[str]:
        node, health = self._node, self._node.health
        images = node.pipeline.subscription
        timeout = node.get_parameter('image_timeout_s').value
        silence = health.silence_s
        images.follow_publishers()
        warnings = []
        if health.waiting_s > timeout:
            none = f'no image for {silence:.1f} s' if math.isfinite(silence) else 'no image yet'
            return [f'{none}: {images.diagnose()}', health.jump]
        if not math.isfinite(silence):
            return [health.jump]  # the node has just been activated
        if rate := node.get_parameter('max_rate_hz').value:
            timeout = max(timeout, 2.0 / rate)
        if health.unanswered_s > timeout:
            why = health.unused or 'the network does not answer'
            if rate and (passed := health.unanswered_by_stamps_s) < 1.0 / rate:
                why = f'max_rate_hz counts by their stamps, which advanced by {passed:.2f} s only'
            warnings.append(f'no image could be used for {health.unanswered_s:.1f} s: {why}')
        if health.fault:
            same_stamps = health.fault == 'frozen' and node.pipeline.frozen.same_stamps
            advice = _SAME_STAMPS if same_stamps else _ADVICE.get(health.fault, '')
            warnings.append(f'camera: {health.fault} images{advice}')
        if health.unstamped:
            warnings.append(_NO_STAMPS)
        return [*warnings, health.jump and f'{health.jump}{images.several()}']
