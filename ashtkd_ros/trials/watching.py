# SPDX-License-Identifier: Apache-2.0
"""The watch of a trial: fed with facts as they come, it tells what went wrong, once, at once.

No ROS is in it: `trial_watch` feeds it from topics, a report may feed it from a bag. Each method
takes plain numbers and the moment `at`, and returns the events that follow: a list of LogEntry,
mostly empty. Moments go on; call `tick` about four times a second of theirs, for only `tick` can
notice what does not come. A gap of more than 0.6 s without any call counts as a stutter of the
machine, in which nothing is missed: from a bag, do not tick where nothing was recorded.

What lasts has an event at its begin and one at its end, whose value `seconds` is how long it
lasted: camera stopped, camera fault → camera back; node silent → node back; gnss lost → gnss back;
odometry stopped → odometry back; recorder lost, disk full → recorder back. The begin is told when
it is sure: its value `seconds` is how long it has lasted by then. Jumps, swaps and losses are one
event each. Values have figures; `camera` is the topic of the images, where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ashtkd_ros.stamps import NS_PER_S
from ashtkd_ros.trials.camera_watch import CameraWatch
from ashtkd_ros.trials.moment import Clocks, Moment
from ashtkd_ros.trials.recorder_watch import RecorderWatch
from ashtkd_ros.trials.robot_watch import RobotWatch
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    CAMERA_BACK,
    CAMERA_FAULT,
    CAMERA_STOPPED,
    DISK_FULL,
    GNSS_BACK,
    GNSS_LOST,
    MAP_SWAPPED,
    NODE_BACK,
    NODE_SILENT,
    ODOMETRY_BACK,
    ODOMETRY_STOPPED,
    RECORDER_BACK,
    RECORDER_LOST,
)

ENDS = {  # of what lasts: its begin and its end
    CAMERA_STOPPED: CAMERA_BACK,
    CAMERA_FAULT: CAMERA_BACK,
    NODE_SILENT: NODE_BACK,
    GNSS_LOST: GNSS_BACK,
    ODOMETRY_STOPPED: ODOMETRY_BACK,
    RECORDER_LOST: RECORDER_BACK,
    DISK_FULL: RECORDER_BACK,
}


def is_end_of(end: LogEntry, begin: LogEntry) -> bool:
    """Whether one event tells the end of what the other one told the begin of."""
    same = all(end.values.get(key) == begin.values.get(key) for key in ('camera', 'fault'))
    return ENDS.get(begin.kind) == end.kind and same


class Watch:
    """`cameras`: topics of images. `recorder` and `nodes`: whether a recorder, and for each camera
    a node that answers, is to be heard of; their silence is told only then. ValueError for a
    camera that is not known."""

    def __init__(self, cameras: Iterable[str], recorder: bool = True, nodes: bool = True):
        self._clocks = Clocks()
        self._cameras = {name: CameraWatch(name, self._clocks, nodes) for name in cameras}
        self._robot = RobotWatch(self._clocks)
        self._recorder = RecorderWatch(self._clocks, recorder)
        self._on_disk: dict[str, str] = {}

    def resume(self, begun: Iterable[LogEntry], at: Moment) -> None:
        """Go on after an earlier watch of the same trial, which was killed; call it first.

        `begun`: the begins that it told and not the ends of. Their ends are then told here.
        """
        for entry in begun:
            seconds = entry.values.get('seconds')
            lasted = seconds if isinstance(seconds, (int, float)) else 0.0
            since = (entry.monotonic_ns - at.monotonic_ns) / NS_PER_S - lasted
            if entry.kind in (RECORDER_LOST, DISK_FULL):
                self._recorder.resume(since)
            elif entry.kind == GNSS_LOST:
                self._robot.fixes.resume(since)
            elif entry.kind == ODOMETRY_STOPPED:
                self._robot.odometry_messages.resume(since)
            elif (camera := entry.values.get('camera')) in self._cameras:
                self._cameras[camera].resume(entry, since)

    def image(self, camera: str, stamp_ns: int, at: Moment) -> list[LogEntry]:
        """An image arrived; `stamp_ns`: that of its header, in nanoseconds."""
        return [*self._clocks.follow(at), *self._camera(camera).image(stamp_ns, at)]

    def camera_fault(self, camera: str, fault: str, at: Moment) -> list[LogEntry]:
        """A picture was looked at, about once a second.

        `fault`: as `images.faults` tells it, such as "blurred" or "frozen"; empty: none.
        """
        return [*self._clocks.follow(at), *self._camera(camera).fault(fault, at)]

    def answer(self, camera: str, at: Moment) -> list[LogEntry]:
        """The node of a camera published a place, known or unknown."""
        return [*self._clocks.follow(at), *self._camera(camera).answer(at)]

    def node_says(self, camera: str, text: str) -> None:
        """What is wrong by the node's own diagnostics; empty: nothing. It explains a silence."""
        self._camera(camera).node_text = text

    def map_in_use(self, camera: str, location: str, version: int, at: Moment) -> list[LogEntry]:
        """~/vision_info of the node: its `database_location` and `database_version`."""
        return [*self._clocks.follow(at), *self._camera(camera).map_in_use(location, version, at)]

    def map_on_disk(self, folder: str, state: str, at: Moment) -> list[LogEntry]:
        """The map in a folder, looked at now and then; `state`: its checksum, empty: it is gone.

        The first state is what later ones are compared with.
        """
        entries, before = self._clocks.follow(at), self._on_disk.setdefault(folder, state)
        if state == before:
            return entries
        self._on_disk[folder] = state
        text = f'another map lies in {folder} now; a node takes it when it is loaded anew'
        text = text if state else f'the map in {folder} is gone from the disk'
        values = {'map': folder, 'checksum': state, 'before': before}
        return [*entries, at.entry(MAP_SWAPPED, text, **values)]

    def fix(
        self, lat: float, lon: float, status: int, accuracy_m: float, at: Moment
    ) -> list[LogEntry]:
        """A NavSatFix: degrees, `status.status` (negative: no fix), and one standard deviation of
        the horizontal position in metres, NaN if it is not known."""
        entries = self._clocks.follow(at)
        if status < 0 or not (abs(lat) <= 90.0 and abs(lon) <= 180.0):
            return entries  # `tick` tells how long there was none
        return [*entries, *self._robot.fix(lat, lon, accuracy_m, at)]

    def odometry(self, x: float, y: float, at: Moment) -> list[LogEntry]:
        """The pose of an Odometry, metres."""
        entries = self._clocks.follow(at)
        if not (math.isfinite(x) and math.isfinite(y)):
            return entries
        return [*entries, *self._robot.odometry(x, y, at)]

    def recorder(
        self, state: str, lost: int, written: int, free_mb: float | None, at: Moment
    ) -> list[LogEntry]:
        """The recorder's diagnostics: its state, messages lost and bytes written so far, and the
        free megabytes of its disk, None if it does not tell."""
        entries = self._clocks.follow(at)
        return [*entries, *self._recorder.status(state, lost, written, free_mb, at)]

    def tick(self, at: Moment) -> list[LogEntry]:
        """Time passes."""
        entries = self._clocks.follow(at)
        for watch in (*self._cameras.values(), self._robot, self._recorder):
            entries += watch.tick(at)
        return entries

    @property
    def rates_hz(self) -> dict[str, float]:
        """Images per second by camera, as they usually arrive; 0: none, or not known yet."""
        return {name: camera.images.rate_hz for name, camera in self._cameras.items()}

    def _camera(self, name: str) -> CameraWatch:
        if name not in self._cameras:
            raise ValueError(f'no camera is called {name}')
        return self._cameras[name]
