# SPDX-License-Identifier: Apache-2.0
"""Files of poses over time: lines of eight numbers (TUM format), or a table with a header.

The format of the TUM RGB-D benchmark (cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats) is
`stamp tx ty tz qx qy qz qw`. If a line of names, with or without a #, comes before the numbers,
it names the columns.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import number, read_text, seconds, split_rows
from ashtkd_ros.geometry.pose import POSE_COLUMNS, Pose, pose_fault, position_fault
from ashtkd_ros.stamps import NS_PER_S
from ashtkd_ros.text import one_line, reason_of

_COLUMNS = ('stamp', *POSE_COLUMNS)
_NEEDED = ('stamp', 'x', 'y')
_SEPARATORS = ('\t', ';', ',', '|', ' ')
_SYNTAX = 'it must be "stamp tx ty tz qx qy qz qw", or the first line must name the columns'
# Names that programs use: tx, p_x, pos_x, position.x, p_RS_R_x; q_w, orientation.w, q_RS_w.
_POSITION = re.compile(r'(?:t|p|pos|pose|position|translation)?[._]?(?:[a-z]+_[a-z]+_)?([xyz])')
_QUATERNION = re.compile(r'(?:q|quat|orientation|rotation)[._]?(?:[a-z]+_)?([xyzw])')
_TURN = re.compile(
    r'(?:.*[._])?(?:roll|pitch|yaw|theta|heading|azimuth|bearing)(?:[._]?(?:deg|rad)[a-z]*)?'
)
_OWN_STAMP = re.compile(r'(?:time_?)?stamp(?:_?n?s)?')  # of the message, not of the recorder
_STAMP = re.compile(rf'{_OWN_STAMP.pattern}|time|t')
# In two columns: sec, stamp.sec, stamp_s, timestamp_secs; nanosec, stamp.nsec, timestamp_ns.
_SECONDS = re.compile(r'(?:(?:time_?)?stamp[._])?(?:secs?|seconds?)|(?:time_?)?stamp_s')
_NANOSECONDS = re.compile(
    r'(?:(?:time_?)?stamp[._])?(?:nsecs?|nanosecs?|nanoseconds?|nanos)|(?:time_?)?stamp_?ns'
)
# Prefixes by rostopic echo -p and others: field.pose.pose.position.x, /odom/header/stamp/sec.
_PATH = re.compile(r'^.*\.(?=(?:position|translation|orientation|rotation|stamp)(?:[._]|$))')
SAME_STAMP = 'at the stamp of a later one'
NO_POSE = 'without a pose'
# If more poses than this share have the stamp of another, and stamps are this far apart, the
# stamps were written with too few digits.
_MOST_SAME, _COARSE_S = 0.1, 0.05


@dataclass(frozen=True)
class PoseTable:
    """Rows of a file: stamps in seconds (N,), metres and quaternion xyzw (N, 7), both float64.

    `refused` counts rows without a pose and rows that share a stamp; `notes` are for the user.
    """

    stamps: np.ndarray
    poses: np.ndarray
    refused: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def read_pose_table(path: Path) -> PoseTable:
    """Read a file of poses; VprError names the file and line of an error."""
    path = Path(path)
    try:
        lines = read_text(path)
    except VprError as error:
        text = str(error).replace('as CSV text ', '').replace('; check its name', '')
        raise VprError(f'{text}; give a file of poses in TUM format') from error
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
    notes += unread_turns([name for _, row in rows[:1] for name in row])
    if same := _count_same_stamps(stamps, np.array(poses).reshape(-1, 7), path):
        refused[SAME_STAMP] += same
    return PoseTable(stamps, np.array(poses, float).reshape(-1, 7), refused, notes)


def _rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, value by column) of every row."""
    names, separator = list(_COLUMNS), ''
    for at, line in enumerate(text.replace('\r\n', '\n').replace('\r', '\n').split('\n'), 1):
        bare = line.partition('#')[0].strip(' ')
        if not bare.strip():
            names = _columns_of(line.lstrip('# '), _COLUMNS) or names
            continue
        try:
            if not separator:
                if header := _columns_of(bare, _NEEDED):
                    names = header
                    continue
                separator = _separator(bare, len(names))
            _, cells = next(split_rows(bare, separator, at))
        except csv.Error as error:
            raise VprError(
                f'{path}:{at}: cannot be read ({reason_of(error)}); correct the line'
            ) from error
        if separator != ' ' and len(cells) == len(names) + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise VprError(f'{path}:{at}: the line has {len(cells)} columns; {_SYNTAX}')
        row = {name: cell for name, cell in zip(names, cells, strict=True) if name}
        yield at, _with_one_stamp(row, path, at)


def _with_one_stamp(row: dict[str, str], path: Path, at: int) -> dict[str, str]:
    """The row with one column for the stamp, which may be in two: seconds and nanoseconds."""
    has_pose = any(row.get(c) for c in POSE_COLUMNS)
    whole, rest = row.pop('sec', None), row.pop('nanosec', None)
    whole = row.get('stamp', '') if whole is None else whole
    if rest is None or not has_pose:
        return row | {'stamp': whole}
    full, nanoseconds = number(whole, 'sec', path, at), number(rest, 'nanosec', path, at)
    if nanoseconds < 0 or nanoseconds % 1:
        raise VprError(
            f'{path}:{at}: nanosec is "{rest[:80]}", it must be a whole number from 0 on; '
            'correct it'
        )
    if nanoseconds >= NS_PER_S:  # these are all nanoseconds since 1970, not only the rest
        return row | {'stamp': rest}
    if full % 1:
        return row | {'stamp': whole}
    return row | {'stamp': f'{int(full)}.{int(nanoseconds):09d}'}


def _separator(line: str, columns: int) -> str:
    """The separator that gives a line so many columns; white space if none does."""
    fitting = (s for s in _SEPARATORS if len(next(split_rows(line, s, 1))[1]) == columns)
    return next(fitting, ' ')


def _columns_of(line: str, needed: Sequence[str]) -> list[str] | None:
    """The columns that a line names, '' for others; None if one of `needed` is missing."""
    columns: list[str] = []
    cells = re.split(r'[,;|]' if re.search('[,;|]', line) else r'\t|\s+', line.strip())
    for cell in cells:
        name = re.split(r'[\[(]', cell)[0].strip(' "%_\t').lower().replace('/', '.')
        known = _column_of(_PATH.sub('', name))
        columns.append(known if known not in columns else '')
    return _with_best_stamp(columns, needed)


def _column_of(name: str) -> str:
    """The meaning of a column with that name; empty if it tells nothing of the pose."""
    if _SECONDS.fullmatch(name):
        return 'sec'
    if _NANOSECONDS.fullmatch(name):
        return 'nanosec'
    if _STAMP.fullmatch(name):
        return 'own stamp' if _OWN_STAMP.fullmatch(name) else 'stamp'
    turn, place = _QUATERNION.fullmatch(name), _POSITION.fullmatch(name)
    if turn or place:
        return f'q{turn[1]}' if turn else place[1]
    return name if _TURN.fullmatch(name) else ''


def unread_turns(names: Sequence[str]) -> list[str]:
    """A note on the columns for orientation among `names` where none is that of a quaternion."""
    found = [n.lstrip('.') for n in names if _is_turn(n) and n not in POSE_COLUMNS]
    if not found or 'qw' in names:
        return []
    what = f'{", ".join(map(one_line, found))} {"is" if len(found) == 1 else "are"} not read'
    return [f'{what}, so that every pose looks along x: give a quaternion, qx, qy, qz, qw']


def _is_turn(name: str) -> bool:
    return bool(_TURN.fullmatch(name) or _QUATERNION.fullmatch(name))


def _with_best_stamp(columns: list[str], needed: Sequence[str]) -> list[str] | None:
    """Keep the columns that make the stamp best; None if one of `needed` is missing."""
    columns = ['' if f == 'stamp' and 'own stamp' in columns else f for f in columns]
    columns = ['stamp' if f == 'own stamp' else f for f in columns]
    if 'sec' in columns and 'nanosec' in columns:
        columns = ['' if f == 'stamp' else f for f in columns]
    elif 'nanosec' in columns and 'stamp' not in columns:
        columns = ['stamp' if f == 'nanosec' else f for f in columns]
    elif 'sec' in columns and 'stamp' in columns:
        columns = ['' if f == 'sec' else f for f in columns]
    has = {'stamp' if f == 'sec' else f for f in columns}
    return columns if set(needed) <= has else None


def _pose(row: dict[str, str], path: Path, at: int) -> list[float]:
    values = _pose_numbers(row, path, at)
    why = position_fault(values['x'], values['y'], values.get('z', 0.0))
    if why:
        raise VprError(f'{path}:{at}: {why}; correct the line')
    default = {**dict.fromkeys(POSE_COLUMNS, 0.0), 'qw': 1.0}
    return [values.get(c, default[c] if 'qw' not in values else 0.0) for c in POSE_COLUMNS]


def _pose_numbers(row: Mapping[str, str], table: Path, line: int) -> dict[str, float]:
    """The numbers of a pose by column; VprError where one is no number, or qw is missing."""
    given = [c for c in POSE_COLUMNS if c in row]
    if 'qw' not in given and any(c in given for c in ('qx', 'qy', 'qz')):
        raise VprError(
            f'{table}: has a quaternion without the column qw; add it, or remove qx, qy and qz'
        )
    return {c: number(row[c], c, table, line) for c in given}


def _count_same_stamps(stamps: np.ndarray, poses: np.ndarray, path: Path) -> int:
    """How many poses share their stamp with a later one; VprError if stamps lack digits."""
    if len(stamps) < 2:
        return 0
    unlike = np.unique(np.column_stack([stamps, poses]), axis=0)
    apart = np.unique(unlike[:, 0])
    lost = len(unlike) - len(apart)
    step = float(np.median(np.diff(apart))) if len(apart) > 1 else np.inf
    if lost > _MOST_SAME * len(unlike) and step > _COARSE_S and apart.any():
        raise VprError(
            f'{path}: {len(unlike)} poses have only {len(apart)} distinct stamps, such as '
            f'{apart[0]:.10g}; write stamps with all their digits (1311868164.363181, not '
            '1.31187e+09)'
        )
    return len(stamps) - len(apart)


def pose_of_row(row: Mapping[str, str], table: Path, line: int) -> Pose | None:
    """The pose of a row with x and y, and possibly z and a quaternion; None if all are empty.

    VprError if only some are empty, if one is not a number, or if the pose is not valid.
    """
    given = {c: row[c] for c in POSE_COLUMNS if c in row}
    if not any(given.values()):
        return None
    empty = next((c for c, text in given.items() if not text), None)
    if empty is not None:
        raise VprError(
            f'{table}:{line}: {empty} is "", it must be a finite number; fill it in, or leave the '
            'whole pose of the row empty'
        )
    pose = Pose(**{'z': 0.0, **_pose_numbers(row, table, line)})
    why = pose_fault(pose)
    if why:
        raise VprError(f'{table}:{line}: {why}; correct the line')
    return pose
