# SPDX-License-Identifier: Apache-2.0
"""Files of poses over time: TUM's lines of eight numbers, or a table with a header, as any other.

The format of the TUM RGB-D benchmark (cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats) is
`stamp tx ty tz qx qy qz qw`. Where a line of names comes before the numbers, behind a # or not,
it says which column is which.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import reason_of
from ashtkd_ros.poses import POSE_COLUMNS, position_fault
from ashtkd_ros.tables import number, read_text, seconds, split_rows

_COLUMNS = ('stamp', *POSE_COLUMNS)
_NEEDED = ('stamp', 'x', 'y')
_SEPARATORS = ('\t', ';', ',', '|', ' ')
_SYNTAX = 'it must be "stamp tx ty tz qx qy qz qw", or name its columns in a first line'
# As programs call them: tx, p_x, pos_x, position.x, p_RS_R_x; q_w, orientation.w, q_RS_w.
_POSITION = re.compile(r'(?:t|p|pos|position|translation)?[._]?(?:[a-z]+_[a-z]+_)?([xyz])')
_QUATERNION = re.compile(r'(?:q|quat|orientation|rotation)[._]?(?:[a-z]+_)?([xyzw])')
_STAMP = re.compile(r'time_?stamp(_?n?s)?|stamp|time|t|sec|seconds')
SAME_STAMP = 'at the stamp of a later one'
NO_POSE = 'without a pose'
# So large a share of the poses at the stamp of another, and stamps so far apart: digits lack.
_MOST_SAME, _COARSE_S = 0.1, 0.05


@dataclass(frozen=True)
class PoseTable:
    """Rows of a file: seconds (N,), metres and quaternion xyzw (N, 7), both float64.

    `refused` counts rows without a pose, and such as share their stamp; `notes` are for the user.
    """

    stamps: np.ndarray
    poses: np.ndarray
    refused: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def read_pose_table(path: Path) -> PoseTable:
    """Read a file of poses; VprError names file and line of what is wrong."""
    path = Path(path)
    try:
        lines = read_text(path)
    except VprError as error:
        text = str(error).replace('as CSV text ', '')
        raise VprError(f'{text}; give a TUM file of poses') from error
    refused: Counter[str] = Counter()
    rows, poses = [], []
    for at, row in _rows(lines, path):
        given = [row[c] for c in POSE_COLUMNS if c in row]
        if not any(given):
            refused[NO_POSE] += 1
            continue
        rows.append((at, row))
        poses.append(_pose(row, path, at))
    stamps, notes = seconds(rows, path)
    if same := _same(stamps, np.array(poses).reshape(-1, 7), path):
        refused[SAME_STAMP] += same
    return PoseTable(stamps, np.array(poses, float).reshape(-1, 7), refused, notes)


def _rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, value by column) of every row."""
    names, separator = list(_COLUMNS), ''
    for at, line in enumerate(text.replace('\r\n', '\n').replace('\r', '\n').split('\n'), 1):
        bare = line.partition('#')[0].strip(' ')
        if not bare.strip():
            names = _named(line.lstrip('# '), _COLUMNS) or names
            continue
        try:
            if not separator:
                if header := _named(bare, _NEEDED):
                    names = header
                    continue
                separator = _separator(bare, len(names))
            _, cells = next(split_rows(bare, separator, at))
        except csv.Error as error:
            raise VprError(f'{path}:{at}: cannot be read ({reason_of(error)})') from error
        if separator != ' ' and len(cells) == len(names) + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise VprError(f'{path}:{at}: the line has {len(cells)} columns; {_SYNTAX}')
        yield at, {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _separator(line: str, columns: int) -> str:
    """By which a line has so many columns; white space where none does."""
    fitting = (s for s in _SEPARATORS if len(next(split_rows(line, s, 1))[1]) == columns)
    return next(fitting, ' ')


def _named(line: str, needed: Sequence[str]) -> list[str] | None:
    """The columns that a line names, empty for those of no use; None where one `needed` lacks."""
    found = []
    cells = re.split(r'[,;|]' if re.search('[,;|]', line) else r'\t|\s+', line.strip())
    for cell in cells:
        name = re.sub(r'\s*[\[(].*', '', cell).strip().strip('"').lower()
        turn, place = _QUATERNION.fullmatch(name), _POSITION.fullmatch(name)
        known = 'stamp' if _STAMP.fullmatch(name) else f'q{turn[1]}' if turn else ''
        known = known or (place[1] if place else '')
        found.append(known if known not in found else '')
    return found if set(needed) <= set(found) else None


def _pose(row: dict[str, str], path: Path, at: int) -> list[float]:
    values = {c: number(row[c], c, path, at) for c in POSE_COLUMNS if c in row}
    if 'qw' not in values and any(c in values for c in ('qx', 'qy', 'qz')):
        raise VprError(f'{path}: has a quaternion without column qw')
    why = position_fault(values['x'], values['y'], values.get('z', 0.0))
    if why:
        raise VprError(f'{path}:{at}: {why}')
    default = {**dict.fromkeys(POSE_COLUMNS, 0.0), 'qw': 1.0}
    return [values.get(c, default[c] if 'qw' not in values else 0.0) for c in POSE_COLUMNS]


def _same(stamps: np.ndarray, poses: np.ndarray, path: Path) -> int:
    """How many poses share their stamp with a later one; VprError where their digits lack."""
    if len(stamps) < 2:
        return 0
    unlike = np.unique(np.column_stack([stamps, poses]), axis=0)
    apart = np.unique(unlike[:, 0])
    lost = len(unlike) - len(apart)
    step = float(np.median(np.diff(apart))) if len(apart) > 1 else np.inf
    if lost > _MOST_SAME * len(unlike) and step > _COARSE_S and apart.any():
        raise VprError(
            f'{path}: {len(unlike)} poses have only {len(apart)} different stamps, such as '
            f'{apart[0]:.10g}; write stamps with all their digits (1311868164.363181, not '
            '1.31187e+09)'
        )
    return len(stamps) - len(apart)
