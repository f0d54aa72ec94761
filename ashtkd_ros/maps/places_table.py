# SPDX-License-Identifier: Apache-2.0
"""places.csv of a map, a row for each picture of a place; written and read only here.

It is for people and other programs. Since format 4 a map has the same as columns (`places_file`),
which load faster.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from ashtkd_ros.geometry.pose import POSE_COLUMNS, Pose
from ashtkd_ros.maps.places import Place, Places

COLUMNS = ('id', 'stamp', *POSE_COLUMNS, 'source', 'order', 'label', 'traverse', 'lat', 'lon')
COLUMNS += ('thumbnail',)
# Columns that maps of older versions do not have.
_LATER = ('traverse', 'lat', 'lon', 'thumbnail')
_NUMBER = re.compile(r'[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?')


def write_table(places: Sequence[Place]) -> bytes:
    """The bytes of places.csv; ValueError for a place that `read_table` would refuse."""
    places = Places.of(places)
    places.check()
    text = io.StringIO()
    # Some versions of csv do not quote a lone carriage return, but it ends a row in all of them.
    odd = any((texts.blob == ord('\r')).any() for texts in (places.sources, places.labels))
    quoting = csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    rows = csv.writer(text, lineterminator='\n', quoting=quoting)
    rows.writerow(COLUMNS)
    for p in places:
        pose = [getattr(p.pose, c) for c in POSE_COLUMNS] if p.pose else [''] * 7
        place = [p.source, p.order, p.label, p.traverse, *(p.geo or ('', '')), p.thumbnail]
        rows.writerow([p.id, repr(p.stamp), *pose, *place])
    # names of files need not be UTF-8
    return text.getvalue().encode('utf-8', 'surrogateescape')


def read_table(data: bytes) -> Places:
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
    columns = Places.of(places)
    columns.check()
    return columns


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
