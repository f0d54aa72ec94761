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
from ashtkd_ros.traverses.opening import open_traverse

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


def test_any_name_will_do(tmp_path: Path):
    path = write_video(tmp_path / 'v.mp4').rename(tmp_path / 'concat:\udcff %03d.mp4')
    assert VideoReader(path).read('3#300.0').shape == (48, 64, 3)


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
