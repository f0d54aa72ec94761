# SPDX-License-Identifier: Apache-2.0
"""Files that are no sound video: one line, no crash, no waiting, nothing printed by FFmpeg."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, line_of
from test_video_traverse import write_video

from ashtkd_ros.errors import VprError
from ashtkd_ros.images import video_reader
from ashtkd_ros.images.video_reader import VideoReader
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.opening import open_traverse, originals_of

DATA = {'text': b'no video', 'empty': b'', 'playlist': b'#EXTM3U\n/etc/passwd\n'}


@pytest.mark.parametrize('damage', [*DATA, 'cut', 'fifo', 'gone'])
def test_what_is_no_video_is_one_line(tmp_path: Path, damage: str):
    path = write_video(tmp_path / 'v.mp4')
    path.write_bytes(DATA.get(damage, path.read_bytes()[:1000]))
    if damage in ('fifo', 'gone'):
        path.unlink()
    if damage == 'fifo':
        os.mkfifo(path)
    with pytest.raises(VprError) as error:
        VideoReader(path).probe()
    assert str(path) in line_of(error)


def test_images_that_are_too_large_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_video(tmp_path / 'v.mp4')
    monkeypatch.setattr(video_reader, 'MAX_PIXELS', 64 * 48 - 1)
    with pytest.raises(VprError) as error:
        VideoReader(path).probe()
    assert f'{path}: claims 64 x 48 pixels' in line_of(error)


def test_without_times_the_rate_counts_and_without_both_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_video(tmp_path / 'v.avi')
    monkeypatch.setattr(VideoReader, 'ms', lambda self: 0.0)
    (note,) = (traverse := open_traverse(path)).notes
    assert 'does not tell the times' in note and '10 images per second' in note
    frames = [frame for _, frame in traverse.frames()]
    assert [f.stamp for f in frames] == pytest.approx([i / 10 for i in range(150)])
    assert float(frames[90].read().mean()) == pytest.approx(90, abs=5)
    monkeypatch.setattr(VideoReader, '_get', lambda *_: 0.0)
    with pytest.raises(VprError) as error:
        open_traverse(path)
    assert 'does not tell the times of its images' in line_of(error)


def test_an_image_without_a_time_follows_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = VideoReader.ms
    lacks = {90, 148, 149}  # the last ones lack it where images are not stored in their order
    monkeypatch.setattr(VideoReader, 'ms', lambda r: 0.0 if r.number in lacks else told(r))
    traverse = open_traverse(write_video(tmp_path / 'v.avi'))
    frames = [frame for _, frame in traverse.frames()]
    assert [f.stamp for f in frames] == pytest.approx([i / 10 for i in range(150)])
    assert float(frames[148].read().mean()) == pytest.approx(148, abs=5)
    assert traverse.notes == []


def test_any_name_will_do(tmp_path: Path):
    path = write_video(tmp_path / 'v.mp4').rename(tmp_path / 'concat:\udcff %03d.mp4')
    assert VideoReader(path).read('3#300.0').shape == (48, 64, 3)


@pytest.mark.parametrize('lost', [{0}, {1, 2}, {70}, {*range(60, 100)}, {148}])
def test_images_that_cannot_be_decoded_are_passed_over(tmp_path: Path, lost: set[int]):
    path = write_video(tmp_path / 'v.avi')
    start, *images = path.read_bytes().split(b'\xff\xd8\xff')
    images = [x[-32:].rjust(len(x), b'\0') if i in lost else x for i, x in enumerate(images)]
    path.write_bytes(b'\xff\xd8\xff'.join([start, *images]))
    cursors, frames = zip(*(traverse := open_traverse(path)).frames(), strict=True)
    numbers = [i for i in range(150) if i not in lost]
    assert [c.number for c in cursors] == numbers
    assert [f.stamp for f in frames] == pytest.approx([i / 10 for i in numbers])
    assert [f for _, f in traverse.frames(cursors[80])] == list(frames[81:])
    assert [float(frames[i].read().mean()) for i in (105, 0)] == pytest.approx(
        [numbers[105], numbers[0]], abs=5
    )
    (note,) = traverse.notes
    assert note == f'{counted(len(lost), "image")} of 150 cannot be decoded'
    assert traverse.count == 150


@pytest.mark.parametrize('ending', ['.mkv', '.avi'])
def test_a_video_that_was_cut_off_is_noted(tmp_path: Path, ending: str):
    path = write_video(tmp_path / f'v{ending}')
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    traverse = open_traverse(path)
    count = sum(1 for _ in traverse.frames())
    expected = f'the file claims 150 images and {count} were read; it may have been cut'
    assert traverse.notes == [expected] and 20 < count == traverse.count


def test_names_of_other_maps_do_no_harm(tmp_path: Path):
    reader = VideoReader(write_video(tmp_path / 'v.mp4'))
    expected = reader.read('90#9000.0')
    numbers = [
        '9' * 20 + '#1e11',
        f'{2**62}#1.0',
        f'{10**9 - 1}#1.0',
        '9' * 5000 + '#0.0',
        '-1#0.0',
    ]
    times = ['3#nan', '3#inf', '3#1e400', '3#-1.0', '3#9e11', '3#4050.0', '3#400.0']
    for name in (*numbers, *times, '', '#', '3', 'x#y'):
        with pytest.raises(VprError) as error:
            reader.read(name)
        assert 'cannot be read' in line_of(error)
    reader.read('30#9000.0')
    assert (reader.read('90#9000.0') == expected).all()
    assert float(reader.read('31#3100.0').mean()) == pytest.approx(31, abs=5)


def test_another_video_of_the_same_name_is_refused(tmp_path: Path):
    path = write_video(tmp_path / 'v.mp4')
    traverse = open_traverse(path)
    source = next(iter(traverse.frames()))[1].source
    originals = originals_of(traverse.describe())
    assert originals.read(source).shape == (48, 64, 3)
    with open(path, 'ab') as file:
        file.write(b'\0')
    with pytest.raises(VprError) as error:
        originals_of(traverse.describe()).read(source)
    assert 'another video' in line_of(error)


def test_damaged_videos_crash_and_print_nothing(tmp_path: Path):
    rng, code = (
        random.Random(5),
        (
            'import sys\nfrom ashtkd_ros.cli.terminal import safe_output\n'
            'from ashtkd_ros.errors import VprError\n'
            'from ashtkd_ros.images.video_reader import VideoReader\n'
            'with safe_output():\n    for path in sys.argv[1:]:\n        try:\n'
            '            reader = VideoReader(path)\n            reader.probe()\n'
            '            reader.read("7#700.0")\n        except VprError:\n            pass\n'
        ),
    )
    for ending in ('mp4', 'avi', 'mkv'):
        data = write_video(tmp_path / f'v.{ending}').read_bytes()
        for number in range(8):
            damaged = bytearray(data)
            for _ in range(4 ** (number % 5)):
                damaged[rng.randrange(len(data))] = rng.randrange(256)
            (tmp_path / f'{number}.{ending}').write_bytes(damaged)
    command = [sys.executable, '-c', code, *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
