# SPDX-License-Identifier: Apache-2.0
"""Local features of an image, one at each position of a grid: their shape, checked and as int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.network.descriptors import TOLERANCE, first_not_unit
from ashtkd_ros.network.emptiness import NOT_EMPTY

LOCAL = 'local'  # name of the network's output, of its metadata and of the entry in map.yaml
SCALE = 127  # int8 of a number that is 1
_LONGEST_SIDE, _MOST_CHANNELS, _MOST_BYTES = 1024, 4096, 2**24


@dataclass(frozen=True)
class LocalShape:
    """`grid`: (rows, columns) of positions, in row-major order; `channels`: numbers of each."""

    grid: tuple[int, int]
    channels: int

    @property
    def positions(self) -> int:
        """Number of positions P."""
        return self.grid[0] * self.grid[1]

    @property
    def size(self) -> int:
        """Bytes of one image's features as int8."""
        return self.positions * self.channels

    @classmethod
    def from_table(cls, values: object) -> LocalShape:
        """The shape in a table with `grid` and `channels`; ValueError says what is wrong."""
        if not isinstance(values, Mapping):
            raise ValueError('it is not a table')
        grid, channels = values.get('grid'), values.get('channels')
        if not (isinstance(grid, list) and len(grid) == 2 and all(map(_is_side, grid))):
            raise ValueError(f'grid is not two whole numbers from 1 to {_LONGEST_SIDE}')
        if type(channels) is not int or not 1 < channels <= _MOST_CHANNELS:
            raise ValueError(f'channels is not a whole number from 2 to {_MOST_CHANNELS}')
        shape = cls((grid[0], grid[1]), channels)
        if shape.size > _MOST_BYTES:
            raise ValueError(f'an image has more than {_MOST_BYTES} numbers')
        return shape

    def table(self) -> dict[str, object]:
        """What `from_table` reads."""
        return {'grid': list(self.grid), 'channels': self.channels}

    def __str__(self) -> str:
        return f'{self.grid[0]} x {self.grid[1]} x {self.channels}'


@dataclass(frozen=True)
class Look:
    """What the network makes of one image.

    `descriptor`: float32 (D,) of length 1; `local`: int8 (P, L), each row a vector of length 1
    times 127, rounded; None where the network has no local features. `emptiness`: how much it
    looks like nothing, see `Emptiness`.
    """

    descriptor: np.ndarray
    local: np.ndarray | None
    emptiness: float = NOT_EMPTY


def shape_of_output(metadata: Mapping[str, str], kind: str, shape: Sequence) -> LocalShape:
    """The shape that a network's output and metadata agree on; ValueError says what is wrong.

    `kind` and `shape`: type and shape of the output, as ONNX Runtime states them.
    """
    values = parse_json(metadata.get(LOCAL, '{}'))
    if kind != 'tensor(float)' or len(shape) != 3:
        raise ValueError(f'it is {kind} {list(shape)}, not float32 (N, positions, channels)')
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ValueError(f'it is of {shape[0]} pictures at a time, not one or any number')
    if not isinstance(values, dict):
        raise ValueError('its metadata is not a table')
    found = LocalShape.from_table({'grid': values.get('grid'), 'channels': shape[2]})
    if shape[1] != found.positions:
        raise ValueError(f'it has {shape[1]} positions, its grid {found.positions}')
    return found


def as_int8(features: np.ndarray, shape: LocalShape) -> np.ndarray:
    """float32 (1, P, L), rows of length 1 → int8 (P, L), each number times 127, rounded.

    ValueError for another shape or type, and for a row that is not finite or not of length 1.
    """
    wanted = (1, shape.positions, shape.channels)
    if not isinstance(features, np.ndarray) or features.shape != wanted:
        raise ValueError(f'{getattr(features, "shape", "no array")} and not {wanted}')
    if features.dtype != np.float32:
        raise ValueError(f'{features.dtype} and not float32')
    bad = first_not_unit(features[0])
    if bad is not None:
        with np.errstate(over='ignore', invalid='ignore'):
            length = float(np.linalg.norm(features[0, bad]))
        raise ValueError(f'a vector of length {length:.4g}, not 1, at position {bad}')
    scaled = features[0] * np.float32(SCALE)
    return np.rint(scaled, out=scaled).astype(np.int8)


def first_not_unit_int8(rows: np.ndarray) -> int | None:
    """The first row of int8 (N, L) that cannot be a vector of length 1 times 127; None: all can.

    Rounding moves each number by at most a half, and so the length by half the root of L.
    """
    numbers = rows.astype(np.float32)
    lengths = np.sqrt(np.einsum('ij,ij->i', numbers, numbers))
    most = 0.5 * rows.shape[1] ** 0.5 + SCALE * TOLERANCE
    bad = np.flatnonzero(np.abs(lengths - SCALE) > most)
    return int(bad[0]) if len(bad) else None


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= _LONGEST_SIDE
