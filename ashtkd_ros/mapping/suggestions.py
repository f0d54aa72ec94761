# SPDX-License-Identifier: Apache-2.0
"""What of a traverse a map does not know yet: new looks of its places, and places off the map.

The sequence filter follows the traverse through the map. Where it is certain of the place, but the
images resemble the place's pictures no more than those of other places, the place has a new look,
which is worth another experience. Where no place is accepted for long, the map has none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose_checks import is_odometry
from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT, fault
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.mapping.experiences import SamePlace
from ashtkd_ros.mapping.keyframes import options_of
from ashtkd_ros.mapping.looks import Looks, looks_of
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.recognition.following import EVIDENCE, Follower
from ashtkd_ros.recognition.matcher import Answer, Candidate, Matcher, MatcherConfig
from ashtkd_ros.recognition.recogniser import TARGET_PRECISION, least_confidence
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.traverse import Traverse

KNOWN, NEW_LOOK, OFF_THE_MAP = range(3)
_SMOOTH = 9  # images among which most decide
_PICTURES = 20  # of a stretch's places, whose light is measured


@dataclass(frozen=True)
class SuggestOptions:
    """What is looked for.

    `target_precision`: as of the node, share of the accepted places that are to be right;
    `sequence_length`: images that the filter remembers; `least`: pictures that a stretch must be
    worth, see `_worth`; `max_blur`, `min_light`: limits of images that are used, see
    `faults.fault`; `workers`: images at a time, 0: one for each core.
    """

    target_precision: float = TARGET_PRECISION
    sequence_length: int = 10
    least: int = 5
    max_blur: float = MAX_BLUR
    min_light: float = MIN_LIGHT
    workers: int = 0


@dataclass(frozen=True)
class Seen:
    """What became of an image.

    `kind`: KNOWN, NEW_LOOK or OFF_THE_MAP; `row`: of the place's picture in the map; `similarity`:
    to the most similar picture near it; `light`: mean brightness, 0 to 255; `differs`: whether it
    differs from the last image that did as two pictures in a row of the map do.
    """

    frame: Frame
    number: int
    kind: int
    row: int
    similarity: float
    light: float
    differs: bool


@dataclass(frozen=True)
class Stretch:
    """Images in a row of one kind.

    `light_of_map`: of a new look, mean brightness of the places' pictures, None without such;
    `on_route`: of what is off the map, whether by the poses the map has places there.
    """

    kind: int
    seen: Sequence[Seen]
    light_of_map: float | None = None
    on_route: bool = False

    @property
    def similarity(self) -> float:
        """Median."""
        return float(np.median([s.similarity for s in self.seen]))

    @property
    def light(self) -> float:
        """Mean brightness, 0 to 255."""
        return float(np.mean([s.light for s in self.seen]))


@dataclass(frozen=True)
class Suggestions:
    """`stretches`: new looks and what is off the map, in order; `counts`: images by kind, as they
    were smoothed; `passed`: why images were not used → how many; `same_metres`: how far a place
    has to reach for them to be looks of it, None where the map's own distance does."""

    looks: Looks
    least_confidence: float
    counts: Counter[int]
    stretches: list[Stretch]
    passed: Counter[str] = field(default_factory=Counter)
    same_metres: float | None = None

    @property
    def looks_to_add(self) -> int:
        """How many of the stretches are other looks of places that the map has."""
        return sum(s.kind == NEW_LOOK or s.on_route for s in self.stretches)


def suggest(
    place_map: PlaceMap,
    embedder: Embedder,
    traverse: Traverse,
    options: SuggestOptions | None = None,
) -> Suggestions:
    """Look through a traverse; VprError where the map is too small, or no image can be used."""
    options = options or SuggestOptions()
    matcher, passed = Matcher(place_map), Counter()
    looks = looks_of(matcher)
    least = least_confidence(place_map.info, -1.0, options.target_precision)
    follower = _Watcher(matcher, looks, least, options.sequence_length)
    jobs = _usable(traverse, embedder, options, passed)
    seen = [
        follower.see(frame, number, light, look)
        for (frame, number, light), look in in_parallel(embedder.describe, jobs, options.workers)
    ]
    if not seen:
        why = ', '.join(f'{n} {reason}' for reason, n in passed.items()) or 'it has none'
        raise VprError(f'{traverse.path}: no image can be used ({why}); give another recording')
    kinds = _smoothed(np.array([s.kind for s in seen]))
    edges = np.flatnonzero(np.diff(kinds, prepend=-1, append=-1)).tolist()
    same_frame = traverse.frame_id == place_map.info.frame
    posed = same_frame and not (traverse.by_odometry or is_odometry(traverse.frame_id))
    stretches = []
    for start, end in zip(edges, edges[1:], strict=False):
        part, kind = seen[start:end], int(kinds[start])
        if kind != KNOWN and _worth(place_map, kind, part) >= options.least:
            if kind == NEW_LOOK:
                stretches.append(Stretch(kind, part, _light_of(place_map, part)))
            else:
                on_route = posed and _on_route(matcher, part)
                stretches.append(Stretch(kind, part, on_route=on_route))
    metres = _same_metres(place_map, seen) if posed else None
    return Suggestions(looks, least, Counter(kinds.tolist()), stretches, passed, metres)


class _Watcher:
    """Follows a traverse through a map, image by image."""

    def __init__(self, matcher: Matcher, looks: Looks, least: float, length: int):
        self._matcher, self._looks, self._least = matcher, looks, least
        self._follower = Follower(matcher, length)
        self._last: np.ndarray | None = None

    def see(self, frame: Frame, number: int, light: float, look: Look) -> Seen:
        alone = self._matcher.answer(look, EVIDENCE, every_picture=True)
        followed = self._follower.follow(alone, look.descriptor, frame.stamp, 1)
        best = followed.candidates[0]
        similarity = self._similarity(best, alone)
        kind = KNOWN if similarity >= self._looks.limit else NEW_LOOK
        if best.confidence < self._least:
            kind = OFF_THE_MAP
        differs = self._last is None or self._last @ look.descriptor < self._looks.next
        if differs:
            self._last = look.descriptor
        return Seen(frame, number, kind, best.place.row, similarity, light, bool(differs))

    def _similarity(self, best: Candidate, alone: Answer) -> float:
        """To the most similar picture at the place or near it."""
        rows = [c.place.row for c in alone.candidates]
        near = self._matcher.near.between([best.place.row], rows)[0].tolist()
        others = (
            c.similarity for c, is_near in zip(alone.candidates, near, strict=True) if is_near
        )
        return max(best.similarity, *others, -1.0)


def _usable(
    traverse: Traverse, embedder: Embedder, options: SuggestOptions, passed: Counter[str]
) -> Iterator[tuple[tuple[Frame, int, float], tuple[np.ndarray, str]]]:
    """(frame, its number, its brightness), (small image, order) of all images that can be used."""
    with tqdm(total=traverse.count, desc='suggest', unit='frame', delay=2, disable=None) as bar:
        for cursor, frame in traverse.frames():
            bar.update()
            if not frame.is_usable:
                passed[frame.refusal] += 1
                continue
            try:
                image, order = frame.pixels(embedder.ample_size)
            except ImageError as error:
                passed[f'unreadable: {error.reason}'] += 1
                continue
            small = embedder.resize(image)
            if why := fault(small, options.max_blur, options.min_light):
                passed[why] += 1
                continue
            yield (frame.without_pixels(), cursor.number, _light(small)), (small, order)


def _smoothed(kinds: np.ndarray) -> np.ndarray:
    """Each image has the kind that most of the images around it have; of equals its own."""
    half = _SMOOTH // 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(kinds, half, mode='edge'), _SMOOTH)
    votes = np.stack([(around == kind).sum(axis=1) for kind in range(3)], axis=1).astype(float)
    votes[np.arange(len(kinds)), kinds] += 0.5
    return votes.argmax(axis=1)


def _worth(place_map: PlaceMap, kind: int, seen: Sequence[Seen]) -> int:
    """Of a new look, how many places it has; else how many images differ from the one before."""
    if kind == NEW_LOOK:
        return len(np.unique(place_map.places.ids[[s.row for s in seen]]))
    return sum(s.differs for s in seen)


def _light(image: np.ndarray) -> float:
    return float(np.mean(cv2.mean(image)[: 1 if image.ndim == 2 else 3]))


def _light_of(place_map: PlaceMap, seen: Sequence[Seen]) -> float | None:
    rows = sorted({s.row for s in seen})[:_PICTURES]
    pictures = (place_map.picture(place_map.places[row]) for row in rows)
    light = [_light(picture) for picture in pictures if picture is not None]
    return float(np.mean(light)) if light else None


def _on_route(matcher: Matcher, seen: Sequence[Seen]) -> bool:
    """Whether a place of the map is near most of these images, by their poses."""
    places = matcher.map.places
    at = places.positions[places.posed, :2]
    poses = [s.frame.pose for s in seen if s.frame.pose is not None]
    if not len(at) or not poses:
        return False
    gaps = (np.hypot(*(at - (pose.x, pose.y)).T).min() for pose in poses)
    return sum(gap <= matcher.config.neighbour_m for gap in gaps) > len(seen) / 2


def _same_metres(place_map: PlaceMap, seen: Sequence[Seen]) -> float | None:
    """How far a place has to reach for 9 of 10 images that were taken beside places to be looks of
    them, in half metres; None where the map's own distance between places does."""
    of_map, places = options_of(place_map.info.built), place_map.places
    widest = SamePlace(MatcherConfig.neighbour_m, of_map.degrees)
    at, yaws, nearest = places.positions[places.posed, :2], places.yaws[places.posed], []
    for pose in (s.frame.pose for s in seen if s.frame.pose is not None):
        apart = np.hypot(*(at - (pose.x, pose.y)).T)
        nearest.append(apart[widest.fits(apart, yaws - pose.yaw)].min(initial=math.inf))
    beside = [metres for metres in nearest if metres < math.inf]
    far = float(np.quantile(beside, 0.9)) if beside else 0.0
    return (math.floor(2 * far) + 1) / 2 if far >= of_map.metres else None


def places_of(place_map: PlaceMap, stretch: Stretch) -> list[Place]:
    """The places of a stretch in the order in which they were passed, each once."""
    places = (place_map.places[s.row] for s in stretch.seen)
    return list({place.id: place for place in places}.values())
