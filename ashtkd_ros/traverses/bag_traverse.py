# SPDX-License-Identifier: Apache-2.0
"""The images of a rosbag in order, each with its pose; none is decoded before it is asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.bags.bag import Bag, is_bag
from ashtkd_ros.bags.rosbag2 import misnamed
from ashtkd_ros.bags.sqlite_journals import orphans, side_files
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.tables import is_whole, read_rows
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry, notes_on
from ashtkd_ros.geometry.tf_tree import facing
from ashtkd_ros.geometry.trajectory import PoseTrack, read_tum
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.message_decoding import ImageError, compressed_to_array, image_to_array
from ashtkd_ros.stamps import ns_to_s, stamp_to_ns, stamp_to_s
from ashtkd_ros.text import one_line
from ashtkd_ros.traverses.depth_sampling import depth_of_bag
from ashtkd_ros.traverses.pose_messages import ODOMETRY_TYPE, TfPoses, pose_reader
from ashtkd_ros.traverses.topic_choice import (
    NO_POSES,
    choose_image_topic,
    choose_pose_topic,
    static_of,
)
from ashtkd_ros.traverses.traverse import (
    Cursor,
    FolderTraverse,
    Traverse,
    TraverseOptions,
    stats_of,
)

LABELS = 'labels.csv'
DAMAGED = 'damaged message'
_BACK_S = 1.0  # cameras that deliver a little out of order are no broken clock
ZERO = 'stamp zero'
BACK = f'after the stamps went back by more than {_BACK_S:.0f} s (try --stamps receive)'
UNUSABLE = (DAMAGED, ZERO, BACK)


@dataclass(frozen=True)
class BagFrame:
    """One image of a bag, not yet decoded; as `sources.Frame`.

    `number` counts the bag's images, `nth` those that were received at the same time;
    `refusal` says why there is no pose, or, one of UNUSABLE, why the image is of no use at all;
    `geo`: latitude and longitude in degrees; `header_ns`: stamp of the message's own header,
    None where it is damaged. `message` is dropped by `light`; the image is then read from the bag.
    `depth` of the bag's images, where these have values of 16 bits.
    """

    bag: Bag = field(repr=False)
    topic: str
    number: int
    received_ns: int
    nth: int
    stamp: float
    order: int
    pose: Pose | None = None
    refusal: str = ''
    geo: tuple[float, float] | None = None
    label: str = ''
    header_ns: int | None = None
    message: object = field(default=None, repr=False, compare=False)
    depth: BitDepth | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What a report calls the frame."""
        return f'image {self.number}'

    def light(self) -> BagFrame:
        """The frame without the image's bytes."""
        return replace(self, message=None)

    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """The image, uint8 (H, W, 3) or (H, W), and its order: RGB, BGR or GREY.

        A JPEG may come smaller, but not below `at_least` (height, width). ImageError where the
        message holds none.
        """
        if self.refusal == DAMAGED:
            raise ImageError(DAMAGED, f'{self.name} is damaged')
        message = self.message
        if message is None:
            message = self.bag.message(self.topic, self.received_ns, self.nth)
        return decode(message, at_least, self.depth)

    def read(self) -> np.ndarray:
        """The image, uint8 (H, W, 3), RGB."""
        return to_rgb(*self.pixels())


def decode(
    message: object, at_least: tuple[int, int] | None = None, depth: BitDepth | None = None
) -> tuple[np.ndarray, str]:
    """Image or CompressedImage message → uint8 pixels and their order."""
    if hasattr(message, 'encoding'):
        return image_to_array(message, depth)
    return compressed_to_array(message, at_least, depth)


def source_name(received_ns: int, nth: int) -> str:
    """What places.csv names an image by: when it was received, in ns; 5#2 is the third at 5."""
    return f'{received_ns}#{nth}' if nth else str(received_ns)


def parse_source(name: str) -> tuple[int, int]:
    """Receive time in ns and number among the images received then."""
    received, _, nth = name.partition('#')
    return int(received), int(nth or 0)


def to_rgb(pixels: np.ndarray, order: str) -> np.ndarray:
    """uint8 (H, W, 3) in `order` or (H, W) → (H, W, 3) RGB."""
    codes = {'BGR': cv2.COLOR_BGR2RGB, 'GREY': cv2.COLOR_GRAY2RGB}
    return cv2.cvtColor(pixels, codes[order]) if order in codes else np.ascontiguousarray(pixels)


@dataclass
class Clock:
    """The camera's clock, in seconds, as far as images have come.

    `newest` stamp, by which `delay` it was received later; `back`: the clock jumped back, and no
    image since came with about that delay, so that stamps mean other moments than before.
    """

    newest: float = -math.inf
    delay: float = 0.0
    back: bool = False

    def refuses(self, stamp: float, received_s: float) -> bool:
        """Take the next image's stamp; whether it is of no use."""
        delay = received_s - stamp
        still = self.back and abs(delay - self.delay) > _BACK_S
        self.back = still or stamp < self.newest - _BACK_S
        if not self.back and stamp > self.newest:
            self.newest, self.delay = stamp, delay
        return self.back


class BagTraverse:
    """A rosbag: images of one topic, poses of another, of tf, or of a trajectory file."""

    def __init__(self, path: Path, options: TraverseOptions):
        self.path, self.options, self.notes = Path(path), options, []
        self.bag = Bag(self.path)
        self.notes += self.bag.notes
        self._lost: list[str] = []
        self.topic = choose_image_topic(self.bag, options.image_topic)
        self.count = self.topic.count
        self._use_received = options.stamps == 'receive'
        first = self._first()
        start = self.bag.start_s if self._use_received else stamp_to_s(first.stamp)
        self.span = start, start + self.bag.end_s - self.bag.start_s
        self.by_odometry = False
        self.track = track = self._read_trajectory(first)
        self.has_poses = track is not None
        self.frame_id = track.frame if track else 'map'
        self.origin = getattr(track, 'origin', None)
        self._labels = _read_labels(self.path, options.labels)
        self.depth = depth_of_bag(self.bag, self.topic.name, options.bits)
        self.depth.tell_to(self.notes.append)

    def _first(self):
        """Header of the first image with a stamp; VprError where none has one."""
        name, seen = self.topic.name, False
        for _, _, message in self._messages([name], 'stamps', lenient=True):
            if message is not None:
                if self._use_received or stamp_to_s(message.header.stamp) > 0:
                    return message.header
                seen = True
        if seen:
            raise VprError(
                f'{self.path}: the images on {name} have stamp zero; use --stamps receive'
            )
        for _ in self.bag.messages([name]):  # says what is wrong with the first
            pass
        raise VprError(f'{self.path}: no image can be read on {name}')

    def _messages(self, topics: list[str], what: str, **options: bool) -> Iterator:
        """Those of the bag, with a progress bar."""
        total = sum(self.bag.topics[name].count for name in topics)
        found = self.bag.messages(topics, **options)
        return iter(tqdm(found, what, total, unit='message', delay=2, disable=None))

    def _read_trajectory(self, first) -> PoseTrack | None:
        options, topic = self.options, None
        if options.trajectory is None:
            topic = choose_pose_topic(self.bag, options.pose_topic, self.count)
        self.poses = str(options.trajectory or (topic.name if topic else ''))
        is_tf = topic is not None and topic.type in TfPoses.types
        for flag in ('map_frame', 'camera_frame'):
            if getattr(options, flag) and self.poses and not is_tf:
                self.notes.append(
                    f'--{flag.replace("_", "-")} is for tf and has no effect: the poses are of '
                    f'{self.poses}'
                )
        if options.trajectory is not None:
            track = read_tum(options.trajectory).checked()
            track = facing(track, '', options.camera_frame_is)
            self.notes += notes_on(self.poses, track.refused, track.remarks)
            return track
        if topic is None:
            if options.pose_topic != NO_POSES:
                self.notes.append('no topic with poses: the places have none')
            return None
        reader = pose_reader(
            topic.type,
            self._use_received,
            options.map_frame,
            options.origin,
            camera_frame_is=options.camera_frame_is,
        )
        topics = [topic.name, *(static_of(self.bag, topic) if is_tf else [])]
        try:
            self._read_poses(topics, reader)
            track = reader.trajectory(options.camera_frame or first.frame_id)
        except VprError as error:
            text = str(error)
            raise VprError(text if str(self.path) in text else f'{self.path}: {text}') from error
        # REP-105: frames of these names are the same in every drive.
        fixed = track.frame in ('map', 'earth', 'utm')
        self.by_odometry = not fixed and (
            topic.type == ODOMETRY_TYPE or is_odometry(track.frame) or is_odometry(topic.name)
        )
        self.notes += notes_on(topic.name, track.refused, track.remarks)
        return track

    def _read_poses(self, topics: list[str], reader) -> None:
        """Give all sound messages to the reader; VprError where there is none."""
        sound, damaged = 0, Counter()
        for name, received, message in self._messages(topics, 'poses', lenient=True):
            if message is None:
                damaged[name] += 1
            else:
                reader.add(name, message, ns_to_s(received))
                sound += 1
        if not sound:
            for _ in self.bag.messages(topics):  # says what is wrong with the first
                pass
        for name, count in damaged.items():
            self.notes.append(f'{one_line(name)}: {count} damaged messages are passed over')
        self._tell_lost()

    def _tell_lost(self) -> None:
        """What damage was met while reading, in place of what was told of it before."""
        self.notes[:] = [n for n in self.notes if n not in self._lost]
        self._lost = self.bag.lost
        self.notes += self._lost

    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, BagFrame]]:
        """All images as recorded, or those after a frame that was seen before."""
        number, first, last = 0, 0, -1
        start, clock = None, Clock()
        if after is not None:
            clock = Clock(after.newest, after.delay, after.back)
            if self.bag.in_order:
                start, number = after.received_ns, after.first
        for _, received, message in self.bag.messages([self.topic.name], start, lenient=True):
            first, last = (first, last) if received == last else (number, received)
            if after is None or number > after.number:
                frame = self._frame(number, received, number - first, message, clock)
                yield Cursor(number, received, first, **asdict(clock)), frame
            number += 1
        self._tell_lost()
        note = f'{self.count - number} images of {self.count} cannot be read'
        if self._labels:
            note += f'; {LABELS} counts the others, so that its names may be of other images'
        # What a reader passes over where a file is damaged within.
        if number < self.count and note not in self.notes:
            self.notes.append(note)

    def _frame(self, number: int, received: int, nth: int, message, clock: Clock) -> BagFrame:
        use_received = self._use_received or message is None
        stamp = ns_to_s(received) if use_received else stamp_to_s(message.header.stamp)
        pose, refusal, geo = None, '', None
        if message is None:
            refusal = DAMAGED
        elif stamp <= 0:
            refusal = ZERO
        elif clock.refuses(stamp, ns_to_s(received)):
            refusal = BACK
        elif self.track is not None:
            pose, refusal = self.track.at(stamp, self.options.max_pose_gap_s)
            geo = self.track.geo_at(stamp) if pose is not None else None
        label = self._labels.get(number, '')
        # A place named by a number counts frames along the route, as in index.csv.
        order = int(label) if is_whole(label) else number
        return BagFrame(
            self.bag,
            self.topic.name,
            number,
            received,
            nth,
            stamp,
            order,
            pose,
            refusal,
            geo,
            label,
            None if message is None else stamp_to_ns(message.header.stamp),
            message,
            self.depth,
        )

    def source_of(self, frame: BagFrame) -> str:
        """See `source_name`."""
        return source_name(frame.received_ns, frame.nth)

    def describe(self) -> dict[str, str | int]:
        """For map.yaml."""
        source, topic = str(self.path.resolve()), self.topic.name
        facts = {'source': source, 'image_topic': topic, 'poses': self.poses}
        facts |= {'bits': self.depth.bits} if self.depth.used else {}
        return facts | ({ODOMETRY_KEY: 'yes'} if self.by_odometry else {})

    def fingerprint(self) -> str:
        """Of the options, and of the files' names, sizes and times of change."""
        own = [self.path]
        if self.path.is_dir():
            own = sorted(f for f in self.path.iterdir() if f.is_file())
        # Of a link the journals lie where it leads.
        beside = {j for f in own for j in side_files(f) or orphans(f)[:1]} - set(own)
        files = own + sorted(beside)
        files += [f for f in (self.options.trajectory, self.options.labels) if f is not None]
        return sha256_of(repr((stats_of(files), self.options)).encode())


def open_traverse(path: Path, options: TraverseOptions) -> Traverse:
    """A bag or a folder of images; VprError where a path is neither."""
    path = Path(path)
    if is_bag(path):
        if options.role:
            raise VprError(f'{path}: --role is for folders with an index.csv, this is a bag')
        return BagTraverse(path, options)
    if path.is_file():
        what = 'a bag is a folder, or a .db3, .mcap or .bag file'
        raise VprError(f'{path}: is no bag; {what}{misnamed(path)}')
    given = [
        n for n in ('image_topic', 'pose_topic', 'trajectory', 'labels') if getattr(options, n)
    ]
    if given and path.is_dir():
        flag = f'--{given[0].replace("_", "-")}'
        raise VprError(f'{path}: {flag} is for bags, this is a folder')
    return FolderTraverse(path, options)


def _read_labels(bag: Path, table: Path | None) -> dict[int, str]:
    """Frame number → label."""
    if table is None:
        table = (bag if bag.is_dir() else bag.parent) / LABELS
        if not table.is_file() or not bag.is_dir():
            return {}
    labels = {}
    for line, row in read_rows(table, ('frame', 'label')):
        if not is_whole(row['frame']):
            raise VprError(f'{table}:{line}: frame is "{row["frame"][:40]}", it must be a number')
        if labels.setdefault(int(row['frame']), row['label']) != row['label']:
            raise VprError(f'{table}:{line}: frame {row["frame"]} has another label above')
    return labels
