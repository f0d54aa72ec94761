# SPDX-License-Identifier: Apache-2.0
"""What all sources of images have in common: the frames of one drive in order, and facts on them.

A kind of source is a subclass of `Traverse` in a file of its own, and a line in `opening.KINDS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.tables import is_whole
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.geometry.pose_checks import notes_on
from ashtkd_ros.geometry.tf_chain import with_body_axes
from ashtkd_ros.geometry.trajectory import PoseTrack, read_tum
from ashtkd_ros.images.bit_depth import BitDepth, bits_of
from ashtkd_ros.stamps import ns_to_s
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.frame import Frame, StoredImage
from ashtkd_ros.traverses.labels import LABELS, read_labels

PLAY = 'play'
_MOST_ESTIMATED = 10**6  # images; a damaged file may claim any number


@dataclass(frozen=True)
class TraverseOptions:
    """What of a source to use.

    `role`: role of the rows of an index.csv; empty: see `purpose`. `image_topic`, `pose_topic`:
    topics of a bag; empty: the only one; "none": no poses. `trajectory`: file of poses in TUM
    format, in place of a topic. `stamps`: "header": images and poses have the times in the headers
    of their messages; "receive": the times at which these were received. `max_pose_gap_s`: an
    image has no pose if the poses before and after it are further apart than this, in seconds.
    `map_frame`, `camera_frame`: the ends of the transform in tf; empty: see `TransformTree.track`.
    `camera_frame_is`: one of camera_axes.CHOICES: whether the poses are of a lens or of a body.
    `labels`: CSV with frame,label of a recording's images; None: labels.csv in a bag's folder.
    `origin`: origin on earth of the frame for NavSatFix; None: the first fix. `bits`: for queries,
    bits in use of the map's 16 bit values; 0: unknown. `purpose`: "map" or "query" chooses rows of
    an index.csv if `role` is empty; "play": as "query", but poses and bit depth are not read.
    `video_start`: time of a video's first image, in seconds on the clock of its trajectory.
    """

    role: str = ''
    image_topic: str = ''
    pose_topic: str = ''
    trajectory: Path | None = None
    stamps: str = 'header'
    max_pose_gap_s: float = 1.5
    map_frame: str = ''
    camera_frame: str = ''
    camera_frame_is: str = 'auto'
    labels: Path | None = None
    origin: GeoOrigin | None = None
    bits: int = 0
    purpose: str = ''
    video_start: float = 0.0


@dataclass(frozen=True)
class Cursor:
    """How far a traverse has been read: image `number` is the last one seen.

    For a bag: when that image was received, the number of the first image received at the same
    time, and the state of the camera's clock: see `camera_clock.Clock`.
    """

    number: int = -1
    received_ns: int = 0
    first: int = 0
    newest: float = 0.0
    delay: float = 0.0
    back: bool = False


class Traverse(ABC):
    """The images of one drive in order; the defaults are those of a source without poses.

    Of each kind: `kind`: what errors call it; `accepted`: those options that only some kinds have
    and this one too; `for_trajectories`: those of them that have no effect without a trajectory;
    `preselected`: whether somebody has chosen the images, so that each is to become a place;
    `clock_advice`: what sets its clock; `originals`: reads the images of a traverse again by its
    description in a map.

    Of each source: `count`: number of images at most; `poses`: name of what gives the poses,
    empty: nothing; `has_poses`: whether images have poses; `frame_id`: frame of the poses, and
    `origin`: its origin on earth, if that is known; `track`: the poses over time, None if they
    are not found by time; `by_odometry`: whether the frame begins anew with each drive; `depth`:
    bits in use of 16 bit values; `notes`: lines for the user.
    """

    kind: ClassVar[str]
    originals: ClassVar[Callable[[Mapping], Originals]]
    accepted: ClassVar[frozenset[str]] = frozenset()
    for_trajectories: ClassVar[frozenset[str]] = frozenset()
    preselected: ClassVar[bool] = False
    clock_advice: ClassVar[str] = ''
    poses: str = ''
    has_poses: bool = False
    frame_id: str = 'map'
    origin: GeoOrigin | None = None
    track: PoseTrack | None = None
    by_odometry: bool = False

    def __init__(self, path: Path, options: TraverseOptions):
        self.path, self.options = Path(path), options
        self.count = 0
        self.depth = BitDepth()
        self.notes: list[str] = []

    @abstractmethod
    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, Frame]]:
        """(how far reading has come, frame) of all frames in order, or of those after a cursor."""

    @property
    @abstractmethod
    def span(self) -> tuple[float, float]:
        """From when to when there are images, in seconds."""

    @abstractmethod
    def describe(self) -> dict[str, str | int]:
        """The description in map.yaml; with it `originals` reads the images again."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes whenever what `frames` gives changes."""

    @property
    def clocks_differ(self) -> str:
        """The sentence that poses and images have no time in common; empty: they have some."""
        return ''

    @property
    def keyframe_rule(self) -> str:
        """The rule for the choice of places that "auto" means; see `KeyframeOptions`."""
        if self.preselected:
            return 'all'
        return 'distance' if self.has_poses else 'change'

    def findings(self) -> dict[str, object]:
        """What reading the frames has told so far, as `adopt` takes it."""
        depth = {name: getattr(self.depth, name) for name in ('bits', 'used', 'brighter')}
        return {'count': self.count, 'notes': list(self.notes), 'depth': depth}

    def adopt(self, findings: Mapping) -> None:
        """Know what another process found that has read the same source."""
        self.count, self.notes[:] = findings['count'], findings['notes']
        vars(self.depth).update(findings['depth'])

    def plan(self) -> list[str]:
        """What of the source is used, a line each."""
        return [f'{self.path}: {counted(self.count, "image")}']

    def estimated_poses(self) -> Iterator[Pose | None]:
        """A pose, or None, for about each image in order, found without reading the images.

        It may be that of a moment near the image's; it serves to estimate the number of places.
        """
        return (frame.pose for _, frame in self.frames())

    def playback(self, hz: float = 0.0, compressed: bool = False) -> Playback:
        """The images as a camera sends them.

        `hz`: images per second; 0: as recorded. `compressed`: send the bytes of JPEG and PNG
        files.
        """
        return Playback(self, hz, compressed)


class RecordedTraverse(Traverse):
    """A recording: its images get their poses by their time.

    `labels`: names of places by the number of the image; `marks`: what the description in map.yaml
    has for sources of this kind only, see `opening.KINDS`.
    """

    marks: Mapping[str, str | int] = {}

    def __init__(self, path: Path, options: TraverseOptions):
        super().__init__(path, options)
        self.labels: dict[int, str] = {}
        if options.purpose != PLAY:
            self.labels = read_labels(self.path, options.labels)

    def use_track(self, track: PoseTrack, poses: str) -> None:
        """Give the images the poses of `track`; `poses`: name of what they come from."""
        self.track, self.poses = track, poses
        self.has_poses, self.frame_id, self.origin = True, track.frame, track.origin

    def use_trajectory(self) -> None:
        """Give the images the poses of the file that --trajectory names, if there is one."""
        path = self.options.trajectory
        if path is None or self.options.purpose == PLAY:
            return
        track = with_body_axes(read_tum(path).checked(), '', self.options.camera_frame_is)
        self.use_track(track, str(path))
        self.notes += notes_on(self.poses, track.refused, track.remarks)
        self.notes += filter(None, [self.clocks_differ])

    @property
    def clocks_differ(self) -> str:
        """See Traverse."""
        if self.track is None:
            return ''
        (start, end), (first, last) = self.span, self.track.span
        if first <= end and last >= start:
            return ''
        return (
            f'no image has a pose: {self.poses} has poses from {first:.1f} to {last:.1f} s, the '
            f'images are from {start:.1f} to {end:.1f} s; give poses with the clock of the images'
            + self.clock_advice
        )

    def frame(
        self,
        number: int,
        stamp_ns: int,
        header_ns: int | None,
        image: StoredImage,
        source: str,
        refusal: str = '',
    ) -> Frame:
        """The frame of image `number`, with its label, and its pose unless there is a `refusal`.

        See `Frame` for all else.
        """
        pose, geo, stamp = None, None, ns_to_s(stamp_ns)
        if self.track is not None and not refusal:
            pose, refusal = self.track.at(stamp, self.options.max_pose_gap_s)
            geo = self.track.geo_at(stamp) if pose is not None else None
        label = self.labels.get(number, '')
        # A place that is named by a number counts frames of the route, as in index.csv.
        order = int(label) if is_whole(label) else number
        name = f'image {number}'
        return Frame(stamp_ns, header_ns, order, image, source, name, pose, label, refusal, geo)

    def describe(self) -> dict[str, str | int]:
        """See Traverse."""
        return {'source': str(self.path.resolve()), **self.marks, 'poses': self.poses}

    def tell_unread(self, read: int) -> None:
        """Add a note if fewer images could be read than the file claims to have."""
        note = f'{counted(self.count - read, "image")} of {self.count} cannot be read'
        if self.labels:
            note += f'; {LABELS} counts the others, so that its names may be of other images'
        if read < self.count and note not in self.notes:
            self.notes.append(note)

    def files(self) -> list[Path]:
        """All files that the recording consists of."""
        return [self.path]

    def fingerprint(self) -> str:
        """See Traverse; from the options, and names, sizes and times of change of files."""
        files = [*self.files(), self.options.trajectory, self.options.labels]
        stats = stats_of(file for file in files if file is not None)
        return sha256_of(repr((stats, self.options)).encode())

    def playback(self, hz: float = 0.0, compressed: bool = False) -> Playback:
        """See Traverse; VprError for `compressed`, since there are no JPEG or PNG files."""
        if compressed:
            raise VprError(
                f'{self.path}: --compressed is for JPEG and PNG files in a folder, this is '
                f'{self.kind}; leave it out'
            )
        return super().playback(hz)

    def plan(self) -> list[str]:
        """See Traverse; with the poses and their gaps."""
        lines = super().plan()
        if self.track is None:
            return lines
        lines.append(f'  poses of {self.poses} in {self.frame_id}: {self.track.describe()}')
        if gaps := self.track.gaps(self.options.max_pose_gap_s):
            seconds = sum(end - start for start, end in gaps)
            lines.append(f'  {counted(len(gaps), "gap")} without poses, {seconds:.1f} s together')
        return lines

    def estimated_poses(self) -> Iterator[Pose | None]:
        """See Traverse; the images are taken as evenly spread over the recording."""
        if self.track is None:
            return
        for stamp in np.linspace(*self.span, min(self.count, _MOST_ESTIMATED)):
            yield self.track.at(float(stamp), self.options.max_pose_gap_s)[0]


class Originals(ABC):
    """Reads the images again that a map was made of, by the map's description of their source."""

    def file(self, source: str) -> str | None:
        """The file that a place's `source` names; None where images are not files."""
        return None

    @abstractmethod
    def read(self, source: str) -> np.ndarray:
        """The image of a place, uint8 (H, W, 3), RGB; VprError where it cannot be read."""

    def all(self, sources: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
        """(row of `sources`, its image) for all rows; VprError if one cannot be read."""
        return ((row, self.read(source)) for row, source in enumerate(sources))


@dataclass
class Playback:
    """A traverse as a camera sends it, `hz` images per second, or 0: at the recorded times.

    `compressed`: whether images are sent as CompressedImage. `ros2_topic`: topic of the images, if
    `ros2 bag play` can play the source, else empty. `zero_is_unset`: whether a stamp of zero means
    that an image has no stamp.
    """

    traverse: Traverse
    hz: float
    compressed: bool
    ros2_topic: str = ''
    zero_is_unset: bool = False
    path: Path = field(init=False)

    def __post_init__(self):
        self.path = self.traverse.path

    def __iter__(self) -> Iterator[tuple[float, Frame | bytes]]:
        """(seconds after the first, frame or serialized message), one in memory at a time."""
        first = None
        for i, (_, frame) in enumerate(self.traverse.frames()):
            first = frame.stamp_ns if first is None else first
            yield i / self.hz if self.hz else ns_to_s(frame.stamp_ns - first), frame

    def stamps(self) -> Iterator[int]:
        """Stamps of the messages that will be sent, in nanoseconds."""
        return (frame.header_ns for _, frame in self.traverse.frames())


def described_depth(description: Mapping) -> BitDepth:
    """The bit depth that the images of a traverse were read with, as a map describes it."""
    bits = bits_of(description)
    return BitDepth(bits or 8, fixed=bool(bits))


def stats_of(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change, which stay equal for files that nobody changes."""
    return [(f.name, s.st_size, s.st_mtime_ns) for f in files for s in [f.stat()]]
