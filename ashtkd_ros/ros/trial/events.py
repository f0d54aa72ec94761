# SPDX-License-Identifier: Apache-2.0
"""Events of a trial: said, published, written down; those of other processes are published too."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.trial.log_writing import LogWriter
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    CAMERA_STOPPED,
    CLOCK_JUMP,
    DISK_FULL,
    ENDED,
    EVENT_TOPIC,
    GOOD_NEWS,
    MESSAGES_LOST,
    PROCESS_DIED,
    RECORDER_LOST,
)
from ashtkd_ros.trials.watching import ENDS, is_end_of

# What loses data.
LOSING = (CAMERA_STOPPED, RECORDER_LOST, DISK_FULL, MESSAGES_LOST, PROCESS_DIED, CLOCK_JUMP)
_KEPT = 100
_SAME_NS = 5 * 10**9


class Events:
    """`ended`: whether the trial has ended. `count`: events so far."""

    def __init__(self, node: Node, trial: TrialFolder, writer: LogWriter):
        self._node, self._log, self._writer = node, trial.events, writer
        latched = QoSProfile(depth=_KEPT, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(String, EVENT_TOPIC, latched)
        self._seen, self._own = 0, set()
        self._lately: deque[LogEntry] = deque(maxlen=_KEPT)
        self.going_on: list[LogEntry] = []
        self.count, self.ended, self._size = 0, False, -1
        for entry in self._others():  # of a watch that died, and of the supervisor
            self._publish(entry)

    def tell(self, entries: Iterable[LogEntry]) -> None:
        """Say, publish and write down. What the recorder has told itself is not told twice."""
        for entry in entries:
            self.follow()
            near = (e for e in self._lately if e.kind == entry.kind == DISK_FULL)
            told = any(entry.monotonic_ns - e.monotonic_ns < _SAME_NS for e in near)
            if self.ended or told:
                continue
            self._own.add(_key(entry))
            self._say(entry)
            self._publish(entry)
            self._writer.write(self._log, entry)

    def follow(self) -> None:
        """Publish what other processes have written down."""
        for entry in self._others():
            if _key(entry) not in self._own:
                self._publish(entry)

    def _others(self) -> list[LogEntry]:
        with contextlib.suppress(OSError, VprError):
            size = self._log.path.stat().st_size
            if size == self._size:
                return []
            entries, _ = self._log.read()
            new, self._seen, self._size = entries[self._seen :], len(entries), size
            return new
        return []

    def _publish(self, entry: LogEntry) -> None:
        self.count += 1
        self.ended = self.ended or entry.kind == ENDED
        self._lately.append(entry)
        self.going_on = [begin for begin in self.going_on if not is_end_of(entry, begin)]
        self.going_on += [entry] if entry.kind in ENDS else []
        self._publisher.publish(String(data=entry.to_json()))

    def _say(self, entry: LogEntry) -> None:
        logger = self._node.get_logger()
        if entry.kind in LOSING:
            logger.error(entry.text)
        elif entry.kind in GOOD_NEWS:
            logger.info(entry.text)
        else:
            logger.warning(entry.text)
        if entry.kind in LOSING and sys.stderr.isatty():
            with contextlib.suppress(OSError, ValueError):
                print('\a', end='', file=sys.stderr, flush=True)


def _key(entry: LogEntry) -> tuple[int, str]:
    return entry.monotonic_ns, entry.kind
