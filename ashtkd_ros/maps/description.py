# SPDX-License-Identifier: Apache-2.0
"""map.yaml of a map: what the map is of, how it was made, and checksums of its files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import yaml

from ashtkd_ros.files.checksums import has_checksum, with_checksum
from ashtkd_ros.files.documents import parse_yaml
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.images.bit_depth import DEPTHS
from ashtkd_ros.maps.history import HISTORY, check_history
from ashtkd_ros.maps.index_note import SEARCH, IndexNote, index_entries, read_note
from ashtkd_ros.maps.local_file import LOCAL_FILE
from ashtkd_ros.maps.places import MOST
from ashtkd_ros.maps.places_file import PLACES_FILE
from ashtkd_ros.network.confidence import check_coefficients
from ashtkd_ros.network.embedder import Preprocessing
from ashtkd_ros.network.local_features import LOCAL, LocalShape

FORMAT_VERSION = 4
# Format 1 had no checksum of map.yaml itself, format 2 no local features; up to format 3 a place's
# number was its row.
_READABLE = (1, 2, 3, 4)
_SHA256 = re.compile('[0-9a-f]{64}')
_MARKS = {'format_version', 'descriptor_size', 'model', 'calibration', 'sha256'}
_KEYS = _MARKS | {'frame', 'built', 'index', 'places', 'next_id', 'checksum', LOCAL, SEARCH}
TRUST = 'trust'  # in `built`: from which confidence on answers are so often right
_MOST_TRUST = 100  # rows
_TRUST_KEYS = {'precision', 'min_confidence', 'recall'}
_LONGEST_FRAME, _LONGEST_TEXT = 256, 4096
_DAMAGED = 'map.yaml is damaged ({}); rebuild the map'


@dataclass(frozen=True)
class MapInfo:
    """What map.yaml says, without the counts and checksums that each save makes anew.

    `model`: name, sha256 and preprocessing of the network the descriptors come from;
    `calibration`: numbers of the confidence (see `confidence`); `built`: how the map was made;
    `next_id`: the number of the next new place, above all that were ever given.
    """

    frame: str
    model: dict
    calibration: dict = field(default_factory=dict)
    built: dict = field(default_factory=dict)
    next_id: int = 0

    @property
    def traverses(self) -> list[dict[str, Any]]:
        """What the map was built from, by number: each has at least its `source`."""
        return self.built.get('traverses', [])

    def trusted_from(self, precision: float) -> tuple[float, float] | None:
        """From which confidence on answers are right as often as `precision`, and how often that
        is expected. Where the map cannot tell so much, the highest precision that it can; None
        where it tells nothing."""
        table = sorted(self.built.get(TRUST, []), key=lambda row: row['precision'])
        fits = [row for row in table if row['precision'] >= precision] or table[-1:]
        return (fits[0]['min_confidence'], fits[0]['precision']) if fits else None

    def calibrated(self, coefficients: dict, trust: list[dict[str, float]]) -> MapInfo:
        """The same with another calibration and another table `trust`, none where it is empty."""
        built = {key: value for key, value in self.built.items() if key != TRUST}
        built |= {TRUST: trust} if trust else {}
        return replace(self, calibration=coefficients, built=built)

    @property
    def origin(self) -> GeoOrigin | None:
        """Where on earth the frame's origin is, if that is known."""
        origin = self.built.get('origin')
        return GeoOrigin(**origin) if origin else None


@dataclass(frozen=True)
class Description:
    """All that map.yaml says.

    `places`: pictures of places, rows of the index; `sha256`: checksum by name of file; `covered`:
    whether map.yaml has a checksum of its own; `local`: shape of a place's local features, None in
    a map without them; `index`: kind of the index and what is known of it; `version`: of the
    format.
    """

    info: MapInfo
    places: int
    descriptor_size: int
    sha256: dict[str, str]
    covered: bool
    local: LocalShape | None
    index: tuple[str, IndexNote | None]
    version: int = FORMAT_VERSION


def write_description(
    info: MapInfo,
    places: int,
    descriptor_size: int,
    index: tuple[str, IndexNote | None],
    sha256: Mapping[str, str],
    local: LocalShape | None = None,
) -> bytes:
    """The bytes of map.yaml; ValueError for an `info` that `read_description` would refuse."""
    values = {'format_version': FORMAT_VERSION, **asdict(info)}
    values |= {'descriptor_size': descriptor_size, **index_entries(*index), 'places': places}
    if local is not None:
        values[LOCAL] = local.table()
    values['sha256'] = dict(sha256)
    data = yaml.safe_dump(encodable(values), sort_keys=False).encode()
    data = with_checksum(data)
    read_description(data)
    return data


def read_description(data: bytes) -> Description:
    """Read and check map.yaml; ValueError says what is wrong and what to do."""
    try:
        values = parse_yaml(data)
    except ValueError as error:
        raise ValueError(_DAMAGED.format(error)) from error
    if not isinstance(values, dict) or 'format_version' not in values:
        raise ValueError('map.yaml is incomplete, it lacks format_version; rebuild the map')
    version = values['format_version']
    if type(version) is not int or version not in _READABLE:
        newer = type(version) is int and version > _READABLE[-1]
        raise ValueError(
            f'has map format {str(version)[:20]}, this program reads {_READABLE[0]} to '
            f'{_READABLE[-1]}; {"take a newer version of it, or " if newer else ""}rebuild the map'
        )
    covered = _check_self(data)
    if version > 1 and not covered:
        raise ValueError(_DAMAGED.format('its checksum is missing'))
    try:
        return _checked(values, version, covered)
    except ValueError as error:
        raise ValueError(f'map.yaml is incomplete, {error}; rebuild the map') from error


def looks_like_ours(data: bytes) -> bool | None:
    """Whether bytes are a map.yaml of this project, sound or damaged; None if unclear."""
    try:
        values = parse_yaml(data)
    except ValueError:
        return None
    if not isinstance(values, dict) or values.keys() <= _KEYS and len(_MARKS & values.keys()) < 3:
        return None
    return len(_MARKS & values.keys()) >= 3


def _check_self(data: bytes) -> bool:
    """Whether the last line is a checksum; ValueError where it does not fit the other lines."""
    try:
        return has_checksum(data)
    except ValueError as error:
        raise ValueError(_DAMAGED.format(error)) from error


def _checked(values: dict, version: int, covered: bool) -> Description:
    """Check type and range of every value that is read later; ValueError names a bad one."""
    frame = values.get('frame')
    if not isinstance(frame, str) or frame_fault(frame):
        raise ValueError('frame is not a name')
    model = _table(values, 'model')
    _text(model, 'name', 'the model')
    if not _SHA256.fullmatch(_text(model, 'sha256', 'the model')):
        raise ValueError('sha256 of the model is not a checksum')
    if 'preprocessing' in model:
        try:
            Preprocessing.from_json(json.dumps(_table(model, 'preprocessing')))
        except (ValueError, TypeError) as error:
            raise ValueError('preprocessing of the model is not that of a network') from error
    built = _table(values, 'built')
    _check_plain(built, 'built')
    _check_built(built)
    sha256 = _table(values, 'sha256')
    for name, value in sha256.items():
        if not (isinstance(name, str) and isinstance(value, str) and _SHA256.fullmatch(value)):
            raise ValueError('sha256 is not a table of checksums')
    calibration = check_coefficients(_table(values, 'calibration'))
    places, size = _count(values, 'places'), _count(values, 'descriptor_size')
    info = MapInfo(frame, model, calibration, built, _next_id(values, version, places))
    if (PLACES_FILE in sha256) != (version >= 4):
        raise ValueError(f'{PLACES_FILE} and format {version} do not go together')
    local = _local_shape(values, sha256)
    index = read_note(values, sha256)
    return Description(info, places, size, sha256, covered, local, index, version)


def _next_id(values: dict, version: int, places: int) -> int:
    if version < 4:
        return places
    number = values.get('next_id')
    if type(number) is not int or not 0 < number <= MOST:
        raise ValueError('next_id is not a whole number, 1 or more')
    return number


def _local_shape(values: dict, sha256: Mapping[str, str]) -> LocalShape | None:
    if (LOCAL in values) != (LOCAL_FILE in sha256):
        raise ValueError(f'it has only one of {LOCAL} and a checksum of {LOCAL_FILE}')
    if LOCAL not in values:
        return None
    try:
        return LocalShape.from_table(values[LOCAL])
    except ValueError as error:
        raise ValueError(f'{LOCAL} is no shape of local features: {error}') from error


def frame_fault(frame: str) -> str:
    """Why a text cannot be the name of a frame; empty where it can."""
    if not frame.strip():
        return 'it is empty'
    if frame != frame.strip() or not frame.isprintable():
        return 'it has spaces around it or characters that cannot be printed'
    return f'it is longer than {_LONGEST_FRAME} characters' if len(frame) > _LONGEST_FRAME else ''


def _check_plain(value: object, name: str) -> None:
    """ValueError for anything but text, finite numbers, and tables and lists of those."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f'{name} has a name that is not text')
            _check_plain(inner, key)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, name)
    elif isinstance(value, (int, float)):
        if not abs(value) <= 1e300:  # NaN as well
            raise ValueError(f'{name} is not a finite number')
    elif value is not None and not isinstance(value, str):
        raise ValueError(f'{name} is neither text nor a number')


def _check_built(built: dict) -> None:
    traverses = built.get('traverses', [])
    if not (isinstance(traverses, list) and all(isinstance(t, dict) for t in traverses)):
        raise ValueError('traverses is not a list of tables')
    for number, traverse in enumerate(traverses):
        _text(traverse, 'source', f'traverse {number}')
        if any(isinstance(value, (dict, list)) for value in traverse.values()):
            raise ValueError(f'traverse {number} has an entry that is neither text nor a number')
        for key in traverse:
            if traverse[key] != '' and isinstance(traverse[key], str):
                _text(traverse, key, f'traverse {number}')
        bits = traverse.get('bits', DEPTHS[0])
        if type(bits) is not int or bits not in DEPTHS:
            raise ValueError(f'bits of traverse {number} is not one of {DEPTHS}')
    check_history(built.get(HISTORY, []))
    trust = built.get(TRUST, [])
    if not (isinstance(trust, list) and len(trust) <= _MOST_TRUST and all(map(_is_trust, trust))):
        raise ValueError(f'{TRUST} is not a list of precision, min_confidence and recall')
    rising = sorted((row['precision'], row['min_confidence']) for row in trust)
    if any(low > high for (_, low), (_, high) in pairwise(rising)):
        raise ValueError(f'min_confidence of {TRUST} falls as the precision rises')
    origin = built.get('origin')
    if origin is None:
        return
    if not isinstance(origin, dict) or not {'lat', 'lon'} <= set(origin) <= {'lat', 'lon', 'alt'}:
        raise ValueError('origin does not consist of lat, lon and alt')
    for name, most in (('lat', 90.0), ('lon', 180.0), ('alt', 1e6)):
        value = origin.get(name, 0.0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and abs(value) <= most):
            raise ValueError(f'{name} of the origin is not within -{most:g} and {most:g}')


def _is_trust(row: object) -> bool:
    """Whether a row of `TRUST` holds numbers from 0 to 1 and nothing else."""
    return (
        isinstance(row, dict)
        and set(row) == _TRUST_KEYS
        and all(type(value) in (int, float) and 0 <= value <= 1 for value in row.values())
    )


def _text(values: Mapping, key: str, where: str = 'it') -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f'{key} of {where} is not text')
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f'{key} of {where} is longer than {_LONGEST_TEXT} characters')
    return value


def _table(values: Mapping, key: str) -> dict:
    value = values.get(key)
    if not isinstance(value, dict):
        raise ValueError(f'{key} is not a table')
    return value


def _count(values: Mapping, key: str) -> int:
    value = values.get(key)
    if type(value) is not int or not 0 < value < 2**40:
        raise ValueError(f'{key} is not a whole number, 1 or more')
    return value


def encodable(value: object) -> object:
    """The value with all text such that UTF-8 can hold it, which paths need not be."""
    if isinstance(value, dict):
        return {encodable(k): encodable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(v) for v in value]
    if isinstance(value, str):
        return value.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')
    return value
