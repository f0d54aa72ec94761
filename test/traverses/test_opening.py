# SPDX-License-Identifier: Apache-2.0
"""A path leads to the kind of source that it is, and only the registry knows which kinds exist."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from bag_helpers import image, write_bag
from conftest import ROOT, line_of
from test_bags import picture
from test_video_traverse import write_video

from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.opening import KINDS, open_traverse, open_traverses
from ashtkd_ros.traverses.traverse import TraverseOptions


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_bag(tmp_path / 'bag', records=[image(1.0 + i, picture(i)) for i in range(3)])


def test_paths_are_opened_as_what_they_are(bag: Path, town: Path, tmp_path: Path):
    video = write_video(tmp_path / 'v.MP4')
    (tmp_path / 'folder.mp4').symlink_to(town / 'day')
    for path, kind, rule in (
        (bag, 'a bag', 'change'),
        (next(bag.glob('*.db3')), 'a bag', 'change'),
        (video, 'a video', 'change'),
        (town / 'day', 'a folder', 'all'),
        (tmp_path / 'folder.mp4', 'a folder', 'all'),
    ):
        traverse = open_traverse(path)
        assert (traverse.kind, traverse.keyframe_rule) == (kind, rule)
        assert sum(1 for _ in traverse.frames()) == traverse.count > 0


def test_what_does_not_fit_is_one_line(bag: Path, town: Path, tmp_path: Path):
    (tmp_path / 'a.txt').touch()
    video = write_video(tmp_path / 'v.mp4')
    for path, options, expected in (
        (bag, {'role': 'query'}, '--role is for folders, this is a bag'),
        (video, {'role': 'query'}, '--role is for folders, this is a video'),
        (video, {'image_topic': '/a'}, '--image-topic is for bags, this is a video'),
        (bag, {'video_start': 1.0}, '--video-start is for videos, this is a bag'),
        (town / 'day', {'image_topic': '/a'}, '--image-topic is for bags, this is a folder'),
        (town / 'day', {'trajectory': tmp_path / 'a.txt'}, '--trajectory is for bags and videos'),
        (bag, {'stamps': 'receive', 'role': 'query'}, '--role is for'),
        (video, {'trajectory': 'a.txt', 'pose_topic': '/odom'}, '--pose-topic is for bags'),
        (tmp_path / 'a.txt', {}, 'its ending is not one of .db3, .mcap, '),
        (tmp_path / 'gone', {}, 'no such folder'),
        (tmp_path / 'gone', {'labels': tmp_path / 'a.txt'}, 'no such folder'),
        (tmp_path / 'gone.mcap', {}, 'no such'),
        (tmp_path, {}, 'has neither poses.csv'),
    ):
        with pytest.raises(VprError) as error:
            open_traverse(path, TraverseOptions(**options))
        assert expected in line_of(error) and str(path) in str(error.value)


def test_what_was_meant_is_told(bag: Path, town: Path, tmp_path: Path):
    (tmp_path / 'walk').symlink_to(town / 'day')
    write_video(tmp_path / 'v.mp4')
    write_bag(tmp_path / 'old.bag', records=[image(1.0, picture(0))])
    (tmp_path / 'session').mkdir()
    (tmp_path / 'session' / 'notes.txt').touch()
    for path, expected in (
        (tmp_path, '; it holds bag, old.bag, v.mp4, walk: name one of them'),
        (bag / 'metadata.yaml', 'name the folder that it is in'),
        (town / 'day' / 'poses.csv', 'name the folder that it is in'),
        (tmp_path / 'session', 'add a table of the images'),
    ):
        with pytest.raises(VprError) as error:
            open_traverse(path)
        assert line_of(error).endswith(expected)


def test_what_has_no_effect_is_noted(town: Path, tmp_path: Path):
    video = write_video(tmp_path / 'v.mp4')
    (tmp_path / 'a.txt').write_text('0 0 0 0 0 0 0 1\n9 9 0 0 0 0 0 1\n')
    for path, options, expected in (
        (town / 'day', {}, ''),
        (town / 'day', {'stamps': 'receive'}, '--stamps is for bags and has no effect'),
        (town / 'day', {'max_pose_gap_s': 0.0}, '--max-pose-gap is for bags and videos'),
        (town / 'day', {'camera_frame_is': 'body'}, '--camera-frame-is is for bags and videos'),
        (video, {'map_frame': 'map'}, '--map-frame is for bags and has no effect'),
        (video, {'camera_frame': 'lens'}, '--camera-frame is for bags'),
        (video, {'stamps': 'receive'}, 'has no effect: this is a video'),
        (video, {'video_start': 1.0}, '--video-start is for the poses of a --trajectory and'),
        (video, {'max_pose_gap_s': 9.0}, '--max-pose-gap is for the poses of a --trajectory'),
        (video, {'max_pose_gap_s': 9.0, 'trajectory': tmp_path / 'a.txt'}, ''),
    ):
        notes = open_traverse(path, TraverseOptions(**options)).notes
        assert expected in ''.join(notes) and ('no effect' in ''.join(notes)) == bool(expected)


def test_one_trajectory_is_of_one_source(bag: Path, tmp_path: Path):
    with pytest.raises(VprError) as error:
        open_traverses([bag, bag], TraverseOptions(trajectory=tmp_path / 'a.txt'))
    assert '--trajectory belongs to one source' in line_of(error)


def test_a_source_is_not_taken_twice_under_two_names(town: Path, tmp_path: Path):
    (tmp_path / 'link').symlink_to(town / 'day')
    for again in (town / 'day', town / 'dusk' / '..' / 'day', tmp_path / 'link'):
        with pytest.raises(VprError) as error:
            open_traverses([town / 'day', town / 'dusk', again], TraverseOptions())
        assert line_of(error) == f'{again}: is named twice; name each source once'


def test_what_is_no_bag_needs_no_reader_of_bags(town: Path, tmp_path: Path):
    code = (
        'import sys\nfrom pathlib import Path\n'
        'from ashtkd_ros.traverses.opening import open_traverse, originals_of\n'
        'for path in sys.argv[1:]:\n    traverse = open_traverse(Path(path))\n'
        '    next(iter(traverse.frames()))\n    originals_of(traverse.describe())\n'
        'print([name for name in ("rosbags", "lz4", "sqlite3") if name in sys.modules])\n'
    )
    command = [sys.executable, '-c', code, town / 'day', write_video(tmp_path / 'v.mp4')]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, '[]\n', '')


def named(path: Path) -> set[str]:
    """Every name, attribute and imported module of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names} | {node.module.rpartition('.')[2]}
        elif isinstance(node, ast.Import):
            found |= {alias.name.rpartition('.')[2] for alias in node.names}
    return found


def asked_for(path: Path) -> set[object]:
    """The names that a file looks up in tables, or looks for in them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        keys = []
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            keys = [node.left]
        elif isinstance(node, ast.Subscript):
            keys = [node.slice]
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') in ('get', 'pop'):
            keys = node.args[:1]
        found |= {key.value for key in keys if isinstance(key, ast.Constant)}
    return found


def test_nothing_but_the_traverses_asks_a_description_for_what_one_kind_has():
    keys = {k.key for k in KINDS if k.key}
    assert asked_for(ROOT / 'ashtkd_ros' / 'traverses' / 'bag_image.py') & keys
    files = [p for p in (ROOT / 'ashtkd_ros').rglob('*.py') if p.parent.name != 'traverses']
    assert {p: n for p in files if (n := asked_for(p) & keys)} == {}


def test_nothing_but_the_traverses_names_a_kind_of_source():
    kinds = {k.name for k in KINDS} | {k.module for k in KINDS}
    assert kinds >= {'BagTraverse', 'VideoTraverse', 'folder_traverse'}
    assert named(ROOT / 'test' / 'traverses' / 'test_bag_traverse.py') & kinds
    files = [p for top in ('ashtkd_ros', 'tools', 'launch') for p in (ROOT / top).rglob('*.py')]
    others = [p for p in files if p.parent.name != 'traverses']
    assert len(others) > 80
    assert {p: n for p in others if (n := named(p) & kinds)} == {}
