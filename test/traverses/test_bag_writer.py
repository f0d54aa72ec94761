# SPDX-License-Identifier: Apache-2.0
"""Bags made of folders: what rosbags reads back is what the folder held, or there is no bag."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import KINDS, metadata, of_topic, pose_of, read_back, stamp_ns, storage_files
from conftest import ROOT, line_of
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.commands import bag_tools
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.traverses.bag_writer import START_S, BagOptions, make_bag, stamps_ns
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import file_frame, read_source

IMAGE, ODOM = '/camera/image_raw', '/odom'


def call(*arguments: object) -> int:
    """Run bag_tools in this process; its exit status."""
    with pytest.raises(SystemExit) as end:
        bag_tools.main([str(a) for a in arguments])
    return end.value.code


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """Five pictures, 0.25 s apart from 12.1 s, on a turn to the left; the last is a PNG."""
    folder, rng = tmp_path / 'walk', np.random.default_rng(0)
    folder.mkdir()
    rows = ['file,stamp,x,y,z,qx,qy,qz,qw']
    for i in range(5):
        name = f'{i}.{"png" if i == 4 else "jpg"}'
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (30, 41, 3), np.uint8))
        half = 0.3 * i
        turn = f'{np.sin(half):.9f},{np.cos(half):.9f}'
        rows.append(f'{name},{12.1 + 0.25 * i},{i / 3},{-i},0.5,0,0,{turn}')
    (folder / 'poses.csv').write_text('\n'.join(rows) + '\n')
    return folder


def index(folder: Path, labels: list[str]) -> Path:
    """An index set without positions."""
    folder.mkdir()
    rows = ['file,place,role,order']
    for i, label in enumerate(labels):
        cv2.imwrite(str(folder / f'{i}.jpg'), np.full((6, 8, 3), 40 * i, np.uint8))
        rows.append(f'{i}.jpg,"{label}",query,{i}')
    (folder / 'index.csv').write_text('\n'.join(rows) + '\n')
    return folder


@pytest.mark.parametrize(('storage', 'compression'), KINDS, ids='-'.join)
def test_bag_holds_pixels_poses_and_stamps_of_the_folder(
    walk: Path, tmp_path: Path, storage: str, compression: str
):
    frames, out = read_source(walk), tmp_path / 'bag'
    counts = make_bag(frames, out, BagOptions(storage=storage, compression=compression))
    messages = read_back(out)
    images, odometries = of_topic(messages, IMAGE), of_topic(messages, ODOM)
    assert counts == {IMAGE: len(images), ODOM: len(odometries)} and len(images) == 5
    poses = {stamp_ns(m): pose_of(m.pose.pose) for m in odometries}
    for frame, made in zip(frames, images, strict=True):
        assert stamp_ns(made) == round(frame.stamp * 1e9)
        assert poses[stamp_ns(made)] == frame.pose
        assert (made.encoding, made.header.frame_id, made.step) == ('rgb8', 'camera_optical', 123)
        pixels = made.data.reshape(made.height, made.width, 3)
        assert np.array_equal(pixels, frame.read())
    assert all(m.header.frame_id == 'odom' and m.child_frame_id == 'base_link' for m in odometries)
    for _, received, m in messages:
        assert received == stamp_ns(m) + 1_000_000
    assert [m[1] for m in messages] == sorted(m[1] for m in messages)
    assert metadata(out)['storage_identifier'] == storage
    assert sorted(p.name.partition('.')[0] for p in out.iterdir()) == ['bag', 'metadata']
    assert sorted(p.name for p in tmp_path.iterdir()) == ['bag', 'walk']


def test_odometry_has_its_own_rate_and_turns_evenly(walk: Path, tmp_path: Path):
    make_bag(read_source(walk), tmp_path / 'bag', BagOptions(odom_hz=40.0, odom_frame='map'))
    made = of_topic(read_back(tmp_path / 'bag'), ODOM)
    steps = np.diff([stamp_ns(m) for m in made])
    assert len(made) == 41 and steps.max() == 25_000_000
    yaws = np.unwrap([pose_of(m.pose.pose).yaw for m in made])
    assert np.diff(yaws) == pytest.approx(0.06, abs=0.002)
    assert made[0].header.frame_id == 'map'


def test_poses_are_not_interpolated_over_long_gaps(tmp_path: Path, walk: Path):
    frames = [replace(f, stamp_ns=(1 + 60 * i) * 10**9) for i, f in enumerate(read_source(walk))]
    assert make_bag(frames, tmp_path / 'bag') == {IMAGE: 5, ODOM: 5}
    frames = [replace(f, pose=None if i == 2 else f.pose) for i, f in enumerate(read_source(walk))]
    counts = make_bag(frames, tmp_path / 'bag2')
    assert counts == {IMAGE: 5, ODOM: 4 + 2 * 4}  # none near the frame that has no pose


def test_tf_leads_from_the_map_to_a_camera_that_looks_forward(walk: Path, tmp_path: Path):
    frames = read_source(walk)
    make_bag(frames, tmp_path / 'bag', BagOptions(tf=True))
    messages = read_back(tmp_path / 'bag')
    (static,) = of_topic(messages, '/tf_static')[0].transforms
    q = static.transform.rotation
    assert (static.header.frame_id, static.child_frame_id) == ('base_link', 'camera_optical')
    optical = matrix(q.x, q.y, q.z, q.w)
    assert optical @ [0, 0, 1] == pytest.approx([1, 0, 0])  # what it looks at is ahead
    assert optical @ [1, 0, 0] == pytest.approx([0, -1, 0])  # its right is the body's right
    first, second = of_topic(messages, '/tf')[0].transforms
    assert (first.header.frame_id, first.child_frame_id) == ('map', 'odom')
    assert (second.header.frame_id, second.child_frame_id) == ('odom', 'base_link')
    assert (first.transform.rotation.w, first.transform.translation.x) == (1.0, 0.0)
    by_stamp = {stamp_ns(m.transforms[1]): m.transforms[1] for m in of_topic(messages, '/tf')}
    for frame in frames:
        move, pose = by_stamp[round(frame.stamp * 1e9)].transform, frame.pose
        assert (move.translation.x, move.translation.y) == (pose.x, pose.y)
        assert (move.rotation.z, move.rotation.w) == (pose.qz, pose.qw)
    with Reader(tmp_path / 'bag') as reader:
        qos = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
    assert qos['/tf_static'][0].durability == QosDurability.TRANSIENT_LOCAL


def matrix(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Rotation matrix of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_tf_in_the_map_frame_has_no_frame_between(walk: Path, tmp_path: Path):
    make_bag(read_source(walk), tmp_path / 'bag', BagOptions(tf=True, odom_frame='map'))
    moves = of_topic(read_back(tmp_path / 'bag'), '/tf')[0].transforms
    assert [(m.header.frame_id, m.child_frame_id) for m in moves] == [('map', 'base_link')]


def test_fixes_lead_back_to_the_poses(walk: Path, tmp_path: Path):
    frames, origin = read_source(walk), GeoOrigin(48.1, 11.5, 0.0)
    make_bag(frames, tmp_path / 'bag', BagOptions(origin=origin))
    fixes = {stamp_ns(m): m for m in of_topic(read_back(tmp_path / 'bag'), '/fix')}
    for frame in frames:
        m = fixes[round(frame.stamp * 1e9)]
        enu = origin.to_enu(np.array([[m.latitude, m.longitude, m.altitude]]))[0]
        assert enu == pytest.approx([frame.pose.x, frame.pose.y, frame.pose.z], abs=1e-6)
        assert m.status.status == 0


def test_jpeg_bags_hold_the_files_bytes(walk: Path, tmp_path: Path):
    frames = read_source(walk)
    make_bag(frames, tmp_path / 'bag', BagOptions(jpeg=True, storage='mcap'))
    made = of_topic(read_back(tmp_path / 'bag'), f'{IMAGE}/compressed')
    assert [m.format for m in made] == ['jpeg'] * 4 + ['png']
    assert [m.data.tobytes() for m in made] == [f.file.read_bytes() for f in frames]
    assert [stamp_ns(m) for m in made] == [round(f.stamp * 1e9) for f in frames]


def frames_at(*stamps: float) -> list[Frame]:
    return [file_frame(Path('x.jpg'), stamp, i) for i, stamp in enumerate(stamps)]


@pytest.mark.parametrize(
    ('stamps', 'options', 'expected'),
    [
        ((12.1, 0.3), {}, [12_100_000_000, 300_000_000]),
        ((0.0, 0.35), {}, [START_S * 10**9, START_S * 10**9 + 350_000_000]),
        ((0.0, 0.35), {'start_s': 0.0}, [0, 350_000_000]),
        ((0.1,), {'start_s': 1_700_000_000.5}, [1_700_000_000_600_000_000]),
        ((7.0, 7.0), {'hz': 3.0}, [START_S * 10**9, START_S * 10**9 + 333_333_333]),
        ((0.0, 1.0), {'hz': 10.0, 'start_s': 5.0}, [5_000_000_000, 5_100_000_000]),
        ((-3.0,), {'start_s': 4.0}, [1_000_000_000]),
        ((1403636579.8135555,), {}, [1403636579813555479]),  # what the float is, to the nanosecond
    ],
)
def test_stamps_are_rounded_once_and_never_zero_unasked(stamps, options: dict, expected: list):
    assert stamps_ns(frames_at(*stamps), BagOptions(**options)) == expected


@pytest.mark.parametrize('stamp', [-0.5, 2.0**31, 1.7e18])
def test_stamp_that_ros_cannot_tell_is_refused(stamp: float, tmp_path: Path):
    with pytest.raises(VprError) as error:
        make_bag(frames_at(1.0, stamp), tmp_path / 'bag')
    assert 'x.jpg: stamp ' in line_of(error)
    assert not list(tmp_path.iterdir())


def test_index_set_becomes_a_bag_with_labels(tmp_path: Path, capsys):
    source = index(tmp_path / 'set', ['40', 'hall, west', '42'])
    assert call('make', source, '-o', tmp_path / 'bag', '--role', 'query') == 0
    assert capsys.readouterr().out == f'{tmp_path / "bag"}: 3 {IMAGE}\n'
    with (tmp_path / 'bag' / 'labels.csv').open(newline='') as file:
        rows = list(csv.reader(file))
    assert rows == [['frame', 'label'], ['0', '40'], ['1', 'hall, west'], ['2', '42']]
    stamps = [stamp_ns(m) for m in of_topic(read_back(tmp_path / 'bag'), IMAGE)]
    assert [s - START_S * 10**9 for s in stamps] == [0, 100_000_000, 200_000_000]


def test_command_makes_what_its_options_say(walk: Path, tmp_path: Path, capsys):
    out = tmp_path / 'deep' / 'down' / 'bag'
    options = ['--storage', 'mcap', '--compression', 'storage', '--jpeg', '--tf']
    options += ['--origin', '-33.9', '-70.5', '--odom-hz', '8', '--hz', '2', '--start', '100']
    assert call('make', walk, '-o', out, *options) == 0
    text = '5 /camera/image_raw/compressed, 17 /odom, 17 /fix, 17 /tf, 1 /tf_static'
    assert capsys.readouterr().out == f'{out}: {text}\n'
    assert [p.name for p in storage_files(out)] == ['bag.mcap']
    fixes = of_topic(read_back(out), '/fix')
    assert stamp_ns(fixes[0]) == 100 * 10**9 and fixes[0].longitude == pytest.approx(-70.5)


def test_help_shows_an_example(capsys):
    assert call('--help') == 0
    assert 'example: ros2 run ashtkd_ros bag_tools make ' in capsys.readouterr().out
    assert call('make', '--help') == 0


@pytest.mark.parametrize(
    'arguments',
    [
        '',
        'make',
        'make x',
        'make x -o y --hz 0',
        'make x -o y --storage z',
        'make x -o y --start n',
    ],
)
def test_bad_arguments_end_with_2(arguments: str, capsys):
    assert call(*arguments.split()) == 2
    assert 'usage:' in capsys.readouterr().err


def garbage(walk: Path) -> None:
    (walk / '2.jpg').write_bytes(b'no image')


def garbage_after_magic(walk: Path) -> None:
    (walk / '2.jpg').write_bytes(b'\xff\xd8\xff' + b'no image' * 9)


def tiff(walk: Path) -> None:
    (walk / '2.jpg').write_bytes(cv2.imencode('.tiff', np.zeros((4, 4, 3), np.uint8))[1])


def negative(walk: Path) -> None:
    text = (walk / 'poses.csv').read_text()
    (walk / 'poses.csv').write_text(text.replace('12.1,', '-12.1,'))


BAD = {
    'no image': (garbage, [], '2.jpg: not a readable image'),
    'no image, mcap': (garbage, ['--storage', 'mcap'], '2.jpg: not a readable image'),
    'no image, jpeg': (garbage, ['--jpeg'], '2.jpg: not a readable image'),
    'broken jpeg': (garbage_after_magic, ['--jpeg'], '2.jpg: not a readable image'),
    'neither jpeg nor png': (tiff, ['--jpeg'], '2.jpg: is stored neither as JPEG nor as PNG'),
    'negative stamp': (negative, [], '0.jpg: stamp -12.100 s is not possible in ROS'),
    'compression of mcap': (None, ['--compression', 'storage'], 'needs --storage mcap'),
    'nowhere on earth': (None, ['--origin', '95', '0'], '95'),
}


@pytest.mark.parametrize('case', BAD)
def test_failure_is_one_line_and_leaves_nothing(walk: Path, tmp_path: Path, case: str, capsys):
    spoil, options, expected = BAD[case]
    if spoil is not None:
        spoil(walk)
    assert call('make', walk, '-o', tmp_path / 'bag', *options) == 1
    printed = capsys.readouterr()
    assert printed.out == '' and printed.err.startswith('error: ')
    assert expected in printed.err and printed.err.count('\n') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['walk']


@pytest.mark.parametrize('option', [['--tf'], ['--origin', '48', '11']])
def test_tf_and_fix_need_poses(tmp_path: Path, option: list[str], capsys):
    source = index(tmp_path / 'set', ['a'])
    assert call('make', source, '-o', tmp_path / 'bag', *option) == 1
    assert 'have no poses' in capsys.readouterr().err
    assert not (tmp_path / 'bag').exists()


@pytest.mark.parametrize('kind', ['bag', 'empty folder', 'file'])
def test_what_is_there_is_kept(walk: Path, tmp_path: Path, kind: str, capsys):
    out = tmp_path / 'bag'
    if kind == 'file':
        out.write_text('thesis')
    else:
        out.mkdir()
    if kind == 'bag':
        (out / 'metadata.yaml').write_text('mine')
    assert call('make', walk, '-o', out) == 1
    assert capsys.readouterr().err == (
        f'error: {out}: exists already; give another name or remove it\n'
    )
    assert out.read_text() == 'thesis' if kind == 'file' else out.is_dir()
    assert kind != 'bag' or (out / 'metadata.yaml').read_text() == 'mine'


@pytest.mark.parametrize(('storage', 'compression'), KINDS, ids='-'.join)
def test_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, storage: str, compression: str, town: Path
):
    options, frames = (
        BagOptions(storage=storage, compression=compression),
        read_source(town / 'day'),
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # stands in for a full disk
    try:
        with pytest.raises(VprError) as error:
            make_bag(frames, tmp_path / 'bag', options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert f'{tmp_path / "bag"}: the bag cannot be written (' in line_of(error)
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_one_line(walk: Path, tmp_path: Path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(VprError) as error:
        make_bag(read_source(walk), tmp_path / 'file' / 'bag')
    assert 'the bag cannot be written' in line_of(error)


def test_killed_process_leaves_no_bag_under_the_name(tmp_path: Path):
    code = (
        'import sys, time\nfrom pathlib import Path\nfrom ashtkd_ros.traverses import bag_writer\n'
        'from ashtkd_ros.traverses.frame import Frame\n'
        'from ashtkd_ros.traverses.image_folder import file_frame\nimport numpy as np\n'
        'def read(self):\n    print("read", flush=True); time.sleep(0.05)\n'
        '    return np.zeros((9, 9, 3), np.uint8)\nFrame.read = read\n'
        'frames = [file_frame(Path("x"), 1.0 + i, i) for i in range(10_000)]\n'
        'bag_writer.make_bag(frames, Path(sys.argv[1]))\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path / 'bag')]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={'PYTHONPATH': str(ROOT)}, cwd=ROOT
    ) as process:
        assert process.stdout.readline() == b'read\n'
        time.sleep(0.2)
        process.kill()
    assert not (tmp_path / 'bag').exists()
    assert all(p.name.endswith('.new') for p in tmp_path.iterdir())


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
@pytest.mark.parametrize('name', ['a#b', 'a?mode=ro', '100%25', 'a b', '%', "it's"])
def test_a_bag_of_any_name_is_whole_and_nothing_lies_beside_it(
    tmp_path: Path, town: Path, storage: str, name: str
):
    around = tmp_path / f'p{name}q'
    around.mkdir()
    frames = read_source(town / 'day')[:3]
    for compression in ('none', 'file'):
        options = BagOptions(storage=storage, compression=compression)
        counts = make_bag(frames, around / name, options)
        bag = Bag(around / name)
        assert {t.name: t.count for t in bag.topics.values()} == counts
        shutil.rmtree(around / name)
        assert not list(around.iterdir()) and {*tmp_path.iterdir()} <= {around, town}


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_a_name_that_metadata_cannot_hold_is_refused(tmp_path: Path, town: Path, storage: str):
    with pytest.raises(VprError, match='is not UTF-8 text'):
        make_bag(read_source(town / 'day')[:2], tmp_path / 'w\udcff', BagOptions(storage=storage))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_users_beside_a_new_bag_stays(tmp_path: Path, town: Path):
    mine = tmp_path / f'.bag.{os.getpid()}.new'
    mine.mkdir()
    (mine / 'notes').write_text('mine')
    make_bag(read_source(town / 'day')[:2], tmp_path / 'bag', BagOptions())
    assert (mine / 'notes').read_text() == 'mine'
