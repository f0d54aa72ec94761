# SPDX-License-Identifier: Apache-2.0
"""build_map on bags: killed and called again, bad bags in one line, and what it tells."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from bag_helpers import (
    cut,
    fix,
    image,
    metadata,
    odd,
    odometry,
    pose_stamped,
    split_bag,
    storage_files,
    write_bag,
    write_metadata,
)
from conftest import ROOT, write_tiny_model
from mcap_helpers import channels_of, write_mcap
from test_commands import call, error_line
from test_mapping import START, drive, map_options, opened, snapshot, tinted
from test_video_traverse import write_video

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping import build as mapping
from ashtkd_ros.mapping import journal as journal_module
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.maps import replacement
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.traverse import Traverse


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx', grid=(2, 4))


@pytest.fixture(scope='module')
def tiny(model: Path) -> Embedder:
    return Embedder(model, num_threads=1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'maps' / 'map'


# --- stopped and called again


class Stop(BaseException):
    """As a kill: nobody catches it."""


def build_with_stops(
    traverses: Sequence[Traverse],
    embedder: Embedder,
    out: Path,
    options: MapOptions,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, dict[str, int]]:
    """Build, stopped each time after so many new entries; number of stops, counts of images."""
    whole_add, stops = Journal.add, 0

    def add(self: Journal, *entry: object) -> None:
        if self.new == after:
            raise Stop
        self.new += 1
        whole_add(self, *entry)

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, '_FLUSH_S', -1.0)
        patch.setattr(os, 'fsync', lambda _: None)
        patch.setattr(Journal, 'new', 0, raising=False)
        patch.setattr(Journal, 'add', add)
        while True:
            try:
                _, counts = build_map(traverses, embedder, out, options)
            except Stop:
                stops += 1
                continue
            return stops, counts


def some_bags(tmp_path: Path) -> dict[str, list[Path]]:
    equal = [image(101.25 + i / 50, tinted(i, 'b'), received=101.3) for i in range(3)]
    larger = [image(START + t, tinted(0, 'g', (48, 32))) for t in (0.1, 2.6, 2.7)]
    a = write_bag(tmp_path / 'a', records=drive('rgbrgbrgkrgb') + equal + larger)
    b = write_bag(tmp_path / 'b', records=drive('bbggrr', start=500.0), storage='mcap')
    parts = [drive('rrgg'), drive('bbgg', start=101.0)]  # overlap by a second
    return {'one': [a], 'several': [a, b], 'overlapping': [split_bag(tmp_path / 'c', parts)]}


@pytest.mark.parametrize('rule', ['distance', 'change', 'all'])
def test_a_build_that_is_stopped_after_any_place_makes_the_same_map(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch, rule: str
):
    monkeypatch.setattr(mapping, 'write_route_picture', lambda path, *_: path.write_bytes(b''))
    for name, paths in some_bags(tmp_path).items():
        traverses = opened(*paths)
        options = map_options(rule, metres=0.2, thumbnails=name == 'several')
        expected, counts = build_map(traverses, tiny, out, options)
        whole, count = snapshot(out), len(expected.places)
        assert count >= 3 and (name != 'several' or f'thumbnails/{count - 1:06d}.jpg' in whole)
        for after in (n for n in (1, 2, 3, 5, 8) if n < count):
            shutil.rmtree(out)
            arguments = (traverses, tiny, out, options, after, monkeypatch)
            assert build_with_stops(*arguments) == ((count - 1) // after, counts)
            assert snapshot(out) == whole
            assert [p.name for p in out.parent.iterdir()] == ['map']


def test_a_build_of_a_video_that_is_stopped_makes_the_same_map(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    traverses, options = opened(write_video(tmp_path / 'v.mp4')), map_options('all')
    count = len(build_map(traverses, tiny, out, options)[0].places)
    whole = snapshot(out)
    shutil.rmtree(out)
    stops, _ = build_with_stops(traverses, tiny, out, options, 60, monkeypatch)
    assert (count, stops) == (150, 2) and snapshot(out) == whole


def test_a_resumed_build_counts_what_an_unbroken_one_does(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    sizes = [(24, 32), (48, 32), (24, 32), (24, 32)]
    records = [image(START + i, tinted(i, 'r', size)) for i, size in enumerate(sizes)]
    traverses = opened(write_bag(tmp_path / 'b', records=records))
    _, expected = build_map(traverses, tiny, out, map_options('all'))
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, '_FLUSH_S', -1.0)
        patch.setattr(replacement, '_put_in_place', lambda *_: (_ for _ in ()).throw(Stop()))
        with pytest.raises(Stop):
            build_map(traverses, tiny, tmp_path / 'again', map_options('all'))
    place_map, counts = build_map(traverses, tiny, tmp_path / 'again', map_options('all'))
    assert counts == expected and len(place_map.places) == 4


def test_a_changed_build_begins_anew_and_other_workers_do_not(
    tmp_path: Path, tiny: Embedder, out: Path, monkeypatch: pytest.MonkeyPatch
):
    bag = write_bag(tmp_path / 'b', records=drive('rgbrgb'))

    def stopped(*, workers: int = 2, **options: object) -> int:
        """How many entries a build found, stopped after the next one."""
        whole_add = Journal.add

        def add(self: Journal, *entry: object) -> None:
            found.append(self.count)
            whole_add(self, *entry)
            self.flush()
            raise Stop

        found: list[int] = []
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(Journal, 'add', add)
            build_map(opened(bag), tiny, out, map_options('all', workers=workers, **options))
        return found[0]

    assert [stopped() for _ in range(3)] == [0, 1, 2]
    assert stopped(workers=1) == 3
    assert stopped(metres=3.0) == 0
    assert stopped() == 0 and stopped() == 1
    os.utime(next(bag.glob('*.db3')), ns=(1, 1))
    assert stopped() == 0


# --- killed by the system

# Builds a map, and at every step waits for a byte: so the moment of a kill is no matter of luck.
PROCESS = """
import os, shutil, sys
from ashtkd_ros.mapping import journal
from ashtkd_ros.maps import replacement
from ashtkd_ros.commands import build_map
journal._FLUSH_S = -1.0
def step(function):
    def wait(*arguments, **options):
        os.write(1, b'.')
        os.read(0, 1)
        return function(*arguments, **options)
    return wait
for owner, name in ((os, 'fsync'), (journal.Journal, 'add'), (os, 'rename'), (shutil, 'copytree'),
                    (replacement, '_put_in_place'), (replacement, 'remove_map'),
                    (replacement, '_move_users_files')):
    setattr(owner, name, step(getattr(owner, name)))
build_map.main(sys.argv[1:])
"""


def kill_at_step(step: int, arguments: Sequence[str]) -> bool:
    """Kill a build at its step of that number; whether there was one, else the build is done."""
    process = subprocess.Popen(
        [sys.executable, '-c', PROCESS, *arguments],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        process.stdin.write(b'.' * (step - 1))
        process.stdin.flush()
        seen = process.stdout.read(step)
        if seen == b'.' * step:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        process.stdin.close()
        assert process.wait() == 0
        return False


def test_a_build_that_is_killed_at_any_step_makes_the_same_map(
    tmp_path: Path, tiny: Embedder, model: Path, out: Path
):
    a, b = some_bags(tmp_path)['several']
    arguments = [str(a), str(b), '-o', str(out), '--metres', '0.5', '--max-blur', '1']
    arguments += ['--model', str(model), '--thumbnails']
    build_map(opened(a, b), tiny, out, map_options(metres=0.5, thumbnails=True))
    whole = snapshot(out)
    shutil.rmtree(out)
    choose, kills, done = random.Random(3), 0, 0
    while kills < 6 or not done:
        if kill_at_step(choose.randrange(1, 40), arguments):
            kills += 1
        else:
            assert snapshot(out) == whole
            assert [p.name for p in out.parent.iterdir()] == ['map']
            done += 1


def test_two_builds_of_one_map_at_a_time_are_refused(
    tmp_path: Path, model: Path, out: Path, capsys: pytest.CaptureFixture
):
    bag = write_bag(tmp_path / 'b', records=drive('rr'))
    other = Journal(out, {'model': 'a', 'options': {}}, 3)
    assert call('build_map', bag, '-o', out, '--model', model) == 1
    assert 'another build_map or map_tools is at work on this map' in last_line(capsys)
    other.close()
    assert call('build_map', bag, '-o', out, '--model', model, '--max-blur', 1) == 0


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().err.splitlines()[-1]


# --- bad bags


def edited(bag: Path, **changes: object) -> None:
    write_metadata(bag, metadata(bag) | changes)


JUMP = [odometry(5.0 + i, Pose(i, 0, 0), received=START + 9 + i) for i in range(9)]
ZERO = [image(0.0, tinted(i, 'r'), received=START + i) for i in range(3)]
BAD: dict[str, tuple[list | dict, Callable | None, list[str], str]] = {
    'cut near its start': ({}, lambda b: cut_here(b, 0.1), [], '.recover'),
    'zstd cut': ({'compression': 'file'}, lambda b: cut_here(b, 0.7), [], 'is cut off'),
    'no storage': ({}, lambda b: storage_files(b)[0].unlink(), [], 'missing'),
    'empty': ([], None, [], 'holds no images; it holds: nothing'),
    'no images': ([odd(START)], None, [], 'holds no images; it holds: /odd'),
    'two cameras': ([*drive('r'), image(START, tinted(0, 'r'), '/b')], None, [], '--image-topic'),
    'two poses': ([*drive('r'), fix(START, 1, 1)], None, [], 'choose with --pose-topic: /fix'),
    'no such poses': ({}, None, ['--pose-topic', '/pose'], '/pose is not a topic with poses'),
    'no such images': ({}, None, ['--image-topic', '/x'], '/x is not a topic with images'),
    'pose clock back': (drive('r') + JUMP, None, [], 'use --stamps receive'),
    'zero stamps': (ZERO, None, [], 'have stamp zero; use --stamps receive'),
    'only black': (drive('kk'), None, [], 'no image became a place: 2 images, 2 nearly black'),
    'only strange': (
        [image(START, tinted(0, 'r'), encoding='x'), pose_stamped(START, Pose(0, 0, 0))],
        None,
        [],
        '1 unreadable: unknown encoding "x"',
    ),
}


def cut_here(bag: Path, share: float) -> None:
    copy = cut(bag, share)
    shutil.rmtree(bag)
    copy.rename(bag)


@pytest.mark.parametrize('case', BAD)
def test_a_bad_bag_is_one_line(
    tmp_path: Path, model: Path, out: Path, case: str, capsys: pytest.CaptureFixture
):
    records, spoil, options, expected = BAD[case]
    if isinstance(records, dict):
        bag = write_bag(tmp_path / 'bag', records=drive('rgb' * 3), **records)
    else:
        bag = write_bag(tmp_path / 'bag', records=records)
    if spoil:
        spoil(bag)
    assert call('build_map', bag, '-o', out, '--model', model, *options) == 1
    if not case.startswith('only') and 'zstd' not in case:
        line = error_line(capsys)
    else:
        line = last_line(capsys)
    assert expected in line and str(bag) in line
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize('name', ['a.bag', 'a.mcap', 'a.db3', 'a.txt', 'gone', 'gone.bag', 'dir'])
def test_what_is_no_bag_is_one_line(
    tmp_path: Path, model: Path, out: Path, name: str, capsys: pytest.CaptureFixture
):
    path = tmp_path / name
    if name == 'dir':
        path.mkdir()
    elif not name.startswith('gone'):
        path.write_bytes(b'garbage' * 99)
    assert call('build_map', path, '-o', out, '--model', model) == 1
    assert str(path) in error_line(capsys)


# --- what it tells


def test_a_bag_without_poses_is_noted_and_mapped_by_change(
    tmp_path: Path, model: Path, out: Path, capsys: pytest.CaptureFixture
):
    bag = write_bag(tmp_path / 'b', records=drive('rrgg', poses=False))
    assert call('build_map', bag, '-o', out, '--model', model, '--max-blur', 1) == 0
    printed = capsys.readouterr()
    assert printed.err == f'note: {bag}: no topic with poses: its images have none\n'
    assert printed.out == (
        f'{out}: 2 places, without poses, model tiny\n4 images: 2 no new place\n'
    )


def test_the_summary_counts_what_was_left_out_and_states_the_origin(
    tmp_path: Path, model: Path, out: Path, capsys: pytest.CaptureFixture
):
    records = [image(START + i, tinted(i, 'k' if i == 2 else 'r')) for i in range(6)]
    records += [fix(START + i, 48.0 + i * 1e-4, 11.0, 520.0) for i in range(4)]
    bag = write_bag(tmp_path / 'b', records=records)
    assert call('build_map', bag, '-o', out, '--model', model, '--max-blur', 1) == 0
    assert capsys.readouterr().out.splitlines() == [
        f'{out}: 3 places, 16.7 m apart, model tiny',
        '6 images: 1 nearly black, 2 after the last pose',
        'x east, y north, z up of 48.0000000, 11.0000000, 520.0 m',
        f'route: {out / "route.png"}',
    ]
    assert PlaceMap.load(out).places[1].geo == (48.0001, 11.0)


def test_images_that_an_index_counts_and_the_file_lacks_are_lost(
    tmp_path: Path, model: Path, out: Path, capsys: pytest.CaptureFixture
):
    source = write_bag(tmp_path / 'a', records=drive('rgb' * 3))
    write_mcap(tmp_path / 'b.mcap', channels_of(source), miscounted=2)
    assert call('build_map', tmp_path / 'b.mcap', '-o', out, '--model', model) == 0
    assert '2 lost in a damaged recording' in capsys.readouterr().out


@pytest.mark.parametrize('case', ['cut', 'no metadata', 'no YAML', 'other counts'])
def test_what_can_be_read_is_mapped_and_the_rest_is_noted(
    tmp_path: Path, model: Path, out: Path, case: str, capsys: pytest.CaptureFixture
):
    bag = write_bag(tmp_path / 'b', records=drive('rgb' * 3), storage='mcap')
    if case == 'cut':
        cut_here(bag, 0.9)
    elif case == 'no metadata':
        (bag / 'metadata.yaml').unlink()
    elif case == 'no YAML':
        (bag / 'metadata.yaml').write_text('[1\n}')
    else:
        topics = metadata(bag)['topics_with_message_count']
        edited(bag, topics_with_message_count=[t | {'message_count': 11} for t in topics])
    assert call('build_map', bag, '-o', out, '--model', model) == 0
    noted = {'cut': 'was cut off', 'other counts': '11 messages by metadata.yaml, 9 in the files'}
    assert noted.get(case, 'the files are read without it') in capsys.readouterr().err
