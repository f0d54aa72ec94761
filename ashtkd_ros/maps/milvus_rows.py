# SPDX-License-Identifier: Apache-2.0
"""A map as rows of a collection: a row for each picture, and rows below 0 with its description."""

from __future__ import annotations

import base64
import binascii
import math
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import POSE_COLUMNS, Pose
from ashtkd_ros.maps.description import Description, read_description
from ashtkd_ros.maps.milvus_store import LONGEST_FIELD
from ashtkd_ros.maps.places import Place
from ashtkd_ros.network.descriptors import first_not_unit
from ashtkd_ros.network.local_features import LocalShape, first_not_unit_int8

# What a row has beside `row` and `descriptor`. Milvus has no empty numbers of its own in all
# versions: without `posed` a pose is zeros, without `located` the degrees are.
PLACE: Mapping[str, type] = {
    'place': int,
    'stamp': float,
    'image': int,
    'traverse': int,
    'posed': bool,
    **dict.fromkeys(POSE_COLUMNS, float),
    'located': bool,
    'lat': float,
    'lon': float,
    'source': str,
    'label': str,
    'picture': str,
}
FIELDS: Mapping[str, type] = {**PLACE, 'thumbnail': str, 'local': str, 'note': str}
LARGEST = LONGEST_FIELD // 4 * 3  # bytes that fit a field, as base64
_PIECE = LONGEST_FIELD // 4  # characters of the description in a row
_EMPTY = {int: 0, float: 0.0, bool: False, str: ''}


def row_of(place: Place, descriptor: np.ndarray, thumbnail: bytes, local: np.ndarray | None):
    """The row of a place: its `descriptor`, its JPEG or nothing, its local features, int8."""
    values = {
        'row': place.row,
        'descriptor': descriptor,
        'place': place.id,
        'stamp': place.stamp,
        'image': place.order,
        'traverse': place.traverse,
        'posed': place.pose is not None,
        'located': place.geo is not None,
        'source': _stored(place.source),
        'label': _stored(place.label),
        'picture': place.thumbnail,
        'thumbnail': base64.b64encode(thumbnail).decode(),
        'local': '' if local is None else base64.b64encode(local.tobytes()).decode(),
    }
    if place.pose is not None:
        values |= {c: float(getattr(place.pose, c)) for c in POSE_COLUMNS}
    if place.geo is not None:
        values |= {'lat': place.geo[0], 'lon': place.geo[1]}
    return {**{name: _EMPTY[kind] for name, kind in FIELDS.items()}, **values}


def note_rows(description: bytes, dimensions: int) -> Iterator[dict[str, Any]]:
    """The rows that hold map.yaml, -1, -2, ..."""
    text = description.decode('utf-8')
    for number, start in enumerate(range(0, len(text), _PIECE), 1):
        values = {'row': -number, 'descriptor': np.zeros(dimensions, np.float32)}
        empty = {name: _EMPTY[kind] for name, kind in FIELDS.items()}
        yield {**empty, **values, 'note': text[start : start + _PIECE]}


def description_of(entities: Sequence[Mapping[str, Any]]) -> Description:
    """What the rows below 0, with `row` and `note`, say; ValueError where that is not sound."""
    if not all(_is(e, 'row', int) and _is(e, 'note', str) for e in entities):
        raise ValueError('its description is no text')
    ordered = sorted(entities, key=lambda e: -e['row'])
    return read_description(''.join(e['note'] for e in ordered).encode())


def place_of(entity: Mapping[str, Any]) -> Place:
    """The place in a row that has the fields `PLACE`; ValueError for one of another type."""
    for name, kind in PLACE.items():
        if not _is(entity, name, kind):
            raise ValueError(f'its {name} is not a finite {kind.__name__}')
    return Place(
        entity['place'],
        entity['stamp'],
        entity['image'],
        Pose(*(entity[c] for c in POSE_COLUMNS)) if entity['posed'] else None,
        _restored(entity['source']),
        _restored(entity['label']),
        entity['traverse'],
        (entity['lat'], entity['lon']) if entity['located'] else None,
        entity['picture'],
    )


def descriptor_of(entity: Mapping[str, Any], dimensions: int) -> np.ndarray:
    """float32 (D,); ValueError where it is not such, of length 1."""
    try:
        row = np.array(entity['descriptor'], np.float32)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError('its descriptor is no vector') from error
    if row.shape != (dimensions,) or first_not_unit(row[None]) is not None:
        raise ValueError(f'its descriptor is not {dimensions} numbers of length 1')
    return row


def local_of(entity: Mapping[str, Any], shape: LocalShape) -> np.ndarray:
    """int8 (P, L); ValueError where the row does not hold local features of this shape."""
    data = _decoded(entity, 'local')
    if len(data) != shape.size:
        raise ValueError(f'its local features are not {shape}')
    features = np.frombuffer(data, np.int8).reshape(shape.positions, shape.channels)
    if first_not_unit_int8(features) is not None:
        raise ValueError('its local features are not of length 1')
    return features


def thumbnail_of(entity: Mapping[str, Any]) -> bytes:
    """The JPEG, empty without one; ValueError where it is none."""
    return _decoded(entity, 'thumbnail')


def check_shape(shape: LocalShape | None) -> None:
    """VprError where the local features of a place do not fit a row."""
    if shape is not None and shape.size > LARGEST:
        raise VprError(
            f'local features of {shape} numbers do not fit Milvus, which takes {LARGEST} bytes of '
            'a place; build the map with --no-local'
        )


def _decoded(entity: Mapping[str, Any], name: str) -> bytes:
    if not _is(entity, name, str):
        raise ValueError(f'its {name} is no text')
    try:
        return base64.b64decode(entity[name], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f'its {name} is not base64') from error


def _is(entity: Mapping[str, Any], name: str, kind: type) -> bool:
    value = entity.get(name)
    return type(value) is kind and (kind is not float or math.isfinite(value))


def _stored(text: str) -> str:
    """A text, which need not be proper UTF-8, as one that is: odd bytes as %XX, and % as %25."""
    escaped = text.replace('%', '%25')
    return ''.join(f'%{ord(c) - 0xDC00:02X}' if '\udc80' <= c <= '\udcff' else c for c in escaped)


def _restored(text: str) -> str:
    return urllib.parse.unquote(text, errors='surrogateescape')
