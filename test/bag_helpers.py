# SPDX-License-Identifier: Apache-2.0
"""Rosbags of every kind, damaged ones too, for the tests; nothing here is shipped.

    write_bag(path, images=[(stamp, array or bytes)], poses=[(stamp, Pose)], records=[...])

writes rosbag2 folders, and ROS 1 files where `path` ends in .bag. Times are seconds. `records`
are made by image, odometry, pose_stamped, pose_covariance, transforms, fix, odd or Record.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags import rosbag1, rosbag2
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ashtkd_ros.bags.bag import VISION_TYPES
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.traverses.bag_writer import header, message
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import PLAY, Playback, TraverseOptions

DELAY_S = 0.001  # received after its header stamp
ODD = 'my_msgs/msg/Odd'
KINDS = [('sqlite3', c) for c in ('none', 'message', 'file')]  # storage and compression
KINDS += [('mcap', c) for c in ('none', 'message', 'file', 'storage')]
ENCODINGS = {(2, 'uint8'): 'mono8', (3, 'uint8'): 'rgb8', (2, 'float32'): '32FC1'}
ENCODINGS[2, 'uint16'] = '16UC1'


@dataclass(frozen=True)
class Record:
    """One message: `values` as ashtkd_ros.traverses.bag_writer.message takes them."""

    topic: str
    kind: str
    received: float
    values: dict[str, Any] = field(default_factory=dict)


def playback(path: Path, hz: float = 0.0) -> Playback:
    """A source as replay plays it."""
    return open_traverse(path, TraverseOptions(purpose=PLAY)).playback(hz)


def ns(seconds: float) -> int:
    """Nanoseconds, rounded once."""
    return round(Fraction(seconds) * 10**9)


def typestore(ros1: bool = False) -> Any:
    """The types of ROS Noetic or Humble, what a node answers, and one that nobody else knows."""
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg('string what\nint32[3] numbers\n', ODD))
    if ros1:  # rosbags' Noetic lacks it
        text = 'geometry_msgs/TransformStamped[] transforms\n'
        store.register(get_types_from_msg(text, 'tf2_msgs/msg/TFMessage'))
    else:
        for name, text in VISION_TYPES.items():
            store.register(get_types_from_msg(text, name))
    return store


def _head(stamp: float, frame_id: str) -> dict[str, Any]:
    return header(ns(stamp), frame_id)


def _received(stamp: float, received: float | None) -> float:
    return stamp + DELAY_S if received is None else received


def image(
    stamp: float,
    data: np.ndarray | bytes,
    topic: str = '/camera/image_raw',
    received: float | None = None,
    frame_id: str = 'camera_optical',
    encoding: str = '',
) -> Record:
    """Image of an array (H, W) or (H, W, 3); CompressedImage of a file's bytes."""
    head, received = _head(stamp, frame_id), _received(stamp, received)
    if isinstance(data, bytes):
        encoding = encoding or ('png' if data.startswith(b'\x89PNG') else 'jpeg')
        values = {'header': head, 'format': encoding, 'data': np.frombuffer(data, np.uint8)}
        return Record(topic, 'sensor_msgs/msg/CompressedImage', received, values)
    data = np.ascontiguousarray(data)
    values = {
        'header': head,
        'height': data.shape[0],
        'width': data.shape[1],
        'encoding': encoding or ENCODINGS[data.ndim, data.dtype.name],
        'step': data.strides[0],
        'data': data.view(np.uint8).reshape(-1),
    }
    return Record(topic, 'sensor_msgs/msg/Image', received, values)


def _pose(pose: Pose, place: str = 'position', turn: str = 'orientation') -> dict[str, Any]:
    return {
        place: {'x': pose.x, 'y': pose.y, 'z': pose.z},
        turn: {'x': pose.qx, 'y': pose.qy, 'z': pose.qz, 'w': pose.qw},
    }


def odometry(
    stamp: float,
    pose: Pose,
    topic: str = '/odom',
    received: float | None = None,
    frame_id: str = 'odom',
    child: str = 'base_link',
) -> Record:
    """nav_msgs/Odometry."""
    values = {'header': _head(stamp, frame_id), 'child_frame_id': child}
    values['pose'] = {'pose': _pose(pose)}
    return Record(topic, 'nav_msgs/msg/Odometry', _received(stamp, received), values)


def pose_stamped(
    stamp: float,
    pose: Pose,
    topic: str = '/pose',
    received: float | None = None,
    frame_id: str = 'map',
) -> Record:
    """geometry_msgs/PoseStamped."""
    values = {'header': _head(stamp, frame_id), 'pose': _pose(pose)}
    return Record(topic, 'geometry_msgs/msg/PoseStamped', _received(stamp, received), values)


def pose_covariance(
    stamp: float,
    pose: Pose,
    topic: str = '/amcl_pose',
    received: float | None = None,
    frame_id: str = 'map',
) -> Record:
    """geometry_msgs/PoseWithCovarianceStamped."""
    values = {'header': _head(stamp, frame_id), 'pose': {'pose': _pose(pose)}}
    kind = 'geometry_msgs/msg/PoseWithCovarianceStamped'
    return Record(topic, kind, _received(stamp, received), values)


def transforms(
    stamp: float,
    chain: Iterable[tuple[str, str, Pose]],
    topic: str = '/tf',
    received: float | None = None,
) -> Record:
    """One TFMessage of (parent, child, pose of the child in the parent)."""
    values = [
        {
            'header': _head(stamp, parent),
            'child_frame_id': child,
            'transform': _pose(pose, 'translation', 'rotation'),
        }
        for parent, child, pose in chain
    ]
    received = _received(stamp, received)
    return Record(topic, 'tf2_msgs/msg/TFMessage', received, {'transforms': values})


def fix(
    stamp: float,
    lat: float,
    lon: float,
    alt: float = 0.0,
    topic: str = '/fix',
    received: float | None = None,
    status: int = 0,
) -> Record:
    """sensor_msgs/NavSatFix; status -1: no fix."""
    values = {'header': _head(stamp, 'gps'), 'status': {'status': status, 'service': 1}}
    values |= {'latitude': lat, 'longitude': lon, 'altitude': alt}
    return Record(topic, 'sensor_msgs/msg/NavSatFix', _received(stamp, received), values)


def odd(stamp: float, topic: str = '/odd') -> Record:
    """A message of a type that no distribution has."""
    return Record(topic, ODD, stamp, {'what': 'odd', 'numbers': [1, 2, 3]})


def write_bag(
    path: Path,
    images: Iterable[tuple[float, np.ndarray | bytes]] = (),
    poses: Iterable[tuple[float, Pose]] = (),
    records: Iterable[Record] = (),
    *,
    image_topic: str = '/camera/image_raw',
    pose_topic: str = '/odom',
    storage: str = 'sqlite3',
    compression: str = 'none',
) -> Path:
    """Write a bag in order of receive time; its path.

    `compression`: none, message, file or storage (mcap); bz2 or lz4 where path ends in .bag.
    """
    everything = [image(s, data, image_topic) for s, data in images]
    everything += [odometry(s, pose, pose_topic) for s, pose in poses]
    everything = sorted([*everything, *records], key=lambda r: r.received)
    ros1 = path.suffix == '.bag'
    store = typestore(ros1)
    with _writer(path, storage, compression, ros1) as writer:
        connections = {}
        for r in everything:
            key = (r.topic, r.kind)
            if key not in connections:
                connections[key] = writer.add_connection(*key, typestore=store)
            made = message(store, r.kind, **r.values)
            serialise = store.serialize_ros1 if ros1 else store.serialize_cdr
            writer.write(connections[key], ns(r.received), serialise(made, r.kind))
    return path


def _writer(path: Path, storage: str, compression: str, ros1: bool) -> Any:
    if ros1:
        writer = rosbag1.Writer(path)
        if compression != 'none':
            writer.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
        return writer
    plugin = StoragePlugin[storage.upper()]
    writer = rosbag2.Writer(path, version=8, storage_plugin=plugin)
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    return writer


def split_bag(path: Path, parts: Sequence[Iterable[Record]], **options: str) -> Path:
    """A bag of several storage files under one metadata.yaml; options as of write_bag."""
    path.mkdir()
    with tempfile.TemporaryDirectory() as aside:
        whole: dict[str, Any] = {}
        for i, records in enumerate(parts):
            part = write_bag(Path(aside) / f'{path.name}_{i}', records=records, **options)
            for file in storage_files(part):
                shutil.move(file, path / file.name)
            info = metadata(part)
            whole = _joined(whole, info) if whole else info
    write_metadata(path, whole)
    return path


def _joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    counts = {t['topic_metadata']['name']: t for t in a['topics_with_message_count']}
    for topic in b['topics_with_message_count']:
        known = counts.setdefault(topic['topic_metadata']['name'], {**topic, 'message_count': 0})
        known['message_count'] += topic['message_count']
    times = [x['starting_time']['nanoseconds_since_epoch'] for x in (a, b)]
    ends = [t + x['duration']['nanoseconds'] for t, x in zip(times, (a, b), strict=True)]
    return a | {
        'relative_file_paths': a['relative_file_paths'] + b['relative_file_paths'],
        'files': a['files'] + b['files'],
        'message_count': a['message_count'] + b['message_count'],
        'topics_with_message_count': list(counts.values()),
        'starting_time': {'nanoseconds_since_epoch': min(times)},
        'duration': {'nanoseconds': max(ends) - min(times)},
    }


def metadata(bag: Path) -> dict[str, Any]:
    """What metadata.yaml says."""
    text = (bag / 'metadata.yaml').read_text(encoding='utf-8')
    return yaml.safe_load(text)['rosbag2_bagfile_information']


def write_metadata(bag: Path, values: dict[str, Any]) -> None:
    """Write metadata.yaml anew."""
    text = yaml.safe_dump({'rosbag2_bagfile_information': values})
    (bag / 'metadata.yaml').write_text(text, encoding='utf-8')


def make_humble(bag: Path) -> Path:
    """Turn an uncompressed sqlite3 bag into one as Humble writes it: no message definitions."""
    for file in storage_files(bag):
        with contextlib.closing(sqlite3.connect(file)) as base, base:
            base.execute('DROP TABLE message_definitions')
            base.execute('ALTER TABLE topics DROP COLUMN type_description_hash')
            base.execute("UPDATE schema SET schema_version = 3, ros_distro = 'humble'")
            base.execute('DELETE FROM metadata')
    values = metadata(bag)
    values['version'] = 5
    del values['ros_distro'], values['custom_data']
    for topic in values['topics_with_message_count']:
        del topic['topic_metadata']['type_description_hash']
    write_metadata(bag, values)
    return bag


def storage_files(bag: Path) -> list[Path]:
    """The files that hold the messages."""
    if bag.is_file():
        return [bag]
    endings = ('.db3', '.mcap', '.db3.zstd', '.mcap.zstd')
    return sorted(p for p in bag.iterdir() if p.name.endswith(endings))


def cut(bag: Path, share: float) -> Path:
    """A copy whose storage files end after `share` of their bytes."""
    copy = bag.with_name(f'{bag.stem}_cut{bag.suffix}')
    (shutil.copytree if bag.is_dir() else shutil.copy)(bag, copy)
    for file in storage_files(copy):
        with file.open('r+b') as opened:
            opened.truncate(int(file.stat().st_size * share))
    return copy


def read_back(bag: Path) -> list[tuple[str, int, Any]]:
    """Topic, receive time in nanoseconds and message of everything, by rosbags alone."""
    store = typestore(bag.suffix == '.bag')
    with AnyReader([bag], default_typestore=store) as reader:
        return [
            (c.topic, received, reader.deserialize(bytes(data), c.msgtype))
            for c, received, data in reader.messages()
        ]


def of_topic(messages: list[tuple[str, int, Any]], topic: str) -> list[Any]:
    """The messages of one topic."""
    return [m for name, _, m in messages if name == topic]


def stamp_ns(message: Any) -> int:
    """Header stamp in nanoseconds."""
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def pose_of(p: object) -> Pose:
    """Pose of a geometry_msgs Pose."""
    q = p.orientation
    return Pose(p.position.x, p.position.y, p.position.z, q.x, q.y, q.z, q.w)
