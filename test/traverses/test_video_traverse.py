# SPDX-License-Identifier: Apache-2.0
"""A video is a source as any other: its images, times, poses and errors."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.opening import open_traverse, originals_of
from ashtkd_ros.traverses.traverse import PLAY, TraverseOptions

CODECS = {'mp4': 'mp4v', 'avi': 'MJPG', 'mkv': 'mp4v'}


def write_video(path: Path, count: int = 30, hz: float = 10.0) -> Path:
    """Image i is of brightness 8 i all over."""
    code = cv2.VideoWriter_fourcc(*CODECS[path.suffix[1:]])
    writer = cv2.VideoWriter(str(path), code, hz, (64, 48))
    for i in range(count):
        writer.write(np.full((48, 64, 3), 8 * i, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize('ending', CODECS)
def test_images_are_the_same_however_they_are_read(tmp_path: Path, ending: str):
    traverse = open_traverse(write_video(tmp_path / f'v.{ending}'))
    found = [(cursor, frame, frame.read()) for cursor, frame in traverse.frames()]
    assert [f.stamp for _, f, _ in found] == pytest.approx([i / 10 for i in range(30)])
    assert [round(float(p.mean())) for *_, p in found] == pytest.approx(range(0, 240, 8), abs=4)
    originals, rest = originals_of(traverse.describe()), list(traverse.frames(found[10][0]))
    assert [f for _, f in rest] == [f for _, f, _ in found[11:]] and traverse.notes == []
    for at in (7, 29, 0):
        assert (found[at][1].read() == found[at][2]).all()
        assert (originals.read(found[at][1].source) == found[at][2]).all()
    sent = open_traverse(traverse.path, TraverseOptions(purpose=PLAY)).playback()
    assert list(sent.stamps()) == [f.header_ns for _, f, _ in found]


def test_poses_are_those_of_its_time(tmp_path: Path):
    path, table = write_video(tmp_path / 'v.mp4'), tmp_path / 'poses.txt'
    table.write_text(''.join(f'{1e9 + i} {i} 0 0 0 0 0 1\n' for i in range(4)))
    early = open_traverse(path, TraverseOptions(trajectory=table))
    assert '--video-start tells' in early.notes[-1]
    timed = open_traverse(path, TraverseOptions(trajectory=table, video_start=1e9))
    poses = [f.pose.x for _, f in timed.frames()]
    assert (
        poses == pytest.approx([i / 10 for i in range(30)]) and timed.keyframe_rule == 'distance'
    )


@pytest.mark.parametrize('damage', ['text', 'empty', 'fifo', 'cut', 'gone', 'playlist'])
def test_what_is_no_video_is_one_line(tmp_path: Path, damage: str):
    path = write_video(tmp_path / 'v.mp4')
    data = {'text': b'no video', 'empty': b'', 'playlist': b'#EXTM3U\n/etc/passwd\n'}
    path.write_bytes(data.get(damage, path.read_bytes()[:1000]))
    if damage in ('fifo', 'gone'):
        path.unlink()
    if damage == 'fifo':
        os.mkfifo(path)
    with pytest.raises(VprError) as error:
        open_traverse(path)
    assert str(path) in line_of(error)
