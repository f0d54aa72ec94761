# SPDX-License-Identifier: Apache-2.0
"""places.csv of a map: one row for each place; written and read only here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ashtkd_ros.geometry.pose import POSE_COLUMNS, Pose, pose_fault

COLUMNS = ('id', 'stamp', *POSE_COLUMNS, 'source', 'order', 'label', 'traverse', 'lat', 'lon')
COLUMNS += ('thumbnail',)
# Columns that maps of older versions do not have.
_LATER = ('traverse', 'lat', 'lon', 'thumbnail')
_LONGEST = 2**12  # characters of a name
_LATEST = 1e20  # seconds; older versions may have stored nanoseconds
_NUMBER = re.compile(r'[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?')
_MOST = 2**53  # numbers up to here are exact


@dataclass(frozen=True)
class Place:
    """One row of places.csv; `id` is also its row in the index.

    `stamp`: seconds; `order`: number of the image in its traverse; `pose`: in the map's frame, or
    None; `source`: name of its image in the traverse, a file in the folder, or the time in ns at
    which a bag received it; `label`: name of the place, or empty; `traverse`: number of the
    traverse in map.yaml; `geo`: latitude and longitude in degrees, or None; `thumbnail`: sha256 of
    its picture in the map, hexadecimal digits, empty without a picture.
    """

    id: int
    stamp: float
    order: int
    pose: Pose | None
    source: str
    label: str = ''
    traverse: int = 0
    geo: tuple[float, float] | None = None
    thumbnail: str = ''


def write_table(places: Sequence[Place]) -> bytes:
    """The bytes of places.csv; ValueError for a place that `read_table` would refuse."""
    check_places(places)
    text = io.StringIO()
    # Some versions of csv do not quote a lone carriage return, but it ends a row in all of them.
    odd = any('\r' in p.source or '\r' in p.label for p in places)
    quoting = csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    rows = csv.writer(text, lineterminator='\n', quoting=quoting)
    rows.writerow(COLUMNS)
    for p in places:
        pose = [getattr(p.pose, c) for c in POSE_COLUMNS] if p.pose else [''] * 7
        place = [p.source, p.order, p.label, p.traverse, *(p.geo or ('', '')), p.thumbnail]
        rows.writerow([p.id, repr(p.stamp), *pose, *place])
    # names of files need not be UTF-8
    return text.getvalue().encode('utf-8', 'surrogateescape')


def read_table(data: bytes) -> list[Place]:
    """The places of places.csv; ValueError names the line and what is wrong in it."""
    text = data.decode('utf-8', 'surrogateescape')
    reader = csv.reader(io.StringIO(text, newline=''), strict=True)
    try:
        header = next(reader, [])
        lacking = [c for c in COLUMNS if c not in header and c not in _LATER]
        if lacking or len(set(header)) < len(header):
            missing = ', '.join(lacking)
            why = f'lacks {missing}' if lacking else 'names a column twice'
            raise ValueError(f'the header {why}')
        places = []
        for row in reader:
            if len(row) != len(header):
                raise ValueError(f'line {reader.line_num} has {len(row)} of {len(header)} columns')
            try:
                places.append(_place(dict(zip(header, row, strict=True))))
            except ValueError as error:
                raise ValueError(f'line {reader.line_num}: {error}') from error
    except csv.Error as error:
        raise ValueError(f'line {reader.line_num}: {error}') from error
    check_places(places)
    return places


def _place(row: dict[str, str]) -> Place:
    given = [row[c] for c in POSE_COLUMNS]
    pose = Pose(*map(_number, given)) if any(given) else None
    geo = (row.get('lat', ''), row.get('lon', ''))
    return Place(
        _whole(row['id']),
        _number(row['stamp']),
        _whole(row['order']),
        pose,
        row['source'],
        row['label'],
        _whole(row.get('traverse') or '0'),
        (_number(geo[0]), _number(geo[1])) if any(geo) else None,
        row.get('thumbnail', ''),
    )


def _number(text: str) -> float:
    # float() also takes nan, 1_0 and digits of other scripts
    if not _NUMBER.fullmatch(text):
        raise ValueError(f'"{text[:40]}" is not a number')
    return float(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r'-?[0-9]{1,18}', text):
        raise ValueError(f'"{text[:40]}" is not a whole number')
    return int(text)


def check_places(places: Sequence[Place]) -> None:
    """ValueError for an empty list, ids that are not 0, 1, 2, ..., and values out of range."""
    if not places:
        raise ValueError('it has no places')
    for row, place in enumerate(places):
        if place.id != row:
            raise ValueError(f'place {place.id} is in row {row}')
        why = _fault(place)
        if why:
            raise ValueError(f'place {row}: {why}')


def _fault(p: Place) -> str:
    """What is wrong with a place's values; empty where nothing is."""
    if not abs(p.stamp) <= _LATEST:  # NaN as well
        return f'its stamp is {p.stamp}'
    if not (abs(p.order) <= _MOST and 0 <= p.traverse <= _MOST):
        return 'its order or traverse is out of range'
    if max(len(p.source), len(p.label)) > _LONGEST:
        return 'its source or label is too long'
    if p.thumbnail and not re.fullmatch('[0-9a-f]{64}', p.thumbnail):
        return 'the checksum of its picture is not a checksum'
    if p.geo is not None and not (abs(p.geo[0]) <= 90.0 and abs(p.geo[1]) <= 360.0):
        return f'latitude {p.geo[0]} and longitude {p.geo[1]} are not on Earth'
    return '' if p.pose is None else pose_fault(p.pose)
