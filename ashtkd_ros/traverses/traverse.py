# SPDX-License-Identifier: Apache-2.0
"""A traverse: the images of one drive in order, one at a time; here from a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.reading import is_file
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose_checks import check_poses, notes_on
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.traverses.depth_sampling import depth_of_files
from ashtkd_ros.traverses.image_folder import WALK, Frame, read_source


@dataclass(frozen=True)
class TraverseOptions:
    """What of a source to use; empty: found by type, where there is just one candidate.

    `role`: rows of an index.csv. `pose_topic`: "none" does without poses; `trajectory`: a file in
    TUM format instead of a topic. `stamps`: header or receive. `max_pose_gap_s`: an image whose
    neighbouring poses lie further apart has none. `labels`: CSV with frame,label of a bag's
    images, else the labels.csv in the bag's folder. `origin`: of the local frame for NavSatFix.
    `bits`: of 16 bit values of the map that these are queries to; 0: none. `purpose`: map or
    query, which says what roles of an index.csv are meant without `role`.
    `camera_frame_is`: one of camera_axes.CHOICES, whether the poses are of a lens or a body.
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


@dataclass(frozen=True)
class Cursor:
    """How far a traverse has been read: image `number` is the last one seen.

    In a bag also when that was received, the number of the first image received at that very
    time, and what is known of the camera's clock: see `bag_traverse.Clock`.
    """

    number: int = -1
    received_ns: int = 0
    first: int = 0
    newest: float = 0.0
    delay: float = 0.0
    back: bool = False


class Traverse(Protocol):
    """`frames()` in order; `describe()` is kept in the map; `count` images at most.

    `has_poses` tells whether images have poses at all; `depth` is that of values of 16 bits,
    where the images have such; `notes` are lines for the user.
    """

    path: Path
    count: int
    has_poses: bool
    frame_id: str
    origin: GeoOrigin | None
    depth: BitDepth
    notes: list[str]

    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, Frame]]:
        """All frames in order, or those after one; with each how far reading has come."""
        ...

    def source_of(self, frame: Frame) -> str:
        """What places.csv names the frame by."""
        ...

    def describe(self) -> dict[str, str | int]:
        """For map.yaml."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever what `frames` gives changes."""
        ...


class FolderTraverse:
    """A folder with poses.csv or index.csv."""

    origin = None
    frame_id = 'map'

    def __init__(self, path: Path, options: TraverseOptions):
        self.path, self.notes, self._role = Path(path), [], options.role
        self._frames = read_source(self.path, options.role, self.notes, options.purpose)
        self.depth = depth_of_files([f.path for f in self._frames], options.bits)
        self.depth.tell_to(self.notes.append)
        self._frames = [replace(f, depth=self.depth) for f in self._frames]
        self.count = len(self._frames)
        if is_file(self.path / WALK):
            self._leave_out_poses()
        # A walk may lack some, and has them elsewhere; a set of places has names as well.
        some = all if any(f.label for f in self._frames) else any
        self.has_poses = some(f.pose is not None for f in self._frames)

    def _leave_out_poses(self) -> None:
        """Those of the table that cannot be; their images stay."""
        rows = [i for i, frame in enumerate(self._frames) if frame.pose is not None]
        stamps = np.array([self._frames[i].stamp for i in rows])
        if len(rows) < 3 or not (np.diff(stamps) > 0).all():
            return
        poses = [self._frames[i].pose for i in rows]
        values = np.array([[p.x, p.y, p.z, p.qx, p.qy, p.qz, p.qw] for p in poses])
        verdict = check_poses(stamps, values[:, :3], values[:, 3:])
        for i in np.array(rows)[~verdict.keep].tolist():
            self._frames[i] = replace(self._frames[i], pose=None)
        self.notes += notes_on(WALK, verdict.refused, verdict.remarks)

    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, Frame]]:
        """The frames, or those after one."""
        start = after.number + 1 if after else 0
        for number, frame in enumerate(self._frames[start:], start):
            yield Cursor(number), frame

    def source_of(self, frame: Frame) -> str:
        """Path of the image within the folder."""
        return frame.source_in(self.path)

    def describe(self) -> dict[str, str | int]:
        """For map.yaml."""
        facts = {'source': str(self.path.resolve())}
        facts |= {'role': self._role} if self._role else {}
        return facts | ({'bits': self.depth.bits} if self.depth.used else {})

    def fingerprint(self) -> str:
        """Of the table and of the images' sizes and times of change."""
        stats = stats_of([frame.path for frame in self._frames])
        return sha256_of(repr((stats, self._frames)).encode())


def stats_of(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change: equal for files that nobody touched."""
    return [(f.name, s.st_size, s.st_mtime_ns) for f in files for s in [f.stat()]]
