# SPDX-License-Identifier: Apache-2.0
"""Traverses → map of places: read, choose, decode, embed and note down, one image at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.geometry.trajectory import REASONS
from ashtkd_ros.images.faults import fault
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.keyframes import KeyframeOptions, moved
from ashtkd_ros.mapping.route_picture import write_route_picture
from ashtkd_ros.maps.description import encodable, frame_fault
from ashtkd_ros.maps.folder import ROUTE, check_target
from ashtkd_ros.maps.map_files import load_description
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.thumbnails import make_thumbnail
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.traverses.bag_traverse import UNUSABLE, BagTraverse
from ashtkd_ros.traverses.traverse import Cursor, Traverse

LOST = 'lost in a damaged bag'
_WAY_OUT = (
    'for positions give poses in "map": a topic of SLAM, AMCL or satellites (--pose-topic), '
    '/tf (--pose-topic /tf --map-frame map), or a file (--trajectory)'
)
_FORMAT = 3  # of the journal's entries


@dataclass(frozen=True)
class MapOptions:
    """`thumbnails`: keep a small JPEG of each place; `workers`: see `in_parallel`; `replace`: a
    map of other sources in the same place as well."""

    keyframes: KeyframeOptions = field(default_factory=KeyframeOptions)
    thumbnails: bool = True
    workers: int = 0
    replace: bool = False


@dataclass(frozen=True)
class _Candidate:
    """An image on its way: what the journal will hold of it, should it become a place."""

    place: Place
    cursor: Cursor
    counts: dict[str, int]
    size: tuple[int, ...]
    thumbnail: bytes


def rule_of(traverse: Traverse, options: KeyframeOptions) -> str:
    """The rule that "auto" stands for; VprError for distances without poses."""
    if options.rule == 'auto':
        by_poses = 'distance' if traverse.has_poses else 'change'
        return by_poses if isinstance(traverse, BagTraverse) else 'all'
    if options.rule == 'distance' and not traverse.has_poses:
        raise VprError(f'{traverse.path}: has no poses for keyframes by distance; use change')
    return options.rule


def build_map(
    traverses: Sequence[Traverse], embedder: Embedder, out: Path, options: MapOptions | None = None
) -> tuple[PlaceMap, Counter]:
    """Write the map of all traverses to `out`; the map, and what became of how many images.

    Place numbers follow the traverses in the order given. A killed build goes on where it was when
    it is called again with the same traverses, options and network.
    """
    options = options or MapOptions()
    check_target(out)
    if not options.replace:
        check_sources(out, traverses)
    builder = _Builder(traverses, embedder, options)
    journal = Journal(out, builder.key, embedder.dimensions)
    try:
        builder.run(journal)
        if not options.replace:  # meanwhile, another may have come there
            check_sources(out, traverses)
        place_map = builder.place_map(journal)
        route = None
        if any(place.pose is not None for place in place_map.places):
            route = journal.folder / ROUTE
            write_route_picture(route, place_map.places, builder.frame)
        place_map.save(out, journal.thumbnails if options.thumbnails else None, route)
        journal.remove()
    finally:
        journal.close()
        if not journal.count:  # nothing to go on from
            journal.remove()
    return place_map, builder.counts


def check_sources(out: Path, traverses: Sequence[Traverse]) -> None:
    """VprError where the map at `out` was made of other sources, or cannot tell."""
    if not Path(out).is_dir() or not any(Path(out).iterdir()):
        return
    try:
        before = load_description(out).info.traverses
    except VprError as error:
        raise VprError(f'{error}; --replace puts this one in its place') from error
    now = [encodable(t.describe()) for t in traverses]
    if sorted(map(_images_of, before)) != sorted(map(_images_of, now)):
        names = ', '.join(' '.join(filter(None, _images_of(t))) for t in before)
        raise VprError(
            f'{out}: is the map of {names or "sources that it does not name"}; give '
            'another folder for the map, or --replace to put this one in its place'
        )


def _images_of(traverse: Mapping[str, object]) -> tuple[str, ...]:
    """What says which images a traverse is of: recording, topic of the camera, role."""
    return tuple(str(traverse.get(key, '')) for key in ('source', 'image_topic', 'role'))


class _Builder:
    def __init__(self, traverses: Sequence[Traverse], embedder: Embedder, options: MapOptions):
        self.traverses, self.embedder, self.options = traverses, embedder, options
        self.rules = [rule_of(t, options.keyframes) for t in traverses]
        self.frame = _common_frame(traverses)
        self.counts: Counter[str] = Counter()
        self._similar = 0
        self._size: tuple[int, ...] | None = None
        self.key = {
            'format': _FORMAT,
            'model': embedder.hash,
            'options': asdict(replace(options, workers=0, replace=False)),  # they change no map
            'traverses': [[t.describe(), t.fingerprint()] for t in traverses],
        }

    def run(self, journal: Journal) -> None:
        """Add the places that the journal lacks."""
        begin, cursor, last_pose, last_descriptor = 0, None, None, None
        if journal.last is not None:
            entry = journal.last
            begin, cursor = entry['place']['traverse'], Cursor(**entry['cursor'])
            last_pose = _place(entry['place']).pose
            last_descriptor = np.array(journal.descriptors()[-1])
            self.counts, self._similar = Counter(entry['counts']), entry['similar']
            self._size = tuple(entry['size'])
        total = sum(t.count for t in self.traverses)
        with tqdm(
            total=total,
            initial=self.counts['images'],
            desc='map',
            unit='frame',
            delay=2,
            disable=None,
            smoothing=0.1,
        ) as bar:
            for number in range(begin, len(self.traverses)):
                candidates = self._candidates(number, cursor, last_pose, bar)
                self._add(candidates, number, journal, last_descriptor)
                cursor = last_pose = last_descriptor = None
        self.counts['no new place'] += self._similar
        self.counts[LOST] += max(0, total - self.counts['images'])
        journal.flush()

    def _candidates(
        self, number: int, cursor: Cursor | None, last: Pose | None, bar: tqdm
    ) -> Iterator[tuple[_Candidate, tuple[np.ndarray, str]]]:
        """Images that may become places, at the network's size, with their order of colours."""
        traverse, rule = self.traverses[number], self.rules[number]
        for at, frame in traverse.frames(cursor):
            bar.update()
            self.counts['images'] += 1
            if frame.refusal:
                self.counts[frame.refusal] += 1
            if frame.refusal in UNUSABLE:
                continue
            if rule == 'distance':
                if frame.pose is None:
                    self.counts['no pose'] += not frame.refusal
                    continue
                if not moved(frame.pose, last, self.options.keyframes):
                    self.counts['no new place'] += 1
                    continue
            small, order, thumbnail = self._look(frame, rule)
            if small is None:
                continue
            last = frame.pose
            place = Place(
                0,
                frame.stamp,
                frame.order,
                frame.pose,
                traverse.source_of(frame),
                frame.label,
                number,
                frame.geo,
            )
            known = dict(self.counts), self._size, thumbnail
            yield _Candidate(place, at, *known), (small, order)

    def _look(self, frame, rule: str) -> tuple[np.ndarray | None, str, bytes]:
        """Decode and judge: the image at the network's size, or None, counted by its fault."""
        try:
            pixels, order = frame.pixels(self.embedder.ample_size)
        except ImageError as error:  # of one message; an image file that is damaged is named
            self.counts[f'unreadable: {error.reason}'] += 1
            return None, '', b''
        if self._size not in (None, pixels.shape[:2]):
            self.counts['changes of image size'] += 1
        self._size = pixels.shape[:2]
        small = self.embedder.resize(pixels)
        if rule != 'all':
            large = pixels.shape[0] > small.shape[0] and pixels.shape[1] > small.shape[1]
            limits = self.options.keyframes
            why = fault(small if large else pixels, limits.max_blur, limits.min_light)
            if why:
                self.counts[why] += 1
                return None, '', b''
        thumbnail = make_thumbnail(pixels, order) if self.options.thumbnails else b''
        return small, order, thumbnail

    def _add(self, candidates, number: int, journal: Journal, last: np.ndarray | None) -> None:
        by_change = self.rules[number] == 'change'
        embed = self.embedder.embed
        for candidate, descriptor in in_parallel(embed, candidates, self.options.workers):
            same = self.options.keyframes.similarity
            if by_change and last is not None and float(descriptor @ last) >= same:
                self._similar += 1
                continue
            last = descriptor
            picture = ''
            if candidate.thumbnail:
                journal.add_thumbnail(journal.count, candidate.thumbnail)
                picture = sha256_of(candidate.thumbnail)
            place = replace(candidate.place, id=journal.count, thumbnail=picture)
            entry = {
                'place': asdict(place),
                'cursor': asdict(candidate.cursor),
                'counts': candidate.counts,
                'similar': self._similar,
                'size': candidate.size,
            }
            journal.add(entry, descriptor)

    def place_map(self, journal: Journal) -> PlaceMap:
        """The map of all that is in the journal; VprError where that is nothing."""
        if not journal.count:
            why = '; '.join([self.verdict(), *self._times()])
            raise VprError(f'{self.traverses[0].path}: no image became a place: {why}')
        places = [_place(entry['place']) for entry in journal.entries()]
        built = {
            'traverses': [t.describe() for t in self.traverses],
            'keyframes': asdict(self.options.keyframes),
        }
        origin = next((t.origin for t in self.traverses if t.origin is not None), None)
        if origin is not None:
            built['origin'] = asdict(origin)
        return PlaceMap.build(journal.descriptors(), places, self.embedder, self.frame, **built)

    def verdict(self) -> str:
        """What became of the images, in words."""
        return ', '.join(f'{n} {what}' for what, n in self.counts.items() if n)

    def _times(self) -> list[str]:
        """When there were poses and images, where the one had none of the other's time."""
        return [
            f'{t.poses} has poses from {start:.1f} to {end:.1f} s, '
            f'the images start at {t.span[0]:.1f} s'
            for t in self.traverses
            if isinstance(t, BagTraverse) and t.track is not None
            if any(self.counts[why] for why in REASONS[1:])
            for start, end in [t.track.span]
        ]


def cautions(traverses: Sequence[Traverse]) -> list[str]:
    """What may make a poor map of traverses that are each good in themselves; a line each."""
    lines = []
    by_odometry = [t for t in traverses if getattr(t, 'by_odometry', False)]
    for frame in dict.fromkeys(t.frame_id for t in by_odometry):
        sources = [t for t in by_odometry if t.frame_id == frame]
        if len(sources) > 1:
            lines.append(
                f'{len(sources)} sources have poses of odometry in "{frame}", which begins anew '
                f'with each drive, so that their places may not fit together; {_WAY_OUT}, or '
                'build a map of each'
            )
        else:
            lines.append(
                f'{sources[0].path}: the poses of {sources[0].poses} are odometry, whose frame '
                f'"{frame}" begins anew with each drive: places are named all the same, but AMCL '
                f'does not take their poses; {_WAY_OUT}'
            )
    bare = [str(t.path) for t in traverses if not t.has_poses]
    if 0 < len(bare) < len(traverses):
        lines.append(
            f'{", ".join(bare)}: no poses, which the other sources have; places of both kinds in '
            'one map are told apart by their numbers only; better build a map of each'
        )
    return lines


def _place(values: dict) -> Place:
    pose, geo = values['pose'], values['geo']
    return Place(**{**values, 'pose': pose and Pose(**pose), 'geo': geo and tuple(geo)})


def _common_frame(traverses: Sequence[Traverse]) -> str:
    frames = {(t.frame_id, t.origin): t.path for t in traverses if t.has_poses}
    if len(frames) > 1:
        listed = ', '.join(
            f'"{frame}"{" of NavSatFix" if origin else ""} in {path}'
            for (frame, origin), path in frames.items()
        )
        raise VprError(f'the poses are in different frames, {listed}; one map needs one frame')
    for (frame, _), path in frames.items():
        if frame_fault(frame):
            raise VprError(
                f'{path}: the frame of its poses is "{frame[:80]}", but {frame_fault(frame)}; '
                'give other poses (--pose-topic), or none (--pose-topic none)'
            )
    return next((frame for frame, _ in frames), 'map')
