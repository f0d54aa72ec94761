# SPDX-License-Identifier: Apache-2.0
"""The watch of a trial fed from its bags: faults are found where nobody watched live."""

from __future__ import annotations

from collections.abc import Callable

from ashtkd_ros.stamps import stamp_to_ns
from ashtkd_ros.trials.moment import Moment
from ashtkd_ros.trials.node_status import number_of, values_of
from ashtkd_ros.trials.recorded_images import RecordedImages
from ashtkd_ros.trials.recording_thread import NO_DISK
from ashtkd_ros.trials.robot_watch import accuracy_m
from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import RECORDER_STATUS
from ashtkd_ros.trials.watching import Watch

_TICK_NS, _LOOK_NS = 250_000_000, 900_000_000
_MOST_EVENTS = 10_000


class BagWatch:
    """A listener of `read_bags`. `events`: what was found, in order.

    `cameras`: the images of the recording so far, by camera, as `Recording.cameras`.
    """

    def __init__(self, clock: TrialClock, cameras: dict[str, RecordedImages]):
        self.events: list[LogEntry] = []
        self._clock, self._cameras = clock, cameras
        self._watch: Watch | None = None
        self._ticked, self._looked = 0, {}

    def pause(self) -> None:
        """Begin anew: what did not come in between was not recorded."""
        self._watch = None

    def hear(self, kind: str, name: str, received_ns: int, message: object) -> None:
        """See `recording.Listener`."""
        at = Moment(self._clock.steady_ns(received_ns), received_ns)
        if self._watch is None:
            self._watch, self._ticked = Watch(list(self._cameras), recorder=False), 0
        heard: Callable | None = getattr(self, f'_{kind}', None)
        if heard is not None:
            self._keep(heard(name, message, at))
        if at.monotonic_ns - self._ticked >= _TICK_NS:
            self._ticked = at.monotonic_ns
            self._keep(self._watch.tick(at))

    def _keep(self, events: list[LogEntry]) -> None:
        self.events += events[: _MOST_EVENTS - len(self.events)]

    def _images(self, camera: str, message, at: Moment) -> list[LogEntry]:
        found = self._watch.image(camera, stamp_to_ns(message.header.stamp), at)
        if at.monotonic_ns - self._looked.get(camera, 0) >= _LOOK_NS:
            self._looked[camera] = at.monotonic_ns
            found = found + self._watch.camera_fault(camera, self._cameras[camera].fault, at)
        return found

    def _places(self, camera: str, message, at: Moment) -> list[LogEntry]:
        return self._watch.answer(camera, at) if camera in self._cameras else []

    def _fix(self, topic: str, message, at: Moment) -> list[LogEntry]:
        accuracy = accuracy_m(message.position_covariance, message.position_covariance_type)
        place = message.latitude, message.longitude
        return self._watch.fix(*place, message.status.status, accuracy, at)

    def _odometry(self, topic: str, message, at: Moment) -> list[LogEntry]:
        position = message.pose.pose.position
        return self._watch.odometry(position.x, position.y, at)

    def _infos(self, topic: str, message, at: Moment) -> list[LogEntry]:
        node = topic.rpartition('/')[0]
        camera = self._camera_of(node)
        if camera is None:
            return []
        version = message.database_version
        return self._watch.map_in_use(camera, message.database_location, version, at)

    def _camera_of(self, node: str) -> str | None:
        """The camera of a node: the only one, or one that has the node's namespace."""
        if len(self._cameras) == 1:
            return next(iter(self._cameras))
        namespace = node.rpartition('/')[0]
        near = [c for c in self._cameras if namespace and c.startswith(f'{namespace}/')]
        return near[0] if len(near) == 1 else None

    def _diagnostics(self, topic: str, message, at: Moment) -> list[LogEntry]:
        found = []
        for status in message.status:
            if status.name == RECORDER_STATUS:
                told = values_of(status)
                # what a full disk loses is told by that
                keys = ('lost', f'lost: {NO_DISK}', 'bytes')
                counts = [0 if n != n else int(n) for n in (number_of(told, k) for k in keys)]
                free = number_of(told, 'disk free MB')
                free = None if free != free else free
                lost, by_disk, written = counts
                state = told.get('state', '')
                found += self._watch.recorder(state, lost - by_disk, written, free, at)
        return found
