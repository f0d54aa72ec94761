# SPDX-License-Identifier: Apache-2.0
"""Frame sources: a walk folder (`poses.csv` + images) or an index set (`index.csv` + images)."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from ashtkd_ros.bit_depth import BitDepth
from ashtkd_ros.errors import VprError
from ashtkd_ros.files import is_file, is_folder, read_text, reason_of, why_missing
from ashtkd_ros.picture_bytes import decode_picture
from ashtkd_ros.pictures import check_size, read_bytes

POSE_COLUMNS = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')


@dataclass(frozen=True)
class Pose:
    """Camera body in the map frame (REP-103: x forward, y left, z up); metres, unit quaternion."""

    x: float
    y: float
    z: float
    qx: float = 0.0
    qy: float = 0.0
    qz: float = 0.0
    qw: float = 1.0

    @property
    def yaw(self) -> float:
        """Heading about z in radians, east = 0, counter-clockwise."""
        sin = 2.0 * (self.qw * self.qz + self.qx * self.qy)
        return math.atan2(sin, 1.0 - 2.0 * (self.qy**2 + self.qz**2))


@dataclass(frozen=True)
class Frame:
    """One image of a traverse, not yet read.

    `stamp` in seconds; `pose` None where the source has none; `order` is the frame's number along
    the route; `label` the place's name where the source knows one, else empty; `depth` of the
    source's images, where these have values of 16 bits.
    """

    path: Path
    stamp: float
    order: int
    pose: Pose | None = None
    label: str = ''
    depth: BitDepth | None = field(default=None, repr=False, compare=False)
    # What only the images of a bag can have: a reason why they have no pose; latitude, longitude.
    refusal: ClassVar[str] = ''
    geo: ClassVar[tuple[float, float] | None] = None

    @property
    def name(self) -> str:
        """What a report calls the frame."""
        return self.path.name

    def source_in(self, folder: Path) -> str:
        """Path of the image within a folder."""
        return os.path.relpath(self.path, folder)

    def light(self) -> Frame:
        """The frame without the image's bytes, which it never holds."""
        return self

    def encoded(self) -> bytes:
        """The file as it is; VprError when it cannot be read."""
        try:
            return read_bytes(self.path).tobytes()
        except (OSError, ValueError) as error:
            raise VprError(f'{self.path}: cannot be read ({reason_of(error)})') from error

    def read(self) -> np.ndarray:
        """The image, uint8 (height, width, 3), RGB; VprError when it cannot be read."""
        return read_image(self.path, self.depth)

    def pixels(self, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
        """The image, uint8 (H, W, 3), as it is decoded, and its order, BGR.

        A JPEG may come smaller, but not below `at_least` (height, width).
        """
        return _decode(self.path, at_least, self.depth), 'BGR'


def read_image(path: Path, depth: BitDepth | None = None) -> np.ndarray:
    """Read an image file as uint8 (height, width, 3) RGB; VprError when it is no image.

    `depth` of its source, for values of 16 bits; None: that of the image.
    """
    image = _decode(path, None, depth)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _decode(
    path: Path, at_least: tuple[int, int] | None = None, depth: BitDepth | None = None
) -> np.ndarray:
    try:
        data = read_bytes(path)
        check_size(data)
        return decode_picture(data, '', at_least, depth)
    except (OSError, ValueError, VprError) as error:
        raise VprError(
            f'{path}: not a readable image ({reason_of(error)}); remove it from the list or '
            'replace it'
        ) from error


def read_source(folder: Path, role: str = '') -> list[Frame]:
    """All frames of a folder, in order of time; `role` selects rows of an `index.csv` set.

    Raises VprError where there is neither CSV, or it lacks a column, holds a bad number or
    names a file that is not there.
    """
    folder = Path(folder)
    if is_file(folder / 'poses.csv'):
        frames = _read_walk(folder)
    elif is_file(folder / 'index.csv'):
        frames = _read_index(folder, role)
    elif is_folder(folder):
        raise VprError(
            f'{folder}: is no bag, and has neither poses.csv (file,stamp,x,y,...) nor index.csv '
            '(file,place,role,order); name a bag, or add one that lists the images'
        )
    else:
        raise VprError(f'{folder}: no such folder{why_missing(folder)}')
    if not frames:
        rows = f' with role "{role}"' if role else ''
        raise VprError(f'{folder}: lists no image{rows}; a map or a replay needs at least one')
    missing = next((f.path for f in frames if not is_file(f.path)), None)
    if missing is not None:
        raise VprError(f'{missing}: listed in the CSV but not there; restore it or remove its row')
    return frames


def _read_walk(folder: Path) -> list[Frame]:
    table = folder / 'poses.csv'
    frames = []
    for line, row in read_rows(table, ('file', 'stamp', 'x', 'y')):
        defaults = {'qw': '1'}
        values = {
            c: _number(row.get(c) or defaults.get(c, '0'), c, table, line) for c in POSE_COLUMNS
        }
        norm = math.sqrt(sum(values[c] ** 2 for c in ('qx', 'qy', 'qz', 'qw')))
        if abs(norm - 1.0) > 1e-2:
            raise VprError(f'{table}:{line}: quaternion has length {norm:.3f}, it must be 1')
        stamp = _number(row['stamp'], 'stamp', table, line)
        frames.append(Frame(folder / row['file'], stamp, 0, Pose(**values)))
    frames.sort(key=lambda f: f.stamp)
    return [replace(frame, order=i) for i, frame in enumerate(frames)]


def _read_index(folder: Path, role: str) -> list[Frame]:
    table = folder / 'index.csv'
    rows = [
        (line, row)
        for line, row in read_rows(table, ('file', 'place', 'role', 'order'))
        if not role or row['role'] == role
    ]
    rows.sort(key=lambda item: _order(item[1]['order']))
    frames = []
    for i, (line, row) in enumerate(rows):
        pose = None
        if row.get('east_m'):
            east, north, heading = (
                _number(row.get(c, ''), c, table, line)
                for c in ('east_m', 'north_m', 'heading_deg')
            )
            half = math.radians(90.0 - heading) / 2.0  # compass (north 0, clockwise) to REP-103
            pose = Pose(east, north, 0.0, qz=math.sin(half), qw=math.cos(half))
        # A place named by a number counts frames along the route.
        numbered = row['place'].isdecimal() and len(row['place']) < 16
        order = int(row['place']) if numbered else i
        frames.append(Frame(folder / row['file'], float(i), order, pose, row['place']))
    return frames


def _order(value: str) -> tuple[float, str]:
    """Sort key of the `order` column: by number where it is one, else by text."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (number, '') if math.isfinite(number) else (math.inf, value)


def read_rows(table: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Line number and columns of every row of a CSV; VprError where it lacks a needed column."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(table), newline=''))
        columns = reader.fieldnames or []
        lacking = [c for c in needed if c not in columns]
        if lacking:
            raise VprError(
                f'{table}: column {", ".join(lacking)} is missing; the header must name '
                f'{",".join(needed)}'
            )
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise VprError(f'{table}: cannot be read as CSV text ({reason_of(error)})') from error
    short = next((line for line, row in rows if None in row.values()), None)
    if short is not None:
        raise VprError(f'{table}:{short}: the row has too few columns')
    return rows


def _number(text: str, column: str, table: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise VprError(f'{table}:{line}: {column} is "{text}", it must be a finite number')
    return value
