# SPDX-License-Identifier: Apache-2.0
"""The places of a map: one of them, and all of them as columns.

A map may have a million places, of which an answer needs a handful: columns are read at once, and
a `Place` is made when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np

from ashtkd_ros.geometry.pose import FARTHEST_M, POSE_COLUMNS, Pose

MOST = 2**53  # numbers up to here are exact
LATEST = 1e20  # seconds; older versions may have stored nanoseconds
LONGEST = 2**14  # bytes of a name in UTF-8
_DIGEST = 32  # bytes of a sha256


@dataclass(frozen=True)
class Place:
    """One picture of a place.

    `id`: of the place; pictures of one place share it. `stamp`: seconds; `order`: number of the
    image in its traverse; `pose`: in the map's frame, or None; `source`: name of its image in the
    traverse, a file in the folder, or the time in ns at which a bag received it; `label`: name of
    the place, or empty; `traverse`: number of the traverse in map.yaml; `geo`: latitude and
    longitude in degrees, or None; `thumbnail`: sha256 of its picture in the map, hexadecimal
    digits, empty without a picture; `row`: its number among the pictures of its map.
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
    row: int = field(default=0, compare=False)


class Texts(Sequence[str]):
    """N texts in one array of bytes, UTF-8: `blob` uint8 (B,), `ends` int64 (N,)."""

    def __init__(self, blob: np.ndarray, ends: np.ndarray):
        self.blob, self.ends = blob, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Of texts that need not be proper UTF-8, as names of files need not."""
        parts = [text.encode('utf-8', 'surrogateescape') for text in texts]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(np.frombuffer(b''.join(parts), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> str:
        start = int(self.ends[row - 1]) if row else 0
        return self.blob[start : self.ends[row]].tobytes().decode('utf-8', 'surrogateescape')

    @property
    def lengths(self) -> np.ndarray:
        """int64 (N,): bytes of each text."""
        return np.diff(self.ends, prepend=0)


class Places(Sequence[Place]):
    """The N places of a map, one a row, as columns.

    `ids`, `orders`, `traverses`: int64 (N,); `stamps`: float64 (N,), seconds; `poses`: float64
    (N, 7), x, y, z in metres and a quaternion, NaN without a pose; `geo`: float64 (N, 2), latitude
    and longitude in degrees, or NaN; `pictures`: uint8 (N, 32), sha256 of the pictures, zeros
    without one; `sources`, `labels`: N texts. Read-only.
    """

    NUMBERS: Mapping[str, tuple[type, tuple[int, ...]]] = {
        'ids': (np.int64, ()),
        'stamps': (np.float64, ()),
        'orders': (np.int64, ()),
        'traverses': (np.int64, ()),
        'poses': (np.float64, (7,)),
        'geo': (np.float64, (2,)),
        'pictures': (np.uint8, (_DIGEST,)),
    }
    TEXTS = ('sources', 'labels')

    def __init__(self, **columns: np.ndarray | Texts):
        self.ids, self.stamps, self.orders, self.traverses = (
            columns[name] for name in ('ids', 'stamps', 'orders', 'traverses')
        )
        self.poses, self.geo, self.pictures = (columns[n] for n in ('poses', 'geo', 'pictures'))
        self.sources, self.labels = columns['sources'], columns['labels']

    @classmethod
    def of(cls, places: Iterable[Place]) -> Places:
        """ValueError for a number that does not fit, or a picture's checksum that is none."""
        if isinstance(places, Places):
            return places
        places = list(places)
        nowhere, nothing = [np.nan] * 7, [np.nan] * 2
        columns = {
            'ids': [p.id for p in places],
            'stamps': [p.stamp for p in places],
            'orders': [p.order for p in places],
            'traverses': [p.traverse for p in places],
            'poses': [
                [getattr(p.pose, c) for c in POSE_COLUMNS] if p.pose else nowhere for p in places
            ],
            'geo': [p.geo or nothing for p in places],
            'pictures': [list(_digest(p.thumbnail, k)) for k, p in enumerate(places)],
        }
        try:
            arrays = {
                name: np.array(columns[name], kind).reshape(len(places), *shape)
                for name, (kind, shape) in cls.NUMBERS.items()
            }
        except OverflowError as error:
            raise ValueError('an id, order or traverse is out of range') from error
        texts = {
            'sources': Texts.of(p.source for p in places),
            'labels': Texts.of(p.label for p in places),
        }
        return cls(**arrays, **texts)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, row: int) -> Place: ...
    @overload
    def __getitem__(self, row: slice) -> list[Place]: ...
    def __getitem__(self, row: int | slice) -> Place | list[Place]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        row = range(len(self))[row]  # IndexError; negative ones count from the end
        pose, geo, picture = self.poses[row], self.geo[row], self.pictures[row]
        return Place(
            int(self.ids[row]),
            float(self.stamps[row]),
            int(self.orders[row]),
            None if np.isnan(pose[0]) else Pose(*pose.tolist()),
            self.sources[row],
            self.labels[row],
            int(self.traverses[row]),
            None if np.isnan(geo[0]) else tuple(geo.tolist()),
            picture.tobytes().hex() if picture.any() else '',
            row,
        )

    def __iter__(self) -> Iterator[Place]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None

    @cached_property
    def posed(self) -> np.ndarray:
        """bool (N,): which have a pose."""
        return ~np.isnan(self.poses[:, 0])

    @cached_property
    def all_posed(self) -> bool:
        """Whether all have a pose."""
        return bool(self.posed.all())

    @property
    def positions(self) -> np.ndarray:
        """float64 (N, 3): metres, NaN without a pose."""
        return self.poses[:, :3]

    @cached_property
    def yaws(self) -> np.ndarray:
        """float64 (N,): headings about z in radians, see `Pose.yaw`."""
        x, y, z, w = self.poses[:, 3:].T
        return np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y**2 + z**2))

    def directions(self, rows: np.ndarray | slice) -> np.ndarray:
        """float64 (K, 3): where each of these rows looks, of length 1; NaN without a pose."""
        x, y, z, w = self.poses[rows, 3:].T
        ahead = np.stack([1 - 2 * (y**2 + z**2), 2 * (x * y + w * z), 2 * (x * z - w * y)], axis=1)
        return ahead / np.linalg.norm(ahead, axis=1, keepdims=True)

    @cached_property
    def names(self) -> np.ndarray:
        """int64 (N,): the same number where the label is the same; one of its own without."""
        names, first = -1 - np.arange(len(self)), {}
        for row in np.flatnonzero(self.labels.lengths).tolist():
            names[row] = first.setdefault(self.labels[row], len(first))
        return names

    @cached_property
    def has_experiences(self) -> bool:
        """Whether a place has more than one picture."""
        return len(np.unique(self.ids)) < len(self)

    @cached_property
    def first_rows(self) -> Mapping[int, int]:
        """The number of each place → the row of its first picture."""
        ids, rows = np.unique(self.ids, return_index=True)
        return dict(zip(ids.tolist(), rows.tolist(), strict=True))

    def rows_of(self, place_id: int) -> np.ndarray:
        """int64: the rows of a place, none where the map lacks it."""
        return np.flatnonzero(self.ids == place_id)

    def check(self) -> None:
        """ValueError where there is none, or a value is out of range."""
        if not len(self):
            raise ValueError('it has no places')
        with np.errstate(over='ignore'):  # a file may hold any numbers
            quaternions = np.linalg.norm(self.poses[:, 3:], axis=1)
        geo = ~(np.isnan(self.geo).all(axis=1))
        longest = np.maximum(self.sources.lengths, self.labels.lengths)
        faults = {
            'its number is out of range': ~((self.ids >= 0) & (self.ids <= MOST)),
            'its stamp is not a time': ~(np.abs(self.stamps) <= LATEST),
            'its order or traverse is out of range': ~(
                (np.abs(self.orders) <= MOST) & (self.traverses >= 0) & (self.traverses <= MOST)
            ),
            'its source or label is too long': longest > LONGEST,
            'its latitude and longitude are not on Earth': geo
            & ~((np.abs(self.geo[:, 0]) <= 90.0) & (np.abs(self.geo[:, 1]) <= 360.0)),
            'its position is nowhere on earth': ~np.isnan(self.poses).all(axis=1)
            & ~(np.abs(self.positions) <= FARTHEST_M).all(axis=1),
            'its quaternion does not have length 1': self.posed
            & ~(np.abs(quaternions - 1.0) <= 0.02),
        }
        for why, wrong in faults.items():
            if wrong.any():
                raise ValueError(f'place {int(wrong.argmax())}: {why}')


def _digest(text: str, row: int) -> bytes:
    """The 32 bytes of a checksum in hexadecimal digits, zeros for an empty one."""
    if not text:
        return bytes(_DIGEST)
    if len(text) != 2 * _DIGEST or not set(text) <= set('0123456789abcdef'):
        raise ValueError(f'place {row}: the checksum of its picture is not a checksum')
    return bytes.fromhex(text)
