# SPDX-License-Identifier: Apache-2.0
"""The images of a rosbag in order, each with its pose; none is decoded before it is asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, Bag, Topic
from ashtkd_ros.bags.message_header import stamp_ns_of
from ashtkd_ros.bags.sqlite_journals import orphans, side_files
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry, notes_on
from ashtkd_ros.geometry.trajectory import PoseTrack
from ashtkd_ros.stamps import ns_to_s, stamp_to_ns, stamp_to_s
from ashtkd_ros.text import one_line
from ashtkd_ros.traverses.bag_image import BagImage, BagOriginals, source_name
from ashtkd_ros.traverses.camera_clock import AHEAD, Clock, with_next
from ashtkd_ros.traverses.depth_sampling import depth_of_bag
from ashtkd_ros.traverses.frame import DAMAGED, ZERO, Frame
from ashtkd_ros.traverses.pose_messages import ODOMETRY_TYPE, TfPoses, pose_reader
from ashtkd_ros.traverses.topic_choice import (
    NO_POSES,
    choose_image_topic,
    choose_pose_topic,
    no_poses,
    static_of,
)
from ashtkd_ros.traverses.traverse import (
    PLAY,
    Cursor,
    Playback,
    RecordedTraverse,
    TraverseOptions,
)

_LONG_PAUSE_S = 5.0
# REP-105: frames of these names are the same in every drive.
_FIXED_FRAMES = ('map', 'earth', 'utm')
_HEADS = 5  # images whose headers are asked for the frame of the camera


class BagTraverse(RecordedTraverse):
    """A rosbag: images of one topic, poses of another, of tf, or of a trajectory file."""

    kind, originals = 'a bag', BagOriginals
    accepted = frozenset({'image_topic', 'pose_topic', 'trajectory', 'labels', 'stamps'})
    accepted |= {'max_pose_gap_s', 'map_frame', 'camera_frame', 'camera_frame_is'}

    def __init__(self, path: Path, options: TraverseOptions):
        super().__init__(path, options)
        self.bag = Bag(self.path)
        self.notes += self.bag.notes
        self._lost: list[str] = []
        self.topic = choose_image_topic(self.bag, options.image_topic)
        self.count, self.marks = self.topic.count, {'image_topic': self.topic.name}
        self._use_received = options.stamps == 'receive'
        if options.purpose == PLAY:
            return
        self._use_poses(self._camera_frame)
        self.depth = depth_of_bag(self.bag, self.topic.name, options.bits)
        self.depth.notify_by(self.notes.append)

    @cached_property
    def _heads(self) -> list:
        """Headers of the first images with a sound stamp; VprError where none has one."""
        name, seen, found, clock = self.topic.name, False, [], Clock()
        messages = self._messages([name], 'stamps', lenient=True)
        for (_, received, message), ahead in with_next(messages, AHEAD):
            if not self._refusal(received, message, clock, ahead):
                found.append(message.header)
            if len(found) == _HEADS:
                break
            seen |= message is not None
        if found:
            return found
        if seen:
            raise VprError(
                f'{self.path}: the images on {name} have stamp zero; use --stamps receive'
            )
        for _ in self.bag.messages([name]):  # says what is wrong with the first
            pass
        raise VprError(f'{self.path}: no image can be read on {name}; name another --image-topic')

    @property
    def _camera_frame(self) -> str:
        return Counter(head.frame_id for head in self._heads).most_common(1)[0][0]

    @property
    def span(self) -> tuple[float, float]:
        """See Traverse; by the first stamp, and the length of the whole bag."""
        start = self.bag.start_s if self._use_received else stamp_to_s(self._heads[0].stamp)
        return start, start + self.bag.end_s - self.bag.start_s

    def _messages(self, topics: list[str], what: str, **options: bool) -> Iterator:
        """Those of the bag, with a progress bar."""
        total = sum(self.bag.topics[name].count for name in topics)
        messages = self.bag.messages(topics, **options)
        return iter(tqdm(messages, what, total, unit='message', delay=2, disable=None))

    def _tell_unused_flags(self, poses: str, is_tf: bool) -> None:
        for flag in ('map_frame', 'camera_frame'):
            if asdict(self.options)[flag] and poses and not is_tf:
                self.notes.append(
                    f'--{flag.replace("_", "-")} is for tf and has no effect: the poses are of '
                    f'{poses}'
                )

    def _use_poses(self, camera_frame: str) -> None:
        """Those of the file or topic that is wanted, else of the only topic that has some."""
        options = self.options
        if options.trajectory is not None:
            self._tell_unused_flags(str(options.trajectory), is_tf=False)
            self.use_trajectory()
            return
        topic = choose_pose_topic(self.bag, options.pose_topic, self.count)
        if topic is None:
            if options.pose_topic != NO_POSES:
                self.notes.append(no_poses(self.bag))
            return
        is_tf = topic.type in TfPoses.types
        self._tell_unused_flags(topic.name, is_tf)
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
            track = reader.trajectory(options.camera_frame or camera_frame)
        except VprError as error:
            text = str(error)
            raise VprError(text if str(self.path) in text else f'{self.path}: {text}') from error
        self.by_odometry = _is_by_odometry(topic, track)
        self.use_track(track, topic.name)
        self.notes += notes_on(topic.name, track.refused, track.remarks)
        self.notes += filter(None, [self.clocks_differ])

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
            self.notes.append(f'{one_line(name)}: {count} damaged messages are skipped')
        self._tell_lost()

    def _tell_lost(self) -> None:
        """What damage was met while reading, in place of what was told of it before."""
        self.notes[:] = [n for n in self.notes if n not in self._lost]
        self._lost = self.bag.lost
        self.notes += self._lost

    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, Frame]]:
        """See Traverse: all images as recorded."""
        number, first, last = 0, 0, -1
        start, clock = None, Clock()
        if after is not None:
            clock = Clock(after.newest, after.delay, after.back)
            if self.bag.in_order:
                start, number = after.received_ns, after.first
        messages = self.bag.messages([self.topic.name], start, lenient=True)
        for (_, received, message), ahead in with_next(messages, AHEAD):
            first, last = (first, last) if received == last else (number, received)
            if after is None or number > after.number:
                refusal = self._refusal(received, message, clock, ahead)
                frame = self._frame(number, received, number - first, message, refusal)
                yield Cursor(number, received, first, **asdict(clock)), frame
            number += 1
        self._tell_lost()
        self.tell_unread(number)  # what a reader passes over where a file is damaged within

    def _stamp_ns(self, received: int, message) -> int:
        return received if self._use_received else stamp_to_ns(message.header.stamp)

    def _refusal(self, received: int, message, clock: Clock, ahead: Sequence[tuple]) -> str:
        """Why an image cannot be used; empty if it can."""
        if message is None:
            return DAMAGED
        stamp_ns = self._stamp_ns(received, message)
        if stamp_ns <= 0:
            return ZERO
        following = ((self._stamp_ns(r, m), r) for _, r, m in ahead if m is not None)
        times = [(ns_to_s(s), ns_to_s(r)) for s, r in following if s > 0]
        return clock.refusal(ns_to_s(stamp_ns), ns_to_s(received), times)

    def _frame(self, number: int, received: int, nth: int, message, refusal: str) -> Frame:
        header_ns = None if message is None else stamp_to_ns(message.header.stamp)
        stamp_ns = received if self._use_received or message is None else header_ns
        topic, source = self.topic.name, source_name(received, nth)
        image = BagImage(self.bag, topic, received, nth, message is None, message, self.depth)
        return self.frame(number, stamp_ns, header_ns, image, source, refusal)

    def plan(self) -> list[str]:
        """See Traverse."""
        images, *poses = super().plan()
        return [f'{images} on {self.topic.name} ({self.topic.hz:.1f} Hz)', *poses]

    def playback(self, hz: float = 0.0, compressed: bool = False) -> Playback:
        """See Traverse; the messages go out as recorded, so raw ones are never `compressed`."""
        is_compressed = self.topic.type == COMPRESSED_TYPE
        if compressed and not is_compressed:
            raise VprError(
                f'{self.path}: {self.topic.name} holds raw images, which are played as recorded; '
                'leave --compressed out'
            )
        is_folder = self.path.is_dir() and not self.bag.is_ros1
        ros2_topic = self.topic.name if is_folder else ''
        return BagPlayback(self, hz, is_compressed, ros2_topic, zero_is_unset=True)

    def describe(self) -> dict[str, str | int]:
        """See Traverse."""
        bits = {'bits': self.depth.bits} if self.depth.used else {}
        return super().describe() | bits | ({ODOMETRY_KEY: 'yes'} if self.by_odometry else {})

    def files(self) -> list[Path]:
        """See RecordedTraverse; with the journals that databases have beside them."""
        own = [self.path]
        if self.path.is_dir():
            own = sorted(f for f in self.path.iterdir() if f.is_file())
        # Of a link the journals lie where it leads.
        beside = {j for f in own for j in side_files(f) or orphans(f)[:1]} - set(own)
        return own + sorted(beside)


def _is_by_odometry(topic: Topic, track: PoseTrack) -> bool:
    odometry = topic.type == ODOMETRY_TYPE or is_odometry(track.frame) or is_odometry(topic.name)
    return odometry and track.frame not in _FIXED_FRAMES


class BagPlayback(Playback):
    """The images of a bag's topic, byte for byte, at the times of receipt."""

    def __iter__(self) -> Iterator[tuple[float, bytes]]:
        """See Playback; long pauses are announced."""
        first, last, read = None, math.inf, 0
        for i, (_, received, data) in enumerate(self._serialized()):
            first = received if first is None else first
            pause, last = ns_to_s(received - last), received
            if pause > _LONG_PAUSE_S and not self.hz:
                print_lines(f'{self.path}: a pause of {pause:.1f} s follows, as recorded')
            read = i + 1
            yield i / self.hz if self.hz else ns_to_s(received - first), data
        self.traverse.tell_unread(read)

    def stamps(self) -> Iterator[int]:
        """See Playback."""
        return (stamp_ns_of(data) for _, _, data in self._serialized())

    def _serialized(self) -> Iterator[tuple[str, int, bytes]]:
        return self.traverse.bag.serialized([self.traverse.topic.name])
