# SPDX-License-Identifier: Apache-2.0
"""A folder of images → rosbag2: images, odometry, tf and GNSS fixes, without a ROS install."""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from rosbags.interfaces import (
    Nodetype,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer
from rosbags.typesys import Stores, get_typestore
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import cannot_write, resolved, whole_folder
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose import Pose, interpolate_pose
from ashtkd_ros.images.picture_decoding import decode_picture
from ashtkd_ros.stamps import NS_PER_S, ns_to_s, split_ns
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.labels import LABELS

STORAGES = ('sqlite3', 'mcap')
COMPRESSIONS = ('none', 'message', 'file', 'storage')
START_S = 1_700_000_000  # 14 November 2023: a stamp of zero means "unset" in ROS
IMAGE, COMPRESSED = '/camera/image_raw', '/camera/image_raw/compressed'
ODOM, FIX, TF, TF_STATIC = '/odom', '/fix', '/tf', '/tf_static'
BODY_FRAME, CAMERA_FRAME = 'base_link', 'camera_optical'

_TYPES = {
    IMAGE: 'sensor_msgs/msg/Image',
    COMPRESSED: 'sensor_msgs/msg/CompressedImage',
    ODOM: 'nav_msgs/msg/Odometry',
    FIX: 'sensor_msgs/msg/NavSatFix',
    TF: 'tf2_msgs/msg/TFMessage',
    TF_STATIC: 'tf2_msgs/msg/TFMessage',
}
_RECEIVED_AFTER_NS = 1_000_000
_LONGEST_GAP_NS = 10 * NS_PER_S  # a robot that was switched off in between drove no straight line
# REP-103: the optical frame looks along z, its x points right; the body looks along x, y left.
_OPTICAL = {'x': -0.5, 'y': 0.5, 'z': -0.5, 'w': 0.5}
_NO_LIMIT = QosTime(0, 0)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _NO_LIMIT,
    _NO_LIMIT,
    QosLiveliness.AUTOMATIC,
    _NO_LIMIT,
    False,
)


@dataclass(frozen=True)
class BagOptions:
    """How a bag is written.

    `storage`: one of STORAGES. `compression`: one of COMPRESSIONS; "storage" compresses within an
    MCAP file. `jpeg`: write the bytes of JPEG and PNG files instead of pixels. `start_s`: seconds
    that are added to every stamp; None: 0, or START_S if a stamp would be zero. `hz`: images per
    second; None: by the frames' own stamps. `odom_hz`: poses per second. `odom_frame`: frame
    of the poses. `tf`: write /tf and /tf_static as well. `origin`: where x = y = z = 0 lies
    on earth; if it is given, /fix is written as well.
    """

    storage: str = 'sqlite3'
    compression: str = 'none'
    jpeg: bool = False
    start_s: float | None = None
    hz: float | None = None
    odom_hz: float = 20.0
    odom_frame: str = 'odom'
    tf: bool = False
    origin: GeoOrigin | None = None


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def make_bag(
    frames: Sequence[Frame], out: Path, options: BagOptions | None = None
) -> dict[str, int]:
    """Write `frames` as the new rosbag2 folder `out`; the number of messages of every topic.

    One frame is in memory at a time. If frames have labels, labels.csv is written into `out`
    (`frame,label`; frames numbered from 0). Raises VprError, and leaves no `out`, if it exists, if
    a stamp or an image cannot be used, or if the disk is full.
    """
    options = options or BagOptions()
    out = resolved(out)  # "." has no name of its own
    if os.path.lexists(out):
        raise VprError(f'{out}: exists already; give another name or remove it')
    if not _is_text(out.name):  # it becomes a name of files in metadata.yaml, which is UTF-8
        raise VprError(f'{out}: its name is not UTF-8 text; give another name')
    if options.compression == 'storage' and options.storage != 'mcap':
        raise VprError('--compression storage needs --storage mcap; give both')
    if (options.tf or options.origin) and not any(f.pose for f in frames):
        raise VprError(
            'the images have no poses, so there is no tf and no fix to write; '
            'leave out --tf and --origin'
        )
    stamps = stamps_ns(frames, options)
    try:
        with whole_folder(out) as new:
            return _write(frames, stamps, new, options)
    except (OSError, sqlite3.Error) as error:
        raise cannot_write(out, error, 'the bag') from error


def stamps_ns(frames: Sequence[Frame], options: BagOptions) -> list[int]:
    """Header stamp of every frame in nanoseconds, rounded once; VprError if ROS has none such."""
    if options.hz:
        seconds = [i / Fraction(options.hz) for i in range(len(frames))]
    else:
        seconds = [Fraction(f.stamp) for f in frames]
    start = options.start_s
    if start is None:
        start = START_S if any(s == 0 for s in seconds) else 0
    stamps = [round((s + Fraction(start)) * NS_PER_S) for s in seconds]
    for frame, stamp in zip(frames, stamps, strict=True):
        if not 0 <= stamp < 2**31 * NS_PER_S:
            raise VprError(
                f'{frame.image}: stamp {_seconds(stamp)} s is not possible in ROS (0 to 2^31 s); '
                'correct it, or give another --start'
            )
    return stamps


def _seconds(stamp: int) -> str:
    return f'{ns_to_s(stamp):.3f}' if abs(stamp) < 10**25 else 'of more than 15 digits'


def message(store: Any, kind: str, **values: Any) -> Any:
    """A message of type `kind` of a rosbags typestore; fields that `values` lacks are zero.

    In `values` a dict stands for a message, a list of dicts for a sequence of messages.
    """
    fields = store.fielddefs[kind][1]
    unknown = values.keys() - {name for name, _ in fields}
    if unknown:
        raise KeyError(f'{kind} has no field {", ".join(sorted(unknown))}')
    return store.types[kind](**{n: _field(store, *f, values.get(n)) for n, f in fields})


def _field(store: Any, node: Nodetype, detail: Any, value: Any) -> Any:
    if node == Nodetype.NAME:
        return message(store, detail, **(value or {}))
    if node == Nodetype.BASE:
        zero = '' if detail[0] == 'string' else np.zeros(1, detail[0])[0].item()
        return zero if value is None else value
    (item_node, item), length = detail
    if item_node == Nodetype.BASE and item[0] != 'string':
        if value is None:
            return np.zeros(length if node == Nodetype.ARRAY else 0, item[0])
        return np.asarray(value, item[0])
    return [_field(store, item_node, item, v) for v in value or []]


def header(stamp: int, frame_id: str) -> dict[str, Any]:
    """Values for `message` of a std_msgs/Header; stamp in nanoseconds."""
    sec, nanosec = split_ns(stamp)
    return {'stamp': {'sec': sec, 'nanosec': nanosec}, 'frame_id': frame_id}


def _write(
    frames: Sequence[Frame], stamps: Sequence[int], folder: Path, options: BagOptions
) -> dict[str, int]:
    plugin = StoragePlugin[options.storage.upper()]
    # Version 8: Humble reads its QoS profiles, Jazzy's own version 9 it does not.
    writer = _Writer(folder, version=8, storage_plugin=plugin)
    writer.set_compression(CompressionMode[options.compression.upper()], CompressionFormat.ZSTD)
    with writer:
        bag = _Bag(writer, options)
        bag.connect(any(f.pose for f in frames))
        if options.tf:
            bag.send_static(stamps[0])
        bar = tqdm(frames, desc=folder.name, unit='frame', delay=2, disable=None)
        before = None
        for frame, stamp in zip(bar, stamps, strict=True):
            if frame.pose is not None:
                if before is not None:
                    bag.send_between(before, (stamp, frame.pose), stamps[0])
                bag.send_pose(stamp, frame.pose)
            before = (stamp, frame.pose) if frame.pose is not None else None
            bag.send_image(stamp, frame)
    if any(f.label for f in frames):
        with (folder / LABELS).open('w', newline='', encoding='utf-8') as file:
            rows = csv.writer(file, lineterminator='\n')
            rows.writerow(('frame', 'label'))
            rows.writerows((i, f.label) for i, f in enumerate(frames))
    return bag.counts


class _QuotedPath(type(Path())):
    """A path that is quoted when it is formatted, so that it may stand in a URI."""

    def __format__(self, spec: str) -> str:
        return quote(str(self))


class _Sqlite3Writer(Sqlite3Writer):
    """rosbags puts the path into a URI without quoting, and so may write another file."""

    def __init__(self, path: Path, compression: CompressionMode):
        super().__init__(_QuotedPath(path), compression)
        self.path = Path(self.path)


class _Writer(Writer):
    """The writer of rosbags, for folders of any name."""

    STORAGE_PLUGINS = {**Writer.STORAGE_PLUGINS, StoragePlugin.SQLITE3: _Sqlite3Writer}


class _Bag:
    """An open writer, and the types of the topics."""

    def __init__(self, writer: Writer, options: BagOptions):
        self._writer, self._options = writer, options
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._connections = {}
        self.counts: dict[str, int] = {}

    def connect(self, has_poses: bool) -> None:
        """Add the topics that the options ask for."""
        tf, fix = self._options.tf, self._options.origin is not None
        wanted = {COMPRESSED if self._options.jpeg else IMAGE: True, ODOM: has_poses}
        for topic in (t for t, yes in {**wanted, FIX: fix, TF: tf, TF_STATIC: tf}.items() if yes):
            self._connections[topic] = self._writer.add_connection(
                topic,
                _TYPES[topic],
                typestore=self._store,
                offered_qos_profiles=[_LATCHED] if topic == TF_STATIC else [],
            )
            self.counts[topic] = 0

    def _send(self, topic: str, stamp: int, **values: Any) -> None:
        filled = message(self._store, _TYPES[topic], **values)
        data = self._store.serialize_cdr(filled, _TYPES[topic])
        self._writer.write(self._connections[topic], stamp + _RECEIVED_AFTER_NS, data)
        self.counts[topic] += 1

    def send_image(self, stamp: int, frame: Frame) -> None:
        """Write the image, as pixels or as the file's own bytes."""
        head = header(stamp, CAMERA_FRAME)
        if self._options.jpeg:
            data, kind = _own_bytes(frame)
            self._send(COMPRESSED, stamp, header=head, format=kind, data=data)
            return
        pixels = frame.read()
        height, width = pixels.shape[:2]
        size = {'height': height, 'width': width, 'step': 3 * width}
        self._send(IMAGE, stamp, header=head, encoding='rgb8', data=pixels.reshape(-1), **size)

    def send_pose(self, stamp: int, pose: Pose) -> None:
        """Write odometry, and tf and fix if the options ask for them."""
        place = {'x': pose.x, 'y': pose.y, 'z': pose.z}
        turn = {'x': pose.qx, 'y': pose.qy, 'z': pose.qz, 'w': pose.qw}
        head = header(stamp, self._options.odom_frame)
        within = {'pose': {'position': place, 'orientation': turn}}
        self._send(ODOM, stamp, header=head, child_frame_id=BODY_FRAME, pose=within)
        if self._options.tf:
            moves = [_transform(stamp, self._options.odom_frame, BODY_FRAME, place, turn)]
            if self._options.odom_frame != 'map':
                moves.insert(0, _transform(stamp, 'map', self._options.odom_frame))
            self._send(TF, stamp, transforms=moves)
        if self._options.origin is not None:
            enu = np.array([[pose.x, pose.y, pose.z]])
            lat, lon, alt = self._options.origin.to_geodetic(enu)[0].tolist()
            fix = {'latitude': lat, 'longitude': lon, 'altitude': alt}
            self._send(FIX, stamp, header=header(stamp, BODY_FRAME), status={'service': 1}, **fix)

    def send_between(self, a: tuple[int, Pose], b: tuple[int, Pose], first: int) -> None:
        """Write the poses between two frames, at whole periods after the time `first`."""
        if b[0] - a[0] > _LONGEST_GAP_NS:
            return
        period = max(1, round(NS_PER_S / self._options.odom_hz))
        for stamp in _ticks(first, period, a[0], b[0]):
            self.send_pose(stamp, interpolate_pose(a[1], b[1], (stamp - a[0]) / (b[0] - a[0])))

    def send_static(self, stamp: int) -> None:
        """Write where the camera is on the body: at its origin, looking forward."""
        move = _transform(stamp, BODY_FRAME, CAMERA_FRAME, rotation=_OPTICAL)
        self._send(TF_STATIC, stamp, transforms=[move])


def _ticks(first: int, period: int, after: int, before: int) -> Iterator[int]:
    return iter(range(first + ((after - first) // period + 1) * period, before, period))


def _transform(
    stamp: int, parent: str, child: str, place: dict | None = None, rotation: dict | None = None
) -> dict[str, Any]:
    move = {'translation': place or {}, 'rotation': rotation or {'w': 1.0}}
    return {'header': header(stamp, parent), 'child_frame_id': child, 'transform': move}


def _own_bytes(frame: Frame) -> tuple[np.ndarray, str]:
    """The file's bytes, uint8 (N,), and "jpeg" or "png"; VprError if it is neither."""
    try:
        data, kind = frame.image.encoded()
    except VprError:
        frame.read()  # raises the error if it is not an image
        raise
    data = np.frombuffer(data, np.uint8)
    try:
        decode_picture(data, kind, (1, 1))
    except VprError as error:
        raise VprError(f'{frame.image}: not a readable image ({error}); replace it') from error
    return data, kind
