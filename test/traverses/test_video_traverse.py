# SPDX-License-Identifier: Apache-2.0
"""A video is a source as any other: its images, their times and their poses."""

from __future__ import annotations

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


def test_poses_are_those_of_its_time(tmp_path: Path):
    path, table = write_video(tmp_path / 'v.mp4'), tmp_path / 'poses.txt'
    table.write_text(''.join(f'{1e9 + i} {i} 0 0 0 0 0 1\n' for i in range(15)))
    (note,) = open_traverse(path, TraverseOptions(trajectory=table)).notes
    assert 'no image has a pose' in note and '--video-start' in note
    timed = open_traverse(path, TraverseOptions(trajectory=table, video_start=1e9))
    assert [f.pose.x for _, f in timed.frames() if f.pose] == pytest.approx([*np.arange(141) / 10])
