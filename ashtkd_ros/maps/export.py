# SPDX-License-Identifier: Apache-2.0
"""The places of a map for other programs: GeoJSON, KML, CSV and poses in TUM format.

GeoJSON is RFC 7946, KML is 2.2 (OGC 07-147r2): both have a feature for each place, at its first
picture that has coordinates, and a line for each traverse. CSV and TUM have a row for each
picture. The same map gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.geometry.pose import POSE_COLUMNS
from ashtkd_ros.maps.coordinates import coordinates, lines_of
from ashtkd_ros.maps.description import encodable
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places_rows import some_rows
from ashtkd_ros.text import counted, one_line

_MADE_BY = 'ashtkd_ros map_tools export'  # by which a file of ours is known again
_MARK = 'generator'
_KML = 'http://www.opengis.net/kml/2.2'
_CSV = ('id', 'label', 'stamp', *POSE_COLUMNS, 'latitude', 'longitude', 'traverse', 'source')
_CSV_HEADER = (','.join(_CSV) + '\n').encode()
_TUM_HEADER = f'# {_MADE_BY}\n# stamp {" ".join(POSE_COLUMNS)}\n'.encode()
_KML_HEADER = f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- {_MADE_BY} -->\n'.encode()


@dataclass(frozen=True)
class Export:
    """The bytes of a file, what is in it, and what the user should know of it, a line each."""

    data: bytes
    about: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Format:
    """How a map is written: `write`, which may raise VprError where the map lacks what the format
    needs, and whether bytes are such a file of ours."""

    write: Callable[[PlaceMap], Export]
    is_ours: Callable[[bytes], bool]


def geojson(place_map: PlaceMap) -> Export:
    """RFC 7946: positions are longitude, latitude in degrees."""
    places, traverses, notes = _on_earth(place_map)
    features = [
        {
            'type': 'Feature',
            'id': facts['id'],
            'geometry': {'type': 'Point', 'coordinates': at},
            'properties': {'kind': 'place', **facts},
        }
        for at, facts in places
    ]
    features += [
        {
            'type': 'Feature',
            'geometry': {'type': 'LineString', 'coordinates': parts[0]}
            if len(parts) == 1
            else {'type': 'MultiLineString', 'coordinates': parts},
            'properties': {'kind': 'traverse', **facts},
        }
        for parts, facts in traverses
    ]
    # A feature a line: small differences of two maps are small differences of two files.
    rows = ',\n'.join(json.dumps(feature, allow_nan=False) for feature in features)
    head = f'{{"type": "FeatureCollection", "{_MARK}": "{_MADE_BY}", "features": [\n'
    return Export(f'{head}{rows}\n]}}\n'.encode(), _about(places, traverses), notes)


def kml(place_map: PlaceMap) -> Export:
    """For Google Earth; on the ground, since heights of maps are not above the ground."""
    places, traverses, notes = _on_earth(place_map)
    root = ElementTree.Element('kml', xmlns=_KML)
    document = ElementTree.SubElement(root, 'Document')
    _child(document, 'name', 'places' if place_map.folder is None else place_map.folder.name)
    for at, facts in places:
        mark = _placemark(document, facts['label'] or f'place {facts["id"]}', facts)
        _child(ElementTree.SubElement(mark, 'Point'), 'coordinates', _kml_text([at]))
    for parts, facts in traverses:
        mark = _placemark(document, f'traverse {facts["traverse"]}', facts)
        lines = ElementTree.SubElement(mark, 'MultiGeometry')
        for part in parts:
            line = ElementTree.SubElement(lines, 'LineString')
            _child(line, 'tessellate', '1')
            _child(line, 'coordinates', _kml_text(part))
    ElementTree.indent(root)
    data = _KML_HEADER + ElementTree.tostring(root, 'utf-8') + b'\n'
    return Export(data, _about(places, traverses), notes)


def table(place_map: PlaceMap) -> Export:
    """CSV: cells are empty where a picture has no pose or no coordinates."""
    text, geo = io.StringIO(), coordinates(place_map)
    # Some versions of csv do not quote a lone carriage return, but it ends a row in all of them.
    odd = any('\r' in p.source or '\r' in p.label for p in place_map.places)
    rows = csv.writer(
        text, lineterminator='\n', quoting=csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL
    )
    text.write(_CSV_HEADER.decode())
    for p, (lat, lon) in zip(place_map.places, geo.tolist(), strict=True):
        pose = [getattr(p.pose, c) for c in POSE_COLUMNS] if p.pose else [''] * 7
        at = ['', ''] if np.isnan(lat) else [lat, lon]
        rows.writerow([p.id, _text(p.label), p.stamp, *pose, *at, p.traverse, _text(p.source)])
    return Export(text.getvalue().encode(), counted(len(place_map.places), 'picture'))


def trajectory(place_map: PlaceMap) -> Export:
    """TUM format, in the order of the stamps; VprError where no picture has a pose, or traverses
    overlap in time, so that they are no one path."""
    places = place_map.places
    rows = np.flatnonzero(places.posed)
    if not len(rows):
        raise VprError(f'{_name(place_map)}: no place has a pose; export as csv')
    rows = rows[np.argsort(places.stamps[rows], kind='stable')]
    spans = {}
    for number in np.unique(places.traverses[rows]).tolist():
        stamps = places.stamps[rows][places.traverses[rows] == number]
        spans[number] = stamps.min(), stamps.max()
    inorder = sorted(spans, key=spans.get)
    for one, next_ in zip(inorder, inorder[1:], strict=False):
        if spans[next_][0] <= spans[one][1]:
            raise VprError(
                f'{_name(place_map)}: traverses {one} and {next_} overlap in time and are no one '
                f'path; export one of them with --traverse {one}'
            )
    lines = [
        ' '.join([np.format_float_positional(stamp, min_digits=6), *map(repr, pose)])
        for stamp, pose in zip(
            places.stamps[rows].tolist(), places.poses[rows].tolist(), strict=True
        )
    ]
    left = len(places) - len(rows)
    notes = [f'{counted(left, "picture")} without a pose left out'] if left else []
    data = _TUM_HEADER + '\n'.join(lines).encode() + b'\n'
    return Export(data, counted(len(lines), 'pose'), notes)


def of_traverse(place_map: PlaceMap, number: int) -> PlaceMap:
    """A map for export, with the pictures of one traverse alone; VprError where it has none."""
    rows = np.flatnonzero(place_map.places.traverses == number)
    if not len(rows):
        there = ', '.join(map(str, np.unique(place_map.places.traverses).tolist()))
        raise VprError(
            f'{_name(place_map)}: has no pictures of traverse {number}; it has those of {there}'
        )
    chosen = some_rows(place_map.places, rows)
    return PlaceMap(place_map.index, chosen, place_map.info, place_map.folder)


def _is_geojson(data: bytes) -> bool:
    return _MARK in json_keys(data) and json.loads(data)[_MARK] == _MADE_BY


FORMATS: Mapping[str, Format] = {
    'geojson': Format(geojson, _is_geojson),
    'kml': Format(kml, lambda data: data.startswith(_KML_HEADER)),
    'csv': Format(table, lambda data: data.startswith(_CSV_HEADER)),
    'tum': Format(trajectory, lambda data: data.startswith(_TUM_HEADER)),
}


def _on_earth(place_map: PlaceMap) -> tuple[list, list, list[str]]:
    """(position, facts) of each place, (lines, facts) of each traverse, and notes; VprError where
    nothing has coordinates. A position is [longitude, latitude] in degrees."""
    places, geo = place_map.places, coordinates(place_map)
    there = np.flatnonzero(~np.isnan(geo[:, 0]))
    if not len(there):
        raise VprError(
            f'{_name(place_map)}: no place has latitude and longitude, and map.yaml no origin; '
            'export as csv or tum, or build the map with NavSatFix'
        )
    ids, first, pictures = np.unique(places.ids[there], return_index=True, return_counts=True)
    found = []
    for row, count in zip(there[first].tolist(), pictures.tolist(), strict=True):
        p = places[row]
        pose = {} if p.pose is None else {c: getattr(p.pose, c) for c in POSE_COLUMNS}
        facts = {'id': p.id, 'label': _text(p.label), 'stamp': p.stamp, 'traverse': p.traverse}
        found.append((geo[row, ::-1].tolist(), {**facts, 'pictures': count, **pose}))
    lines = []
    for number, parts in lines_of(place_map, geo).items():
        sources = place_map.traverses
        source = sources[number]['source'] if number < len(sources) else ''
        name = _text(source.rstrip('/').rpartition('/')[2])
        lines.append((parts, {'traverse': number, 'source': name}))
    left = len(np.unique(places.ids)) - len(ids)
    notes = [f'{counted(left, "place")} without coordinates left out'] if left else []
    return found, lines, notes


def _about(places: Sequence, traverses: Sequence) -> str:
    lines = counted(len(traverses), 'line')
    return f'{counted(len(places), "place")}, {lines} of traverses'


def _name(place_map: PlaceMap) -> str:
    return 'the map' if place_map.folder is None else str(place_map.folder)


def _text(text: str) -> str:
    """Text that UTF-8 can hold; labels and names of files need not be such."""
    return encodable(text)


def _child(parent: ElementTree.Element, tag: str, text: str) -> None:
    """A child with text: one line without control characters, which XML cannot hold."""
    ElementTree.SubElement(parent, tag).text = _xml_text(text)


def _xml_text(text: str) -> str:
    return one_line(_text(text)).replace('\ufffe', '\ufffd').replace('\uffff', '\ufffd')


def _placemark(
    document: ElementTree.Element, name: str, facts: Mapping[str, object]
) -> ElementTree.Element:
    mark = ElementTree.SubElement(document, 'Placemark')
    _child(mark, 'name', name)
    data = ElementTree.SubElement(mark, 'ExtendedData')
    for key, value in facts.items():
        _child(ElementTree.SubElement(data, 'Data', name=key), 'value', str(value))
    return mark


def _kml_text(positions: list[list[float]]) -> str:
    return ' '.join(f'{lon:.9f},{lat:.9f}' for lon, lat in positions)
