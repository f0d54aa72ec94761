# SPDX-License-Identifier: Apache-2.0
"""From the topics of a trial to the facts that the watch is fed with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import NavSatFix
from vision_msgs.msg import Classification, VisionInfo

from ashtkd_ros.bags.message_header import stamp_ns_of
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.trial.subscribing import FIXES, IMAGES, ODOMETRY, LateSubscription
from ashtkd_ros.ros.trial.watch_settings import WatchSettings
from ashtkd_ros.stamps import NS_PER_S, ns_to_s
from ashtkd_ros.trials.moment import Moment
from ashtkd_ros.trials.picture_check import PictureCheck
from ashtkd_ros.trials.recording_thread import NO_DISK
from ashtkd_ros.trials.robot_watch import accuracy_m
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import RECORDER_STATUS
from ashtkd_ros.trials.watching import Watch

Tell = Callable[[Iterable[LogEntry]], None]
_PICTURE_NS = NS_PER_S  # between two pictures that are looked at
_FROZEN_AFTER = 3  # pictures of equal stamps; other frozen ones are seen by the node
_FROZEN = 'frozen'
_DEPTH = 100


class CameraFeed:
    """The images of one camera, on whichever of `topics` they come; `fault`: of the last one."""

    def __init__(self, watch: Watch, tell: Tell, camera: str, of_check):
        self._watch, self._tell, self._camera = watch, tell, camera
        self._simulated = of_check.simulated
        # Looked at once a second, other pictures lie between: noise cannot be told from motion.
        self._look = PictureCheck(of_check.max_blur, of_check.min_light, noisy=False)
        self._looked_ns = -math.inf
        self.fault, self.is_frozen = '', False

    def receive(self, kind: type, data: bytes) -> None:
        """One serialized image."""
        at = Moment.now()
        try:
            stamp = stamp_ns_of(data)
        except VprError:
            return
        self._tell(self._watch.image(self._camera, at.stamp_ns if self._simulated else stamp, at))
        if at.monotonic_ns < self._looked_ns + _PICTURE_NS:
            return
        self._looked_ns = at.monotonic_ns
        found = self._look.look(deserialize_message(data, kind), ns_to_s(stamp), _FROZEN_AFTER)
        self.fault = found or (_FROZEN if self.is_frozen else '')
        self._tell(self._watch.camera_fault(self._camera, self.fault, at))


class Feeds:
    """Subscribes to all that is watched; `tell` gets the events. `places` gets each answer."""

    def __init__(
        self,
        node: Node,
        settings: WatchSettings,
        watch: Watch,
        tell: Tell,
        places: Callable[[Classification], None],
    ):
        self._settings, self._watch, self._tell, self._places = settings, watch, tell, places
        self.cameras = {
            name: CameraFeed(watch, tell, name, settings.of_check) for name in settings.cameras
        }
        self._frozen_images: dict[str, str] = {}
        groups = zip(settings.cameras, settings.of_check.cameras, strict=True)
        late = [(t, IMAGES, self.cameras[n].receive) for n, group in groups for t in group]
        topics = settings.of_check.topics
        late += [(topics['fix'], FIXES, self._fix)] if topics['fix'] else []
        late += [(topics['odom'], ODOMETRY, self._odometry)] if topics['odom'] else []
        self._late = [LateSubscription(node, *wanted) for wanted in late]
        node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnostics, _DEPTH)
        if settings.nodes:
            self._subscribe_to_nodes(node)

    def _subscribe_to_nodes(self, node: Node) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        s = self._settings
        for camera, place, info in zip(s.cameras, s.places, s.infos, strict=True):

            def answered(message: Classification, camera: str = camera) -> None:
                self._places(message)
                self._tell(self._watch.answer(camera, Moment.now()))

            def loaded(message: VisionInfo, camera: str = camera) -> None:
                where, version = message.database_location, message.database_version
                self._tell(self._watch.map_in_use(camera, where, version, Moment.now()))

            node.create_subscription(Classification, place, answered, _DEPTH)
            node.create_subscription(VisionInfo, info, loaded, latched)

    def look(self) -> None:
        """Look for topics that are not there yet; to be called now and then."""
        for subscription in self._late:
            subscription.look()

    def _fix(self, kind: type, data: bytes) -> None:
        fix: NavSatFix = deserialize_message(data, kind)
        accuracy = accuracy_m(fix.position_covariance, fix.position_covariance_type)
        status, at = fix.status.status, Moment.now()
        self._tell(self._watch.fix(fix.latitude, fix.longitude, status, accuracy, at))

    def _odometry(self, kind: type, data: bytes) -> None:
        message: Odometry = deserialize_message(data, kind)
        position = message.pose.pose.position
        self._tell(self._watch.odometry(position.x, position.y, Moment.now()))

    def _diagnostics(self, message: DiagnosticArray) -> None:
        s = self._settings
        for status in message.status:
            own = Path(status.hardware_id).parent == s.of_check.folder  # others may record too
            if status.name == RECORDER_STATUS and s.recorder and own:
                self._recorder(status)
            for camera, name in zip(s.cameras, s.nodes, strict=False):
                if status.name == f'{name}: place recognition':
                    self._node_says(camera, status)

    def _node_says(self, camera: str, status: DiagnosticStatus) -> None:
        """What is wrong with the node; it looks at every image, so it sees more frozen ones."""
        values = {pair.key: pair.value for pair in status.values}
        frozen = values.get(f'camera faults: {_FROZEN}', '0')
        before = self._frozen_images.get(camera, frozen)
        self._frozen_images[camera] = frozen
        self.cameras[camera].is_frozen = frozen != before and frozen != '0'
        good = status.level == DiagnosticStatus.OK
        self._watch.node_says(camera, '' if good else status.message)

    def _recorder(self, status: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in status.values}
        keys = ('lost', f'lost: {NO_DISK}', 'bytes')  # what a full disk loses is told by that
        lost, by_disk, written = (_number(values.get(key)) or 0.0 for key in keys)
        free = _number(values.get('disk free MB'))
        state, at = values.get('state', ''), Moment.now()
        self._tell(self._watch.recorder(state, int(lost - by_disk), int(written), free, at))


def _number(text: str | None) -> float | None:
    """A finite number of a text of anybody; None for anything else."""
    try:
        value = float(text or 'nan')
    except ValueError:
        return None
    return value if math.isfinite(value) else None
