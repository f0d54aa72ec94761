# SPDX-License-Identifier: Apache-2.0
"""Rosbags of every kind: their topics and messages; what is wrong with one is said in one line.

The library rosbags reads the formats: ROS 2 (sqlite3, MCAP, split, compressed) and ROS 1 (.bag).
Only messages of common types are parsed, by the definitions that come with rosbags, so that bags
with unknown types, or without definitions, can be read as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rosbags.convert.converter import migrate_bytes
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ashtkd_ros.bags.bag_names import ROS1_ENDINGS, is_bag
from ashtkd_ros.bags.channels import CDR, ROS1, Channel
from ashtkd_ros.bags.ros1 import Ros1Reader
from ashtkd_ros.bags.rosbag2 import Ros2Reader, misnamed
from ashtkd_ros.bags.unpacking import ZSTD, unpack
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import why_missing
from ashtkd_ros.stamps import ns_to_s
from ashtkd_ros.text import one_line

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
TF_TYPES = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
PLACE_TYPE, INFO_TYPE = 'vision_msgs/msg/Classification', 'vision_msgs/msg/VisionInfo'
_TF_MESSAGE = 'geometry_msgs/TransformStamped[] transforms'  # rosbags lacks it for ROS 1
VISION_TYPES = {  # what a node answers; rosbags lacks vision_msgs
    'vision_msgs/msg/ObjectHypothesis': 'string class_id\nfloat64 score',
    PLACE_TYPE: 'std_msgs/Header header\nvision_msgs/ObjectHypothesis[] results',
    INFO_TYPE: 'std_msgs/Header header\nstring method\nstring database_location\n'
    'int32 database_version',
}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: number, type and rate (Hz) of its messages."""

    name: str
    type: str
    count: int
    hz: float

    def __str__(self) -> str:
        return f'{one_line(self.name)} ({self.type}, {self.count} messages, {self.hz:.1f} Hz)'


class Bag:
    """An open bag; VprError, here and while reading, for one that is missing or damaged.

    `notes`: lines for the user, above all on what was skipped.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not os.path.exists(self.path):
            raise VprError(f'{self.path}: no such bag{why_missing(self.path)}; correct its path')
        is_folder = os.path.isdir(self.path)
        if not is_bag(self.path):
            what = 'a bag is a folder, or a .db3, .mcap or .bag file'
            if is_folder:
                with self._readable():
                    os.listdir(self.path)
                what = 'one holds metadata.yaml and .db3 or .mcap files'
            raise VprError(f'{self.path}: is not a bag; {what}{misnamed(self.path)}')
        self.is_ros1 = self.path.name.endswith(ROS1_ENDINGS) and not is_folder
        self._stores: dict[str, Any] = {}
        with self._readable():
            self._reader = (Ros1Reader if self.is_ros1 else Ros2Reader)(self.path)
        self.notes: list[str] = self._reader.notes
        self.in_order: bool = self._reader.in_order
        self.start_s, self.end_s = ns_to_s(self._reader.start), ns_to_s(self._reader.end)
        self.topics = self._topics()

    def _topics(self) -> dict[str, Topic]:
        rows: dict[str, list[Channel]] = {}
        for channel in self._reader.channels:
            rows.setdefault(channel.topic, []).append(channel)
        seconds = ns_to_s(max(self._reader.end - self._reader.start, 1))
        found = {}
        for name, channels in sorted(rows.items()):
            sound = [c for c in channels if c.encoding in (CDR, ROS1)]
            types = {c.type for c in sound} or {f'{c.type} in {c.encoding}' for c in channels}
            kind = one_line(types.pop()) if len(types) == 1 else 'several types'
            count = sum(c.count for c in sound or channels)
            found[name] = Topic(name, kind, count, max(count - 1, 0) / seconds)
        return found

    def of_type(self, *types: str) -> list[Topic]:
        """Topics of these types that hold messages."""
        return [t for t in self.topics.values() if t.type in types and t.count]

    def messages(
        self,
        topics: Sequence[str],
        start: int | None = None,
        stop: int | None = None,
        lenient: bool = False,
    ) -> Iterator[tuple[str, int, object]]:
        """(topic, receive time in ns, message) as recorded, from `start` to before `stop`.

        `lenient`: a damaged message is None instead of a VprError, and damaged parts of the file
        whose messages are not known are skipped; `lost` has notes on them.
        """
        for channel, received, data in self._raw(topics, start, stop, lenient):
            try:
                message = self._parse(channel, received, data)
            except VprError:
                if not lenient:
                    raise
                message = None
            yield channel.topic, received, message

    @property
    def lost(self) -> list[str]:
        """Notes on what lenient reading skipped until now."""
        return self._reader.lost

    def message(self, topic: str, received_ns: int, nth: int = 0) -> object:
        """The `nth` message, from 0, received at a time in ns; VprError if there is none."""
        in_that_ns = self.messages([topic], received_ns, received_ns + 1)
        for _, _, message in islice(in_that_ns, nth, None):
            return message
        raise VprError(f'{self.path}: no message on {topic} came at {ns_to_s(received_ns):.3f}')

    def serialized(self, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, receive time in ns, CDR bytes as ROS 2 publishes them) as recorded."""
        cache: dict[Any, Any] = {}
        for channel, received, data in self._raw(topics):
            if channel.encoding == ROS1:  # its headers have one more field
                stores, kind = (self._store(ROS1), self._store(CDR)), channel.type
                with self._readable():
                    data = migrate_bytes(
                        *stores, kind, kind, cache, data, src_is2=False, dst_is2=True
                    )
            else:
                data = self._unpacked(channel, received, data)
            yield channel.topic, received, bytes(data)

    def _raw(
        self,
        topics: Sequence[str],
        start: int | None = None,
        stop: int | None = None,
        lenient: bool = False,
    ) -> Iterator[tuple[Channel, int, bytes]]:
        found = self._reader.messages(topics, start, stop, lenient)
        while True:
            with self._readable():
                item = next(found, None)
            if item is None:
                return
            yield item

    def _store(self, encoding: str) -> Any:
        """The message types of ROS 1 or of ROS 2."""
        if encoding not in self._stores:
            stores = {CDR: Stores.ROS2_JAZZY, ROS1: Stores.ROS1_NOETIC}
            store = self._stores[encoding] = get_typestore(stores[encoding])
            lacking = dict.fromkeys(TF_TYPES, _TF_MESSAGE) if encoding == ROS1 else VISION_TYPES
            for name, text in lacking.items():
                store.register(get_types_from_msg(text, name))
        return self._stores[encoding]

    def _parse(self, channel: Channel, received: int, data: bytes) -> object:
        store = self._store(channel.encoding)
        parse = store.deserialize_ros1 if channel.encoding == ROS1 else store.deserialize_cdr
        if channel.encoding == CDR:
            data = self._unpacked(channel, received, data)
        try:
            return parse(data, channel.type)
        except Exception as error:  # the reader raises anything for a damaged message
            raise self._damaged(channel, received) from error

    def _unpacked(self, channel: Channel, received: int, data: bytes) -> bytes:
        """The bytes of a message; in a bag that is compressed by message they are packed."""
        if data[:4] != ZSTD:
            return data
        try:
            return unpack(data)
        except ValueError as error:
            raise self._damaged(channel, received, f' ({error})') from error

    def _damaged(self, channel: Channel, received: int, why: str = '') -> VprError:
        return VprError(
            f'{self.path}: a message on {one_line(channel.topic)}, received at '
            f'{ns_to_s(received):.3f}, is damaged{why}; take another topic, or mend the bag'
        )

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn whatever the reader raises for a foreign or damaged file into one line."""
        try:
            yield
        except VprError:
            raise
        except Exception as error:
            raise VprError(f'{self.path}: {_explain(error)}') from error


def _explain(error: Exception) -> str:
    """What an exception of rosbags, or of what it uses, means to a user."""
    reason = one_line(str(error)) or type(error).__name__
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return 'TMPDIR has no room; make room, or set it to a larger disk'
    if isinstance(error, OSError):
        return f'cannot be read ({one_line(error.strerror or reason)}); copy it again'
    return f'cannot be read as a bag ({type(error).__name__}: {reason}); copy it again'
