# SPDX-License-Identifier: Apache-2.0
"""From an image message to the published answer, while the node is active."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ashtkd_ros.errors import error_text
from ashtkd_ros.images.bit_depth import BitDepth, map_bits
from ashtkd_ros.images.faults import FrozenDetector, fault
from ashtkd_ros.images.message_decoding import ImageError, compressed_to_array
from ashtkd_ros.recognition.rate_gate import RateGate
from ashtkd_ros.recognition.recogniser import Moment, least_confidence
from ashtkd_ros.ros.node import parameter_values
from ashtkd_ros.ros.node.cv_bridge_fallback import image_to_array
from ashtkd_ros.ros.node.image_subscription import ImageSubscription
from ashtkd_ros.ros.node.last_match import LastMatch
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.ros.node.node_state import NodeState
from ashtkd_ros.ros.node.parameters import Parameters
from ashtkd_ros.ros.node.tile_loading import TileLoading
from ashtkd_ros.ros.node.worker import Worker
from ashtkd_ros.stamps import stamp_to_s


class ImagePipeline:
    """Receives images in one thread and recognises them in another; the newest image wins."""

    def __init__(self, node: NodeState):
        self._node = node
        self._rate_gate, self.frozen = RateGate(), FrozenDetector()
        node.loaded_map.recogniser.forget()  # the robot may have been carried away meanwhile
        transport = node.parameters.image_transport
        bits = map_bits(node.loaded_map.recogniser.matcher.map.traverses)
        depth = BitDepth(bits or 8, node.get_logger().info, of_map=bool(bits))
        self._decode = partial(image_to_array, depth=depth)
        if transport == 'compressed':
            size = node.embedder.ample_size
            self._decode = partial(compressed_to_array, at_least=size, depth=depth)
        self.subscription = ImageSubscription(
            node, transport, self._receive, self._on_receive_error
        )
        self._odometry = None
        if node.parameters.use_odometry:
            from ashtkd_ros.ros.node.odometry import OdometrySubscription  # loads nav_msgs

            self._odometry = OdometrySubscription(node)
        self._prior, node.health.prior, self._tiles = None, '', TileLoading(node)
        if node.parameters.prior_topic:
            from ashtkd_ros.ros.node.location_prior import LocationPrior  # loads more messages

            self._prior = LocationPrior(node)
        self._worker = Worker(self.process, self._on_failure)

    def start(self) -> None:
        """Subscribe to the images."""
        self.subscription.start()

    def close(self) -> None:
        """Unsubscribe; the image in hand is still answered."""
        self.subscription.close()
        if self._odometry is not None:
            self._odometry.close()
        if self._prior is not None:
            self._prior.close()
        self._worker.close()

    def _receive(self, message: Image | CompressedImage) -> None:
        node, stamp = self._node, stamp_to_s(message.header.stamp)
        node.health.count_image(stamp)
        if not node.enabled:
            return
        if not self._rate_gate.admits(stamp, node.get_parameter('max_rate_hz').value):
            node.health.skipped += 1
        elif not self._worker.offer((message, time.perf_counter())):
            node.health.dropped += 1

    def process(self, item: tuple[Image | CompressedImage, float]) -> None:
        """Answer (message, time of its receipt in seconds of `perf_counter`)."""
        node, (message, received) = self._node, item
        loaded, header = node.loaded_map, message.header
        p = parameter_values.live(node, loaded.parameters)
        current = loaded if p is loaded.parameters else replace(loaded, parameters=p)
        started = time.perf_counter()
        try:
            image, order = self._decode(message)
        except ImageError as error:
            node.health.count_error(error.kind, str(error))
            node.get_logger().warning(f'image not used: {error}', throttle_duration_sec=5.0)
            return
        small = current.recogniser.embedder.resize(image)
        decoded = time.perf_counter() - started
        stamp = stamp_to_s(header.stamp)
        if why := self._fault(small, p, stamp):
            self._publish_unknown(current, header, image, order, f'the image is {why}')
            node.health.count_fault(why, time.perf_counter() - received)
            return
        prior = None if self._prior is None else self._prior.at(stamp, loaded, p.prior_radius_m)
        if prior is not None:
            self._tiles.move_to(prior, loaded)
        if loaded.waiting:
            self._publish_unknown(current, header, image, order, loaded.waiting)
            node.health.refused(loaded.waiting, time.perf_counter() - received)
            return
        info, moment = current.recogniser.matcher.map.info, self._moment(stamp, p)
        least = least_confidence(info, p.min_confidence, p.target_precision)
        recognition = current.recogniser.recognise(
            small, order, p.top_k, least, p.verify_top, moment, prior
        )
        pose = node.outputs.publish_match(current, header, image, order, recognition)
        why = recognition.refusal or 'the map has no pose for this place'
        node.last_match = LastMatch(loaded, pose, why)
        now = time.perf_counter()
        node.health.answered(recognition, now - received)
        stages = decoded, recognition.embed_s, recognition.verify_s
        node.health.stages.append((*stages, now - started - sum(stages)))

    def _publish_unknown(
        self, loaded: LoadedMap, header: Header, image: np.ndarray, order: str, why: str
    ) -> None:
        self._node.outputs.publish_unknown(loaded, header, image, order, why)
        self._node.last_match = LastMatch(refusal=why)

    def _moment(self, stamp: float, p: Parameters) -> Moment:
        moved = None
        if self._odometry is not None:
            moved = self._odometry.moved_m(stamp)
            self._node.health.moved = 'unknown' if moved is None else f'{moved:.2f}'
        return Moment(stamp, p.sequence_length, moved)

    def _fault(self, image: np.ndarray, p: Parameters, stamp_s: float) -> str:
        """What is wrong with the image, in a word or two; empty if nothing is."""
        why = fault(image, p.max_blur, p.min_light)
        noisy = not self._node.get_parameter('use_sim_time').value  # simulated cameras have none
        return 'frozen' if self.frozen.update(image, p.frozen_after, stamp_s, noisy) else why

    def _on_receive_error(self, error: Exception) -> None:
        node, text = self._node, error_text(error)
        if not node.context.ok():
            return
        node.health.count_error('not received', text)
        node.get_logger().error(f'image not received: {text}', throttle_duration_sec=5.0)

    def _on_failure(self, error: Exception) -> None:
        node, text = self._node, error_text(error)
        if not node.context.ok():  # the node was told to end while an image was in hand
            return
        node.health.count_error('recognition failed', text)
        node.get_logger().error(f'recognition failed: {text}', throttle_duration_sec=5.0)
        node.recovery.count_failure(text)
