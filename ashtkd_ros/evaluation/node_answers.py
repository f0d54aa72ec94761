# SPDX-License-Identifier: Apache-2.0
"""The answers of a node to a traverse, as `live` recorded them in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.files.reading import read_text
from ashtkd_ros.files.writing import check_output
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.text import reason_of

SCHEMA_VERSION = 2
# By these names an earlier file of answers of any version is known.
_KEYS = {'schema_version', 'source', 'sent', 'rate', 'node', 'answers'}
_NUMBER = (int, float)
_STAGES = ('decode', 'embed', 'verify', 'rest', 'latency')


def check_answers(path: Path) -> None:
    """Make the folder of a file of answers; VprError where the file cannot be written.

    A file of another kind is not replaced.
    """
    check_output(path, lambda data: json_keys(data) >= _KEYS, 'the file of answers')


@dataclass(frozen=True)
class NodeAnswer:
    """Answer to one image: ids of places best first, their confidences, and the latency.

    `seconds`: from sending the image to receiving the answer; None where it is not known.
    """

    places: list[int]
    scores: list[float]
    seconds: float | None


@dataclass(frozen=True)
class RecordedAnswers:
    """A file of answers.

    `source`: what was played. `map_sha256`: see `map_checksum`. `sent`: number of images played.
    `rate`: how many times faster than recorded. `hz`: images per second before `rate`; 0: as
    recorded. `node`: values of the node's own diagnostics. `answers`: stamp of an image in ns →
    answer. `machine`: see `machine.measured_on`; it is empty in files of older versions.
    """

    path: Path
    source: Path
    map_sha256: str
    sent: int
    rate: float
    hz: float
    node: Mapping[str, str]
    answers: Mapping[int, NodeAnswer]
    machine: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> RecordedAnswers:
        """Raise VprError where the file cannot be read, or `live` did not write it."""
        path, advice = Path(path), 'record them with live'
        try:
            values = parse_json(read_text(path))
        except OSError as error:
            raise VprError(
                f'{path}: the answers cannot be read ({reason_of(error)}); {advice}'
            ) from error
        except ValueError:
            values = None
        if isinstance(values, dict) and 'methods' in values:
            raise VprError(f'{path}: is a report, not a file of answers; {advice}')
        if not isinstance(values, dict) or 'answers' not in values:
            raise VprError(f'{path}: is not a file of answers; {advice}')
        if values.get('schema_version') != SCHEMA_VERSION:
            raise VprError(
                f'{path}: has answers in format {str(values.get("schema_version"))[:20]}, '
                f'this program reads {SCHEMA_VERSION}; {advice}'
            )
        if not _is_whole(values):
            raise VprError(f'{path}: the answers are damaged; {advice}')
        answers = {
            a['stamp_ns']: NodeAnswer(a['places'], a['scores'], a['seconds'])
            for a in values['answers']
        }
        names = ('map_sha256', 'sent', 'rate', 'hz', 'node')
        given = (values[n] for n in names)
        machine = values.get('machine', {})
        return cls(path, Path(values['source']), *given, answers, machine)

    def check_map(self, place_map: PlaceMap) -> None:
        """Raise VprError where the answers are those of another map."""
        folder = place_map.folder
        named = {i for a in self.answers.values() for i in a.places}
        if self.map_sha256 != map_checksum(folder) or named - set(place_map.places.first_rows):
            raise VprError(
                f'{self.path}: was recorded with another map than {folder}; name the map that it '
                'was recorded with'
            )

    def facts(self) -> dict[str, str]:
        """Facts for the report: how fast the images were played, what the node says of itself."""
        speed = f'{self.rate:g} times as fast as recorded'
        if self.hz:
            speed = f'{self.hz * self.rate:g} images a second'
        node, parts = self.node, []
        if provider := node.get('execution provider'):
            parts.append(f'network on {provider}')
        if verification := node.get('verification'):
            parts.append(f'verification {verification}')
        stages = [(s, node.get(f'{s} p50 ms')) for s in _STAGES]
        if any(value for _, value in stages):
            medians = ', '.join(f'{stage} {value}' for stage, value in stages if value)
            parts.append(f'{medians} ms at the median of the last images')
        counts = ('images received', 'images dropped', 'bad images', 'images above max_rate_hz')
        parts += [f'{node[name]} {name}' for name in counts if name in node]
        told = {'The node': '; '.join(parts)} if parts else {}
        return {'How': f'by the node, live, {speed}', **told}


def _is_whole(values: dict) -> bool:
    texts = all(isinstance(values.get(key), str) for key in ('source', 'map_sha256'))
    numbers = all(_is_of_kind(values.get(key), _NUMBER) for key in ('rate', 'hz'))
    node = values.get('node')
    told = [node, values.get('machine', {})]
    if not all(isinstance(x, dict) and all(map(_is_text, x.values())) for x in told):
        return False
    if not (texts and numbers and _is_of_kind(values.get('sent'), int) and isinstance(node, dict)):
        return False
    return isinstance(values['answers'], list) and all(map(_is_answer, values['answers']))


def _is_answer(answer: object) -> bool:
    if not isinstance(answer, dict) or not _is_of_kind(answer.get('stamp_ns'), int):
        return False
    places, scores = answer.get('places'), answer.get('scores')
    if not isinstance(places, list) or not isinstance(scores, list) or len(places) != len(scores):
        return False
    ids = all(_is_of_kind(place, int) and place >= 0 for place in places)
    timed = answer.get('seconds', 0) is None or _is_of_kind(answer.get('seconds'), _NUMBER)
    return ids and timed and all(_is_of_kind(s, _NUMBER) and math.isfinite(s) for s in scores)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_of_kind(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
