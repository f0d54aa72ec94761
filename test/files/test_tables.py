# SPDX-License-Identifier: Apache-2.0
"""Tables as spreadsheets, loggers and people write them: read alike everywhere, or refused."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.stamp_units import to_seconds
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.geometry.pose_table import SAME_STAMP
from ashtkd_ros.geometry.trajectory import read_tum
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['door_fixtures']

COLUMNS = ('file', 'stamp', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
UNITS = {'s': 1, 'ms': 10**3, 'us': 10**6, 'ns': 10**9}
START = 1_700_000_000


def rows(count: int, draw: random.Random) -> list[list[str]]:
    """A walk, stamps in whole ms since 1970."""
    found = []
    for i in range(count):
        half = draw.uniform(-1.5, 1.5)
        place = [f'{draw.uniform(-500, 500):.4f}' for _ in 'xyz']
        turn = ['0', '0', f'{math.sin(half):.8f}', f'{math.cos(half):.8f}']
        found.append([f'{i}.jpg', f'{START + i // 3}.{i % 3}50', *place, *turn])
    return found


def in_unit(stamp: str, unit: str) -> str:
    return stamp if unit == 's' else str(round(float(stamp) * 1000) * UNITS[unit] // 1000)


def write(folder: Path, text: str, name: str = 'poses.csv', encoding: str = 'utf-8') -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode(encoding))
    for i in range(12):
        (folder / f'{i}.jpg').touch()
    return folder


def told(frames) -> list[tuple]:
    return [(f.file.name, f.stamp, f.pose) for f in frames]


def dressed(table: list[list[str]], draw: random.Random) -> tuple[str, str]:
    """The text of a table in one of its many dresses, and an encoding."""
    order = list(range(len(table[0])))
    draw.shuffle(order)
    separator = draw.choice([',', ';', '\t', '|', ', ', ' ; ', ' '])
    quote = draw.choice(['', '', '"']) if separator != ' ' else ''
    end = draw.choice(['\n', '\r\n', '\r'])
    last = draw.choice(['', separator.strip(' ')])
    lines = [separator.join(f'{quote}{row[i]}{quote}' for i in order) + last for row in table]
    lines[0] = draw.choice(['', '# ', '#']) + draw.choice([lines[0], lines[0].upper()])
    lines = draw.choice([[], ['# recorded on Monday'], ['']]) + lines
    lines += draw.choice([[], [''], [separator.strip(' ') * 8]])
    return end.join(lines) + draw.choice(['', end]), draw.choice(['utf-8', 'utf-8-sig', 'utf-16'])


def test_400_dresses_of_a_table_say_the_same(tmp_path: Path) -> None:
    draw = random.Random(0)
    for _ in range(400):
        walk, unit = rows(draw.randrange(2, 10), draw), draw.choice(list(UNITS))
        plain = '\n'.join(','.join(row) for row in [list(COLUMNS), *walk])
        expected = told(read_source(write(tmp_path / 'w', plain)))
        for row in walk:
            row[1] = in_unit(row[1], unit)
        text, encoding = dressed([list(COLUMNS), *walk], draw)
        notes: list[str] = []
        found = told(read_source(write(tmp_path / 'w', text, encoding=encoding), notes=notes))
        assert [(n, p) for n, _, p in found] == [(n, p) for n, _, p in expected], text
        assert [s for _, s, _ in found] == pytest.approx([s for _, s, _ in expected], abs=1e-6)
        assert notes == ([] if unit == 's' else [f'the stamps of poses.csv are taken as {unit}, '
                                                 'by their size'])  # fmt: skip


def test_300_flaws_are_refused_with_line_and_column(tmp_path: Path) -> None:
    draw = random.Random(1)
    flaws = [
        '',
        'nan',
        'inf',
        '-inf',
        '1e999',
        'n/a',
        '1_0',
        '1,5',
        '0x10',
        '--1',
        '1 2',
        '٣',
        '-',
    ]
    for _ in range(300):
        table = rows(8, draw)
        line, column = draw.randrange(8), draw.randrange(1, 9)
        table[line][column] = draw.choice(flaws)
        separator = draw.choice([';', '\t', '|'])
        text = '\n'.join(separator.join(row) for row in [list(COLUMNS), *table])
        with pytest.raises(VprError) as error:
            read_source(write(tmp_path / 'w', text))
        expected = f'poses.csv:{line + 2}: {COLUMNS[column]} is "{table[line][column]}", '
        assert expected in line_of(error)
        tum = '\n'.join(separator.join(row[1:]) for row in table)
        write(tmp_path / 'w', tum, 'poses.txt')
        with pytest.raises(VprError) as error:
            read_tum(tmp_path / 'w' / 'poses.txt')
        assert f'poses.txt:{line + 1}: ' in line_of(error)


def test_a_whole_pose_may_be_missing_and_that_is_said(tmp_path: Path) -> None:
    text = 'file,stamp,x,y,z\n0.jpg,1,1,2,3\n1.jpg,2,,,\n2.jpg,3,4,5,6\n'
    notes: list[str] = []
    frames = read_source(write(tmp_path / 'w', text), notes=notes)
    assert [f.pose is None for f in frames] == [False, True, False]
    assert notes == ['1 of 3 images have no pose in poses.csv']


@pytest.mark.parametrize(
    ('row', 'said'),
    [
        ('0.jpg,1,1,,3', 'poses.csv:2: y is "", it must be a finite number'),
        ('0.jpg,1,1,2,', 'poses.csv:2: z is "", it must be a finite number'),
        ('0.jpg,1,1e9,2,3', 'poses.csv:2: its position 1000000000.0, 2.0, 3.0 is nowhere'),
        ('0.jpg,1,1,5,2,3', 'poses.csv:2: the row has 6 columns, the header 5; are there commas'),
        ('0.jpg,1,1,2', 'poses.csv:2: the row has too few columns, 4 of the 5'),
    ],
)
def test_what_is_refused(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(VprError) as error:
        read_source(write(tmp_path / 'w', f'file,stamp,x,y,z\n{row}\n'))
    assert said in line_of(error)


def test_what_stands_twice_is_said(tmp_path: Path) -> None:
    text = 'file,stamp,x,y\n0.jpg,1,1,2\n0.jpg,2,1,2\n1.jpg,2,1,2\n'
    notes: list[str] = []
    read_source(write(tmp_path / 'w', text), notes=notes)
    assert '1 images have the same stamp as another one' in notes[0]
    assert '1 file is listed twice' in notes[1]
    with pytest.raises(VprError, match='two columns are called x'):
        read_source(write(tmp_path / 'w', 'file,stamp,x,y,X\n0.jpg,1,1,2,3\n'))


def test_an_index_with_semicolons_and_half_a_position(tmp_path: Path) -> None:
    header = 'file; place; role; order; east_m; north_m; heading_deg'
    good, bad = '0.jpg; hall; map; 1; 1; 2; 90', '1.jpg; hall; map; 2; ; 2; 90'
    frames = read_source(write(tmp_path / 'i', f'{header}\n{good}\n', 'index.csv'))
    assert (frames[0].label, frames[0].pose.x) == ('hall', 1.0)
    none, notes = '1.jpg; hall; map; 2; ; ; ', []
    frames = read_source(
        write(tmp_path / 'i', f'{header}\n{good}\n{none}\n', 'index.csv'), '', notes
    )
    assert frames[1].pose is None
    assert notes == ['1 of 2 images have no position in index.csv']
    with pytest.raises(VprError, match='index.csv:3: east_m is ""'):
        read_source(write(tmp_path / 'i', f'{header}\n{good}\n{bad}\n', 'index.csv'))


ODD = {
    'comment within': ('# pause\n', '', ''),
    'row taken out': ('# 9.jpg,9,1,2\n', '', ''),
    'indented comment within': ('  # pause, of ten, long minutes, or so, indeed\n', '', ''),
    'comment at the end': ('', '', '# end\n'),
    'indented comment above': ('', '  # made by x\n\t# and y\n', ''),
    'Ctrl-Z': ('', '', '\x1a'),
    'Ctrl-Z in a line of its own': ('', '', '\n\x1a\r\n'),
}


@pytest.mark.parametrize('case', ODD)
def test_what_may_stand_between_the_rows(tmp_path: Path, case: str) -> None:
    within, above, below = ODD[case]
    text = above + 'file,stamp,x,y\n0.jpg,1,1,2\n' + within + '1.jpg,2,3,4\n' + below
    found = told(read_source(write(tmp_path / 'w', text)))
    assert [(name, pose.x, pose.y) for name, _, pose in found] == [
        ('0.jpg', 1, 2),
        ('1.jpg', 3, 4),
    ]


def test_a_file_whose_name_begins_like_a_comment_is_a_row(tmp_path: Path) -> None:
    folder = write(tmp_path / 'w', 'file,stamp,x,y\n#1.jpg,1,1,2\n"# 2.jpg",2,3,4\n')
    for name in ('#1.jpg', '# 2.jpg'):
        (folder / name).write_bytes(b'')
    assert [name for name, _, _ in told(read_source(folder))] == ['#1.jpg', '# 2.jpg']


@pytest.mark.parametrize('first', ['sep=;', 'SEP=;', '"Sep=;"', ' sep=;'])
def test_the_first_line_of_a_spreadsheet_is_passed_over(tmp_path: Path, first: str) -> None:
    text = f'{first}\nfile;stamp;x;y\n0.jpg;1;1;2\n'
    assert [name for name, _, _ in told(read_source(write(tmp_path / 'w', text)))] == ['0.jpg']


def test_quotes_between_white_space(tmp_path: Path) -> None:
    text = '"file" "stamp"\t"x" "y"\n"0.jpg" "1" "1" 2\n"1 b.jpg"  2 "3" "4"\n'
    folder = write(tmp_path / 'w', text)
    (folder / '1 b.jpg').write_bytes(b'')
    found = told(read_source(folder))
    assert [(name, pose.y) for name, _, pose in found] == [('0.jpg', 2), ('1 b.jpg', 4)]


# --- stamps


@pytest.mark.parametrize('unit', UNITS)
def test_stamps_of_any_clock(unit: str) -> None:
    draw = np.random.default_rng(2)
    for _ in range(100):
        span = draw.choice([1, 40, 400, 1e6])
        start = draw.uniform(4e8, 3.9e9) if span != 400 else draw.uniform(1.2e9, 2.1e9)
        sent = start + np.cumsum(draw.uniform(0.5, 1, 50)) * span / 50
        found, said = to_seconds(sent * UNITS[unit])
        assert said == unit
        assert found == pytest.approx(sent, rel=1e-12)


def test_stamps_from_zero() -> None:
    seconds = np.arange(0, 600, 0.1)
    assert to_seconds(seconds)[1] == 's'
    for unit in ('us', 'ns'):
        found, said = to_seconds(np.round((seconds + 5000) * UNITS[unit]))
        assert said == unit and found == pytest.approx(seconds + 5000)
    assert to_seconds(np.round(seconds * 1e9))[1] == 'ns'  # as a simulator counts


@pytest.mark.parametrize(
    'stamps', [[1.7e9, 1.7e18, 1.7e18 + 1e8], [1.7e12, 1.7e9, 1.7e9 + 1], [5e9], [1e30, 2e30]]
)
def test_stamps_of_no_one_unit_are_refused(tmp_path: Path, stamps: list[float]) -> None:
    with pytest.raises(ValueError, match='no single unit'):
        to_seconds(np.array(stamps))
    lines = [f'{stamp!r} {i} 0 0 0 0 0 1' for i, stamp in enumerate(stamps)]
    write(tmp_path / 'w', '\n'.join(lines), 'poses.txt')
    with pytest.raises(VprError, match='no single unit'):
        read_tum(tmp_path / 'w' / 'poses.txt')


@pytest.mark.parametrize('days', [0, 0.2, 3.6, 5.8, 13, 19, 30, 45])
@pytest.mark.parametrize('step', [0.033, 0.05, 0.1, 0.35, 0.9])
@pytest.mark.parametrize('unit', ['ms', 'us', 'ns'])
def test_stamps_since_a_robot_was_started(tmp_path: Path, unit: str, step: float, days) -> None:
    """As files of poses and of images have them; for long enough they look like dates."""
    sent = days * 86400 + np.arange(60) * step
    draw = np.random.default_rng(int(days * 10))
    sent[1:] += draw.uniform(-0.1, 0.1, 59) * step
    stamps = np.round(sent * UNITS[unit]).astype(int)
    found, said = to_seconds(stamps.astype(float))
    if unit == 'ms' and 12 < days < 26:  # s of 2004 to 2039: photographs, perhaps; asked about
        assert said == 's'
        return
    assert said == unit and found == pytest.approx(sent, abs=1e-3)
    lines = [f'{s} {i * 0.1} 0 0 0 0 0 1' for i, s in enumerate(stamps)]
    write(tmp_path / 'w', '\n'.join(lines), 'poses.txt')
    track = read_tum(tmp_path / 'w' / 'poses.txt')
    assert track.stamps == pytest.approx(sent, abs=1e-3)
    assert f'taken as {unit}, by their steps, 0.' in track.remarks[0]


@pytest.mark.parametrize(('start', 'step'), [(0, 5000), (5e11, 5000), (5e14, 5e6)])
def test_stamps_that_may_be_of_two_units_are_refused(start: float, step: float) -> None:
    with pytest.raises(ValueError, match=r'may be (ms or us|us or ns); give seconds') as error:
        to_seconds(start + step * np.arange(50))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('unit', UNITS)
def test_odd_steps_are_asked_about(tmp_path: Path, unit: str) -> None:
    for step in (20_000, 0.00002):
        if step < 1 and unit == 'ms':
            continue
        stamps = [str(round((START + i * step) * UNITS[unit])) for i in range(8)]
        if unit == 's' and step < 1:
            stamps = [f'{i * step:.6f}' for i in range(8)]
        lines = [f'{i}.jpg,{stamp},{i},0' for i, stamp in enumerate(stamps)]
        notes: list[str] = []
        read_source(write(tmp_path / 'w', '\n'.join(['file,stamp,x,y', *lines])), notes=notes)
        assert 's apart: are they ' in notes[0] and notes[0].endswith('? Give seconds')


def test_dates_hours_apart_and_minutes_since_a_start_are_told_apart() -> None:
    """The same size, and nearly the same steps."""
    dates = START + 5000.0 * np.arange(60)
    assert to_seconds(dates * 1e3)[1] == 'ms'
    minutes = 1700 + 0.05 * np.arange(600)
    assert to_seconds(np.round(minutes * 1e9))[1] == 'ns'


def test_seconds_stay_seconds() -> None:
    whole = np.arange(20.0)
    for stamps in (whole, whole * 10, START + whole, START + whole * 60, 0.5 + whole * 100):
        assert to_seconds(stamps)[1] == 's'


@pytest.mark.parametrize('decimals', [0, 1, 2, 3, 6])
def test_stamps_written_as_seconds_are_seconds(tmp_path: Path, decimals: int) -> None:
    lines = [f'{15 * k:.{decimals}f} {k} 0 0 0 0 0 1' for k in range(20)]
    write(tmp_path / 'w', '\n'.join(lines), 'poses.txt')
    track = read_tum(tmp_path / 'w' / 'poses.txt')
    step = 15.0 if decimals >= 3 else 0.015
    np.testing.assert_allclose(np.diff(track.stamps), step)


# --- files of poses


HEADS = {
    'TUM': ('', (0, 1, 2, 3, 4, 5, 6, 7), ' '),
    'comment': ('# timestamp tx ty tz qx qy qz qw', (0, 1, 2, 3, 4, 5, 6, 7), ' '),
    'w first': ('#timestamp x y z qw qx qy qz', (0, 1, 2, 3, 7, 4, 5, 6), ' '),
    'EuRoC': (
        '#timestamp [ns],p_RS_R_x [m],p_RS_R_y [m],p_RS_R_z [m],q_RS_w [],q_RS_x [],q_RS_y [],'
        'q_RS_z []', (0, 1, 2, 3, 7, 4, 5, 6), ','),
    'header': ('stamp;x;y;z;qx;qy;qz;qw', (0, 1, 2, 3, 4, 5, 6, 7), ';'),
    'names': ('Time,Pos_X,Pos_Y,Pos_Z,Q_W,Q_X,Q_Y,Q_Z', (0, 1, 2, 3, 7, 4, 5, 6), ', '),
    'tabs': ('', (0, 1, 2, 3, 4, 5, 6, 7), '\t'),
}  # fmt: skip


@pytest.mark.parametrize('unit', UNITS)
@pytest.mark.parametrize('head', HEADS)
def test_files_of_poses(tmp_path: Path, head: str, unit: str) -> None:
    draw = random.Random(3)
    first, order, separator = HEADS[head]
    walk = [row[1:] for row in rows(9, draw)]
    lines = [separator.join([in_unit(row[0], unit), *row[1:]][i] for i in order) for row in walk]
    write(tmp_path / 'w', '\n'.join([first, *lines, '']), 'poses.txt')
    track = read_tum(tmp_path / 'w' / 'poses.txt')
    expected = np.array(walk, float)
    assert track.stamps == pytest.approx(expected[:, 0], abs=1e-6)
    assert track.positions == pytest.approx(expected[:, 1:4])
    assert track.quaternions == pytest.approx(expected[:, 4:], abs=1e-7)
    told = f'the stamps of poses.txt are taken as {unit}, by their size'
    assert track.remarks == ([] if unit == 's' else [told])


def test_the_table_of_a_walk_is_a_file_of_poses_too(town: Path) -> None:
    frames, track = read_source(town / 'day'), read_tum(town / 'day' / 'poses.csv')
    assert track.stamps.tolist() == [f.stamp for f in frames]
    assert track.positions[:, 0].tolist() == [f.pose.x for f in frames]


@pytest.mark.parametrize('digits', [4, 5, 6, 7, 8, 9])
def test_stamps_that_lost_their_digits_are_refused(tmp_path: Path, digits: int) -> None:
    lines = [f'{START + i * 0.05:.{digits}g} {i * 0.1} 0 0 0 0 0 1' for i in range(2000)]
    write(tmp_path / 'w', '\n'.join(lines), 'poses.txt')
    with pytest.raises(VprError, match='write stamps with all their digits'):
        read_tum(tmp_path / 'w' / 'poses.txt')


def test_a_few_poses_at_one_stamp_are_counted(tmp_path: Path) -> None:
    lines = [f'{i} {i} 0 0 0 0 0 1' for i in range(1, 100)]
    lines += ['50 7 0 0 0 0 0 1', '60 60 0 0 0 0 0 1']
    write(tmp_path / 'w', '\n'.join(sorted(lines, key=lambda r: int(r.split()[0]))), 'poses.txt')
    track = read_tum(tmp_path / 'w' / 'poses.txt')
    assert track.refused[SAME_STAMP] == 2 and len(track.stamps) == 99


def test_no_bytes_raise_anything_else(tmp_path: Path) -> None:
    draw = random.Random(5)
    whole = (
        'file;stamp;x;y;z;qx;qy;qz;qw\n' + '\n'.join(';'.join(r) for r in rows(9, draw))
    ).encode()
    path = tmp_path / 'table.csv'
    for _ in range(600):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for _ in range(draw.choice([1, 3, 30]) if data else 0):
            data[draw.randrange(len(data))] = draw.choice(b'";,\t\n\r\0\xff#ae.- 0')
        path.write_bytes(bytes(data))
        for read in (lambda p: read_rows(p, ('stamp', 'x')), read_tum):
            try:
                read(path)
            except VprError as error:
                assert '\n' not in str(error)


LONG = {
    'digits': f'file,stamp,x,y\n0.jpg,{"1" * 130_000}x,0,0\n',
    'empty names': f'file,stamp,x,y{"," * 600_000}\n0.jpg,1x,0,0\n',
    'names': f'file,stamp,x,y,{",".join(map(str, range(100_000)))}\n0.jpg\n',
}


@pytest.mark.usefixtures('alarm')
@pytest.mark.parametrize('name', LONG)
def test_long_values_and_headers_take_no_minutes(tmp_path: Path, name: str) -> None:
    with pytest.raises(VprError) as error:
        read_source(write(tmp_path / 'w', LONG[name]))
    assert ':2: ' in line_of(error)
