# SPDX-License-Identifier: Apache-2.0
"""The places of a map and the robot in it, drawn with Braille dots: 2 x 4 in each character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from rich.text import Text

from ashtkd_ros.trials.dashboard.state import Position

_BLANK = 0x2800
# bit of the dot in row 0-3 and column 0-1 of a Braille character
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)
_ARROWS, _ASCII_ARROWS = '→↗↑↖←↙↓↘', '>/^\\</v\\'
_LEAST_M = 1.0  # extent of a map


@dataclass(frozen=True)
class Sight:
    """What part of the world is drawn: metres at the lower left, metres a dot, size in dots."""

    left: float
    low: float
    metres: float
    columns: int
    rows: int

    @classmethod
    def of(cls, points: np.ndarray, width: int, height: int) -> Sight:
        """All points (N, 2), N > 0, in the middle of `width` x `height` characters."""
        low, high = points.min(axis=0), points.max(axis=0)
        columns, rows = 2 * width, 4 * height
        extent = np.maximum(high - low, _LEAST_M)
        metres = float(max(extent[0] / max(columns - 1, 1), extent[1] / max(rows - 1, 1)))
        left, bottom = (low + high) / 2 - metres * (np.array([columns, rows]) - 1) / 2
        return cls(float(left), float(bottom), metres, columns, rows)

    def dots(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row from above and column of each point (N, 2); what lies outside is on the border."""
        column = np.rint((points[:, 0] - self.left) / self.metres)
        row = self.rows - 1 - np.rint((points[:, 1] - self.low) / self.metres)
        column, row = np.clip(column, 0, self.columns - 1), np.clip(row, 0, self.rows - 1)
        return row.astype(int), column.astype(int)


class PlaceMap:
    """Draws one map; the places are drawn anew only where they or the size have changed."""

    def __init__(self) -> None:
        self._drawn: tuple[np.ndarray, int, int, Sight, np.ndarray] | None = None

    def lines(
        self,
        places: np.ndarray,
        trail: Sequence[tuple[float, float]],
        robot: Position | None,
        live: bool,
        size: tuple[int, int],
        ascii_only: bool = False,
    ) -> list[Text]:
        """`size` (width, height) in characters as that many lines.

        `places`: (N, 2) metres, N > 0; `trail`: where the robot has been; `live`: whether `robot`
        is where it is now, which an arrow shows, or was, which a question mark shows.
        """
        width, height = max(size[0], 1), max(size[1], 1)
        sight, ground = self._ground(places, width, height)
        path = _cells(sight, np.array(trail).reshape(-1, 2))
        characters, styles = _characters(ground | path, ascii_only), np.where(path, 1, 0)
        if robot is not None:
            (row,), (column,) = sight.dots(np.array([[robot.x, robot.y]]))
            row, column = row // 4, column // 2
            characters[row][column] = _robot(robot.yaw, ascii_only) if live else '?'
            styles[row, column] = 2 if live else 3
        return [_line(*row) for row in zip(characters, styles, strict=True)]

    def _ground(self, places: np.ndarray, width: int, height: int) -> tuple[Sight, np.ndarray]:
        known = self._drawn
        if known is None or known[0] is not places or known[1:3] != (width, height):
            sight = Sight.of(places, width, height)
            self._drawn = known = (places, width, height, sight, _cells(sight, places))
        return known[3], known[4]


def _cells(sight: Sight, points: np.ndarray) -> np.ndarray:
    """The dots of points as bits of characters, uint8 (rows, columns)."""
    cells = np.zeros((sight.rows // 4, sight.columns // 2), np.uint8)
    row, column = sight.dots(points)
    np.bitwise_or.at(cells, (row // 4, column // 2), _DOTS[row % 4, column % 2])
    return cells


def _characters(cells: np.ndarray, ascii_only: bool) -> list[list[str]]:
    if ascii_only:
        return [['.' if cell else ' ' for cell in row] for row in cells.tolist()]
    return [[chr(_BLANK + cell) if cell else ' ' for cell in row] for row in cells.tolist()]


def _robot(yaw: float, ascii_only: bool) -> str:
    return (_ASCII_ARROWS if ascii_only else _ARROWS)[round(yaw / (math.pi / 4)) % 8]


def _line(characters: list[str], styles: np.ndarray) -> Text:
    names = ('bright_black', 'green', 'bold reverse green', 'bold reverse yellow')
    line, at = Text(no_wrap=True), 0
    for style, run in groupby(styles.tolist()):
        count = len(list(run))
        line.append(''.join(characters[at : at + count]), names[style])
        at += count
    return line
