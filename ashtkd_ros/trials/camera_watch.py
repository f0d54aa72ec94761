# SPDX-License-Identifier: Apache-2.0
"""Watches one camera and the node that answers its images."""

from __future__ import annotations

from collections import deque

from ashtkd_ros.stamps import NS_PER_S
from ashtkd_ros.trials.arrivals import Arrivals
from ashtkd_ros.trials.moment import JUMP_S, Clocks, Moment, ahead
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    CAMERA_BACK,
    CAMERA_FAULT,
    CAMERA_STOPPED,
    CLOCK_JUMP,
    MAP_SWAPPED,
    NODE_BACK,
    NODE_SILENT,
)

_FAULT_S = 2.0
_FIRST_IMAGE_S = 15.0
_ANSWER_S, _FIRST_ANSWER_S = 3.0, 60.0  # of silence; a node loads its map before the first answer
_STAMPS, _FIRST_STAMPS = 200, 10


class CameraWatch:
    """`camera`: topic of its images, which all entries name. `answered`: whether a node is to
    answer them."""

    def __init__(self, camera: str, clocks: Clocks, answered: bool = True):
        self._camera, self._clocks, self._expected = camera, clocks, answered
        self.images, self._answers = Arrivals(first_s=_FIRST_IMAGE_S), Arrivals(_ANSWER_S)
        self._fault, self._fault_since, self._told = '', 0.0, ''
        self._offsets: deque[int] = deque(maxlen=_STAMPS)
        self._last_stamp = 0
        self._unanswered_since: float | None = None
        self._map: tuple[str, int] | None = None
        self.node_text = ''

    def resume(self, begin: LogEntry, since: float) -> None:
        """Go on where an earlier watch told that something had begun."""
        if begin.kind == CAMERA_STOPPED:
            self.images.resume(since)
        elif begin.kind == NODE_SILENT:
            self._answers.resume(since)
        elif begin.kind == CAMERA_FAULT:
            self._told = self._fault = str(begin.values.get('fault', ''))
            self._fault_since = since

    def image(self, stamp_ns: int, at: Moment) -> list[LogEntry]:
        """An image arrived."""
        entries, now = self._stamp(stamp_ns, at), self._clocks.awake_s
        if lost := self.images.arrived(now):
            text = f'{self._camera}: images come again after {lost:.1f} s'
            entries.append(self._entry(at, CAMERA_BACK, text, seconds=round(lost, 1)))
        if self._unanswered_since is None or lost:
            self._unanswered_since = now
        return entries

    def _stamp(self, stamp_ns: int, at: Moment) -> list[LogEntry]:
        """CLOCK_JUMP where stamps jump though the machine's clock does not.

        An image that is delivered late has a stamp far behind the clock, but no stamp is ever
        before an earlier one, nor further ahead than all the last ones, unless its clock jumped.
        """
        offset, usual = stamp_ns - at.monotonic_ns, self.images.usual_s or 0.0
        jump, back = 0.0, (stamp_ns - self._last_stamp) / NS_PER_S
        if self._last_stamp and back < -JUMP_S:
            jump = back - usual
        elif len(self._offsets) >= _FIRST_STAMPS:
            beyond = (offset - max(self._offsets)) / NS_PER_S
            jump = beyond if beyond > JUMP_S else 0.0
        if jump:
            self._offsets.clear()
        self._offsets.append(offset)
        self._last_stamp = stamp_ns
        if not jump or self._clocks.jumped_lately(jump):
            return []
        text = f'{self._camera}: stamps of the images jumped {ahead(jump)}; check its clock'
        return [self._entry(at, CLOCK_JUMP, text, clock='camera', seconds=round(jump, 3))]

    def fault(self, fault: str, at: Moment) -> list[LogEntry]:
        """A picture was looked at."""
        now = self._clocks.awake_s
        if fault and not self._fault:
            self._fault_since = now
        lasted, before, self._fault = now - self._fault_since, self._told, fault
        if fault and not before and lasted >= _FAULT_S:
            self._told = fault
            text = f'{self._camera}: the images are {fault}, for {lasted:.1f} s; check the camera'
            values = {'fault': fault, 'seconds': round(lasted, 1)}
            return [self._entry(at, CAMERA_FAULT, text, **values)]
        if not fault and before:
            self._told = ''
            text = f'{self._camera}: the images are good again; they were {before} for'
            values = {'fault': before, 'seconds': round(lasted, 1)}
            return [self._entry(at, CAMERA_BACK, f'{text} {lasted:.1f} s', **values)]
        return []

    def answer(self, at: Moment) -> list[LogEntry]:
        """The node answered one image."""
        self._unanswered_since = None
        lost = self._answers.arrived(self._clocks.awake_s)
        if not lost:
            return []
        text = f'{self._camera}: the node answers again after {lost:.1f} s'
        return [self._entry(at, NODE_BACK, text, seconds=round(lost, 1))]

    def map_in_use(self, location: str, version: int, at: Moment) -> list[LogEntry]:
        """MAP_SWAPPED where the node loaded another map, or its map anew.

        A version of 1 with the same map is a node that was started again.
        """
        before, self._map = self._map, (location, version)
        if before is None or before == self._map or (location == before[0] and version == 1):
            return []
        text = f'{self._camera}: the node has loaded the map {location} in place of {before[0]}'
        if location == before[0]:
            text = f'{self._camera}: the node has loaded the map {location} anew'
        values = {'map': location, 'before': before[0], 'version': version}
        return [self._entry(at, MAP_SWAPPED, text, **values)]

    def tick(self, at: Moment) -> list[LogEntry]:
        """What did not come."""
        now, entries = self._clocks.awake_s, []
        if self.images.stops(now):
            silence = self.images.silence(now)
            text = f'{self._camera}: no image for {silence:.1f} s; check the camera and its cable'
            entries.append(self._entry(at, CAMERA_STOPPED, text, seconds=round(silence, 1)))
        return [*entries, *self._unanswered(now, at)]

    def _unanswered(self, now: float, at: Moment) -> list[LogEntry]:
        waiting = 0.0 if self._unanswered_since is None else now - self._unanswered_since
        limit = self._answers.limit_s if self._answers.count else _FIRST_ANSWER_S
        recent = not self.images.stopped and self.images.silence(now) < waiting
        silent = self._expected and recent and waiting > limit
        if self._answers.stopped or not silent:
            return []
        self._answers.stopped = True
        text = f'{self._camera}: images come, but the node has not answered for {waiting:.1f} s'
        text += f': {self.node_text}' if self.node_text else '; see what it says'
        return [self._entry(at, NODE_SILENT, text, seconds=round(waiting, 1))]

    def _entry(self, at: Moment, kind: str, text: str, **values: object) -> LogEntry:
        return at.entry(kind, text, camera=self._camera, **values)
