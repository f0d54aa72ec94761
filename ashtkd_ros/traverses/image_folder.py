# SPDX-License-Identifier: Apache-2.0
"""Folders of images with a table: a walk (poses.csv) or a set of places (index.csv)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import inside, is_file, is_folder, why_missing
from ashtkd_ros.files.tables import Row, is_whole, number, read_rows, seconds
from ashtkd_ros.geometry.pose import Pose, pose_fault
from ashtkd_ros.geometry.pose_table import pose_of_row, unread_turns
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.image_file import read_image_bgr
from ashtkd_ros.images.picture_limits import read_bytes
from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.text import one_line, reason_of
from ashtkd_ros.traverses.frame import Frame, StoredImage

# How roles begin, the surest ones first: "database images", query_dusk.
MAP_ROLES = (('database', 'map', 'reference', 'gallery', 'db', 'ref'), ('train', 'mapping'))
QUERY_ROLES = (('query', 'queries'), ('test', 'probe', 'localization', 'localisation', 'q'))
WALK, INDEX = 'poses.csv', 'index.csv'  # the table of a walk, or of a set of places
_MAGIC = {b'\xff\xd8\xff': 'jpeg', b'\x89PNG\r\n\x1a\n': 'png'}
_COMPASS = ('east_m', 'north_m', 'heading_deg')


@dataclass(frozen=True)
class ImageFile(StoredImage):
    """An image in a file; `depth`: the bit depth of its source, for values of 16 bits."""

    path: Path
    depth: BitDepth | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def file(self) -> Path:
        """See `StoredImage.file`."""
        return self.path

    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """See `StoredImage.pixels`; uint8 (H, W, 3) in order BGR."""
        return read_image_bgr(self.path, at_least, self.depth), 'BGR'

    def encoded(self) -> tuple[bytes, str]:
        """See `StoredImage.encoded`: all bytes of the file."""
        try:
            data = read_bytes(self.path).tobytes()
        except (OSError, ValueError) as error:
            raise VprError(
                f'{self}: cannot be read ({reason_of(error)}); copy it again'
            ) from error
        kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), '')
        return (data, kind) if kind else super().encoded()


def file_frame(
    path: Path,
    stamp: float,
    order: int,
    pose: Pose | None = None,
    label: str = '',
    folder: Path | None = None,
) -> Frame:
    """The frame of an image file, taken at `stamp` in seconds; see `Frame` for the rest.

    `folder`: what `Frame.source` is relative to; None: the folder that the file is in.
    """
    source = path.name if folder is None else os.path.relpath(path, folder)
    stamp_ns = s_to_ns(stamp)
    return Frame(stamp_ns, stamp_ns, order, ImageFile(path), source, path.name, pose, label)


def has_times(folder: Path) -> bool:
    """Whether the stamps of a folder's images are times; those of an index.csv are numbers."""
    return is_file(folder / WALK)


def read_source(
    folder: Path, role: str = '', notes: list[str] | None = None, purpose: str = ''
) -> list[Frame]:
    """All frames of a folder, in order of time; `role` selects rows of an index.csv.

    If there are several roles and none is given, `purpose` selects: for "map" the rows of one of
    MAP_ROLES, for "query" the rows of one of QUERY_ROLES, or else all rows but those of the other
    purpose; without a purpose all rows. Lines for the user are added to `notes`.

    Raises VprError if the folder has neither table, or the table lacks a column, holds a bad
    number or names a file that is missing.
    """
    folder, notes = Path(folder), [] if notes is None else notes
    frames = _read_table(folder, role, notes, purpose)
    if not frames:
        raise VprError(f'{folder}: lists no image, and at least one is needed; add a row')
    if twice := len(frames) - len({f.file for f in frames}):
        files = '1 file is' if twice == 1 else f'{twice} files are'
        notes.append(f'{files} listed twice')
    missing = next((f.file for f in frames if not is_file(f.file)), None)
    if missing is not None:
        why = f'not there{why_missing(missing)}; restore it or remove its row'
        raise VprError(f'{missing}: listed in the CSV but {why}')
    if outside := _outside(folder, [f.file for f in frames]):
        notes.append(
            f'{len(outside)} images lie outside of the folder, {outside[0]} first; thumbnails and '
            'reports show them as well'
        )
    return frames


def _read_table(folder: Path, role: str, notes: list[str], purpose: str) -> list[Frame]:
    """The rows of the folder's poses.csv, or else of its index.csv; VprError without either."""
    for table in (folder / WALK, folder / INDEX):
        if os.path.lexists(table) and not is_file(table):
            raise VprError(f'{table}: is not a file that can be read; replace or remove it')
    if is_file(folder / WALK):
        return _read_walk(folder, notes)
    if is_file(folder / INDEX):
        return _read_index(folder, role, notes, purpose)
    if is_folder(folder):
        raise VprError(
            f'{folder}: is not a bag, and has neither poses.csv (file,stamp,x,y,...) nor '
            'index.csv (file,place,role,order); name a bag, or add a table of the images'
        )
    raise VprError(f'{folder}: no such folder or file{why_missing(folder)}; correct its path')


def _outside(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """The paths that lead out of the folder: a table made by others can name any file."""
    within = {parent: inside(folder, parent.absolute()) for parent in {p.parent for p in paths}}
    return [
        p
        for p in paths
        if within[p.parent] is None or p.is_symlink() and inside(folder, p.absolute()) is None
    ]


def _read_walk(folder: Path, notes: list[str]) -> list[Frame]:
    table = folder / WALK
    rows = read_rows(table, ('file', 'stamp', 'x', 'y'))
    stamps, stamp_notes = seconds(rows, table)
    notes += stamp_notes + unread_turns([name for _, row in rows[:1] for name in row])
    frames = [
        file_frame(folder / row['file'], stamp, 0, pose_of_row(row, table, line), folder=folder)
        for (line, row), stamp in zip(rows, stamps.tolist(), strict=True)
    ]
    lacking = sum(frame.pose is None for frame in frames)
    if lacking:
        notes.append(f'{lacking} of {len(frames)} images have no pose in {WALK}')
    if same := len(frames) - len(set(stamps.tolist())):
        notes.append(
            f'{same} images have the same stamp as another one; do the stamps have all their '
            'digits?'
        )
    frames.sort(key=lambda f: f.stamp_ns)
    return [replace(frame, order=i) for i, frame in enumerate(frames)]


def _read_index(folder: Path, role: str, notes: list[str], purpose: str) -> list[Frame]:
    table = folder / INDEX
    listed = read_rows(table, ('file', 'place', 'role', 'order'))
    roles = list(dict.fromkeys(row['role'] for _, row in listed))
    wanted = _asked_for(role.strip(), roles, table) if role else roles_for(purpose, roles)
    rows = [(line, row) for line, row in listed if row['role'] in wanted]
    if not role and len(roles) > 1:
        named = ', '.join(f'"{r}"' for r in wanted)
        which = 'all' if len(rows) == len(listed) else f'{len(rows)} of {len(listed)}'
        notes.append(f'index.csv has roles: {which} rows are taken, {named}; choose with --role')
    rows.sort(key=lambda item: _order(item[1]['order']))
    frames = []
    for i, (line, row) in enumerate(rows):
        # A place named by a number counts frames along the route.
        order = int(row['place']) if is_whole(row['place']) else i
        where = _compass_pose(row, table, line)
        path = folder / row['file']
        frames.append(file_frame(path, float(i), order, where, row['place'], folder))
    lacking = sum(frame.pose is None for frame in frames)
    if 0 < lacking < len(frames):
        notes.append(f'{lacking} of {len(frames)} images have no position in index.csv')
    return frames


def roles_for(purpose: str, roles: Sequence[str]) -> list[str]:
    """The roles of a table that a map, or queries, are made of; see `read_source`."""
    names = {'map': (MAP_ROLES, QUERY_ROLES), 'query': (QUERY_ROLES, MAP_ROLES)}
    own, other = names.get(purpose, ((), ()))
    for some in own:
        if meant := [role for role in roles if _begins(role, some)]:
            return meant
    others = [role for role in roles if any(_begins(role, some) for some in other)]
    return [role for role in roles if role not in others] or list(roles)


def _begins(role: str, names: Sequence[str]) -> bool:
    """Whether a role's first word is one of the names, or begins with a name of over 3 letters."""
    word = re.match(r'[^\W\d_]*', role.strip().lower()).group()
    return any(word == name or len(name) > 3 and word.startswith(name) for name in names)


def _asked_for(role: str, roles: Sequence[str], table: Path) -> list[str]:
    """The roles that --role names, in any case; VprError that lists all if it names none."""
    matching = [r for r in roles if r == role] or [r for r in roles if r.lower() == role.lower()]
    if roles and not matching:
        raise VprError(
            f'{table}: lists no image with role "{one_line(role)}"; its roles are '
            f'{", ".join(one_line(r) or "empty" for r in roles[:20])}'
        )
    return matching


def _compass_pose(row: Row, table: Path, line: int) -> Pose | None:
    """The pose in the columns for east, north and heading; None if all are empty."""
    if not any(row.get(c) for c in _COMPASS):
        return None
    east, north, heading = (number(row.get(c, ''), c, table, line) for c in _COMPASS)
    half = math.radians(90.0 - heading) / 2.0  # compass (north 0, clockwise) to REP-103
    pose = Pose(east, north, 0.0, qz=math.sin(half), qw=math.cos(half))
    why = pose_fault(pose)
    if why:
        raise VprError(f'{table}:{line}: {why}; correct the line')
    return pose


def _order(value: str) -> tuple[float, str]:
    """Sort key of the column `order`: numbers first, by value, then texts."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (number, '') if math.isfinite(number) else (math.inf, value)
