# SPDX-License-Identifier: Apache-2.0
"""Rosbags of every kind: the topics in one, and their messages; what is wrong with it in a line.

The library rosbags reads the formats: ROS 2 (sqlite3, MCAP, split, compressed) and ROS 1 (.bag).
Only messages of common types are looked into, by the definitions that come with rosbags, so that
types nobody knows and bags without definitions are no obstacle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from rosbags.convert.converter import migrate_bytes
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ashtkd_ros.errors import VprError

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
TF_TYPES = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
_TF_MESSAGE = 'geometry_msgs/TransformStamped[] transforms'  # not among rosbags' of ROS 1
_SQLITE_RECOVER = '"sqlite3 FILE .recover" saves what there is'
_ZSTD = b'\x28\xb5\x2f\xfd'
_STORAGE = ('.db3', '.mcap')
_FILES = (*_STORAGE, '.bag')
_SCRATCH = 'ashtkd_ros_bag_'


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: how many messages of which type, and how many a second."""

    name: str
    type: str
    count: int
    hz: float

    def __str__(self) -> str:
        return f'{self.name} ({self.type}, {self.count} messages, {self.hz:.1f} Hz)'


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag, damaged ones included, rather than a folder of images."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or bool(_storage_files(path))
    return path.suffix in _FILES


def _storage_files(folder: Path) -> list[Path]:
    endings = (*_STORAGE, *(f'{s}.zstd' for s in _STORAGE))
    return sorted(p for p in folder.iterdir() if p.name.endswith(endings))


class Bag:
    """An open bag; VprError, here and while reading, for one that is missing or damaged."""

    def __init__(self, path: Path):
        self.path = Path(path)
        _check(self.path)
        self.is_ros1 = self.path.suffix == '.bag' and self.path.is_file()
        self._types = get_typestore(Stores.ROS1_NOETIC if self.is_ros1 else Stores.ROS2_JAZZY)
        if self.is_ros1:
            for name in TF_TYPES:
                self._types.register(get_types_from_msg(_TF_MESSAGE, name))
        packed = self.path.is_dir() and any(self.path.glob('*.zstd'))
        with self._readable(), _scratch() if packed else contextlib.nullcontext():
            self._reader = (Ros1Reader if self.is_ros1 else Ros2Reader)(self.path)
            self._reader.open()
        with self._readable():
            self.start_s, self.end_s = (
                ns * 1e-9 for ns in (self._reader.start_time, self._reader.end_time)
            )
            seconds = max(self._reader.duration, 1) * 1e-9
            self.topics = {
                name: Topic(name, info.msgtype or 'several types', info.msgcount, rate)
                for name, info in sorted(self._reader.topics.items())
                for rate in [max(info.msgcount - 1, 0) / seconds]
            }
            self.is_compressed = (
                not self.is_ros1 and self._reader.storage.metadata.compression_mode == 'file'
            )

    @property
    def in_order(self) -> bool:
        """Whether receive times never go back from one file of the bag to the next."""
        parts = [] if self.is_ros1 else getattr(self._reader.storage, 'storages', [])
        return all(a.metadata.end_time <= b.metadata.start_time + 1 for a, b in pairwise(parts))

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

        `lenient`: a message that is damaged is None instead of a VprError.
        """
        for name, msgtype, received, data in self._raw(topics, start, stop):
            try:
                message = self._parse(name, msgtype, received, data)
            except VprError:
                if not lenient:
                    raise
                message = None
            yield name, received, message

    def message(self, topic: str, received_ns: int, nth: int = 0) -> object:
        """Of the messages received at a time in ns the `nth`, from 0; VprError without one."""
        found = self.messages([topic], received_ns, received_ns + 1)
        for _, _, message in islice(found, nth, None):
            return message
        raise VprError(f'{self.path}: no message on {topic} came at {received_ns * 1e-9:.3f}')

    def serialized(self, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, receive time in ns, CDR bytes as ROS 2 publishes them) as recorded."""
        ros2, cache = get_typestore(Stores.ROS2_JAZZY), {}
        for name, kind, received, data in self._raw(topics, None, None):
            if self.is_ros1:  # whose headers have a field more
                with self._readable():
                    data = migrate_bytes(
                        self._types, ros2, kind, kind, cache, data, src_is2=False, dst_is2=True
                    )
            yield name, received, bytes(data)

    def _raw(self, topics, start, stop) -> Iterator[tuple[str, str, int, bytes]]:
        with self._readable():
            wanted = [c for c in self._reader.connections if c.topic in topics]
            found = self._reader.messages(connections=wanted, start=start, stop=stop)
        while wanted:  # all connections' messages come where none is named
            with self._readable():
                item = next(found, None)
            if item is None:
                break
            connection, received, data = item
            yield connection.topic, connection.msgtype, received, data

    def _parse(self, topic: str, msgtype: str, received: int, data: bytes) -> object:
        parse = self._types.deserialize_ros1 if self.is_ros1 else self._types.deserialize_cdr
        try:
            return parse(data, msgtype)
        except Exception as error:  # what a damaged message makes of the reader
            why = 'is damaged; take another topic, or mend the bag'
            if bytes(data[:4]) == _ZSTD:
                why = "is compressed, which only the bag's metadata.yaml tells; name its folder"
            raise VprError(
                f'{self.path}: a message on {topic}, received at {received * 1e-9:.3f}, {why}'
            ) from error

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Whatever a foreign or damaged file makes of the reader becomes one line."""
        try:
            yield
        except VprError:
            raise
        except Exception as error:
            raise VprError(f'{self.path}: {_explain(error)}') from error


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """The reader unpacks into a folder that is gone afterwards, whatever happens.

    The reader has its files open then, so their data lasts as long as it. What a kill left while
    unpacking is removed by the next one: nobody holds its lock.
    """
    place = tempfile.gettempdir()
    for old in Path(place).glob(f'{_SCRATCH}*'):
        with contextlib.suppress(OSError), _locked(old):
            shutil.rmtree(old, ignore_errors=True)
    own, before = tempfile.mkdtemp(prefix=_SCRATCH), tempfile.tempdir
    try:
        with _locked(own):
            tempfile.tempdir = own
            yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder; OSError where another process does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _check(path: Path) -> None:
    if not path.exists():
        raise VprError(f'{path}: no such bag')
    if path.is_dir():
        files = _storage_files(path)
        if (path / 'metadata.yaml').is_file():
            _check_text(path)
            for file in files:
                _check_whole(file)
            return
        if files:
            kind = 'mcap' if '.mcap' in files[0].name else 'sqlite3'
            raise VprError(
                f'{path}: metadata.yaml is missing (the recorder was killed?); make it with '
                f'"ros2 bag reindex -s {kind} {path}", or name {files[0].name} itself'
            )
        raise VprError(f'{path}: is no bag; one holds metadata.yaml and .db3 or .mcap files')
    if path.suffix not in _FILES:
        raise VprError(f'{path}: is no bag; a bag is a folder, or a .db3, .mcap or .bag file')
    _check_whole(path)


def _check_text(folder: Path) -> None:
    """VprError where metadata.yaml is no text; the reader's own error would not name it."""
    try:
        (folder / 'metadata.yaml').read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise VprError(f'{folder}: {_explain(ValueError("metadata is no UTF-8 text"))}') from error
    except OSError as error:
        raise VprError(f'{folder}: {_explain(error)}') from error


def _check_whole(file: Path) -> None:
    """VprError for a sqlite3 file shorter than its own count of pages: what lacks reads as 0."""
    if file.suffix != '.db3':
        return
    try:
        with file.open('rb') as opened:
            head = opened.read(100)
        size = file.stat().st_size
    except OSError as error:
        raise VprError(f'{file}: {_explain(error)}') from error
    if len(head) == 100 and head.startswith(b'SQLite format 3'):
        page = int.from_bytes(head[16:18], 'big')
        pages = int.from_bytes(head[28:32], 'big')
        needed = (65536 if page == 1 else page) * pages
        counted = head[24:28] == head[92:96]  # old writers leave the count as it was
        if counted and size < needed:
            raise VprError(f'{file}: is cut off ({size} bytes of {needed}); {_SQLITE_RECOVER}')


def _explain(error: Exception) -> str:
    """What an exception of rosbags or below says to a user."""
    reason = ' '.join(str(error).split()) or type(error).__name__
    if 'end magic' in reason or 'Truncated record' in reason:
        return f'was cut off while recording ({reason}); "mcap recover" saves what there is'
    if 'malformed' in reason or 'not a database' in reason:
        return f'is damaged or cut off ({reason}); {_SQLITE_RECOVER}'
    if isinstance(error, EOFError):
        return f'is cut off ({reason}); copy it again, or record it again'
    if 'metadata' in reason.lower():
        return f'metadata.yaml is damaged ({reason}); make it anew with "ros2 bag reindex"'
    if 'index looks damaged' in reason:
        return f'was cut off while recording ({reason}); mend it with "rosbag reindex"'
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f'{tempfile.gettempdir()} has no room to unpack it (compressed in mode "file"); '
            'make room, or set TMPDIR to a larger disk'
        )
    if isinstance(error, OSError) and error.errno:
        return f'cannot be read ({error.strerror})'
    return (
        f'cannot be read as a bag ({type(error).__name__}: {reason}); is it damaged? Copy it again'
    )
