# SPDX-License-Identifier: Apache-2.0
"""What the bags of a trial hold, read once from beginning to end, one message in memory at a time.

Everything has its time of receipt as seconds since the trial began: clocks of sensors may jump.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

from tqdm import tqdm

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.stamps import s_to_ns, stamp_to_ns
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.labels import read_labels
from ashtkd_ros.trials.bag_topics import BagTopics, bag_topics
from ashtkd_ros.trials.node_status import NodeStatus, node_status
from ashtkd_ros.trials.recorded_images import RecordedImages
from ashtkd_ros.trials.recorded_tracks import RecordedTracks
from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.trial_log import LogEntry, parsed_entry

_MOST_RESULTS = 5  # of an answer that are kept
GAP_S = 1.5  # without any message: nothing was recorded
_STEADY = ('fix', 'odometry', 'poses', 'tf', 'diagnostics')  # come also without a camera


class Answer(NamedTuple):
    """The answer of a node to one image.

    `seconds`: when it was received, since the trial began; `camera`, `row`: the image, or None
    where it is not in the bag; `places`: ids, best first, none: unknown; `scores`: confidences.
    """

    stamp_ns: int
    seconds: float
    topic: str
    camera: str | None
    row: int | None
    places: tuple[int, ...]
    scores: tuple[float, ...]


class MapUse(NamedTuple):
    """The map that a node had in use from a moment on."""

    seconds: float
    topic: str
    location: str
    version: int


class Listener(Protocol):
    """Is told of each message as it comes; `camera`: see `BagTopics.images`."""

    def hear(self, kind: str, name: str, received_ns: int, message: object) -> None:
        """`kind`: field of BagTopics; `name`: the camera, else the topic."""

    def pause(self) -> None:
        """Nothing was recorded for a while."""


@dataclass
class Recording:
    """What was read.

    `bags`: paths of those that could be read; `spans`: first and last second of each; `gaps`: when
    nothing was recorded within one, as while the disk was full; `cameras`: images; `answers`,
    `statuses`, `maps`: what the nodes said; `marks`, `events`: those that were published;
    `labels`: number of the bag, number of the image in it → name of its place.
    """

    bags: list[Path] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    cameras: dict[str, RecordedImages] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    statuses: list[NodeStatus] = field(default_factory=list)
    maps: list[MapUse] = field(default_factory=list)
    tracks: RecordedTracks = field(default_factory=RecordedTracks)
    marks: list[LogEntry] = field(default_factory=list)
    events: list[LogEntry] = field(default_factory=list)
    labels: dict[tuple[int, int], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Of all cameras."""
        return sum(map(len, self.cameras.values()))

    @property
    def recorded(self) -> list[tuple[float, float]]:
        """First and last second of each part without a gap."""
        parts = []
        for first, last in self.spans:
            inside = [t for gap in self.gaps if first <= gap[0] < gap[1] <= last for t in gap]
            edges = [first, *inside, last]
            parts += zip(edges[::2], edges[1::2], strict=True)
        return parts

    @property
    def end_s(self) -> float:
        """When the last message came; 0 without one."""
        return max((end for _, end in self.spans), default=0.0)


def first_message_ns(bags: Sequence[Path]) -> int:
    """When the first message of these bags was received; 0 where none can be read."""
    for path in bags:
        with contextlib.suppress(VprError):
            bag = Bag(path)
            start = s_to_ns(bag.start_s)
            bag.close()
            if start:
                return start
    return 0


def read_bags(
    into: Recording,
    bags: Sequence[Path],
    configuration: Mapping[str, object],
    clock: TrialClock,
    listener: Listener | None = None,
) -> None:
    """Read the bags of a trial into a new recording; its notes tell what cannot be read."""
    for path in bags:
        try:
            bag = Bag(path)
        except VprError as error:
            into.notes.append(f'a recording cannot be read: {error}')
            continue
        try:
            _Reading(into, bag, bag_topics(bag, configuration), clock, listener).read()
        except VprError as error:
            into.notes.append(f'a recording is read only in part: {error}')
        finally:
            bag.close()
        _read_labels(into, path)


def _read_labels(into: Recording, path: Path) -> None:
    try:
        labels = read_labels(path, None)
    except VprError as error:
        into.notes.append(f'the names of the images are not used: {error}')
        return
    number = len(into.bags) - 1
    into.labels |= {(number, image): name for image, name in labels.items() if name}


class _Reading:
    """Reads one bag into a recording."""

    def __init__(
        self,
        recording: Recording,
        bag: Bag,
        topics: BagTopics,
        clock: TrialClock,
        listener: Listener | None,
    ):
        self._into, self._bag, self._topics, self._clock = recording, bag, topics, clock
        self._listener = listener
        self._number = len(recording.bags)
        self._damaged: Counter[str] = Counter()
        self._heard: dict[str, float] = {}  # kind → second of its last message
        self._cameras = {topic: camera for camera, topic in topics.images.items()}
        for camera, topic in topics.images.items():
            recording.cameras.setdefault(camera, RecordedImages(camera)).topics[self._number] = (
                topic
            )

    def read(self) -> None:
        """Everything."""
        into, bag = self._into, self._bag
        handlers, first, last = self._handlers(), math.inf, -math.inf
        into.bags.append(bag.path)
        if self._listener is not None and self._number:
            self._listener.pause()
        total = sum(bag.topics[name].count for name in handlers)
        messages = chain.from_iterable(
            bag.messages(list(handlers), *part, lenient=True) for part in self._clock.parts()
        )
        try:
            for topic, received, message in tqdm(
                messages, bag.path.name, total, unit='message', delay=2, disable=None
            ):
                seconds = self._clock.seconds(received)
                self._note_gap(handlers[topic][0][0], last, seconds)
                first, last = min(first, seconds), max(last, seconds)
                if message is None:
                    self._damaged[topic] += 1
                    if topic in self._cameras:
                        camera = into.cameras[self._cameras[topic]]
                        camera.add_damaged(self._number, received, seconds)
                    continue
                for kind, take in handlers[topic]:
                    take(topic, received, seconds, message)
                    self._tell(kind, topic, received, message)
        finally:
            into.spans.append((first, last) if first <= last else (0.0, 0.0))
            notes = [*bag.notes, *bag.lost]
            for name, count in self._damaged.items():
                notes.append(f'{name}: {counted(count, "damaged message")} skipped')
            into.notes += [f'{bag.path.name}: {note}' for note in dict.fromkeys(notes)]

    def _note_gap(self, kind: str, last: float, seconds: float) -> None:
        """Note that nothing came since `last`, not even what needs no camera."""
        lately = (last - self._heard.get(steady, -math.inf) <= GAP_S for steady in _STEADY)
        if GAP_S < seconds - last < math.inf and any(lately):
            self._into.gaps.append((last, seconds))
        self._heard[kind] = seconds

    def _tell(self, kind: str, topic: str, received: int, message: object) -> None:
        if self._listener is not None and kind:
            name = self._cameras.get(topic, topic)
            if kind == 'places':
                answers = self._into.answers
                name = (answers[-1].camera if answers else '') or ''
            self._listener.hear(kind, name, received, message)

    def _handlers(self) -> dict[str, list[tuple[str, Callable]]]:
        """Topic → what becomes of its messages: the kind that a listener is told, and a taker."""
        topics, found = self._topics, {}
        track, tf = self._into.tracks.add, self._into.tracks.add_tf
        for kind, names, take in (
            ('images', topics.images.values(), self._image),
            ('places', topics.places, self._place),
            ('fix', [topics.fix], self._fix),
            ('odometry', [topics.odometry], self._odometry),
            ('poses', topics.poses, lambda topic, _, at, m: track(topic, m, at)),
            ('tf', topics.tf, lambda topic, _, at, m: tf(topic, m, at)),
            ('infos', topics.infos, self._info),
            ('diagnostics', topics.diagnostics, self._diagnostics),
            ('', topics.marks, lambda *a: self._entry(self._into.marks, *a)),
            ('', topics.events, lambda *a: self._entry(self._into.events, *a)),
        ):
            for name in filter(None, names):
                found.setdefault(name, []).append((kind, take))
        return found

    def _image(self, topic: str, received: int, seconds: float, message) -> None:
        camera = self._into.cameras[self._cameras[topic]]
        stamp = stamp_to_ns(message.header.stamp)
        camera.add(self._number, stamp, received, seconds, message)
        self._into.tracks.camera_frame = self._into.tracks.camera_frame or message.header.frame_id

    def _place(self, topic: str, received: int, seconds: float, message) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        rows = ((name, c.row_of(stamp)) for name, c in self._into.cameras.items())
        camera, row = next(((n, r) for n, r in rows if r is not None), (None, None))
        places, scores = [], []
        for result in message.results[:_MOST_RESULTS]:
            if not result.class_id.isdecimal() or not 0.0 <= result.score <= 1.0:
                self._damaged[topic] += 1
                return
            places.append(int(result.class_id))
            scores.append(float(result.score))
        self._into.answers.append(
            Answer(stamp, seconds, topic, camera, row, tuple(places), tuple(scores))
        )

    def _fix(self, topic: str, received: int, seconds: float, message) -> None:
        self._into.tracks.add_fix(topic, message, seconds)

    def _odometry(self, topic: str, received: int, seconds: float, message) -> None:
        self._into.tracks.add_odometry(message, seconds)

    def _info(self, topic: str, received: int, seconds: float, message) -> None:
        use = MapUse(seconds, topic, message.database_location, message.database_version)
        self._into.maps.append(use)

    def _diagnostics(self, topic: str, received: int, seconds: float, message) -> None:
        told = (node_status(status, seconds) for status in message.status)
        self._into.statuses += [status for status in told if status is not None]

    def _entry(self, into: list[LogEntry], topic: str, received, seconds, message) -> None:
        entry = parsed_entry(message.data.encode('utf-8', 'replace'))
        if entry is not None:
            into.append(entry)
        else:
            self._damaged[topic] += 1
