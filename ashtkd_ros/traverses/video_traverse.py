# SPDX-License-Identifier: Apache-2.0
"""A video file as a traverse; stamps count from its first image, or from --video-start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ashtkd_ros.images.colour_order import to_rgb
from ashtkd_ros.images.video_reader import VideoReader
from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.traverses.frame import Frame, StoredImage
from ashtkd_ros.traverses.traverse import Cursor, Originals, RecordedTraverse, TraverseOptions


@dataclass(frozen=True)
class VideoImage(StoredImage):
    """The image of a video that has a `name`; it is never kept in memory."""

    reader: VideoReader
    name: str

    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """See StoredImage."""
        return self.reader.read(self.name), 'BGR'


class VideoOriginals(Originals):
    """The images of the video that a map names."""

    def __init__(self, description: Mapping):
        self._reader = VideoReader(description['source'], description['video_bytes'])

    def read(self, source: str) -> np.ndarray:
        """See Originals."""
        return to_rgb(self._reader.read(source), 'BGR')


class VideoTraverse(RecordedTraverse):
    """A video, with poses of a trajectory file or without."""

    kind, originals = 'a video', VideoOriginals
    for_trajectories = frozenset({'video_start', 'max_pose_gap_s', 'camera_frame_is'})
    accepted = frozenset({'trajectory', 'labels'}) | for_trajectories
    clock_advice = ': --video-start tells when a video began'

    def __init__(self, path: Path, options: TraverseOptions):
        super().__init__(path, options)
        self._reader = VideoReader(self.path)
        self.notes += filter(None, [self._reader.probe()])
        self.count, self.marks = self._reader.count, {'video_bytes': self._reader.size}
        self.use_trajectory()

    @property
    def span(self) -> tuple[float, float]:
        """See Traverse; the end is estimated."""
        start, rate = self.options.video_start, self._reader.rate
        return start, start + (self.count / rate if rate else 0.0)

    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, Frame]]:
        """See Traverse."""
        start_ns = s_to_ns(self.options.video_start)
        for seconds, name in self._reader.images():
            number, time_ns = self._reader.number, s_to_ns(seconds)
            if after is None or number > after.number:
                image = VideoImage(self._reader, name)
                yield Cursor(number), self.frame(number, start_ns + time_ns, time_ns, image, name)
        self.count = self._reader.count
        self.notes += [note for note in self._reader.notes if note not in self.notes]
