# SPDX-License-Identifier: Apache-2.0
"""vpr_node: camera images in, place and confidence out."""

from __future__ import annotations

import contextlib
import ctypes
import time
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import uninstall_signal_handlers
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo

from ashtkd_ros.commands import run_command
from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.image_msgs import ImageError, compressed_to_array
from ashtkd_ros.matcher import MatcherConfig
from ashtkd_ros.place_map import PlaceMap, place_spacing
from ashtkd_ros.recogniser import Recogniser, Recognition
from ashtkd_ros.ros import parameters
from ashtkd_ros.ros.guards import refusing, session, transition
from ashtkd_ros.ros.health import Health
from ashtkd_ros.ros.image_msgs import image_to_array
from ashtkd_ros.ros.worker import Worker
from ashtkd_ros.shipped import shipped_model

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


class VprNode(LifecycleNode):
    """Configure loads network and map and warms up; activate only subscribes."""

    def __init__(self):
        super().__init__('vpr_node', automatically_declare_parameters_from_overrides=True)
        service = self._service_change_state
        service.callback = refusing(service.callback)
        self.health, self.state = Health(), 'unconfigured'
        self._maps_loaded = 0
        self._release()
        self._worker = self._subscription = None
        self._refused = ''
        try:
            parameters.declare(self)
        except VprError as error:
            self._refused = str(error)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(1.0, self._publish_diagnostics)

    def start(self) -> None:
        """Configure and activate, unless `autostart` is false; what fails is logged."""
        if self._refused or self.get_parameter('autostart').value:
            configured = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            if configured:
                self.trigger_activate()

    @transition
    def on_configure(self, state: LifecycleState) -> None:
        """Load and check network and map, run the network once, offer the topics."""
        if self._refused:
            raise VprError(self._refused)
        self.parameters = p = parameters.read(self)
        if not p.map_path:
            raise VprError('map_path is not set; give the folder that build_map wrote')
        embedder = Embedder(p.model_path or shipped_model(), p.providers, p.num_threads)
        place_map = PlaceMap.load(Path(p.map_path), embedder)
        config = MatcherConfig(top_k=p.top_k)
        recogniser = Recogniser(embedder, place_map, config, p.min_confidence)
        recogniser.recognise(np.zeros((480, 640, 3), np.uint8))
        self.recogniser = recogniser
        self._spacing = place_spacing(place_map.places)
        self._maps_loaded += 1
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._info = self.create_publisher(VisionInfo, '~/vision_info', latched)
        self._place = self.create_publisher(Classification, '~/place', 10)
        self._pose = self.create_publisher(PoseWithCovarianceStamped, '~/pose', 10)
        self._publish_info()
        self.state, self.health.last_error = 'inactive', ''
        self.get_logger().info(
            f'{len(place_map.places)} places from {p.map_path}, model {embedder.name} '
            f'{embedder.hash[:8]} on {embedder.provider}'
        )

    @transition
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe to `image`."""
        self._compressed = self.parameters.image_transport == 'compressed'
        self._decode = compressed_to_array if self._compressed else image_to_array
        self._worker = Worker(self._process, self._failed)
        self._subscribe(ReliabilityPolicy.RELIABLE)
        self.state = 'active'
        super().on_activate(state)

    @transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe; the image in hand is still answered."""
        self._unsubscribe()
        self.state = 'inactive'
        super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Let go of network and map."""
        self._tear_down('unconfigured')
        self.health.last_error = ''  # an image's, which is not why the node is unconfigured

    @transition
    def on_shutdown(self, state: LifecycleState) -> None:
        """As cleanup, from any state."""
        self._tear_down('finalized')

    @transition
    def on_error(self, state: LifecycleState) -> None:
        """After an unforeseen error: back to unconfigured, ready to be configured again."""
        self._tear_down('unconfigured')

    def _tear_down(self, state: str) -> None:
        self._unsubscribe()
        for publisher in (self._info, self._place, self._pose):
            if publisher is not None:
                self.destroy_publisher(publisher)
        self._release()
        _give_back_memory()
        self.state = state

    def _release(self) -> None:
        self.recogniser = self.parameters = self._info = self._place = self._pose = None

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        """Reliable first: best effort loses images above 0.5 MB under Fast DDS's defaults.

        Best effort as soon as a camera offers no more; the user's QoS overrides stand.
        """
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
        options = {}
        if self.get_parameters_by_prefix('qos_overrides'):
            options['qos_overriding_options'] = QoSOverridingOptions.with_default_policies()
        elif reliability == ReliabilityPolicy.RELIABLE:
            events = SubscriptionEventCallbacks(incompatible_qos=self._camera_is_best_effort)
            options['event_callbacks'] = events
        qos = QoSProfile(depth=1, reliability=reliability)
        kind = CompressedImage if self._compressed else Image
        self._subscription = self.create_subscription(kind, 'image', self._receive, qos, **options)

    def _camera_is_best_effort(self, event) -> None:
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY:
            self.get_logger().info('the camera publishes best effort; subscribing likewise')
            # Not from within a callback of the subscription that is to go.
            self.executor.create_task(self._subscribe_again)

    def _subscribe_again(self) -> None:
        if self._subscription is not None:
            self._subscribe(ReliabilityPolicy.BEST_EFFORT)

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _receive(self, message) -> None:
        self.health.saw_image()
        if not self._worker.offer((message, time.perf_counter())):
            self.health.dropped += 1

    def _process(self, item) -> None:
        message, received = item
        try:
            image, order = self._decode(message)
            recognition = self.recogniser.recognise(image, order)
        except ImageError as error:
            self.health.saw_error(error.kind, str(error))
            self.get_logger().warning(f'image not used: {error}', throttle_duration_sec=5.0)
            return
        self._publish(message.header, recognition)
        self.health.answered(recognition, time.perf_counter() - received)

    def _failed(self, error: Exception) -> None:
        if not self.context.ok():  # the node was told to end while an image was in hand
            return
        text = f'{type(error).__name__}: {error}'
        self.health.saw_error('recognition failed', text)
        self.get_logger().error(f'recognition failed: {text}', throttle_duration_sec=5.0)

    def _publish(self, header, recognition: Recognition) -> None:
        place = Classification(header=header)
        if recognition.accepted:
            place.results = [
                ObjectHypothesis(class_id=str(c.place.id), score=c.confidence)
                for c in recognition.candidates
            ]
        self._place.publish(place)
        best = recognition.candidates[0]
        if recognition.accepted and self.parameters.publish_pose and best.place.pose is not None:
            self._pose.publish(self._pose_message(header, best))

    def _pose_message(self, header, best) -> PoseWithCovarianceStamped:
        """The place's pose; its spread grows as places lie apart and confidence falls."""
        message = PoseWithCovarianceStamped()
        message.header.stamp = header.stamp
        message.header.frame_id = (
            self.parameters.map_frame or self.recogniser.matcher.map.info.frame
        )
        pose, place = message.pose.pose, best.place.pose
        pose.position.x, pose.position.y, pose.position.z = place.x, place.y, place.z
        pose.orientation.x, pose.orientation.y = place.qx, place.qy
        pose.orientation.z, pose.orientation.w = place.qz, place.qw
        metres = self.parameters.position_stddev or max(self._spacing, 0.5)
        doubt = 1.0 / max(best.confidence, 0.05)
        spread = [metres**2] * 3 + [0.1**2] * 2 + [self.parameters.yaw_stddev**2]
        message.pose.covariance[::7] = [value * doubt for value in spread]
        return message

    def _publish_info(self) -> None:
        embedder, path = self.recogniser.embedder, self.parameters.map_path
        message = VisionInfo(method=f'{embedder.name} {embedder.hash[:16]}')
        message.header.stamp = self.get_clock().now().to_msg()
        message.database_location, message.database_version = path, self._maps_loaded
        self._info.publish(message)

    def _publish_diagnostics(self) -> None:
        facts = {}
        recogniser, p = self.recogniser, self.parameters
        if recogniser is not None:
            facts['map'] = p.map_path
            facts['places in map'] = len(recogniser.matcher.map.places)
            facts['execution provider'] = recogniser.embedder.provider
        warn_after = p.image_timeout_s if p is not None else 0.0
        stamp = self.get_clock().now().to_msg()
        name = f'{self.get_fully_qualified_name()}: place recognition'
        self._diagnostics.publish(self.health.message(name, self.state, facts, warn_after, stamp))


def _give_back_memory() -> None:
    """glibc keeps what the network leaves behind, or not, by the luck of the heap's layout."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM (exit status 0); 1 where ROS refuses the arguments."""

    def command() -> int:
        with contextlib.suppress(KeyboardInterrupt), session(args):
            _run()
        return 0

    run_command(command)


def _run() -> None:
    try:
        node = VprNode()
    except ValueError as error:  # `-p name:=[]`, refused by rclpy before we see it
        raise VprError(f'a parameter is given without a value ({error})') from error
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        node.start()
        executor.spin()
    finally:
        # rclpy's signal thread, still at work, would touch what is destroyed next.
        uninstall_signal_handlers()
        node._unsubscribe()
        executor.shutdown()


if __name__ == '__main__':
    main()
