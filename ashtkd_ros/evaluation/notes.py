# SPDX-License-Identifier: Apache-2.0
"""Notes of an evaluation: what may make its figures mean less than they seem to, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ashtkd_ros.evaluation.metrics import RECALL_AT, Metrics
from ashtkd_ros.evaluation.node_answers import NodeAnswer, RecordedAnswers
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry
from ashtkd_ros.images.bit_depth import bits_of
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.traverses.traverse import Traverse


def pose_notes(place_map: PlaceMap, traverse: Traverse) -> list[str]:
    """Whether the poses of map and traverse may be in different frames, or are missing."""
    notes, frame = [], place_map.info.frame
    if traverse.frame_id != frame:
        notes.append(
            f'the poses of the traverse are in frame "{traverse.frame_id}", those of the map '
            f'in "{frame}"; the figures are right only if both are the same frame'
        )
    elif bool(place_map.info.origin) != bool(traverse.origin):
        one, other = 'the map', 'the traverse'
        if traverse.origin:
            one, other = other, one
        notes.append(
            f'the poses of {one} come from satellites, those of {other} do not, but both are in '
            f'"{frame}"; the figures are right only if both are the same frame'
        )
    notes += _odometry_notes(place_map, traverse)
    if lacking := sum(place.pose is None for place in place_map.places):
        notes.append(f'{lacking} places of the map have no pose and never count as right')
    return notes


def _odometry_notes(place_map: PlaceMap, traverse: Traverse) -> list[str]:
    """Two recordings by odometry hardly share a frame, whatever their frames are called."""
    info, source = place_map.info, traverse.path.resolve()
    known = any(t.get(ODOMETRY_KEY) for t in info.traverses) or is_odometry(info.frame)
    sources = {Path(t['source']) for t in info.traverses}
    if not (known and traverse.by_odometry) or sources == {source}:
        return []
    if sources & {source, source.parent}:  # a file of the same bag
        return []
    sure = 'are probably' if is_odometry(info.frame) else 'may be'
    return [
        f'the poses of the map and those of {traverse.path} are odometry of different recordings; '
        f'odometry begins a new frame with each recording, so they {sure} not in one frame, and '
        'right answers may count as wrong; judge by poses in frame "map" (--pose-topic, '
        '--trajectory), by --correspondences or by place names'
    ]


def depth_notes(place_map: PlaceMap, traverse: Traverse) -> list[str]:
    """Whether values of 16 bits were scaled differently for the map, or exceed its range."""
    depth, before = traverse.depth, {bits_of(t) for t in place_map.traverses if 'bits' in t}
    notes = [text] if (text := depth.text_of_brighter()) else []
    if depth.used and not before <= {depth.bits}:
        notes.append(
            f'the images of the map used {max(before)} bits, these use {depth.bits}, so that the '
            'same brightness looks darker; build the map from both recordings'
        )
    return notes


def positive_notes(metrics: Metrics, rule: str) -> list[str]:
    """Whether most queries have no right place: recall then says nothing about recognition.

    `rule` says in words what is right.
    """
    without, count = metrics.without_positive, metrics.queries
    if 2 * without <= count:
        return []
    share = 'none' if without == count else f'only {count - without}'
    return [
        f'{share} of {count} queries have a right place in the map ({rule}); check that the map '
        'and the traverse show the same route, that their poses are in one frame, and that '
        'numbers are those of their frames'
    ]


def verification_notes(unverified: str, faults: Mapping[str, int], count: int) -> list[str]:
    """Whether `count` answers were not verified, or some of them.

    `unverified`: why none was, empty where they were; `faults`: why some were not → their number.
    """
    some = [f'{n} of {count} answers are not verified: {why}' for why, n in faults.items()]
    return [unverified, *some] if unverified else some


def answer_notes(
    traverse: Traverse,
    recorded: RecordedAnswers,
    given: Sequence[NodeAnswer | None],
    candidates: int,
) -> list[str]:
    """Whether answers are missing, were withheld, are too short, or are of another source.

    `given`: the answer to each query, None where there is none. `candidates`: the number of
    places that an answer would need for every figure.
    """
    notes, count, source = [], len(given), traverse.path.resolve().name
    answered = [answer for answer in given if answer is not None]
    if missing := count - len(answered):
        notes.append(
            f'{missing} of {count} images have no answer; they count as unknown and never as right'
        )
    if withheld := sum(not answer.places for answer in answered):
        notes.append(
            f'the node named no place for {withheld} of {count} images, because the confidence '
            'was below its min_confidence or it refused the image; they count as unknown and '
            'never as right'
        )
    longest = max((len(answer.places) for answer in answered), default=0)
    if longest and (lost := [n for n in RECALL_AT if longest < n <= candidates]):
        notes.append(
            f'the node named at most {longest} places for an image (top_k), so that '
            f'{", ".join(f"R@{n}" for n in lost)} cannot be measured'
        )
    if recorded.source.name != source:
        notes.append(f'the answers were recorded with {recorded.source}, not with {source}')
    return notes
