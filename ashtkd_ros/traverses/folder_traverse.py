# SPDX-License-Identifier: Apache-2.0
"""A folder of images with a table, poses.csv or index.csv, as a traverse."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.reading import inside, is_file
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.geometry.pose_checks import check_poses, notes_on
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.traverses.depth_sampling import depth_of_files
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import INDEX, WALK, ImageFile, read_source
from ashtkd_ros.traverses.traverse import (
    PLAY,
    Cursor,
    Originals,
    Playback,
    Traverse,
    TraverseOptions,
    described_depth,
    stats_of,
)

_PLAYED_HZ = 10.0


class FolderOriginals(Originals):
    """Images of the folder that a map names, as long as its table lists them.

    What a map names as the source of a place is not to be believed: it could be any picture on
    the disk, and reports are handed on.
    """

    def __init__(self, description: Mapping):
        self._folder = Path(str(description.get('source', '')))
        self._depth = described_depth(description)

    def file(self, source: str) -> str:
        """See Originals."""
        return os.path.join(self._folder, source)

    def read(self, source: str) -> np.ndarray:
        """See Originals; VprError as well where the image lies elsewhere or is not listed."""
        folder = self._folder
        if not folder.is_absolute() or not any(is_file(folder / t) for t in (WALK, INDEX)):
            raise VprError(
                f'{folder}: holds no {WALK} or {INDEX} any more, so no images of it; put it back'
            )
        path = inside(folder, source)
        if path is not None and source not in _listed(folder):
            raise VprError(
                f'{folder / source}: is not in the table of the walk, so it cannot be shown; '
                'add its '
                'row, or build the map anew'
            )
        if path is None:
            raise VprError(
                f'{folder / source}: lies outside of the folder that the map was made of, '
                'so its images cannot be shown; move them into it'
            )
        return read_image(path, self._depth)


def _listed(folder: Path) -> frozenset[str]:
    """The images that a folder's table names; VprError where it cannot be read."""
    table = next(folder / name for name in (WALK, INDEX) if is_file(folder / name))
    state = os.stat(table)
    return _files_of(table, (state.st_ino, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=8)
def _files_of(table: Path, state: tuple[int, ...]) -> frozenset[str]:
    names = (row['file'] for _, row in read_rows(table, ('file',)))
    return frozenset(os.path.relpath(os.path.join('/', name), '/') for name in names)


class FolderTraverse(Traverse):
    """A folder with poses.csv or index.csv."""

    kind, originals = 'a folder', FolderOriginals
    accepted = frozenset({'role'})
    preselected = True

    def __init__(self, path: Path, options: TraverseOptions):
        super().__init__(path, options)
        purpose = 'query' if options.purpose == PLAY else options.purpose
        self._frames = read_source(self.path, options.role, self.notes, purpose)
        self.count = len(self._frames)
        if options.purpose == PLAY:
            return
        self.depth = depth_of_files([f.file for f in self._frames], options.bits)
        self.depth.notify_by(self.notes.append)
        self._frames = [replace(f, image=ImageFile(f.file, self.depth)) for f in self._frames]
        if is_file(self.path / WALK):
            self._leave_out_poses()
            self.poses = WALK
        # A walk may lack some, and has them elsewhere; a set of places has names as well.
        some = all if any(f.label for f in self._frames) else any
        self.has_poses = some(f.pose is not None for f in self._frames)

    def _leave_out_poses(self) -> None:
        """Remove the poses of the table that cannot be; their images stay."""
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

    @property
    def span(self) -> tuple[float, float]:
        """See Traverse."""
        return self._frames[0].stamp, self._frames[-1].stamp

    def frames(self, after: Cursor | None = None) -> Iterator[tuple[Cursor, Frame]]:
        """See Traverse."""
        start = after.number + 1 if after else 0
        for number, frame in enumerate(self._frames[start:], start):
            yield Cursor(number), frame

    def playback(self, hz: float = 0.0, compressed: bool = False) -> Playback:
        """See Traverse; 10 images per second if `hz` is 0, since an index.csv has no times."""
        return Playback(self, hz or _PLAYED_HZ, compressed)

    def describe(self) -> dict[str, str | int]:
        """See Traverse."""
        facts = {'source': str(self.path.resolve())}
        facts |= {'role': self.options.role} if self.options.role else {}
        return facts | ({'bits': self.depth.bits} if self.depth.used else {})

    def fingerprint(self) -> str:
        """See Traverse; of the table and of the images' sizes and times of change."""
        stats = stats_of([frame.file for frame in self._frames])
        return sha256_of(repr((stats, self._frames)).encode())
