# SPDX-License-Identifier: Apache-2.0
"""One MCAP file of a recording, as rosbag2 writes them; what is flushed outlives a kill."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mcap.writer import CompressionType, Writer

from ashtkd_ros.bags.channels import CDR
from ashtkd_ros.bags.patient_file import PatientFile
from ashtkd_ros.errors import VprError

_CHUNK = 2**22  # bytes; a large index costs memory
_SCHEMA = 'ros2msg'


class RecordedTopic(NamedTuple):
    """A topic of a recording.

    `type`: pkg/msg/Name. `definition`: as text, see MessageDefinitions; None: not known. `qos`:
    what its publishers offer, in rosbag2's YAML. `type_hash`: of the type, empty if not known.
    """

    name: str
    type: str
    definition: str | None = None
    qos: str = ''
    type_hash: str = ''


class PartContent(NamedTuple):
    """What is in a file: its name, topics by their names with numbers of messages, and the first
    and the last receive time in ns, 0 without messages."""

    name: str
    topics: dict[str, RecordedTopic]
    counts: Counter[str]
    start_ns: int = 0
    end_ns: int = 0


class McapPart:
    """A new file of a recording; OSError where it cannot be made.

    `file`: tells whether the disk takes it. `content`: what has been written.
    """

    def __init__(self, path: Path):
        check_library()
        self.file = PatientFile(path)
        self.content = PartContent(path.name, {}, Counter())
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._writer = Writer(self.file, _CHUNK, CompressionType.NONE)
        self._writer.start('ros2', 'ashtkd_ros')

    def write(self, topic: RecordedTopic, received_ns: int, data: bytes) -> None:
        """Add one message in CDR; it reaches the file with its chunk, at the latest by `flush`."""
        channel = self._channels.get(topic.name) or self._add(topic)
        self._writer.add_message(channel, received_ns, data, received_ns)
        content = self.content
        start = min(content.start_ns, received_ns) if content.counts else received_ns
        end = max(content.end_ns, received_ns)
        self.content = content._replace(start_ns=start, end_ns=end)
        content.counts[topic.name] += 1

    def _add(self, topic: RecordedTopic) -> int:
        known = topic.definition is not None
        if (schema := self._schemas.get(topic.type)) is None:
            text = (topic.definition or '').encode()
            schema = self._writer.register_schema(topic.type, _SCHEMA if known else '', text)
            self._schemas[topic.type] = schema
        about = {'offered_qos_profiles': topic.qos, 'topic_type_hash': topic.type_hash}
        self.content.topics[topic.name] = topic
        self._channels[topic.name] = self._writer.register_channel(topic.name, CDR, schema, about)
        return self._channels[topic.name]

    def flush(self) -> None:
        """Hand all messages to the kernel."""
        self._writer.flush()

    def finish(self, metadata: str) -> None:
        """End the file with its index and with rosbag2's `metadata` of it.

        It is whole when nothing waits in `file`, which stays open until then.
        """
        self._writer.flush()
        self._writer.add_metadata('rosbag2', {'serialized_metadata': metadata})
        self._writer.finish()


def check_library() -> None:
    """VprError where the library mcap is too old to write what is readable after a kill."""
    if not hasattr(Writer, 'flush'):
        raise VprError(
            'the Python package mcap is too old to record with; pip install --upgrade mcap'
        )
