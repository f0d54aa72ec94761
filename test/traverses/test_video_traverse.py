# SPDX-License-Identifier: Apache-2.0
"""A video is a source as any other: its images, their times and their poses."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from ashtkd_ros.traverses.opening import open_traverse, originals_of
from ashtkd_ros.traverses.traverse import PLAY, TraverseOptions

CODECS = {'.mp4': 'mp4v', '.avi': 'MJPG', '.mkv': 'mp4v'}


def write_video(path: Path) -> Path:
    """150 images, 10 a second; image i is of brightness i all over."""
    code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), code, 10.0, (64, 48))
    for i in range(150):
        writer.write(np.full((48, 64, 3), i, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize('ending', CODECS)
def test_images_are_the_same_however_they_are_read(tmp_path: Path, ending: str):
    traverse = open_traverse(write_video(tmp_path / f'v{ending}'))
    cursors, frames = zip(*traverse.frames(), strict=True)
    images = [frame.read() for frame in frames]
    assert [f.stamp for f in frames] == pytest.approx([i / 10 for i in range(150)])
    assert [float(image.mean()) for image in images] == pytest.approx(range(150), abs=5)
    assert [f for _, f in traverse.frames(cursors[10])] == list(frames[11:])
    originals = originals_of(traverse.describe())
    assert all((originals.read(frames[i].source) == images[i]).all() for i in (7, 149, 0, 90))
    sent = open_traverse(traverse.path, TraverseOptions(purpose=PLAY)).playback()
    assert list(sent.stamps()) == [f.header_ns for f in frames] and traverse.notes == []


def test_an_image_that_repeats_a_time_moves_no_other(tmp_path: Path):
    """Also where a pause makes the mean rate of the file a wrong one."""
    path = write_video(tmp_path / 'v.mp4')
    data = bytearray(path.read_bytes().replace(b'edts', b'free'))  # which tells the duration
    at = data.index(b'stts')  # how long each image lasts, in runs: count, duration
    (step,) = struct.unpack_from('>I', data, at + 16)
    runs = [(4, step), (1, 0), (95, step), (1, 10_000 * step), (49, step)]
    data[at + 8 : at + 20] = struct.pack('>11I', len(runs), *sum(runs, ()))
    for box in (b'moov', b'trak', b'mdia', b'minf', b'stbl', b'stts'):
        start = data.rindex(box, 0, at + 4) - 4
        data[start : start + 4] = struct.pack('>I', struct.unpack_from('>I', data, start)[0] + 32)
    path.write_bytes(data)
    stamps = np.array([frame.stamp for _, frame in open_traverse(path).frames()])
    assert stamps[:7] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5])
    assert np.diff(stamps[:101]).max() == pytest.approx(0.1)
    assert np.diff(stamps[101:]) == pytest.approx(np.full(48, 0.1)) and stamps[101] > 1000


def test_poses_are_those_of_its_time(tmp_path: Path):
    path, table = write_video(tmp_path / 'v.mp4'), tmp_path / 'poses.txt'
    table.write_text(''.join(f'{1e9 + i} {i} 0 0 0 0 0 1\n' for i in range(15)))
    assert '--video-start' in open_traverse(path, TraverseOptions(trajectory=table)).notes[0]
    timed = open_traverse(path, TraverseOptions(trajectory=table, video_start=1e9))
    assert [f.pose.x for _, f in timed.frames() if f.pose] == pytest.approx([*np.arange(141) / 10])
