# SPDX-License-Identifier: Apache-2.0
"""Files of poses as programs write them: which column is what, and stamps in two columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose_table import read_pose_table

pytest_plugins = ['door_fixtures']

START = 1_700_000_000
TIMES = [i * 350_000_000 for i in range(60)]  # ns
POSES = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
ROS = [f'position.{c}' for c in 'xyz'] + [f'orientation.{c}' for c in 'xyzw']
PAIRS = [
    ('sec', 'nanosec'),
    ('secs', 'nsecs'),
    ('sec', 'nsec'),
    ('Seconds', 'Nanoseconds'),
    ('stamp_sec', 'stamp_nanosec'),
    ('stamp_secs', 'stamp_nsecs'),
    ('timestamp_s', 'timestamp_ns'),
    ('header.stamp.sec', 'header.stamp.nanosec'),
    ('field.header.stamp.secs', 'field.header.stamp.nsecs'),
    ('/odom/header/stamp/sec', '/odom/header/stamp/nanosec'),
    ('stamp', 'nanosec'),
    ('time', 'nsecs'),
]


def table(path: Path, header: list[str], stamps: list[list[object]], sep: str = ',') -> Path:
    rows = [sep.join(map(str, [*s, i * 0.5, 1, 2, 0, 0, 0, 1])) for i, s in enumerate(stamps)]
    path.write_text('\n'.join([sep.join(header), *rows]))
    return path


def check(path: Path) -> list[str]:
    found = read_pose_table(path)
    expected = [START + ns * 1e-9 for ns in TIMES]
    assert found.stamps == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(found.poses[:, 0], np.arange(60) * 0.5)
    np.testing.assert_allclose(found.poses[:, 1:], [[1, 2, 0, 0, 0, 1]] * 60)
    return found.notes


@pytest.mark.parametrize('first', ['', '# '])
@pytest.mark.parametrize('sep', [',', ';', '\t', ' '])
@pytest.mark.parametrize('pair', PAIRS)
def test_a_stamp_in_two_columns(tmp_path: Path, pair: tuple, sep: str, first: str) -> None:
    stamps = [[START + ns // 10**9, ns % 10**9] for ns in TIMES]
    names = [f'pose.{c}' for c in ROS] if '.' in pair[0] else list(POSES)
    header = [first + pair[0], pair[1], *names]
    assert check(table(tmp_path / 'poses.csv', header, stamps, sep)) == []
    swapped = [[b, a] for a, b in stamps]
    header = [first + pair[1], pair[0], *names]
    assert check(table(tmp_path / 'swapped.csv', header, swapped, sep)) == []


def test_the_same_time_twice_is_taken_once(tmp_path: Path) -> None:
    header = ['timestamp_s', 'timestamp_ns', *POSES]
    stamps = [[f'{START + ns * 1e-9:.6f}', START * 10**9 + ns] for ns in TIMES]
    check(table(tmp_path / 'a.csv', header, stamps))
    stamps = [[f'{START + ns * 1e-9:.6f}', ns % 10**9] for ns in TIMES]
    check(table(tmp_path / 'b.csv', header, stamps))


def test_what_rostopic_echo_writes(tmp_path: Path) -> None:
    """With -p: when it was received, seq, the message's own stamp, frame, pose."""
    ns = [START * 10**9 + t for t in TIMES]
    names = [f'field.pose.pose.{c}' for c in ROS]
    check(table(tmp_path / 'a.csv', ['%time', *names], [[t] for t in ns]))
    header = ['%time', 'field.header.seq', 'field.header.stamp', 'field.header.frame_id', *names]
    check(table(tmp_path / 'b.csv', header, [[t + 9 * 10**9, 7, t, 'map'] for t in ns]))
    header = ['__time', '/odom/header/stamp', *(f'/odom/pose/pose/{c}' for c in ROS)]
    header = [name.replace('.', '/') for name in header]
    check(table(tmp_path / 'c.csv', header, [[START + 77, t * 1e-9] for t in ns]))


@pytest.mark.parametrize(('sec', 'nanosec'), [('', '5'), ('5', ''), ('5', '-1'), ('5', '0.5')])
def test_a_bad_half_of_a_stamp_is_named(tmp_path: Path, sec: str, nanosec: str) -> None:
    path = table(tmp_path / 'a.csv', ['sec', 'nanosec', *POSES], [[1, 2], [sec, nanosec]])
    with pytest.raises(VprError, match=r'a\.csv:3: (sec|nanosec) is "') as error:
        read_pose_table(path)
    line_of(error)


@pytest.mark.parametrize(
    ('names', 'told'),
    [
        ('yaw', 'yaw is not read'),
        ('Roll [rad],pitch,/odom/yaw_deg', 'roll, pitch, odom.yaw_deg are not read'),
        ('heading_degrees', 'heading_degrees is not read'),
        ('yaw_rate,thetas', ''),
        ('yaw,qx,qy,qz,qw', ''),
    ],
)
def test_a_heading_that_is_not_read_is_told(tmp_path: Path, names: str, told: str) -> None:
    path = tmp_path / 'poses.csv'
    rows = [f'{i}.5,{i},0' + ',1' * (names.count(',') + 1) for i in range(3)]
    path.write_text('\n'.join([f'stamp,x,y,{names}', *rows]))
    notes = read_pose_table(path).notes
    assert [n.startswith(told) for n in notes] == [True] * bool(told)


@pytest.mark.usefixtures('alarm')
@pytest.mark.parametrize('cell', [f'p{" " * 600_000}b', '1' * 600_000, 'a' * 600_000])
def test_a_long_cell_takes_no_minutes(tmp_path: Path, cell: str) -> None:
    (tmp_path / 'poses.txt').write_text(f'# stamp {cell} x y\n0 {cell} 1 2\n')
    with pytest.raises(VprError) as error:
        read_pose_table(tmp_path / 'poses.txt')
    assert 'poses.txt:2: ' in line_of(error)
