# SPDX-License-Identifier: Apache-2.0
"""Marks of the operator, by topic and by service, written down and acknowledged."""

from __future__ import annotations

from functools import partial

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification

from ashtkd_ros.ros.trial.log_writing import LogWriter
from ashtkd_ros.text import one_line
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import MARK_KINDS, MARK_SERVICE, MARK_TOPIC, MARKED_TOPIC

_PATIENCE_S = 1.0  # for the disk, while a service is answered
_DEPTH = 50


class Marks:
    """`count`: how many are on the disk. A mark holds the place that was the last answer."""

    def __init__(self, node: Node, trial: TrialFolder, writer: LogWriter):
        self._node, self._trial, self._writer = node, trial, writer
        self._place: dict[str, object] = {}
        self.count = 0
        self._marked = node.create_publisher(String, MARKED_TOPIC, _DEPTH)
        node.create_subscription(String, MARK_TOPIC, self._by_topic, _DEPTH)
        for kind in MARK_KINDS:
            name = MARK_SERVICE.format(kind=kind)
            node.create_service(Trigger, name, partial(self._by_service, kind))

    def place(self, message: Classification) -> None:
        """The answer to the last image."""
        best = message.results[0] if message.results else None
        self._place = {'place': best.class_id, 'confidence': round(best.score, 4)} if best else {}

    def _by_topic(self, message: String) -> None:
        kind, _, text = message.data.strip().partition(' ')
        if kind not in MARK_KINDS:
            self._node.get_logger().warning(
                f'"{one_line(kind)[:40]}" is no mark; write {", ".join(MARK_KINDS)} and a text'
            )
            return
        self._mark(kind, text.strip())

    def _by_service(
        self, kind: str, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        on_disk, said = self._mark(kind, ''), f'marked: {kind}'
        response.success = on_disk.wait(_PATIENCE_S)
        why = self._writer.fault or 'the disk has not answered yet'
        response.message = said if response.success else f'{said}, but not on the disk yet: {why}'
        return response

    def _mark(self, kind: str, text: str):
        entry = LogEntry(kind, text, values=self._place)

        def acknowledge() -> None:
            self.count += 1
            self._marked.publish(String(data=entry.to_json()))
            self._node.get_logger().info(f'marked: {kind} {one_line(text)}'.rstrip())

        return self._writer.write(self._trial.marks, entry, acknowledge)
