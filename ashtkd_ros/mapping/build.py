# SPDX-License-Identifier: Apache-2.0
"""Traverses → map of places: choose, decode, embed and note down, one image at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.geometry.trajectory import REASONS
from ashtkd_ros.images.faults import fault
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.mapping.calibration import calibrated
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.keyframes import KeyframeOptions, moved, rule_of
from ashtkd_ros.mapping.route_picture import write_route_picture
from ashtkd_ros.mapping.source_checks import check_sources, common_frame
from ashtkd_ros.maps.folder import ROUTE, check_target
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.thumbnails import make_thumbnail, thumbnail_pixels
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.traverse import Cursor, Traverse

LOST = 'lost in a damaged recording'
_FORMAT = 4  # of the journal's entries


@dataclass(frozen=True)
class MapOptions:
    """How a map is built.

    `thumbnails`: keep a small JPEG of each place; `local`: keep the local features of each place,
    by which answers are verified, where the network has such; `workers`: images embedded at the
    same time, 0: one on each core; `replace`: replace a map in the same folder even if it was made
    from other sources; `index`: how its descriptors are indexed.
    """

    keyframes: KeyframeOptions = field(default_factory=KeyframeOptions)
    thumbnails: bool = True
    local: bool = True
    workers: int = 0
    replace: bool = False
    index: IndexOptions = field(default_factory=IndexOptions)


@dataclass(frozen=True)
class _Candidate:
    """What the journal will hold of an image if it becomes a place."""

    place: Place
    cursor: Cursor
    counts: dict[str, int]
    size: tuple[int, ...]
    thumbnail: bytes


def build_map(
    traverses: Sequence[Traverse],
    embedder: Embedder,
    out: Path,
    options: MapOptions | None = None,
    add_places: Callable[[Builder, Journal], None] | None = None,
) -> tuple[PlaceMap, Counter]:
    """Write the map of all traverses to `out`: the map, and the numbers of images by their fate.

    `add_places`: does what `Builder.run` does by other means, see `fleet.fleet`.

    Places are numbered in the order of the traverses. If a build was killed, a call with the same
    traverses, options and network continues it. VprError if there is no place, if poses are in
    different frames, or if `out` holds something else.
    """
    options, add_places = options or MapOptions(), add_places or Builder.run
    check_target(out)
    if not options.replace:
        check_sources(out, traverses)
    builder = Builder(traverses, embedder, options)
    with Journal(out, builder.key, embedder.dimensions, builder.local) as journal:
        add_places(builder, journal)
        builder.finish()
        if not options.replace:  # another map may have been written there meanwhile
            check_sources(out, traverses)
        place_map = builder.place_map(journal)
        if options.thumbnails:
            builder.calibrate(place_map, journal.folder)
        route = None
        if place_map.places.posed.any():
            route = journal.folder / ROUTE
            write_route_picture(route, place_map.places, builder.frame)
        place_map.save(out, journal.thumbnails if options.thumbnails else None, route)
        journal.remove()
    return place_map, builder.counts


class Builder:
    """Adds the places of some traverses to a journal.

    `on_one_core`: decode and embed in turn, not beside each other. `counts`: numbers of images by
    their fate; `similar`: of those that were embedded and are no places.
    """

    def __init__(
        self,
        traverses: Sequence[Traverse],
        embedder: Embedder,
        options: MapOptions,
        on_one_core: bool = False,
    ):
        self.traverses, self.embedder, self.options = traverses, embedder, options
        self._on_one_core = on_one_core
        self.local = embedder.local if options.local else None
        self.rules = [rule_of(t, options.keyframes) for t in traverses]
        self.frame = common_frame(traverses)
        self.counts: Counter[str] = Counter()
        self.similar = 0
        self._size: tuple[int, ...] | None = None
        self.key = {
            'format': _FORMAT,
            'model': embedder.hash,
            'options': _of_places(options),
            'traverses': [[t.describe(), t.fingerprint()] for t in traverses],
        }

    def run(self, journal: Journal) -> None:
        """Add the places that are not in the journal yet."""
        begin, cursor, last_pose, last_descriptor = 0, None, None, None
        if journal.last is not None:
            entry = journal.last
            begin, cursor = entry['place']['traverse'], Cursor(**entry['cursor'])
            last_pose = _place(entry['place']).pose
            last_descriptor = np.array(journal.descriptors()[-1])
            self.counts, self.similar = Counter(entry['counts']), entry['similar']
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
                cursor = last_pose = last_descriptor = self._size = None
        journal.flush()

    def finish(self) -> None:
        """Add to the counts what is only known when all traverses have been read."""
        self.counts['no new place'] += self.similar
        self.counts[LOST] += max(0, sum(t.count for t in self.traverses) - self.counts['images'])

    def _candidates(
        self, number: int, cursor: Cursor | None, last: Pose | None, bar: tqdm
    ) -> Iterator[tuple[_Candidate, tuple[np.ndarray, str]]]:
        """Images that may become places, at the network's size, and their order of colours."""
        traverse, rule = self.traverses[number], self.rules[number]
        for at, frame in traverse.frames(cursor):
            bar.update()
            self.counts['images'] += 1
            if not self._is_chosen(frame, rule, last):
                continue
            small, order, thumbnail = self._decode(frame, rule)
            if small is None:
                continue
            last = frame.pose
            place = _place_of(frame, number)
            known = dict(self.counts), self._size, thumbnail
            yield _Candidate(place, at, *known), (small, order)

    def _is_chosen(self, frame: Frame, rule: str, last: Pose | None) -> bool:
        """Whether a frame may become a place, apart from its pixels; if not, it is counted."""
        if frame.refusal:
            self.counts[frame.refusal] += 1
        if not frame.is_usable:
            return False
        if rule != 'distance':
            return True
        if frame.pose is None:
            self.counts['no pose'] += not frame.refusal
            return False
        if not moved(frame.pose, last, self.options.keyframes):
            self.counts['no new place'] += 1
            return False
        return True

    def _decode(self, frame: Frame, rule: str) -> tuple[np.ndarray | None, str, bytes]:
        """Image at the network's size, order of colours, thumbnail; None if it is bad."""
        try:
            pixels, order = frame.pixels(self.embedder.ample_size)
        except ImageError as error:  # one message is counted; a damaged file ends the build
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
        """Embed the candidates and note down those that are places."""
        by_change = self.rules[number] == 'change'
        same = self.options.keyframes.similarity
        if self._on_one_core:
            looks = ((candidate, self.look(*pixels)) for candidate, pixels in candidates)
        else:
            looks = in_parallel(self.look, candidates, self.options.workers)
        for candidate, look in looks:
            if by_change and last is not None and float(look.descriptor @ last) >= same:
                self.similar += 1
                continue
            last = look.descriptor
            self._note_down(candidate, look, journal)

    def look(self, pixels: np.ndarray, order: str) -> Look:
        """What the network makes of an image at its size, uint8 (h, w[, 3]), in `order`."""
        if self.local is None:
            return Look(self.embedder.embed(pixels, order), None)
        return self.embedder.describe(pixels, order)

    def _note_down(self, candidate: _Candidate, look: Look, journal: Journal) -> None:
        picture = ''
        if candidate.thumbnail:
            journal.add_thumbnail(journal.count, candidate.thumbnail)
            picture = sha256_of(candidate.thumbnail)
        place = replace(candidate.place, id=journal.count, thumbnail=picture)
        entry = {
            'place': asdict(place),
            'cursor': asdict(candidate.cursor),
            'counts': candidate.counts,
            'similar': self.similar,
            'size': candidate.size,
        }
        journal.add(entry, look.descriptor, look.local)

    def place_map(self, journal: Journal) -> PlaceMap:
        """The map of all places in the journal; VprError if there is none."""
        if not journal.count:
            why = '; '.join([self.verdict(), *self._times()])
            raise VprError(
                f'{self.traverses[0].path}: no image became a place: {why}; {self._remedy()}'
            )
        places = [_place(entry['place']) for entry in journal.entries()]
        built = {
            'traverses': [t.describe() for t in self.traverses],
            'keyframes': asdict(self.options.keyframes),
        }
        origin = next((t.origin for t in self.traverses if t.origin is not None), None)
        if origin is not None:
            built['origin'] = asdict(origin)
        rows, local = journal.descriptors(), journal.local()
        index = self.options.index
        return PlaceMap.build(rows, places, self.embedder, self.frame, local, index, **built)

    def calibrate(self, place_map: PlaceMap, folder: Path) -> None:
        """Fit the confidence to what the map answers to its own pictures, changed."""
        picture = partial(thumbnail_pixels, folder)
        found = calibrated(place_map, self.embedder, picture, self.options.workers)
        place_map.info = place_map.info.calibrated(found.coefficients, found.trust)

    def verdict(self) -> str:
        """Numbers of images by their fate, in one line."""
        return ', '.join(f'{n} {what}' for what, n in self.counts.items() if n)

    def _remedy(self) -> str:
        """What to do where no image became a place, by what most of them lacked."""
        lacking = Counter({what: n for what, n in self.counts.items() if what != 'images'})
        chief = lacking.most_common(1)[0][0] if lacking else LOST
        if chief in ('no pose', *REASONS[1:]):
            return 'give poses of the time of the images'
        if chief == LOST or chief.startswith('unreadable'):
            return 'copy the source again'
        return 'give images that are sharp and bright enough'

    def _times(self) -> list[str]:
        """The times of poses and images, if images had no pose for their time."""
        return [
            f'{t.poses} has poses from {start:.1f} to {end:.1f} s, '
            f'the images start at {t.span[0]:.1f} s'
            for t in self.traverses
            if t.track is not None
            if any(self.counts[why] for why in REASONS[1:])
            for start, end in [t.track.span]
        ]


def _of_places(options: MapOptions) -> dict:
    """The options that change places, which workers, replace and index do not."""
    values = asdict(replace(options, workers=0, replace=False))
    del values['index']
    return values


def _place_of(frame: Frame, traverse: int) -> Place:
    """The place that a frame becomes, with number 0 until it is noted down."""
    return Place(
        0,
        frame.stamp,
        frame.order,
        frame.pose,
        frame.source,
        frame.label,
        traverse,
        frame.geo,
    )


def _place(values: dict) -> Place:
    """The place in a journal's entry."""
    pose, geo = values['pose'], values['geo']
    return Place(**{**values, 'pose': pose and Pose(**pose), 'geo': geo and tuple(geo)})
